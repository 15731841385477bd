//! Entries that a follower is to apply.
//!
//! No client's command waits for them here: it waits for the leader's state machine. Waking the applier's thread for each
//! batch costs more than applying a few commands does, so what comes close together goes on together:
//!
//! ```text
//! batch after a pause ──▶ at once
//! batches after that  ──▶ together, APART after the last that went, or with the timer's next tick
//! ```
//!
//! *What it does not do:* it bounds nothing; all of it counts as handed over ([`Config::apply_queue_bytes`](crate::node::Config)).

use crate::raft::{Entries, Micros};

/// Batches go on at least so far apart, in microseconds.
const APART: Micros = 1_000;

#[derive(Default)]
pub(crate) struct ApplyBatcher {
    entries: Entries,
    /// When the next batch may go, in the peer's time.
    next: Micros,
}

impl ApplyBatcher {
    /// Whether a batch follows the batch. It does not if an install covers what is between.
    pub(crate) fn goes_on_with(&self, entries: &Entries) -> bool {
        self.entries.goes_on_with(entries)
    }

    /// Takes a batch that follows the batch; returns what is to go on now.
    pub(crate) fn add(&mut self, now: Micros, entries: Entries) -> Option<Entries> {
        self.entries.append(&entries);
        (now >= self.next).then(|| self.release(now))?
    }

    /// The batch, to go on now, if there is any.
    pub(crate) fn release(&mut self, now: Micros) -> Option<Entries> {
        if self.entries.is_empty() {
            return None;
        }
        self.next = now + APART;
        Some(std::mem::take(&mut self.entries))
    }

    /// When the batch is to go on.
    pub(crate) fn due(&self) -> Option<Micros> {
        (!self.entries.is_empty()).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::raft::{Entry, EntryKind, LogId};

    fn entries(indices: std::ops::RangeInclusive<u64>) -> Entries {
        let entry = |index| Entry {
            log_id: LogId::new(1, index),
            kind: EntryKind::Command,
            stamp_ms: 0,
            data: Bytes::new(),
        };
        indices.map(entry).collect::<Vec<_>>().into()
    }

    /// A67, A68: each entry goes on once, in order, and none stays for long.
    #[test]
    fn what_comes_close_together_goes_on_together() {
        let mut held = ApplyBatcher::default();
        assert_eq!(held.add(5_000, entries(1..=2)), Some(entries(1..=2)));
        assert_eq!(held.due(), None);
        assert_eq!(held.add(5_001, entries(3..=3)), None);
        assert_eq!(held.add(5_999, entries(4..=5)), None);
        assert_eq!(held.due(), Some(6_000));
        assert_eq!(held.add(6_000, entries(6..=6)), Some(entries(3..=6)));
        assert_eq!(held.release(6_000), None);
        assert_eq!(held.add(6_001, entries(7..=7)), None);
        assert!(held.goes_on_with(&entries(8..=8)) && !held.goes_on_with(&entries(9..=9)));
        assert_eq!(held.release(6_002), Some(entries(7..=7)));
        assert!(held.goes_on_with(&entries(9..=9)));
        assert_eq!(held.due(), None);
    }
}
