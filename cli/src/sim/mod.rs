//! `quorate sim`: whole clusters in virtual time, one run per seed, under faults, with all checks.
//!
//! | status | |
//! |---|---|
//! | 0 | no problem, and all required events have happened |
//! | 1 | a violation, an undecided run, or a batch that did not test some required event |
//! | 2 | wrong use |

mod batch;
mod options;
mod text;
mod trace;

use std::time::Duration;

use quorate_simulation::{Outcome, Schedule, Settings, Tally, cluster, protocol};

use crate::demo::Failure;
pub use options::Options;
use trace::Trace;

/// Runs the seeds; returns whether all have the expected result.
pub fn run(options: &Options) -> Result<bool, Failure> {
    let end = options.end()?;
    let trace = options.trace.as_deref().map(Trace::open).transpose()?;
    std::panic::set_hook(Box::new(|_| ()));
    let (outcomes, spent) = batch::run(options, end);
    if outcomes.is_empty() {
        return Err(Failure("not one seed was run, so nothing was tested".into()));
    }
    let mut tally = Tally::default();
    outcomes.iter().for_each(|outcome| tally.add(outcome));
    let report = tally.report(options.faults, spent);
    let failing: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| outcome.breach.is_some()).collect();
    text::print(options, &report, &failing)
        .map_err(|error| Failure(format!("standard output: {error}")))?;
    if let Some(trace) = trace {
        let only = (options.seeds == 1).then_some(options.first);
        trace.write(options, failing.first().map(|outcome| outcome.seed).or(only))?;
    }
    Ok(report.is_good())
}

/// Runs one seed of a tier.
fn run_one(tier: u8, settings: &Settings) -> Outcome {
    if tier == 2 { cluster::run(settings) } else { protocol::run(settings) }
}

/// The settings of a seed's run.
fn settings(options: &Options, seed: u64) -> Settings {
    let nodes = options.nodes.of(seed);
    let time = Duration::from_secs_f64(options.minutes * 60.0).as_micros() as u64;
    let schedule = Schedule::draw(seed, options.faults, nodes, time);
    Settings { seed, nodes, time, schedule, with_lines: false }
}
