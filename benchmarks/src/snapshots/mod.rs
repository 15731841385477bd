//! What snapshots of a large state do to commits: while one is built, sent, installed.
//!
//! | file | idea |
//! |---|---|
//! | `trio` | three members with a state each |
//! | `pace` | commands at a fixed pace, and a probe of the machine |
//! | `phases` | what goes on, phase by phase |
//!
//! First it is measured how much the members can commit; then commands come at a part of that, whether earlier ones are
//! answered or not, so that whoever stalls has to show it.
//!
//! Not here: how fast a snapshot could be at the best. Its time stands beside that of plain writing under the same load.

mod pace;
mod phases;
mod trio;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use quorate::machine::{KeyValue, KeyValueCommand};
use quorate::node::Handle;

use crate::load::{Load, client, conduct};
use crate::measure::{Outcome, Spread, Stopwatch, mib};
use crate::place::Place;
use crate::report::{Report, Row, Section};
use crate::state::{Shape, key};
use crate::system::{anonymous_bytes, available_bytes};
use pace::{Pace, Probe};
use phases::{Director, Figures, Phase, Span, figures};
use quorate::raft::Random;
use trio::{Keeping, Trio, config};

/// The pace is this part of what the members can commit.
const PACE: f64 = 0.3;
/// It is measured with so many clients.
const CLIENTS: usize = 256;
/// Of each command's value.
const VALUE_BYTES: usize = 256;
/// Where values are large, commands write to so many keys beside them.
const BESIDE: u64 = 1000;
/// The pace goes on for so long before anything is measured.
const SETTLE: Duration = Duration::from_millis(500);
/// p99 is to be at most so many times that of the idle phase.
const P99_AIM: f64 = 1.2;
/// The worst commit is to take at most so many times as long as the idle phase's worst, or ..
const WORST_AIM: f64 = 2.0;
/// .. this long, if that is longer.
const WORST_ALLOWED_US: f64 = 10_000.0;
/// A snapshot is to take at most so many times as long as plain writing.
const BUILD_AIM: f64 = 2.0;
/// Beside the states there is to be at most this much more memory in use.
const MEMORY_ALLOWED_MIB: f64 = 64.0;

/// What to measure; all of it unless told.
#[derive(Args)]
pub struct Options {
    /// Sizes of the state in MiB, for example 256,1024.
    #[arg(long, value_delimiter = ',')]
    mib: Vec<u64>,
    /// How often all phases come.
    #[arg(long)]
    rounds: Option<usize>,
    /// Commands come at this part of what the members can commit.
    #[arg(long)]
    pace: Option<f64>,
    /// Only where the title contains this: memory, files, 1 MiB ..
    #[arg(long)]
    only: Option<String>,
}

/// How much is done.
struct Sizes {
    state_mib: Vec<u64>,
    rounds: usize,
    /// This part of what the members can commit.
    pace: f64,
    idle: Duration,
    /// How long it is measured what the members can commit.
    saturation: Duration,
}

impl Sizes {
    fn of(options: &Options, quick: bool) -> Outcome<Sizes> {
        let (state_mib, rounds, idle, saturation) =
            if quick { (vec![16], 1, 300, 200) } else { (vec![256, 1024], 3, 3000, 1000) };
        let sizes = Sizes {
            state_mib: if options.mib.is_empty() { state_mib } else { options.mib.clone() },
            rounds: options.rounds.unwrap_or(rounds),
            pace: options.pace.unwrap_or(PACE),
            idle: Duration::from_millis(idle),
            saturation: Duration::from_millis(saturation),
        };
        if sizes.rounds == 0 || sizes.state_mib.contains(&0) || sizes.pace <= 0.0 {
            return Err("at least one round, one MiB and some commands".into());
        }
        Ok(sizes)
    }
}

/// One section's subject.
#[derive(Clone, Copy)]
struct Subject {
    keeping: Keeping,
    shape: Shape,
    bytes: u64,
}

impl Subject {
    fn title(self) -> String {
        let (keeping, shape) = (self.keeping.name(), self.shape.name());
        format!("Snapshots of {:.0} MiB, {shape}, kept in {keeping}", mib(self.bytes))
    }

    fn key(self) -> String {
        let shape = if self.shape == Shape::Small { "small" } else { "large" };
        format!("{}_{shape}_{:.0}_mib", self.keeping.name(), mib(self.bytes))
    }

    /// All members' states, views and a shadow; snapshots too, where they are in memory: times the state's size.
    fn memory_factor(self) -> u64 {
        if self.keeping == Keeping::Memory { 16 } else { 9 }
    }

    /// Logs and snapshots of all members: times the state's size.
    fn disk_factor(self) -> u64 {
        if self.keeping == Keeping::Memory { 0 } else { 10 }
    }

    /// Where it can't be known, it does not.
    fn fits(self, place: &Place) -> bool {
        let (memory, disk) = (available_bytes().unwrap_or(0), place.free_bytes().unwrap_or(0));
        self.bytes * self.memory_factor() <= memory && self.bytes * self.disk_factor() <= disk
    }

