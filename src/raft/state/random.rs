//! Randomness from a seed: splitmix64. It is written out here because the whole protocol state must
//! be comparable and hashable, and the state of no generator crate is.

/// A small deterministic generator. Two with the same seed always give the same numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) struct Random(u64);

impl Random {
    /// Mixes all parts into the state, so that neighbouring nodes and restarts differ (EL08).
    pub(in crate::raft) fn new(parts: [u64; 3]) -> Random {
        let mut random = Random(0);
        for part in parts {
            random.0 ^= part;
            random.0 = random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low..=high`.
    pub(in crate::raft) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }
}
