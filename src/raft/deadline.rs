//! When the protocol next has something to do by itself.
//!
//! Whoever drives it may tick at this moment and be in time, and only now and then otherwise: a few things that need
//! no precision (transfers and hung disks that are given up) are found at any tick.

use super::core::Raft;
use super::progress::Progress;
use super::ready::Role;
use super::types::Micros;

impl Raft {
    /// When a tick is due at the latest, as things stand after [`ready`](Raft::ready). It may lie in the past.
    pub fn next_deadline(&self) -> Micros {
        match self.role {
            Role::Leader => {
                let members = self.progress.values().map(|progress| self.member_deadline(progress));
                let alternate = self.alternate_due_at();
                let first = members.chain(alternate).fold(Micros::MAX, Micros::min);
                // Once a leader that keeps its role has failed its reads, nothing more is due then.
                let watches = self.config.check_quorum || !self.reads.is_empty();
                let quorum_lost = self.quorum_lost_at().saturating_add(1);
                if watches { first.min(quorum_lost) } else { first }
            }
            _ => {
                let asks =
                    (!self.roll_call_missing().is_empty()).then_some(self.recovery_query.ask_at);
                let again = self.campaign.deadline();
                [asks, again].into_iter().flatten().fold(self.election_at, Micros::min)
            }
        }
    }

    /// For how long an election, or a leader's stepping down, has been due.
    pub(super) fn overdue(&self) -> Micros {
        let due = match self.role {
            Role::Leader => self.quorum_lost_at().saturating_add(1),
            _ => self.next_deadline(),
        };
        self.now.saturating_sub(due)
    }

    fn member_deadline(&self, progress: &Progress) -> Micros {
        let heartbeat = progress.heartbeat_due_at(self.config.heartbeat_interval);
        let expires_at = progress.expires_at(self.config.request_timeout);
        // A member that needs a snapshot waits for an answer or a snapshot, not for a time.
        let waits = progress.next <= self.log.start().index && progress.retry_at <= self.now;
        let entries = self.entries_due_at(progress).filter(|_| !waits);
        [expires_at, entries, self.resumes_at(progress)]
            .into_iter()
            .flatten()
            .fold(heartbeat, Micros::min)
    }
}
