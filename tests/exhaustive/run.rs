//! One run: explores all configurations in sequence, and prints statistics.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use stateright::report::{ReportData, ReportDiscovery, Reporter};
use stateright::{Checker, HasDiscoveries, Model};

use crate::bounds::Bounds;
use crate::coverage::Coverage;
use crate::fingerprint::{Seen, mix};
use crate::model::Cluster;

/// The limits of a run.
#[derive(Clone, Copy)]
pub struct Plan {
    /// How often each configuration is begun, each time with another order of choices, and with
    /// less allowed after the first pass: a depth-first search does not return to its first choices
    /// for a long time.
    pub passes: u64,
    /// Time for each pass.
    pub time: Option<Duration>,
    /// States generated in each pass, including those reached again.
    pub states: usize,
    pub threads: usize,
    pub order: u64,
}

/// The result of a run.
#[derive(Default)]
pub struct Outcome {
    pub unique: usize,
    pub seconds: f64,
    pub failures: Vec<String>,
}

/// Explores one configuration.
pub fn explore(bounds: &Bounds, plan: &Plan) -> Outcome {
    let (coverage, seen) = (Arc::<Coverage>::default(), Arc::<Seen>::default());
    let mut outcome = Outcome::default();
    let (mut generated, mut depth, mut whole) = (0, 0, 0);
    for pass in 0..plan.passes {
        let order = mix(plan.order ^ pass << 32);
        let mut bounds = *bounds;
        if pass > 0 {
            bounds.allowed = bounds.allowed.thinned(order);
        }
        let cluster = Cluster { bounds, coverage: coverage.clone(), order, seen: seen.clone() };
        let mut progress =
            Progress { name: bounds.name, earlier: outcome.seconds, ..Progress::default() };
        let mut checker = cluster.checker().threads(plan.threads);
        if let Some(time) = plan.time {
            checker = checker.timeout(time);
        }
        let checker = checker
            .target_state_count(plan.states)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_dfs()
            .join_and_report(&mut progress);
        outcome.seconds += progress.duration.as_secs_f64();
        generated += checker.state_count();
        depth = depth.max(checker.max_depth());
        let cut = plan.time.is_some_and(|time| progress.duration >= time);
        whole += u64::from(!cut && checker.state_count() < plan.states);
        if !progress.failures.is_empty() {
            outcome.failures = progress.failures;
            break;
        }
    }
    outcome.unique = seen.len();
    println!(
        "{}: {} unique of {generated} states, depth {depth}, {whole} of {} passes to their end, {:.1} s; {}",
        bounds.name,
        outcome.unique,
        plan.passes,
        outcome.seconds,
        coverage.seen(),
    );
    let missing = coverage.missing(bounds.must_see);
    if outcome.failures.is_empty() && !missing.is_empty() {
        let what = format!("{}: never saw {missing:?}, so it proves nothing", bounds.name);
        outcome.failures.push(what);
    }
    outcome
}

/// Prints the progress of the exploration, and counterexamples.
#[derive(Default)]
struct Progress {
    name: &'static str,
    duration: Duration,
    /// Seconds of earlier passes.
    earlier: f64,
    told: u64,
    failures: Vec<String>,
}

/// Seconds between two lines of output.
const TELL_EVERY: u64 = 10;

impl<M: Model> Reporter<M> for Progress {
    fn report_checking(&mut self, data: ReportData) {
        self.duration = data.duration;
        let turn = data.duration.as_secs() / TELL_EVERY;
        if turn > self.told {
            self.told = turn;
            println!(
                "  {} after {:.0} s: {:.0} s, {} states, {} unique, depth {}, {:.0} unique a second",
                self.name,
                self.earlier,
                data.duration.as_secs_f64(),
                data.total_states,
                data.unique_states,
                data.max_depth,
                data.unique_states as f64 / data.duration.as_secs_f64(),
            );
        }
    }

    fn report_discoveries(&mut self, _: &M, discoveries: BTreeMap<&'static str, ReportDiscovery<M>>)
    where
        M::Action: Debug + PartialEq,
        M::State: Debug + Hash + PartialEq,
    {
        for (_, ReportDiscovery { path, .. }) in discoveries {
            let last = format!("{:?}", path.last_state());
            println!("counterexample in {}:", self.name);
            for (number, action) in path.into_actions().iter().enumerate() {
                println!("  {:2} {action:?}", number + 1);
            }
            println!("{last}");
            self.failures.push(format!("{}: {last}", self.name));
        }
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(100)
    }
}
