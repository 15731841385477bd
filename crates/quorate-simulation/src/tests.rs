//! Seeds of the first tier: no violations, full coverage, and determinism.

use std::time::Duration;

use super::SECOND;
use super::faults::{FaultKind, Faults};
use super::outcome::{Outcome, Settings};
use super::protocol;
use super::schedule::Schedule;
use super::tally::{Report, Tally};

fn settings(seed: u64, nodes: u64, faults: Faults) -> Settings {
    let time = 60 * SECOND;
    let schedule = Schedule::draw(seed, faults, nodes, time);
    Settings { seed, nodes, time, schedule, with_lines: false }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// `QUORATE_SEEDS=N` makes it N seeds, `QUORATE_SEED=N` that one.
fn batch(usual: std::ops::Range<u64>, run: impl Fn(u64) -> Outcome) -> Report {
    let seeds = match (number("QUORATE_SEED"), number("QUORATE_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => usual.start..usual.start + count,
        (None, None) => usual,
    };
    let mut tally = Tally::default();
    for seed in seeds {
        let outcome = run(seed);
        if let Some(breach) = &outcome.breach {
            println!("seed {seed}: {}: {}", breach.rule, breach.what);
        }
        tally.add(&outcome);
    }
    let report = tally.report(Faults::all(), Duration::from_secs(1));
    println!("{report:#?}");
    report
}

/// All invariants, linearizability, recovery in time; and full coverage.
#[test]
fn clusters_stay_correct_under_every_fault() {
    let report = batch(0..400, |seed| protocol::run(&settings(seed, 5, Faults::all())));
    assert!(report.is_good(), "{report:#?}");
}

/// Seeds that failed once, at their original length: a log that outgrew its limits after two
/// restarts (A19), a member that started as the incarnation that its rolled-back disk had lost, two
/// members of which one decodes, a disk that hangs while there is nothing to write.
#[test]
fn what_was_found_once_stays_mended() {
    for (seed, nodes) in [(3_003_053, 6), (3_010_140, 3), (94, 2), (245, 2), (7_015_040, 3)] {
        let time = 120 * SECOND;
        let schedule = Schedule::draw(seed, Faults::all(), nodes, time);
        let outcome = protocol::run(&Settings { seed, nodes, time, schedule, with_lines: false });
        assert_eq!(outcome.breach, None, "seed {seed}");
    }
}

/// Clusters of every size, including the smallest (EL23, LR08).
#[test]
fn clusters_of_every_size_stay_correct() {
    let report =
        batch(5_000..5_070, |seed| protocol::run(&settings(seed, 1 + seed % 7, Faults::all())));
    assert_eq!((report.violations, report.unknown), (0, 0), "{report:#?}");
}

/// One member sends malformed copies with numbers at the ends of their ranges, under all faults
/// that leave disks alone: the others stay up, agree, and recover (EL25, PS20).
#[test]
fn a_member_that_lies_harms_no_other() {
    let disks = [
        FaultKind::MisdirectedWrite,
        FaultKind::BitRot,
        FaultKind::WipedDisk,
        FaultKind::RolledBackDisk,
    ];
    let faults = disks.into_iter().fold(Faults::only(FaultKind::ALL), Faults::without);
    let run = |seed| protocol::run(&settings(seed, 3 + 2 * (seed % 2), faults));
    let report = batch(9_000..9_100, run);
    assert_eq!((report.violations, report.unknown), (0, 0), "{report:#?}");
    assert!(report.faults["lies"] >= 100, "{report:#?}");
}

/// Without faults there is no reason for a second election.
#[test]
fn a_cluster_without_faults_elects_once() {
    let report = batch(0..10, |seed| protocol::run(&settings(seed, 5, Faults::none())));
    assert!(report.violations == 0 && report.seen["elected"] <= 15, "{report:#?}");
    assert!(report.operations_per_virtual_second > 15.0, "{report:#?}");
}

/// A seed always gives the same run, and another seed a different one.
#[test]
fn a_seed_decides_everything() {
    let run = |seed| protocol::run(&settings(seed, 5, Faults::all())).trace_hash;
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

/// Keeping the trace changes nothing, and its lines describe the run.
#[test]
fn a_trace_is_of_the_same_run() {
    let quiet = protocol::run(&settings(3, 5, Faults::all()));
    let told = protocol::run(&Settings { with_lines: true, ..settings(3, 5, Faults::all()) });
    assert_eq!(quiet.trace_hash, told.trace_hash);
    assert!(quiet.lines.is_empty() && told.lines.len() > 1_000);
}
