//! A leader that keeps its role without a quorum, because `Config::check_quorum` is off.

use std::time::Duration;

use quorate::machine::Increment;
use quorate::node::{Config, Consistency, ProposeError, ReadError};
use quorate::raft::{NodeId, Role};
use tokio::task::spawn_local;

use crate::support::*;

/// It says that it leads, and answers nothing that needs a quorum: reads fail, commands end as
/// unknown.
#[test]
fn a_leader_without_a_quorum_that_keeps_its_role_answers_no_read_and_no_command() {
    story(async {
        let config = Config { check_quorum: false, ..small() };
        let cluster = words(5).config(config).start().await.unwrap();
        let client = client(&cluster);
        count(&client, "word", 5).await;
        let old = leader(&cluster).await;
        let term = status(&cluster, old).raft.term;
        let others: Vec<NodeId> = cluster.ids().into_iter().filter(|node| *node != old).collect();
        cluster.network().partition(&[&[old], &others]);
        let handle = cluster.handle(old).unwrap();
        let reading = handle.clone();
        let early = spawn_local(async move {
            reading.read(Consistency::Linearizable, |state| state.get(b"word")).await
        });
        let proposing = handle.clone();
        let command = Increment { word: b"lost".to_vec() };
        let proposed = spawn_local(async move { proposing.propose(command).await });
        count(&client, "word", 1).await;
        assert_eq!(early.await.unwrap(), Err(ReadError::Busy));
        let late = handle.read(Consistency::Linearizable, |state| state.get(b"word")).await;
        assert_eq!(late, Err(ReadError::Busy));
        assert_eq!(proposed.await.unwrap(), Err(ProposeError::Unknown));
        let raft = status(&cluster, old).raft;
        assert_eq!((raft.role, raft.term, raft.leader), (Role::Leader, term, Some(old)));
        cluster.network().heal();
        until("it follows", || status(&cluster, old).raft.role == Role::Follower).await;
        all_caught_up(&cluster).await;
        pass(Duration::from_secs(1)).await;
        assert_eq!(counted(&cluster, old, "lost").await, 0);
        assert_healthy(&cluster);
        cluster.shutdown().await;
    });
}
