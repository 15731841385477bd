//! The state of a schedule during a run: which acts are under way, and what each kind of act
//! requires of its member.
//!
//! *What it does not do:* it injects no fault and knows no time. Each tier plans the acts, carries
//! them out itself, and reports here which of them began.

use std::collections::BTreeMap;

use quorate::raft::NodeId;

use super::conditions::Conditions;
use super::faults::FaultKind;
use super::schedule::{Act, Schedule};

/// The acts of a schedule, identified by number. `Disk`: the copy that a tier keeps of a disk that
/// will be rolled back.
pub(super) struct Acting<Disk> {
    acts: Vec<Act>,
    /// The acts under way.
    active: Vec<usize>,
    /// Copies of disks that will be rolled back, by act.
    pub copies: BTreeMap<usize, Disk>,
}

/// What an act requires to make sense at its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// A running member.
    Life,
    /// More than one member.
    Others,
    /// Other members that can repair the loss, and no other lost disk: with two lost disks,
    /// acknowledged entries may be lost.
    SoundDisks,
    /// The same, and a disk that the other members know, so that they would notice another one in
    /// its place.
    KnownDisk,
}

impl FaultKind {
    /// What an act of this kind requires.
    pub(super) fn needs(self) -> Needs {
        match self {
            FaultKind::Crash
            | FaultKind::TornWrite
            | FaultKind::LostWrites
            | FaultKind::FailingSync
            | FaultKind::FullDisk
            | FaultKind::ForcedSnapshot
            | FaultKind::MailboxFlood => Needs::Life,
            FaultKind::Partition
            | FaultKind::OneWayPartition
            | FaultKind::PartialPartition
            | FaultKind::Lies
            | FaultKind::WeakLeader
            | FaultKind::Clog => Needs::Others,
            // Whether others would notice an old copy is known only when the copy takes the disk's
            // place.
            FaultKind::MisdirectedWrite
            | FaultKind::BitRot
            | FaultKind::DamagedEnd
            | FaultKind::RolledBackDisk => Needs::SoundDisks,
            FaultKind::WipedDisk => Needs::KnownDisk,
            _ => Needs::Nothing,
        }
    }

    /// Whether its member, once it is down, must not be restarted before the act is over.
    pub(super) fn keeps_down(self) -> bool {
        matches!(
            self,
            FaultKind::Crash
                | FaultKind::TornWrite
                | FaultKind::LostWrites
                | FaultKind::MisdirectedWrite
                | FaultKind::BitRot
                | FaultKind::DamagedEnd
                | FaultKind::WipedDisk
                | FaultKind::FullDisk
                | FaultKind::FailingSync
        )
    }
}

impl<Disk> Acting<Disk> {
    /// No act has begun.
    pub(super) fn of(schedule: &Schedule) -> Acting<Disk> {
        let acts = schedule.acts.clone();
        Acting { acts, active: Vec::new(), copies: BTreeMap::new() }
    }

    /// The act with this number, aimed at the current leader if it is meant for the leader.
    pub(super) fn aimed(&mut self, number: usize, leader: Option<NodeId>) -> Act {
        let act = &mut self.acts[number];
        if let Some(leader) = leader.filter(|_| act.to_leader) {
            act.aim(leader);
        }
        *act
    }

    /// Records that the act has begun.
    pub(super) fn begins(&mut self, number: usize) {
        self.active.push(number);
    }

    /// Records that the act is over. `None`: it was not under way.
    pub(super) fn ends(&mut self, number: usize) -> Option<Act> {
        let place = self.active.iter().position(|active| *active == number)?;
        self.active.swap_remove(place);
        Some(self.acts[number])
    }

    /// Adds an act that is under way until all are over.
    pub(super) fn impose(&mut self, act: Act) {
        self.active.push(self.acts.len());
        self.acts.push(act);
    }

    /// One of the acts under way.
    pub(super) fn first(&self) -> Option<usize> {
        self.active.first().copied()
    }

    /// Removes all acts.
    pub(super) fn clear(&mut self) {
        self.acts.clear();
    }

    /// Whether there are no acts.
    pub(super) fn is_empty(&self) -> bool {
        self.acts.is_empty()
    }

    /// Whether no act is under way.
    pub(super) fn is_calm(&self) -> bool {
        self.active.is_empty()
    }

    /// The conditions under the acts under way, for members `0..nodes`.
    pub(super) fn conditions(&self, nodes: usize) -> Conditions {
        let acts = self.active.iter().map(|number| &self.acts[*number]);
        Conditions::of(acts, nodes as u64)
    }
}
