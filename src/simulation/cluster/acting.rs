//! Acts of a schedule, as far as they are more than conditions: what happens to a member when one begins, and when it is over.
//!
//! An act that makes no sense at its moment is left out, and not counted: a member that is down can't crash, and a second disk
//! may not be lost before the first has been made good.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::spawn_local;

use crate::machine::Machine;
use crate::raft::{Micros, NodeId};
use crate::storage::file::sim_disk::{Fault, Unsynced};

use super::super::MILLISECOND;
use super::super::conditions::Conditions;
use super::super::faults::FaultKind;
use super::super::schedule::{Act, Schedule};
use super::losses::Copy;
use super::world::{Doom, World};

/// A write comes in this time, or the power goes without one.
const WRITE_COMES: Micros = 300 * MILLISECOND;

/// The schedule under way.
#[derive(Default)]
pub(super) struct Acting {
    acts: Vec<Act>,
    /// Beginnings (`false`) and ends that are to come.
    agenda: BTreeSet<(Micros, bool, usize)>,
    /// Those that have begun and are not over.
    active: Vec<usize>,
    /// Copies of disks, for those that will be rolled back: by act.
    pub copies: BTreeMap<usize, Copy>,
}

impl Acting {
    pub(super) fn of(schedule: &Schedule) -> Acting {
        let acts = schedule.acts.clone();
        let numbered = acts.iter().enumerate();
        let agenda = numbered
            .flat_map(|(number, act)| [(act.at, false, number), (act.until(), true, number)])
            .collect();
        Acting { acts, agenda, ..Acting::default() }
    }

    /// When something of it happens next.
    pub(super) fn next_at(&self) -> Option<Micros> {
        self.agenda.first().map(|(at, ..)| *at)
    }

    fn due(&mut self, now: Micros) -> Option<(bool, usize)> {
        self.agenda.first().filter(|(at, ..)| *at <= now)?;
        self.agenda.pop_first().map(|(_, is_end, number)| (is_end, number))
    }
}

impl<M: Machine> World<M> {
    /// All that is due begins and ends.
    pub(super) async fn act(&mut self) {
        let now = self.watch.now();
        while let Some((is_end, number)) = self.acting.due(now) {
            if is_end {
                self.end(number).await;
            } else {
                self.begin(number).await;
            }
        }
    }

    async fn begin(&mut self, number: usize) {
        if let Some(leader) = self.leader().filter(|_| self.acting.acts[number].to_leader) {
            self.acting.acts[number].aim(leader.id);
        }
        let act = self.acting.acts[number];
        if !self.applies(&act) {
            return;
        }
        self.watch.note(None, || format!("begins: {act}"));
        self.watch.lock().sights.begins(act.kind);
        self.acting.active.push(number);
        self.adjust();
        self.strike(number, &act).await;
    }

    async fn end(&mut self, number: usize) {
        let begun = self.acting.active.iter().position(|active| *active == number);
        let Some(place) = begun else { return };
        let act = self.acting.acts[number];
        self.watch.note(None, || format!("is over: {act}"));
        self.acting.active.swap_remove(place);
        self.adjust();
        self.relent(number, &act).await;
    }

    /// All acts are over at once.
    pub(super) async fn end_all(&mut self) {
        self.acting.agenda.clear();
        while let Some(number) = self.acting.active.first() {
            self.end(*number).await;
        }
    }

    /// Brings the surroundings up to date with the acts under way.
    fn adjust(&mut self) {
        let acts = self.acting.active.iter().map(|number| &self.acting.acts[*number]);
        let conditions = Conditions::of(acts, self.slots.len() as u64);
        let mut watched = self.watch.lock();
        for (id, slot) in (0..).zip(&mut self.slots) {
            let (before, after) = (watched.conditions.member(id).skew, conditions.member(id).skew);
            if before != after {
                slot.warp.skew(after);
                slot.is_disturbed = true;
            }
            if conditions.member(id).disk_is_full {
                slot.disk.fail_next("write_at", "", Fault::Full);
                slot.may_stop = true;
            }
        }
        watched.conditions = conditions;
        watched.is_calm = self.acting.active.is_empty();
        watched.sights.disturbed();
        (0..self.slots.len() as NodeId).for_each(|id| watched.roll(id));
    }

