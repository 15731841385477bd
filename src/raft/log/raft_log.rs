//! What the protocol knows of its own log: every term, every size, and the entries of the tail.
//!
//! ```text
//!   purged │ start.index+1 ........ cache_first ........ persisted .... last
//!          │ terms as runs, sizes   │ entries in memory │ not durable yet
//!                     applied ≤ dispatched ≤ commit
//! ```
//!
//! The log itself belongs to storage. Durable entries leave the cache while it is over its limit;
//! older entries are requested from storage by a read.
//!
//! Not here: durability (the `persist` steps), and the rules by which entries are appended or
//! removed.

use std::collections::VecDeque;

use super::entries::Entries;
use super::paged_queue::PagedQueue;
use crate::raft::types::{Entry, Index, LogId, LogOutline, Term, TermRun};

/// The log's outline and tail, with the positions in it.
///
/// Invariants, asserted by [`RaftLog::check`]:
/// - `start.index ≤ dispatched`, `applied ≤ dispatched ≤ commit ≤ last`
/// - `persisted ≤ last`
/// - runs ascend strictly in index and term; `sizes_bytes` has one number for each entry
/// - the cache is contiguous, ends at `last`, and holds all entries that are not persisted
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) struct RaftLog {
    start: LogId,
    runs: VecDeque<TermRun>,
    /// The size of each entry.
    sizes_bytes: PagedQueue<u32>,
    bytes: u64,
    uncommitted_bytes: u64,
    unpersisted_bytes: u64,
    cache: Entries,
    cache_bytes: usize,
    cache_limit_bytes: usize,
    persisted: Index,
    commit: Index,
    dispatched: Index,
    applied: Index,
}

impl RaftLog {
    /// The log as storage recovered it. All its entries are durable. The entries that the snapshot
    /// covers count as committed and applied (A73).
    pub(in crate::raft) fn new(
        outline: LogOutline,
        snapshot: Index,
        cache_limit_bytes: usize,
    ) -> RaftLog {
        let last = outline.last_index();
        assert!(
            outline.start.index <= snapshot && snapshot <= last,
            "recovered log {}..={last} does not reach its snapshot {snapshot}",
            outline.start.index
        );
        let mut log = RaftLog {
            start: outline.start,
            runs: outline.runs.into(),
            bytes: outline.sizes_bytes.iter().map(|&size| u64::from(size)).sum(),
            sizes_bytes: outline.sizes_bytes.into_iter().collect(),
            uncommitted_bytes: 0,
            unpersisted_bytes: 0,
            cache: Entries::new(),
            cache_bytes: 0,
            cache_limit_bytes,
            persisted: last,
            commit: snapshot,
            dispatched: snapshot,
            applied: snapshot,
        };
        log.uncommitted_bytes = log.bytes_between(snapshot, last);
        log.check();
        log
    }

    pub(in crate::raft) fn start(&self) -> LogId {
        self.start
    }

    pub(in crate::raft) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(in crate::raft) fn persisted(&self) -> Index {
        self.persisted
    }

    pub(in crate::raft) fn commit(&self) -> Index {
        self.commit
    }

    pub(in crate::raft) fn dispatched(&self) -> Index {
        self.dispatched
    }

    pub(in crate::raft) fn applied(&self) -> Index {
        self.applied
    }

    pub(in crate::raft) fn last_index(&self) -> Index {
        self.start.index + self.sizes_bytes.len() as u64
    }

    /// The last entry's id; the start's if there are no entries.
    pub(in crate::raft) fn last(&self) -> LogId {
        let term = self.runs.back().map_or(self.start.term, |run| run.term);
        LogId::new(term, self.last_index())
    }

