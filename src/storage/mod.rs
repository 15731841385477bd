//! Persistent storage: the log with its records, and snapshots.
//!
//! There are two contracts with one owner each. Only the persister writes a [`LogStore`]; only the
//! snapshotter writes a [`SnapshotStore`]. Their calls block as long as the disk does. The actors
//! that own them have executors of their own and report completions by message, so no other actor
//! blocks. [`LogReader`] and [`SnapshotReader`] let the reader actor read old data without queueing
//! behind an fsync.
//!
//! A snapshot file is *current* only once the log's snapshot record names it (`docs/storage.md`).
//! The file is published first and the record is written afterwards; a file without a record is an
//! orphan.
//!
//! A custom storage implements these contracts. [`LogMirror`] and [`RawSnapshots`] are most of one
//! that also keeps its log in memory.
//!
//! *What it does not do:* decide when to write, read or remove anything. An actor that gets an
//! error stops the node, unless it may retry ([`StorageError::is_out_of_descriptors`]).

use std::io::{Read, Write};

use bytes::Bytes;

use crate::raft::{Entry, Index, LogChange, LogId, Membership, NodeId, Recovered, SnapshotMeta};

mod binary;
pub mod file;
mod founding;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub(crate) mod log_state;
pub mod memory;
mod mirror;
mod pieces;
mod raw_snapshots;
mod snapshot_choice;
mod snapshot_format;
#[cfg(any(test, fuzzing))]
mod tests;

pub use mirror::{LogEdit, LogMirror, StoredLog};
pub use raw_snapshots::RawSnapshots;

/// Why a store cannot continue. The node stops on every one of these errors, except that reads and
/// snapshots are retried after [`StorageError::is_out_of_descriptors`]. Nothing is retried after a
/// failed fsync.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A file call failed.
    #[error("{operation} {path}: {source}")]
    Io {
        /// The call: `open`, `write`, `fdatasync`, ..
        operation: &'static str,
        /// The file.
        path: String,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The stored bytes do not verify. Nothing was changed.
    #[error("{path} at byte {offset}: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// Byte offset in the file.
        offset: u64,
        /// What is wrong and what can be done.
        what: String,
    },
    /// The directory can't be used as requested: it is in use, empty, not empty, of another node,
    /// or of a newer format.
    #[error("{path}: {what}")]
    Refused {
        /// The directory or file.
        path: String,
        /// Why, and what to do.
        what: String,
    },
}

impl StorageError {
    /// Whether a file could not be opened because the process or the system had no file descriptor
    /// left. Opening it later may succeed. Nothing was changed.
    pub fn is_out_of_descriptors(&self) -> bool {
        matches!(self, StorageError::Io { source, .. } if lacks_descriptors(source))
    }
}

/// EMFILE and ENFILE; the standard library has no names for them.
fn lacks_descriptors(error: &std::io::Error) -> bool {
    let codes: &[i32] = if cfg!(windows) { &[4] } else { &[23, 24] };
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// The durable log with term, vote and the snapshot record. It has one owner, which writes in
/// order.
pub trait LogStore: Send + 'static {
    /// Makes `changes` durable, in order, as one step with one fsync. Once it returned, none of
    /// them can be lost. After a crash during the call a prefix of the changes may be stored; each
    /// change is stored whole or not at all. After an error the store refuses every further call.
    fn write(&mut self, changes: &[LogChange]) -> Result<(), StorageError>;

    /// Returns a reader that works concurrently with the writer and sees every completed `write`.
    fn reader(&self) -> Box<dyn LogReader>;

    /// Makes the position of the log's end durable, so that a log that ends earlier is known to be
    /// damaged. Called when idle and at shutdown; does nothing if nothing changed.
    fn seal(&mut self) -> Result<(), StorageError>;
}

/// Reads old entries of a log while another actor writes it.
pub trait LogReader: Send + 'static {
    /// Returns entries from `first` to `last`, fewer if their sizes would exceed `max_bytes`, but
    /// at least one. `Ok(None)`: `first` has been purged. An empty list: the log ends before
    /// `first` because it was truncated meanwhile. An entry that should exist and is not readable
    /// is an error; it is never reported as the end of the log.
    fn read(
        &mut self,
        first: Index,
        last: Index,
        max_bytes: usize,
    ) -> Result<Option<Vec<Entry>>, StorageError>;
}

