//! Seeds of the second tier: clean, worth something, and the same each time.

use super::super::faults::Faults;
use super::super::outcome::Settings;
use super::super::schedule::Schedule;
use super::run;

fn settings(seed: u64, nodes: u64, faults: Faults) -> Settings {
    let time = 20_000_000;
    let schedule = Schedule::draw(seed, faults, nodes, time);
    Settings { seed, nodes, time, schedule, with_lines: false }
}

/// One seed is one run, and another seed another one.
#[test]
fn a_seed_decides_everything() {
    let run = |seed| run(&settings(seed, 5, Faults::all())).trace_hash;
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
