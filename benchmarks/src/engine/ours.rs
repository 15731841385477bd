//! quorate, as a service on actix has it inside: members of one process, clients as local tasks of one event loop.
//!
//! | placement | members | clients |
//! |---|---|---|
//! | default | all peers on one thread, each other part of each member on one of its own | on the caller's thread |
//! | shared | all on the caller's thread | there too |
//!
//! The configuration is the default one: a snapshot per 64 MiB of log, 100,000 entries kept behind it, so the log stays
//! within some 100 MB a member. A command goes through [`Handle::propose`] on the leader's member: encoded, appended,
//! acknowledged by a majority, applied in order, its reply decoded.
//!
//! Not here: sessions, with which a command could be repeated safely. The others have none.

use quorate::node::Cluster;
use quorate::runtime::Placement;

use super::{Contestant, MEMBERS, Side};
use crate::load::{Load, Turn, client, conduct};
use crate::measure::Outcome;
use crate::members::{Count, leader_of};

/// A cluster for each turn.
pub struct Ours {
    side: Side,
    placement: fn() -> Placement,
}

impl Ours {
    /// Both placements.
    pub fn all() -> [Ours; 2] {
        [
            Ours { side: Side::OursByDefault, placement: Placement::peers_in_common },
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
