//! A disk at the other end of standard output: every durable step is one `save` frame, and leaving is being durable.
//!
//! What is stored is a header record and one record per entry, and beside them the bytes of one snapshot. The log is
//! mirrored here, because the protocol reads old entries back; a published snapshot is kept here until the header names it,
//! and then both leave in one frame.
//!
//! An entry's record leaves out its stamp (log time) and its kind: this service has no use for time, and with
//! `noop_on_election = false` every entry is a command. So a record is some 4 bytes longer than its command.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate::raft::{
    Entry, EntryKind, HardState, Index, LogChange, LogId, LogOutline, Membership, Recovered,
    SnapshotMeta, Term, TermRun,
};
use quorate::storage::{
    Identity, LogReader, LogStore, OpenedStorage, SnapshotReader, SnapshotReceiver, SnapshotSink,
    SnapshotStore, Start, Storage, StorageError,
};
use serde::{Deserialize, Serialize};

use super::frames::{Output, Said};

/// What the harness has stored, or nothing.
pub struct Disk {
    pub state: Bytes,
    pub snapshot: Bytes,
    pub out: Output,
}

/// The header record. In a snapshot's place stands [`LogId::BASE`] if there is none.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    incarnation: u64,
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

/// What is stored, as far as it has been said, and what is going to be.
struct Stored {
    out: Output,
    header: Header,
    entries: VecDeque<Entry>,
    /// By what they cover: the current one, and those that no header has named yet.
    snapshots: BTreeMap<LogId, Bytes>,
    /// Of the records that were there before the step being made: how many went at the front, how many are left.
    dropped: usize,
    kept: usize,
}

type Shared = Arc<Mutex<Stored>>;

impl Storage for Disk {
    fn open(self: Box<Self>, _: Identity, start: &Start) -> Result<OpenedStorage, StorageError> {
        let Start::Bootstrap(base) = start else {
            return Err(damaged("the members are not given"));
        };
        let mut stored = Stored::read(*self).map_err(damaged)?;
        let before = stored.header.clone();
        stored.header.incarnation += 1;
        stored.save(&before)?;
        let recovered = stored.recovered(base);
        let shared = Arc::new(Mutex::new(stored));
        let (log, snapshots) = (Box::new(Log(shared.clone())), Box::new(Snapshots(shared)));
        Ok(OpenedStorage { recovered, log, snapshots })
    }
}

impl Stored {
    fn read(disk: Disk) -> Result<Stored, String> {
        let mut records = records(&disk.state)?.into_iter();
        let header: Header = match records.next() {
            Some(record) => decoded(record)?,
            None => Header::default(),
        };
        let entries = (header.start.index + 1..).zip(records).map(|(index, record)| {
            let Record { term, command } = decoded(record)?;
            Ok(entry(LogId::new(term, index), Bytes::copy_from_slice(command)))
        });
        let entries: VecDeque<Entry> = entries.collect::<Result<_, String>>()?;
        if disk.snapshot.is_empty() != (header.snapshot == LogId::BASE) {
            return Err(format!("the state names snapshot {}", header.snapshot));
        }
        let named = (header.snapshot != LogId::BASE).then_some((header.snapshot, disk.snapshot));
        let snapshots = named.into_iter().collect();
        let kept = entries.len();
        Ok(Stored { out: disk.out, header, entries, snapshots, dropped: 0, kept })
    }

    fn recovered(&self, base: &Membership) -> Recovered {
        let mut runs: Vec<TermRun> = Vec::new();
        for Entry { log_id, .. } in &self.entries {
            if runs.last().is_none_or(|run| run.term != log_id.term) {
                runs.push(TermRun { first: log_id.index, term: log_id.term });
            }
        }
        let sizes_bytes = self.entries.iter().map(|entry| entry.size_bytes() as u32).collect();
        let snapshot = self.snapshots.get(&self.header.snapshot);
        Recovered {
            incarnation: self.header.incarnation,
            hard_state: self.header.hard_state,
            base: base.clone(),
            snapshot: snapshot.map(|bytes| meta(self.header.snapshot, base, bytes)),
            log: LogOutline { start: self.header.start, runs, sizes_bytes },
            damaged: None,
        }
    }

    fn change(&mut self, change: &LogChange) {
        self.header.hard_state = change.hard_state.unwrap_or(self.header.hard_state);
        if let Some(install) = &change.install {
            self.header.snapshot = install.meta.log_id;
            if !install.keep_suffix {
                self.truncate(0);
            }
            self.purge(install.meta.log_id);
        }
        if let Some(meta) = &change.snapshot {
            self.header.snapshot = meta.log_id;
        }
        if let Some(from) = change.truncate_from {
            self.truncate((from - self.header.start.index - 1) as usize);
        }
        self.entries.extend(change.append.iter().cloned());
        if let Some(through) = change.purge_through {
            self.purge(through);
        }
    }

    fn truncate(&mut self, entries: usize) {
        self.entries.truncate(entries);
        self.kept = self.kept.min(entries);
    }

    fn purge(&mut self, through: LogId) {
        while self.entries.front().is_some_and(|entry| entry.log_id.index <= through.index) {
            self.entries.pop_front();
            if self.kept > 0 {
                self.kept -= 1;
                self.dropped += 1;
            }
        }
        self.header.start = through;
    }

