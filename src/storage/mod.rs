//! What must outlive the process: the log with its records, and snapshots.
//!
//! Two contracts, two owners. A [`LogStore`] is written by the persister alone; a [`SnapshotStore`]
//! is written by the snapshotter alone. Their calls block as long as the disk does: the actors that
//! own them stand on placements of their own and report completions by message, so nobody waits.
//! [`LogReader`] and [`SnapshotReader`] give the reader actor old data without queueing behind an fsync.
//!
//! A snapshot file is *current* only once the log's record names it (`docs/storage.md`): the file
//! is published first, the record written after, and a file without a record is an orphan (B10).
//!
//! A storage of one's own implements the contracts; [`LogMirror`] and [`RawSnapshots`] are most of one that keeps its log
//! in memory as well.
//!
//! Not here: any decision about when. Errors are not results: an actor that gets one stops the node (PS04).

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

/// Why a store cannot go on. Whatever it is, the node stops: nothing is retried over a failed fsync.
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
        /// What the system said.
        source: std::io::Error,
    },
    /// What is stored does not verify. Nothing was changed.
    #[error("{path} at byte {offset}: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// Where in it.
        offset: u64,
        /// What is wrong and what can be done.
        what: String,
    },
    /// The directory can't be used as asked: in use, empty, not empty, of another node, of a newer format.
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

/// EMFILE and ENFILE, for which the standard library has no name.
fn lacks_descriptors(error: &std::io::Error) -> bool {
    let codes: &[i32] = if cfg!(windows) { &[4] } else { &[23, 24] };
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// The durable log with term, vote and the snapshot's record. One owner, one writer, in order.
pub trait LogStore: Send + 'static {
    /// Makes `changes` durable, in order, as one step: one fsync. On return nothing of it can be lost;
    /// after a crash during the call a prefix of the changes may be there, each whole or not at all.
    /// After an error the store refuses every further call.
    fn write(&mut self, changes: &[LogChange]) -> Result<(), StorageError>;

    /// A reader that sees what `write` has returned for, beside the writer.
    fn reader(&self) -> Box<dyn LogReader>;

    /// Makes durable where the log ends, so that a log that ends sooner is known to be damaged.
    /// Called when idle and at shutdown; does nothing if nothing changed.
    fn seal(&mut self) -> Result<(), StorageError>;
}

/// Reads old entries of a log that somebody else writes.
pub trait LogReader: Send + 'static {
    /// Entries from `first` to `last`, fewer if their sizes would exceed `max_bytes` (one always comes).
    /// `Ok(None)`: `first` has been purged. An empty list: the log ends before `first`, it was truncated
    /// meanwhile. An entry that should be there and is not readable is an error, never the end of the log (PS24).
    fn read(
        &mut self,
        first: Index,
        last: Index,
        max_bytes: usize,
    ) -> Result<Option<Vec<Entry>>, StorageError>;
}

/// Where snapshots are kept, by log id. Names are made here, never taken from elsewhere.
pub trait SnapshotStore: Send + 'static {
    /// Begins writing a snapshot. Nothing is visible until [`SnapshotSink::publish`].
    /// `log_id` and `membership` go into the header. Whoever begins anew drops the unfinished sink; the two never
    /// touch each other's bytes.
    fn create(
        &mut self,
        log_id: LogId,
        membership: &Membership,
    ) -> Result<Box<dyn SnapshotSink>, StorageError>;

    /// Begins storing a snapshot that arrives from elsewhere, byte for byte as its sender stored it.
    fn receive(&mut self, meta: &SnapshotMeta) -> Result<Box<dyn SnapshotReceiver>, StorageError>;

    /// Opens a published snapshot's content for decoding. Fails with `Damaged` where a checksum does not hold.
    fn open(&mut self, log_id: LogId) -> Result<Box<dyn Read + Send>, StorageError>;

    /// A reader of stored bytes for sending, beside the writer.
    fn reader(&self) -> Box<dyn SnapshotReader>;

    /// Removes a published snapshot, if it is there.
    fn remove(&mut self, log_id: LogId) -> Result<(), StorageError>;

    /// `current` is named by the log's record: keeps it and the configured number of older ones, and of those before them only
    /// `keep`. Newer ones stay whatever they are: one may be published while its record is still on its way.
    fn retain(&mut self, current: LogId, keep: Option<LogId>) -> Result<(), StorageError>;
}

/// A snapshot being written from a view. `Write` takes the content; the format around it is the store's.
pub trait SnapshotSink: Write + Send {
    /// Ends the snapshot, makes it durable and visible: tmp, write, fsync, rename, fsync of the directory.
    /// Where an intact snapshot of the same entry is there already, that one stays and its meta is returned.
    /// Dropping the sink instead leaves nothing.
    fn publish(self: Box<Self>) -> Result<SnapshotMeta, StorageError>;
}

/// A snapshot being received.
pub trait SnapshotReceiver: Send {
    /// Stores bytes behind those received so far. May keep `data` itself, and with it what that is a part of.
    fn append(&mut self, data: &Bytes) -> Result<(), StorageError>;

    /// Bytes received so far, those beyond the announced length included (they are not kept).
    fn received_bytes(&self) -> u64;

    /// Verifies the whole against its meta and own checksums and publishes it durably. `Ok(false)`: it does not
    /// verify; nothing is kept.
    fn publish(self: Box<Self>) -> Result<bool, StorageError>;
}

/// Reads published snapshots as stored, piece by piece.
pub trait SnapshotReader: Send + 'static {
    /// Up to `max_bytes` from `offset`; empty exactly at the end. `Ok(None)`: no such snapshot (any more).
    fn read_at(
        &mut self,
        log_id: LogId,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, StorageError>;
}

/// A node's opened storage.
pub struct OpenedStorage {
    /// What the protocol starts from.
    pub recovered: Recovered,
    /// The log, for the persister.
    pub log: Box<dyn LogStore>,
    /// The snapshots, for the snapshotter.
    pub snapshots: Box<dyn SnapshotStore>,
}

/// How a node comes to its storage. Exactly one of these is meant at each start; none guesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Begin a new cluster with these members, on an empty directory; on a directory of the same cluster with the
    /// same members this is the same as `Open`. Any difference is an error. The node itself is one
    /// of the members.
    Bootstrap(Membership),
    /// Go on with what is there; an empty directory is refused. A node that is not among the
    /// members which the directory names starts, warns once, and never campaigns: it may have been
    /// removed from the cluster.
    Open,
}

/// Who opens storage: checked against, or written into, what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id.
    pub cluster: u64,
    /// The node's id.
    pub node: NodeId,
    /// The time in milliseconds since 1970: the birth of a storage that is founded now. Not compared.
    pub created_at_ms: u64,
}

/// Something that can be opened to a node's storage: file directory, memory, or a user's own.
pub trait Storage: Send + 'static {
    /// Whether writing its log may wait for a device. One that never waits stands beside the peer where every part would have
    /// a thread of its own: handing a step to another thread takes longer than the step.
    fn waits(&self) -> bool {
        true
    }

    /// Opens it, takes its lock, makes the new incarnation durable and finds the state to go on from. Without
    /// a current snapshot's file, or with damage that an acknowledged entry may have fallen into, this is an error.
    fn open(
        self: Box<Self>,
        identity: Identity,
        start: &Start,
    ) -> Result<OpenedStorage, StorageError>;
}
