//! The log on disk: complete steps, entries that were read back, and the seal of an idle log.

use crate::messages::{LogReadCompleted, Persisted, SealLog};
use crate::raft::Micros;
use crate::runtime::shell::{Receive, Turn};

use super::RaftPeer;

/// Steps complete in order, and the protocol is notified of each.
impl Receive<Persisted> for RaftPeer {
    fn receive(&mut self, Persisted { seq }: Persisted, turn: &mut Turn) {
        assert!(
            seq > self.persisted && seq <= self.asked.0,
            "step {seq} complete, of {:?}",
            self.asked
        );
        for seq in self.persisted + 1..=seq {
            self.raft.persisted(turn.now, seq);
        }
        self.persisted = seq;
    }
}

impl Receive<LogReadCompleted> for RaftPeer {
    fn receive(&mut self, LogReadCompleted { id, outcome }: LogReadCompleted, turn: &mut Turn) {
        self.raft.log_read(turn.now, id, outcome);
    }
}

impl RaftPeer {
    /// Seals an idle log: marks its end durably, so that later damage to it is detected.
    pub(super) fn seal_if_idle(&mut self, now: Micros) {
        let (last, at) = self.asked;
        if self.sealed < last && self.persisted == last && now.saturating_sub(at) >= self.times.idle
        {
            self.sealed = last;
            self.links.persister.send(SealLog);
        }
    }
}
