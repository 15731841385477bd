//! The own term and vote, and how far other members may raise the term (EL25).
//!
//! ```text
//!   own term at the start of a window    + TERM_STEP      + TERM_LEAP_MAX
//!   ──┼────────── taken over ─────────────────┼─────────────────┼── refused: one step a window ──▶
//! ```
//! Elections raise a term by at most the number of members in an `election_timeout_min`. A term far
//! beyond that comes from a broken member, or this member was away. In both cases the own term
//! rises towards it in steps, so that no term ever comes near the end of the numbers, and members
//! that were separated meet again (decision 019).
//!
//! Invariants, asserted at every change:
//! - the term never falls, and the vote of a term never changes
//! - what is durable follows the same rule, and is never ahead of the current term and vote

use crate::raft::types::{HardState, Micros, NodeId, Term};

/// The most by which other members raise the own term in one `election_timeout_min`
/// (EL25, decision 019).
pub(in crate::raft) const TERM_LEAP_MAX: u64 = 1 << 20;
/// The step by which the own term rises towards a term further ahead. It is less than
/// `TERM_LEAP_MAX`, so that members that were raised at different times still accept each other's
/// terms.
pub(in crate::raft) const TERM_STEP: u64 = TERM_LEAP_MAX / 4;

/// Term and vote, and what is durable of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) struct Terms {
    current: HardState,
    durable: HardState,
    /// When the window began in which other members may raise the term, and the term then.
    window: (Micros, Term),
}

impl Terms {
    /// The state at a node's start, all of it durable.
    pub(in crate::raft) fn new(hard_state: HardState, now: Micros) -> Terms {
        Terms { current: hard_state, durable: hard_state, window: (now, hard_state.term) }
    }

    pub(in crate::raft) fn current(&self) -> HardState {
        self.current
    }

    pub(in crate::raft) fn term(&self) -> Term {
        self.current.term
    }

    pub(in crate::raft) fn vote(&self) -> Option<NodeId> {
        self.current.vote
    }

    /// Term and vote as far as they are durable.
    pub(in crate::raft) fn durable(&self) -> HardState {
        self.durable
    }

    /// Whether the current term and vote are durable.
    pub(in crate::raft) fn is_durable(&self) -> bool {
        self.durable == self.current
    }

    /// Enters a higher term, with a vote for the own candidate or none.
    pub(in crate::raft) fn enter(&mut self, hard_state: HardState) {
        let term = self.current.term;
        assert!(hard_state.term > term, "term {} entered from {term}", hard_state.term);
        self.current = hard_state;
    }

    /// Votes in the current term.
    pub(in crate::raft) fn vote_for(&mut self, candidate: NodeId) {
        let HardState { term, vote } = self.current;
        assert!(vote.is_none(), "a second vote in term {term}: {candidate} after {vote:?}");
        self.current.vote = Some(candidate);
    }

    /// This much is durable by now. Returns whether that is news.
    pub(in crate::raft) fn persisted(&mut self, durable: HardState) -> bool {
        assert!(
            durable.follows(self.durable) && self.current.follows(durable),
            "durable {durable:?} after {:?}, with {:?} as the current state",
            self.durable,
            self.current
        );
        std::mem::replace(&mut self.durable, durable) != durable
    }

    /// The highest term that is taken over from another member now (EL25). A window of `wait`
    /// begins if the last one is over.
    pub(in crate::raft) fn ceiling(&mut self, now: Micros, wait: Micros) -> Term {
        if now.saturating_sub(self.window.0) >= wait {
            self.window = (now, self.current.term);
        }
        self.window.1 + TERM_LEAP_MAX
    }

    /// The term to enter when a message claims one above the ceiling. `None`: the term has risen by
    /// a step in this window already.
    pub(in crate::raft) fn step_up(&self) -> Option<Term> {
        let step = self.window.1 + TERM_STEP;
        (step > self.current.term).then_some(step)
    }

    #[cfg(feature = "testing")]
    pub(in crate::raft) fn forget_history(&mut self, now: Micros) {
        self.window = (now, self.current.term);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(term: Term, vote: Option<NodeId>) -> HardState {
        HardState { term, vote }
    }

    #[test]
    #[should_panic(expected = "term 3 entered from 3")]
    fn a_term_never_falls() {
        Terms::new(state(3, None), 0).enter(state(3, Some(1)));
    }

    #[test]
    #[should_panic(expected = "a second vote in term 3")]
    fn a_vote_never_changes() {
        Terms::new(state(3, Some(1)), 0).vote_for(2);
    }

    #[test]
    #[should_panic(expected = "as the current state")]
    fn nothing_is_durable_before_it_is_current() {
        Terms::new(state(3, None), 0).persisted(state(3, Some(1)));
    }

    #[test]
    fn a_term_far_ahead_is_reached_in_steps() {
        let mut terms = Terms::new(state(3, None), 0);
        assert_eq!(terms.ceiling(9, 10), 3 + TERM_LEAP_MAX);
        assert_eq!(terms.step_up(), Some(3 + TERM_STEP));
        terms.enter(state(3 + TERM_STEP, None));
        assert_eq!(terms.step_up(), None, "one step in a window");
        assert_eq!(terms.ceiling(10, 10), 3 + TERM_STEP + TERM_LEAP_MAX, "the next window");
        assert_eq!(terms.step_up(), Some(3 + 2 * TERM_STEP));
    }
}
