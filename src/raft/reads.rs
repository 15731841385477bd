//! Linearizable reads without the log: ReadIndex (Raft dissertation §6.4).
//!
//! A read takes the commit index when it arrives. It is confirmed once a quorum has answered a
//! request that was sent *after* that. Every round of requests has a number: reads without a round
//! get a new one, and no number is used twice (RD03). A leader does not know the commit index
//! before it has committed an entry in its own term (RD01).

use super::Refusal;
use super::core::Raft;
use super::ready::ReadTicket;
use super::state::quorum;
use super::types::Micros;

impl Raft {
    /// Begins a linearizable read. Its ticket is returned in `Ready::reads_confirmed` or
    /// `Ready::reads_failed`.
    pub fn read_index(&mut self, now: Micros) -> Result<ReadTicket, Refusal> {
        self.input(now, Raft::on_read_index)
    }

    fn on_read_index(&mut self) -> Result<ReadTicket, Refusal> {
        let alone = !self.config.check_quorum && !self.hears_quorum();
        let leader = self.leader();
        let Some(leading) = self.role.leading_mut() else {
            return Err(Refusal::NotLeader(leader));
        };
        let commit = self.log.commit();
        if commit < leading.term_start() || alone {
            return Err(Refusal::Busy);
        }
        let ticket = self.numbers.take_ticket();
        leading.reads.push(ticket, commit);
        Ok(ticket)
    }

    /// Assigns a new round to reads without one. Returns whether any of them still wait.
    pub(super) fn begin_read_round(&mut self) -> bool {
        let Some(leading) = self.role.leading_mut().filter(|leading| leading.reads.needs_round())
        else {
            return false;
        };
        self.round += 1;
        leading.reads.begin_round(self.round);
        self.confirm_reads();
        self.role.leading().is_some_and(|leading| !leading.reads.is_empty())
    }

    pub(super) fn confirm_reads(&mut self) {
        let Some(leading) = self.role.leading_mut().filter(|leading| leading.reads.needs_answers())
        else {
            return;
        };
        let (own, round) = (self.config.node, self.round);
        let confirmed = quorum::reached_by_quorum(&self.membership, |node| match node {
            _ if node == own => round,
            _ => leading.progress(node).map_or(0, |progress| progress.round),
        });
        let reads = std::iter::from_fn(|| leading.reads.take_confirmed(confirmed));
        self.out.reads_confirmed.extend(reads);
    }

    /// This node no longer leads, or no quorum answers: the pending reads are never confirmed
    /// (RD08).
    pub(super) fn fail_reads(&mut self) {
        if let Some(leading) = self.role.leading_mut() {
            self.out.reads_failed.extend(leading.reads.take_all());
        }
    }
}
