//! An in-memory copy of a log that a custom storage keeps elsewhere.
//!
//! ```text
//! LogStore::write(changes) ─▶ LogMirror::change ─▶ LogEdit ─▶ written to wherever it is kept
//!                                   │
//!                                   └─ reads, what a start recovers: from the mirror
//! ```
//! A storage that keeps one record for each entry and one for everything else needs no further
//! logic: it writes what the [`LogEdit`] says, and builds a [`StoredLog`] from the records at the
//! next start. `examples/stdio_peer` has one.
//!
//! *What it does not do:* persist anything. All entries stay in memory, so such a storage suits
//! logs of a few megabytes; [`file`](super::file) reads old entries from disk instead.

use super::StorageError;
use super::log_state::{Breach, LogState, assert_fits};
use crate::raft::{
    Entries, Entry, HardState, Incarnation, Index, KnownPeers, Life, LogChange, LogId, LogOutline,
    Membership, Recovered, SnapshotMeta,
};

/// Each change frees this many purged entries ..
const FREED_MIN: usize = 64;
/// .. and this many more for each entry it appends, so that they are freed before as many can
/// be purged again.
const FREED_PER_ENTRY: usize = 2;

/// The complete log as a storage keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredLog {
    /// The last incarnation, and the data loss before it.
    pub life: Life,
    /// Records of the other members.
    pub known_peers: KnownPeers,
    /// Term and vote.
    pub hard_state: HardState,
    /// The current snapshot: the one named by the last record.
    pub snapshot: Option<SnapshotMeta>,
    /// The id just before the first entry.
    pub start: LogId,
    /// The entries, oldest first.
    pub entries: Vec<Entry>,
}

/// The effect of changes on the list of entries: it is now `before[dropped..dropped + kept]`,
/// followed by new entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEdit {
    /// Number of entries removed at the front; 0 if none is kept.
    pub dropped: usize,
    /// Number of entries kept behind the removed ones.
    pub kept: usize,
}

/// A log with its entries in memory.
#[derive(Clone, Debug, Default)]
pub struct LogMirror {
    state: LogState,
    entries: Entries,
    /// Purged entries that are not freed yet. A snapshot purges a large part of the log at a time,
    /// and an installed one purges all of it; freeing that at once would delay the writer. Without
    /// further writes they stay.
    purged: Entries,
}

impl LogMirror {
    /// The log of an empty storage.
    pub fn new() -> LogMirror {
        LogMirror::default()
    }

    /// Restores a stored log. Fails with `Damaged` if it contradicts itself.
    pub fn restore(stored: StoredLog) -> Result<LogMirror, StorageError> {
        let StoredLog { life, known_peers, hard_state, snapshot, start, entries } = stored;
        let last = start.index;
        let state = LogState { life, known_peers, hard_state, start, last, ..LogState::default() };
        let mut mirror = LogMirror { state, entries: entries.into(), purged: Entries::new() };
        mirror.take_over(snapshot).map_err(|what| StorageError::Damaged {
            path: "the stored log".into(),
            offset: 0,
            what,
        })?;
        Ok(mirror)
    }

    fn take_over(&mut self, snapshot: Option<SnapshotMeta>) -> Result<(), Breach> {
        let (start, count) = (self.state.start.index, self.entries.len() as u64);
        if start.checked_add(count).is_none_or(|last| last == Index::MAX) {
            return Err(format!("{count} entries behind {start}"));
        }
        for entry in &self.entries {
            self.state.append(entry.log_id)?;
        }
        self.state.snapshot = snapshot;
        self.state.check()?;
        self.state.check_next_life()
    }

    /// Begins a new incarnation; it must be stored before anything else happens.
    pub fn begin(&mut self) -> Incarnation {
        self.state.life = self.state.next_life();
        self.state.life.incarnation
    }

    /// Applies changes, in order. A change that does not fit breaks the contract of
    /// [`LogStore`](super::LogStore) and panics.
    pub fn change(&mut self, changes: &[LogChange]) -> LogEdit {
        let mut edit = LogEdit { dropped: 0, kept: self.entries.len() };
        changes.iter().for_each(|change| self.change_one(change, &mut edit));
        if edit.kept == 0 { LogEdit { dropped: 0, kept: 0 } } else { edit }
    }

    fn change_one(&mut self, change: &LogChange, edit: &mut LogEdit) {
        assert_fits(self.state.apply(change), change);
        self.purged.drop_front(FREED_MIN + FREED_PER_ENTRY * change.append.len());
        if change.install.as_ref().is_some_and(|install| !install.keep_suffix) {
            self.entries.move_front(self.entries.len(), &mut self.purged);
            edit.kept = 0;
        }
        if let Some(from) = change.truncate_from {
            let first = self.entries.first().map_or(from, |entry| entry.log_id.index);
            self.truncate(from.saturating_sub(first) as usize, edit);
        }
        self.entries.append(&change.append);
        let start = self.state.start.index;
        let first = self.entries.first().map_or(start + 1, |entry| entry.log_id.index);
        let dropped = (start + 1).saturating_sub(first).min(self.entries.len() as u64) as usize;
        self.entries.move_front(dropped, &mut self.purged);
        let dropped = dropped.min(edit.kept);
        edit.kept -= dropped;
        edit.dropped += dropped;
        let stored = self.state.last - start;
        assert_eq!(self.entries.len() as u64, stored, "entries stored, log {:?}", self.state);
    }

