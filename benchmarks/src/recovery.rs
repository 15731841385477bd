//! Starting again: what a node does with a long log, and with a large snapshot, beside plain reading of the same files.
//!
//! ```text
//!          start ──────▶ started ─────────────────────────────▶ restored
//! log      storage open, its parts run    elected, all entries applied
//! snapshot storage open, its parts run    snapshot decoded, reads are answered
//! ```
//! The node is alone in its cluster, so nobody else's doings are in its times. Cold means that the kernel was told to
//! forget the files' pages; how much then came from the device is shown.
//!
//! Not here: catching up from others. That depends on them.

use std::path::Path;
use std::time::Duration;

use actix_rt::SystemRunner;
use bytes::Bytes;
use quorate::machine::{KeyValue, Machine, command};
use quorate::node::{Cluster, Config, Consistency, Handle};
use quorate::raft::{Entry, EntryKind, HardState, Index, LogChange, LogId, Membership};
use quorate::storage::file::FileStorage;
use quorate::storage::{Identity, Start, Storage};
use tempfile::TempDir;

use crate::measure::{Outcome, Spread, Stopwatch, alternate, mib, millis};
use crate::members::{Count, PATIENCE, leader_of, until};
use crate::place::Place;
use crate::report::{Report, Row, Section};
use crate::state::Shape;
use crate::system::{self, Moved};
use quorate::raft::Random;

/// Of each command in the log.
const COMMAND_BYTES: usize = 64;
/// The log is filled with so many entries at once.
const BATCH: u64 = 4096;
/// Of all entries but the node's own.
const TERM: u64 = 1;
/// The only member.
const NODE: u64 = 0;

/// How much is done.
struct Sizes {
    rounds: usize,
    entries: u64,
    state_bytes: u64,
}

impl Sizes {
    fn full() -> Sizes {
        Sizes { rounds: 5, entries: 1_000_000, state_bytes: 1 << 30 }
    }

    fn quick() -> Sizes {
        Sizes { rounds: 2, entries: 50_000, state_bytes: 64 << 20 }
    }
}

/// Both sections.
pub fn run(report: &mut Report) -> Outcome<()> {
    let sizes = if report.quick { Sizes::quick() } else { Sizes::full() };
    let place = report.place;
    report.measure(|| Ok(vec![with_log(place, &sizes)?]))?;
    report.measure(|| Ok(vec![with_snapshot(place, &sizes)?]))
}

fn with_log(place: &Place, sizes: &Sizes) -> Outcome<Section> {
    let entries = sizes.entries;
    let folder = place.folder()?;
    fill_log(folder.path(), entries)?;
    let node = Stopped::new(folder, Count::default, async move |node: &Handle<Count>| {
        until("everything applied", || node.status().raft.applied >= entries).await
    });
    Ok(Section {
        key: "log".into(),
        title: format!("Starting with a log of {entries} entries of {COMMAND_BYTES} bytes"),
        notes: notes(
            "restored: elected within 20 to 40 ms, and all entries applied by a machine that counts.",
        ),
        rows: rows(&node, sizes)?,
        elsewhere: 0.0,
    })
}

fn with_snapshot(place: &Place, sizes: &Sizes) -> Outcome<Section> {
    let (shape, bytes) = (Shape::Small, sizes.state_bytes);
    let folder = place.folder()?;
    make_snapshot(folder.path(), shape, bytes)?;
    let node = Stopped::new(folder, KeyValue::default, async move |node: &Handle<KeyValue>| {
        let keys = node.read(Consistency::Local, |state| state.len() as u64).await?;
        if keys < shape.keys(bytes) { Err("keys are missing".into()) } else { Ok(()) }
    });
    Ok(Section {
        key: "snapshot".into(),
        title: format!("Starting with a snapshot of {:.0} MiB, {}", mib(bytes), shape.name()),
        notes: notes(
            "restored: a local read is answered from the state that the snapshot was decoded to.",
        ),
        rows: rows(&node, sizes)?,
        elsewhere: 0.0,
    })
}

fn notes(restored: &str) -> Vec<String> {
    vec![
        format!("started: the storage is open and the node's parts run. {restored}"),
        "plain read: all bytes of the node's files, a MiB at a time.".into(),
        "Cold: posix_fadvise(DONTNEED) after a sync, for these files alone; from_device: which part came from there.".into(),
    ]
}

/// Nobody has to be waited for, so it is elected soon; no snapshots but those that are asked for.
fn config() -> Config {
    Config {
        heartbeat_interval: Duration::from_millis(10),
        election_timeout_min: Duration::from_millis(20),
        election_timeout_max: Duration::from_millis(40),
        tick_interval: Duration::from_millis(5),
        // A read waits until the state is there.
        proposal_timeout: PATIENCE,
        snapshot_bytes: None,
        trailing_entries: 0,
        ..Config::default()
    }
}

async fn start<M: Machine>(
    folder: &Path,
    machine: impl Fn() -> M + Send + Sync + 'static,
) -> Outcome<Cluster<M>> {
    let folder = folder.to_owned();
    let builder = Cluster::builder(NODE + 1, machine)
        .config(config())
        .storage(move |_| FileStorage::new(&folder));
    Ok(builder.start().await?)
}

