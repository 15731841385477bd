//! The entries that are dispatched to the state machine and not applied yet.
//!
//! ```text
//!   applied      front                    back   dispatched (log)
//!      │           │                        │      │
//!      ▼           ▼                        ▼      ▼
//!   ───┴── batch ──┴── batch ── .. ── batch ┴──────┴── read under way ──▶
//! ```
//! Invariants, checked after every input:
//! - it counts no bytes exactly if it has no batch
//! - all its entries are dispatched and not applied

use std::collections::VecDeque;

use crate::raft::types::Index;

/// What is dispatched and not applied, in batches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::raft) struct ApplyWindow {
    /// Each batch's last index and bytes, oldest first.
    batches: VecDeque<(Index, usize)>,
    bytes: usize,
    /// The read that brings the next entries back from storage, and its first index.
    read: Option<(u64, Index)>,
}

impl ApplyWindow {
    /// Adds a dispatched batch.
    pub(in crate::raft) fn push(&mut self, last: Index, bytes: usize) {
        self.bytes += bytes;
        self.batches.push_back((last, bytes));
    }

    /// Removes the batches that end at `index` or before it: they are applied.
    pub(in crate::raft) fn applied(&mut self, index: Index) {
        while let Some(&(last, bytes)) = self.batches.front()
            && last <= index
        {
            self.batches.pop_front();
            self.bytes -= bytes;
        }
    }

    /// Removes all batches: an install covers them. A read under way is answered all the same.
    pub(in crate::raft) fn clear(&mut self) {
        self.batches.clear();
        self.bytes = 0;
    }

    /// The bytes that are dispatched and not applied.
    pub(in crate::raft) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The last index of the oldest batch.
    pub(in crate::raft) fn oldest(&self) -> Option<Index> {
        self.batches.front().map(|(last, _)| *last)
    }

    /// Whether a limit of `bytes` leaves no room. At least one batch always has room.
    pub(in crate::raft) fn is_full(&self, bytes: usize) -> bool {
        self.bytes >= bytes && !self.batches.is_empty()
    }

    /// Read `id` brings the entries from `first` on.
    pub(in crate::raft) fn begin_read(&mut self, id: u64, first: Index) {
        self.read = Some((id, first));
    }

    /// The number of the read under way.
    pub(in crate::raft) fn read(&self) -> Option<u64> {
        self.read.map(|(id, _)| id)
    }

    /// Ends the read under way and returns its first index.
    pub(in crate::raft) fn end_read(&mut self) -> Option<Index> {
        self.read.take().map(|(_, first)| first)
    }

    /// Asserts the invariants.
    pub(in crate::raft) fn check(&self, applied: Index, dispatched: Index) {
        let (front, back) = (self.batches.front(), self.batches.back());
        assert!(
            (self.bytes == 0) == front.is_none()
                && front.is_none_or(|(last, _)| *last > applied)
                && back.is_none_or(|(last, _)| *last <= dispatched),
            "batches from {front:?} to {back:?} of {} bytes, applied {applied}, dispatched \
             {dispatched}",
            self.bytes
        );
    }
}
