//! The ordinary life: elect, replicate, read, restart, fall behind, catch up.

use quorate::node::Consistency;

use crate::support::*;

#[test]
fn commands_are_applied_on_every_member() {
    story(async {
        let cluster = words(3).start().await.unwrap();
        let client = client(&cluster);
        count(&client, "one", 10).await;
        all_caught_up(&cluster).await;
        for node in cluster.ids() {
            assert_eq!(counted(&cluster, node, "one").await, 10, "node {node}");
        }
        let leader = leader(&cluster).await;
        let handle = cluster.handle(leader).unwrap();
        assert_eq!(handle.read(Consistency::Linearizable, |state| state.get(b"one")).await, Ok(10));
        assert_healthy(&cluster);
        cluster.shutdown().await;
    });
}

/// A member that missed more than the logs keep gets a snapshot, installs it by agreement, and goes on with entries.
#[test]
fn a_member_that_fell_behind_installs_a_snapshot() {
    story(async {
        let cluster = words(3).start().await.unwrap();
        let client = client(&cluster);
        count(&client, "before", 5).await;
        let leader = leader(&cluster).await;
        let behind = (leader + 1) % 3;
        cluster.network().isolate(behind);
        count(&client, "missed", 1_000).await;
        assert!(
            status(&cluster, leader).raft.log_start.index
                > status(&cluster, behind).raft.last.index
        );
        cluster.network().heal();
        all_caught_up(&cluster).await;
        assert_eq!(counted(&cluster, behind, "missed").await, 1_000);
        assert_eq!(counted(&cluster, behind, "before").await, 5);
        let counters = status(&cluster, behind).raft.counters;
        assert!(counters.installs_granted >= 1, "{counters:?}");
        assert_healthy(&cluster);
        cluster.shutdown().await;
    });
}

#[test]
fn crashed_members_come_back_with_everything_acknowledged() {
    story(async {
        let cluster = words(3).start().await.unwrap();
        let client = client(&cluster);
        for round in 0..6 {
            count(&client, "word", 50).await;
            let leader = leader(&cluster).await;
            cluster.crash_member((leader + round) % 3).await;
            count(&client, "word", 50).await;
            cluster.start_member((leader + round) % 3).await.unwrap();
        }
        all_caught_up(&cluster).await;
        for node in cluster.ids() {
            assert_eq!(counted(&cluster, node, "word").await, 600, "node {node}");
        }
        assert_healthy(&cluster);
        cluster.shutdown().await;
    });
}