    /// The term of the entry at `index`; `None` if it is purged or does not exist yet. An unknown
    /// term is never 0, so it never matches (LR10).
    pub(in crate::raft) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        if index < self.start.index || index > self.last_index() {
            return None;
        }
        let run = self.runs.partition_point(|run| run.first <= index) - 1;
        Some(self.runs[run].term)
    }

    /// Whether the log holds exactly this entry: index *and* term match (B4).
    pub(in crate::raft) fn holds(&self, log_id: LogId) -> bool {
        self.term_at(log_id.index) == Some(log_id.term)
    }

    /// The id of the entry at `index`, which must be known.
    pub(in crate::raft) fn id_at(&self, index: Index) -> LogId {
        let term = self.term_at(index);
        assert!(
            term.is_some(),
            "no term known at {index}: log is {}..={}",
            self.start,
            self.last_index()
        );
        LogId::new(term.unwrap_or_default(), index)
    }

    /// The last known entry at or before `index` whose term is at most `term`: the last one that
    /// can match a log with `term` at `index` (B21). The start if there is none.
    pub(in crate::raft) fn last_not_above(&self, index: Index, term: Term) -> LogId {
        let index = index.min(self.last_index());
        let runs = self.runs.iter().take_while(|run| run.first <= index && run.term <= term);
        let Some(run) = runs.last() else { return self.start };
        let end = self
            .runs
            .iter()
            .find(|next| next.first > run.first)
            .map_or(self.last_index(), |next| next.first - 1);
        LogId::new(run.term, end.min(index))
    }

    /// Bytes of the entries `after+1 ..= through`, as far as the log holds them.
    pub(in crate::raft) fn bytes_between(&self, after: Index, through: Index) -> u64 {
        let first = after.max(self.start.index) - self.start.index;
        let end = through.clamp(self.start.index, self.last_index()) - self.start.index;
        if end <= first {
            return 0;
        }
        let mut bytes = 0;
        self.sizes_bytes.look_at(first as usize..end as usize, |&size| {
            bytes += u64::from(size);
            true
        });
        bytes
    }

    /// Bytes of the entries behind the commit index.
    pub(in crate::raft) fn uncommitted_bytes(&self) -> u64 {
        self.uncommitted_bytes
    }

    /// Bytes of the entries up to the commit index, as far as the log holds them.
    pub(in crate::raft) fn committed_bytes(&self) -> u64 {
        self.bytes - self.uncommitted_bytes
    }

    /// Bytes of the entries that are not durable yet.
    pub(in crate::raft) fn unpersisted_bytes(&self) -> u64 {
        self.unpersisted_bytes
    }

    /// Appends one entry.
    pub(in crate::raft) fn append(&mut self, entry: Entry) {
        self.note(&entry);
        self.cache.push(entry);
    }

    /// Appends several entries.
    pub(in crate::raft) fn append_all(&mut self, entries: &Entries) {
        entries.iter().for_each(|entry| self.note(entry));
        self.cache.append(entries);
    }

    /// Updates sizes, counters and term runs for an appended entry.
    fn note(&mut self, entry: &Entry) {
        let last = self.last();
        assert!(
            entry.log_id.index == last.index + 1 && entry.log_id.term >= last.term,
            "entry {} does not follow {last}",
            entry.log_id
        );
        if entry.log_id.term > last.term || self.runs.is_empty() {
            self.runs.push_back(TermRun { first: entry.log_id.index, term: entry.log_id.term });
        }
        let size = entry.size_bytes();
        assert!(size <= u32::MAX as usize, "entry {} of {size} bytes", entry.log_id);
        self.sizes_bytes.push_back(size as u32);
        self.bytes += size as u64;
        self.uncommitted_bytes += size as u64;
        self.unpersisted_bytes += size as u64;
        self.cache_bytes += size;
    }

    /// Removes the entries from `from` on. None of them may be committed.
    pub(in crate::raft) fn truncate_from(&mut self, from: Index) {
        assert!(
            from > self.commit && from <= self.last_index(),
            "truncate from {from}: committed {}, last {}",
            self.commit,
            self.last_index()
        );
        self.unpersisted_bytes -=
            self.bytes_between(self.persisted.max(from - 1), self.last_index());
        let mut cached = self.cache.len();
        while self.last_index() >= from {
            let size = self.sizes_bytes.pop_back().unwrap_or_default();
            self.bytes -= u64::from(size);
            self.uncommitted_bytes -= u64::from(size);
            if cached > 0 {
                cached -= 1;
                self.cache_bytes -= size as usize;
            }
        }
        self.cache.truncate(cached);
        while self.runs.back().is_some_and(|run| run.first >= from) {
            self.runs.pop_back();
        }
        self.persisted = self.persisted.min(from - 1);
    }

    /// Removes the entries up to `through`, which must be applied and persisted.
    pub(in crate::raft) fn purge_through(&mut self, through: Index) {
        assert!(
            through <= self.applied && through <= self.persisted,
            "purge through {through}: applied {}, persisted {}",
            self.applied,
            self.persisted
        );
        let start = self.id_at(through);
        while self.start.index < through {
            self.bytes -= u64::from(self.sizes_bytes.pop_front().unwrap_or_default());
            self.start.index += 1;
        }
        self.start = start;
        while self.runs.len() > 1 && self.runs[1].first <= through + 1 {
            self.runs.pop_front();
        }
        if self.sizes_bytes.is_empty() {
            self.runs.clear();
        } else if let Some(run) = self.runs.front_mut() {
            run.first = run.first.max(through + 1);
        }
        while self.cache.first().is_some_and(|entry| entry.log_id.index <= through) {
            self.evict_oldest();
        }
    }

    /// Reduces the log to what a snapshot up to `log_id` leaves: the entries after it if the log
    /// holds `log_id`, otherwise none (A58, A59, SN03). Until the install is durable, `persisted`
    /// remains where the old log was durable.
    pub(in crate::raft) fn install(&mut self, log_id: LogId) {
        assert!(
            log_id.index > self.commit,
            "install {log_id} below the commit index {}",
            self.commit
        );
        if self.holds(log_id) {
            let persisted = self.persisted;
            self.commit_to(log_id.index);
            (self.dispatched, self.applied) = (log_id.index, log_id.index);
            self.persisted = persisted.max(log_id.index);
            self.purge_through(log_id.index);
            self.persisted = persisted;
            self.unpersisted_bytes = self.bytes_between(persisted, self.last_index());
        } else {
            self.persisted = self.persisted.min(self.commit);
            self.start = log_id;
            self.runs.clear();
            self.sizes_bytes.clear();
            (self.bytes, self.uncommitted_bytes, self.unpersisted_bytes) = (0, 0, 0);
            self.cache.clear();
            self.cache_bytes = 0;
            (self.commit, self.dispatched) = (log_id.index, log_id.index);
        }
    }

    /// Entries up to `log_id` are durable. Ignored if the log does not hold that id, or no longer
    /// does (LR25).
    pub(in crate::raft) fn persisted_to(&mut self, log_id: LogId) {
        if self.holds(log_id) && log_id.index > self.persisted {
            self.unpersisted_bytes -= self.bytes_between(self.persisted, log_id.index);
            self.persisted = log_id.index;
        }
        self.shrink_cache();
    }

    /// Moves the commit index forward.
    pub(in crate::raft) fn commit_to(&mut self, index: Index) {
        assert!(
            index <= self.last_index(),
            "commit {index} beyond the last entry {}",
            self.last_index()
        );
        if index > self.commit {
            self.uncommitted_bytes -= self.bytes_between(self.commit, index);
            self.commit = index;
        }
    }

    /// Entries up to `index` were dispatched to the apply queue.
    pub(in crate::raft) fn dispatched_to(&mut self, index: Index) {
        assert!(
            index > self.dispatched && index <= self.commit.min(self.persisted),
            "dispatch {index}: dispatched {}, committed {}, persisted {}",
            self.dispatched,
            self.commit,
            self.persisted
        );
        self.dispatched = index;
    }

    /// The state machine has applied all entries up to `index`.
    pub(in crate::raft) fn applied_to(&mut self, index: Index) {
        assert!(
            index <= self.dispatched,
            "applied {index} was never dispatched: dispatched {}",
            self.dispatched
        );
        self.applied = self.applied.max(index);
    }

    /// Entries `first..=last`, limited to `max_bytes` (but at least one) and `max_entries`. `None`
    /// if `first` is not in memory and must be read. The range must be in the log.
    pub(in crate::raft) fn cached(
        &self,
        first: Index,
        last: Index,
        max_bytes: usize,
        max_entries: usize,
    ) -> Option<Entries> {
        assert!(
            first > self.start.index && last <= self.last_index(),
            "entries {first}..={last} wanted of {}..={}",
            self.start,
            self.last_index()
        );
        let cache_first = self.cache.first()?.log_id.index;
        let skip = first.checked_sub(cache_first)? as usize;
        let wanted = (last + 1 - first) as usize;
        let begin = (first - self.start.index - 1) as usize;
        let (mut bytes, mut count) = (0, 0);
        self.sizes_bytes.look_at(begin..begin + wanted.min(max_entries.max(1)), |&size| {
            bytes += size as usize;
            let fits = count == 0 || bytes <= max_bytes;
            count += usize::from(fits);
            fits
        });
        Some(self.cache.range(skip..skip + count))
    }

    /// The entries from `first` on. They must be in memory, as entries that are not durable are.
    pub(in crate::raft) fn tail_from(&self, first: Index) -> Entries {
        let count = (self.last_index() + 1 - first) as usize;
        self.cache.range(self.cache.len() - count..self.cache.len())
    }

    /// Whether the log still holds `entries` from `first` on: the result of a read may be outdated.
    pub(in crate::raft) fn agrees_with(&self, first: Index, entries: &Entries) -> bool {
        let contiguous =
            entries.iter().zip(first..).all(|(entry, index)| entry.log_id.index == index);
        !entries.is_empty() && contiguous && entries.iter().all(|entry| self.holds(entry.log_id))
    }

    fn shrink_cache(&mut self) {
        while self.cache_bytes > self.cache_limit_bytes
            && self.cache.first().is_some_and(|entry| entry.log_id.index <= self.persisted)
        {
            self.evict_oldest();
        }
    }

    fn evict_oldest(&mut self) {
        if let Some(entry) = self.cache.first() {
            self.cache_bytes -= entry.size_bytes();
            self.cache.drop_front(1);
        }
    }

    /// Whether the runs begin at the log's start and end within it, and the last one ascends. The
    /// others were checked when they were the last.
    fn runs_fit(&self) -> bool {
        let (Some(first), Some(last)) = (self.runs.front(), self.runs.back()) else { return true };
        let ascends = |before: &TermRun| before.first < last.first && before.term < last.term;
        let before = self.runs.len().checked_sub(2).and_then(|at| self.runs.get(at));
        first.first == self.start.index + 1
            && last.first <= self.last_index()
            && before.is_none_or(ascends)
    }

    /// Asserts the invariants in constant time.
    pub(in crate::raft) fn check(&self) {
        assert!(
            self.applied <= self.dispatched
                && self.dispatched <= self.commit
                && self.commit <= self.last_index()
                && self.start.index <= self.dispatched
                && self.persisted <= self.last_index(),
            "positions out of order: start {} applied {} dispatched {} commit {} persisted {} last {}",
            self.start,
            self.applied,
            self.dispatched,
            self.commit,
            self.persisted,
            self.last_index()
        );
        assert!(
            self.sizes_bytes.is_empty() == self.runs.is_empty() && self.runs_fit(),
            "{} entries behind {} in term runs {:?} .. {:?}",
            self.sizes_bytes.len(),
            self.start,
            self.runs.front(),
            self.runs.back()
        );
        let cache_last = self.cache.last().map_or(self.last_index(), |entry| entry.log_id.index);
        assert!(
            cache_last == self.last_index(),
            "cache ends at {cache_last}, the log at {}",
            self.last_index()
        );
        let cached = self.cache.first().map_or(self.last_index(), |entry| entry.log_id.index - 1);
        assert!(
            cached <= self.persisted.max(self.start.index),
            "entries {}..={cached} neither durable nor in memory",
            self.persisted + 1
        );
    }
}
