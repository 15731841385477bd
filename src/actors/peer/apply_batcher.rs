//! Batches the entries that a follower is to apply.
//!
//! On a follower no client waits for these entries: clients wait for the leader's state machine.
//! Waking the applier's thread for each batch costs more than applying a few commands, so batches
//! that come close together are sent together:
//!
//! ```text
//! batch after a pause ──▶ immediately
//! batches after that  ──▶ together, APART after the last batch sent, or with the timer's next tick
//! ```
//!
//! *What it does not do:* it has no bound; its entries count as dispatched
//! ([`Config::apply_queue_bytes`](crate::node::Config)).

use crate::raft::{Entries, Micros};

/// The minimum time between two batches, in microseconds.
const APART: Micros = 1_000;

#[derive(Default)]
pub(crate) struct ApplyBatcher {
    entries: Entries,
    /// When the next batch may be sent, in the peer's time.
    next: Micros,
}

impl ApplyBatcher {
    /// Whether `entries` continue the held batch. They do not if an install covers the entries
    /// between.
    pub(crate) fn goes_on_with(&self, entries: &Entries) -> bool {
        self.entries.goes_on_with(entries)
    }

    /// Adds entries that continue the held batch; returns the entries to be sent now.
    pub(crate) fn add(&mut self, now: Micros, entries: Entries) -> Option<Entries> {
        self.entries.append(&entries);
        (now >= self.next).then(|| self.release(now))?
    }

    /// Takes the held batch, to be sent now. `None` if it is empty.
    pub(crate) fn release(&mut self, now: Micros) -> Option<Entries> {
        if self.entries.is_empty() {
            return None;
        }
        self.next = now + APART;
        Some(std::mem::take(&mut self.entries))
    }

    /// When the held batch is due. `None` if it is empty.
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

    /// A67, A68: each entry is sent once, in order, and none is held for long.
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
