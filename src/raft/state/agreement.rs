//! What a member knows, in the current term, of its own log and its leader's: how far they match,
//! and how much of the leader's log is durable.
//!
//! Invariants, checked after every input: only entries of the own log match.

use crate::raft::types::Index;

/// How far the own log matches the leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) struct Agreement {
    matched: Index,
    leader_durable: Index,
}

impl Agreement {
    /// A term begins, in which only committed entries are known to match.
    pub(in crate::raft) fn new(commit: Index) -> Agreement {
        Agreement { matched: commit, leader_durable: 0 }
    }

    /// The last entry that is known to match the leader's log. A leader matches itself.
    pub(in crate::raft) fn matched(&self) -> Index {
        self.matched
    }

    /// The leader's log is durable up to here, as it reported.
    pub(in crate::raft) fn leader_durable(&self) -> Index {
        self.leader_durable
    }

    /// The log matches up to `index`. What matched stays matched, up to the log's `last` entry.
    pub(in crate::raft) fn agree(&mut self, index: Index, last: Index) {
        self.matched = self.matched.max(index).min(last);
    }

    /// The leader reports how much of its log is durable.
    pub(in crate::raft) fn report_durable(&mut self, index: Index) {
        self.leader_durable = index;
    }

    /// Asserts the invariant.
    pub(in crate::raft) fn check(&self, last: Index) {
        assert!(self.matched <= last, "matched {} beyond the last entry {last}", self.matched);
    }
}
