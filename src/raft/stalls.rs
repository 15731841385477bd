//! A process that did not run for a while, and what silence means to it afterwards.
//!
//! A stopped process, a suspended machine or a starved thread runs no timers. When it runs again,
//! its clock says that no member has been heard for a long time, but the answers and heartbeats of
//! that time may be unread in its mailbox or its sockets. Silence proves nothing then. The driver
//! knows how late its tick is and reports it ([`stalled`](Raft::stalled)). From then on, for one
//! request timeout, but no longer than the shortest election timeout:
//!
//! - A leader does not step down because no quorum answers; it sends every member a heartbeat at
//!   once.
//! - Another member does not campaign, and still regards its leader as alive.
//!
//! This grace time is granted once for each time that the leader, or a quorum, was heard: a process
//! that stalls repeatedly waits no longer than one that stalls once. Safety does not depend on it:
//! reads are confirmed by rounds of answers (`reads.rs`), and commits by the entries that members
//! hold.

use super::core::Raft;
use super::types::Micros;

impl Raft {
    /// Reports that the driver has not run for a while: the next tick comes much later than it was
    /// due. To be called before that tick. The driver decides which delay is long; half a heartbeat
    /// interval is.
    pub fn stalled(&mut self, now: Micros) {
        self.input(now, Raft::on_stalled);
    }

    fn on_stalled(&mut self) {
        let now = self.now;
        let heard_at = match self.role.is_leader() {
            true => self.quorum_heard_at(),
            false => self.timer.leader_heard_at().unwrap_or(0),
        };
        let patience = self.config.request_timeout.min(self.config.election_timeout_min);
        let until = now + patience;
        if !self.timer.excuse(until, heard_at) {
            return;
        }
        match self.role.leading_mut() {
            Some(leading) => leading.members_mut().for_each(|(_, progress)| progress.call(now)),
            None => self.timer.restart(self.timer.ends_at().max(until)),
        }
    }
}
