//! How far messages of other members raise the own term (EL25).
//!
//! ```text
//!   own term at the start of a window    + TERM_STEP      + TERM_LEAP_MAX
//!   ──┼────────── taken over ─────────────────┼─────────────────┼── refused: one step a window ──▶
//! ```
//! Elections raise a term by at most the number of members in an `election_timeout_min`. A term far
//! beyond that comes from a broken member, or this member was away. In both cases the own term
//! rises towards it in steps, so that no term ever comes near the end of the numbers, and members
//! that were separated meet again (decision 019).

use super::core::Raft;
use super::message::Envelope;
use super::types::Term;

/// The most by which other members raise the own term in one `election_timeout_min`
/// (EL25, decision 019).
pub(super) const TERM_LEAP_MAX: u64 = 1 << 20;
/// The step by which the own term rises towards a term further ahead. It is less than
/// `TERM_LEAP_MAX`, so that members that were raised at different times still accept each other's
/// terms.
pub(super) const TERM_STEP: u64 = TERM_LEAP_MAX / 4;

impl Raft {
    /// The highest term that is taken over from another member now (EL25).
    pub(super) fn term_ceiling(&mut self) -> Term {
        let (since, _) = self.term_bounded;
        if self.now.saturating_sub(since) >= self.config.election_timeout_min {
            self.term_bounded = (self.now, self.hard_state.term);
        }
        self.term_bounded.1 + TERM_LEAP_MAX
    }

    /// Refuses a term that elections could not have reached. The own term rises towards it by one
    /// step, so that a member that was away, and one that was misled, reach the others in the end.
    pub(super) fn refuse_term(&mut self, envelope: &Envelope) {
        let own = self.hard_state.term;
        let step = self.term_bounded.1 + TERM_STEP;
        if step > own {
            self.alarm(format!(
                "node {} claims term {}, more than {TERM_LEAP_MAX} above {own}",
                envelope.from, envelope.term
            ));
            self.enter_term(step);
        }
        self.ignore(envelope, "a term further ahead than elections can have raised it");
    }
}
