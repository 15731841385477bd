//! The engine on disk: commits a second of three members in one process, each with a file store, beside bare syncing.
//!
//! | file | idea |
//! |---|---|
//! | `ours` | quorate, in two placements |
//! | `skeleton` | as many threads and files that do nothing but make bytes durable |
//!
//! The skeleton is no Raft. It shows what this disk and these processors give to whoever makes each command durable on a
//! majority before answering, so how far ours stays behind it is what ours costs.
//!
//! Contestants live from the first section to the last: ours has compacted its log by then, so that files that became
//! free are there to be used again. Who has no turn is idle.
//!
//! Not here: networks, and syncs that other machines would do on disks of their own. All share one disk.

mod ours;
mod skeleton;

use std::rc::Rc;
use std::time::Duration;

use actix_rt::SystemRunner;
use bytes::Bytes;
use clap::Args;

use crate::load::{Load, Turn};
use crate::measure::{Outcome, Spread, Turns, alternate};
use crate::place::Place;
use crate::report::{Report, Row, Section};
use ours::Ours;
use quorate::raft::Random;
use skeleton::Skeleton;

/// In each cluster.
const MEMBERS: u64 = 3;
/// Of each command.
const COMMAND_BYTES: usize = 256;
/// One client's call is to take at most so many times as long as the skeleton's.
const LATENCY_AIM: f64 = 1.5;
/// Many clients are to get at least this part of the skeleton's speed.
const SPEED_AIM: f64 = 0.5;
/// So many clients are many.
const MANY_CLIENTS: usize = 64;

/// What to measure; all of it unless told.
#[derive(Args)]
pub struct Options {
    /// Clients at once, for example 1,64.
    #[arg(long, value_delimiter = ',')]
    clients: Vec<usize>,
    #[command(flatten)]
    turns: Turns,
}

/// How much is done.
struct Sizes {
    clients: Vec<usize>,
    rounds: usize,
    length: Duration,
    /// The log of ours is used until it has been compacted so often.
    compactions: u64,
    /// Length of each file of the skeleton.
    ring_bytes: u64,
}

impl Sizes {
    fn full() -> Sizes {
        Sizes {
            clients: vec![1, 16, 64, 256, 1024],
            rounds: 7,
            length: Duration::from_secs(1),
            compactions: 2,
            ring_bytes: 64 << 20,
        }
    }

    fn quick() -> Sizes {
        Sizes {
            clients: vec![1, 64],
            rounds: 3,
            length: Duration::from_millis(150),
            compactions: 0,
            ring_bytes: 8 << 20,
        }
    }

    fn of(options: &Options, quick: bool) -> Outcome<Sizes> {
        let mut sizes = if quick { Sizes::quick() } else { Sizes::full() };
        if !options.clients.is_empty() {
            sizes.clients = options.clients.clone();
        }
        (sizes.rounds, sizes.length) = options.turns.or(sizes.rounds, sizes.length)?;
        if sizes.rounds == 0 || sizes.clients.contains(&0) {
            return Err("at least one round and one client".into());
        }
        Ok(sizes)
    }

    fn load(&self, clients: usize) -> Load {
        let payload = Bytes::from(Random::new(1).bytes(COMMAND_BYTES));
        Load { clients, payload, warm_up: self.length / 4, length: self.length }
    }
}

/// Something that makes durable what clients send.
trait Contestant {
    fn name(&self) -> &'static str;

    fn turn(&mut self, load: &Load) -> Outcome<Turn>;
}

/// All sections: one for each number of clients.
pub fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let sizes = Sizes::of(options, report.quick)?;
    let place = report.place;
    let runner = Rc::new(actix_rt::System::new());
    let mut contestants = contestants(place, &runner, &sizes)?;
    for &clients in &sizes.clients {
        report.measure(|| Ok(vec![section(&sizes, clients, &mut contestants)?]))?;
    }
    Ok(())
}

type Contestants = Vec<Box<dyn Contestant>>;

/// The judged one of ours first, the skeleton last.
fn contestants(place: &Place, runner: &Rc<SystemRunner>, sizes: &Sizes) -> Outcome<Contestants> {
    let mut all: Contestants = Vec::new();
    for mut ours in Ours::all(place, runner)? {
        ours.warm_up(&sizes.load(MANY_CLIENTS), sizes.compactions)?;
        all.push(Box::new(ours));
    }
    all.push(Box::new(Skeleton::new(place, runner.clone(), sizes.ring_bytes)?));
    Ok(all)
}

