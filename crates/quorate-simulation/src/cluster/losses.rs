//! Disks that lose data: damaged, overwritten, emptied, or rolled back.
//!
//! Only losses that a member can notice are made. After a power loss no log can detect that its
//! very last write is gone, nor can a member whose earlier incarnation no other member remembers.
//! These are described in `docs/guarantees.md`.

use std::path::PathBuf;

use quorate::hooks::RecordedState as State;
use quorate::hooks::{SimDisk, Unsynced};
use quorate::machine::Machine;
use quorate::raft::{Incarnation, NodeId};
use quorate::storage::file::inspection::{EndReport, Outcome};

use super::world::World;

/// A copy of a disk, and its incarnation.
pub(super) struct Copy {
    state: State,
    incarnation: Incarnation,
}

impl<M: Machine> World<M> {
    /// Whether a disk may be lost now: with two lost disks, acknowledged entries may be lost.
    pub(super) fn may_lose(&self, id: NodeId) -> bool {
        let watched = self.watch.lock();
        let sound =
            |id: NodeId| watched.invariants.is_sound(id) && !watched.members[id as usize].tampered;
        self.lives(id) && self.acting.copies.is_empty() && self.ids().all(sound)
    }

    fn tampered(&mut self, id: NodeId) {
        self.watch.lock().members[id as usize].tampered = true;
    }

    /// Changes bits of what is stored.
    pub(super) fn rot(&mut self, id: NodeId) {
        for _ in 0..self.dice.between(1, 4) {
            let Some((path, length)) = self.some_file(id) else { return };
            let (at, bit) = (self.dice.below(length) as usize, self.dice.below(8));
            self.slot(id).disk.rot(&path, |bytes| bytes[at] ^= 1 << bit);
        }
        self.tampered(id);
    }

    /// Overwrites a place with what was meant for another one.
    pub(super) fn misdirect(&mut self, id: NodeId) {
        let (Some((from, _)), Some((path, length))) = (self.some_file(id), self.some_file(id))
        else {
            return;
        };
        let stray = self.slot(id).disk.files().remove(&from).unwrap_or_default();
        if stray.is_empty() {
            return;
        }
        let size = self.dice.between(1, 512).min(length).min(stray.len() as u64);
        let begin = self.dice.below(stray.len() as u64 - size + 1) as usize;
        let at = self.dice.below(length - size + 1) as usize;
        let stray = &stray[begin..begin + size as usize];
        self.slot(id).disk.rot(&path, |bytes| bytes[at..at + stray.len()].copy_from_slice(stray));
        self.tampered(id);
    }

    /// A file of the log or a snapshot, and the length that is old enough: behind it is the last
    /// write.
    fn some_file(&mut self, id: NodeId) -> Option<(PathBuf, u64)> {
        let files = self.slot(id).disk.files();
        let last = files.keys().rfind(|path| ends(path, "wal")).cloned();
        let written = self.slots[id as usize].last_log_write.clone();
        let mut found: Vec<(PathBuf, u64)> = Vec::new();
        for (path, bytes) in files {
            let is_last = Some(&path) == last.as_ref();
            let old = match &written {
                _ if !is_last => bytes.len() as u64,
                Some((of, offset)) if *of == path => *offset,
                // Nothing was written to it in this incarnation.
                _ => 0,
            };
            if old > 0 && (ends(&path, "wal") || ends(&path, "snap")) {
                found.push((path, old));
            }
        }
        if found.is_empty() { None } else { Some(self.dice.pick(&found).clone()) }
    }

    /// The process dies, or the power fails while the log is sealed. Then the end of the log, or
    /// the record of where it is, is damaged: the next start has to notice.
    pub(super) async fn damage_end(&mut self, id: NodeId) {
        let unsynced = if self.dice.chance(500) { Unsynced::Kept } else { Unsynced::Lost };
        self.crash(id, Some(unsynced), false).await;
        let disk = self.slot(id).disk.clone();
        let inspector = quorate::hooks::inspector_on(disk.clone(), "node");
        let Ok(inspection) = inspector.and_then(|inspector| inspector.inspect()) else { return };
        let newest = inspection.segments.last().filter(|segment| {
            let end = (segment.number, segment.used_bytes);
            let is_noted =
                |end_of: &EndReport| (end_of.through.segment, end_of.through.offset) == end;
            inspection.outcome == Outcome::Sound && inspection.end.as_ref().is_some_and(is_noted)
        });
        let Some(newest) = newest else { return };
        let (log, used) = (PathBuf::from(&newest.path), newest.used_bytes as usize);
        let mark = PathBuf::from("node/end");
        let sector = *self.dice.pick(&[512, 4096]);
        let from = match self.dice.below(3) {
            0 => self.dice.below(used as u64) as usize,
            _ => (used - 1) / sector * sector,
        };
        let byte = self.dice.below(256) as u8;
        match self.dice.below(8) {
            0 => disk.take(&log),
            1 => disk.put(&log, Vec::new()),
            2 | 3 => drop(disk.rot(&log, |bytes| bytes.truncate(from))),
            4 => drop(disk.rot(&log, |bytes| bytes[from..].fill(byte))),
            5 | 6 => drop(disk.rot(&log, |bytes| bytes[from..].fill(0))),
            _ if byte < 128 => disk.take(&mark),
            _ => disk.put(&mark, Vec::new()),
        }
        let watched = &mut self.watch.lock();
        let member = &mut watched.members[id as usize];
        (member.tampered, member.end_is_damaged) = (true, true);
        watched.sights.damaged_ends += 1;
    }

    /// Empties the disk.
    pub(super) fn wipe(&mut self, id: NodeId) {
        self.slot(id).disk = SimDisk::forgetful(State::default());
        self.tampered(id);
    }

    /// Copies the disk. Other members notice that the copy is old only if the member has restarted
    /// since.
    pub(super) async fn copy_disk(&mut self, number: usize, id: NodeId) {
        let incarnation = self.watch.lock().members[id as usize].incarnation;
        self.crash(id, Some(Unsynced::Lost), false).await;
        let state = self.slot(id).disk.state();
        self.acting.copies.insert(number, Copy { state, incarnation });
        self.start_again(id).await;
        if self.lives(id) {
            self.crash(id, Some(Unsynced::Lost), false).await;
            self.start_again(id).await;
        }
    }

    /// Replaces the disk by the copy, if that is noticed.
    pub(super) async fn roll_back(&mut self, number: usize, id: NodeId) {
        let Some(copy) = self.acting.copies.remove(&number) else { return };
        let noticeable = self.watch.lock().is_told_apart(id, copy.incarnation);
        if !(noticeable && self.may_lose(id)) {
            return;
        }
        self.crash(id, Some(Unsynced::Lost), false).await;
        self.slot(id).disk = SimDisk::forgetful(copy.state);
        self.tampered(id);
        self.watch.lock().sights.rolled_back += 1;
        self.slot(id).rolled_back = true;
        self.start_again(id).await;
    }
}

fn ends(path: &std::path::Path, with: &str) -> bool {
    path.extension().is_some_and(|end| end == with)
}
