//! How far the word of another member raises the own term (EL25).
//!
//! ```text
//!   own term at the beginning of a window        + TERM_STEP          + TERM_LEAP_MAX
//!   ──┼──────────── taken over ──────────────────────┼─────────────────────┼──── refused: a step, once in a window ────▶
//! ```
//! Elections raise a term by no more than the number of members in an `election_timeout_min`. What is far beyond that comes from
//! a broken member, or this one was away; either way it goes there in steps, so that no term is ever near the end of the
//! numbers, and members that were set apart meet again (decision 019).

use super::core::Raft;
use super::message::Envelope;
use super::types::Term;

/// The word of another member raises the own term by at most so much in one `election_timeout_min` (EL25, decision 019).
pub(super) const TERM_LEAP_MAX: u64 = 1 << 20;
/// Towards a term further ahead the own term rises by so much. Less than the most, so that members that were raised at
/// different times still follow each other.
pub(super) const TERM_STEP: u64 = TERM_LEAP_MAX / 4;

impl Raft {
    /// How high another member's word may raise the own term now (EL25).
    pub(super) fn term_ceiling(&mut self) -> Term {
        let (since, _) = self.term_bounded;
        if self.now.saturating_sub(since) >= self.config.election_timeout_min {
            self.term_bounded = (self.now, self.hard_state.term);
        }
        self.term_bounded.1 + TERM_LEAP_MAX
    }

    /// A term that elections could not have reached. It is not taken over; towards it the own term rises by a step, so that a
    /// member that was away, and one that was misled, meet the others in the end.
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
        self.ignore(envelope, "a term further ahead than elections can have led");
    }
}
