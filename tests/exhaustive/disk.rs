//! A node's disk, and the state machine that its entries and snapshots feed.
//!
//! A step is done as a whole or, after a crash, not at all; steps are done in order. Requests that
//! a disk must never receive (terms and votes that go back, holes, a snapshot without its file)
//! break [`Rule::Disk`].

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate::raft::*;

use crate::invariants::{Broken, Rule, hold};

/// The state that survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Disk {
    pub life: Life,
    pub known_peers: KnownPeers,
    pub hard_state: HardState,
    /// The id before the first entry.
    pub start: LogId,
    pub entries: Vec<Entry>,
    pub snapshot: Option<SnapshotMeta>,
    /// Published snapshot files, each with its state.
    pub files: BTreeMap<LogId, Bytes>,
    /// Snapshots that were received in a transfer.
    pub received: BTreeSet<LogId>,
}

impl Disk {
    pub fn last(&self) -> LogId {
        self.entries.last().map_or(self.start, |entry| entry.log_id)
    }

    pub fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(index.checked_sub(self.start.index + 1)? as usize)
    }

    /// The id at `index`, as far as the disk knows it.
    pub fn id_at(&self, index: Index) -> Option<LogId> {
        if index == self.start.index {
            return Some(self.start);
        }
        self.entry(index).map(|entry| entry.log_id)
    }

    /// Whether the entry, or a snapshot that covers it, is here.
    pub fn keeps(&self, log_id: LogId) -> bool {
        let covered = self.snapshot.as_ref().is_some_and(|meta| meta.log_id.index >= log_id.index);
        covered || self.id_at(log_id.index) == Some(log_id)
    }

    /// Carries out one durable step.
    pub fn carry_out(&mut self, change: &LogChange) -> Result<(), Broken> {
        if let Some(life) = change.life {
            let falls = life.incarnation < self.life.incarnation
                || life.predecessor < self.life.predecessor;
            hold(Rule::Disk, !falls, || format!("life back from {:?} to {life:?}", self.life))?;
            self.life = life;
        }
        self.known_peers.extend(&change.known_peers);
        if let Some(new) = change.hard_state {
            let old = self.hard_state;
            let revoted = new.term == old.term && old.vote.is_some() && new.vote != old.vote;
            hold(Rule::Disk, new.term >= old.term && !revoted, || {
                format!("hard state from {old:?} to {new:?}")
            })?;
            self.hard_state = new;
        }
        if let Some(install) = &change.install {
            self.install(install)?;
        }
        if let Some(meta) = &change.snapshot {
            self.record(meta)?;
        }
        if let Some(from) = change.truncate_from {
            self.entries.retain(|entry| entry.log_id.index < from);
        }
        for entry in &change.append {
            let last = self.last();
            hold(Rule::Disk, entry.log_id.index == last.index + 1, || {
                format!("{} written behind {last}", entry.log_id)
            })?;
            self.entries.push(entry.clone());
        }
        if let Some(through) = change.purge_through {
            self.purge(through)?;
        }
        Ok(())
    }

    fn install(&mut self, install: &Install) -> Result<(), Broken> {
        if install.keep_suffix {
            self.record(&install.meta)?;
            return self.purge(install.meta.log_id);
        }
        self.entries.clear();
        self.start = install.meta.log_id;
        self.record(&install.meta)
    }

    fn record(&mut self, meta: &SnapshotMeta) -> Result<(), Broken> {
        hold(Rule::Disk, self.files.contains_key(&meta.log_id), || {
            format!("record of {} without its file", meta.log_id)
        })?;
        self.snapshot = Some(meta.clone());
        Ok(())
    }

    fn purge(&mut self, through: LogId) -> Result<(), Broken> {
        let covered = self.snapshot.as_ref().map_or(0, |meta| meta.log_id.index);
        hold(Rule::Disk, through.index <= covered, || {
            format!("purged through {through}, the snapshot ends at {covered}")
        })?;
        self.entries.retain(|entry| entry.log_id.index > through.index);
        self.start = through;
        Ok(())
    }

    /// What storage recovers at the next start, whose incarnation it has made durable.
    pub fn recovered(&self, members: &Membership) -> Recovered {
        Recovered {
            life: self.life,
            hard_state: self.hard_state,
            base: members.clone(),
            snapshot: self.snapshot.clone(),
            log: LogOutline::of(self.start, &self.entries),
            known_peers: self.known_peers.clone(),
        }
    }

    /// Loses the last entry, and storage knows it. With `forgot_vote`, storage can't tell whether
    /// terms and votes are complete.
    pub fn lose_tail(&mut self, forgot_vote: bool) {
        let last = self.last();
        self.entries.pop();
        let earlier = self.life.loss.unwrap_or(Loss { forgot_vote: false, last: Some(last) });
        self.life.loss = Some(match forgot_vote {
            true => Loss { forgot_vote: true, last: None },
            false => Loss { last: earlier.last.map(|earlier| earlier.max(last)), ..earlier },
        });
        self.life.doubted_by = None;
        if forgot_vote {
            self.hard_state.vote = None;
        }
    }
}

/// The state machine: a running digest of what was applied, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Machine {
    pub applied: LogId,
    pub digest: u64,
}

impl Machine {
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Broken> {
        let applied = self.applied;
        hold(Rule::StateMachine, entry.log_id.index == applied.index + 1, || {
            format!("{} applied behind {applied}", entry.log_id)
        })?;
        self.applied = entry.log_id;
        let number = entry.data.iter().fold(1, |sum, &byte| sum << 8 | u64::from(byte));
        self.digest = (self.digest ^ number).wrapping_mul(0x100_0000_01b3).rotate_left(17);
        Ok(())
    }

    pub fn encode(&self) -> Bytes {
        let numbers = [self.applied.term, self.applied.index, self.digest];
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>().into()
    }

    /// `None`: the bytes are not a state.
    pub fn decode(bytes: &[u8]) -> Option<Machine> {
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Machine { applied: LogId::new(number(0)?, number(8)?), digest: number(16)? })
    }
}
