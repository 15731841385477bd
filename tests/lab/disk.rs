//! A peer's disk, and a second book of what is durable on it.
//!
//! The storage is the library's own in memory; every change passes by the [`Image`] on its way. So a checker knows what a quorum
//! *has on disk*, not what peers believe, and how large the saved state of a peer would be.

use std::collections::VecDeque;

use quorate::actors::Delays;
use quorate::raft::{HardState, LogChange, LogId, Recovered, Term};
use quorate::storage::memory::MemoryStorage;
use quorate::storage::{
    Identity, LogReader, LogStore, OpenedStorage, Start, Storage, StorageError,
};

use tokio::time::Instant;

use crate::invariants::Watch;

/// What is durable.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Term and vote.
    pub hard_state: HardState,
    /// The current snapshot's last entry, or the base.
    pub snapshot: LogId,
    /// The id before the first entry.
    pub start: LogId,
    /// Term and data length of each entry behind `start`.
    entries: VecDeque<(Term, usize)>,
    /// Voters in the snapshot's record.
    members: usize,
}

impl Image {
    /// The term of the entry at `index`, or of the start.
    pub fn term_at(&self, index: u64) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        let place = index.checked_sub(self.start.index + 1)?;
        self.entries.get(place as usize).map(|(term, _)| *term)
    }

    /// The last index.
    pub fn last(&self) -> u64 {
        self.start.index + self.entries.len() as u64
    }

    /// Bytes of the saved state, without the snapshot itself: the records of term and vote, of the snapshot's id and members, and
    /// of the entries, as they stand in a log file, and a length before each entry.
    pub fn state_bytes(&self) -> usize {
        let (tag, number, length) = (1, 8, 4);
        let hard_state = tag + number + (1 + number);
        let snapshot = tag + 2 * number + (3 * length + self.members * number) + number;
        let entries = self.entries.iter().map(|(_, data)| length + 32 + data);
        hard_state + snapshot + entries.sum::<usize>()
    }

    /// Follows a change. What would be out of order the storage itself refuses.
    pub fn change(&mut self, change: &LogChange) {
        if let Some(hard_state) = change.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(install) = &change.install {
            self.snapshot = install.meta.log_id;
            self.members = install.meta.membership.voters.len();
            if !install.keep_suffix {
                self.entries.clear();
                self.start = self.snapshot;
            }
            self.forget_through(self.snapshot);
        }
        if let Some(meta) = &change.snapshot {
            self.snapshot = meta.log_id;
            self.members = meta.membership.voters.len();
        }
        if let Some(from) = change.truncate_from {
            self.entries.truncate((from - self.start.index - 1) as usize);
        }
        for entry in &change.append {
            self.entries.push_back((entry.log_id.term, entry.data.len()));
        }
        if let Some(through) = change.purge_through {
            self.forget_through(through);
        }
    }

    fn forget_through(&mut self, through: LogId) {
        while self.start.index < through.index && self.entries.pop_front().is_some() {
            self.start.index += 1;
        }
        if self.start.index == through.index {
            self.start = through;
        }
    }
}

/// A disk whose changes are watched. Clones are the same disk.
#[derive(Clone)]
pub struct Disk {
    memory: MemoryStorage,
    peer: usize,
    delays: Delays,
    watch: Watch,
}

impl Disk {
    /// An empty disk.
    pub fn new(peer: usize, watch: Watch) -> Disk {
        Disk { memory: MemoryStorage::new(), peer, delays: Delays::default(), watch }
    }

    /// The same disk for a node with these delays: what it writes counts as durable when the write has taken its time.
    pub fn delayed(&self, delays: &Delays) -> Disk {
        Disk { delays: delays.clone(), ..self.clone() }
    }
}

impl Storage for Disk {
    fn open(
        self: Box<Self>,
        identity: Identity,
        start: &Start,
    ) -> Result<OpenedStorage, StorageError> {
        let Disk { memory, peer, delays, watch } = *self;
        let opened = Box::new(memory).open(identity, start)?;
        watch.opened(peer, &opened.recovered);
        let log = Box::new(WatchedLog { log: opened.log, peer, delays, watch });
        Ok(OpenedStorage { log, ..opened })
    }
}

struct WatchedLog {
    log: Box<dyn LogStore>,
    peer: usize,
    delays: Delays,
    watch: Watch,
}

impl LogStore for WatchedLog {
    fn write(&mut self, changes: &[LogChange]) -> Result<(), StorageError> {
        self.log.write(changes)?;
        self.watch.writes(self.peer, changes, Instant::now() + self.delays.fsync());
        Ok(())
    }

    fn reader(&self) -> Box<dyn LogReader> {
        self.log.reader()
    }

    fn seal(&mut self) -> Result<(), StorageError> {
        self.log.seal()
    }
}

/// Whether storage found what the image says is durable.
pub fn agrees(image: &Image, recovered: &Recovered) -> bool {
    let snapshot = recovered.snapshot.as_ref().map_or(LogId::BASE, |meta| meta.log_id);
    image.hard_state == recovered.hard_state
        && image.snapshot == snapshot
        && image.start == recovered.log.start
        && image.last() == recovered.log.last_index()
}
