//! Seeds of the second tier: no violations, full coverage, and determinism.

use std::rc::Rc;
use std::time::Duration;

use super::super::SECOND;
use super::super::faults::{FaultKind, Faults};
use super::super::linearizability::models::{Counter, CounterOperation};
use super::super::outcome::{Outcome, Settings};
use super::super::random::Dice;
use super::super::request::{Request, Turn};
use super::super::schedule::{Act, Schedule};
use super::super::tally::{Report, Tally};
use super::config::Terms;
use super::{Scenario, run, run_scenario};
use quorate::machine::{ApplyContext, Replicated};
use quorate::raft::Micros;

fn settings(seed: u64, nodes: u64, faults: Faults) -> Settings {
    let time = 20 * SECOND;
    let schedule = Schedule::draw(seed, faults, nodes, time);
    Settings { seed, nodes, time, schedule, with_lines: false }
}

fn batch(seeds: impl IntoIterator<Item = Settings>) -> Report {
    let mut tally = Tally::default();
    for settings in seeds {
        let outcome = run(&settings);
        if let Some(breach) = &outcome.breach {
            println!("seed {}: {}: {}", settings.seed, breach.rule, breach.what);
        }
        tally.add(&outcome);
    }
    tally.report(Faults::all(), Duration::from_secs(1))
}

