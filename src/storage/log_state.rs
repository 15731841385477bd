//! A log's state without its entries, and the rules for changing it.
//!
//! Every store keeps one [`LogState`] and applies every change to it: when writing, where a refusal
//! is a broken contract (the caller asserts), and when reading back from disk, where it is damage.
//! Both directions use the same rules.
//!
//! ```text
//!      start                 snapshot                    last
//!        │  purged ◀─┐          │                          │
//!  ──────●───────────┴──────────●──────────────────────────●
//!        index, term            current: truncation stays  next append: last + 1
//!                               behind it, purge before it
//! ```
//!
//! *What it does not do:* keep entries or files, or know where anything is stored.

use crate::raft::{
    COUNT_MAX, Entry, HardState, Index, Install, KnownPeers, Life, LogChange, LogId, NodeId,
    PeerRecord, SnapshotMeta, Term, TermRun, is_possible_incarnation,
};

/// Why a change does not fit the log, with the values.
pub(crate) type Breach = String;

/// A log without its entries. Invariants that every method keeps:
/// - `start.index <= last`, and `runs` cover exactly `start.index + 1 ..= last`, terms ascending
/// - the snapshot, if any, lies in `start.index ..= last` and has the log's term there
/// - without a snapshot `start` is the base
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogState {
    /// The last incarnation, and the data loss before it.
    pub life: Life,
    /// Records of the other members.
    pub known_peers: KnownPeers,
    /// Term and vote.
    pub hard_state: HardState,
    /// The id just before the first entry.
    pub start: LogId,
    /// Index of the last entry, or `start.index`.
    pub last: Index,
    /// Terms of the entries.
    pub runs: Vec<TermRun>,
    /// The current snapshot.
    pub snapshot: Option<SnapshotMeta>,
}

impl LogState {
    /// Applies the change without its entries' data, in the order of the fields. After a refusal
    /// the state must not be used.
    pub(crate) fn apply(&mut self, change: &LogChange) -> Result<(), Breach> {
        if let Some(life) = change.life {
            self.set_life(life)?;
        }
        for (&node, &peer_record) in &change.known_peers {
            self.remember(node, peer_record);
        }
        if let Some(hard_state) = change.hard_state {
            self.set_hard_state(hard_state)?;
        }
        if let Some(install) = &change.install {
            self.install(install)?;
        }
        if let Some(meta) = &change.snapshot {
            self.record_snapshot(meta)?;
        }
        if let Some(from) = change.truncate_from {
            self.truncate(from)?;
        }
        for entry in &change.append {
            self.append(entry.log_id)?;
        }
        if let Some(through) = change.purge_through {
            self.purge(through)?;
        }
        Ok(())
    }

    /// Checks the invariants of a state that was read from disk.
    pub(crate) fn check(&self) -> Result<(), Breach> {
        if !is_possible_incarnation(self.life.incarnation) {
            return Err(format!("{:?}, an impossible incarnation record", self.life));
        }
        let reached = [self.last, self.start.term, self.hard_state.term];
        if reached.iter().chain(self.runs.last().map(|run| &run.term)).any(|&n| n > COUNT_MAX) {
            return Err(format!("terms or indexes that no log can reach: {}", self.outline()));
        }
        let firsts = self.runs.first().map_or(self.last, |run| run.first.wrapping_sub(1))
            == self.start.index;
        let ascending = self
            .runs
            .windows(2)
            .all(|two| two[0].first < two[1].first && two[0].term < two[1].term);
        let inside =
            self.runs.iter().all(|run| run.first > self.start.index && run.first <= self.last);
        let snapshot = self.snapshot.as_ref().map_or(LogId::BASE, |meta| meta.log_id);
        let covered = snapshot.index >= self.start.index && self.holds(snapshot);
        let reaches = self.start == LogId::BASE || self.snapshot.is_some();
        if firsts && ascending && inside && reaches && (covered || self.snapshot.is_none()) {
            return Ok(());
        }
        Err(format!(
            "a state that contradicts itself: snapshot {snapshot}, {}, runs {:?}",
            self.outline(),
            self.runs
        ))
    }

