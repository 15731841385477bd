//! The durable step that is being built, and those under way.
//!
//! ```text
//!   change, sends ──close──▶ under way, oldest first ──complete──▶ what became durable
//!   (being built)            a mark for each
//! ```
//! All changes of durable state between two calls of `ready` form one step. A message that may
//! leave only after the fsync is in the step. Steps complete in the order in which they were
//! closed.
//!
//! Invariants, checked after every input:
//! - the steps under way have consecutive numbers, and the next one follows them
//! - entries that the step appends are in the log

use std::collections::VecDeque;

use crate::raft::message::Envelope;
use crate::raft::ready::{LogChange, Persist};
use crate::raft::types::{HardState, Index, KnownPeers, Life, LogId, Micros, SnapshotMeta};

/// A durable step under way, and the effects of its completion.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) struct PersistMark {
    seq: u64,
    pub(in crate::raft) hard_state: HardState,
    pub(in crate::raft) last_appended: Option<LogId>,
    pub(in crate::raft) installed: Option<SnapshotMeta>,
    pub(in crate::raft) taken: Option<SnapshotMeta>,
    pub(in crate::raft) life: Option<Life>,
    begun_at: Micros,
}

/// The step being built, and the steps under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) struct Steps {
    change: LogChange,
    /// The first entry that the step appends. The entries are added when it is closed.
    first: Option<Index>,
    sends: Vec<Envelope>,
    under_way: VecDeque<PersistMark>,
    next_seq: u64,
}

impl Default for Steps {
    fn default() -> Steps {
        Steps {
            change: LogChange::default(),
            first: None,
            sends: Vec::new(),
            under_way: VecDeque::new(),
            next_seq: 1,
        }
    }
}

impl Steps {
    // ---- the step being built ------------------------------------------------------------

    /// The change that the step makes durable.
    pub(in crate::raft) fn change(&mut self) -> &mut LogChange {
        &mut self.change
    }

    /// The step appends the entries from `index` on.
    pub(in crate::raft) fn append_from(&mut self, index: Index) {
        self.first.get_or_insert(index);
    }

    /// A message leaves once the step is durable.
    pub(in crate::raft) fn send(&mut self, envelope: Envelope) {
        self.sends.push(envelope);
    }

    /// The log is truncated from `from` on; `kept` is the entry before it.
    ///
    /// A write under way must not report the entries that are removed here, even if the same
    /// entries are appended again: the step that removes them reaches the disk after it (LR25).
    pub(in crate::raft) fn truncate(&mut self, from: Index, kept: LogId) {
        if self.first.is_none_or(|first| from < first) {
            let earlier = self.change.truncate_from;
            self.change.truncate_from = Some(earlier.map_or(from, |earlier| earlier.min(from)));
        }
        self.first = self.first.filter(|&first| first < from);
        for mark in &mut self.under_way {
            let lowered = |last: LogId| if last.index < from { last } else { kept };
            mark.last_appended = mark.last_appended.map(lowered);
        }
    }

    /// The log is dropped: the step appends none of its entries.
    pub(in crate::raft) fn drop_appended(&mut self) {
        self.first = None;
    }

    /// The first entry to append, which the caller adds to the change.
    pub(in crate::raft) fn take_first(&mut self) -> Option<Index> {
        self.first.take()
    }

    /// Whether nothing waits for a step.
    pub(in crate::raft) fn is_empty(&self) -> bool {
        self.change.is_empty() && self.sends.is_empty()
    }

    /// Closes the step: from now on it is under way.
    pub(in crate::raft) fn close(
        &mut self,
        known_peers: KnownPeers,
        hard_state: HardState,
        now: Micros,
    ) -> Box<Persist> {
        let mut change = std::mem::take(&mut self.change);
        change.known_peers = known_peers;
        let seq = self.next_seq;
        self.next_seq += 1;
        self.under_way.push_back(PersistMark {
            seq,
            hard_state,
            last_appended: change.append.last().map(|entry| entry.log_id),
            installed: change.install.as_ref().map(|install| install.meta.clone()),
            taken: change.snapshot.clone(),
            life: change.life,
            begun_at: now,
        });
        Box::new(Persist { seq, change, then_send: std::mem::take(&mut self.sends) })
    }

    // ---- the steps under way -------------------------------------------------------------

    /// Step `seq` is durable: it must be the oldest one under way.
    pub(in crate::raft) fn complete(&mut self, seq: u64) -> PersistMark {
        match self.under_way.pop_front() {
            Some(mark) if mark.seq == seq => mark,
            oldest => panic!(
                "step {seq} reported durable, but {:?} is the oldest under way",
                oldest.map(|mark| mark.seq)
            ),
        }
    }

    /// When the oldest step under way was begun.
    pub(in crate::raft) fn oldest_begun_at(&self) -> Option<Micros> {
        self.under_way.front().map(|mark| mark.begun_at)
    }

    /// Asserts the invariants. `last`: the log's last entry.
    pub(in crate::raft) fn check(&self, last: Index) {
        let (oldest, newest) = (self.under_way.front(), self.under_way.back());
        let numbers = oldest.zip(newest).map(|(oldest, newest)| (oldest.seq, newest.seq));
        let follow = |(oldest, newest): (u64, u64)| {
            newest + 1 == self.next_seq && newest - oldest + 1 == self.under_way.len() as u64
        };
        assert!(
            numbers.is_none_or(follow) && self.first.is_none_or(|first| first <= last),
            "{} steps under way from {numbers:?}, the next is {}; entries from {:?} on appended, \
             the last is {last}",
            self.under_way.len(),
            self.next_seq,
            self.first
        );
    }

    /// For a model checker: all steps began at `now`, and the numbers begin anew if none is under
    /// way.
    #[cfg(feature = "testing")]
    pub(in crate::raft) fn forget_history(&mut self, now: Micros) {
        self.under_way.iter_mut().for_each(|mark| mark.begun_at = now);
        if self.under_way.is_empty() {
            self.next_seq = 1;
        }
    }
}
