//! A member's storage: the library's own files on a simulated disk, and the judge's second book of what is durable.
//!
//! A write reaches the simulated disk at once, fsync and all, and counts as durable when its time has passed. Of a crash in
//! between the disk of before the write is kept: a write that nobody was told of may be missing.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::actors::Delays;
use crate::raft::{LogChange, NodeId};
use crate::storage::file::recording::State;
use crate::storage::file::sim_disk::{SimDisk, Unsynced};
use crate::storage::file::{FileOptions, FileStorage};
use crate::storage::{Identity, LogReader, LogStore, OpenedStorage, Start, Storage, StorageError};

use super::watch::Watch;

/// The disk before the write under way, with the end of that.
#[derive(Clone, Default)]
pub(super) struct Before(Arc<Mutex<Option<(Instant, State)>>>);

impl Before {
    /// The disk as the power leaves it: with the write under way only begun, if there is one and `undone`.
    pub(super) fn after_crash(&self, disk: &SimDisk, unsynced: Unsynced, undone: bool) -> SimDisk {
        let before = self.0.lock().take().filter(|(until, _)| undone && *until > Instant::now());
        let state = before.map_or_else(|| disk.state(), |(_, state)| state);
        SimDisk::forgetful(state.after_crash(unsynced))
    }
}

/// The storage of one life of a member.
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
        let storage = FileStorage::on(disk.clone(), "node", files);
        let opened = Box::new(storage).open(identity, start)?;
        watch.lock().opened(node, &opened.recovered);
        let log = Box::new(WatchedLog { log: opened.log, node, disk, delays, before, watch });
        Ok(OpenedStorage { log, ..opened })
    }
}

struct WatchedLog {
    log: Box<dyn LogStore>,
    node: NodeId,
    disk: SimDisk,
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
        self.log.seal()
    }
}
