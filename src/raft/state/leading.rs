//! What only a leader has. A member that stops leading loses all of it.
//!
//! Invariants, checked after every input:
//! - there is progress for every other member, and for nothing else
//! - `term_start` is in the log, or the next entry to come
//! - the reads' rounds have begun

use std::collections::BTreeMap;

use super::batching::Batching;
use super::pending_reads::PendingReads;
use super::progress::Progress;
use crate::raft::types::{Index, Micros, NodeId};

/// The state of a leader in its term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) struct Leading {
    /// Every other member.
    progress: BTreeMap<NodeId, Progress>,
    /// The first index of this term.
    term_start: Index,
    /// When the first command of this term was appended, and the wall clock then, in ms since 1970.
    first_stamp: Option<(Micros, u64)>,
    pub batching: Batching,
    pub reads: PendingReads,
}

impl Leading {
    /// A leader whose next entry is `next`, of these other members.
    pub(in crate::raft) fn new(
        others: impl Iterator<Item = NodeId>,
        next: Index,
        now: Micros,
    ) -> Leading {
        Leading {
            progress: others.map(|node| (node, Progress::new(next, now))).collect(),
            term_start: next,
            first_stamp: None,
            batching: Batching::default(),
            reads: PendingReads::default(),
        }
    }

    pub(in crate::raft) fn term_start(&self) -> Index {
        self.term_start
    }

    pub(in crate::raft) fn progress(&self, node: NodeId) -> Option<&Progress> {
        self.progress.get(&node)
    }

    pub(in crate::raft) fn progress_mut(&mut self, node: NodeId) -> Option<&mut Progress> {
        self.progress.get_mut(&node)
    }

    /// The other members, by id.
    pub(in crate::raft) fn members(&self) -> impl Iterator<Item = (NodeId, &Progress)> {
        self.progress.iter().map(|(&node, progress)| (node, progress))
    }

    /// The other members, by id.
    pub(in crate::raft) fn members_mut(&mut self) -> impl Iterator<Item = (NodeId, &mut Progress)> {
        self.progress.iter_mut().map(|(&node, progress)| (node, progress))
    }

    /// The stamp of a command that is appended now, in ms since 1970. Only the first command of a
    /// term reads the wall clock.
    pub(in crate::raft) fn stamp_ms(&mut self, now: Micros, wall_ms: u64) -> u64 {
        let (first_at, first_ms) = *self.first_stamp.get_or_insert((now, wall_ms));
        first_ms.saturating_add(now.saturating_sub(first_at) / 1_000)
    }

    /// Asserts the invariants in constant time.
    pub(in crate::raft) fn check(&self, others: usize, last: Index, round: u64) {
        assert!(
            self.progress.len() == others,
            "a leader of {others} others keeps the progress of {:?}",
            self.progress.keys()
        );
        assert!(
            self.term_start <= last + 1,
            "the term starts at {}, and the log ends at {last}",
            self.term_start
        );
        self.reads.check(round);
    }

    #[cfg(feature = "testing")]
    pub(in crate::raft) fn forget_history(&mut self, now: Micros) {
        if let Some((first_at, _)) = &mut self.first_stamp {
            *first_at = now;
        }
        self.batching.forget_history();
    }
}
