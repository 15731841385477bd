//! After healing: single faults in a healthy cluster. Only there the required outcome is definite.
//!
//! | fault | required outcome |
//! |---|---|
//! | the leader's disk hangs, with requests | another leader is elected in time (gray failure) |
//! | a member does not hear its leader, no requests | no other leader is elected (EL11, EL18) |

use quorate::raft::{Micros, NodeId, RaftStatus};

use super::super::faults::FaultKind;
use super::super::schedule::Act;
use super::world::World;

/// The number of election timeouts that a leader waits for its disk before it steps down.
const PATIENCE: u64 = 2;
/// The number of election timeouts in which clients must have written something.
const WRITING: u64 = 8;
/// The number of election timeouts in which no leader may be elected.
const CALM: u64 = 8;

impl World {
    /// All members are running, and clients continue. `Err`: what did not happen.
    pub(super) fn outlive_a_hung_disk(&mut self) -> Result<(), (&'static str, String)> {
        let Some(leader) = self.leader().filter(|_| self.can_spare_one()) else { return Ok(()) };
        let timeout = self.config.election_timeout_max;
        self.strike_alone(FaultKind::HungSync, leader, leader);
        // The hang can't be noticed before there is something to write: all clients may be reading.
        let is_told = self.run_until(WRITING * timeout, |world| world.waits_for_its_disk(leader));
        self.run_until(PATIENCE * timeout, |world| world.invariants.is_over());
        let another = |world: &World| world.leader().is_some_and(|now| now != leader);
        if is_told && self.leader_comes(another).is_none() {
            let what =
                format!("n{leader}, whose disk hangs, has no successor: {}", self.positions());
            return Err(("a hung disk leads nobody", what));
        }
        // Its process is killed: otherwise what waits for the disk would keep waiting.
        self.crash(leader, 0);
        self.end_all();
        self.start(leader);
        self.sights.disturbed();
        Ok(())
    }

    fn waits_for_its_disk(&self, id: NodeId) -> bool {
        let waits = |status: RaftStatus| status.persisted < status.last.index;
        self.invariants.is_over() || self.status(id).is_some_and(waits)
    }

    /// No request is under way. `Err`: what happened although it must not.
    pub(super) fn leave_one_unheard(&mut self) -> Result<(), (&'static str, String)> {
        let Some(leader) = self.leader().filter(|_| self.can_spare_one()) else { return Ok(()) };
        let size = self.nodes.len() as u64;
        let deaf = (leader + 1 + self.streams.acts.below(size - 1)) % size;
        self.strike_alone(FaultKind::OneWayPartition, leader, deaf);
        let before = self.sights.leaders;
        self.run_until(CALM * self.config.election_timeout_max, |world| world.invariants.is_over());
        let more = self.sights.leaders - before;
        if more > 0 {
            let what = format!("{more} more leaders, as n{deaf} does not hear n{leader}");
            return Err(("calm elections", format!("{what}: {}", self.positions())));
        }
        Ok(())
    }

    /// Whether any member may fail: the others are a quorum, have repaired their losses, and
    /// install nothing.
    fn can_spare_one(&self) -> bool {
        let is_well = |id| self.invariants.is_sound(id) && self.is_free(id);
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
