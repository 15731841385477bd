//! Reads that wait until a quorum has answered a request that was sent after them (ReadIndex).
//!
//! ```text
//!   front                                                            back
//!   read of round 7 · read of round 7 · read of round 8 · read without a round
//! ```
//! Invariants, checked after every input:
//! - rounds never fall from front to back; reads without a round are behind all others
//! - tickets rise from front to back

use std::collections::VecDeque;

use crate::raft::ready::{ReadConfirmed, ReadTicket};
use crate::raft::types::Index;

/// A leader's pending reads, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::raft) struct PendingReads {
    reads: VecDeque<PendingRead>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PendingRead {
    ticket: ReadTicket,
    index: Index,
    /// 0 until its round has begun.
    round: u64,
}

impl PendingReads {
    pub(in crate::raft) fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    /// Adds a read that waits for a new round.
    pub(in crate::raft) fn push(&mut self, ticket: ReadTicket, index: Index) {
        self.reads.push_back(PendingRead { ticket, index, round: 0 });
    }

    /// Whether a read waits for a new round.
    pub(in crate::raft) fn needs_round(&self) -> bool {
        self.reads.back().is_some_and(|read| read.round == 0)
    }

    /// Whether the oldest read waits for the answers of its round.
    pub(in crate::raft) fn needs_answers(&self) -> bool {
        self.reads.front().is_some_and(|read| read.round != 0)
    }

    /// Assigns `round` to all reads without a round.
    pub(in crate::raft) fn begin_round(&mut self, round: u64) {
        self.reads.iter_mut().rev().take_while(|read| read.round == 0).for_each(|read| {
            read.round = round;
        });
    }

    /// Takes the oldest read if its round is at most `confirmed`.
    pub(in crate::raft) fn take_confirmed(&mut self, confirmed: u64) -> Option<ReadConfirmed> {
        self.reads.front().filter(|read| read.round != 0 && read.round <= confirmed)?;
        let read = self.reads.pop_front()?;
        Some(ReadConfirmed { ticket: read.ticket, index: read.index })
    }

    /// Takes all reads: they are never confirmed.
    pub(in crate::raft) fn take_all(&mut self) -> impl Iterator<Item = ReadTicket> {
        self.reads.drain(..).map(|read| read.ticket)
    }

    /// Asserts the invariants that can be checked in constant time.
    pub(in crate::raft) fn check(&self, round: u64) {
        if let (Some(front), Some(back)) = (self.reads.front(), self.reads.back()) {
            assert!(
                front.ticket <= back.ticket
                    && (back.round == 0 || front.round != 0 && front.round <= back.round)
                    && back.round <= round,
                "pending reads from {front:?} to {back:?} in round {round}"
            );
        }
    }
}
