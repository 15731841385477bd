//! A schedule under way: which acts have begun and are not over, and what each kind of act asks of its member.
//!
//! *What it does not do:* it strikes nobody and knows no time: each tier plans the acts, carries them out in its own way, and says
//! here which of them began.

use std::collections::BTreeMap;

use crate::raft::NodeId;

use super::conditions::Conditions;
use super::faults::FaultKind;
use super::schedule::{Act, Schedule};

/// The acts of a schedule, each known by its number. `Disk`: what a tier keeps of one that will be rolled back.
pub(super) struct Acting<Disk> {
    acts: Vec<Act>,
    /// Those that have begun and are not over.
    active: Vec<usize>,
    /// Copies of disks, for those that will be rolled back: by act.
    pub copies: BTreeMap<usize, Disk>,
}

/// What an act needs to make sense at its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// A member that lives.
    Life,
    /// More than one member.
    Others,
    /// Others who make the loss good, and no disk that is lost already: with a second one, acknowledged entries may be.
    SoundDisks,
    /// The same, and a disk that the others know, so that they would notice another one in its place.
    KnownDisk,
}

impl FaultKind {
    /// What an act of this kind needs.
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
            // Whether others would notice an old copy is known only when it takes the disk's place.
            FaultKind::MisdirectedWrite
            | FaultKind::BitRot
            | FaultKind::DamagedEnd
            | FaultKind::RolledBackDisk => Needs::SoundDisks,
            FaultKind::WipedDisk => Needs::KnownDisk,
            _ => Needs::Nothing,
        }
    }

    /// Whether its member, once it is down, is not started before the act is over.
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
    /// Nothing of it has begun.
    pub(super) fn of(schedule: &Schedule) -> Acting<Disk> {
        let acts = schedule.acts.clone();
        Acting { acts, active: Vec::new(), copies: BTreeMap::new() }
    }

    /// The act of this number, turned on whoever leads if it is for the leader.
    pub(super) fn aimed(&mut self, number: usize, leader: Option<NodeId>) -> Act {
        let act = &mut self.acts[number];
        if let Some(leader) = leader.filter(|_| act.to_leader) {
            act.aim(leader);
        }
        *act
    }

    /// The act is under way.
    pub(super) fn begins(&mut self, number: usize) {
        self.active.push(number);
    }

    /// The act is over. `None`: it was not under way.
    pub(super) fn ends(&mut self, number: usize) -> Option<Act> {
        let place = self.active.iter().position(|active| *active == number)?;
        self.active.swap_remove(place);
        Some(self.acts[number])
    }

    /// One more act, under way until all are over.
    pub(super) fn impose(&mut self, act: Act) {
        self.active.push(self.acts.len());
        self.acts.push(act);
    }

    /// One of those that are under way.
    pub(super) fn first(&self) -> Option<usize> {
        self.active.first().copied()
    }

    /// There are no acts any more.
    pub(super) fn clear(&mut self) {
        self.acts.clear();
    }

    /// There are no acts.
    pub(super) fn is_empty(&self) -> bool {
        self.acts.is_empty()
    }

    /// Nothing is going wrong.
    pub(super) fn is_calm(&self) -> bool {
        self.active.is_empty()
    }

    /// What the acts under way amount to, for members `0..nodes`.
    pub(super) fn conditions(&self, nodes: usize) -> Conditions {
        let acts = self.active.iter().map(|number| &self.acts[*number]);
        Conditions::of(acts, nodes as u64)
    }
}