    fn applies(&self, act: &Act) -> bool {
        let id = act.node;
        let alone = self.slots.len() == 1;
        match act.kind {
            FaultKind::Crash
            | FaultKind::TornWrite
            | FaultKind::LostWrites
            | FaultKind::FailingSync
            | FaultKind::FullDisk
            | FaultKind::ForcedSnapshot
            | FaultKind::Pause
            | FaultKind::MailboxFlood => self.lives(id),
            FaultKind::MisdirectedWrite | FaultKind::BitRot | FaultKind::RolledBackDisk => {
                !alone && self.may_lose(id)
            }
            FaultKind::WipedDisk => !alone && self.may_lose(id) && self.watch.lock().is_known(id),
            FaultKind::Partition
            | FaultKind::OneWayPartition
            | FaultKind::PartialPartition
            | FaultKind::Clog => !alone,
            _ => true,
        }
    }

    async fn strike(&mut self, number: usize, act: &Act) {
        let id = act.node;
        match act.kind {
            FaultKind::Crash => {
                // The process dies, the machine lives on: what was written is there.
                self.crash(id, Unsynced::Kept, false).await;
                self.slot(id).held_down += 1;
            }
            FaultKind::TornWrite => {
                let unsynced = Unsynced::Torn(self.dice.roll());
                self.power_goes(id, unsynced);
            }
            FaultKind::LostWrites => self.power_goes(id, Unsynced::Lost),
            FaultKind::FailingSync => {
                let fault = *self.dice.pick(&[Fault::Broken, Fault::Late]);
                let slot = self.slot(id);
                slot.disk.fail_next("sync", ".wal", fault);
                slot.may_stop = true;
                slot.held_down += 1;
            }
            FaultKind::FullDisk => self.slot(id).held_down += 1,
            FaultKind::MisdirectedWrite | FaultKind::BitRot | FaultKind::WipedDisk => {
                self.crash(id, Unsynced::Lost, false).await;
                self.slot(id).held_down += 1;
                match act.kind {
                    FaultKind::MisdirectedWrite => self.misdirect(id),
                    FaultKind::BitRot => self.rot(id),
                    _ => self.wipe(id),
                }
            }
            FaultKind::RolledBackDisk => self.copy_disk(number, id).await,
            FaultKind::Pause => {
                let slot = self.slot(id);
                slot.is_disturbed = true;
                let pause = Duration::from_micros(act.lasts);
                slot.node.iter().for_each(|node| node.pause(pause));
            }
            FaultKind::ClockJump => {
                let slot = self.slot(id);
                slot.is_disturbed = true;
                slot.warp.jump(act.strength * 20 * MILLISECOND);
            }
            FaultKind::ForcedSnapshot => self.ask_for_snapshot(id),
            FaultKind::MailboxFlood => drop(spawn_local(self.network.clone().flood(id))),
            _ => {}
        }
    }

    /// In the middle of one of the next writes the power is gone.
    fn power_goes(&mut self, id: NodeId, unsynced: Unsynced) {
        let (calls, at) = (self.dice.between(0, 6), self.watch.now() + WRITE_COMES);
        let slot = self.slot(id);
        slot.disk.crash_after(slot.disk.changes() + calls);
        slot.doom = Some(Doom { at, unsynced });
        slot.held_down += 1;
    }

    async fn relent(&mut self, number: usize, act: &Act) {
        let id = act.node;
        match act.kind {
            FaultKind::Crash
            | FaultKind::TornWrite
            | FaultKind::LostWrites
            | FaultKind::MisdirectedWrite
            | FaultKind::BitRot
            | FaultKind::WipedDisk
            | FaultKind::FullDisk
            | FaultKind::FailingSync => {
                // The power goes now, if it has not yet.
                if let Some(doom) = self.slot(id).doom {
                    self.crash(id, doom.unsynced, false).await;
                }
                let slot = self.slot(id);
                slot.held_down -= 1;
                slot.disk.spare();
                self.attend().await;
                self.start_again(id).await;
            }
            FaultKind::RolledBackDisk => self.roll_back(number, id).await,
            _ => {}
        }
    }
}
