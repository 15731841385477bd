//! Storage in memory: the file storage's rules without files, for tests, simulations and
//! short-lived clusters.
//!
//! A [`MemoryStorage`] is a *disk*. Clones share it, a node opens one of them, and what the node
//! wrote is present at the next open, after a shutdown or a crash of the node. As with a directory,
//! only one opening may exist at a time; [`MemoryStorage::fence`] revokes it from a node that is to
//! appear dead.
//!
//! *What it does not do:* outlive the process, tear writes, or fail. Once `write` returns,
//! everything is kept.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::founding::{Founding, NOTHING_TO_OPEN};
use super::mirror::LogMirror;
use super::pieces::{Pieces, PiecesWriter};
use super::snapshot_choice::{DEFAULT_RETAINED, Substitute, choose, superfluous, swept};
use super::snapshot_format::{Flaw, Header, SnapshotContent, SnapshotWriter, verify_received};
use super::{
    Identity, LogReader, LogStore, OpenedStorage, SnapshotReader, SnapshotReceiver, SnapshotSink,
    SnapshotStore, Start, Storage, StorageError,
};
use crate::raft::{Entry, Index, LogChange, LogId, Membership, SnapshotMeta, unborn};

/// A disk in memory. Clones share the same disk.
#[derive(Clone, Default)]
pub struct MemoryStorage {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    founding: Option<Founding>,
    log: LogMirror,
    snapshots: BTreeMap<LogId, Pieces>,
    /// Number of the last opening; handles of earlier ones are fenced.
    opening: u64,
    in_use: bool,
}

impl MemoryStorage {
    /// An empty disk.
    pub fn new() -> MemoryStorage {
        MemoryStorage::default()
    }

    /// Revokes the current opening, as if its process had died: every further call of it fails, and
    /// the disk can be opened again with the data written so far.
    pub fn fence(&self) {
        let mut disk = self.disk.lock();
        disk.opening += 1;
        disk.in_use = false;
    }
}

impl Storage for MemoryStorage {
    fn waits(&self) -> bool {
        false
    }

    fn open(
        self: Box<Self>,
        identity: Identity,
        start: &Start,
    ) -> Result<OpenedStorage, StorageError> {
        let mut disk = self.disk.lock();
        if disk.in_use {
            return Err(refused("is in use: a node that is still running has it open"));
        }
        let base = disk.found(identity, start).map_err(refused)?;
        disk.find_snapshot().map_err(damaged)?;
        disk.log.begin();
        disk.opening += 1;
        disk.in_use = true;
        let recovered = disk.log.recovered(base);
        let link = Link { disk: self.disk.clone(), opening: disk.opening };
        drop(disk);
        let opened = Arc::new(Opened { link, cluster: identity.cluster });
        Ok(OpenedStorage {
            recovered,
            log: Box::new(MemoryLog { opened: opened.clone() }),
            snapshots: Box::new(MemorySnapshots { opened }),
        })
    }
}

impl Disk {
    fn found(&mut self, identity: Identity, start: &Start) -> Result<Membership, String> {
        match (&self.founding, start) {
            (Some(founding), _) => founding.check(identity, start)?,
            (None, Start::Bootstrap(base)) => {
                self.founding = Some(Founding::new(identity, base.clone())?);
                self.log.state_mut().life.incarnation = unborn(identity.created_at_ms);
            }
            (None, Start::Open) => return Err(NOTHING_TO_OPEN.into()),
        }
        Ok(self.founding.as_ref().map(|founding| founding.base.clone()).unwrap_or_default())
    }

    /// Verifies or substitutes the current snapshot and removes snapshots that no record names.
    fn find_snapshot(&mut self) -> Result<(), String> {
        let stored: Vec<LogId> = self.snapshots.keys().copied().collect();
        let Disk { log, snapshots, .. } = self;
        let verify = |id| {
            let bytes = snapshots.get(&id).ok_or("is missing")?;
            let content =
                SnapshotContent::open(bytes.reader()).and_then(SnapshotContent::verify_rest);
            content.map_err(|error| error.to_string())
        };
        let chosen = choose(log.state_mut(), &stored, |id| Ok::<_, Infallible>(verify(id)));
        let substitute = chosen.unwrap_or_else(|never| match never {})?;
        substitute.iter().for_each(Substitute::warn);
        match log.snapshot() {
            Some(meta) => {
                for orphan in swept(&stored, meta.log_id, DEFAULT_RETAINED) {
                    snapshots.remove(&orphan);
                }
            }
            None => snapshots.clear(),
        }
        Ok(())
    }

    /// Removes obsolete snapshots and returns them. The caller drops them after releasing the
    /// disk's lock: freeing a large snapshot takes long and would block the log's writer.
    fn retain(&mut self, current: LogId, keep: Option<LogId>) -> Vec<Pieces> {
        let stored: Vec<LogId> = self.snapshots.keys().copied().collect();
        let superfluous = superfluous(&stored, current, keep, DEFAULT_RETAINED);
        superfluous.into_iter().filter_map(|id| self.snapshots.remove(&id)).collect()
    }
}

/// A handle to the disk, valid as long as its opening is the current one.
#[derive(Clone)]
struct Link {
    disk: Arc<Mutex<Disk>>,
    opening: u64,
}

impl Link {
    fn with<T>(&self, work: impl FnOnce(&mut Disk) -> T) -> Result<T, StorageError> {
        let mut disk = self.disk.lock();
        if disk.opening != self.opening {
            return Err(refused(
                "was fenced off from this node: nothing can be read or written any more",
            ));
        }
        Ok(work(&mut disk))
    }
}