    fn truncate(&mut self, left: usize, edit: &mut LogEdit) {
        self.entries.truncate(left);
        edit.kept = edit.kept.min(left);
    }

    /// Returns entries as [`LogReader::read`](super::LogReader::read) does; `None`: `first` has
    /// been purged.
    pub fn read(&self, first: Index, last: Index, max_bytes: usize) -> Option<Vec<Entry>> {
        let skipped = first.checked_sub(self.state.start.index + 1)?;
        let (mut wanted, mut size_bytes) = (Vec::new(), 0);
        // The writer waits meanwhile, so no entry after the range is visited.
        self.entries.look_at(skipped as usize, |entry| {
            size_bytes += entry.size_bytes();
            let fits = wanted.is_empty() || size_bytes <= max_bytes;
            let is_wanted = entry.log_id.index <= last && fits;
            if is_wanted {
                wanted.push(entry.clone());
            }
            is_wanted
        });
        Some(wanted)
    }

    /// The state a node starts from, in a cluster that began with the members `base`.
    pub fn recovered(&self, base: Membership) -> Recovered {
        let sizes_bytes = self.entries.iter().map(|entry| entry.size_bytes() as u32).collect();
        Recovered {
            life: self.state.life,
            hard_state: self.state.hard_state,
            base,
            snapshot: self.state.snapshot.clone(),
            log: LogOutline { start: self.state.start, runs: self.state.runs.clone(), sizes_bytes },
            known_peers: self.state.known_peers.clone(),
        }
    }

    /// The last incarnation, and the data loss before it.
    pub fn life(&self) -> Life {
        self.state.life
    }

    /// Records of the other members.
    pub fn known_peers(&self) -> &KnownPeers {
        &self.state.known_peers
    }

    /// Term and vote.
    pub fn hard_state(&self) -> HardState {
        self.state.hard_state
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> Option<&SnapshotMeta> {
        self.state.snapshot.as_ref()
    }

    /// The id just before the first entry.
    pub fn start(&self) -> LogId {
        self.state.start
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    pub(crate) fn state_mut(&mut self) -> &mut LogState {
        &mut self.state
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::raft::{EntryKind, Install};

    const PURGED: u64 = 10_000;

    fn append(index: Index) -> LogChange {
        let log_id = LogId::new(1, index);
        let entry = Entry { log_id, kind: EntryKind::Command, stamp_ms: 0, data: Bytes::new() };
        LogChange { append: [entry].into(), ..LogChange::default() }
    }

    /// A log of `PURGED` entries.
    fn long() -> LogMirror {
        let mut mirror = LogMirror::new();
        mirror.begin();
        let hard_state = Some(HardState { term: 1, vote: None });
        mirror.change(&[LogChange { hard_state, ..LogChange::default() }]);
        for index in 1..=PURGED {
            mirror.change(&[append(index)]);
        }
        mirror
    }

    fn snapshot(index: Index) -> SnapshotMeta {
        let log_id = LogId::new(1, index);
        SnapshotMeta { log_id, membership: Membership::default(), size_bytes: 1 }
    }

    /// Asserts that the entries that `change` purges are freed before as many can be purged again,
    /// and never many of them at a time.
    fn assert_freed_by_and_by(change: LogChange) {
        let mut mirror = long();
        assert_eq!(mirror.change(&[change]), LogEdit { dropped: 0, kept: 0 });
        assert_eq!((mirror.entries.len() as u64, mirror.purged.len() as u64), (0, PURGED));
        let next = mirror.state.last + 1;
        for index in next..next + PURGED / FREED_PER_ENTRY as u64 {
            let before = mirror.purged.len();
            mirror.change(&[append(index)]);
            assert!(before - mirror.purged.len() <= FREED_MIN + FREED_PER_ENTRY, "at {index}");
        }
        assert_eq!(mirror.purged.len(), 0);
    }

    #[test]
    fn what_is_purged_is_freed_by_and_by() {
        let (snapshot, purge_through) = (Some(snapshot(PURGED)), Some(LogId::new(1, PURGED)));
        assert_freed_by_and_by(LogChange { snapshot, purge_through, ..LogChange::default() });
    }

    #[test]
    fn what_an_install_replaces_is_freed_by_and_by() {
        let meta = snapshot(PURGED + 7);
        let install = Some(Install { meta, keep_suffix: false });
        assert_freed_by_and_by(LogChange { install, ..LogChange::default() });
    }
}
