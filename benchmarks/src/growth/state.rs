//! States of different sizes, and the snapshots that keep their logs short.
//!
//! ```text
//! turn   ──── commands that overwrite values ────▶ the leader's next snapshot is current
//! log    as many bytes as the state has, at least a certain number
//! ```
//! So each turn has one snapshot of each member in it, and what that costs is part of what its commands cost.

use std::time::Duration;

use bytes::Bytes;
use quorate::machine::{KeyValue, KeyValueCommand};
use quorate::node::{Cluster, Config, Handle};
use quorate::raft::Role;
use quorate::storage::file::FileStorage;
use tempfile::TempDir;

use super::{CLIENTS, Contestant, MEMBERS, Runner, Sizes, rows};
use crate::load::{Load, Turn, client, conduct_until};
use crate::measure::{Outcome, mib};
use crate::members::{leader_of, until};
use crate::place::Place;
use crate::report::Section;
use crate::state::{Shape, key};
use crate::system::{anonymous_bytes, available_bytes};
use quorate::raft::Random;

/// The largest state's command costs at most so many times as much as the smallest's.
const AIM: f64 = 2.0;
const SHAPE: Shape = Shape::Small;
/// All members' states, with what a map takes beside its values, and views of them: times the state's size.
const MEMORY_FACTOR: u64 = 9;
/// All members' logs and snapshots, two at rest and one that is written: times the state's size.
const DISK_FACTOR: u64 = 14;

/// The section.
pub fn section(place: &Place, runner: &Runner, sizes: &Sizes) -> Outcome<Section> {
    let (memory, disk) = (available_bytes()?, place.free_bytes()?);
    let fits = |bytes: &u64| bytes * MEMORY_FACTOR <= memory && bytes * DISK_FACTOR <= disk;
    let (fitting, too_large): (Vec<u64>, Vec<u64>) =
        sizes.state_bytes.iter().partition(|bytes| fits(bytes));
    let large = fitting.into_iter().map(|bytes| Large::found(place, runner, sizes, bytes));
    let mut states = large.collect::<Outcome<Vec<Large>>>()?;
    let mut notes = vec![
        format!(
            "{} rounds; a turn lasts from one snapshot of the leader to the next, so one of each member is in it.",
            sizes.state_rounds
        ),
        format!(
            "Snapshots after as many bytes of log as the state has, at least {:.0} MiB. Commands overwrite {}. memory: of all members together.",
            mib(sizes.snapshot_bytes_min),
            SHAPE.name()
        ),
        format!("aim: the largest at most {AIM} times the smallest."),
    ];
    notes.extend(too_large.iter().map(|bytes| {
        format!("left out, for there is too little memory or disk: {:.0} MiB.", mib(*bytes))
    }));
    Ok(Section {
        key: "state".into(),
        title: format!(
            "A command's cost by the state's size: {MEMBERS} members, {CLIENTS} clients"
        ),
        notes,
        rows: rows(sizes.state_rounds, AIM, &mut states)?,
        elsewhere: 0.0,
    })
}

/// A cluster with a state of a size.
struct Large {
    runner: Runner,
    bytes: u64,
    cluster: Cluster<KeyValue>,
    memory_bytes: f64,
    /// Behind the cluster: it goes when the members are gone.
    _folder: TempDir,
}

impl Large {
    fn found(place: &Place, runner: &Runner, sizes: &Sizes, bytes: u64) -> Outcome<Large> {
        let before = anonymous_bytes()? as f64;
        let folder = place.folder()?;
        let dir = folder.path().to_owned();
        let log_bytes = bytes.max(sizes.snapshot_bytes_min);
        let builder = Cluster::builder(MEMBERS, move || SHAPE.filled(bytes))
            .config(Config::default().with_snapshot_bytes(log_bytes as usize))
            .storage(move |node| FileStorage::new(dir.join(node.to_string())));
        let cluster = runner.block_on(builder.start())?;
        // The first turn begins behind a snapshot, as all others do.
        runner.block_on(async {
            Ok::<_, Box<dyn std::error::Error>>(leader_of(&cluster).await?.snapshot().await?)
        })?;
        let memory_bytes = anonymous_bytes()? as f64 - before;
        Ok(Large { runner: runner.clone(), bytes, cluster, memory_bytes, _folder: folder })
    }

    async fn run(&self) -> Outcome<Turn> {
        let leader = leader_of(&self.cluster).await?;
        let load = Load {
            clients: CLIENTS,
            payload: Bytes::new(),
            warm_up: Duration::ZERO,
            length: Duration::ZERO,
        };
        let taken = |of: &Handle<KeyValue>| of.status().raft.counters.snapshots_taken;
        let before = taken(&leader);
        let mut seed = 0;
        let start = |phase| {
            seed += 1;
            let (leader, keys) = (leader.clone(), SHAPE.keys(self.bytes));
            let mut random = Random::new(seed);
            let value = random.bytes(SHAPE.value_bytes());
            actix_rt::spawn(client(phase, async move || {
                let put =
                    KeyValueCommand::Put { key: key(random.next() % keys), value: value.clone() };
                leader.propose(put).await.map(drop)
            }))
        };
        let mut came = Ok(());
        // Clients of a deposed leader have ended; their error says so.
        let deposed = || leader.status().raft.role != Role::Leader;
        let over = async {
            came = until("a snapshot", || taken(&leader) > before || deposed()).await;
        };
        let turn = conduct_until(&load, over, start).await;
        came.and(turn)
    }
}

impl Contestant for Large {
    fn name(&self) -> String {
        format!("{:.0} MiB", mib(self.bytes))
    }

    fn turn(&mut self) -> Outcome<Turn> {
        self.runner.block_on(self.run())
    }

    fn memory_bytes(&self) -> f64 {
        self.memory_bytes
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        self.runner.block_on(self.cluster.shutdown());
    }
}
