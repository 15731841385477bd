//! When a member that hears no leader campaigns, and what silence means after a stall.
//!
//! ```text
//!   leader heard          ends_at                      stall over
//!   ──────┼── election timeout ──┼─▶ campaign    ──┼── excused_until ──┼─▶ silence counts again
//! ```
//! A process that did not run for a while may have unread messages: silence proves nothing for a
//! while then (`stalls.rs`). Each time that the leader, or a quorum, was heard excuses silence once.

use crate::raft::types::Micros;

/// The election timeout, and when the leader was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::raft) struct ElectionTimer {
    ends_at: Micros,
    /// When a leader of the current term was last heard.
    leader_heard_at: Option<Micros>,
    /// Silence is excused before this moment.
    excused_until: Micros,
    /// When the leader, or a quorum, had been heard at the last stall that was excused.
    excused_for: Option<Micros>,
}

impl ElectionTimer {
    /// When the election timeout ends.
    pub(in crate::raft) fn ends_at(&self) -> Micros {
        self.ends_at
    }

    /// The election timeout ends at `ends_at`.
    pub(in crate::raft) fn restart(&mut self, ends_at: Micros) {
        self.ends_at = ends_at;
    }

    /// A leader of the current term is heard.
    pub(in crate::raft) fn hear_leader(&mut self, now: Micros) {
        self.leader_heard_at = Some(now);
    }

    /// A new term begins, whose leader has not been heard.
    pub(in crate::raft) fn forget_leader(&mut self) {
        self.leader_heard_at = None;
    }

    pub(in crate::raft) fn leader_heard_at(&self) -> Option<Micros> {
        self.leader_heard_at
    }

    /// Silence proves nothing before this moment.
    pub(in crate::raft) fn excused_until(&self) -> Micros {
        self.excused_until
    }

    /// The process stalled. Silence is excused before `until`, unless it has been excused before
    /// for the same `heard_at`. Returns whether it is excused.
    pub(in crate::raft) fn excuse(&mut self, until: Micros, heard_at: Micros) -> bool {
        let is_first = self.excused_for != Some(heard_at);
        if is_first {
            (self.excused_until, self.excused_for) = (until, Some(heard_at));
        }
        is_first
    }

    #[cfg(feature = "testing")]
    pub(in crate::raft) fn forget_history(&mut self, ends_at: Micros) {
        *self = ElectionTimer { ends_at, ..ElectionTimer::default() };
    }
}
