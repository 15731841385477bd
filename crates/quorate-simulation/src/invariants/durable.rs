//! What is durable on one member's disk, as ids: the checker's own record, independent of the
//! storage.
//!
//! *What it does not do:* it holds no entry data, and refuses nothing: the checker detects changes
//! out of order.

use std::collections::VecDeque;

use quorate::raft::{HardState, Index, LogChange, LogId, Recovered, Term};

/// The ids of a stored log, its term and vote, and its recorded snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    /// Term and vote.
    pub hard_state: HardState,
    /// The last entry of the current snapshot, or the base.
    pub snapshot: LogId,
    /// The id before the first entry.
    pub start: LogId,
    /// The term of each entry after `start`.
    terms: VecDeque<Term>,
}

impl Durable {
    /// What storage recovered, or what was left after a loss.
    pub(crate) fn of(recovered: &Recovered) -> Durable {
        let log = &recovered.log;
        let ends = log.runs.iter().skip(1).map(|run| run.first).chain([log.last_index() + 1]);
        let runs = log.runs.iter().zip(ends);
        let terms = runs.flat_map(|(run, end)| (run.first..end).map(|_| run.term)).collect();
        Durable {
            hard_state: recovered.hard_state,
            snapshot: recovered.snapshot.as_ref().map_or(LogId::BASE, |meta| meta.log_id),
            start: log.start,
            terms,
        }
    }

    /// The term of the entry at `index`, or of the start.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        self.terms.get(index.checked_sub(self.start.index + 1)? as usize).copied()
    }

    /// The last index.
    pub(crate) fn last(&self) -> Index {
        self.start.index + self.terms.len() as u64
    }

    /// The last index that is purged or covered by the snapshot.
    pub(crate) fn covered(&self) -> Index {
        self.start.index.max(self.snapshot.index)
    }

    /// Applies a change. `Err`: the change does not fit the present state.
    pub(crate) fn change(&mut self, change: &LogChange) -> Result<(), String> {
        if let Some(hard_state) = change.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(install) = &change.install {
            self.snapshot = install.meta.log_id;
            if !install.keep_suffix {
                self.terms.clear();
                self.start = self.snapshot;
            }
            self.forget_through(self.snapshot);
        }
        if let Some(meta) = &change.snapshot {
            self.snapshot = meta.log_id;
        }
        if let Some(from) = change.truncate_from {
            let kept = from.checked_sub(self.start.index + 1);
            let kept = kept.ok_or_else(|| format!("truncated from {from}, behind the start"))?;
            self.terms.truncate(kept as usize);
        }
        for entry in &change.append {
            if entry.log_id.index != self.last() + 1 {
                return Err(format!("{} appended behind {}: a hole", entry.log_id, self.last()));
            }
            self.terms.push_back(entry.log_id.term);
        }
        if let Some(through) = change.purge_through {
            if through.index > self.snapshot.index {
                return Err(format!("purged through {through}, the snapshot is {}", self.snapshot));
            }
            self.forget_through(through);
        }
        Ok(())
    }

    fn forget_through(&mut self, through: LogId) {
        while self.start.index < through.index && self.terms.pop_front().is_some() {
            self.start.index += 1;
        }
        if self.start.index <= through.index {
            self.start = through;
        }
    }
}
