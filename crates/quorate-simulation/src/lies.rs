//! Malformed messages on the simulated networks: one number of an honest message, set to an end of
//! its range. What the numbers are is in the library, whose tests use them too.

use quorate::raft::testing::malformed::{ENDS, numbers};
use quorate::raft::{Body, Envelope, Request};

use super::random::Dice;

/// `envelope` with one of its numbers set to an end of its range. The log that a candidate claims
/// has a length that no real log can have: a candidate that claims a slightly longer log wins the
/// election.
pub(super) fn beside(envelope: &Envelope, dice: &mut Dice) -> Envelope {
    let mut lie = envelope.clone();
    let stands = matches!(lie.body, Body::Request(Request::PreVote { .. } | Request::Vote { .. }));
    let mut numbers = numbers(&mut lie);
    let at = dice.below(numbers.len() as u64) as usize;
    let (name, number) = &mut numbers[at];
    let leap = (1 << 32) - 8;
    **number = match *name {
        "term" if dice.chance(300) => **number + leap,
        "log id's index" if stands => *dice.pick(&ENDS[2..]),
        _ => *dice.pick(&ENDS),
    };
    lie
}
