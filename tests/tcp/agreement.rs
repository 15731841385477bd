//! Nodes that reach each other over TCP agree, come back, and catch up.

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
