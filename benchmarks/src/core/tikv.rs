//! The `raft` crate of TiKV, beside our protocol.
//!
//! With the messages it comes with by default (their bytes are shared, not copied), checks as TiKV has them on (pre-vote,
//! check-quorum), and what TiKV switches on to be fast: appends are batched, and a commit alone is no reason for a message.
//! Messages take up to 1 MiB, as ours. The log is its entries by index, without a lock; once 200,000 entries are there, all
//! but 100,000 that are applied are purged, which is about what ours keeps.
//!
//! Not here: its asynchronous path. Nothing is waited for.

use std::time::Duration;

use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Message, Snapshot};
use raft::storage::{GetEntriesContext, RaftState, Storage};
use raft::{Config, Error, RawNode, StateRole, StorageError, util};
use slog::{Discard, Logger, o};

use super::trio::{Core, MEMBERS};
use crate::measure::Outcome;
use crate::memory_log::MemoryLog;

const TICK: Duration = Duration::from_millis(50);
/// The log is purged when it holds so many entries ..
const PURGE_AT: u64 = 200_000;
/// .. and then keeps so many.
const KEPT: u64 = 100_000;

/// Entries from 1 on.
struct Store {
    state: RaftState,
    log: MemoryLog<Entry>,
    /// Index and term of what is before the first entry.
    start: (u64, u64),
    last: u64,
}

impl Store {
    fn append(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first() else { return };
        self.log.truncate_from(first.index);
        for entry in entries {
            self.last = entry.index;
            self.log.push(entry.index, entry);
        }
    }

    fn purge_through(&mut self, index: u64) -> Outcome<()> {
        self.start = (index, self.term(index)?);
        self.log.purge_through(index);
        Ok(())
    }
}

impl Storage for Store {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.state.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.start.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let mut entries = self.log.range(low..high);
        util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.start.0 {
            return Ok(self.start.1);
        }
        let entry = self.log.get(index);
        entry.map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.start.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last)
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

/// A member.
pub struct Tikv {
    node: RawNode<Store>,
    ticked: Duration,
    /// Index and term of the last entry that was applied.
    last: (u64, u64),
    commands: u64,
}

fn store() -> Store {
    let voters: Vec<u64> = (1..=MEMBERS as u64).collect();
    let state = RaftState::new(HardState::default(), ConfState::from((voters, vec![])));
    Store { state, log: MemoryLog::default(), start: (0, 0), last: 0 }
}

impl Tikv {
    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.last = (entry.index, entry.term);
            // A new leader's first entry is a normal one without data.
            let is_command =
                entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty();
            self.commands += u64::from(is_command);
        }
    }

    fn purge(&mut self) -> Outcome<()> {
        let applied = self.last.0;
        let store = self.node.mut_store();
        if store.last - store.start.0 >= PURGE_AT && applied - store.start.0 > KEPT {
            store.purge_through(applied - KEPT)?;
        }
        Ok(())
    }
}

impl Core for Tikv {
    type Message = Message;

    fn new(place: usize) -> Outcome<Tikv> {
        let config = Config {
            id: place as u64 + 1,
            election_tick: 20,
            heartbeat_tick: 2,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            check_quorum: true,
            pre_vote: true,
            skip_bcast_commit: true,
            batch_append: true,
            ..Config::default()
        };
        let node = RawNode::new(&config, store(), &Logger::root(Discard, o!()))?;
        Ok(Tikv { node, ticked: Duration::ZERO, last: (0, 0), commands: 0 })
    }

    fn pass(&mut self, since: Duration) {
        if since >= self.ticked + TICK {
            self.ticked = since;
            self.node.tick();
        }
    }

    fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader && self.last.1 == self.node.raft.term
    }

    fn propose(&mut self, command: Vec<u8>) -> Outcome<bool> {
        self.node.propose(Vec::new(), command)?;
        Ok(true)
    }

    fn receiver(message: &Message) -> usize {
        message.to as usize - 1
    }

    fn step(&mut self, message: Message) -> Outcome<()> {
        Ok(self.node.step(message)?)
    }

    fn work(&mut self, mail: &mut Vec<Message>) -> Outcome<()> {
        if !self.node.has_ready() {
            return Ok(());
        }
        let mut ready = self.node.ready();
        mail.append(&mut ready.take_messages());
        self.apply(ready.take_committed_entries());
        self.node.mut_store().append(ready.take_entries());
        if let Some(hard_state) = ready.hs() {
            self.node.mut_store().state.hard_state = hard_state.clone();
        }
        mail.append(&mut ready.take_persisted_messages());
        let mut light = self.node.advance(ready);
        mail.append(&mut light.take_messages());
        self.apply(light.take_committed_entries());
        self.node.advance_apply();
        self.purge()
    }

    fn applied(&self) -> u64 {
        self.commands
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_driven_right() {
        crate::core::trio::tests::commits_and_settles::<super::Tikv>();
    }
}
