//! Real threads, real time, real files: what virtual time can't show.
//!
//! Few and short: each waits for conditions, and none asserts how long anything takes.

mod hanging;

use std::collections::VecDeque;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use quorate::machine::{Increment, WordCount};
use quorate::node::{
    Client, ClientOptions, Cluster, ClusterBuilder, Config, Consistency, NodeBuilder, ProposeError,
    StartError,
};
use quorate::raft::{Membership, NodeId, Role};
use quorate::runtime::{Component, Placement};
use quorate::storage::file::FileStorage;
use quorate::storage::{Start, StorageError};
use quorate::transport::InProcessNetwork;
use tokio::time::{Instant, sleep};

fn quick() -> Config {
    Config {
        heartbeat_interval: Duration::from_millis(20),
        election_timeout_min: Duration::from_millis(100),
        election_timeout_max: Duration::from_millis(200),
        request_timeout: Duration::from_millis(100),
        tick_interval: Duration::from_millis(5),
        ..Config::default()
    }
    .with_snapshot_bytes(16 << 10)
}

fn words(size: u64) -> ClusterBuilder<WordCount> {
    Cluster::builder(size, WordCount::default).config(quick())
}

fn on_files(size: u64, dir: &Path) -> ClusterBuilder<WordCount> {
    let dir = dir.to_owned();
    words(size).storage(move |node| FileStorage::new(dir.join(node.to_string())))
}

async fn count(client: &Client<WordCount>, times: u64) {
    for _ in 0..times {
        client.execute(Increment { word: "word".into() }).await.expect("counted");
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

async fn leader(cluster: &Cluster<WordCount>) -> NodeId {
    let leads = |node: &NodeId| {
        cluster.status(*node).is_some_and(|s| s.running && s.raft.role == Role::Leader)
    };
    until("somebody leads", || cluster.ids().iter().any(leads)).await;
    cluster.ids().into_iter().find(leads).unwrap_or_default()
}

async fn all_have(cluster: &Cluster<WordCount>, times: u64) {
    for node in cluster.ids() {
        let handle = cluster.handle(node).unwrap();
        loop {
            match handle.read(Consistency::Local, |state| state.get(b"word")).await {
                Ok(seen) if seen >= times => break assert_eq!(seen, times, "node {node}"),
                Ok(_) => sleep(Duration::from_millis(1)).await,
                Err(error) => panic!("node {node}: {error}"),
            }
        }
    }
}

fn assert_healthy(cluster: &Cluster<WordCount>) {
    for node in cluster.ids() {
        let status = cluster.status(node).unwrap();
        assert_eq!((status.fatal, status.raft.counters.safety_alarms), (None, 0), "node {node}");
    }
}

/// What every runtime has to be good enough for.
async fn an_ordinary_life() {
    live(words(3).start().await.unwrap()).await;
}

async fn live(cluster: Cluster<WordCount>) {
    let client = cluster.client(ClientOptions::default());
    count(&client, 30).await;
    let leader = leader(&cluster).await;
    cluster.crash_member(leader).await;
    count(&client, 10).await;
    cluster.start_member(leader).await.unwrap();
    all_have(&cluster, 40).await;
    assert_healthy(&cluster);
    cluster.shutdown().await;
}

#[test]
fn nodes_live_under_tokios_threads() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(an_ordinary_life());
}

#[test]
fn nodes_live_under_a_single_thread_of_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(an_ordinary_life());
}

#[test]
fn nodes_live_under_actix() {
    actix::System::new().block_on(an_ordinary_life());
    actix_rt::System::new().block_on(an_ordinary_life());
    actix_rt::Runtime::new().unwrap().block_on(an_ordinary_life());
}

/// Members with all threads of their own, with one for some part of all, and all of all on one: a member that crashes and comes
/// back takes nobody with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_live_with_and_without_threads_in_common() {
    let apart = Placement::threads();
    let everything =
        [Component::Persister, Component::Reader, Component::Applier, Component::Snapshotter]
            .into_iter()
            .fold(apart.clone(), |placement, part| placement.with(part, Component::Peer))
            .in_common(Component::Peer);
    let appliers = apart.clone().in_common(Component::Applier).in_common(Component::Snapshotter);
    for placement in [apart, appliers, everything] {
        live(words(3).placement(placement).start().await.unwrap()).await;
    }
}

/// All parts on the caller's own `LocalSet`.
#[test]
fn nodes_live_on_a_shared_place() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let cluster = words(3).placement(Placement::shared()).start().await.unwrap();
        let client = cluster.client(ClientOptions::default());
        count(&client, 200).await;
        all_have(&cluster, 200).await;
        cluster.shutdown().await;
    });
}

