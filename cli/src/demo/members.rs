//! The peers of the demo: started, crashed, isolated and slowed down through the library's public
//! interface.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use quorate::actors::Delays;
use quorate::machine::WordCount;
use quorate::node::{Client, ClientOptions, Cluster, Config, Consistency, NodeStatus};
use quorate::raft::{NodeId, Role};
use quorate::storage::file::FileStorage;
use tokio::time::{Instant, sleep};

use super::Failure;
use super::acks::Counts;
use super::options::Options;
use super::report::Report;
use crate::terms;

/// How long to wait until the members have a leader, or have applied everything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The state of one peer.
pub struct PeerView {
    pub id: NodeId,
    pub lives: bool,
    pub status: NodeStatus,
}

/// All peers of the run.
pub struct Members {
    cluster: Cluster<WordCount>,
    crashes: AtomicU64,
    restarts: AtomicU64,
    partitions: AtomicU64,
    /// The last status of each ended incarnation.
    past: Mutex<Vec<NodeStatus>>,
    note: Mutex<String>,
    log_bytes_limit: u64,
}

impl Members {
    /// Starts all peers: in the directory of the options, in `scratch`, or in memory.
    pub async fn start(options: &Options, scratch: Option<&Path>) -> Result<Members, Failure> {
        let mut config = Config { seed: options.seed, ..Config::default() }
            .with_snapshot_bytes(options.snapshot_bytes.0);
        config.snapshot_entries = options.snapshot_entries;
        let limit = config.snapshot_bytes.unwrap_or(0) + config.trailing_bytes + config.pin_bytes;
        let mut builder = Cluster::builder(options.peers, WordCount::default).config(config);
        if let Some(directory) = options.data_dir.as_deref().or(scratch).filter(|_| !options.memory)
        {
            let directory = directory.to_owned();
            builder = builder.storage(move |id| FileStorage::new(directory.join(id.to_string())));
        }
        let cluster = builder.start().await.map_err(|error| {
            Failure(format!("the peers do not start: {}", terms::of_the_program(&error)))
        })?;
        Ok(Members {
            cluster,
            crashes: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            partitions: AtomicU64::new(0),
            past: Mutex::default(),
            note: Mutex::default(),
            log_bytes_limit: limit as u64,
        })
    }

    /// The number of peers.
    pub fn len(&self) -> usize {
        self.cluster.ids().len()
    }

    /// The ids of the peers.
    pub fn ids(&self) -> Vec<NodeId> {
        self.cluster.ids()
    }

    /// The client with this number.
    pub fn client(&self, number: u64) -> Client<WordCount> {
        self.cluster.client(ClientOptions { seed: number + 1, ..ClientOptions::default() })
    }

    /// The status of a peer, or its last one if it has ended.
    pub fn status(&self, id: NodeId) -> NodeStatus {
        self.cluster.status(id).unwrap_or_else(|| panic!("peer {id} was never started"))
    }

    /// Whether the peer runs.
    pub fn lives(&self, id: NodeId) -> bool {
        self.status(id).running
    }

    /// All peers, for the terminal view.
    pub fn views(&self) -> Vec<PeerView> {
        let view = |id| {
            let status = self.status(id);
            PeerView { id, lives: status.running, status }
        };
        self.ids().into_iter().map(view).collect()
    }

    /// The running leader of the highest term.
    pub fn leader(&self) -> Option<NodeId> {
        let statuses = self.ids().into_iter().map(|id| self.status(id));
        let leaders = statuses.filter(|status| status.running && status.raft.role == Role::Leader);
        leaders.max_by_key(|status| status.raft.term).map(|status| status.node)
    }

    /// Whether all peers run and are within `entries` of what the leader has committed.
    pub fn caught_up(&self, entries: u64) -> bool {
        let Some(leader) = self.leader() else { return false };
        let commit = self.status(leader).raft.commit;
        let close = |status: NodeStatus| status.running && status.raft.applied + entries >= commit;
        self.ids().into_iter().all(|id| close(self.status(id)))
    }

    /// Descriptions of the peers that are more than `entries` behind the leader or do not run.
    pub fn behind(&self, entries: u64) -> Vec<String> {
        let commit = self.leader().map_or(0, |leader| self.status(leader).raft.commit);
        let statuses = self.ids().into_iter().map(|id| self.status(id));
        let late =
            statuses.filter(|status| !status.running || status.raft.applied + entries < commit);
        late.map(|NodeStatus { node, running, raft, .. }| {
            let (last, applied, install) = (raft.last, raft.applied, raft.install);
            format!("{node}: running {running}, last {last}, applied {applied} of {commit}, install {install:?}")
        })
        .collect()
    }

    /// Sets the current fault, for the terminal view.
    pub fn note(&self, what: String) {
        *locked(&self.note) = what;
    }

    /// The current fault, see [`Members::note`].
    pub fn noted(&self) -> String {
        locked(&self.note).clone()
    }

    // ---- faults --------------------------------------------------------------------------

