//! A simulated disk: a log with its records, and snapshot files, as values.
//!
//! It holds what is durable, and the steps given to it that are not done. It asserts that what the
//! protocol asks for fits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::raft::{
    ChunkRead, ChunkReadOutcome, ChunkWritten, Entry, HardState, Incarnation, Index, Install,
    InstallStatus, KnownPeers, Life, LogChange, LogId, LogOutline, LogRead, LogReadOutcome, Loss,
    Membership, Persist, Recovered, SnapshotMeta, TransferKey, created_at_ms, unborn,
};

/// The state that survives a crash.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// The incarnation record.
    pub life: Life,
    /// The records of peers.
    pub known_peers: KnownPeers,
    /// Term and vote.
    pub hard_state: HardState,
    /// The id of the entry before the log's first.
    pub start: LogId,
    /// The log.
    pub entries: VecDeque<Entry>,
    /// The current snapshot, by the log's record.
    pub snapshot: Option<SnapshotMeta>,
    /// Published snapshot files, each with its state.
    pub files: BTreeMap<LogId, Bytes>,
    /// Snapshots that were received in a transfer.
    pub received: BTreeSet<LogId>,
    /// A snapshot being received, as far as it has arrived.
    transfer: Option<(TransferKey, Vec<u8>)>,
    /// Steps given to the disk that are not done.
    pub steps: VecDeque<Persist>,
}

impl Disk {
    /// The index of the log's last entry.
    pub fn last_index(&self) -> Index {
        self.start.index + self.entries.len() as u64
    }

    fn covered(&self) -> Index {
        self.snapshot.as_ref().map_or(0, |meta| meta.log_id.index)
    }

