//! The store that comes with quorate, used as a node uses it.
//!
//! ```text
//! append ─▶ LogStore::write                                   every segment's worth of bytes:
//! tend   ─▶ SnapshotStore::create, publish ─▶ LogStore::write(record, purge up to the record before) ─▶ retain
//! ```
//! So the log holds between one and two segments' worth, and files become free at the rate at which they fill.
//!
//! Not here: anything that knows what the store does with its files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate::raft::{
    Entry, EntryKind, HardState, Index, LogChange, LogId, Membership, SnapshotMeta,
};
use quorate::storage::file::{FileOptions, FileStorage};
use quorate::storage::{
    Identity, LogReader, LogStore, OpenedStorage, SnapshotStore, Start, Storage,
};

use super::{Append, DATA_BYTES, ENTRY_BYTES, Payloads, Purge, Stored};
use crate::measure::{Outcome, timed};
use crate::system::{Moved, files};

/// The term of every entry.
const TERM: u64 = 1;
/// What one read asks for.
const PIECE_BYTES: usize = 1 << 20;

/// A directory of the file store, open or not.
pub struct Ours {
    folder: PathBuf,
    segment_bytes: u64,
    opened: Option<Opened>,
    payloads: Payloads,
    /// The log holds the entries behind `start` up to `last`.
    start: Index,
    last: Index,
    untended_bytes: u64,
    tended_through: Index,
    /// Of all that was appended, as the kernel counted it.
    batch_bytes: u64,
}

struct Opened {
    log: Box<dyn LogStore>,
    snapshots: Box<dyn SnapshotStore>,
    reader: Box<dyn LogReader>,
}

/// Opens the directory, founding it if need be.
pub fn open(folder: &Path, segment_bytes: u64) -> Outcome<OpenedStorage> {
    let options = FileOptions { segment_bytes, ..FileOptions::default() };
    let storage = Box::new(FileStorage::with_options(folder, options));
    let identity = Identity { cluster: 1, node: 1, created_at_ms: 1 };
    Ok(storage.open(identity, &Start::Bootstrap(membership()))?)
}

fn membership() -> Membership {
    Membership::of_voters([1, 2, 3])
}

impl Ours {
    /// In `folder`, open.
    pub fn new(folder: PathBuf, segment_bytes: u64) -> Outcome<Ours> {
        let mut ours = Ours {
            folder,
            segment_bytes,
            opened: None,
            payloads: Payloads::new(),
            start: 0,
            last: 0,
            untended_bytes: 0,
            tended_through: 0,
            batch_bytes: 0,
        };
        ours.open()?;
        let hard_state = Some(HardState { term: TERM, vote: Some(1) });
        ours.opened().log.write(&[LogChange { hard_state, ..LogChange::default() }])?;
        Ok(ours)
    }

    /// What one batch is to the disk: the bytes that the store writes for it, as the kernel counts them.
    pub fn bytes_of(&mut self, batch: usize) -> Outcome<u64> {
        let mut written = Vec::new();
        for _ in 0..31 {
            let before = Moved::until_now()?;
            self.append(batch)?;
            written.push(before.since()?.written);
        }
        written.sort_unstable();
        // A store that writes by other means than calls would count less than it was given.
        let median = written[written.len() / 2].max((batch * DATA_BYTES) as u64);
        self.batch_bytes = median / batch as u64;
        Ok(median)
    }

    fn opened(&mut self) -> &mut Opened {
        self.opened.as_mut().expect("it is open")
    }

    fn publish_snapshot(&mut self) -> Outcome<SnapshotMeta> {
        let id = LogId::new(TERM, self.last);
        let mut sink = self.opened().snapshots.create(id, &membership())?;
        sink.write_all(b"the state of a very small machine")?;
        Ok(sink.publish()?)
    }

    fn record_and_purge(&mut self, meta: SnapshotMeta, through: Index) -> Outcome<()> {
        let purge_through = (through > self.start).then(|| LogId::new(TERM, through));
        let change = LogChange { snapshot: Some(meta), purge_through, ..LogChange::default() };
        self.opened().log.write(&[change])?;
        self.start = self.start.max(through);
        Ok(())
    }
}

impl Append for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn append(&mut self, batch: usize) -> Outcome<Duration> {
        let entry = |index| Entry {
            log_id: LogId::new(TERM, index),
            kind: EntryKind::Command,
            stamp_ms: index,
            data: self.payloads.of(index).clone(),
        };
        let append = (self.last + 1..=self.last + batch as u64).map(entry).collect();
        let changes = [LogChange { append, ..LogChange::default() }];
        let (took, ()) = timed(|| Ok(self.opened().log.write(&changes)?))?;
        self.last += batch as u64;
        self.untended_bytes += batch as u64 * ENTRY_BYTES;
        Ok(took)
    }

    fn tend(&mut self) -> Outcome<Option<Duration>> {
        if self.untended_bytes < self.segment_bytes {
            return Ok(None);
        }
        self.untended_bytes = 0;
        let through = std::mem::replace(&mut self.tended_through, self.last);
        let (took, ()) = timed(|| {
            let meta = self.publish_snapshot()?;
            let id = meta.log_id;
            self.record_and_purge(meta, through)?;
            Ok(self.opened().snapshots.retain(id, None)?)
        })?;
        Ok(Some(took))
    }
}

impl Stored for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn log_bytes(&self) -> Outcome<u64> {
        let there = files(&self.folder)?.iter().map(|(_, bytes)| bytes).sum();
        Ok(((self.last - self.start) * self.batch_bytes).min(there))
    }

    fn open(&mut self) -> Outcome<()> {
        let OpenedStorage { recovered, log, snapshots } = open(&self.folder, self.segment_bytes)?;
        assert_eq!(recovered.log.last_index(), self.last, "everything is there again");
        let reader = log.reader();
        self.opened = Some(Opened { log, snapshots, reader });
        Ok(())
    }

    fn close(&mut self) {
        self.opened = None;
    }

    fn read_in_order(&mut self) -> Outcome<()> {
        let (mut read, last) = (self.start, self.last);
        while read < last {
            let entries = self.opened().reader.read(read + 1, last, PIECE_BYTES)?;
            let entries = entries.ok_or("was purged")?;
            read += entries.len() as u64;
            assert_eq!(entries.last().map(|entry| entry.log_id.index), Some(read));
        }
        Ok(())
    }

    fn read_one(&mut self, chosen: u64) -> Outcome<()> {
        let index = self.start + 1 + chosen % (self.last - self.start);
        let entries = self.opened().reader.read(index, index, PIECE_BYTES)?;
        assert_eq!(entries.map(|entries| entries[0].log_id.index), Some(index));
        Ok(())
    }
}

impl Purge for Ours {
    fn folder(&self) -> &Path {
        &self.folder
    }

    fn prepare(&mut self) -> Outcome<()> {
        let meta = self.publish_snapshot()?;
        let id = meta.log_id;
        self.record_and_purge(meta, self.start)?;
        Ok(self.opened().snapshots.retain(id, None)?)
    }

    fn purge(&mut self, entries: u64) -> Outcome<Duration> {
        let through = self.start + entries;
        let purge_through = Some(LogId::new(TERM, through));
        let changes = [LogChange { purge_through, ..LogChange::default() }];
        let (took, ()) = timed(|| Ok(self.opened().log.write(&changes)?))?;
        self.start = through;
        Ok(took)
    }
}
