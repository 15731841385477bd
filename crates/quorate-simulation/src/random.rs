//! Random numbers from a seed. One seed decides a whole run. Each part of a run draws from its own
//! stream: if one part draws more or fewer numbers, the other parts do not change, so a schedule
//! can be shortened without changing the rest of the run.
//!
//! *What it does not do:* it is not good enough for secrets.

use quorate::raft::Random;

/// A stream of numbers. Equal seeds and stream numbers give equal sequences, in all versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dice(Random);

impl Dice {
    /// Stream number `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Dice {
        let first = Random::new(seed).next() ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93);
        Dice(Random::new(Random::new(first).next()))
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0.next()
    }

    /// A number from `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.between(low, high)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.below(end)
    }

    /// True in `thousandths` of a thousand calls, on average.
    pub fn chance(&mut self, thousandths: u64) -> bool {
        self.0.chance(thousandths)
    }

    /// One of the elements. Panics if there are none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        self.0.pick(of)
    }
}
