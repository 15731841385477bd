//! Model checking of the protocol within bounds: the real code of `quorate::raft` under stateright.
//!
//! ```text
//! bounds ──▶ openings ──▶ model: State ──choice──▶ State ──▶ invariants
//!                           │ nodes: Raft, disk, machine, queues    (node, disk)
//!                           └ messages under way, allowance, past   (network, bounds, invariants)
//! ```
//! Depth first. The explorer chooses which message arrives, once more or never, which durable step
//! is done, which timeout passes, which node crashes, when a state machine or a snapshotter makes
//! progress. A peer's clock, random numbers and counters are no part of a state
//! (`Raft::forget_history`). What is explored, what was found and what can't be found:
//! `docs/exhaustive.md`.
//!
//! `cargo test` runs each configuration in a few passes with a fixed number of states: the same
//! ones every time. The long run takes ten minutes on two cores:
//!
//! ```text
//! cargo test --release --test exhaustive -- --ignored --nocapture
//! ```
//! | environment | meaning |
//! |---|---|
//! | `QUORATE_EXPLORE_SECONDS` | the long run's time, for all configurations together: 600 |
//! | `QUORATE_EXPLORE_ONLY` | the long run explores only this configuration |
//! | `QUORATE_EXPLORE_PASSES` | how often the long run begins each configuration: 16 |
//! | `QUORATE_EXPLORE_ORDER` | the order in which it begins: 1 |
//! | `QUORATE_EXPLORE_STATES` | states of each pass of the small run: 30000 |

mod bounds;
mod coverage;
mod disk;
mod fingerprint;
mod invariants;
mod model;
mod network;
mod node;
mod openings;
mod run;

use std::time::Duration;

use bounds::{Bounds, CONFIGURATIONS};
use run::{Outcome, Plan, explore};

/// Seconds of the long run, for all configurations together.
const SECONDS: u64 = 600;
/// How often it begins each configuration.
const PASSES: u64 = 16;
/// The small run: this many passes ..
const SMALL_PASSES: u64 = 10;
/// .. with this many states each.
const STATES: u64 = 30_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// Explores the same states in every run: one thread, and no clock.
fn explore_a_little(name: &str) {
    let bounds = CONFIGURATIONS.iter().find(|bounds| bounds.name == name).expect("a configuration");
    let order = number("QUORATE_EXPLORE_ORDER").unwrap_or(1);
    let states = number("QUORATE_EXPLORE_STATES").unwrap_or(STATES) as usize;
    let plan = Plan { passes: SMALL_PASSES, time: None, states, threads: 1, order };
    let failures = explore(bounds, &plan).failures;
    assert!(failures.is_empty(), "{failures:#?}");
}

macro_rules! small_runs {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                explore_a_little(stringify!($name));
            }
        )*

        #[test]
        fn every_configuration_is_a_test() {
            let names: Vec<&str> = CONFIGURATIONS.iter().map(|bounds| bounds.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

small_runs! {
    two_nodes elections four_nodes replication figure_8 divergence installs refusals compaction
    lost_tails
}

#[test]
#[ignore = "ten minutes; the command is in the head of this file"]
fn a_long_run() {
    let seconds = number("QUORATE_EXPLORE_SECONDS").unwrap_or(SECONDS);
    let passes = number("QUORATE_EXPLORE_PASSES").unwrap_or(PASSES);
    let only = std::env::var("QUORATE_EXPLORE_ONLY").ok();
    let chosen = |bounds: &&Bounds| only.as_ref().is_none_or(|only| bounds.name == only);
    let chosen: Vec<&Bounds> = CONFIGURATIONS.iter().filter(chosen).collect();
    assert!(!chosen.is_empty(), "no configuration is called {only:?}");
    let plan = Plan {
        passes,
        time: Some(Duration::from_secs(seconds) / (chosen.len() as u32 * passes as u32)),
        states: usize::MAX,
        threads: 2,
        order: number("QUORATE_EXPLORE_ORDER").unwrap_or(1),
    };
    let outcomes: Vec<Outcome> = chosen.iter().map(|bounds| explore(bounds, &plan)).collect();
    let unique: usize = outcomes.iter().map(|outcome| outcome.unique).sum();
    let seconds: f64 = outcomes.iter().map(|outcome| outcome.seconds).sum();
    println!("{unique} unique states in {seconds:.0} s, {:.0} a second", unique as f64 / seconds);
    let failures: Vec<&String> = outcomes.iter().flat_map(|outcome| &outcome.failures).collect();
    assert!(failures.is_empty(), "{failures:#?}");
}