    /// The term of the entry at `index`, or of the log's start.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        if index < self.start.index || index > self.last {
            return None;
        }
        let after = self.runs.partition_point(|run| run.first <= index);
        self.runs.get(after.checked_sub(1)?).map(|run| run.term)
    }

    /// Whether the log contains this entry, or starts right after it.
    pub(crate) fn holds(&self, id: LogId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// The incarnation record of the next start.
    pub(crate) fn next_life(&self) -> Life {
        Life { incarnation: self.life.incarnation + 1, ..self.life }
    }

    /// Checks that another incarnation is possible, before a start continues from this state.
    pub(crate) fn check_next_life(&self) -> Result<(), Breach> {
        if is_possible_incarnation(self.next_life().incarnation) {
            return Ok(());
        }
        Err(format!("was left by {:?}, which no start can follow", self.life))
    }

    /// Records a start, a data loss, or the recovery from one. Incarnations never decrease.
    pub(crate) fn set_life(&mut self, life: Life) -> Result<(), Breach> {
        let falls =
            life.incarnation < self.life.incarnation || life.predecessor < self.life.predecessor;
        if falls || !is_possible_incarnation(life.incarnation) {
            return Err(format!("{life:?} after {:?}", self.life));
        }
        self.life = life;
        Ok(())
    }

    /// Replaces the record of a member.
    pub(crate) fn remember(&mut self, node: NodeId, peer_record: PeerRecord) {
        self.known_peers.insert(node, peer_record);
    }

    /// The term never decreases, and a vote never changes within a term.
    pub(crate) fn set_hard_state(&mut self, new: HardState) -> Result<(), Breach> {
        let old = self.hard_state;
        let revoked = new.term == old.term && old.vote.is_some() && new.vote != old.vote;
        if new.term < old.term || revoked {
            return Err(format!("{new:?} after {old:?}"));
        }
        self.hard_state = new;
        Ok(())
    }

    /// Applies an installed snapshot: the log then starts with it (A56, A58, A59).
    pub(crate) fn install(&mut self, install: &Install) -> Result<(), Breach> {
        let id = install.meta.log_id;
        if id.index <= self.snapshot_index() {
            return Err(format!(
                "install of {id} over the current snapshot {}",
                self.snapshot_index()
            ));
        }
        if install.keep_suffix {
            if !self.holds(id) {
                return Err(format!(
                    "install keeps the entries behind {id}, which is not in {}",
                    self.outline()
                ));
            }
            self.snapshot = Some(install.meta.clone());
            self.move_start(id);
        } else {
            self.snapshot = Some(install.meta.clone());
            self.start = id;
            self.last = id.index;
            self.runs.clear();
        }
        Ok(())
    }

    /// Records a snapshot made by this node. The log must hold its last entry, and it must not be
    /// older than the current one (B20).
    pub(crate) fn record_snapshot(&mut self, meta: &SnapshotMeta) -> Result<(), Breach> {
        let id = meta.log_id;
        if id.index == 0 || id.index < self.snapshot_index() || !self.holds(id) {
            let current = self.snapshot_index();
            return Err(format!(
                "record of snapshot {id}, the current one is {current}, {}",
                self.outline()
            ));
        }
        self.snapshot = Some(meta.clone());
        Ok(())
    }

    /// Returns to an older snapshot, or to the base, if the log still holds all entries behind it.
    /// Only recovery does this.
    pub(crate) fn fall_back(&mut self, older: Option<&SnapshotMeta>) -> Result<(), Breach> {
        let id = older.map_or(LogId::BASE, |meta| meta.log_id);
        if !self.holds(id) {
            return Err(format!("fall back to snapshot {id}, {}", self.outline()));
        }
        self.snapshot = older.cloned();
        Ok(())
    }

    /// Removes the entries from `from` on. Entries covered by the snapshot are committed and never
    /// removed here.
    pub(crate) fn truncate(&mut self, from: Index) -> Result<(), Breach> {
        let covered = self.start.index.max(self.snapshot_index());
        if from <= covered || from > self.last + 1 {
            return Err(format!(
                "truncation from {from}, snapshot {}, {}",
                self.snapshot_index(),
                self.outline()
            ));
        }
        self.last = from - 1;
        let keep = self.runs.partition_point(|run| run.first < from);
        self.runs.truncate(keep);
        Ok(())
    }

    /// Appends one entry behind the last.
    pub(crate) fn append(&mut self, id: LogId) -> Result<(), Breach> {
        let last_term = self.runs.last().map_or(self.start.term, |run| run.term);
        if id.index != self.last + 1 || id.term < last_term || id.term == 0 {
            return Err(format!("append of {id} behind {}@{last_term}", self.last));
        }
        if self.runs.last().is_none_or(|run| run.term != id.term) {
            self.runs.push(TermRun { first: id.index, term: id.term });
        }
        self.last = id.index;
        Ok(())
    }

    /// Removes entries up to `through`, which the current snapshot covers. Does nothing if they are
    /// already purged.
    pub(crate) fn purge(&mut self, through: LogId) -> Result<(), Breach> {
        if through.index <= self.start.index {
            return Ok(());
        }
        if through.index > self.snapshot_index() || !self.holds(through) {
            let current = self.snapshot_index();
            return Err(format!(
                "purge through {through}, the current snapshot is {current}, {}",
                self.outline()
            ));
        }
        self.move_start(through);
        Ok(())
    }

    fn move_start(&mut self, start: LogId) {
        let covered = self.runs.partition_point(|run| run.first <= start.index + 1);
        self.runs.drain(..covered.saturating_sub(1));
        self.start = start;
        if self.last == start.index {
            self.runs.clear();
        } else if let Some(run) = self.runs.first_mut() {
            run.first = run.first.max(start.index + 1);
        }
    }

    fn snapshot_index(&self) -> Index {
        self.snapshot.as_ref().map_or(0, |meta| meta.log_id.index)
    }

    fn outline(&self) -> String {
        format!("the log starts after {} and ends with {}", self.start, self.last)
    }
}

