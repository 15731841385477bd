//! raft-engine, the log store of TiKV, beside ours.
//!
//! Configured as it comes but for three things: its files are as long as ours, it purges what is beyond two of them
//! (its default is 10 GB), and it does not compress, which on random bytes would only cost it. An entry is its index
//! and its data in a Protobuf message, 267 bytes; it is encoded by raft-engine, so that is in its time, as it is in ours.
//! Where ours makes a snapshot and purges, it compacts and purges; its compaction is not synced, ours is.
//!
//! Not here: many logs in one engine, which is what it is made for. Ours has one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::{Append, ENTRY_BYTES, Payloads, Purge, Stored};
use crate::measure::{Outcome, timed};
use crate::system::files;

/// The one log.
const REGION: u64 = 1;
/// What one read asks for.
const PIECE_BYTES: usize = 1 << 20;

/// How it finds an entry's index: the first bytes of the value.
#[derive(Clone)]
struct Indexed;

impl MessageExt for Indexed {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// A directory of raft-engine, open or not.
pub struct Peer {
    folder: PathBuf,
    file_bytes: u64,
    opened: Option<Engine>,
    payloads: Payloads,
    /// The log holds the entries behind `start` up to `last`.
    start: u64,
    last: u64,
    untended_bytes: u64,
    tended_through: u64,
}

/// Opens the directory, founding it if need be.
pub fn open(folder: &Path, file_bytes: u64) -> Outcome<Engine> {
    let config = Config {
        dir: folder.to_str().ok_or("a folder whose name is not UTF-8")?.to_owned(),
        target_file_size: ReadableSize(file_bytes),
        purge_threshold: ReadableSize(2 * file_bytes),
        batch_compression_threshold: ReadableSize(0),
        ..Config::default()
    };
    Ok(Engine::open(config)?)
}

impl Peer {
    /// In `folder`, open.
    pub fn new(folder: PathBuf, file_bytes: u64) -> Outcome<Peer> {
        let mut peer = Peer {
            folder,
            file_bytes,
            opened: None,
            payloads: Payloads::new(),
            start: 0,
            last: 0,
            untended_bytes: 0,
            tended_through: 0,
        };
        peer.open()?;
        Ok(peer)
    }

    fn engine(&self) -> &Engine {
        self.opened.as_ref().expect("it is open")
    }

    fn purge_through(&mut self, through: u64) -> Outcome<Duration> {
        let (took, ()) = timed(|| {
            self.engine().compact_to(REGION, through + 1);
            self.engine().purge_expired_files()?;
            Ok(())
        })?;
        self.start = self.start.max(through);
        Ok(took)
    }
}

impl Append for Peer {
    fn name(&self) -> &'static str {
        "raft-engine"
    }

    fn append(&mut self, batch: usize) -> Outcome<Duration> {
        let entry = |index: u64| {
            let value = [&index.to_le_bytes(), &self.payloads.of(index)[..]].concat();
            BytesValue { value, ..BytesValue::default() }
        };
        let entries: Vec<_> = (self.last + 1..=self.last + batch as u64).map(entry).collect();
        let (took, _) = timed(|| {
            let mut log_batch = LogBatch::with_capacity(1);
            log_batch.add_entries::<Indexed>(REGION, &entries)?;
            Ok(self.engine().write(&mut log_batch, true)?)
        })?;
        self.last += batch as u64;
        self.untended_bytes += batch as u64 * ENTRY_BYTES;
        Ok(took)
    }

    fn tend(&mut self) -> Outcome<Option<Duration>> {
        if self.untended_bytes < self.file_bytes {
            return Ok(None);
        }
        self.untended_bytes = 0;
        let through = std::mem::replace(&mut self.tended_through, self.last);
        self.purge_through(through).map(Some)
    }
}

impl Stored for Peer {
    fn name(&self) -> &'static str {
        "raft-engine"
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn log_bytes(&self) -> Outcome<u64> {
        Ok(files(&self.folder)?.iter().map(|(_, bytes)| bytes).sum())
    }

    fn open(&mut self) -> Outcome<()> {
        let engine = open(&self.folder, self.file_bytes)?;
        let last = engine.last_index(REGION).unwrap_or_default();
        assert_eq!(last, self.last, "everything is there again");
        self.opened = Some(engine);
        Ok(())
    }

    fn close(&mut self) {
        self.opened = None;
    }

    fn read_in_order(&mut self) -> Outcome<()> {
        let mut read = self.start;
        while read < self.last {
            let mut entries = Vec::new();
            let (first, end) = (read + 1, self.last + 1);
            let piece = Some(PIECE_BYTES);
            self.engine().fetch_entries_to::<Indexed>(REGION, first, end, piece, &mut entries)?;
            read += entries.len() as u64;
            assert_eq!(entries.last().map(Indexed::index), Some(read));
        }
        Ok(())
    }

    fn read_one(&mut self, chosen: u64) -> Outcome<()> {
        let index = self.start + 1 + chosen % (self.last - self.start);
        let entry = self.engine().get_entry::<Indexed>(REGION, index)?;
        assert_eq!(entry.as_ref().map(Indexed::index), Some(index));
        Ok(())
    }
}

impl Purge for Peer {
    fn folder(&self) -> &Path {
        &self.folder
    }

    fn prepare(&mut self) -> Outcome<()> {
        Ok(())
    }

    fn purge(&mut self, entries: u64) -> Outcome<Duration> {
        self.purge_through(self.start + entries)
    }
}
