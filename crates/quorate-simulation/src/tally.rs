//! The summary of many runs: what was covered, what failed, and what was never covered.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::faults::{FaultKind, Faults};
use super::outcome::Outcome;

/// The smallest batch that must cover everything; a smaller one may miss an event by chance.
const SEEDS_THAT_SHOW: u64 = 200;
/// Events that a batch of either tier must cover. A superseded offer is not among them: a leader
/// has to go on sending although it should have heard, just before its receiver begins to decode,
/// which happens once in thousands of seeds.
const SOMETIMES: [&str; 16] = [
    "elected",
    "truncated",
    "snapshotted",
    "sent",
    "compacted",
    "offered",
    "granted",
    "refused",
    "withdrawn",
    "fast_forwarded",
    "recovered",
    "rolled_back",
    "committed",
    "sessions_expired",
    "duplicates_suppressed",
    "pinned",
];
/// Events that a batch must cover if its tier counts them: coincidences that some bugs need to
/// show.
const TOGETHER: [&str; 11] = [
    "asked_beside",
    "grouped",
    "replayed",
    "built_beside",
    "founded_jointly",
    "sent_at_once",
    "seals_checked",
    "applied_by_hand",
    "switched_by_hand",
    "without_spares",
    "spares_again",
];
/// In 99 of 100 runs a leader is elected within this many election timeouts after everything has
/// healed.
const TIMEOUTS_P99: f64 = 4.0;
/// Rules whose breach means that the verdict is unknown.
const UNKNOWN: &str = "unknown";

/// What was covered in all runs together.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The number of runs.
    pub runs: u64,
    /// The sum of their virtual times.
    pub virtual_time: Duration,
    /// The number of requests that were answered.
    pub operations: u64,
    /// The number of events; each one was checked.
    pub events: u64,
    /// A hash of all runs: the same program gives the same hash in every process.
    pub trace_hash: u64,
    /// Coverage counters: elections, snapshots, installs and so on.
    pub seen: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// Adds a run. The hash depends on the order: add them in the order of their seeds.
    pub(super) fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.virtual_time += Duration::from_micros(outcome.virtual_time);
        self.operations += outcome.operations;
        self.events += outcome.events;
        self.trace_hash = (self.trace_hash.rotate_left(5) ^ outcome.trace_hash)
            .wrapping_mul(0x9fb2_1c65_1e98_df25);
        for (what, count) in &outcome.sights {
            *self.seen.entry(what).or_default() += count;
        }
    }
}

/// Sums up runs and their failures.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    sum: Summary,
    violations: u64,
    unknown: u64,
    /// The broken rule, by seed.
    failing: BTreeMap<u64, &'static str>,
    /// By kind of fault: the seeds in which it took place, and the number of its acts.
    faults: Vec<(u64, u64)>,
    elected_after: Vec<u64>,
}

