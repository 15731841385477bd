//! What the stories need: a cluster in virtual time, and waiting for a condition instead of for a time.

use std::time::Duration;

use quorate::machine::{Increment, WordCount};
use quorate::node::{
    Client, ClientOptions, Cluster, ClusterBuilder, Config, Consistency, NodeStatus,
};
use quorate::raft::{NodeId, Role};
use quorate::runtime::Placement;
use quorate::transport::{InProcessNetwork, NetworkOptions};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

/// Runs a story in virtual time, on one thread.
pub fn story(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, future);
}

/// Small limits, so that a few hundred commands do everything.
pub fn small() -> Config {
    Config { seed: 7, ..Config::default() }.with_snapshot_bytes(16 << 10)
}

/// A word-counting cluster in virtual time; every message goes through its bytes.
pub fn words(size: u64) -> ClusterBuilder<WordCount> {
    Cluster::builder(size, WordCount::default)
        .config(small())
        .placement(Placement::virtual_time())
        .network(InProcessNetwork::new(NetworkOptions { seed: 3, encode: true }))
}

/// Waits until `done`, for at most a virtual minute.
pub async fn until(what: &str, done: impl FnMut() -> bool) {
    until_within(what, Duration::from_secs(60), done).await;
}

/// Waits until `done`, for at most `limit` of virtual time.
pub async fn until_within(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < limit, "{limit:?} have passed without: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Lets virtual time pass: to see that nothing happens in it, never to wait for something.
pub async fn pass(time: Duration) {
    sleep(time).await;
}

/// The status of a member that has been started.
pub fn status(cluster: &Cluster<WordCount>, node: NodeId) -> NodeStatus {
    cluster.status(node).expect("a member of this cluster")
}

/// The running leader of the highest term that has committed in it.
pub fn leader_now(cluster: &Cluster<WordCount>) -> Option<NodeId> {
    let statuses = cluster.ids().into_iter().filter_map(|node| cluster.status(node));
    let leaders = statuses.filter(|status| status.running && status.raft.role == Role::Leader);
    leaders.max_by_key(|status| status.raft.term).map(|status| status.node)
}

/// Waits for a leader.
pub async fn leader(cluster: &Cluster<WordCount>) -> NodeId {
    until("a leader", || leader_now(cluster).is_some()).await;
    leader_now(cluster).expect("just found")
}

/// A client of its own session.
pub fn client(cluster: &Cluster<WordCount>) -> Client<WordCount> {
    cluster.client(ClientOptions::default())
}

/// Counts `word` `times` times.
pub async fn count(client: &Client<WordCount>, word: &str, times: u64) {
    for _ in 0..times {
        client.execute(Increment { word: word.into() }).await.expect("counted");
    }
}

/// What a member has counted of `word`.
pub async fn counted(cluster: &Cluster<WordCount>, node: NodeId, word: &str) -> u64 {
    let word = word.to_owned();
    let handle = cluster.handle(node).expect("a member");
    handle
        .read(Consistency::Local, move |state| state.get(word.as_bytes()))
        .await
        .expect("a local read")
}

/// Waits until every running member has applied what the leader has committed.
pub async fn all_caught_up(cluster: &Cluster<WordCount>) {
    until("everybody caught up", || {
        let Some(leader) = leader_now(cluster) else { return false };
        let goal = status(cluster, leader).raft.last.index;
        cluster
            .ids()
            .into_iter()
            .map(|node| status(cluster, node))
            .all(|s| !s.running || s.raft.applied == goal)
    })
    .await;
}

/// No member has seen what a correct cluster never shows, and none has stopped by itself.
pub fn assert_healthy(cluster: &Cluster<WordCount>) {
    for node in cluster.ids() {
        let status = status(cluster, node);
        assert_eq!(status.raft.counters.safety_alarms, 0, "node {node}");
        assert_eq!(status.fatal, None, "node {node}");
    }
}
