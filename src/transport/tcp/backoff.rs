//! The delay before the next attempt to connect.

use std::time::Duration;

use crate::raft::Random;

/// Doubles with each attempt, up to a maximum, with jitter: members that lost the same peer do not
/// all reconnect at the same moment.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    random: Random,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration, seed: u64) -> Backoff {
        Backoff { min, max, next: min, random: Random::new(seed) }
    }

    /// The next delay: between half of the current step and all of it.
    pub(crate) fn next(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.max);
        let half = full / 2;
        let spread_us = half.as_micros() as u64;
        half + Duration::from_micros(self.random.between(0, spread_us))
    }

    /// Resets the delay to the minimum, after an attempt succeeded.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_begin_anew_after_a_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(20), ms(100), 7);
        for full in [20, 40, 80, 100, 100].map(ms) {
            let wait = backoff.next();
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= ms(20));
    }

    #[test]
    fn two_seeds_wait_differently_and_one_seed_the_same() {
        let waits = |seed| {
            let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2), seed);
            [(); 8].map(|()| backoff.next())
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
