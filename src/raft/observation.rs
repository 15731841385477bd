//! A peer's state for a checker of invariants: its positions, and the ids of its log.
//!
//! ```text
//! Raft ──observe()──▶ Observation { state: copied numbers, log: LogIds (borrowed) }
//! ```
//! It is cheap enough for every turn: the numbers are a few words, and the ids are borrowed.
//!
//! *What it does not do:* it contains neither the data of entries nor a leader's progress of
//! members.

use super::core::Raft;
use super::log::RaftLog;
use super::ready::Role;
use super::types::{HardState, Incarnation, Index, LogId, Micros, NodeId, Term};

/// A peer's state after a turn.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The peer's numbers.
    pub state: ObservedState,
    /// The ids of the log's entries.
    pub log: LogIds<'a>,
    /// How long an election, or a leader's stepping down, has been overdue, in microseconds. Never
    /// longer than the interval of the peer's ticks.
    pub overdue: Micros,
}

/// The numbers in a peer's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedState {
    /// The peer's id.
    pub node: NodeId,
    /// The peer's incarnation.
    pub incarnation: Incarnation,
    /// The peer's role in its term.
    pub role: Role,
    /// Term and vote.
    pub hard_state: HardState,
    /// Term and vote as far as the peer knows them to be durable.
    pub durable: HardState,
    /// The id of the entry before the first one in the log.
    pub log_start: LogId,
    /// The log's last entry.
    pub last: LogId,
    /// Bytes of the log's entries after the commit index.
    pub uncommitted_bytes: u64,
    /// Last index that the peer knows to be durable.
    pub persisted: Index,
    /// Last committed index.
    pub commit: Index,
    /// Last index passed to the apply queue.
    pub dispatched: Index,
    /// Last index reported applied.
    pub applied: Index,
    /// The last entry that the current snapshot covers, or [`LogId::BASE`].
    pub snapshot: LogId,
    /// Whether the peer catches up after a data loss and does not count in quorums.
    pub recovering: bool,
}

/// The ids of a log's entries.
#[derive(Clone, Copy, Debug)]
pub struct LogIds<'a>(&'a RaftLog);

impl LogIds<'_> {
    /// The term of the entry at `index`, or of the log's start; `None` if the entry is purged or
    /// does not exist yet.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.0.term_at(index)
    }
}

impl Raft {
    /// The state and the log's ids, for a checker of invariants.
    pub fn observe(&self) -> Observation<'_> {
        let log = &self.log;
        let state = ObservedState {
            node: self.config.node,
            incarnation: self.incarnation,
            role: self.role.kind(),
            hard_state: self.terms.current(),
            durable: self.terms.durable(),
            log_start: log.start(),
            last: log.last(),
            uncommitted_bytes: log.uncommitted_bytes(),
            persisted: log.persisted(),
            commit: log.commit(),
            dispatched: log.dispatched(),
            applied: log.applied(),
            snapshot: self.snapshot_id(),
            recovering: self.is_recovering(),
        };
        Observation { state, log: LogIds(log), overdue: self.overdue() }
    }
}
