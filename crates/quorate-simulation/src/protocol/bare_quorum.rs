//! After the faults, before everything heals: a minority fails, and a minimal quorum has to work
//! without it.
//!
//! | the minority | what the others do |
//! |---|---|
//! | is down, or cut off | elect a leader that just they can elect |
//! | hears nothing but is heard | depose it if it leads, and are not disturbed by it |
//! | hears but is not heard | the same |
//!
//! A full cluster masks bugs that a minimal quorum shows.

use quorate::raft::{Micros, NodeId, Role};

use super::super::faults::FaultKind;
use super::super::schedule::Act;
use super::world::World;

/// How a member fails.
#[derive(Clone, Copy, Debug)]
enum Behind {
    Down,
    CutOff,
    Deaf,
    Mute,
}

impl World {
    /// All members are running. `Err`: what did not happen.
    pub(super) fn do_without_a_minority(&mut self) -> Result<(), (&'static str, String)> {
        let size = self.nodes.len() as u64;
        // A member that lost data needs the answers of all.
        if size < 3 || !self.ids().all(|id| self.invariants.is_sound(id)) {
            return Ok(());
        }
        let behind = self.choose_behind();
        if behind.is_empty() {
            return Ok(());
        }
        let quorum: Vec<NodeId> =
            self.ids().filter(|id| behind.iter().all(|(node, _)| node != id)).collect();
        self.trace.line(self.now, None, || format!("stay behind: {behind:?}"));
        behind.iter().for_each(|(id, how)| self.leave_behind(*id, *how, &quorum));
        self.sights.disturbed();
        let timeout = self.config.election_timeout_max;
        if !self.run_until(12 * timeout, |world| world.leads_among(&quorum)) {
            let what = format!("{quorum:?} without {behind:?}: {}", self.positions());
            return Err(("a leader of a quorum in time", what));
        }
        let before = self.sights.leaders;
        self.run_until(8 * timeout, |world| world.invariants.is_over());
        let more = self.sights.leaders - before;
        if more > 1 {
            let what = format!("{more} more leaders of {quorum:?} without {behind:?}");
            return Err(("calm elections", what));
        }
        Ok(())
    }

    fn choose_behind(&mut self) -> Vec<(NodeId, Behind)> {
        let size = self.nodes.len() as u64;
        let count = self.streams.acts.between(1, (size - 1) / 2);
        let first = self.leader().filter(|_| self.streams.acts.chance(600));
        let first = first.unwrap_or_else(|| self.streams.acts.below(size));
        let step = self.streams.acts.between(1, 2).min(size - 2);
        let how = |dice: &mut super::super::random::Dice| {
            *dice.pick(&[Behind::Down, Behind::CutOff, Behind::Deaf, Behind::Mute])
        };
        let mut chosen: Vec<NodeId> = (0..count).map(|at| (first + step * at) % size).collect();
        // A minority of all members may be too many of one of two configurations.
        while !self.quorums.are(|node| !chosen.contains(&node)) {
            chosen.pop();
        }
        chosen.into_iter().map(|id| (id, how(&mut self.streams.acts))).collect()
    }

    fn leave_behind(&mut self, id: NodeId, how: Behind, quorum: &[NodeId]) {
        match how {
            Behind::Down => self.crash(id, usize::MAX),
            Behind::CutOff | Behind::Deaf | Behind::Mute => {
                for other in quorum {
                    if !matches!(how, Behind::Mute) {
                        self.cut_off(*other, id);
                    }
                    if !matches!(how, Behind::Deaf) {
                        self.cut_off(id, *other);
                    }
                }
            }
        }
    }

    fn cut_off(&mut self, node: NodeId, other: NodeId) {
        let kind = FaultKind::OneWayPartition;
        let (at, lasts, strength) = (self.now, Micros::MAX / 2, 1_000);
        self.impose(Act { at, lasts, kind, to_leader: false, node, other, strength });
    }

    /// Whether a member of the quorum leads in the highest term that any of them has. It may take
    /// long until it can commit: the others may have to decode a snapshot first.
    fn leads_among(&self, quorum: &[NodeId]) -> bool {
        let rafts = quorum.iter().filter_map(|id| self.nodes[*id as usize].raft.as_ref());
        let roles = rafts.map(|raft| (raft.role().1, raft.role().0 == Role::Leader));
        self.invariants.is_over() || roles.max().is_some_and(|(_, leads)| leads)
    }
}
