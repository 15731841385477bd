//! quorate with a directory for each member, all on the disk that is measured.
//!
//! | placement | members |
//! |---|---|
//! | default | all peers on one thread, each other part of each member on one of its own |
//! | two threads | the log's writer on its own thread, all else of a member on another |
//!
//! The configuration is the default one: a snapshot per 64 MiB of log.

use std::rc::Rc;
use std::time::Duration;

use actix_rt::SystemRunner;
use quorate::node::Cluster;
use quorate::runtime::{Component, Placement};
use quorate::storage::file::FileStorage;
use tempfile::TempDir;

use super::{Contestant, MEMBERS};
use crate::load::{Load, Turn, client, conduct};
use crate::measure::{Outcome, Stopwatch};
use crate::members::{Count, leader_of};
use crate::place::Place;

/// A log that is not compacted after so long stays as it is.
const WARM_UP_MAX: Duration = Duration::from_secs(60);

/// A cluster that lives as long as the value.
pub struct Ours {
    name: &'static str,
    runner: Rc<SystemRunner>,
    cluster: Cluster<Count>,
    /// Behind the cluster: it goes when the members are gone.
    _folder: TempDir,
}

fn two_threads() -> Placement {
    [Component::Reader, Component::Applier, Component::Snapshotter]
        .into_iter()
        .fold(Placement::threads(), |placement, part| placement.with(part, Component::Peer))
}

impl Ours {
    /// In both placements, the default one first.
    pub fn all(place: &Place, runner: &Rc<SystemRunner>) -> Outcome<[Ours; 2]> {
        Ok([
            Ours::found("ours", place, runner, Placement::peers_in_common())?,
            Ours::found("ours, two threads", place, runner, two_threads())?,
        ])
    }

    fn found(
        name: &'static str,
        place: &Place,
        runner: &Rc<SystemRunner>,
        placement: Placement,
    ) -> Outcome<Ours> {
        let folder = place.folder()?;
        let dir = folder.path().to_owned();
        let builder = Cluster::builder(MEMBERS, Count::default)
            .placement(placement)
            .storage(move |node| FileStorage::new(dir.join(node.to_string())));
        let cluster = runner.block_on(builder.start())?;
        Ok(Ours { name, runner: runner.clone(), cluster, _folder: folder })
    }

    /// Commits until the leader has compacted its log so often.
    pub fn warm_up(&mut self, load: &Load, compactions: u64) -> Outcome<()> {
        let stopwatch = Stopwatch::start();
        while self.compactions()? < compactions && stopwatch.elapsed() < WARM_UP_MAX {
            self.turn(load)?;
        }
        Ok(())
    }

    fn compactions(&self) -> Outcome<u64> {
        let leader = self.runner.block_on(leader_of(&self.cluster))?;
        Ok(leader.status().raft.counters.snapshots_taken)
    }

    async fn run(&self, load: &Load) -> Outcome<Turn> {
        let leader = leader_of(&self.cluster).await?;
        conduct(load, |phase| {
            let (leader, payload) = (leader.clone(), load.payload.clone());
            actix_rt::spawn(client(phase, async move || leader.propose(payload.clone()).await))
        })
        .await
    }
}

impl Contestant for Ours {
    fn name(&self) -> &'static str {
        self.name
    }

    fn turn(&mut self, load: &Load) -> Outcome<Turn> {
        self.runner.block_on(self.run(load))
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.runner.block_on(self.cluster.shutdown());
    }
}