    /// Ends a peer like a crash of its process.
    pub async fn crash(&self, id: NodeId) {
        self.cluster.crash_member(id).await;
        locked(&self.past).push(self.status(id));
        self.crashes.fetch_add(1, Ordering::Relaxed);
    }

    /// Restarts a peer from its directory.
    pub async fn restart(&self, id: NodeId) -> Result<(), Failure> {
        let started = self.cluster.start_member(id).await;
        started.map_err(|error| Failure(format!("peer {id} does not come back: {error}")))?;
        self.restarts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Isolates a peer from all others.
    pub fn isolate(&self, id: NodeId) {
        self.partitions.fetch_add(1, Ordering::Relaxed);
        self.cluster.network().isolate(id);
    }

    /// Disconnects a peer in one direction: it cannot send, or it cannot receive.
    pub fn cut_one_way(&self, id: NodeId, mute: bool) {
        self.partitions.fetch_add(1, Ordering::Relaxed);
        for other in self.ids().into_iter().filter(|&other| other != id) {
            let (from, to) = if mute { (id, other) } else { (other, id) };
            self.cluster.network().cut_one_way(from, to);
        }
    }

    /// Reconnects all peers.
    pub fn heal(&self) {
        self.cluster.network().heal();
    }

    /// A peer's injected delays.
    pub fn delays(&self, id: NodeId) -> Delays {
        self.cluster.delays(id).cloned().unwrap_or_default()
    }

    /// Makes a peer take a snapshot, if there are new entries.
    pub async fn snapshot(&self, id: NodeId) {
        if let Some(handle) = self.cluster.handle(id) {
            // A peer that stops in the meantime takes none and reports it in its status.
            let _ = handle.snapshot().await;
        }
    }

    // ---- state ---------------------------------------------------------------------------

    /// The leader's counts, including all acknowledged commands.
    pub async fn counts_of_leader(&self) -> Result<Counts, Failure> {
        let begun = Instant::now();
        let mut last = String::from("no leader");
        while begun.elapsed() < PATIENCE {
            if let Some(handle) = self.leader().and_then(|leader| self.cluster.handle(leader)) {
                match handle.read(Consistency::Linearizable, counts).await {
                    Ok(counts) => return Ok(counts),
                    Err(error) => last = error.to_string(),
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
        Err(Failure(format!(
            "the leader could not be read within {} s: {last}",
            PATIENCE.as_secs()
        )))
    }

    /// Each peer's counts, once all have applied everything.
    pub async fn counts_of_all(&self) -> Result<Vec<Counts>, Failure> {
        self.counts_of_leader().await?;
        let begun = Instant::now();
        while !self.caught_up(0) {
            if begun.elapsed() > PATIENCE {
                return Err(Failure(format!(
                    "not all peers caught up within {} s",
                    PATIENCE.as_secs()
                )));
            }
            sleep(Duration::from_millis(10)).await;
        }
        let mut all = Vec::new();
        for id in self.ids() {
            let handle =
                self.cluster.handle(id).ok_or_else(|| Failure(format!("peer {id} is gone")))?;
            let read = handle.read(Consistency::Local, counts).await;
            all.push(read.map_err(|error| Failure(format!("peer {id} can't be read: {error}")))?);
        }
        Ok(all)
    }

    /// The peers' part of the report: sums and maxima over all their incarnations.
    pub fn report(&self) -> Report {
        let mut lives = locked(&self.past).clone();
        lives.extend(
            self.ids().into_iter().map(|id| self.status(id)).filter(|status| status.running),
        );
        let mut report = Report {
            crashes: self.crashes.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            partitions: self.partitions.load(Ordering::Relaxed),
            log_bytes_limit: self.log_bytes_limit,
            ..Report::default()
        };
        lives.iter().for_each(|life| add(&mut report, life));
        report
    }

    /// Stops all peers in order.
    pub async fn shutdown(&self) {
        self.cluster.shutdown().await;
    }
}

fn add(report: &mut Report, life: &NodeStatus) {
    let counters = &life.raft.counters;
    report.elections += counters.elections_won;
    report.snapshots_taken += counters.snapshots_taken;
    report.snapshots_sent += counters.snapshots_sent;
    report.installs_offered += counters.installs_offered;
    report.installs_granted += counters.installs_granted;
    report.installs_refused += counters.installs_refused;
    report.fast_forwards += counters.fast_forwards;
    report.entries_compacted += counters.entries_compacted;
    report.safety_alarms += counters.safety_alarms;
    report.max_log_bytes = report.max_log_bytes.max(counters.max_log_bytes);
    // Every replica suppresses the same duplicates, so the highest count is the most complete.
    report.duplicates_suppressed =
        report.duplicates_suppressed.max(life.sessions.duplicates_suppressed);
    report.max_loop_stall_ms = report.max_loop_stall_ms.max(life.max_loop_stall_ms);
    report.max_install_ms = report.max_install_ms.max(life.max_install_ms);
}

fn counts(state: &WordCount) -> Counts {
    state.iter().map(|(word, count)| (word.to_vec(), count)).collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
