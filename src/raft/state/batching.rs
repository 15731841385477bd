//! When a leader's proposals wait for others, to share their messages.
//!
//! ```text
//!   first proposal ── batch_delay ─▶ the batch leaves
//!        └ later proposals join it
//! ```
//! Proposals that come one at a time, each right after the commit of the one before, are those of a
//! single client that waits for its replies. Delaying them would gather no others.

use crate::raft::types::{Index, Micros};

/// This many lone proposals in a row are taken for those of a single client.
const LONE_MIN: u32 = 2;

/// The batch that waits, if any, and how proposals arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::raft) struct Batching {
    /// Entries from this index on wait until this moment.
    batch: Option<(Index, Micros)>,
    /// When the leader last committed an entry.
    committed_at: Micros,
    /// The number of lone proposals in a row, counted up to [`LONE_MIN`].
    lone_in_row: u32,
}

impl Batching {
    /// The leader commits entries.
    pub(in crate::raft) fn committed(&mut self, now: Micros) {
        self.committed_at = now;
    }

    /// Entry `index` was proposed. It opens a batch for `delay`, unless it joins one that waits.
    /// `after_all`: all earlier entries are committed. `soon`: the longest time that a client takes
    /// from a commit to its next proposal.
    pub(in crate::raft) fn proposed(
        &mut self,
        index: Index,
        after_all: bool,
        now: Micros,
        soon: Micros,
        delay: Micros,
    ) {
        let lone = after_all && now.saturating_sub(self.committed_at) <= soon;
        self.lone_in_row = if lone { LONE_MIN.min(self.lone_in_row + 1) } else { 0 };
        if delay > 0 && self.batch.is_none() {
            self.batch = Some((index, now + delay));
        }
    }

    /// A batch whose time is over leaves.
    pub(in crate::raft) fn expire(&mut self, now: Micros) {
        self.batch = self.batch.filter(|(_, until)| *until > now);
    }

    /// Whether proposals come from a single client.
    pub(in crate::raft) fn is_lone(&self) -> bool {
        self.lone_in_row >= LONE_MIN
    }

    /// Until when an entry waits for others; 0 if it does not wait.
    pub(in crate::raft) fn waits_until(&self, index: Index) -> Micros {
        self.batch.filter(|(first, _)| index >= *first).map_or(0, |(_, until)| until)
    }

    /// The last entry of `first..=last` that may leave with entry `first`: a batch that waits stays.
    pub(in crate::raft) fn last_with(&self, first: Index, last: Index) -> Index {
        self.batch.filter(|(waits, _)| first < *waits).map_or(last, |(waits, _)| waits - 1)
    }

    #[cfg(feature = "testing")]
    pub(in crate::raft) fn forget_history(&mut self) {
        (self.committed_at, self.lone_in_row) = (0, 0);
    }
}
