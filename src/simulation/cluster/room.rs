//! Disks that have room for the log, and now and then none for its spare files: the log goes on
//! without, and has spares again later.
//!
//! Either the disk says so before a spare is begun, or its first write fails, or no file can be
//! opened for it.

use crate::machine::Machine;
use crate::raft::{Micros, NodeId};
use crate::storage::file::sim_disk::Fault;

use super::super::MILLISECOND;
use super::super::random::Dice;
use super::world::World;

/// The longest time in which a disk lacks room, or does not.
const LASTS: Micros = 6_000 * MILLISECOND;

/// How it is with the disks of a run.
pub(super) struct Room {
    dice: Dice,
    disks: Vec<Disk>,
    is_over: bool,
}

/// One member's.
#[derive(Clone, Default)]
struct Disk {
    lack: Option<Lack>,
    /// When that changes.
    until: Micros,
    /// It has lacked room since a spare was last made.
    has_lacked: bool,
}

/// How it comes out that there is no room for a spare.
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

    /// There is room for everything from now on.
    pub(super) fn ends(&mut self) {
        self.is_over = true;
    }

    /// Whether there is room for spares on this disk, by now.
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
    /// Counts what came of the room that a disk had, and gives or takes it.
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
