//! Linearizable reads without the log: ReadIndex (Raft dissertation §6.4).
//!
//! A read takes the commit index when it arrives. It is confirmed once a quorum has answered a
//! request that was sent *after* that. Every round of requests has a number: reads without a round
//! get a new one, and no number is used twice (RD03). A leader does not know the commit index
//! before it has committed an entry in its own term (RD01).

use super::Refusal;
use super::core::Raft;
use super::quorum;
use super::ready::{ReadConfirmed, ReadTicket, Role};
use super::types::{Index, Micros};

/// A read that waits for its round.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PendingRead {
    ticket: ReadTicket,
    index: Index,
    /// 0 until its round has begun.
    round: u64,
}

impl Raft {
    /// Begins a linearizable read. Its ticket is returned in `Ready::reads_confirmed` or
    /// `Ready::reads_failed`.
    pub fn read_index(&mut self, now: Micros) -> Result<ReadTicket, Refusal> {
        self.input(now, Raft::on_read_index)
    }

    fn on_read_index(&mut self) -> Result<ReadTicket, Refusal> {
        if self.role != Role::Leader {
            return Err(Refusal::NotLeader(self.leader));
        }
        let alone = !self.config.check_quorum && !self.hears_quorum();
        if self.log.commit() < self.term_start || alone {
            return Err(Refusal::Busy);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.reads.push_back(PendingRead { ticket, index: self.log.commit(), round: 0 });
        Ok(ticket)
    }

    /// Assigns a new round to reads without one. Returns whether any of them still wait.
    pub(super) fn begin_read_round(&mut self) -> bool {
        if self.reads.back().is_none_or(|read| read.round != 0) {
            return false;
        }
        self.round += 1;
        let round = self.round;
        self.reads.iter_mut().filter(|read| read.round == 0).for_each(|read| read.round = round);
        self.confirm_reads();
        !self.reads.is_empty()
    }

    pub(super) fn confirm_reads(&mut self) {
        if self.reads.front().is_none_or(|read| read.round == 0) {
            return;
        }
        let (own, round) = (self.config.node, self.round);
        let confirmed = quorum::reached_by_quorum(&self.membership, |node| {
            if node == own {
                round
            } else {
                self.progress.get(&node).map_or(0, |progress| progress.round)
            }
        });
        while let Some(read) = self.reads.front()
            && read.round != 0
            && read.round <= confirmed
        {
            self.out.reads_confirmed.push(ReadConfirmed { ticket: read.ticket, index: read.index });
            self.reads.pop_front();
        }
    }

    /// This node no longer leads, or no quorum answers: the pending reads are never confirmed
    /// (RD08).
    pub(super) fn fail_reads(&mut self) {
        self.out.reads_failed.extend(self.reads.drain(..).map(|read| read.ticket));
    }
}
