//! Nodes that reach each other over TCP agree, come back, and catch up.

use quorate::machine::WordCount;
use quorate::node::{Config, NodeBuilder};
use quorate::raft::Membership;
use quorate::storage::Start;
use quorate::storage::memory::MemoryStorage;
use quorate::transport::{TcpOptions, TcpTransport};

use crate::support::*;

#[tokio::test]
async fn three_members_agree() {
    let world = World::start(3).await;
    count(&world.client(), "word", 200).await;
    world.all_have("word", 200).await;
    for node in world.ids() {
        let counters = world.transport(node).counters();
        assert!(counters.frames_sent > 0 && counters.frames_received > 0, "{counters:?}");
        assert!(counters.refused.is_empty(), "{counters:?}");
    }
    world.end().await;
}

/// The whole process of a member goes and comes again at the same address, with a higher incarnation.
#[tokio::test]
async fn a_member_comes_back_on_its_port() {
    let mut world = World::start(3).await;
    let client = world.client();
    count(&client, "word", 20).await;
    for _ in 0..2 {
        let leader = world.leader().await;
        let incarnation = world.status(leader).incarnation;
        world.stop_all_of(leader).await;
        count(&client, "word", 20).await;
        world.start_node(leader).await;
        assert!(world.status(leader).incarnation > incarnation);
    }
    world.all_have("word", 60).await;
    world.end().await;
}

/// Only the node stops and starts again behind a transport that stays; what the first start still does is not its successor's.
#[tokio::test]
async fn a_node_starts_again_behind_the_same_transport() {
    let mut world = World::start(3).await;
    let client = world.client();
    count(&client, "word", 20).await;
    let follower = world.follower().await;
    world.stop_node(follower).await;
    count(&client, "word", 20).await;
    world.start_node(follower).await;
    world.all_have("word", 40).await;
    world.end().await;
}

#[tokio::test]
async fn a_member_far_behind_gets_a_snapshot_over_its_own_lane() {
    let mut world = World::start(3).await;
    let client = world.client();
    count(&client, "word", 5).await;
    let follower = world.follower().await;
    world.stop_all_of(follower).await;
    count(&client, "word", 1500).await;
    let leader = world.leader().await;
    until("the log was cut", || world.status(leader).raft.log_start.index > 100).await;
    world.start_node(follower).await;
    world.all_have("word", 1505).await;
    let status = world.status(follower);
    assert!(status.raft.counters.installs_granted > 0, "{:?}", status.raft.counters);
    assert!(world.transport(follower).counters().incoming_connections >= 2, "a lane more");
    world.end().await;
}

/// A command, a batch of entries or a piece of a snapshot that no frame holds would be sent for
/// ever: the start names the setting.
#[tokio::test]
async fn a_node_whose_messages_do_not_fit_its_transport_does_not_start() {
    let limits = [
        (Config::default(), "command_bytes"),
        (Config { command_bytes: 1000, ..Config::default() }, "append_bytes"),
        (
            Config { command_bytes: 1000, append_bytes: 1000, ..Config::default() },
            "snapshot_chunk_bytes",
        ),
    ];
    for (config, setting) in limits {
        let options = TcpOptions { max_frame_bytes: 64 << 10, ..options(1) };
        let transport = TcpTransport::bind(options).expect("a free port");
        let builder = NodeBuilder::new(1, WordCount::default())
            .config(config)
            .storage(MemoryStorage::new())
            .transport(transport.clone())
            .start_mode(Start::Bootstrap(Membership::of_voters([1])));
        let error = builder.start().await.err().expect("it does not start").to_string();
        let said = format!("{setting} is 1048576, and must be at most 64512");
        assert!(error.contains(&said), "{error}");
        transport.shutdown().await;
    }
}