    /// The entry at `index`, if the log holds it.
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(index.checked_sub(self.start.index + 1)? as usize)
    }

    /// Makes a change durable.
    pub fn apply(&mut self, change: LogChange) {
        if let Some(life) = change.life {
            let old = self.life;
            let falls = life.incarnation < old.incarnation || life.predecessor < old.predecessor;
            assert!(!falls, "life back from {old:?} to {life:?}");
            self.life = life;
        }
        self.known_peers.extend(change.known_peers);
        if let Some(hard_state) = change.hard_state {
            let old = self.hard_state;
            assert!(hard_state.term >= old.term, "term back from {old:?} to {hard_state:?}");
            let revoted =
                hard_state.term == old.term && old.vote.is_some() && hard_state.vote != old.vote;
            assert!(!revoted, "vote changed within a term: {old:?} to {hard_state:?}");
            self.hard_state = hard_state;
        }
        if let Some(Install { meta, keep_suffix }) = change.install {
            let covered = meta.log_id;
            self.make_current(meta);
            if !keep_suffix {
                self.entries.clear();
            }
            self.purge(covered);
        }
        if let Some(meta) = change.snapshot {
            self.make_current(meta);
        }
        if let Some(from) = change.truncate_from {
            // A storage would refuse anything else and stop the member.
            let kept_at_least = self.start.index.max(self.covered());
            assert!(
                from > kept_at_least && from <= self.last_index() + 1,
                "truncated from {from}: the snapshot covers {kept_at_least}, the last is {}",
                self.last_index()
            );
            let kept = from.saturating_sub(self.start.index + 1);
            self.entries.truncate(kept as usize);
        }
        for entry in change.append.iter().cloned() {
            assert_eq!(entry.log_id.index, self.last_index() + 1, "a hole in the log");
            self.entries.push_back(entry);
        }
        if let Some(through) = change.purge_through {
            self.purge(through);
        }
    }

    fn make_current(&mut self, meta: SnapshotMeta) {
        assert!(self.files.contains_key(&meta.log_id), "{} recorded without a file", meta.log_id);
        self.snapshot = Some(meta);
    }

    fn purge(&mut self, through: LogId) {
        let covered = self.covered();
        let early = through.index > covered && self.snapshot.is_some();
        assert!(!early, "purged {through} beyond the snapshot {covered}");
        while self.entries.front().is_some_and(|entry| entry.log_id.index <= through.index) {
            self.entries.pop_front();
        }
        self.start = through;
    }

    /// What a node recovers when it starts on this disk.
    pub fn recovered(&self, members: &Membership) -> Recovered {
        Recovered {
            life: self.life,
            hard_state: self.hard_state,
            base: members.clone(),
            snapshot: self.snapshot.clone(),
            log: LogOutline::of(self.start, &self.entries),
            known_peers: self.known_peers.clone(),
        }
    }

    /// Reads entries back.
    pub fn read(&self, read: &LogRead) -> LogReadOutcome {
        let mut bytes = 0;
        let entries: Vec<Entry> = (read.first..=read.last)
            .map_while(|index| self.entry(index).cloned())
            .take_while(|entry| {
                bytes += entry.size_bytes();
                bytes <= read.max_bytes || bytes == entry.size_bytes()
            })
            .collect();
        if entries.is_empty() {
            LogReadOutcome::Compacted
        } else {
            LogReadOutcome::Entries(entries.into())
        }
    }

    // ---- snapshots -----------------------------------------------------------------------

    /// Publishes a snapshot that the node built.
    pub fn publish(&mut self, log_id: LogId, state: Bytes) {
        self.files.insert(log_id, state);
        self.received.remove(&log_id);
    }

    /// Stores a chunk of a snapshot being received.
    pub fn store(
        &mut self,
        key: TransferKey,
        meta: &SnapshotMeta,
        offset: u64,
        data: &[u8],
    ) -> ChunkWritten {
        if offset == 0 {
            self.transfer = Some((key, Vec::new()));
        }
        let Some((current, bytes)) = &mut self.transfer else { return ChunkWritten::Corrupt };
        assert_eq!((*current, bytes.len() as u64), (key, offset), "a piece out of place");
        bytes.extend_from_slice(data);
        let stored = bytes.len() as u64;
        if stored < meta.size_bytes {
            return ChunkWritten::Partial(stored);
        }
        let bytes = std::mem::take(bytes);
        self.files.insert(meta.log_id, bytes.into());
        self.received.insert(meta.log_id);
        self.transfer = None;
        ChunkWritten::Complete
    }

    /// Drops what has arrived in this transfer.
    pub fn abort(&mut self, key: TransferKey) {
        self.transfer.take_if(|(current, _)| *current == key);
    }

    /// Reads a chunk of a snapshot.
    pub fn read_chunk(&self, read: &ChunkRead) -> ChunkReadOutcome {
        let Some(file) = self.files.get(&read.snapshot) else { return ChunkReadOutcome::Gone };
        let from = read.offset as usize;
        let end = file.len().min(from + read.max_bytes);
        ChunkReadOutcome::Data { data: file.slice(from..end), crc: 0 }
    }

    /// Removes files of snapshots older than the current one, except for the retained number of
    /// them and one that waits for its install.
    pub fn keep_from(&mut self, current: LogId, install: InstallStatus, retained: usize) {
        let older = self.files.range(..current).map(|(file, _)| *file);
        let oldest = older.rev().take(retained).last().unwrap_or(current);
        let kept = |file: &LogId| match install {
            InstallStatus::Pending { index } if index == file.index => true,
            _ => file.index >= oldest.index,
        };
        self.files.retain(|file, _| kept(file));
    }

    /// Removes a received snapshot that is not wanted.
    pub fn discard(&mut self, log_id: LogId) {
        if self.received.remove(&log_id) {
            let current = self.snapshot.as_ref().is_some_and(|meta| meta.log_id == log_id);
            assert!(!current, "the current snapshot {log_id} is discarded");
            self.files.remove(&log_id);
        }
    }

    // ---- losses --------------------------------------------------------------------------

    /// Drops the steps under way.
    pub fn crash(&mut self) {
        self.steps.clear();
        self.transfer = None;
    }

    /// A copy, in the state that a crash at this moment would leave.
    pub fn backup(&self) -> Disk {
        let mut copy = self.clone();
        copy.crash();
        copy
    }

    /// The last `count` entries are unreadable, and storage detects that data is missing.
    pub fn lose_tail(&mut self, count: u64) {
        let last = self.entries.back().map_or(self.start, |entry| entry.log_id);
        let kept = self.last_index().saturating_sub(count).max(self.covered());
        self.entries.truncate(kept.saturating_sub(self.start.index) as usize);
        let earlier = self.life.loss.unwrap_or(Loss { forgot_vote: false, last: Some(last) });
        let last = earlier.last.map(|earlier| earlier.max(last));
        self.life.loss = Some(Loss { last, ..earlier });
        self.life.doubted_by = None;
    }

    /// The same, and storage can't tell whether votes, and up to this many terms, were lost with
    /// it.
    pub fn lose_votes(&mut self, count: u64, terms: u64) {
        self.lose_tail(count);
        let lowest = self.entries.back().map_or(self.start.term, |entry| entry.log_id.term);
        let term = self.hard_state.term.saturating_sub(terms).max(lowest);
        self.hard_state = HardState { term, vote: None };
        self.life.loss = Some(Loss { forgot_vote: true, last: None });
        self.life.incarnation = next_birth(self.life.incarnation);
    }

    /// An empty directory in place of this one.
    pub fn wiped(&self) -> Disk {
        let life = Life { incarnation: next_birth(self.life.incarnation), ..Life::default() };
        Disk { life, ..Disk::default() }
    }
}

/// The incarnation before the first start on a directory created after the one of `incarnation`.
fn next_birth(incarnation: Incarnation) -> Incarnation {
    unborn(created_at_ms(incarnation) + 1)
}
