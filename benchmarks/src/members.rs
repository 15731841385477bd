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

/// What has not come by then never will.
pub const PATIENCE: Duration = Duration::from_secs(600);
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

/// Asks so often whether something has come.
const GLANCE: Duration = Duration::from_millis(2);

/// Waits until it is so, for as long as anything here may take.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Outcome<()> {
    let stopwatch = Stopwatch::start();
    while !is_so() {
        if stopwatch.elapsed() > PATIENCE {
            return Err(format!("in vain: {what}").into());
        }
        tokio::time::sleep(GLANCE).await;
    }
    Ok(())
}

/// The member that leads, when it has committed something as the leader.
pub async fn leader_of<M: Machine>(cluster: &Cluster<M>) -> Outcome<Handle<M>> {
    let handles: Vec<_> =
        cluster.ids().into_iter().filter_map(|node| cluster.handle(node)).collect();
    leader_among(&handles).await
}

/// The same among these members.
pub async fn leader_among<M: Machine>(members: &[Handle<M>]) -> Outcome<Handle<M>> {
    let stopwatch = Stopwatch::start();
    while stopwatch.elapsed() < ELECTION {
        let leader = members.iter().find(|handle| {
            let raft = handle.status().raft;
            raft.role == Role::Leader && raft.commit > 0
        });
        match leader {
            Some(leader) => return Ok(leader.clone()),
            None => tokio::time::sleep(GLANCE).await,
        }
    }
    Err("no leader was elected".into())
}
