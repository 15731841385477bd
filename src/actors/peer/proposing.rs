//! Proposals: commands from this member's handles to the protocol.

use crate::messages::{Proposal, ProposalsQueued, ProposeError};
use crate::raft::{Micros, Refusal};
use crate::runtime::shell::{Receive, Turn};

use super::RaftPeer;

impl Receive<ProposalsQueued> for RaftPeer {
    fn receive(&mut self, _queued: ProposalsQueued, turn: &mut Turn) {
        let mut piece = std::mem::take(&mut self.piece);
        self.links.proposals.take(&mut piece);
        let wall_ms = self.clock.wall_ms();
        piece.drain(..).for_each(|proposal| self.propose(turn.now, wall_ms, proposal));
        self.piece = piece;
    }
}

impl RaftPeer {
    fn propose(&mut self, now: Micros, wall_ms: u64, proposal: Proposal) {
        let Proposal { data, mut reply } = proposal;
        let (role, term, _) = self.raft.role();
        reply.arrived(role, term);
        match self.raft.propose(now, wall_ms, data) {
            Ok(log_id) => {
                reply.mark_appended(log_id);
                self.waiters.add(log_id, now + self.times.proposal_timeout, reply);
            }
            Err(Refusal::NotLeader(leader)) => reply.refuse(ProposeError::NotLeader { leader }),
            Err(Refusal::Busy) => reply.refuse(ProposeError::Busy),
        }
    }
}
