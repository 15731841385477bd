//! All randomness of a run, from its seed.

use std::time::Duration;

use quorate::raft::Random;

/// The numbers of one purpose.
#[derive(Clone, Debug)]
pub struct Dice(Random);

impl Dice {
    /// The dice of `seed` for one purpose: each purpose has numbers of its own.
    pub fn new(seed: u64, purpose: u64) -> Dice {
        Dice(Random::new(Random::new(seed).next() ^ purpose))
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0.next()
    }

    /// Uniform, both ends included.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        self.0.between(first, last)
    }

    /// So many milliseconds, both ends included.
    pub fn millis(&mut self, first: u64, last: u64) -> Duration {
        Duration::from_millis(self.between(first, last))
    }

    /// True so often in a hundred.
    pub fn percent(&mut self, share: u64) -> bool {
        self.0.percent(share)
    }
}
