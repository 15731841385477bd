//! A model of a store's content as plain lists, and the small logs that tests write.

use bytes::Bytes;

use crate::raft::{
    Entry, EntryKind, HardState, Incarnation, Index, Install, KnownPeers, Life, LogChange, LogId,
    Loss, Membership, NodeId, PeerRecord, SnapshotMeta, Term,
};
use crate::storage::memory::MemoryStorage;
use crate::storage::{Identity, OpenedStorage, SnapshotStore, Start, Storage, StorageError};

pub(crate) const IDENTITY: Identity = Identity { cluster: 77, node: 1, created_at_ms: 0 };

pub(crate) fn members() -> Membership {
    Membership::of_voters([1, 2, 3])
}

pub(crate) fn bootstrap() -> Start {
    Start::Bootstrap(members())
}

pub(crate) fn open(storage: impl Storage) -> Result<OpenedStorage, StorageError> {
    Box::new(storage).open(IDENTITY, &bootstrap())
}

/// An entry whose data contains its id; the length depends on it.
pub(crate) fn entry(term: Term, index: Index) -> Entry {
    let kind = if index.is_multiple_of(5) { EntryKind::Blank } else { EntryKind::Command };
    let data = match kind {
        EntryKind::Blank => Bytes::new(),
        EntryKind::Command => format!("{term}/{index}:").repeat(1 + index as usize % 7).into(),
    };
    Entry { log_id: LogId::new(term, index), kind, stamp_ms: 1000 + index, data }
}

/// The same with this many bytes of data.
pub(crate) fn big_entry(term: Term, index: Index, bytes: usize) -> Entry {
    let data: Vec<u8> = (0..bytes).map(|at| (at as u64 * 7 + index) as u8).collect();
    Entry { kind: EntryKind::Command, data: data.into(), ..entry(term, index) }
}

pub(crate) fn entries(term: Term, indexes: std::ops::RangeInclusive<Index>) -> Vec<Entry> {
    indexes.map(|index| entry(term, index)).collect()
}

pub(crate) fn append(term: Term, indexes: std::ops::RangeInclusive<Index>) -> LogChange {
    LogChange { append: entries(term, indexes).into(), ..LogChange::default() }
}

pub(crate) fn vote(term: Term, vote: Option<u64>) -> LogChange {
    LogChange { hard_state: Some(HardState { term, vote }), ..LogChange::default() }
}

/// One entry with this many bytes of data.
pub(crate) fn append_big(term: Term, index: Index, bytes: usize) -> LogChange {
    LogChange { append: [big_entry(term, index, bytes)].into(), ..LogChange::default() }
}

/// Records a data loss, or its recovery; the caller sets the incarnation.
pub(crate) fn life(predecessor: Incarnation, loss: Option<Loss>) -> LogChange {
    LogChange { life: Some(Life { predecessor, loss, ..Life::default() }), ..LogChange::default() }
}

/// Sets the record of a member.
pub(crate) fn remember(node: NodeId, incarnation: Incarnation, acknowledged: LogId) -> LogChange {
    let peer_record = PeerRecord { incarnation, acknowledged };
    LogChange { known_peers: [(node, peer_record)].into(), ..LogChange::default() }
}

pub(crate) fn truncate(from: Index) -> LogChange {
    LogChange { truncate_from: Some(from), ..LogChange::default() }
}

pub(crate) fn purge(term: Term, index: Index) -> LogChange {
    LogChange { purge_through: Some(LogId::new(term, index)), ..LogChange::default() }
}

pub(crate) fn record(meta: &SnapshotMeta) -> LogChange {
    LogChange { snapshot: Some(meta.clone()), ..LogChange::default() }
}

pub(crate) fn install(meta: &SnapshotMeta, keep_suffix: bool) -> LogChange {
    LogChange { install: Some(Install { meta: meta.clone(), keep_suffix }), ..LogChange::default() }
}

/// The state in a test's snapshot of `id`.
pub(crate) fn content(id: LogId) -> Vec<u8> {
    format!("state at {id} ").repeat(20).into_bytes()
}

