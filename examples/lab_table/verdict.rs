//! Whether a figure is better than the best published one.

use std::fmt;

/// How a figure compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Beaten,
    Equalled,
    /// Missed, and nothing but the script's own waits is left of it: they alone take longer than the published time.
    AtTheFloor,
    /// Missed, and the script's own waits alone take longer than the published time, but there is more than they.
    OutOfReach,
    Missed,
}

impl Verdict {
    /// Of a time, to a tenth of a second as times are published; `waits` is the part that the script waits whatever the peers do.
    pub fn of_time(seconds: f64, waits: f64, published: f64) -> Verdict {
        match tenths(seconds).cmp(&tenths(published)) {
            std::cmp::Ordering::Less => Verdict::Beaten,
            std::cmp::Ordering::Equal => Verdict::Equalled,
            std::cmp::Ordering::Greater if tenths(seconds) <= tenths(waits) => Verdict::AtTheFloor,
            std::cmp::Ordering::Greater if tenths(published) < tenths(waits) => Verdict::OutOfReach,
            std::cmp::Ordering::Greater => Verdict::Missed,
        }
    }

    /// Of a count, or of a count per command.
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