    /// Says what has changed since `before`, all of it in one frame.
    fn save(&mut self, before: &Header) -> Result<(), StorageError> {
        let mut body = Vec::new();
        let mut part = |bytes: &[u8]| {
            body.extend_from_slice(bytes);
            bytes.len()
        };
        let hdr = if self.header == *before { 0 } else { part(&encoded(&self.header)?) };
        let mut recs = Vec::new();
        for Entry { log_id, data, .. } in self.entries.iter().skip(self.kept) {
            recs.push(part(&encoded(&Record { term: log_id.term, command: data })?));
        }
        let snapshot = self.header.snapshot;
        let snap = match (snapshot == before.snapshot, self.snapshots.get(&snapshot)) {
            (true, _) => None,
            (false, Some(bytes)) => Some(part(bytes)),
            (false, None) => return Err(damaged(format!("no snapshot {snapshot} is published"))),
        };
        self.out.say(&Said::Save { hdr, keep: [self.dropped, self.kept], recs, snap }, &body);
        (self.dropped, self.kept) = (0, self.entries.len());
        Ok(())
    }
}

/// The records of a state: each has its length before it.
fn records(state: &Bytes) -> Result<Vec<&[u8]>, String> {
    let (mut records, mut rest) = (Vec::new(), &state[..]);
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk().ok_or("a length that is cut off")?;
        let length = u32::from_be_bytes(*length) as usize;
        let (record, behind) = behind.split_at_checked(length).ok_or("a record that is cut off")?;
        records.push(record);
        rest = behind;
    }
    Ok(records)
}

fn entry(log_id: LogId, data: Bytes) -> Entry {
    Entry { log_id, kind: EntryKind::Command, stamp_ms: 0, data }
}

fn meta(log_id: LogId, members: &Membership, bytes: &Bytes) -> SnapshotMeta {
    SnapshotMeta { log_id, membership: members.clone(), size_bytes: bytes.len() as u64 }
}

fn encoded(value: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    rmp_serde::to_vec(value).map_err(|error| damaged(error.to_string()))
}

fn decoded<'a, T: Deserialize<'a>>(record: &'a [u8]) -> Result<T, String> {
    rmp_serde::from_slice(record).map_err(|error| format!("a record: {error}"))
}

fn damaged(what: impl Into<String>) -> StorageError {
    StorageError::Damaged { path: "the saved state".into(), offset: 0, what: what.into() }
}

struct Log(Shared);

impl LogStore for Log {
    fn write(&mut self, changes: &[LogChange]) -> Result<(), StorageError> {
        let mut stored = self.0.lock();
        let before = stored.header.clone();
        changes.iter().for_each(|change| stored.change(change));
        stored.save(&before)
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(Log(self.0.clone()))
    }

    fn seal(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

impl LogReader for Log {
    fn read(
        &mut self,
        first: Index,
        last: Index,
        max_bytes: usize,
    ) -> Result<Option<Vec<Entry>>, StorageError> {
        let stored = self.0.lock();
        let Some(skipped) = first.checked_sub(stored.header.start.index + 1) else {
            return Ok(None);
        };
        let mut bytes = 0;
        let fitting = stored.entries.iter().skip(skipped as usize).take_while(|entry| {
            let begins = bytes == 0;
            bytes += entry.size_bytes();
            entry.log_id.index <= last && (begins || bytes <= max_bytes)
        });
        Ok(Some(fitting.cloned().collect()))
    }
}

struct Snapshots(Shared);

impl SnapshotStore for Snapshots {
    fn create(
        &mut self,
        log_id: LogId,
        members: &Membership,
    ) -> Result<Box<dyn SnapshotSink>, StorageError> {
        let meta = meta(log_id, members, &Bytes::new());
        Ok(Box::new(Unpublished { meta, bytes: Vec::new(), stored: self.0.clone() }))
    }

    fn receive(&mut self, meta: &SnapshotMeta) -> Result<Box<dyn SnapshotReceiver>, StorageError> {
        Ok(Box::new(Unpublished { meta: meta.clone(), bytes: Vec::new(), stored: self.0.clone() }))
    }

    fn open(&mut self, log_id: LogId) -> Result<Box<dyn Read + Send>, StorageError> {
        let bytes = self.0.lock().snapshots.get(&log_id).cloned();
        let bytes = bytes.ok_or_else(|| damaged(format!("snapshot {log_id} is missing")))?;
        Ok(Box::new(io::Cursor::new(bytes)))
    }

    fn reader(&self) -> Box<dyn SnapshotReader> {
        Box::new(Snapshots(self.0.clone()))
    }

    fn remove(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.0.lock().snapshots.remove(&log_id);
        Ok(())
    }

    fn retain(&mut self, current: LogId, keep: Option<LogId>) -> Result<(), StorageError> {
        let wanted = |id: &LogId| id.index >= current.index || Some(*id) == keep;
        self.0.lock().snapshots.retain(|id, _| wanted(id));
        Ok(())
    }
}

impl SnapshotReader for Snapshots {
    fn read_at(
        &mut self,
        log_id: LogId,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, StorageError> {
        let stored = self.0.lock();
        Ok(stored.snapshots.get(&log_id).map(|bytes| {
            let from =
                usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
            bytes.slice(from..bytes.len().min(from.saturating_add(max_bytes)))
        }))
    }
}

/// A snapshot that comes from the own service, or from another peer.
struct Unpublished {
    meta: SnapshotMeta,
    bytes: Vec<u8>,
    stored: Shared,
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
        let Unpublished { meta: SnapshotMeta { log_id, membership, .. }, bytes, stored } = *self;
        let mut stored = stored.lock();
        let bytes = stored.snapshots.entry(log_id).or_insert(bytes.into());
        Ok(meta(log_id, &membership, bytes))
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

    /// Each piece was checked when it came; here it is enough that none is missing.
    fn publish(self: Box<Self>) -> Result<bool, StorageError> {
        let Unpublished { meta, bytes, stored } = *self;
        let whole = bytes.len() as u64 == meta.size_bytes;
        if whole {
            stored.lock().snapshots.insert(meta.log_id, bytes.into());
        }
        Ok(whole)
    }
}
