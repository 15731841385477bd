//! Nodes on wires that break and wires that are slow.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate::node::Config;
use quorate::raft::NodeId;
use tokio::time::sleep;

use crate::proxy::Proxy;
use crate::support::*;

/// Every connection between two members goes through a proxy of the called one.
async fn connect_through_proxies(world: &World) -> BTreeMap<NodeId, Proxy> {
    let mut proxies = BTreeMap::new();
    for (&node, home) in &world.homes {
        let proxy = Proxy::start(home.address).await;
        for caller in world.ids() {
            world.transport(caller).set_peer(node, proxy.address.to_string());
        }
        proxies.insert(node, proxy);
    }
    proxies
}

#[tokio::test]
async fn connections_that_break_within_a_frame_cost_nothing() {
    let mut world = World::unconnected(3, quick(), |_| ());
    let proxies = connect_through_proxies(&world).await;
    for node in world.ids() {
        world.start_node(node).await;
    }
    let client = world.client();
    for round in 1..=5 {
        for proxy in proxies.values() {
            proxy.trouble.cut_main_after.store(500 * round, Ordering::Relaxed);
        }
        count(&client, "word", 20).await;
    }
    let cuts: u64 = proxies.values().map(|proxy| proxy.trouble.cuts.load(Ordering::Relaxed)).sum();
    assert!(cuts >= 5, "{cuts} cuts");
    let seen: u64 = world.ids().iter().map(|&n| world.transport(n).counters().cut_frames).sum();
    assert!(seen > 0, "no cut was within a frame");
    world.all_have("word", 100).await;
    world.end().await;
}

/// AC10: a snapshot that takes long to get through is in nobody's way: commits go on, and the leader stays.
#[tokio::test]
async fn ac10_a_slow_transfer_delays_no_heartbeat() {
    let config = Config {
        snapshot_chunk_bytes: 16 << 10,
        request_timeout: Duration::from_secs(60),
        ..patient().with_snapshot_bytes(64 << 10)
    };
    let mut world = World::unconnected(3, config, hold);
    let proxies = connect_through_proxies(&world).await;
    for node in [1, 2] {
        world.start_node(node).await;
    }
    let client = world.client();
    for word in 0..150 {
        count(&client, &format!("{word:0>1000}"), 1).await;
    }
    let leader = world.leader().await;
    let term = world.status(leader).raft.term;
    until("the log was cut", || world.status(leader).raft.log_start.index > 50).await;

    let slow = &proxies[&3].trouble;
    slow.chunks_per_10_ms.store(2 << 10, Ordering::Relaxed);
    world.start_node(3).await;
    until("the transfer has begun", || slow.chunk_bytes.load(Ordering::Relaxed) > 0).await;
    slow.chunks_held.store(true, Ordering::Relaxed);
    let mut committed_meanwhile = 0;
    while committed_meanwhile < 30 {
        count(&client, "meanwhile", 1).await;
        committed_meanwhile += 1;
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.status(3).raft.counters.installs_granted, 0, "it was in nobody's way");
    slow.chunks_held.store(false, Ordering::Relaxed);
    while world.status(3).raft.counters.installs_granted == 0 {
        count(&client, "meanwhile", 1).await;
        committed_meanwhile += 1;
        sleep(Duration::from_millis(5)).await;
    }
    assert!(slow.chunk_bytes.load(Ordering::Relaxed) > 50 << 10);
    world.all_have("meanwhile", committed_meanwhile).await;
    assert_eq!((world.leader().await, world.status(leader).raft.term), (leader, term));
    world.end().await;
}
