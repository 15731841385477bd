//! Logs of different lengths, in files, never compacted. Commands are empty and the machine counts them.
//!
//! A log gets longer while it is measured; one that has become several times as long as it should be is begun anew.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use quorate::node::{Cluster, Config, ProposeError};
use quorate::storage::file::FileStorage;
use tempfile::TempDir;

use super::{CLIENTS, Contestant, FILLING_CLIENTS, MEMBERS, Runner, Sizes, rows};
use crate::load::{Load, Turn, client, conduct};
use crate::measure::Outcome;
use crate::members::{Count, leader_of};
use crate::place::Place;
use crate::report::Section;
use crate::system::{anonymous_bytes, pause};

/// The longest log's command costs at most so many times as much as the shortest's.
const AIM: f64 = 1.2;
/// A log may become so many times as long as it should be.
const GROWN: u64 = 4;
/// A store that has just been founded makes files for later; a turn does not begin meanwhile.
const SETTLE: Duration = Duration::from_millis(500);
/// A turn's first moments do not count.
const WARM_UP: Duration = Duration::from_millis(20);

/// The section.
pub fn section(place: &Place, runner: &Runner, sizes: &Sizes) -> Outcome<Section> {
    let logs = sizes.log_entries.iter();
    let mut logs: Vec<Long> =
        logs.map(|&entries| Long::new(place, runner, entries, sizes.length)).collect();
    logs.iter_mut().try_for_each(|log| log.begin_if_need_be())?;
    Ok(Section {
        key: "log".into(),
        title: format!(
            "A command's cost by the log's length: {MEMBERS} members, {CLIENTS} clients"
        ),
        notes: vec![
            format!(
                "{} rounds; in each every log has a turn of {} ms. Nothing is compacted, commands are empty, files are synced.",
                sizes.log_rounds,
                sizes.length.as_millis()
            ),
            format!(
                "A log that is more than {GROWN} times as long as it should be is begun anew. memory: of all members together."
            ),
            format!("aim: the longest at most {AIM} times the shortest."),
        ],
        rows: rows(sizes.log_rounds, AIM, &mut logs)?,
        elsewhere: 0.0,
    })
}

/// A cluster with at least so many entries.
struct Long<'a> {
    place: &'a Place,
    runner: Runner,
    entries: u64,
    length: Duration,
    cluster: Option<(Cluster<Count>, TempDir)>,
    memory_bytes: f64,
}

impl<'a> Long<'a> {
    fn new(place: &'a Place, runner: &Runner, entries: u64, length: Duration) -> Long<'a> {
        Long { place, runner: runner.clone(), entries, length, cluster: None, memory_bytes: 0.0 }
    }

    fn begin_if_need_be(&mut self) -> Outcome<()> {
        if self.last() > 0 && self.last() <= GROWN * self.entries {
            return Ok(());
        }
        self.end();
        let before = anonymous_bytes()? as f64;
        let folder = self.place.folder()?;
        let dir = folder.path().to_owned();
        let config = Config { snapshot_bytes: None, ..Config::default() };
        let builder = Cluster::builder(MEMBERS, Count::default)
            .config(config)
            .storage(move |node| FileStorage::new(dir.join(node.to_string())));
        let cluster = self.runner.block_on(builder.start())?;
        self.runner.block_on(self.fill(&cluster))?;
        self.cluster = Some((cluster, folder));
        pause(SETTLE);
        if self.memory_bytes == 0.0 {
            self.memory_bytes = anonymous_bytes()? as f64 - before;
        }
        Ok(())
    }

    /// The last entry that is applied; 0 without a cluster.
    fn last(&self) -> u64 {
        let Some((cluster, _)) = &self.cluster else { return 0 };
        let applied = cluster.ids().into_iter().filter_map(|node| cluster.status(node));
        applied.map(|status| status.raft.applied).max().unwrap_or(0)
    }

    /// As many commands as it should have, by many clients that share them.
    async fn fill(&self, cluster: &Cluster<Count>) -> Outcome<()> {
        let leader = leader_of(cluster).await?;
        let left = Rc::new(Cell::new(self.entries));
        let clients = (0..FILLING_CLIENTS).map(|_| {
            let (leader, left) = (leader.clone(), left.clone());
            actix_rt::spawn(async move {
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    leader.propose(Bytes::new()).await?;
                }
                Ok::<_, ProposeError>(())
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await??;
        }
        Ok(())
    }

    async fn run(&self, cluster: &Cluster<Count>) -> Outcome<Turn> {
        let leader = leader_of(cluster).await?;
        let (payload, length) = (Bytes::new(), self.length);
        let load = Load { clients: CLIENTS, payload, warm_up: WARM_UP, length };
        conduct(&load, |phase| {
            let leader = leader.clone();
            actix_rt::spawn(client(phase, async move || leader.propose(Bytes::new()).await))
        })
        .await
    }

    fn end(&mut self) {
        if let Some((cluster, _folder)) = self.cluster.take() {
            self.runner.block_on(cluster.shutdown());
        }
    }
}

impl Contestant for Long<'_> {
    fn name(&self) -> String {
        format!("{} entries", self.entries)
    }

    fn turn(&mut self) -> Outcome<Turn> {
        self.begin_if_need_be()?;
        let (cluster, _) = self.cluster.as_ref().ok_or("there is no cluster")?;
        self.runner.block_on(self.run(cluster))
    }

    fn memory_bytes(&self) -> f64 {
        self.memory_bytes
    }
}

impl Drop for Long<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_as_long_as_it_should_be() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path()).unwrap();
        let runner = Rc::new(actix_rt::System::new());
        let mut log = Long::new(&place, &runner, 2000, Duration::from_millis(50));
        log.begin_if_need_be().unwrap();
        assert!(log.last() >= 2000);
        log.entries = 100;
        log.begin_if_need_be().unwrap();
        assert!(log.cluster.is_some());
    }
}
