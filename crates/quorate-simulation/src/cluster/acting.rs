//! Carries out the parts of acts that are not conditions: what happens to a member when an act
//! begins, and when it is over.
//!
//! An act that makes no sense at its moment is skipped and not counted: a member that is down can't
//! crash, and a second disk may not be lost before the first loss is repaired.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::spawn_local;

use quorate::hooks::{Fault, Unsynced};
use quorate::machine::Machine;
use quorate::raft::{Micros, NodeId};

use super::super::MILLISECOND;
use super::super::acting::Needs;
use super::super::faults::FaultKind;
use super::super::schedule::{Act, DIES_SYNCING, DIES_WRITING, Schedule};
use super::world::{Doom, World};

/// The longest jump of a clock's wall time: 20 years.
const WALL_JUMP_MS: u64 = 20 * 365 * 24 * 3_600 * 1_000;
/// A write is expected within this time; without one, the power fails at its end.
const WRITE_COMES: Micros = 300 * MILLISECOND;

/// Beginnings (`false`) and ends of acts that are still to come.
#[derive(Default)]
pub(super) struct Agenda(BTreeSet<(Micros, bool, usize)>);

impl Agenda {
    pub(super) fn of(schedule: &Schedule) -> Agenda {
        let numbered = schedule.acts.iter().enumerate();
        let both =
            |(number, act): (usize, &Act)| [(act.at, false, number), (act.until(), true, number)];
        Agenda(numbered.flat_map(both).collect())
    }

    /// The time of the next beginning or end.
    pub(super) fn next_at(&self) -> Option<Micros> {
        self.0.first().map(|(at, ..)| *at)
    }

    fn due(&mut self, now: Micros) -> Option<(bool, usize)> {
        self.0.first().filter(|(at, ..)| *at <= now)?;
        self.0.pop_first().map(|(_, is_end, number)| (is_end, number))
    }
}

impl<M: Machine> World<M> {
    /// Carries out all beginnings and ends that are due.
    pub(super) async fn act(&mut self) {
        let now = self.watch.now();
        while let Some((is_end, number)) = self.agenda.due(now) {
            if is_end {
                self.end(number).await;
            } else {
                self.begin(number).await;
            }
        }
    }

    async fn begin(&mut self, number: usize) {
        let leader = self.leader().map(|leader| leader.id);
        let act = self.acting.aimed(number, leader);
        if !self.applies(&act) {
            return;
        }
        self.watch.note(None, || format!("begins: {act}"));
        self.watch.lock().sights.begins(act.kind);
        self.acting.begins(number);
        self.adjust();
        self.strike(number, &act).await;
    }

    async fn end(&mut self, number: usize) {
        let Some(act) = self.acting.ends(number) else { return };
        self.watch.note(None, || format!("is over: {act}"));
        self.adjust();
        self.relent(number, &act).await;
    }

    /// Ends all acts at once.
    pub(super) async fn end_all(&mut self) {
        self.agenda = Agenda::default();
        self.room.ends();
        while let Some(number) = self.acting.first() {
            self.end(number).await;
        }
    }

    /// Updates the conditions to the acts under way.
    fn adjust(&mut self) {
        let conditions = self.acting.conditions(self.slots.len());
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
        watched.is_calm = self.acting.is_calm();
        watched.sights.disturbed();
        (0..self.slots.len() as NodeId).for_each(|id| watched.roll(id));
    }

    fn applies(&self, act: &Act) -> bool {
        let id = act.node;
        let alone = self.slots.len() == 1;
        match act.kind.needs() {
            Needs::Nothing => act.kind != FaultKind::Pause || self.lives(id),
            Needs::Life => self.lives(id),
            Needs::Others => !alone,
            Needs::SoundDisks => !alone && self.may_lose(id),
            Needs::KnownDisk => !alone && self.may_lose(id) && self.watch.lock().is_known(id),
        }
    }

    async fn strike(&mut self, number: usize, act: &Act) {
        let id = act.node;
        self.slot(id).held_down += u32::from(act.kind.keeps_down());
        match act.kind {
            FaultKind::Crash => {
                // The process dies, the machine does not: what was written is there, and may be
                // lost later.
                match act.strength {
                    0..DIES_SYNCING => self.crash(id, None, false).await,
                    DIES_SYNCING..DIES_WRITING => self.dies_at(id, "sync_dir", "log", act.until()),
                    _ => self.dies_within(id, None),
                }
            }
            FaultKind::TornWrite => {
                let unsynced = Unsynced::Torn(self.dice.roll());
                self.dies_within(id, Some(unsynced));
            }
            FaultKind::LostWrites => self.dies_within(id, Some(Unsynced::Lost)),
            FaultKind::FailingSync => {
                let fault = *self.dice.pick(&[Fault::Broken, Fault::Late]);
                let slot = self.slot(id);
                slot.disk.fail_next("sync", ".wal", fault);
                slot.may_stop = true;
            }
            FaultKind::MisdirectedWrite | FaultKind::BitRot | FaultKind::WipedDisk => {
                self.crash(id, Some(Unsynced::Lost), false).await;
                match act.kind {
                    FaultKind::MisdirectedWrite => self.misdirect(id),
                    FaultKind::BitRot => self.rot(id),
                    _ => self.wipe(id),
                }
            }
            FaultKind::DamagedEnd => self.damage_end(id).await,
            FaultKind::RolledBackDisk => self.copy_disk(number, id).await,
            FaultKind::Pause => {
                let slot = self.slot(id);
                slot.is_disturbed = true;
                let pause = Duration::from_micros(act.lasts);
                slot.node.iter().for_each(|node| node.pause(pause));
            }
            FaultKind::ClockJump => {
                let by = act.strength * 20 * MILLISECOND;
                self.totals.jumped += by;
                let slot = self.slot(id);
                slot.is_disturbed = true;
                slot.warp.jump(by);
                slot.warp.set_wall_ahead(act.strength * WALL_JUMP_MS / 1_000);
            }
            FaultKind::ForcedSnapshot => self.ask_for_snapshot(id),
            FaultKind::MailboxFlood => {
                let slot = self.slot(id);
                slot.is_disturbed = true;
                let (warp, toil) = (slot.warp.clone(), 200 + act.strength);
                drop(spawn_local(self.network.clone().flood(id, warp, toil)));
            }
            _ => {}
        }
    }

    /// The process dies before the next call of this name on this path, or when the act is over.
    fn dies_at(&mut self, id: NodeId, name: &'static str, path: &'static str, at: Micros) {
        let slot = self.slot(id);
        slot.disk.crash_at(name, path);
        slot.doom = Some(Doom { at, unsynced: None });
    }

    /// The process dies, or the power fails, in the middle of one of the next writes.
    fn dies_within(&mut self, id: NodeId, unsynced: Option<Unsynced>) {
        let (calls, at) = (self.dice.between(0, 6), self.watch.now() + WRITE_COMES);
        let slot = self.slot(id);
        slot.disk.crash_after(slot.disk.changes() + calls);
        slot.doom = Some(Doom { at, unsynced });
    }

    async fn relent(&mut self, number: usize, act: &Act) {
        let id = act.node;
        if act.kind.keeps_down() {
            // The power fails now, if it has not yet.
            if let Some(doom) = self.slot(id).doom {
                self.crash(id, doom.unsynced, false).await;
            }
            let slot = self.slot(id);
            slot.held_down -= 1;
            slot.disk.spare();
            self.attend().await;
            self.start_again(id).await;
        }
        if act.kind == FaultKind::RolledBackDisk {
            self.roll_back(number, id).await;
        }
    }
}
