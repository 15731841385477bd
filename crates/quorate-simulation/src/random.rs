//! Random numbers from a seed. One seed decides a whole run. Each part of a run draws from its own
//! stream: if one part draws more or fewer numbers, the other parts do not change, so a schedule
//! can be shortened without changing the rest of the run.
//!
//! *What it does not do:* it is not good enough for secrets.

/// A stream of numbers (splitmix64). Equal seeds and stream numbers give equal sequences, in all
/// versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dice(u64);

impl Dice {
    /// Stream number `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Dice {
        let mut dice = Dice(seed);
        dice.0 = dice.roll() ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93);
        dice.0 = dice.roll();
        dice
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        debug_assert!(low <= high, "no number from {low} to {high}");
        low + self.roll() % (high - low + 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// True in `thousandths` of a thousand calls, on average.
    pub fn chance(&mut self, thousandths: u64) -> bool {
        self.below(1_000) < thousandths
    }

    /// One of the elements. Panics if there are none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}