/// Handles go anywhere: other threads, other runtimes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_work_from_other_threads_and_runtimes() {
    let cluster = words(1).start().await.unwrap();
    count(&cluster.client(ClientOptions::default()), 1).await;
    let handle = cluster.handle(0).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a caller of its own is what this is about")]
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let handle = handle.clone();
            std::thread::spawn(move || {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                builder.enable_time().build().unwrap().block_on(async {
                    for _ in 0..25 {
                        handle.propose(Increment { word: "word".into() }).await.unwrap();
                    }
                });
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    all_have(&cluster, 101).await;
    cluster.shutdown().await;
}

/// Handles need no runtime at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_work_without_a_runtime() {
    let cluster = words(1).start().await.unwrap();
    count(&cluster.client(ClientOptions::default()), 1).await;
    let handle = cluster.handle(0).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a caller of its own is what this is about")]
    let caller = std::thread::spawn(move || {
        block_on(async {
            handle.propose(Increment { word: "word".into() }).await.unwrap();
            handle.read(Consistency::Linearizable, |state| state.get(b"word")).await
        })
    });
    until("the caller is done", || caller.is_finished()).await;
    assert_eq!(caller.join().unwrap(), Ok(2));
    cluster.shutdown().await;
}

/// Runs a future on this thread, with nothing around it.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A6, A72, PS21: shut down and opened again, several times, with snapshots and installs in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_survive_shutdowns_and_crashes() {
    let dir = tempfile::tempdir().unwrap();
    let mut counted = 0;
    for round in 0..4 {
        let cluster = on_files(3, dir.path()).start().await.unwrap();
        let client = cluster.client(ClientOptions::default());
        let leader = leader(&cluster).await;
        let behind = (leader + 1) % 3;
        cluster.network().isolate(behind);
        let workers: Vec<_> = (0..20)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { count(&client, 20).await })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        counted += 400;
        cluster.network().heal();
        all_have(&cluster, counted).await;
        assert_healthy(&cluster);
        if round % 2 == 0 {
            cluster.shutdown().await;
        } else {
            for node in cluster.ids() {
                cluster.crash_member(node).await;
            }
        }
    }
}

/// A directory is one node's: a second one is refused and disturbs nothing; after its end it is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let network = InProcessNetwork::default();
    let builder = || {
        NodeBuilder::new(0, WordCount::default())
            .config(quick())
            .storage(FileStorage::new(dir.path()))
            .transport(network.endpoint(0))
            .start_mode(Start::Bootstrap(Membership::of_voters([0])))
    };
    let first = builder().start().await.unwrap();
    let client = Client::connect([first.handle()]);
    count(&client, 5).await;
    match builder().start().await {
        Err(StartError::Storage(StorageError::Refused { what, .. })) => {
            assert!(what.contains("in use"), "{what}")
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two nodes on one directory"),
    }
    count(&client, 5).await;
    first.crash().await;
    let second = builder().start().await.unwrap();
    count(&Client::connect([second.handle()]), 5).await;
    second.shutdown().await;
    let other_cluster = builder().cluster(7).start().await;
    assert!(matches!(other_cluster, Err(StartError::Storage(_))));
    let third = builder().start_mode(Start::Open).start().await.unwrap();
    count(&Client::connect([third.handle()]), 5).await;
    let read = third.handle().read(Consistency::Linearizable, |state| state.get(b"word")).await;
    assert_eq!(read, Ok(20));
    third.shutdown().await;
    let empty = tempfile::tempdir().unwrap();
    let blank = NodeBuilder::new(0, WordCount::default())
        .storage(FileStorage::new(empty.path()))
        .transport(network.endpoint(0))
        .start()
        .await;
    assert!(matches!(blank, Err(StartError::Storage(_))), "opened what was never begun");
}

/// Several clusters in one process know nothing of each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_clusters_share_a_process() {
    let clusters: Vec<_> = (0..3).map(|_| tokio::spawn(words(3).start())).collect();
    let mut running = Vec::new();
    for cluster in clusters {
        running.push(cluster.await.unwrap().unwrap());
    }
    for (cluster, times) in running.iter().zip([10, 20, 30]) {
        count(&cluster.client(ClientOptions::default()), times).await;
    }
    running[0].shutdown().await;
    for (cluster, times) in running.iter().zip([10, 20, 30]).skip(1) {
        all_have(cluster, times).await;
        cluster.shutdown().await;
    }
}

