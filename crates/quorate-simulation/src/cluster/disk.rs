//! A member's storage: the library's own files on a simulated disk, and the invariant checker's own record of
//! what is durable.
//!
//! A write, with its fsync, reaches the simulated disk at once, and counts as durable when its time
//! has passed. For a crash in between, the disk from before the write is kept: a write that was not
//! yet reported may be missing.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use quorate::hooks::{Delays, RecordedState as State, SimDisk, Unsynced, storage_on};
use quorate::raft::{LogChange, NodeId};
use quorate::storage::file::FileOptions;
use quorate::storage::{
    Identity, LogReader, LogStore, OpenedStorage, Start, Storage, StorageError,
};

use super::super::invariants::Durable;
use super::watch::Watch;

/// How near to the log's end a sealed log is damaged on a copy.
const SEALED_BYTES: u64 = 300;

/// The disk before the write under way, with the end time of the write.
#[derive(Clone, Default)]
pub(super) struct Before(Arc<Mutex<Option<(Instant, State)>>>);

impl Before {
    /// The disk as its member leaves it. With `undone`, a write under way has only begun. If only
    /// the process dies (`None`), nothing is lost, and what was not synced is not synced yet.
    pub(super) fn after_crash(
        &self,
        disk: &SimDisk,
        unsynced: Option<Unsynced>,
        undone: bool,
    ) -> SimDisk {
        let before = self.0.lock().take().filter(|(until, _)| undone && *until > Instant::now());
        let state = before.map_or_else(|| disk.state(), |(_, state)| state);
        SimDisk::forgetful(match unsynced {
            Some(unsynced) => state.after_crash(unsynced),
            None => state,
        })
    }
}

/// The storage of one incarnation of a member.
pub(super) struct WatchedStorage {
    pub node: NodeId,
    pub disk: SimDisk,
    pub files: FileOptions,
    pub delays: Delays,
    pub before: Before,
    pub watch: Watch,
}

impl Storage for WatchedStorage {
    fn open(
        self: Box<Self>,
        identity: Identity,
        start: &Start,
    ) -> Result<OpenedStorage, StorageError> {
        let WatchedStorage { node, disk, files, delays, before, watch } = *self;
        let storage = storage_on(disk.clone(), "node", files.clone());
        let opening = Opening { files, identity, start: start.clone() };
        let opened = Box::new(storage).open(identity, start)?;
        watch.lock().opened(node, &opened.recovered);
        let log =
            Box::new(WatchedLog { log: opened.log, node, disk, opening, delays, before, watch });
        Ok(OpenedStorage { log, ..opened })
    }
}

struct WatchedLog {
    log: Box<dyn LogStore>,
    node: NodeId,
    disk: SimDisk,
    opening: Opening,
    delays: Delays,
    before: Before,
    watch: Watch,
}

impl LogStore for WatchedLog {
    fn write(&mut self, changes: &[LogChange]) -> Result<(), StorageError> {
        let state = self.disk.state();
        let written = self.log.write(changes);
        let takes = written.is_ok().then(|| self.delays.fsync());
        self.watch.lock().writes(self.node, changes, takes);
        *self.before.0.lock() = takes.map(|takes| (Instant::now() + takes, state));
        written
    }

    fn reader(&self) -> Box<dyn LogReader> {
        self.log.reader()
    }

    fn seal(&mut self) -> Result<(), StorageError> {
        self.log.seal()?;
        if self.watch.lock().draws_seal() {
            self.check_seal();
        }
        Ok(())
    }
}

impl WatchedLog {
    /// Damage to a sealed log is noticed: a copy of the disk, with one bit changed near the end of
    /// its log, holds the same or reports a loss.
    fn check_seal(&self) {
        let state = self.disk.state();
        let damaged = SimDisk::forgetful(state.clone());
        let Some((path, bytes)) = damaged.files().into_iter().rfind(|(path, _)| is_segment(path))
        else {
            return;
        };
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else { return };
        let at = last - self.watch.lock().turns.below(SEALED_BYTES.min(last as u64 + 1)) as usize;
        damaged.rot(&path, |bytes| bytes[at] ^= 1);
        let (Some((sound, false)), Some((left, noticed))) =
            (self.opening.holds(&SimDisk::forgetful(state)), self.opening.holds(&damaged))
        else {
            return;
        };
        if !noticed && left != sound {
            let what = format!(
                "n{}: byte {at} of {}, the last is {last}, changes {sound:?} to {left:?}",
                self.node,
                path.display()
            );
            self.watch.report_breach("what is sealed is not lost unnoticed", what);
        }
    }
}

/// How a disk was opened, so that a copy can be opened, too.
struct Opening {
    files: FileOptions,
    identity: Identity,
    start: Start,
}

impl Opening {
    /// What storage finds there, and whether it reports a loss. `None`: it refuses to open.
    fn holds(&self, disk: &SimDisk) -> Option<(Durable, bool)> {
        let storage = storage_on(disk.clone(), "node", self.files.clone());
        let opened = Box::new(storage).open(self.identity, &self.start).ok()?;
        Some((Durable::of(&opened.recovered), opened.recovered.life.loss.is_some()))
    }
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "wal")
}
