//! Compares a figure with the best published one.

use std::fmt;

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Beaten,
    Equalled,
    /// Missed, with no time left beyond the script's own waits, which alone exceed the published
    /// time.
    AtTheFloor,
    /// Missed; the script's own waits alone exceed the published time, and there is time beyond
    /// them.
    OutOfReach,
    Missed,
}

impl Verdict {
    /// The verdict on a time, in tenths of a second as times are published. `waits` is the time
    /// that the script waits independently of the peers.
    pub fn of_time(seconds: f64, waits: f64, published: f64) -> Verdict {
        match tenths(seconds).cmp(&tenths(published)) {
            std::cmp::Ordering::Less => Verdict::Beaten,
            std::cmp::Ordering::Equal => Verdict::Equalled,
            std::cmp::Ordering::Greater if tenths(seconds) <= tenths(waits) => Verdict::AtTheFloor,
            std::cmp::Ordering::Greater if tenths(published) < tenths(waits) => Verdict::OutOfReach,
            std::cmp::Ordering::Greater => Verdict::Missed,
        }
    }

    /// The verdict on a count, or on a count per command.
    pub fn of_count(ours: f64, published: f64) -> Verdict {
        match ours.total_cmp(&published) {
            std::cmp::Ordering::Less => Verdict::Beaten,
            std::cmp::Ordering::Equal => Verdict::Equalled,
            std::cmp::Ordering::Greater => Verdict::Missed,
        }
    }
}

fn tenths(seconds: f64) -> i64 {
    (seconds * 10.0).round() as i64
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Beaten => "beaten",
            Verdict::Equalled => "equalled",
            Verdict::AtTheFloor => "at the floor",
            Verdict::OutOfReach => "out of reach",
            Verdict::Missed => "missed",
        })
    }
}