/// Published snapshots by log id. The store makes their names; no name comes from outside.
pub trait SnapshotStore: Send + 'static {
    /// Begins writing a snapshot. Nothing is visible until [`SnapshotSink::publish`]. `log_id` and
    /// `membership` go into the header. To begin again, drop the unfinished sink; two sinks never
    /// share bytes.
    fn create(
        &mut self,
        log_id: LogId,
        membership: &Membership,
    ) -> Result<Box<dyn SnapshotSink>, StorageError>;

    /// Begins storing a snapshot received from another member, byte for byte as the sender stored
    /// it.
    fn receive(&mut self, meta: &SnapshotMeta) -> Result<Box<dyn SnapshotReceiver>, StorageError>;

    /// Opens a published snapshot's content for decoding. Fails with `Damaged` if a checksum does
    /// not match.
    fn open(&mut self, log_id: LogId) -> Result<Box<dyn Read + Send>, StorageError>;

    /// Returns a reader of the stored bytes, for sending, that works concurrently with the writer.
    fn reader(&self) -> Box<dyn SnapshotReader>;

    /// Removes a published snapshot if it exists.
    fn remove(&mut self, log_id: LogId) -> Result<(), StorageError>;

    /// Called once the log's record names `current`. Keeps `current` and as many older snapshots as
    /// configured; of the remaining older ones it keeps only `keep`. Newer snapshots always stay:
    /// one may be published before its record is written.
    fn retain(&mut self, current: LogId, keep: Option<LogId>) -> Result<(), StorageError>;
}

/// A snapshot being written from a view. `Write` takes the content; the store adds the format
/// around it.
pub trait SnapshotSink: Write + Send {
    /// Completes the snapshot and makes it durable and visible: write a temporary file, fsync,
    /// rename, fsync of the directory. If an intact snapshot of the same entry exists, that one
    /// stays and its meta is returned. Dropping the sink instead leaves nothing behind.
    fn publish(self: Box<Self>) -> Result<SnapshotMeta, StorageError>;
}

/// A snapshot being received.
pub trait SnapshotReceiver: Send {
    /// Appends bytes to those received so far. May keep `data` itself, and with it the allocation
    /// that it is a slice of.
    fn append(&mut self, data: &Bytes) -> Result<(), StorageError>;

    /// Bytes received so far, including those beyond the announced length, which are not kept.
    fn received_bytes(&self) -> u64;

    /// Verifies the received bytes against their meta and their own checksums and publishes them
    /// durably. `Ok(false)`: they do not verify; nothing is kept.
    fn publish(self: Box<Self>) -> Result<bool, StorageError>;
}

/// Reads published snapshots in chunks, as stored.
pub trait SnapshotReader: Send + 'static {
    /// Returns up to `max_bytes` from `offset`; empty only at the end. `Ok(None)`: the snapshot
    /// does not exist, or was removed.
    fn read_at(
        &mut self,
        log_id: LogId,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, StorageError>;
}

/// A node's opened storage.
pub struct OpenedStorage {
    /// The state the protocol starts from.
    pub recovered: Recovered,
    /// The log, for the persister.
    pub log: Box<dyn LogStore>,
    /// The snapshots, for the snapshotter.
    pub snapshots: Box<dyn SnapshotStore>,
}

/// What a node expects of its storage at a start. Exactly one of these applies to each start;
/// neither is guessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Begins a new cluster with these members, on an empty directory. On a directory of the same
    /// cluster with the same members it is the same as `Open`; any difference is an error. The node
    /// itself must be one of the members.
    Bootstrap(Membership),
    /// Continues with the stored state; an empty directory is refused. A node that is not among the
    /// members which the directory names starts, warns once, and never campaigns: it may have been
    /// removed from the cluster.
    Open,
}

/// The owner of a storage: compared with what is stored, or written into a new storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id.
    pub cluster: u64,
    /// The node's id.
    pub node: NodeId,
    /// Milliseconds since 1970: the creation time that a new storage records. Not compared.
    pub created_at_ms: u64,
}

/// A storage that a node can open: a file directory, memory, or a custom one.
pub trait Storage: Send + 'static {
    /// Whether a write to its log may block on a device; default `true`. A storage that never
    /// blocks runs co-located with the Raft peer even where every component has a thread of its
    /// own, because passing a step to another thread takes longer than the step.
    fn waits(&self) -> bool {
        true
    }

    /// Opens the storage, takes its lock, makes the new incarnation durable and determines the
    /// state to continue from. Fails if the current snapshot's file is missing, or if damage may
    /// affect an acknowledged entry, unless the storage continues with a recorded data loss
    /// ([`file::OnDamage::CatchUp`]).
    fn open(
        self: Box<Self>,
        identity: Identity,
        start: &Start,
    ) -> Result<OpenedStorage, StorageError>;
}
