//! The engine: commits a second of three members in one process, nothing durable, beside openraft.
//!
//! | file | idea |
//! |---|---|
//! | `ours` | quorate, in two placements |
//! | `openraft_0_10`, `openraft_0_9` | openraft in two versions (feature `peers`) |
//! | `runtimes` | on which threads those run |
//!
//! Everyone has the same duties: a command is appended by three members, acknowledged by a majority, applied in order by
//! a state machine that counts, and answered from there. A turn is a cluster of its own: founded, warmed up, measured,
//! ended, so that nobody inherits a log or competes with others that idle.
//!
//! Openraft has many layouts of threads, and which is best differs. Before the rounds each has a heat, and the fastest few
//! go on.
//!
//! Not here: disks and networks. Between members only memory moves.

#[cfg(feature = "peers")]
mod openraft_0_10;
#[cfg(feature = "peers")]
mod openraft_0_9;
mod ours;
#[cfg(feature = "peers")]
mod runtimes;

use std::time::Duration;

use bytes::Bytes;
use clap::Args;

use crate::load::{Load, Turn};
use crate::measure::{Outcome, Spread, Turns, alternate};
use crate::report::{Report, Row, Section};
use ours::Ours;
use quorate::raft::Random;

/// In each cluster.
const MEMBERS: u64 = 3;
/// The judged one of ours is shared placement up to so many clients, the default one beyond.
const FEW_CLIENTS: usize = 1;
/// So many of theirs go on after the heat.
const FINALISTS: usize = 4;
/// A turn that fails, as when a leader is deposed under load, is had again so often.
const ATTEMPTS: usize = 3;

/// What to measure; all of it unless told.
#[derive(Args)]
pub struct Options {
    /// Clients at once, for example 1,64.
    #[arg(long, value_delimiter = ',')]
    clients: Vec<usize>,
    /// Bytes of each command, for example 0,256.
    #[arg(long, value_delimiter = ',')]
    bytes: Vec<usize>,
    #[command(flatten)]
    turns: Turns,
    /// Only contestants whose name contains this: ours, shared, openraft 0.9, 2 threads ..
    #[arg(long)]
    only: Option<String>,
}

/// How much is done.
struct Sizes {
    clients: Vec<usize>,
    bytes: Vec<usize>,
    rounds: usize,
    length: Duration,
}

impl Sizes {
    fn full() -> Sizes {
        Sizes {
            clients: vec![1, 64, 256, 1024, 4096],
            bytes: vec![0, 256],
            rounds: 5,
            length: Duration::from_secs(1),
        }
    }

    fn quick() -> Sizes {
        Sizes {
            clients: vec![1, 64],
            bytes: vec![0],
            rounds: 1,
            length: Duration::from_millis(200),
        }
    }

    fn of(options: &Options, quick: bool) -> Outcome<Sizes> {
        let mut sizes = if quick { Sizes::quick() } else { Sizes::full() };
        if !options.clients.is_empty() {
            sizes.clients = options.clients.clone();
        }
        if !options.bytes.is_empty() {
            sizes.bytes = options.bytes.clone();
        }
        (sizes.rounds, sizes.length) = options.turns.or(sizes.rounds, sizes.length)?;
        if sizes.rounds == 0 || sizes.clients.contains(&0) {
            return Err("at least one round and one client".into());
        }
        Ok(sizes)
    }
}

/// Whose figures these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    OursByDefault,
    OursShared,
    Theirs,
}

impl Side {
    /// The one of ours that is set against others under so many clients.
    fn judged(clients: usize) -> Side {
        if clients <= FEW_CLIENTS { Side::OursShared } else { Side::OursByDefault }
    }
}

/// So many times as fast as the better openraft is what we are after.
fn aim(clients: usize) -> f64 {
    match clients {
        0..=1 => 4.0,
        2..=256 => 3.0,
        _ => 2.0,
    }
}

/// Something that commits what clients propose.
trait Contestant {
    fn name(&self) -> String;

    fn side(&self) -> Side;

    /// A cluster from its founding to its end.
    fn turn(&mut self, load: &Load) -> Outcome<Turn>;
}

fn contestants(only: Option<&str>) -> Vec<Box<dyn Contestant>> {
    let ours = Ours::all().into_iter().map(|one| Box::new(one) as Box<dyn Contestant>);
    #[cfg(feature = "peers")]
    let all = ours
        .chain(openraft_0_10::Openraft::all().map(|one| Box::new(one) as Box<dyn Contestant>))
        .chain(openraft_0_9::Openraft::all().map(|one| Box::new(one) as Box<dyn Contestant>));
    #[cfg(not(feature = "peers"))]
    let all = ours;
    all.filter(|one| only.is_none_or(|only| one.name().contains(only))).collect()
}

