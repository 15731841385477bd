//! Linearizable reads that wait for confirmation.
//!
//! All reads of one batch share one ticket: one round of messages to the cluster confirms them
//! together.

use std::collections::BTreeMap;

use crate::messages::{LinearizableRead, ReadError, ReadJob};
use crate::raft::{Micros, Raft, ReadTicket, Refusal};
use crate::runtime::shell::{Receive, Turn};

use super::RaftPeer;

impl Receive<LinearizableRead> for RaftPeer {
    fn receive(&mut self, LinearizableRead(job): LinearizableRead, _turn: &mut Turn) {
        self.reads.add(job);
    }
}

#[derive(Default)]
pub(crate) struct PendingReads {
    /// Reads that arrived in this batch.
    fresh: Vec<ReadJob>,
    asked: BTreeMap<ReadTicket, Vec<ReadJob>>,
}

impl PendingReads {
    fn add(&mut self, job: ReadJob) {
        self.fresh.push(job);
    }

    /// Requests confirmation of the reads that arrived in this batch.
    pub(crate) fn begin(&mut self, raft: &mut Raft, now: Micros) {
        if self.fresh.is_empty() {
            return;
        }
        let jobs = std::mem::take(&mut self.fresh);
        match raft.read_index(now) {
            Ok(ticket) => drop(self.asked.insert(ticket, jobs)),
            Err(Refusal::NotLeader(leader)) => fail(jobs, ReadError::NotLeader { leader }),
            Err(Refusal::Busy) => fail(jobs, ReadError::Busy),
        }
    }

    /// Takes the reads of a confirmed ticket.
    pub(crate) fn take(&mut self, ticket: ReadTicket, run: impl FnMut(ReadJob)) {
        self.asked.remove(&ticket).into_iter().flatten().for_each(run);
    }

    /// Fails the reads of a ticket that can't be confirmed any more.
    pub(crate) fn fail(&mut self, ticket: ReadTicket, error: &ReadError) {
        fail(self.asked.remove(&ticket).unwrap_or_default(), error.clone());
    }

    /// The node stops: dropped reads answer by themselves.
    pub(crate) fn fail_all(&mut self) {
        self.fresh.clear();
        self.asked.clear();
    }
}

fn fail(jobs: Vec<ReadJob>, error: ReadError) {
    jobs.into_iter().for_each(|job| job.fail(error.clone()));
}