/// One opening of the disk. It ends when the log, the snapshots and the unfinished sinks and
/// receivers are dropped.
struct Opened {
    link: Link,
    cluster: u64,
}

impl Drop for Opened {
    fn drop(&mut self) {
        // A fenced opening has nothing to release.
        let _ = self.link.with(|disk| disk.in_use = false);
    }
}

struct MemoryLog {
    opened: Arc<Opened>,
}

impl LogStore for MemoryLog {
    fn write(&mut self, changes: &[LogChange]) -> Result<(), StorageError> {
        self.opened.link.with(|disk| {
            disk.log.change(changes);
        })
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(self.opened.link.clone())
    }

    fn seal(&mut self) -> Result<(), StorageError> {
        self.opened.link.with(|_| ())
    }
}

impl LogReader for Link {
    fn read(
        &mut self,
        first: Index,
        last: Index,
        max_bytes: usize,
    ) -> Result<Option<Vec<Entry>>, StorageError> {
        self.with(|disk| disk.log.read(first, last, max_bytes))
    }
}

struct MemorySnapshots {
    opened: Arc<Opened>,
}

impl SnapshotStore for MemorySnapshots {
    fn create(
        &mut self,
        log_id: LogId,
        membership: &Membership,
    ) -> Result<Box<dyn SnapshotSink>, StorageError> {
        let header =
            Header { cluster: self.opened.cluster, log_id, membership: membership.clone() };
        let writer = SnapshotWriter::new(PiecesWriter::default(), &header).map_err(damaged)?;
        let meta = SnapshotMeta { log_id, membership: membership.clone(), size_bytes: 0 };
        Ok(Box::new(MemorySink { opened: self.opened.clone(), meta, writer }))
    }

    fn receive(&mut self, meta: &SnapshotMeta) -> Result<Box<dyn SnapshotReceiver>, StorageError> {
        let opened = self.opened.clone();
        Ok(Box::new(MemoryReceiver {
            opened,
            meta: meta.clone(),
            received: PiecesWriter::default(),
            excess_bytes: 0,
        }))
    }

    fn open(&mut self, log_id: LogId) -> Result<Box<dyn Read + Send>, StorageError> {
        let stored = self.opened.link.with(|disk| disk.snapshots.get(&log_id).cloned())?;
        let bytes = stored.ok_or_else(|| damaged(format!("snapshot {log_id} is missing")))?;
        let content = SnapshotContent::open(bytes.reader());
        Ok(Box::new(content.map_err(|error| damaged(format!("snapshot {log_id} {error}")))?))
    }

    fn reader(&self) -> Box<dyn SnapshotReader> {
        Box::new(self.opened.link.clone())
    }

    fn remove(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.opened.link.with(|disk| disk.snapshots.remove(&log_id)).map(drop)
    }

    fn retain(&mut self, current: LogId, keep: Option<LogId>) -> Result<(), StorageError> {
        self.opened.link.with(|disk| disk.retain(current, keep)).map(drop)
    }
}

impl SnapshotReader for Link {
    fn read_at(
        &mut self,
        log_id: LogId,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, StorageError> {
        let stored = self.with(|disk| disk.snapshots.get(&log_id).cloned())?;
        Ok(stored.map(|whole| whole.at(offset, max_bytes)))
    }
}

struct MemorySink {
    opened: Arc<Opened>,
    meta: SnapshotMeta,
    writer: SnapshotWriter<PiecesWriter>,
}

impl Write for MemorySink {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.writer.write(content)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl SnapshotSink for MemorySink {
    fn publish(self: Box<Self>) -> Result<SnapshotMeta, StorageError> {
        let MemorySink { opened, mut meta, writer } = *self;
        let (bytes, _) = writer.finish().map_err(damaged)?;
        let bytes = bytes.finish();
        // If a snapshot of the same entry exists, the new bytes are obsolete. They are not freed
        // while the disk is locked.
        meta.size_bytes = opened.link.with(|disk| {
            disk.snapshots.entry(meta.log_id).or_insert_with(|| bytes.clone()).len()
        })?;
        Ok(meta)
    }
}

struct MemoryReceiver {
    opened: Arc<Opened>,
    meta: SnapshotMeta,
    received: PiecesWriter,
    /// Bytes beyond the announced length: counted, not kept.
    excess_bytes: u64,
}

impl SnapshotReceiver for MemoryReceiver {
    fn append(&mut self, data: &Bytes) -> Result<(), StorageError> {
        let room = self.meta.size_bytes - self.received.len();
        let kept = data.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.received.share(data.slice(..kept));
        self.excess_bytes += (data.len() - kept) as u64;
        self.opened.link.with(|_| ())
    }

    fn received_bytes(&self) -> u64 {
        self.received.len() + self.excess_bytes
    }

    fn publish(self: Box<Self>) -> Result<bool, StorageError> {
        let MemoryReceiver { opened, meta, received, .. } = *self;
        let received = received.finish();
        let verified = verify_received(received.reader(), opened.cluster, &meta);
        if let Err(error) = verified {
            debug_assert!(Flaw::of(&error).is_some(), "reading memory failed: {error}");
            tracing::warn!(snapshot = %meta.log_id, %error, "a received snapshot does not verify");
            return Ok(false);
        }
        opened.link.with(|disk| disk.snapshots.insert(meta.log_id, received))?;
        Ok(true)
    }
}

fn refused(what: impl Into<String>) -> StorageError {
    StorageError::Refused { path: "memory".into(), what: what.into() }
}

fn damaged(what: impl ToString) -> StorageError {
    StorageError::Damaged { path: "memory".into(), offset: 0, what: what.to_string() }
}
