//! A disk behind standard output: each durable step is one `save` frame, and is durable once the
//! frame is sent.
//!
//! The stored state has a header record and one record per entry; the bytes of one snapshot are
//! stored beside it. A published snapshot is kept in memory until the header names it; then both
//! are sent in one frame.
//!
//! An entry's record omits its stamp (log time) and its kind: this service does not use time, and
//! without blank entries all entries are commands. So a record is two bytes longer than its
//! command, or a few more for a long command.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate::raft::{
    Entry, EntryKind, HardState, Index, KnownPeers, Life, LogChange, LogId, Membership,
    SnapshotMeta, Term,
};
use quorate::storage::{
    Identity, LogEdit, LogMirror, LogReader, LogStore, OpenedStorage, RawSnapshots, Start, Storage,
    StorageError, StoredLog,
};
use serde::{Deserialize, Serialize};

use super::frames::{Output, Said};

/// What the harness has stored for this peer; both are empty at its first start.
pub struct Disk {
    pub state: Bytes,
    pub snapshot: Bytes,
    pub out: Output,
}

/// The header record. Without a snapshot its field is [`LogId::BASE`].
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    life: Life,
    known_peers: KnownPeers,
    hard_state: HardState,
    snapshot: LogId,
    /// The entry before the first record.
    start: LogId,
}

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    term: Term,
    #[serde(with = "serde_bytes")]
    command: &'a [u8],
}

impl Storage for Disk {
    fn open(self: Box<Self>, _: Identity, start: &Start) -> Result<OpenedStorage, StorageError> {
        let Start::Bootstrap(members) = start else { return Err(damaged("no members are given")) };
        let snapshots = RawSnapshots::new();
        let stored = stored_log(&self.state, &self.snapshot, members).map_err(damaged)?;
        if let Some(meta) = &stored.snapshot {
            snapshots.insert(meta.log_id, self.snapshot);
        }
        let mut log = LogMirror::restore(stored)?;
        let said = Header::of(&log);
        log.begin();
        let kept = log.entries().len();
        let recovered = log.recovered(members.clone());
        let mut store = Store { out: self.out, said, snapshots: snapshots.clone() };
        store.save(&log, LogEdit { dropped: 0, kept })?;
        let log = Log { mirror: Arc::new(Mutex::new(log)), store };
        Ok(OpenedStorage { recovered, log: Box::new(log), snapshots: Box::new(snapshots) })
    }
}

fn stored_log(state: &[u8], snapshot: &Bytes, members: &Membership) -> Result<StoredLog, String> {
    let mut records = records(state)?.into_iter();
    let header: Header = records.next().map(decoded).transpose()?.unwrap_or_default();
    let Header { life, known_peers, hard_state, snapshot: named, start } = header;
    if snapshot.is_empty() != (named == LogId::BASE) {
        return Err(format!("it names snapshot {named}, beside it are {} bytes", snapshot.len()));
    }
    let entries = (1..).zip(records).map(|(position, record)| {
        let Record { term, command } = decoded(record)?;
        let log_id = LogId::new(term, start.index.saturating_add(position));
        let data = Bytes::copy_from_slice(command);
        Ok(Entry { log_id, kind: EntryKind::Command, stamp_ms: 0, data })
    });
    let entries = entries.collect::<Result<_, String>>()?;
    let snapshot = (named != LogId::BASE).then(|| SnapshotMeta {
        log_id: named,
        membership: members.clone(),
        size_bytes: snapshot.len() as u64,
    });
    Ok(StoredLog { life, known_peers, hard_state, snapshot, start, entries })
}

/// Splits a state into its records, each of which follows its length.
fn records(state: &[u8]) -> Result<Vec<&[u8]>, String> {
    let (mut records, mut rest) = (Vec::new(), state);
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk().ok_or("a length is cut off")?;
        let length = u32::from_be_bytes(*length) as usize;
        let (record, behind) = behind.split_at_checked(length).ok_or("a record is cut off")?;
        records.push(record);
        rest = behind;
    }
    Ok(records)
}

fn decoded<'a, T: Deserialize<'a>>(record: &'a [u8]) -> Result<T, String> {
    rmp_serde::from_slice(record).map_err(|error| format!("a record: {error}"))
}

fn damaged(what: impl Into<String>) -> StorageError {
    StorageError::Damaged { path: "the saved state".into(), offset: 0, what: what.into() }
}

impl Header {
    fn of(log: &LogMirror) -> Header {
        Header {
            life: log.life(),
            known_peers: log.known_peers().clone(),
            hard_state: log.hard_state(),
            snapshot: log.snapshot().map_or(LogId::BASE, |meta| meta.log_id),
            start: log.start(),
        }
    }
}

/// The connection to the harness's disk.
struct Store {
    out: Output,
    /// The last header that was sent.
    said: Header,
    snapshots: RawSnapshots,
}

impl Store {
    /// Sends the change of the records by `edit`, and all other changes, in one frame.
    fn save(&mut self, log: &LogMirror, edit: LogEdit) -> Result<(), StorageError> {
        let header = Header::of(log);
        let mut body = Vec::new();
        let mut part = |bytes: &[u8]| {
            body.extend_from_slice(bytes);
            bytes.len()
        };
        let hdr = if header == self.said { 0 } else { part(&encoded(&header)?) };
        let mut recs = Vec::new();
        for Entry { log_id, data, .. } in log.entries().iter().skip(edit.kept) {
            recs.push(part(&encoded(&Record { term: log_id.term, command: data })?));
        }
        let mut snap = None;
        if header.snapshot != self.said.snapshot {
            let bytes = self.snapshots.get(header.snapshot);
            snap = Some(part(&bytes.ok_or_else(|| damaged("its snapshot is not published"))?));
        }
        let keep = [edit.dropped, edit.kept];
        self.out.say(&Said::Save { hdr, keep, recs, snap }, &body);
        self.said = header;
        Ok(())
    }
}

fn encoded(value: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    rmp_serde::to_vec(value).map_err(|error| damaged(error.to_string()))
}

struct Log {
    mirror: Arc<Mutex<LogMirror>>,
    store: Store,
}

impl LogStore for Log {
    fn write(&mut self, changes: &[LogChange]) -> Result<(), StorageError> {
        let mut mirror = self.mirror.lock();
        let edit = mirror.change(changes);
        self.store.save(&mirror, edit)
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(Old(self.mirror.clone()))
    }

    fn seal(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

/// Reads old entries from the in-memory log.
struct Old(Arc<Mutex<LogMirror>>);

impl LogReader for Old {
    fn read(
        &mut self,
        first: Index,
        last: Index,
        max_bytes: usize,
    ) -> Result<Option<Vec<Entry>>, StorageError> {
        Ok(self.0.lock().read(first, last, max_bytes))
    }
}
