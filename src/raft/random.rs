//! Random numbers from a seed: SplitMix64, the only generator of this crate. It is written out here
//! because the protocol's whole state must be comparable and hashable, and because equal seeds must
//! give equal numbers in all versions. It is not good enough for secrets.

/// A generator of random numbers. Two with the same state always give the same numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Random(u64);

impl Random {
    /// A generator in this state.
    pub const fn new(state: u64) -> Random {
        Random(state)
    }

    /// Mixes all parts into the state, so that neighbouring nodes and restarts differ (EL08).
    pub fn of(parts: [u64; 3]) -> Random {
        let mix_in = |mut random: Random, part| {
            random.0 ^= part;
            Random(random.next())
        };
        parts.into_iter().fold(Random(0), mix_in)
    }

    /// Any number.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends, and nothing iterates over it"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        debug_assert!(low <= high, "no number from {low} to {high}");
        low + self.next() % (high - low).saturating_add(1)
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True in `thousandths` of a thousand calls, on average.
    pub fn chance(&mut self, thousandths: u64) -> bool {
        self.below(1_000) < thousandths
    }

    /// True in `percent` of a hundred calls, on average.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// True in half of all calls.
    pub fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    /// This many bytes, which no compression makes shorter.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(count).collect()
    }

    /// One of the elements. Panics if there are none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// Spreads a number: each bit of it flips about half of the bits of the result.
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