/// Publishes the snapshot of `id`.
pub(crate) fn publish(
    store: &mut dyn SnapshotStore,
    id: LogId,
) -> Result<SnapshotMeta, StorageError> {
    let mut sink = store.create(id, &members())?;
    let written = sink.write_all(&content(id));
    let published = sink.publish();
    assert!(written.is_ok() || published.is_err(), "published after a failed write");
    published
}

/// The meta of the test's snapshot of `id`, without any store.
pub(crate) fn meta_of(id: LogId) -> SnapshotMeta {
    let mut opened = open(MemoryStorage::new()).unwrap();
    publish(&mut *opened.snapshots, id).unwrap()
}

/// The snapshot that a change makes current.
pub(crate) fn named_snapshot(change: &LogChange) -> Option<&SnapshotMeta> {
    change.install.as_ref().map(|install| &install.meta).or(change.snapshot.as_ref())
}

/// A store's log as lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub predecessor: Incarnation,
    pub loss: Option<Loss>,
    pub known_peers: KnownPeers,
    pub hard_state: HardState,
    pub start: LogId,
    pub entries: Vec<Entry>,
    pub snapshot: Option<SnapshotMeta>,
}

impl Model {
    pub(crate) fn last(&self) -> Index {
        self.start.index + self.entries.len() as u64
    }

    pub(crate) fn last_term(&self) -> Term {
        self.entries.last().map_or(self.start.term, |entry| entry.log_id.term)
    }

    pub(crate) fn id_at(&self, index: Index) -> LogId {
        if index == self.start.index {
            return self.start;
        }
        self.entries[(index - self.start.index) as usize - 1].log_id
    }

    pub(crate) fn apply(&mut self, change: &LogChange) {
        if let Some(life) = change.life {
            (self.predecessor, self.loss) = (life.predecessor, life.loss);
        }
        self.known_peers.extend(&change.known_peers);
        if let Some(hard_state) = change.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(install) = &change.install {
            self.entries.retain(|entry| {
                install.keep_suffix && entry.log_id.index > install.meta.log_id.index
            });
            self.start = install.meta.log_id;
            self.snapshot = Some(install.meta.clone());
        }
        if let Some(meta) = &change.snapshot {
            self.snapshot = Some(meta.clone());
        }
        if let Some(from) = change.truncate_from {
            self.entries.retain(|entry| entry.log_id.index < from);
        }
        self.entries.extend(change.append.iter().cloned());
        if let Some(through) =
            change.purge_through.filter(|through| through.index > self.start.index)
        {
            self.entries.retain(|entry| entry.log_id.index > through.index);
            self.start = through;
        }
    }
}

/// The content of an opened store, read in all available ways, which must agree.
pub(crate) fn held(opened: &OpenedStorage) -> Model {
    let recovered = &opened.recovered;
    let log = &recovered.log;
    let (first, last) = (log.start.index + 1, log.last_index());
    let mut reader = opened.log.reader();
    let entries = if first > last {
        Vec::new()
    } else {
        reader.read(first, last, usize::MAX).unwrap().unwrap()
    };
    let sizes: Vec<u32> = entries.iter().map(|entry| entry.size_bytes() as u32).collect();
    assert_eq!(sizes, log.sizes_bytes);
    assert_eq!(
        runs_of(&entries),
        log.runs.iter().map(|run| (run.first, run.term)).collect::<Vec<_>>()
    );
    assert_eq!(recovered.base, members());
    Model {
        predecessor: recovered.life.predecessor,
        loss: recovered.life.loss,
        known_peers: recovered.known_peers.clone(),
        hard_state: recovered.hard_state,
        start: log.start,
        entries,
        snapshot: recovered.snapshot.clone(),
    }
}

fn runs_of(entries: &[Entry]) -> Vec<(Index, Term)> {
    let mut runs: Vec<(Index, Term)> = Vec::new();
    for entry in entries {
        if runs.last().is_none_or(|(_, term)| *term != entry.log_id.term) {
            runs.push((entry.log_id.index, entry.log_id.term));
        }
    }
    runs
}

/// Checks that the current snapshot has the content written to it.
pub(crate) fn check_snapshot(opened: &mut OpenedStorage) {
    if let Some(meta) = &opened.recovered.snapshot {
        let mut read = Vec::new();
        opened.snapshots.open(meta.log_id).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, content(meta.log_id));
    }
}
