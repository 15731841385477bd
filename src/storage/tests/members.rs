//! Whole members on a disk that fails or hangs: the behaviour of the member and of the others, and
//! the result of pending requests.
//!
//! Three members in virtual time, each with a file storage on its own disk.
//!
//! *What it does not do:* cover the other calls that can fail. `faults.rs` covers all of them,
//! without a member.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep};

use crate::machine::{Increment, WordCount};
use crate::node::{ClientOptions, Cluster, Config, Consistency, NodeStatus};
use crate::raft::{NodeId, Role};
use crate::runtime::Placement;
use crate::transport::{InProcessNetwork, NetworkOptions};

use super::sim_disk::{Fault, SimDisk, Unsynced};
use super::workload::storage_of;

const MINUTE: Duration = Duration::from_secs(60);

fn story(future: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.unwrap(), future);
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < 3 * MINUTE, "waited in vain for {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn word() -> Increment {
    Increment { word: "word".into() }
}

/// Three members with a state machine that counts words.
struct Trio {
    cluster: Cluster<WordCount>,
    disks: Arc<Mutex<BTreeMap<NodeId, SimDisk>>>,
}

impl Trio {
    async fn start() -> Trio {
        let disks = (0..3).map(|node| (node, SimDisk::default())).collect();
        let disks = Arc::new(Mutex::new(disks));
        let below: Arc<Mutex<BTreeMap<NodeId, SimDisk>>> = disks.clone();
        let cluster = Cluster::builder(3, WordCount::default)
            .config(Config { seed: 7, ..Config::default() })
            .placement(Placement::virtual_time())
            .network(InProcessNetwork::new(NetworkOptions { seed: 3, encode: true }))
            .storage(move |node| storage_of(&below.lock()[&node], 16 << 10));
        Trio { cluster: cluster.start().await.unwrap(), disks }
    }

    fn disk(&self, node: NodeId) -> SimDisk {
        self.disks.lock()[&node].clone()
    }

    fn status(&self, node: NodeId) -> NodeStatus {
        self.cluster.status(node).unwrap()
    }

    fn leader_now(&self) -> Option<NodeId> {
        let statuses = self.cluster.ids().into_iter().map(|node| self.status(node));
        let leaders = statuses.filter(|status| status.running && status.raft.role == Role::Leader);
        leaders.max_by_key(|status| status.raft.term).map(|status| status.node)
    }

    async fn leader(&self) -> NodeId {
        until("a leader", || self.leader_now().is_some()).await;
        self.leader_now().unwrap()
    }

    /// Counts, each word exactly once; returns the last count.
    async fn count(&self, times: u64) -> u64 {
        let client = self.cluster.client(ClientOptions::default());
        let mut last = 0;
        for _ in 0..times {
            last = client.execute(word()).await.unwrap();
        }
        last
    }

    async fn counted(&self, node: NodeId) -> u64 {
        let read = |state: &WordCount| state.get(b"word");
        self.cluster.handle(node).unwrap().read(Consistency::Local, read).await.unwrap()
    }

    async fn caught_up(&self, node: NodeId) {
        until("a member that has caught up", || {
            let goal = self.leader_now().map(|leader| self.status(leader).raft.last);
            Some(self.status(node).raft.applied) == goal.map(|last| last.index)
        })
        .await;
    }
}

/// PS04, PS02: it stops permanently and reports why, it acknowledges nothing more, pending requests
/// are failed, and the others continue. The next start has everything that was acknowledged.
#[test]
fn ps04_a_leader_whose_fsync_fails_stops_for_good_and_the_others_go_on() {
    story(async {
        let trio = Trio::start().await;
        assert_eq!(trio.count(10).await, 10);
        let failing = trio.leader().await;
        let (disk, handle) = (trio.disk(failing), trio.cluster.handle(failing).unwrap());
        disk.fail_next("sync", ".wal", Fault::Broken);
        let commands: Vec<_> = (0..20).map(|_| handle.submit(word()).unwrap()).collect();
        let reading = handle.clone();
        let read = spawn_local(async move {
            reading.read(Consistency::Linearizable, |state| state.get(b"word")).await
        });
        let snapshot = spawn_local(async move { handle.snapshot().await });

        until("its end", || !trio.status(failing).running).await;
        let fatal = trio.status(failing).fatal.unwrap_or_default();
        let file = "fdatasync node/log/00000000000000000001.wal";
        assert!(fatal.contains("the log can't be written") && fatal.contains(file), "{fatal}");
        assert_eq!(disk.failed().as_deref(), Some("sync node/log/00000000000000000001.wal"));
        for command in commands {
            let reply = tokio::time::timeout(MINUTE, command.reply()).await.expect("an answer");
            assert!(reply.is_err(), "{reply:?} acknowledged");
        }
        if let Ok(read) = tokio::time::timeout(MINUTE, read).await.expect("an answer").unwrap() {
            assert_eq!(read, 10);
        }
        drop(tokio::time::timeout(MINUTE, snapshot).await.expect("an answer"));
        let changes = disk.changes();

        let counted = trio.count(10).await;
        assert!((20..=40).contains(&counted), "{counted}");
        assert_ne!(trio.leader().await, failing);
        sleep(MINUTE).await;
        let status = trio.status(failing);
        assert!(!status.running && disk.changes() == changes, "it goes on: {status:?}");

        trio.cluster.stop_member(failing).await;
        trio.disks.lock().insert(failing, disk.reboot(Unsynced::Lost));
        trio.cluster.start_member(failing).await.unwrap();
        trio.caught_up(failing).await;
        assert_eq!(trio.counted(failing).await, counted);
        assert_eq!(trio.status(failing).fatal, None);
        trio.cluster.shutdown().await;
    });
}

/// A disk that hangs is no failure: the leader steps down, and is a member again when the disk
/// responds.
#[test]
fn a_leader_whose_fsync_hangs_steps_down_and_comes_back() {
    story(async {
        let trio = Trio::start().await;
        assert_eq!(trio.count(10).await, 10);
        let hanging = trio.leader().await;
        let delays = trio.cluster.delays(hanging).unwrap();
        delays.set_fsync(MINUTE);
        let began = Instant::now();
        assert_eq!(trio.count(10).await, 20);
        assert!(began.elapsed() < MINUTE / 2, "went on after {:?}", began.elapsed());
        assert_ne!(trio.leader().await, hanging);
        let status = trio.status(hanging);
        assert!(status.running && status.raft.role != Role::Leader, "{status:?}");
        delays.set_fsync(Duration::ZERO);
        trio.caught_up(hanging).await;
        assert_eq!(trio.counted(hanging).await, 20);
        trio.cluster.shutdown().await;
    });
}