/// All sections: one for each size of commands and number of clients.
pub fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let sizes = Sizes::of(options, report.quick)?;
    let mut contestants = contestants(options.only.as_deref());
    if contestants.is_empty() {
        return Err("no contestant has such a name".into());
    }
    for &bytes in &sizes.bytes {
        for &clients in &sizes.clients {
            report.measure(|| Ok(vec![section(&sizes, bytes, clients, &mut contestants)?]))?;
        }
    }
    Ok(())
}

fn section(
    sizes: &Sizes,
    bytes: usize,
    clients: usize,
    contestants: &mut [Box<dyn Contestant>],
) -> Outcome<Section> {
    let payload = Bytes::from(Random::new(1).bytes(bytes));
    let load = Load { clients, payload, warm_up: sizes.length / 4, length: sizes.length };
    let (mut finalists, out) = heat(contestants, &load)?;
    let turns =
        alternate(sizes.rounds, &mut finalists, |one| persistent_turn(one.as_mut(), &load))?;
    let found = finalists.iter().zip(turns);
    let all: Vec<_> = found.map(|(one, turns)| Found::of(one.name(), one.side(), &turns)).collect();
    Ok(Section {
        key: format!("{bytes}_bytes_{clients}_clients"),
        title: format!("Commits: {MEMBERS} members in memory, {bytes} bytes, {clients} clients"),
        notes: notes(sizes, clients).into_iter().chain(out).collect(),
        rows: rows(&all, clients),
        elsewhere: 0.0,
    })
}

type Finalists<'a> = Vec<&'a mut Box<dyn Contestant>>;

/// Who has turns: ours, and of theirs, if they are many, the fastest in one shorter turn. Of the others, what they did.
fn heat<'a>(
    contestants: &'a mut [Box<dyn Contestant>],
    load: &Load,
) -> Outcome<(Finalists<'a>, Option<String>)> {
    let theirs = contestants.iter().filter(|one| one.side() == Side::Theirs).count();
    if theirs <= FINALISTS {
        return Ok((contestants.iter_mut().collect(), None));
    }
    let load = Load { length: load.length / 2, payload: load.payload.clone(), ..*load };
    let (mut finalists, mut heats) = (Vec::new(), Vec::new());
    for one in contestants {
        if one.side() == Side::Theirs {
            heats.push((persistent_turn(one.as_mut(), &load)?.commits_per_s, one));
        } else {
            finalists.push(one);
        }
    }
    heats.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let out = heats.split_off(FINALISTS);
    finalists.extend(heats.into_iter().map(|(_, one)| one));
    let told =
        |(speed, one): &(f64, &mut Box<dyn Contestant>)| format!("{} {speed:.0}", one.name());
    let out: Vec<String> = out.iter().map(told).collect();
    Ok((finalists, Some(format!("out after a heat, commits per s: {}.", out.join("; ")))))
}

fn persistent_turn(one: &mut dyn Contestant, load: &Load) -> Outcome<Turn> {
    let mut attempt = 1;
    loop {
        match one.turn(load) {
            Err(error) if attempt < ATTEMPTS => eprintln!("once more, {}: {error}", one.name()),
            Err(error) => return Err(format!("{}: {error}", one.name()).into()),
            Ok(turn) => return Ok(turn),
        }
        attempt += 1;
    }
}

fn notes(sizes: &Sizes, clients: usize) -> Vec<String> {
    let (rounds, length) = (sizes.rounds, sizes.length.as_millis());
    let judged = match Side::judged(clients) {
        Side::OursShared => "shared",
        _ => "default",
    };
    vec![
        format!(
            "{rounds} rounds; in each everyone has a turn of {length} ms with a cluster of its own. p50, p99: of each turn."
        ),
        format!(
            "aim: ours in its {judged} placement {} times as fast as the better openraft.",
            aim(clients)
        ),
    ]
}

/// What was found of a contestant.
struct Found {
    name: String,
    side: Side,
    commits_per_s: Spread,
    p50_us: Spread,
    p99_us: Spread,
    cpu_us: Spread,
}

impl Found {
    fn of(name: String, side: Side, turns: &[Turn]) -> Found {
        let figure = |of: fn(&Turn) -> f64| Spread::of(turns.iter().map(of));
        Found {
            name,
            side,
            commits_per_s: figure(|turn| turn.commits_per_s),
            p50_us: figure(|turn| turn.p50_us),
            p99_us: figure(|turn| turn.p99_us),
            cpu_us: figure(|turn| turn.cpu_us),
        }
    }