fn section(sizes: &Sizes, clients: usize, contestants: &mut Contestants) -> Outcome<Section> {
    let load = sizes.load(clients);
    let turns = alternate(sizes.rounds, contestants, |one| {
        one.turn(&load).map_err(|error| format!("{}: {error}", one.name()).into())
    })?;
    let found: Vec<Found> =
        contestants.iter().zip(&turns).map(|(one, turns)| Found::of(one.name(), turns)).collect();
    Ok(Section {
        key: format!("{clients}_clients"),
        title: format!(
            "Durable commits: {MEMBERS} members on one disk, {COMMAND_BYTES} bytes, {clients} clients"
        ),
        notes: notes(sizes),
        rows: rows(&found, clients),
        elsewhere: 0.0,
    })
}

fn notes(sizes: &Sizes) -> Vec<String> {
    let (rounds, length) = (sizes.rounds, sizes.length.as_millis());
    vec![
        format!("{rounds} rounds; in each everyone has a turn of {length} ms. p50, p99: of each turn."),
        "skeleton: three threads with a file each write, sync and answer; no elections, no state machine.".into(),
        format!(
            "aims: a single client's p50 at most {LATENCY_AIM} times the skeleton's; from {MANY_CLIENTS} clients on at least {SPEED_AIM} of its speed."
        ),
    ]
}

/// What was found of a contestant.
struct Found {
    name: &'static str,
    commits_per_s: Spread,
    p50_us: Spread,
    p99_us: Spread,
    cpu_us: Spread,
}

impl Found {
    fn of(name: &'static str, turns: &[Turn]) -> Found {
        let figure = |of: fn(&Turn) -> f64| Spread::of(turns.iter().map(of));
        Found {
            name,
            commits_per_s: figure(|turn| turn.commits_per_s),
            p50_us: figure(|turn| turn.p50_us),
            p99_us: figure(|turn| turn.p99_us),
            cpu_us: figure(|turn| turn.cpu_us),
        }
    }

    fn row(&self) -> Row {
        Row::new(self.name)
            .with("commits_per_s", self.commits_per_s.clone())
            .with("p50_us", self.p50_us.clone())
            .with("p99_us", self.p99_us.clone())
            .with("cpu_us_a_commit", self.cpu_us.clone())
    }

    /// This one beside the skeleton, with what is aimed at.
    fn beside(&self, skeleton: &Found, clients: usize) -> Row {
        Row::new(format!("{} / {}", self.name, skeleton.name))
            .with("commits_per_s", self.commits_per_s.divided_by(&skeleton.commits_per_s))
            .with_some("at_least", (clients >= MANY_CLIENTS).then_some(SPEED_AIM))
            .with("p50_us", self.p50_us.divided_by(&skeleton.p50_us))
            .with_some("at_most", (clients == 1).then_some(LATENCY_AIM))
            .with("p99_us", self.p99_us.divided_by(&skeleton.p99_us))
            .with("cpu_us_a_commit", self.cpu_us.divided_by(&skeleton.cpu_us))
    }
}

/// A row for each, and the ratios of ours to the skeleton.
fn rows(found: &[Found], clients: usize) -> Vec<Row> {
    let mut rows: Vec<Row> = found.iter().map(Found::row).collect();
    if let [ours @ .., skeleton] = found {
        rows.extend(ours.iter().map(|one| one.beside(skeleton, clients)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &'static str, commits_per_s: f64, p50_us: f64) -> Found {
        let turn = || Turn { commits_per_s, p50_us, p99_us: 2.0, cpu_us: 3.0 };
        Found::of(name, &[turn(), turn()])
    }

    fn figure(row: &Row, key: &str) -> Option<f64> {
        let figure = row.figures.iter().find(|(at, _)| *at == key);
        figure.map(|(_, figure)| figure.middle())
    }

    #[test]
    fn ours_is_set_against_the_skeleton() {
        let all = [found("ours", 30.0, 6.0), found("skeleton", 40.0, 3.0)];
        let one = rows(&all, 1).pop().unwrap();
        assert_eq!(one.name, "ours / skeleton");
        assert_eq!(
            (figure(&one, "commits_per_s"), figure(&one, "p50_us")),
            (Some(0.75), Some(2.0))
        );
        assert_eq!((figure(&one, "at_most"), figure(&one, "at_least")), (Some(1.5), None));
        let many = rows(&all, 64).pop().unwrap();
        assert_eq!((figure(&many, "at_most"), figure(&many, "at_least")), (None, Some(0.5)));
    }

    #[test]
    fn everyone_commits() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path()).unwrap();
        let runner = Rc::new(actix_rt::System::new());
        for mut one in contestants(&place, &runner, &Sizes::quick()).unwrap() {
            // A busy disk syncs seldom, and one call in a few is timed.
            let length = Duration::from_millis(400);
            let turn = one.turn(&Load { clients: 16, length, ..Load::small() }).unwrap();
            assert!(turn.commits_per_s > 0.0, "{}", one.name());
        }
    }
}
