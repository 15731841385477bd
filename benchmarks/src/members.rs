//! Members of quorate, as the subcommands need them: a machine that only counts, and who leads.
//!
//! Not here: how they are placed, stored and loaded. That is what the subcommands differ in.

use std::time::Duration;

use bytes::Bytes;
use quorate::machine::{ApplyContext, Machine, Replicated};
use quorate::node::{Cluster, Handle};
use quorate::raft::Role;
use serde::{Deserialize, Serialize};

use crate::measure::{Outcome, Stopwatch};

/// An election that takes longer has failed.
const ELECTION: Duration = Duration::from_secs(10);

/// Counts what it is told.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Count {
    commands: u64,
}

impl Replicated for Count {
    type Command = Bytes;
    type Reply = ();

    fn apply(&mut self, _command: Bytes, _context: &ApplyContext) {
        self.commands += 1;
    }
}

/// The member that leads, when it has committed something as the leader.
pub async fn leader_of<M: Machine>(cluster: &Cluster<M>) -> Outcome<Handle<M>> {
    let stopwatch = Stopwatch::start();
    while stopwatch.elapsed() < ELECTION {
        let handles = cluster.ids().into_iter().filter_map(|node| cluster.handle(node));
        let leader = handles.into_iter().find(|handle| {
            let raft = handle.status().raft;
            raft.role == Role::Leader && raft.commit > 0
        });
        match leader {
            Some(leader) => return Ok(leader),
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
    Err("nobody was elected".into())
}