/// The summary.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The number of runs.
    pub seeds: u64,
    /// Virtual time of all runs, in hours.
    pub virtual_hours: f64,
    /// Virtual hours for each minute of one processor.
    pub cluster_hours_per_cpu_minute: f64,
    /// Events, each checked, for each second of one processor.
    pub events_per_second: u64,
    /// The number of client operations that were answered.
    pub operations: u64,
    /// The same, for each second of virtual time.
    pub operations_per_virtual_second: f64,
    /// The number of runs that broke an invariant.
    pub violations: u64,
    /// The number of runs without a verdict.
    pub unknown: u64,
    /// What was never covered although the batch was large enough; if not empty, the batch is
    /// worthless.
    pub vacuous: Vec<String>,
    /// The lowest seed with a violation or without a verdict.
    pub first_failing_seed: Option<u64>,
    /// All such seeds, each with the broken rule.
    pub failing: BTreeMap<u64, &'static str>,
    /// A hash of all runs.
    pub trace_hash: String,
    /// Time from the end of all faults to a leader, in election timeouts: the 99th percentile.
    pub election_timeouts_p99: f64,
    /// The maximum.
    pub election_timeouts_max: f64,
    /// Coverage counters by name.
    pub seen: BTreeMap<&'static str, u64>,
    /// The number of acts of each kind.
    pub faults: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Adds a run. The hash depends on the order: add them in the order of their seeds.
    pub fn add(&mut self, outcome: &Outcome) {
        self.sum.add(outcome);
        self.faults.resize(FaultKind::ALL.len(), (0, 0));
        for (sum, acts) in self.faults.iter_mut().zip(outcome.acts) {
            *sum = (sum.0 + u64::from(acts > 0), sum.1 + acts);
        }
        self.elected_after.push(outcome.elected_after);
        if let Some(breach) = &outcome.breach {
            let undecided = breach.rule == UNKNOWN;
            self.unknown += u64::from(undecided);
            self.violations += u64::from(!undecided);
            self.failing.insert(outcome.seed, breach.rule);
        }
    }

    /// The summary of runs that were allowed `faults` and took `spent` of one processor.
    pub fn report(&self, faults: Faults, spent: Duration) -> Report {
        let Summary { runs, virtual_time, operations, events, trace_hash, seen } = &self.sum;
        let hours = virtual_time.as_micros() as f64 / 3.6e9;
        let seconds = spent.as_secs_f64().max(1e-9);
        let mut elected_after = self.elected_after.clone();
        elected_after.sort_unstable();
        let slowest = |of: usize| elected_after.get(of).map_or(0.0, |after| *after as f64 / 1e3);
        let names = FaultKind::ALL.iter().map(|kind| kind.name());
        Report {
            seeds: *runs,
            virtual_hours: hours,
            cluster_hours_per_cpu_minute: hours / (seconds / 60.0),
            events_per_second: (*events as f64 / seconds) as u64,
            operations: *operations,
            operations_per_virtual_second: *operations as f64 / (hours * 3600.0).max(1e-9),
            violations: self.violations,
            unknown: self.unknown,
            vacuous: self.vacuous(faults),
            first_failing_seed: self.failing.keys().next().copied(),
            failing: self.failing.clone(),
            trace_hash: format!("{:016x}", trace_hash),
            election_timeouts_p99: slowest(
                (elected_after.len() * 99).div_ceil(100).saturating_sub(1),
            ),
            election_timeouts_max: slowest(elected_after.len().saturating_sub(1)),
            seen: seen.clone(),
            faults: names.zip(self.faults.iter().map(|(_, acts)| *acts)).collect(),
        }
    }

    /// What a batch of this size should have covered and has not.
    fn vacuous(&self, faults: Faults) -> Vec<String> {
        if self.sum.runs < SEEDS_THAT_SHOW || faults != Faults::all() {
            return Vec::new();
        }
        let seen = |what: &&str| self.sum.seen.get(*what).is_none_or(|count| *count == 0);
        let mut missing: Vec<String> = SOMETIMES
            .iter()
            .filter(|what| seen(what))
            .map(|what| format!("never {what}"))
            .collect();
        let unseen = |what: &&&str| self.sum.seen.get(**what) == Some(&0);
        missing.extend(TOGETHER.iter().filter(unseen).map(|what| format!("never {what}")));
        for (kind, (seeds, _)) in FaultKind::ALL.iter().zip(&self.faults) {
            if faults.contains(*kind) && seeds * 4 < self.sum.runs {
                missing.push(format!("{kind} in {seeds} of {} seeds", self.sum.runs));
            }
        }
        missing
    }
}

impl Report {
    /// Whether nothing failed, leaders are elected soon, and everything was covered.
    pub fn is_good(&self) -> bool {
        let in_time = self.election_timeouts_p99 <= TIMEOUTS_P99;
        self.violations == 0 && self.unknown == 0 && self.vacuous.is_empty() && in_time
    }
}
