//! A peer as a checker of invariants sees it: its positions, and the ids of its log.
//!
//! ```text
//! Raft ──observe()──▶ Observation { state: copied numbers, log: LogIds (borrowed) }
//! ```
//! Cheap enough for every turn: the numbers are a few words, the ids stay where they are.
//!
//! *What it does not do:* it shows no entries' data and nothing of what a leader knows of others.

use super::core::Raft;
use super::log::RaftLog;
use super::ready::Role;
use super::types::{HardState, Incarnation, Index, LogId, Micros, NodeId, Term};

/// A peer's state after a turn.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The numbers.
    pub state: ObservedState,
    /// The ids of the log's entries.
    pub log: LogIds<'a>,
    /// For how long an election, or a leader's stepping down, has been due, in microseconds: no
    /// longer than its ticks are apart.
    pub overdue: Micros,
}

/// The part of a peer's state that is numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedState {
    /// The peer.
    pub node: NodeId,
    /// Which of its lives this is.
    pub incarnation: Incarnation,
    /// What it is in its term.
    pub role: Role,
    /// Term and vote.
    pub hard_state: HardState,
    /// Term and vote as far as the peer knows them durable.
    pub durable: HardState,
    /// The id before the first entry of the log.
    pub log_start: LogId,
    /// The log's last entry.
    pub last: LogId,
    /// Bytes of the log's entries behind the commit index.
    pub uncommitted_bytes: u64,
    /// Last index that the peer knows durable.
    pub persisted: Index,
    /// Last committed index.
    pub commit: Index,
    /// Last index handed to the apply queue.
    pub handed: Index,
    /// Last index reported applied.
    pub applied: Index,
    /// The current snapshot's last entry, or the base.
    pub snapshot: LogId,
    /// Whether it catches up after a loss and does not count (PS20).
    pub recovering: bool,
}

/// The ids of a log's entries.
#[derive(Clone, Copy, Debug)]
pub struct LogIds<'a>(&'a RaftLog);

impl LogIds<'_> {
    /// The term of the entry at `index`, or of the log's start; `None` if it is purged or not there yet.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.0.term_at(index)
    }
}

impl Raft {
    /// The state and the log's ids, for a checker.
    pub fn observe(&self) -> Observation<'_> {
        let log = &self.log;
        let state = ObservedState {
            node: self.config.node,
            incarnation: self.incarnation,
            role: self.role,
            hard_state: self.hard_state,
            durable: self.durable,
            log_start: log.start(),
            last: log.last(),
            uncommitted_bytes: log.uncommitted_bytes(),
            persisted: log.persisted(),
            commit: log.commit(),
            handed: log.handed(),
            applied: log.applied(),
            snapshot: self.snapshot_id(),
            recovering: self.is_recovering(),
        };
        Observation { state, log: LogIds(log), overdue: self.overdue() }
    }
}
