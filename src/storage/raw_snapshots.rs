//! Snapshots in memory, byte for byte as the apply side encodes them.
//!
//! For a custom storage that keeps a snapshot together with the record that names it: the storage
//! takes the bytes from here when a log change makes them current, and puts them back at the next
//! start.
//!
//! *What it does not do:* there is no format around the bytes, so they contain no checksum and no
//! log id, and all members of a cluster must use this store. An empty snapshot cannot be sent.
//! Nothing outlives the process.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{SnapshotReader, SnapshotReceiver, SnapshotSink, SnapshotStore, StorageError};
use crate::raft::{LogId, Membership, SnapshotMeta};

/// The published snapshots. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RawSnapshots(Arc<Mutex<BTreeMap<LogId, Bytes>>>);

impl RawSnapshots {
    /// An empty store.
    pub fn new() -> RawSnapshots {
        RawSnapshots::default()
    }

    /// The bytes of a published snapshot.
    pub fn get(&self, log_id: LogId) -> Option<Bytes> {
        self.0.lock().get(&log_id).cloned()
    }

    /// Publishes a snapshot that the caller stored elsewhere.
    pub fn insert(&self, log_id: LogId, bytes: Bytes) {
        self.0.lock().insert(log_id, bytes);
    }

    fn unpublished(&self, meta: &SnapshotMeta) -> Unpublished {
        Unpublished { meta: meta.clone(), bytes: Vec::new(), store: self.clone() }
    }
}

impl SnapshotStore for RawSnapshots {
    fn create(
        &mut self,
        log_id: LogId,
        membership: &Membership,
    ) -> Result<Box<dyn SnapshotSink>, StorageError> {
        let meta = SnapshotMeta { log_id, membership: membership.clone(), size_bytes: 0 };
        Ok(Box::new(self.unpublished(&meta)))
    }

    fn receive(&mut self, meta: &SnapshotMeta) -> Result<Box<dyn SnapshotReceiver>, StorageError> {
        Ok(Box::new(self.unpublished(meta)))
    }

    fn open(&mut self, log_id: LogId) -> Result<Box<dyn Read + Send>, StorageError> {
        let bytes = self.get(log_id).ok_or_else(|| StorageError::Damaged {
            path: "memory".into(),
            offset: 0,
            what: format!("snapshot {log_id} is missing"),
        })?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn reader(&self) -> Box<dyn SnapshotReader> {
        Box::new(self.clone())
    }

    fn remove(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.0.lock().remove(&log_id);
        Ok(())
    }

    /// Keeps no older snapshot to fall back to: the storage keeps the current one together with its
    /// record.
    fn retain(&mut self, current: LogId, keep: Option<LogId>) -> Result<(), StorageError> {
        self.0.lock().retain(|id, _| id.index >= current.index || Some(*id) == keep);
        Ok(())
    }
}

impl SnapshotReader for RawSnapshots {
    fn read_at(
        &mut self,
        log_id: LogId,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, StorageError> {
        let Some(whole) = self.get(log_id) else { return Ok(None) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
        let end = start.saturating_add(max_bytes).min(whole.len());
        Ok(Some(whole.slice(start..end)))
    }
}

/// A snapshot being encoded here, or received.
struct Unpublished {
    meta: SnapshotMeta,
    bytes: Vec<u8>,
    store: RawSnapshots,
}

impl Write for Unpublished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SnapshotSink for Unpublished {
    fn publish(self: Box<Self>) -> Result<SnapshotMeta, StorageError> {
        let Unpublished { meta, bytes, store } = *self;
        let size_bytes = store.0.lock().entry(meta.log_id).or_insert(bytes.into()).len() as u64;
        Ok(SnapshotMeta { size_bytes, ..meta })
    }
}

impl SnapshotReceiver for Unpublished {
    fn append(&mut self, data: &Bytes) -> Result<(), StorageError> {
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn received_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Each chunk was verified in transfer; this checks only the total length.
    fn publish(self: Box<Self>) -> Result<bool, StorageError> {
        let Unpublished { meta, bytes, store } = *self;
        let whole = bytes.len() as u64 == meta.size_bytes;
        if whole {
            store.insert(meta.log_id, bytes.into());
        }
        Ok(whole)
    }
}