    fn row(&self, judged: Option<&Found>) -> Row {
        let judged = judged.filter(|_| self.side == Side::Theirs);
        let ratio = judged.map(|ours| ours.commits_per_s.divided_by(&self.commits_per_s));
        Row::new(&self.name)
            .with("commits_per_s", self.commits_per_s.clone())
            .with_some("ours_divided_by_it", ratio)
            .with("p50_us", self.p50_us.clone())
            .with("p99_us", self.p99_us.clone())
            .with("cpu_us_a_commit", self.cpu_us.clone())
    }
}

/// A row for each, and one that sets ours against the better of theirs.
fn rows(all: &[Found], clients: usize) -> Vec<Row> {
    let judged = all.iter().find(|one| one.side == Side::judged(clients));
    let better = all
        .iter()
        .filter(|one| one.side == Side::Theirs)
        .max_by(|one, other| one.commits_per_s.median().total_cmp(&other.commits_per_s.median()));
    let mut rows: Vec<Row> = all.iter().map(|one| one.row(judged)).collect();
    if let (Some(ours), Some(theirs)) = (judged, better) {
        let ratio = ours.commits_per_s.divided_by(&theirs.commits_per_s);
        rows.push(
            Row::new(format!("{} / {}", ours.name, theirs.name))
                .with("ours_divided_by_it", ratio)
                .with("aim", aim(clients)),
        );
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, side: Side, commits_per_s: f64) -> Found {
        let turn = || Turn { commits_per_s, p50_us: 1.0, p99_us: 2.0, cpu_us: 3.0 };
        Found::of(name.into(), side, &[turn(), turn()])
    }

    struct Steady(&'static str, Side, f64);

    impl Contestant for Steady {
        fn name(&self) -> String {
            self.0.into()
        }

        fn side(&self) -> Side {
            self.1
        }

        fn turn(&mut self, _load: &Load) -> Outcome<Turn> {
            Ok(Turn { commits_per_s: self.2, p50_us: 1.0, p99_us: 2.0, cpu_us: 3.0 })
        }
    }

    #[test]
    fn the_fastest_of_many_go_on() {
        let speeds = [("a", 5.0), ("b", 1.0), ("c", 3.0), ("d", 4.0), ("e", 2.0)];
        let theirs = speeds.map(|(name, speed)| Steady(name, Side::Theirs, speed));
        let ours = Steady("ours", Side::OursShared, 0.0);
        let mut all: Vec<Box<dyn Contestant>> = vec![Box::new(ours)];
        all.extend(theirs.map(|one| Box::new(one) as Box<dyn Contestant>));
        let (finalists, out) = heat(&mut all, &Load::small()).unwrap();
        let names: Vec<String> = finalists.iter().map(|one| one.name()).collect();
        assert_eq!(names, ["ours", "a", "d", "c", "e"]);
        assert!(out.unwrap().ends_with(": b 1."));
        assert!(heat(&mut all[..3], &Load::small()).unwrap().1.is_none());
    }

    #[test]
    fn ours_is_set_against_the_better_of_theirs() {
        let all = [
            found("shared", Side::OursShared, 90.0),
            found("default", Side::OursByDefault, 60.0),
            found("slow", Side::Theirs, 10.0),
            found("fast", Side::Theirs, 30.0),
        ];
        let names = |clients| rows(&all, clients).pop().map(|row| row.name);
        assert_eq!(names(1).as_deref(), Some("shared / fast"));
        assert_eq!(names(64).as_deref(), Some("default / fast"));
        assert_eq!(rows(&all[..2], 64).len(), 2);
    }

    #[test]
    fn aims_depend_on_the_clients() {
        assert_eq!([1, 64, 256, 1024, 4096].map(aim), [4.0, 3.0, 3.0, 2.0, 2.0]);
    }

    #[test]
    fn options_change_the_sizes() {
        let none = Options { clients: vec![], bytes: vec![], turns: Turns::default(), only: None };
        let some = Options {
            clients: vec![7],
            turns: Turns { rounds: Some(2), seconds: Some(0.5) },
            ..none
        };
        let sizes = Sizes::of(&some, false).unwrap();
        assert_eq!((sizes.clients, sizes.bytes, sizes.rounds), (vec![7], vec![0, 256], 2));
        assert_eq!(sizes.length, Duration::from_millis(500));
        let nobody = Options { clients: vec![0], ..some };
        assert!(Sizes::of(&nobody, true).is_err());
    }
}
