//! When the protocol next has something to do by itself.
//!
//! A driver that ticks at this moment is in time, and otherwise needs to tick only now and then: a
//! few checks that need no precision (expired transfers, a disk that hangs) are made at any tick.

use super::core::Raft;
use super::state::{Leading, Progress, RoleState};
use super::types::Micros;

impl Raft {
    /// The latest time at which a tick is due, given the state after [`ready`](Raft::ready). It may
    /// lie in the past.
    pub fn next_deadline(&self) -> Micros {
        match &self.role {
            RoleState::Leader(leading) => {
                let due_at = |(_, progress)| self.member_deadline(leading, progress);
                let members = leading.members().map(due_at);
                let alternate = self.alternate_due_at();
                let first = members.chain(alternate).fold(Micros::MAX, Micros::min);
                // Once a leader that keeps its role has failed its reads, nothing more is due at
                // that time.
                let watches = self.config.check_quorum || !leading.reads.is_empty();
                let quorum_lost = self.quorum_lost_at().saturating_add(1);
                if watches { first.min(quorum_lost) } else { first }
            }
            _ => {
                let asks =
                    (!self.missing_answers().is_empty()).then_some(self.recovery_query.ask_at);
                let again = self.campaign.deadline();
                [asks, again].into_iter().flatten().fold(self.timer.ends_at(), Micros::min)
            }
        }
    }

    /// How long an election, or the stepping down of a leader, has been due.
    pub(super) fn overdue(&self) -> Micros {
        let due = match self.role.is_leader() {
            true => self.quorum_lost_at().saturating_add(1),
            false => self.next_deadline(),
        };
        self.now.saturating_sub(due)
    }

    fn member_deadline(&self, leading: &Leading, progress: &Progress) -> Micros {
        let heartbeat = progress.heartbeat_due_at(self.config.heartbeat_interval);
        let expires_at = progress.expires_at(self.config.request_timeout);
        // A member that needs a snapshot waits for an answer or for the snapshot, not for a time.
        let waits = progress.next <= self.log.start().index && progress.retry_at <= self.now;
        let entries = self.entries_due_at(leading, progress).filter(|_| !waits);
        [expires_at, entries, self.resumes_at(progress)]
            .into_iter()
            .flatten()
            .fold(heartbeat, Micros::min)
    }
}