/// All checks, on whole nodes. `QUORATE_SEEDS=N` runs N seeds, `QUORATE_SEED=N` only seed N.
#[test]
fn whole_nodes_stay_correct_under_every_fault() {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    let seeds = match (number("QUORATE_SEED"), number("QUORATE_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, more) => 0..more.unwrap_or(25),
    };
    let report = batch(seeds.map(|seed| settings(seed, 5, Faults::all())));
    assert_eq!((report.violations, report.unknown), (0, 0), "{report:#?}");
    // Clients share sessions and members are killed in the middle of writes: fewer than in a calm
    // cluster, but enough to test something.
    assert!(report.operations_per_virtual_second >= 15.0, "{report:#?}");
}

/// The length of the seeds in which something was found.
const FOUND_IN: Micros = 120 * SECOND;

fn at_length(seed: u64) -> Outcome {
    let faults = Faults::all().without(FaultKind::DamagedEnd);
    let (time, schedule) = (FOUND_IN, Schedule::draw(seed, faults, 5, FOUND_IN));
    run(&Settings { time, schedule, ..settings(seed, 5, Faults::none()) })
}

/// Seeds in which a bug was found once. The simulator has changed since, and so has what they meet.
#[test]
fn where_something_was_found_once_nothing_is_now() {
    for seed in [420, 9_000_060, 9_000_224] {
        assert_eq!(at_length(seed).breach, None, "seed {seed}");
    }
}

/// Clusters of every size, including the smallest (EL23).
#[test]
fn whole_clusters_of_every_size_stay_correct() {
    let report = batch((500..507).map(|seed| settings(seed, 1 + seed % 7, Faults::all())));
    assert_eq!((report.violations, report.unknown), (0, 0), "{report:#?}");
}

/// Each fault by itself: it takes place, and the cluster recovers.
#[test]
fn every_fault_alone_is_survived() {
    for kind in FaultKind::ALL {
        let act = |at: u64| Act {
            at: at * SECOND,
            lasts: 2 * SECOND,
            kind,
            to_leader: at.is_multiple_of(2),
            node: at % 3,
            other: (at + 1) % 3,
            strength: 900,
        };
        let schedule = Schedule { acts: (1..4).map(|at| act(4 * at)).collect() };
        let settings = Settings { schedule, ..settings(kind as u64, 3, Faults::none()) };
        let outcome = run(&settings);
        assert_eq!(outcome.breach, None, "{kind}");
        assert!(outcome.acts[kind as usize] > 0, "{kind} has not taken place");
    }
}

/// PS06: the end of a log, or the record of where it is, is zeroed, overwritten, cut off or
/// removed. The member restarts, reports it, and catches up.
#[test]
fn ps06_a_damaged_end_of_a_log_is_noticed_and_made_good() {
    let mut damaged = 0;
    for seed in 0..4 {
        let act = |number: u64| Act {
            at: (1 + 3 * number) * SECOND,
            lasts: SECOND / 2,
            kind: FaultKind::DamagedEnd,
            to_leader: number.is_multiple_of(3),
            node: number % 3,
            other: (number + 1) % 3,
            strength: 1_000,
        };
        let schedule = Schedule { acts: (0..6).map(act).collect() };
        let outcome = run(&Settings { schedule, ..settings(seed, 3, Faults::none()) });
        assert_eq!(outcome.breach, None, "seed {seed}, after {damaged} damaged ends");
        damaged += outcome.sights["damaged_ends"];
    }
    println!("{damaged} damaged ends");
    assert!(damaged >= 6, "{damaged} ends were damaged");
}

/// Runs the first seeds that draw this, and returns the coverage of all together.
fn seen_where(drawn: fn(&Terms) -> bool) -> Report {
    let terms = |seed| Terms::draw(seed, &mut Dice::new(seed, 2));
    let seeds = (0..).filter(|seed| drawn(&terms(*seed))).take(8);
    let report = batch(seeds.map(|seed| settings(seed, 5, Faults::all())));
    assert_eq!((report.violations, report.unknown), (0, 0), "{report:#?}");
    report
}

/// The contract with a service's own apply side is kept, message by message.
#[test]
fn an_own_apply_side_is_given_what_it_is_promised() {
    let seen = seen_where(|terms| terms.by_hand).seen;
    println!("{seen:?}");
    assert!(seen["applied_by_hand"] >= 10_000 && seen["switched_by_hand"] >= 5, "{seen:?}");
}

/// A disk without room for preallocated segments stops no member, and has them again later.
#[test]
fn a_log_does_without_spares_and_gets_them_again() {
    let seen = seen_where(|terms| terms.scarce).seen;
    println!("{seen:?}");
    assert!(seen["without_spares"] >= 10 && seen["spares_again"] >= 10, "{seen:?}");
}

/// A seed always gives the same run, and another seed a different one; keeping the trace changes
/// nothing.
#[test]
fn a_seed_decides_everything() {
    let one = |seed| run(&settings(seed, 5, Faults::all())).trace_hash;
    assert_eq!(one(3), one(3));
    assert_ne!(one(3), one(4));
    let told = run(&Settings { with_lines: true, ..settings(3, 5, Faults::all()) });
    assert_eq!(told.trace_hash, one(3));
    assert!(told.lines.len() > 1_000);
}

/// Decodes that take minutes delay no loop and no election (SN28, B2).
#[test]
fn slow_decodes_stop_nobody() {
    let act = |number: u64, kind, at: u64, lasts: u64| Act {
        at: at * SECOND,
        lasts: lasts * SECOND,
        kind,
        to_leader: false,
        node: number % 5,
        other: (number + 1) % 5,
        strength: 1_000,
    };
    let mut acts: Vec<Act> = (0..5).map(|node| act(node, FaultKind::SlowDecode, 1, 50)).collect();
    acts.extend((0..5).map(|node| act(node, FaultKind::Crash, 5 + 8 * node, 4)));
    acts.sort_by_key(|act| act.at);
    let time = 60 * SECOND;
    let calm = settings(11, 5, Faults::none());
    let outcome = run(&Settings { time, schedule: Schedule { acts }, ..calm });
    assert_eq!(outcome.breach, None);
}

#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
struct Unsteady(u64);

thread_local! {
    static CALLS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl Replicated for Unsteady {
    type Command = ();
    type Reply = u64;

    fn apply(&mut self, (): (), _context: &ApplyContext) -> u64 {
        self.0 += 1;
        // As a random number or a clock would.
        CALLS.with(|calls| calls.replace(calls.get() + 1)) / 100
    }
}

/// A machine that depends on something other than its state, command and context.
#[test]
fn a_machine_that_is_not_deterministic_is_found() {
    let scenario = Scenario {
        machine: Rc::new(Unsteady::default),
        workload: Rc::new(|_, _: Turn| {
            let operation = CounterOperation::Increment { word: Vec::new() };
            Request::command(operation, (), |count| count)
        }),
        model: Rc::new(|| Counter),
        clients: 3,
        think: 50_000,
        proofs: 1,
    };
    let found = run_scenario(&settings(1, 3, Faults::none()), &scenario).breach;
    let rule = found.map(|breach| breach.rule);
    assert!(matches!(rule, Some("determinism" | "linearizability")), "{rule:?}");
}
