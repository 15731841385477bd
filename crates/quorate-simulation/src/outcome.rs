//! The settings and the result of one run, for both tiers.

use std::any::Any;
use std::collections::BTreeMap;

use quorate::raft::{Counters, Micros};

use super::faults::FaultKind;
pub use super::invariants::Breach;
use super::schedule::Schedule;
use super::sights::Sights;
use super::trace::Line;

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Decides everything that the other settings leave open.
    pub seed: u64,
    /// The number of members.
    pub nodes: u64,
    /// How long faults occur, in virtual microseconds; then everything heals.
    pub time: Micros,
    /// The faults.
    pub schedule: Schedule,
    /// Whether the lines of the trace are kept.
    pub with_lines: bool,
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The broken invariant, if any.
    pub breach: Option<Breach>,
    /// A hash of the run.
    pub trace_hash: u64,
    /// The number of events; each one was checked.
    pub events: u64,
    /// The duration of the run, in virtual microseconds.
    pub virtual_time: Micros,
    /// The number of client operations that were answered.
    pub operations: u64,
    /// Coverage counters by name.
    pub sights: BTreeMap<&'static str, u64>,
    /// The number of acts that took place, by kind.
    pub acts: [u64; FaultKind::ALL.len()],
    /// Time from the end of all faults to a leader, in thousandths of the longest election timeout.
    pub elected_after: u64,
    /// The lines of the trace, if they were kept.
    pub lines: Vec<Line>,
}

impl Outcome {
    /// Adds `count` to a coverage counter.
    pub(super) fn saw(&mut self, what: &'static str, count: u64) {
        *self.sights.entry(what).or_default() += count;
    }

    /// Adds the members' counters and the coverage of the run.
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

/// The message of a panic.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_string()
}