/// Asserts that the caller kept the contract: a change that does not fit is a bug, not a disk
/// error.
pub(crate) fn assert_fits(outcome: Result<(), Breach>, change: &LogChange) {
    if let Err(breach) = outcome {
        panic!("a change does not fit the log: {breach} ({})", describe(change));
    }
}

fn describe(change: &LogChange) -> String {
    let ids = |entry: Option<&Entry>| entry.map(|e| e.log_id.to_string()).unwrap_or_default();
    format!(
        "hard state {:?}, install {:?}, snapshot {:?}, truncate from {:?}, append {} entries {}..{}, purge through {:?}",
        change.hard_state,
        change.install,
        change.snapshot,
        change.truncate_from,
        change.append.len(),
        ids(change.append.first()),
        ids(change.append.last()),
        change.purge_through,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Membership;

    fn meta(term: Term, index: Index) -> SnapshotMeta {
        SnapshotMeta {
            log_id: LogId::new(term, index),
            membership: Membership::of_voters([1]),
            size_bytes: 10,
        }
    }

    fn log_of(terms: &[Term]) -> LogState {
        let mut state = LogState::default();
        for (position, &term) in terms.iter().enumerate() {
            state.append(LogId::new(term, position as u64 + 1)).unwrap();
        }
        state
    }

    fn terms(state: &LogState) -> Vec<Term> {
        (state.start.index + 1..=state.last).map(|index| state.term_at(index).unwrap()).collect()
    }

    #[test]
    fn terms_survive_every_cut_at_either_end() {
        let all = [1, 1, 2, 2, 2, 5, 7, 7];
        for start in 0..=8u64 {
            for end in start..=8 {
                let mut state = log_of(&all);
                if start > 0 {
                    let term = all[start as usize - 1];
                    state.record_snapshot(&meta(term, start)).unwrap();
                    state.purge(LogId::new(term, start)).unwrap();
                }
                state.truncate(end + 1).unwrap();
                assert_eq!(
                    terms(&state),
                    all[start as usize..end as usize],
                    "start {start} end {end}"
                );
                assert_eq!(state.runs.is_empty(), start == end, "start {start} end {end}");
                assert!(state.runs.first().is_none_or(|run| run.first == start + 1));
            }
        }
    }

    #[test]
    fn a59_install_keeps_a_suffix_only_behind_the_same_id() {
        let mut state = log_of(&[1, 1, 2, 2]);
        assert!(state.clone().install(&Install { meta: meta(1, 3), keep_suffix: true }).is_err());
        state.install(&Install { meta: meta(2, 3), keep_suffix: true }).unwrap();
        assert_eq!((state.start, state.last, terms(&state)), (LogId::new(2, 3), 4, vec![2]));
    }

    #[test]
    fn a58_install_without_suffix_drops_the_log_whole() {
        let mut state = log_of(&[1, 1, 2, 2]);
        state.install(&Install { meta: meta(3, 2), keep_suffix: false }).unwrap();
        assert_eq!((state.start, state.last), (LogId::new(3, 2), 2));
        assert!(state.runs.is_empty());
        state.append(LogId::new(3, 3)).unwrap();
    }

    #[test]
    fn changes_that_would_lose_something_are_refused() {
        let mut state = log_of(&[1, 1, 2, 2]);
        state.record_snapshot(&meta(1, 2)).unwrap();
        state.set_hard_state(HardState { term: 3, vote: Some(1) }).unwrap();
        let refused = |f: &dyn Fn(&mut LogState) -> Result<(), Breach>| {
            assert!(f(&mut state.clone()).is_err())
        };
        refused(&|s| s.truncate(2));
        refused(&|s| s.truncate(6));
        refused(&|s| s.append(LogId::new(2, 6)));
        refused(&|s| s.append(LogId::new(1, 5)));
        refused(&|s| s.purge(LogId::new(2, 3)));
        refused(&|s| s.purge(LogId::new(2, 2)));
        refused(&|s| s.record_snapshot(&meta(1, 1)));
        refused(&|s| s.record_snapshot(&meta(1, 4)));
        refused(&|s| s.set_hard_state(HardState { term: 3, vote: Some(2) }));
        refused(&|s| s.set_hard_state(HardState { term: 2, vote: None }));
        state.set_hard_state(HardState { term: 4, vote: None }).unwrap();
    }
}
