//! quorate, as a service on actix has it inside: members of one process, clients as local tasks of one event loop.
//!
//! | placement | members | clients |
//! |---|---|---|
//! | default | each part of each member on a thread of its own | on the caller's thread |
//! | shared | all on the caller's thread | there too |
//!
//! The configuration is the default one: a snapshot per 64 MiB of log, 100,000 entries kept behind it, so the log stays
//! within some 100 MB a member. A command goes through [`Handle::propose`] on the leader's member: encoded, appended,
//! acknowledged by a majority, applied in order, its reply decoded.
//!
//! Not here: sessions, with which a command could be repeated safely. The others have none.

use std::time::Duration;

use bytes::Bytes;
use quorate::actors::Placement;
use quorate::machine::{ApplyContext, Replicated};
use quorate::node::{Cluster, Handle};
use quorate::raft::Role;
use serde::{Deserialize, Serialize};

use super::load::{Load, Turn, client, conduct};
use super::{Contestant, MEMBERS, Side};
use crate::measure::{Outcome, Stopwatch};

/// An election that takes longer has failed.
const ELECTION: Duration = Duration::from_secs(10);

/// Counts what it is told.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Count {
    commands: u64,
}

impl Replicated for Count {
    type Command = Bytes;
    type Reply = ();

    fn apply(&mut self, _command: Bytes, _context: &ApplyContext) {
        self.commands += 1;
    }
}

/// A cluster for each turn.
pub struct Ours {
    side: Side,
    placement: fn() -> Placement,
}

impl Ours {
    /// Both placements.
    pub fn all() -> [Ours; 2] {
        [
            Ours { side: Side::OursByDefault, placement: Placement::default },
            Ours { side: Side::OursShared, placement: Placement::shared },
        ]
    }

    async fn run(&self, load: &Load) -> Outcome<Turn> {
        let builder = Cluster::builder(MEMBERS, Count::default).placement((self.placement)());
        let cluster = builder.start().await?;
        let turn = match leader_of(&cluster).await {
            Ok(leader) => {
                conduct(load, |phase| {
                    let (leader, payload) = (leader.clone(), load.payload.clone());
                    actix_rt::spawn(client(phase, async move || {
                        leader.propose(payload.clone()).await
                    }))
                })
                .await
            }
            Err(error) => Err(error),
        };
        cluster.shutdown().await;
        turn
    }
}

/// The member that leads, when it has committed something as the leader.
async fn leader_of(cluster: &Cluster<Count>) -> Outcome<Handle<Count>> {
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

impl Contestant for Ours {
    fn name(&self) -> String {
        match self.side {
            Side::OursShared => "ours, shared placement".into(),
            _ => "ours, default placement".into(),
        }
    }

    fn side(&self) -> Side {
        self.side
    }

    fn turn(&mut self, load: &Load) -> Outcome<Turn> {
        actix_rt::System::new().block_on(self.run(load))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_commits() {
        for mut one in Ours::all() {
            let turn = one.turn(&Load::small()).unwrap();
            assert!(turn.commits_per_s > 0.0);
        }
    }
}
