//! quorate's protocol without its actors.
//!
//! A durable step is done at once, into a log in memory, and what waited for it leaves behind it; committed entries are
//! counted and reported applied. Limits are the default ones: a snapshot (of which only the record exists here) per 64
//! MiB of log, up to 16 MiB kept behind it.
//!
//! Not here: clients' replies, which are the apply side's.

use std::time::Duration;

use bytes::Bytes;
use quorate::node::Config;
use quorate::raft::{
    ApplyItem, EntryKind, Envelope, LogId, LogRead, LogReadOutcome, Membership, Micros, Raft,
    RaftConfig, Ready, Role, SnapshotMeta,
};
use quorate::storage::LogMirror;

use super::trio::{Core, MEMBERS};
use crate::measure::Outcome;

/// Time is told to the protocol so often.
const TICK: Micros = 10_000;

/// A member.
pub struct Ours {
    raft: Raft,
    log: LogMirror,
    now: Micros,
    ticked: Micros,
    /// Something came since it was last asked what there is to do.
    stirred: bool,
    /// The last entry that was applied.
    last: LogId,
    commands: u64,
}

fn membership() -> Membership {
    Membership::of_voters(0..MEMBERS as u64)
}

fn micros(duration: Duration) -> Micros {
    duration.as_micros() as Micros
}

/// The default settings of a node, as its protocol gets them.
fn config(node: u64) -> RaftConfig {
    let config = Config::default();
    RaftConfig {
        node,
        cluster: 0,
        seed: config.seed,
        heartbeat_interval: micros(config.heartbeat_interval),
        election_timeout_min: micros(config.election_timeout_min),
        election_timeout_max: micros(config.election_timeout_max),
        request_timeout: micros(config.request_timeout),
        retry_interval: micros(config.retry_interval),
        check_quorum: config.check_quorum,
        batch_delay: micros(config.batch_delay),
        append_interval: micros(config.append_interval),
        commit_notice: config.commit_notice.map(micros),
        noop_on_election: config.noop_on_election,
        append_bytes: config.append_bytes,
        append_entries: config.append_entries,
        window_messages: config.window_messages,
        window_bytes: config.window_bytes,
        uncommitted_bytes: config.uncommitted_bytes,
        unpersisted_bytes: config.unpersisted_bytes,
        log_cache_bytes: config.log_cache_bytes,
        apply_queue_bytes: config.apply_queue_bytes,
        snapshot_bytes: config.snapshot_bytes,
        snapshot_entries: config.snapshot_entries,
        snapshot_retry_interval: micros(config.snapshot_retry_interval),
        trailing_entries: config.trailing_entries,
        trailing_bytes: config.trailing_bytes,
        pin_bytes: config.pin_bytes,
        snapshot_chunk_bytes: config.snapshot_chunk_bytes,
        undecodable_retry_max: micros(config.undecodable_retry_max),
        doubt_timeout: micros(config.doubt_timeout),
    }
}

impl Ours {
    fn carry_out(&mut self, ready: Ready, mail: &mut Vec<Envelope>) {
        mail.extend(ready.messages);
        if let Some(step) = ready.persist {
            self.log.change(std::slice::from_ref(&step.change));
            self.raft.persisted(self.now, step.seq);
            self.stirred = true;
            mail.extend(step.then_send);
        }
        for read in ready.reads {
            self.read(read);
        }
        for item in ready.apply {
            self.stirred = true;
            self.apply(item);
        }
    }

    fn read(&mut self, LogRead { id, first, last, max_bytes, .. }: LogRead) {
        let entries = self.log.read(first, last, max_bytes);
        let outcome = entries
            .map_or(LogReadOutcome::Compacted, |entries| LogReadOutcome::Entries(entries.into()));
        self.stirred = true;
        self.raft.log_read(self.now, id, outcome);
    }

    fn apply(&mut self, item: ApplyItem) {
        match item {
            ApplyItem::Entries(entries) => {
                let commands = entries.iter().filter(|entry| entry.kind == EntryKind::Command);
                self.commands += commands.count() as u64;
                self.last = entries.last().map_or(self.last, |entry| entry.log_id);
                self.raft.applied(self.now, self.last.index);
            }
            ApplyItem::TakeSnapshot => {
                let log_id = self.last;
                let meta = SnapshotMeta { log_id, membership: membership(), size_bytes: 8 };
                self.raft.snapshot_taken(self.now, meta);
            }
            ApplyItem::Offer(_) | ApplyItem::Withdraw(_) => unreachable!("no member falls behind"),
        }
    }
}

impl Core for Ours {
    type Message = Envelope;

    fn new(place: usize) -> Outcome<Ours> {
        let mut log = LogMirror::new();
        log.begin();
        let recovered = log.recovered(membership());
        let raft = Raft::new(config(place as u64), recovered, 0);
        Ok(Ours { raft, log, now: 0, ticked: 0, stirred: true, last: LogId::BASE, commands: 0 })
    }

    fn pass(&mut self, since: Duration) {
        self.now = micros(since);
        if self.now >= self.ticked + TICK {
            (self.ticked, self.stirred) = (self.now, true);
            self.raft.tick(self.now);
        }
    }

    fn leads(&self) -> bool {
        // Its blank entry is applied.
        self.raft.role().0 == Role::Leader && self.last.term == self.raft.role().1
    }

    fn propose(&mut self, command: Vec<u8>) -> Outcome<bool> {
        self.stirred = true;
        let stamp_ms = self.now / 1000;
        Ok(self.raft.propose(self.now, stamp_ms, Bytes::from(command)).is_ok())
    }

    fn receiver(message: &Envelope) -> usize {
        message.to as usize
    }

    fn step(&mut self, message: Envelope) -> Outcome<()> {
        self.stirred = true;
        self.raft.step(self.now, message);
        Ok(())
    }

    fn work(&mut self, mail: &mut Vec<Envelope>) -> Outcome<()> {
        if std::mem::take(&mut self.stirred) {
            let ready = self.raft.ready();
            self.carry_out(ready, mail);
        }
        Ok(())
    }

    fn applied(&self) -> u64 {
        self.commands
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_driven_right() {
        crate::core::trio::tests::commits_and_settles::<super::Ours>();
    }
}
