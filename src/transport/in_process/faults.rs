//! The random faults of a link, and the random stream that decides them.
//!
//! Each envelope draws the same number of random values whatever the faults are: a test that only
//! raises the loss probability keeps the delays of the envelopes that are not lost.

use std::time::Duration;

use crate::raft::{NodeId, Random};

/// One direction between two members: from, to.
pub(super) type Link = (NodeId, NodeId);

/// The random faults of one link.
///
/// Probabilities of 0 or less (and NaN) mean never, of 1 or more always.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkFaults {
    /// The probability that an envelope is lost.
    pub drop_probability: f64,
    /// The probability that an envelope that is not lost arrives twice.
    pub duplicate_probability: f64,
    /// The minimum delay of each copy.
    pub min_delay: Duration,
    /// The maximum delay of each copy; below `min_delay` it counts as `min_delay`. If it is larger
    /// than `min_delay`, envelopes may be reordered.
    pub max_delay: Duration,
}

impl LinkFaults {
    /// No faults: every envelope arrives without delay, once and in order.
    pub const NONE: LinkFaults = LinkFaults {
        drop_probability: 0.0,
        duplicate_probability: 0.0,
        min_delay: Duration::ZERO,
        max_delay: Duration::ZERO,
    };

    /// Delays between `min` and `max`, uniformly distributed, and no other fault.
    pub const fn delay(min: Duration, max: Duration) -> LinkFaults {
        LinkFaults { min_delay: min, max_delay: max, ..LinkFaults::NONE }
    }

    /// Losses, and no other fault.
    pub const fn loss(drop_probability: f64) -> LinkFaults {
        LinkFaults { drop_probability, ..LinkFaults::NONE }
    }

    /// Whether this is [`LinkFaults::NONE`] in effect.
    pub(super) fn is_none(&self) -> bool {
        *self == LinkFaults::NONE
    }

    /// Draws the fault decision for the next envelope.
    pub(super) fn draw(&self, generator: &mut Generator) -> Fate {
        let lost = generator.chance(self.drop_probability);
        let twice = generator.chance(self.duplicate_probability);
        let first = generator.delay(self.min_delay, self.max_delay);
        let second = generator.delay(self.min_delay, self.max_delay);
        match (lost, twice) {
            (true, _) => Fate::Lost,
            (false, false) => Fate::Once(first),
            (false, true) => Fate::Twice(first, second),
        }
    }
}

/// The fault decision for one envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    /// Arrives after this delay.
    Once(Duration),
    /// Two copies arrive, each after its own delay.
    Twice(Duration, Duration),
}

/// The random numbers of one link.
#[derive(Clone, Debug)]
pub(super) struct Generator(Random);

impl Generator {
    /// The stream of one link: different for each direction and each pair.
    pub(super) fn of_link(seed: u64, (from, to): Link) -> Generator {
        let mix_in = |mut random: Random, id| Random::new(random.next() ^ id);
        Generator([from, to].into_iter().fold(Random::new(seed), mix_in))
    }

    fn chance(&mut self, probability: f64) -> bool {
        // An f64 holds the upper 53 bits exactly: a value from 0 up to, but not including, 1.
        let unit = (self.0.next() >> 11) as f64 / (1u64 << 53) as f64;
        unit < probability
    }

    fn delay(&mut self, min: Duration, max: Duration) -> Duration {
        let span_us = u64::try_from(max.saturating_sub(min).as_micros()).unwrap_or(u64::MAX - 1);
        min + Duration::from_micros(self.0.between(0, span_us))
    }
}
