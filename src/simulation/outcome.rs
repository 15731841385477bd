//! One run: what it is given, and what came of it. The same for both tiers.

use std::any::Any;
use std::collections::BTreeMap;

use crate::raft::{Counters, Micros};

use super::faults::FaultKind;
pub use super::judge::Breach;
use super::schedule::Schedule;
use super::sights::Sights;
use super::trace::Line;

/// What a run is given.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Decides everything that the rest leaves open.
    pub seed: u64,
    /// Members.
    pub nodes: u64,
    /// How long things go wrong, in virtual microseconds; then everything heals.
    pub time: Micros,
    /// What goes wrong.
    pub schedule: Schedule,
    /// Whether the trace is kept.
    pub with_lines: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What must not be.
    pub breach: Option<Breach>,
    /// The run as one number.
    pub trace_hash: u64,
    /// Events, each checked.
    pub events: u64,
    /// How long the run took, in virtual microseconds.
    pub virtual_time: Micros,
    /// Operations of clients that were answered.
    pub operations: u64,
    /// How often what was seen.
    pub sights: BTreeMap<&'static str, u64>,
    /// Acts that took place, by kind.
    pub acts: [u64; FaultKind::ALL.len()],
    /// Time from the end of all faults to a leader, in thousandths of the longest election timeout.
    pub elected_after: u64,
    /// The trace, if it was kept.
    pub lines: Vec<Line>,
}

impl Outcome {
    /// Something was seen so often.
    pub(super) fn saw(&mut self, what: &'static str, count: u64) {
        *self.sights.entry(what).or_default() += count;
    }

    /// What members have counted, and what was seen of the run.
    pub(super) fn saw_all(&mut self, counters: &Counters, sights: &Sights) {
        (self.acts, self.elected_after) = (sights.acts, sights.elected_after);
        for (what, count) in [
            ("elected", counters.elections_won),
            ("truncated", counters.truncations),
            ("snapshotted", counters.snapshots_taken),
            ("sent", counters.snapshots_sent),
            ("compacted", counters.entries_compacted),
            ("pinned", counters.purges_pinned),
            ("offered", counters.installs_offered),
            ("granted", counters.installs_granted),
            ("refused", counters.installs_refused),
            ("withdrawn", counters.installs_withdrawn),
            ("superseded", counters.installs_superseded),
            ("fast_forwarded", counters.fast_forwards),
            ("rolled_back", sights.rolled_back),
            ("damaged_ends", sights.damaged_ends),
            ("built_beside", sights.built_beside),
            ("replayed", sights.replayed),
        ] {
            self.saw(what, count);
        }
    }
}

/// What a panic says.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_string()
}