    /// What a process that measures this alone is told.
    fn arguments(self, sizes: &Sizes) -> Vec<String> {
        let mut all = vec!["snapshots".into(), "--only".into(), self.title()];
        all.extend(["--mib".into(), (self.bytes >> 20).to_string()]);
        all.extend(["--rounds".into(), sizes.rounds.to_string()]);
        all.extend(["--pace".into(), sizes.pace.to_string()]);
        all
    }

    /// A client's commands: over values that are there, or beside large ones, for a large value would be a large command.
    fn commands(self, seed: u64) -> impl FnMut() -> KeyValueCommand + Send + 'static {
        let mut random = Random::new(seed);
        let value = random.bytes(VALUE_BYTES);
        let (first, count) = match self.shape {
            Shape::Small => (0, self.shape.keys(self.bytes)),
            Shape::Large => (1 << 40, BESIDE),
        };
        move || KeyValueCommand::Put {
            key: key(first + random.next() % count),
            value: value.clone(),
        }
    }
}

fn subjects(sizes: &Sizes, only: Option<&str>) -> Vec<Subject> {
    let mut all = Vec::new();
    for &state_mib in &sizes.state_mib {
        for keeping in [Keeping::Memory, Keeping::Files] {
            for shape in [Shape::Small, Shape::Large] {
                all.push(Subject { keeping, shape, bytes: state_mib << 20 });
            }
        }
    }
    all.retain(|one| only.is_none_or(|only| one.title().contains(only)));
    all
}

/// All sections: one for each size, keeping and shape.
pub fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let sizes = Sizes::of(options, report.quick)?;
    let place = report.place;
    let (fitting, others): (Vec<Subject>, Vec<Subject>) =
        subjects(&sizes, options.only.as_deref()).into_iter().partition(|one| one.fits(place));
    for subject in &others {
        eprintln!("left out, for there is too little memory or disk: {}", subject.title());
    }
    if let [subject] = fitting[..] {
        return report.measure(|| Ok(vec![section(place, &sizes, subject)?]));
    }
    let mut all = Ok(());
    for subject in fitting {
        // What can be measured is, whatever fails.
        all = report.measure_apart(&subject.arguments(&sizes)).and(all);
    }
    all
}

fn section(place: &Place, sizes: &Sizes, subject: Subject) -> Outcome<Section> {
    let folder = place.folder()?;
    let measuring = measure(folder.path(), sizes, subject);
    let found = actix_rt::System::new().block_on(measuring)?;
    Ok(Section {
        key: subject.key(),
        title: subject.title(),
        notes: notes(sizes, &found),
        rows: rows(&found),
        elsewhere: 0.0,
    })
}

/// What was found of a subject.
struct Found {
    /// By phase, then by round.
    phases: Vec<Vec<Figures>>,
    /// Commands a second that came.
    rate: f64,
    /// Commands that were refused or not answered.
    failed: u64,
    /// Why there are fewer rounds than there should be.
    broken: Option<String>,
    /// What one member's state takes.
    state_mib: f64,
}

async fn measure(folder: &Path, sizes: &Sizes, subject: Subject) -> Outcome<Found> {
    let before = anonymous_bytes()?;
    let trio = Trio::found(subject.keeping, folder, subject.shape, subject.bytes).await?;
    let state_mib = mib(anonymous_bytes()?.saturating_sub(before)) / 3.0;
    let leader = trio.leader().await?;
    let rate = sizes.pace * saturation(&leader, sizes, subject).await?;
    let clock = Stopwatch::start();
    let probe = Probe::start(clock)?;
    let pace = Pace::start(clock, rate, leader.clone(), subject.commands(0))?;
    tokio::time::sleep(SETTLE).await;
    let mut director = Director {
        trio: &trio,
        leader: &leader,
        clock,
        keeping: subject.keeping,
        folder,
        state_bytes: subject.bytes,
        idle: sizes.idle,
        spans: Vec::new(),
    };
    let (mut spans, mut broken) = (Vec::new(), None);
    for round in 0..sizes.rounds {
        if let Err(error) = director.round(round).await {
            broken = Some(error.to_string());
            break;
        }
        spans.append(&mut director.spans);
    }
    let (samples, failed) = pace.end()?;
    let glances = probe.end()?;
    trio.end().await;
    if let (true, Some(broken)) = (spans.is_empty(), &broken) {
        return Err(broken.as_str().into());
    }
    let phases = by_phase(&spans, |span| figures(span, &samples, &glances))?;
    Ok(Found { phases, rate, failed, broken, state_mib })
}

/// Commands a second that the members can commit.
async fn saturation(leader: &Handle<KeyValue>, sizes: &Sizes, subject: Subject) -> Outcome<f64> {
    let (warm_up, length) = (sizes.saturation / 2, sizes.saturation);
    let load = Load { clients: CLIENTS, payload: Bytes::new(), warm_up, length };
    let mut seed = 0;
    let turn = conduct(&load, |phase| {
        seed += 1;
        let (leader, mut make) = (leader.clone(), subject.commands(seed));
        actix_rt::spawn(client(phase, async move || leader.propose(make()).await.map(drop)))
    });
    Ok(turn.await?.commits_per_s)
}