/// A log that the node might have written itself, only sooner.
fn fill_log(folder: &Path, entries: u64) -> Outcome<()> {
    let membership = Membership::of_voters([NODE]);
    let identity = Identity { cluster: 0, node: NODE, created_at_ms: 1 };
    let opened =
        Box::new(FileStorage::new(folder)).open(identity, &Start::Bootstrap(membership))?;
    let mut log = opened.log;
    let data = command::encode_raw(&Bytes::from(Random::new(1).bytes(COMMAND_BYTES)))?;
    let entry = |index: Index| Entry {
        log_id: LogId::new(TERM, index),
        kind: EntryKind::Command,
        stamp_ms: index,
        data: data.clone(),
    };
    let hard_state = Some(HardState { term: TERM, vote: Some(NODE) });
    log.write(&[LogChange { hard_state, ..LogChange::default() }])?;
    for first in (1..=entries).step_by(BATCH as usize) {
        let append = (first..=entries.min(first + BATCH - 1)).map(entry).collect();
        log.write(&[LogChange { append, ..LogChange::default() }])?;
    }
    Ok(log.seal()?)
}

/// A node with such a state, which has taken a snapshot of it and ended.
fn make_snapshot(folder: &Path, shape: Shape, bytes: u64) -> Outcome<()> {
    actix_rt::System::new().block_on(async {
        let cluster = start(folder, move || shape.filled(bytes)).await?;
        let leader = leader_of(&cluster).await?;
        leader.snapshot().await?;
        cluster.shutdown().await;
        Ok(())
    })
}

/// A node's files, and how it is known that it is there again.
struct Stopped<M, R> {
    folder: TempDir,
    machine: fn() -> M,
    restored: R,
    runner: SystemRunner,
}

/// What a turn took, and came from the device.
struct Turn {
    started: Duration,
    whole: Duration,
    fetched: u64,
    bytes: u64,
}

impl<M: Machine, R: AsyncFn(&Handle<M>) -> Outcome<()>> Stopped<M, R> {
    fn new(folder: TempDir, machine: fn() -> M, restored: R) -> Stopped<M, R> {
        Stopped { folder, machine, restored, runner: actix_rt::System::new() }
    }

    fn node_turn(&self) -> Outcome<Turn> {
        let before = Moved::until_now()?;
        let stopwatch = Stopwatch::start();
        self.runner.block_on(async {
            let cluster = start(self.folder.path(), self.machine).await?;
            let started = stopwatch.elapsed();
            let node = cluster.handle(NODE).ok_or("it does not run")?;
            (self.restored)(&node).await?;
            let (whole, fetched) = (stopwatch.elapsed(), before.since()?.fetched);
            cluster.shutdown().await;
            Ok(Turn { started, whole, fetched, bytes: 0 })
        })
    }

    fn plain_turn(&self) -> Outcome<Turn> {
        let before = Moved::until_now()?;
        let stopwatch = Stopwatch::start();
        let bytes = system::read_through(self.folder.path())?;
        let took = stopwatch.elapsed();
        Ok(Turn { started: took, whole: took, fetched: before.since()?.fetched, bytes })
    }

    fn turn(&self, who: Who, is_cold: bool) -> Outcome<Turn> {
        if is_cold {
            system::forget(self.folder.path())?;
        } else {
            system::read_through(self.folder.path())?;
        }
        match who {
            Who::Node => self.node_turn(),
            Who::Plain => self.plain_turn(),
        }
    }
}

#[derive(Clone, Copy)]
enum Who {
    Node,
    Plain,
}

fn rows<M: Machine, R: AsyncFn(&Handle<M>) -> Outcome<()>>(
    node: &Stopped<M, R>,
    sizes: &Sizes,
) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (is_cold, name) in [(true, "cold"), (false, "warm")] {
        let mut both = [Who::Node, Who::Plain];
        let turns = alternate(sizes.rounds, &mut both, |who| node.turn(*who, is_cold))?;
        rows.extend(rows_of(name, &turns[0], &turns[1], is_cold));
    }
    Ok(rows)
}

fn rows_of(name: &str, node: &[Turn], plain: &[Turn], is_cold: bool) -> [Row; 2] {
    let bytes = plain[0].bytes;
    let each = |turns: &[Turn], of: &dyn Fn(&Turn) -> f64| Spread::of(turns.iter().map(of));
    let started = each(node, &|turn| millis(turn.started));
    let restored = each(node, &|turn| millis(turn.whole));
    let read = each(plain, &|turn| millis(turn.whole));
    let from_device =
        |turns: &[Turn]| is_cold.then(|| each(turns, &|turn| turn.fetched as f64 / bytes as f64));
    [
        Row::new(format!("{name}, node"))
            .with("started_ms", started.clone())
            .with("restored_ms", restored.clone())
            .with_some("from_device", from_device(node)),
        Row::new(format!("{name}, plain read"))
            .with("read_ms", read.clone())
            .with("mib", mib(bytes))
            .with("started_divided_by_it", started.divided_by(&read))
            .with("restored_divided_by_it", restored.divided_by(&read))
            .with_some("from_device", from_device(plain)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_starts_with_each_and_has_everything() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path()).unwrap();
        let sizes = Sizes { rounds: 1, entries: 5000, state_bytes: 100_000 };
        for section in [with_log(&place, &sizes).unwrap(), with_snapshot(&place, &sizes).unwrap()] {
            assert_eq!(section.rows.len(), 4, "{}", section.key);
        }
    }
}
