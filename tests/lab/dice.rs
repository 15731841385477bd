//! All randomness of a run, from its seed.

use std::time::Duration;

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of `seed` for one purpose: each purpose has numbers of its own.
    pub fn new(seed: u64, purpose: u64) -> Dice {
        let mut dice = Dice(seed);
        Dice(dice.roll() ^ purpose)
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform, both ends included.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.roll() % (last - first + 1)
    }

    /// So many milliseconds, both ends included.
    pub fn millis(&mut self, first: u64, last: u64) -> Duration {
        Duration::from_millis(self.between(first, last))
    }

    /// True so often in a hundred.
    pub fn percent(&mut self, share: u64) -> bool {
        self.between(0, 99) < share
    }
}
