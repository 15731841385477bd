//! Afterwards: faults that come alone, in a cluster that is well. What must follow is plain only there.
//!
//! | what | and so |
//! |---|---|
//! | the leader's disk hangs, while clients go on | another member leads in time (gray failure) |
//! | a member does not hear its leader, while everybody is at rest | nobody else comes to lead (EL11, EL18) |

use crate::raft::{Micros, NodeId, RaftStatus};

use super::super::faults::FaultKind;
use super::super::schedule::Act;
use super::world::World;

/// So many election timeouts a leader waits for its disk before it steps down.
const PATIENCE: u64 = 2;
/// So many election timeouts clients have to write something in.
const WRITING: u64 = 8;
/// So many election timeouts nobody comes to lead.
const CALM: u64 = 8;

impl World {
    /// Everybody lives, and clients go on. `Err`: what did not come about.
    pub(super) fn outlive_a_hung_disk(&mut self) -> Result<(), (&'static str, String)> {
        let Some(leader) = self.leader().filter(|_| self.can_spare_one()) else { return Ok(()) };
        let timeout = self.config.election_timeout_max;
        self.strike_alone(FaultKind::HungSync, leader, leader);
        // Nobody can tell before it has something to write: clients may all be reading.
        let is_told = self.run_until(WRITING * timeout, |world| world.waits_for_its_disk(leader));
        self.run_until(PATIENCE * timeout, |world| world.judge.is_over());
        let another = |world: &World| world.leader().is_some_and(|now| now != leader);
        if is_told && self.leader_comes(another).is_none() {
            let what =
                format!("n{leader}, whose disk hangs, has no successor: {}", self.positions());
            return Err(("a hung disk leads nobody", what));
        }
        // Its process is the one to die: what waits for the disk would wait on.
        self.crash(leader, 0);
        self.end_all();
        self.start(leader);
        self.sights.disturbed();
        Ok(())
    }

    fn waits_for_its_disk(&self, id: NodeId) -> bool {
        let waits = |status: RaftStatus| status.persisted < status.last.index;
        self.judge.is_over() || self.status(id).is_some_and(waits)
    }

    /// Everybody is at rest. `Err`: what came about all the same.
    pub(super) fn leave_one_unheard(&mut self) -> Result<(), (&'static str, String)> {
        let Some(leader) = self.leader().filter(|_| self.can_spare_one()) else { return Ok(()) };
        let size = self.nodes.len() as u64;
        let deaf = (leader + 1 + self.streams.acts.below(size - 1)) % size;
        self.strike_alone(FaultKind::OneWayPartition, leader, deaf);
        let before = self.sights.leaders;
        self.run_until(CALM * self.config.election_timeout_max, |world| world.judge.is_over());
        let more = self.sights.leaders - before;
        if more > 0 {
            let what = format!("{more} more leaders, as n{deaf} does not hear n{leader}");
            return Err(("calm elections", format!("{what}: {}", self.positions())));
        }
        Ok(())
    }

    /// Whether any member may fail: the others are a quorum, have made good what they lost, and install nothing.
    fn can_spare_one(&self) -> bool {
        let is_well = |id| self.judge.is_sound(id) && self.is_free(id);
        let is_spared = |id| self.quorums.are(|node| node != id);
        self.ids().all(is_well) && self.ids().all(is_spared)
    }

    fn strike_alone(&mut self, kind: FaultKind, node: NodeId, other: NodeId) {
        let (at, lasts, strength) = (self.now, Micros::MAX / 2, 1_000);
        let act = Act { at, lasts, kind, to_leader: false, node, other, strength };
        self.trace.line(self.now, None, || format!("alone: {kind} n{node}, n{other}"));
        self.impose(act);
        self.sights.disturbed();
    }
}