fn by_phase(
    spans: &[Span],
    mut figures: impl FnMut(&Span) -> Outcome<Figures>,
) -> Outcome<Vec<Vec<Figures>>> {
    let of = |phase: Phase| spans.iter().filter(move |span| span.phase == phase);
    let phases = Phase::ALL.iter();
    phases.map(|phase| of(*phase).map(&mut figures).collect()).collect()
}

fn notes(sizes: &Sizes, found: &Found) -> Vec<String> {
    let mut notes = vec![
        format!(
            "{} rounds of all phases; {:.0} commands a second, {:.0} % of what is possible, whether earlier ones are answered or not; {} failed.",
            found.phases[0].len(),
            found.rate,
            sizes.pace * 100.0,
            found.failed
        ),
        "Latencies from the moment a command was due. plain write: the same state serialised and written beside the members under the same load.".into(),
        "heartbeat_late: the leader's longest silence towards a member, less the interval. loop_stall: the longest of any member since its start. timer_late: of a thread that only sleeps.".into(),
        format!(
            "aims: p99 {P99_AIM} times idle's; worst at most worst_allowed; heartbeats at most {} ms late; build {BUILD_AIM} times the plain write.",
            config().tick_interval.as_millis()
        ),
        format!(
            "memory_more: peak less idle's; stored snapshots are in it where they are kept in memory. One member's state takes {:.0} MiB; aims: {MEMORY_ALLOWED_MIB} MiB, while installing one state more.",
            found.state_mib
        ),
    ];
    notes
        .extend(found.broken.iter().map(|error| format!("BROKEN OFF after these rounds: {error}")));
    notes
}

fn rows(found: &Found) -> Vec<Row> {
    let idle = &found.phases[0];
    let mut rows: Vec<Row> =
        Phase::ALL.iter().zip(&found.phases).map(|(phase, own)| row(*phase, own, idle)).collect();
    let [_, build, plain, ..] = &found.phases[..] else { return rows };
    let took = |of: &[Figures]| Spread::of(of.iter().map(|figures| figures.took_ms));
    rows.push(
        Row::new("build / plain write")
            .with("took_ms", took(build).divided_by(&took(plain)))
            .with("at_most", BUILD_AIM),
    );
    rows
}

fn row(phase: Phase, own: &[Figures], idle: &[Figures]) -> Row {
    let figure = |of: fn(&Figures) -> f64| Spread::of(own.iter().map(of));
    let idle_of = |of: fn(&Figures) -> f64| Spread::of(idle.iter().map(of));
    let others = |spread: Spread| (phase != Phase::Idle).then_some(spread);
    let allowed = idle.iter().map(|idle| (idle.worst_us * WORST_AIM).max(WORST_ALLOWED_US));
    let more = own.iter().zip(idle).map(|(own, idle)| own.peak_mib - idle.peak_mib);
    let p99 = figure(|figures| figures.p99_us);
    Row::new(phase.name())
        .with("took_ms", figure(|figures| figures.took_ms))
        .with("commands", figure(|figures| figures.commands))
        .with("p50_us", figure(|figures| figures.p50_us))
        .with("p99_us", p99.clone())
        .with_some("p99_divided_by_idle", others(p99.divided_by(&idle_of(|idle| idle.p99_us))))
        .with("worst_us", figure(|figures| figures.worst_us))
        .with_some("worst_allowed_us", others(Spread::of(allowed)))
        .with("heartbeat_late_ms", figure(|figures| figures.heartbeat_late_ms))
        .with("loop_stall_ms", figure(|figures| figures.loop_stall_ms))
        .with("timer_late_ms", figure(|figures| figures.timer_late_ms))
        .with_some("memory_more_mib", others(Spread::of(more)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_comes_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path()).unwrap();
        let sizes = Sizes {
            state_mib: vec![2],
            rounds: 2,
            pace: PACE,
            idle: Duration::from_millis(100),
            saturation: Duration::from_millis(100),
        };
        for subject in subjects(&sizes, Some("256 bytes")) {
            let section = section(&place, &sizes, subject).unwrap();
            assert_eq!(section.rows.len(), Phase::ALL.len() + 1, "{}", section.key);
        }
    }

    #[test]
    fn subjects_have_keys_of_their_own() {
        let sizes =
            Sizes::of(&Options { mib: vec![], rounds: None, pace: None, only: None }, false)
                .unwrap();
        let mut keys: Vec<String> = subjects(&sizes, None).into_iter().map(Subject::key).collect();
        keys.dedup();
        assert_eq!((keys.len(), keys[0].as_str()), (8, "memory_small_256_mib"));
        assert_eq!(subjects(&sizes, Some("files")).len(), 4);
    }
}
