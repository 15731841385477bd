//! What a command costs as the log grows, and as the state grows; and what memory that takes.
//!
//! | file | idea |
//! |---|---|
//! | `log` | logs of different lengths that are never compacted, with a state that only counts |
//! | `state` | states of different sizes, with the snapshots that they need from time to time |
//!
//! For each size there is a cluster of three members with file stores in this process. They are measured in turns: a
//! cluster that is watched while it grows would show how the machine's mood changes as well.
//!
//! Not here: many logs or states at work at once. Who has no turn is idle.

mod log;
mod state;

use std::rc::Rc;
use std::time::Duration;

use actix_rt::SystemRunner;
use clap::{Args, ValueEnum};

use crate::load::Turn;
use crate::measure::{Outcome, Spread, alternate, mib};
use crate::report::{Report, Row};

/// In each cluster.
const MEMBERS: u64 = 3;
/// At once.
const CLIENTS: usize = 256;
/// A cluster that is to grow gets more at once.
const FILLING_CLIENTS: usize = 4096;

/// A turn that fails is had again so often.
const ATTEMPTS: usize = 3;

/// What to measure; both unless told.
#[derive(Args)]
pub struct Options {
    /// Only the growing of this.
    #[arg(long)]
    only: Option<What>,
}

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    Log,
    State,
}

/// How much is done.
struct Sizes {
    log_rounds: usize,
    log_entries: Vec<u64>,
    /// How long a turn of a log lasts.
    length: Duration,
    state_rounds: usize,
    state_bytes: Vec<u64>,
    /// A snapshot is taken after as many bytes of log as there are of state, and not sooner than after these.
    snapshot_bytes_min: u64,
}

impl Sizes {
    fn full() -> Sizes {
        Sizes {
            log_rounds: 7,
            log_entries: vec![10_000, 100_000, 1_000_000, 10_000_000],
            length: Duration::from_millis(200),
            state_rounds: 5,
            state_bytes: vec![1 << 20, 32 << 20, 1 << 30],
            snapshot_bytes_min: 64 << 20,
        }
    }

    fn quick() -> Sizes {
        Sizes {
            log_rounds: 3,
            log_entries: vec![10_000, 100_000],
            length: Duration::from_millis(60),
            state_rounds: 1,
            state_bytes: vec![1 << 20, 64 << 20],
            snapshot_bytes_min: 8 << 20,
        }
    }
}

/// A cluster of a certain size.
trait Contestant {
    fn name(&self) -> String;

    fn turn(&mut self) -> Outcome<Turn>;

    /// What this process's memory grew by when the cluster came to be.
    fn memory_bytes(&self) -> f64;
}

/// Both sections, each in a process of its own: memory that one leaves behind would be the other's.
pub fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let sizes = if report.quick { Sizes::quick() } else { Sizes::full() };
    let place = report.place;
    let runner = Rc::new(actix_rt::System::new());
    match options.only {
        Some(What::Log) => report.measure(|| Ok(vec![log::section(place, &runner, &sizes)?])),
        Some(What::State) => report.measure(|| Ok(vec![state::section(place, &runner, &sizes)?])),
        None => {
            let both = ["log", "state"].map(|only| ["growth", "--only", only].map(String::from));
            let outcomes = both.map(|arguments| report.measure_apart(&arguments));
            outcomes.into_iter().collect()
        }
    }
}

/// A row for each, smallest first, and the largest beside the smallest.
fn rows<C: Contestant>(rounds: usize, aim: f64, contestants: &mut [C]) -> Outcome<Vec<Row>> {
    let turns = alternate(rounds, contestants, persistent_turn)?;
    let found: Vec<Found> =
        contestants.iter().zip(&turns).map(|(one, turns)| Found::of(one, turns)).collect();
    let mut rows: Vec<Row> = found.iter().map(Found::row).collect();
    if let [smallest, .., largest] = &found[..] {
        rows.push(
            Row::new("largest / smallest")
                .with("wall_ns", largest.wall_ns.divided_by(&smallest.wall_ns))
                .with("cpu_ns", largest.cpu_ns.divided_by(&smallest.cpu_ns))
                .with("at_most", aim),
        );
    }
    Ok(rows)
}

/// As when a leader is deposed under load: that is told, and the turn had again.
fn persistent_turn(one: &mut impl Contestant) -> Outcome<Turn> {
    let mut attempt = 1;
    loop {
        match one.turn() {
            Err(error) if attempt < ATTEMPTS => eprintln!("once more, {}: {error}", one.name()),
            Err(error) => return Err(format!("{}: {error}", one.name()).into()),
            Ok(turn) => return Ok(turn),
        }
        attempt += 1;
    }
}

/// What was found of a contestant.
struct Found {
    name: String,
    wall_ns: Spread,
    cpu_ns: Spread,
    p99_us: Spread,
    memory_bytes: f64,
}

impl Found {
    fn of(one: &impl Contestant, turns: &[Turn]) -> Found {
        let figure = |of: fn(&Turn) -> f64| Spread::of(turns.iter().map(of));
        Found {
            name: one.name(),
            wall_ns: figure(|turn| 1e9 / turn.commits_per_s),
            cpu_ns: figure(|turn| turn.cpu_us * 1e3),
            p99_us: figure(|turn| turn.p99_us),
            memory_bytes: one.memory_bytes(),
        }
    }

    fn row(&self) -> Row {
        Row::new(&self.name)
            .with("wall_ns", self.wall_ns.clone())
            .with("cpu_ns", self.cpu_ns.clone())
            .with("p99_us", self.p99_us.clone())
            .with("memory_mib", mib(self.memory_bytes.max(0.0) as u64))
    }
}

/// A turn's runner, shared by all clusters: they are on threads of their own, clients are not.
type Runner = Rc<SystemRunner>;

#[cfg(test)]
mod tests {
    use super::*;

    struct Steady(f64);

    impl Contestant for Steady {
        fn name(&self) -> String {
            self.0.to_string()
        }

        fn turn(&mut self) -> Outcome<Turn> {
            Ok(Turn { commits_per_s: 1e9 / self.0, p50_us: 1.0, p99_us: 2.0, cpu_us: self.0 / 1e3 })
        }

        fn memory_bytes(&self) -> f64 {
            0.0
        }
    }

    #[test]
    fn the_largest_is_set_against_the_smallest() {
        let rows = rows(2, 1.2, &mut [Steady(100.0), Steady(500.0), Steady(130.0)]).unwrap();
        let last: Vec<f64> = rows[3].figures.iter().map(|(_, figure)| figure.middle()).collect();
        assert_eq!(
            last.iter().map(|figure| (figure * 10.0).round()).collect::<Vec<_>>(),
            [13.0, 13.0, 12.0]
        );
    }
}
