//! Disks that have room for the log, and sometimes none for its preallocated segments: the log
//! continues without them, and has them again later.
//!
//! Either the disk reports it before a segment is begun, or the first write of the segment fails,
//! or no file can be opened for it.

use quorate::hooks::Fault;
use quorate::machine::Machine;
use quorate::raft::{Micros, NodeId};

use super::super::MILLISECOND;
use super::super::random::Dice;
use super::world::World;

/// The longest time for which a disk lacks room, or has room.
const LASTS: Micros = 6_000 * MILLISECOND;

/// The room on the disks of a run.
pub(super) struct Room {
    dice: Dice,
    disks: Vec<Disk>,
    is_over: bool,
}

/// The room on one member's disk.
#[derive(Clone, Default)]
struct Disk {
    lack: Option<Lack>,
    /// When that changes.
    until: Micros,
    /// Whether it has lacked room since a segment was last preallocated.
    has_lacked: bool,
}

/// How the lack of room for a preallocated segment shows.
#[derive(Clone, Copy)]
enum Lack {
    IsSaid,
    Writing,
    Opening,
}

impl Room {
    pub(super) fn new(seed: u64, nodes: u64) -> Room {
        let disks = vec![Disk::default(); nodes as usize];
        Room { dice: Dice::new(seed, 25), disks, is_over: false }
    }

    /// From now on there is room for everything.
    pub(super) fn ends(&mut self) {
        self.is_over = true;
    }

    /// How this disk lacks room at `now`; `None`: it does not.
    fn at(&mut self, now: Micros, id: NodeId) -> Option<Lack> {
        let disk = &mut self.disks[id as usize];
        if self.is_over {
            disk.lack = None;
        } else if disk.until <= now {
            let lack = *self.dice.pick(&[Lack::IsSaid, Lack::Writing, Lack::Opening]);
            disk.lack = disk.lack.is_none().then_some(lack);
            disk.until = now + self.dice.between(MILLISECOND, LASTS);
        }
        disk.has_lacked |= disk.lack.is_some();
        disk.lack
    }
}

impl<M: Machine> World<M> {
    /// Counts the effects of the room that a disk had, and changes the room.
    pub(super) fn ration(&mut self, id: NodeId) {
        if !self.terms.scarce {
            return;
        }
        let now = self.watch.now();
        let disk = &self.slots[id as usize].disk;
        let (begun_empty, spares_made) = disk.take_begun();
        let before = &mut self.room.disks[id as usize];
        let sights = &mut self.watch.lock().sights;
        if before.lack.is_some() {
            sights.without_spares += begun_empty;
        } else if before.has_lacked && spares_made > 0 {
            before.has_lacked = false;
            sights.spares_again += 1;
        }
        let lack = self.room.at(now, id);
        let said = 2 * self.terms.files.segment_bytes - 1;
        disk.leave_room(matches!(lack, Some(Lack::IsSaid)).then_some(said));
        disk.fail_each(match lack {
            Some(Lack::Writing) => Some(("write_at", ".spare", Fault::Full)),
            Some(Lack::Opening) => Some(("open_write", ".spare", Fault::NoDescriptor)),
            Some(Lack::IsSaid) | None => None,
        });
    }
}
