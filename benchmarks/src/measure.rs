//! Measuring in turns.
//!
//! ```text
//! round 1: ours  raw   peer        each round gives one ratio ours/raw and one ours/peer,
//! round 2: raw   peer  ours        from figures that are a second apart;
//! round 3: peer  ours  raw   ..    what is told is the median of the ratios, not the ratio of medians
//! ```
//! Who begins a round changes, so that nobody always follows the same neighbour.
//!
//! Not here: tests of significance. The spread stands beside each median.

use std::error::Error;
use std::time::{Duration, Instant};

use clap::Args;

/// What everything here ends with.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// How often and how long, as told on the command line.
#[derive(Args, Default)]
pub struct Turns {
    /// How often each contestant has its turn.
    #[arg(long)]
    pub rounds: Option<usize>,
    /// How long a turn lasts, its warm-up of a quarter more apart.
    #[arg(long)]
    pub seconds: Option<f64>,
}

impl Turns {
    /// The rounds and the length of a turn; these, where nothing else was told.
    pub fn or(&self, rounds: usize, length: Duration) -> Outcome<(usize, Duration)> {
        let told = self.seconds.map(Duration::try_from_secs_f64).transpose()?;
        Ok((self.rounds.unwrap_or(rounds), told.unwrap_or(length)))
    }
}

/// Runs.
#[derive(Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// From now.
    pub fn start() -> Stopwatch {
        #[expect(clippy::disallowed_methods, reason = "real time is what is measured")]
        Stopwatch(Instant::now())
    }

    /// How long it has been running.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Does it, and says how long it took.
pub fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(Duration, T)> {
    let stopwatch = Stopwatch::start();
    let done = work()?;
    Ok((stopwatch.elapsed(), done))
}

/// Lets each contestant have its turn in each round. The results are by contestant, then by round.
pub fn alternate<C, T>(
    rounds: usize,
    contestants: &mut [C],
    mut turn: impl FnMut(&mut C) -> Outcome<T>,
) -> Outcome<Vec<Vec<T>>> {
    let mut results: Vec<Vec<T>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for place in 0..contestants.len() {
            let who = (round + place) % contestants.len();
            results[who].push(turn(&mut contestants[who])?);
        }
    }
    Ok(results)
}

/// The same figure from each round.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    samples: Vec<f64>,
}

impl Spread {
    /// Of these; at least one.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Spread {
        let samples: Vec<f64> = samples.into_iter().collect();
        assert!(!samples.is_empty(), "nothing was measured");
        Spread { samples }
    }

    /// Round by round, this one divided by the other.
    pub fn divided_by(&self, other: &Spread) -> Spread {
        assert_eq!(self.samples.len(), other.samples.len(), "rounds are compared one by one");
        Spread::of(self.samples.iter().zip(&other.samples).map(|(ours, theirs)| ours / theirs))
    }

    /// As measured, in the order of the rounds.
    pub fn samples(&self) -> &[f64] {
        &self.samples
    }

    /// The middle one, or the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        }
    }

    /// The smallest.
    pub fn min(&self) -> f64 {
        self.sorted()[0]
    }

    /// The largest.
    pub fn max(&self) -> f64 {
        self.sorted()[self.samples.len() - 1]
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// How long each of many calls took.
pub struct Latencies {
    sorted: Vec<Duration>,
}

impl Latencies {
    /// Of these calls; at least one.
    pub fn of(calls: impl IntoIterator<Item = Duration>) -> Latencies {
        let mut sorted: Vec<Duration> = calls.into_iter().collect();
        assert!(!sorted.is_empty(), "nothing was measured");
        sorted.sort();
        Latencies { sorted }
    }

    /// `share` of the calls took at most this, in microseconds.
    pub fn percentile_us(&self, share: f64) -> f64 {
        let rank = (self.sorted.len() as f64 * share).ceil() as usize;
        micros(self.sorted[rank.clamp(1, self.sorted.len()) - 1])
    }

    /// The slowest call, in microseconds.
    pub fn max_us(&self) -> f64 {
        self.percentile_us(1.0)
    }
}

/// A duration in microseconds.
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// A duration in milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Bytes in MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_contestant_has_each_place_in_turn() {
        let mut order = String::new();
        let results = alternate(3, &mut ['a', 'b', 'c'], |name| {
            order.push(*name);
            Ok(order.len())
        });
        assert_eq!((order.as_str(), results.unwrap()[1].as_slice()), ("abcbcacab", &[2, 4, 9][..]));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let (ours, theirs) = (Spread::of([10.0, 40.0, 30.0]), Spread::of([10.0, 10.0, 20.0]));
        let ratio = ours.divided_by(&theirs);
        assert_eq!((ratio.min(), ratio.median(), ratio.max()), (1.0, 1.5, 4.0));
        assert_eq!(Spread::of([1.0, 4.0, 2.0, 3.0]).median(), 2.5);
    }

    #[test]
    fn a_percentile_is_a_call_that_happened() {
        let latencies = Latencies::of((1..=200).rev().map(Duration::from_micros));
        let of = |share| latencies.percentile_us(share).round();
        assert_eq!(
            (of(0.0), of(0.5), of(0.99), latencies.max_us().round()),
            (1.0, 100.0, 198.0, 200.0)
        );
    }
}