/// CL02, CL04, AC11: a stop from outside while other threads propose.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_resolves_everybody() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = on_files(3, dir.path()).start().await.unwrap();
    count(&cluster.client(ClientOptions::default()), 1).await;
    let leader = leader(&cluster).await;
    let handle = cluster.handle(leader).unwrap();
    let waiters: Vec<_> = (0..200)
        .map(|number: u32| {
            let handle = handle.clone();
            tokio::spawn(async move {
                let mut word = number.to_le_bytes().to_vec();
                let mut acknowledged = 0;
                loop {
                    word.push(0);
                    match handle.propose(Increment { word: word.clone() }).await {
                        Ok(times) => assert_eq!(times, 1, "a crossed reply"),
                        Err(error) => return (word, acknowledged, error),
                    }
                    acknowledged += 1;
                }
            })
        })
        .collect();
    // On a machine that is busy elsewhere another member may have taken over: then all have their answers already.
    let all_ended = || waiters.iter().all(|waiter| waiter.is_finished());
    until("there is load", || handle.status().raft.applied > 2_000 || all_ended()).await;
    cluster.stop_member(leader).await;
    let mut ends = Vec::new();
    for waiter in waiters {
        ends.push(waiter.await.unwrap());
    }
    assert_eq!(handle.status().proposals_in_flight, 0);
    cluster.start_member(leader).await.unwrap();
    count(&cluster.client(ClientOptions::default()), 1).await;
    let now = self::leader(&cluster).await;
    let now = cluster.handle(now).unwrap();
    for (mut word, acknowledged, error) in ends {
        let last = word.clone();
        let there = now.read(Consistency::Local, move |state| state.get(&last)).await.unwrap();
        assert!(there <= u64::from(error.may_have_applied()), "{error:?} and it is there");
        for _ in 0..acknowledged {
            word.pop();
            let word = word.clone();
            let there = now.read(Consistency::Local, move |state| state.get(&word)).await;
            assert_eq!(there, Ok(1), "acknowledged and not there");
        }
    }
    cluster.shutdown().await;
}

/// AC08, AC10: a flood from a thread of its own; the leader's ticks and its followers' answers get through.
///
/// The flood lasts until enough reads were confirmed in it, and longer than any election timeout.
/// Those are long, so that a busy machine alone deposes no leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_does_not_depose_the_leader() {
    const READS: usize = 30;
    let config = Config {
        proposals_in_flight: 4_000,
        election_timeout_min: Duration::from_secs(3),
        election_timeout_max: Duration::from_secs(4),
        request_timeout: Duration::from_secs(1),
        ..Config::default()
    };
    let lasts = config.election_timeout_max + Duration::from_millis(500);
    let cluster = Cluster::builder(3, WordCount::default).config(config).start().await.unwrap();
    count(&cluster.client(ClientOptions::default()), 1).await;
    let leader = leader(&cluster).await;
    let before = cluster.status(leader).unwrap();
    let confirmed = Arc::new(AtomicUsize::new(0));
    let (handle, seen) = (cluster.handle(leader).unwrap(), confirmed.clone());
    let flood = tokio::task::spawn(async move {
        let (begun, mut taken) = (Instant::now(), VecDeque::new());
        let (mut replies, mut busy) = (0u64, 0u64);
        while begun.elapsed() < lasts || seen.load(Relaxed) < READS {
            for _ in 0..1_000 {
                match handle.submit(Increment { word: "flood".into() }) {
                    Ok(proposal) => taken.push_back(proposal),
                    Err(ProposeError::Busy) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            // Some of them, so that the flood goes on at its height.
            for _ in 0..taken.len() / 2 {
                let Some(proposal) = taken.pop_front() else { break };
                settle(proposal.reply().await, &mut replies, &mut busy);
            }
        }
        for proposal in taken {
            settle(proposal.reply().await, &mut replies, &mut busy);
        }
        (replies, busy)
    });
    let handle = cluster.handle(leader).unwrap();
    while confirmed.load(Relaxed) < READS {
        assert!(!flood.is_finished(), "the flood ended with {confirmed:?} reads");
        let read = handle.read(Consistency::Linearizable, |state| state.get(b"word")).await;
        assert_eq!(read, Ok(1));
        confirmed.fetch_add(1, Relaxed);
    }
    let (replies, busy) = flood.await.unwrap();
    assert!(replies > 0, "{busy} busy");
    let after = cluster.status(leader).unwrap();
    assert_eq!(after.raft.term, before.raft.term, "{replies} replies, {busy} busy");
    until("all is settled", || cluster.status(leader).unwrap().proposals_in_flight == 0).await;
    cluster.shutdown().await;
}

fn settle(reply: Result<u64, ProposeError>, replies: &mut u64, busy: &mut u64) {
    match reply {
        Ok(_) => *replies += 1,
        // The log's own limits, behind the door.
        Err(ProposeError::Busy) => *busy += 1,
        Err(error) => panic!("{error}"),
    }
}
