//! Dispatching committed entries to the apply queue, within its limit.
//!
//! Dispatched entries are committed *and* durable here; each is dispatched once, in order. Entries
//! above the queue's limit stay in the log until `applied` makes room. Entries that are no longer
//! in the cache are read back (A67, B2).

use super::core::Raft;
use super::log::Entries;
use super::ready::{ApplyItem, LogRead, LogReadOutcome, ReadPurpose};
use super::types::{Index, Micros};

impl Raft {
    /// The state machine has applied everything through `index`, entry by entry or by an install.
    pub fn applied(&mut self, now: Micros, index: Index) {
        self.input(now, |raft| raft.on_applied(index));
    }

    fn on_applied(&mut self, index: Index) {
        self.log.applied_to(index);
        self.apply_window.applied(index);
    }

    /// The index whose application is to be reported without delay: the queue is half full, so that
    /// entries may have to wait for room, or a snapshot will be due then. If `None`, it is enough
    /// to report it with the next input or at the next tick.
    pub fn awaits_applied(&self) -> Option<Index> {
        let index = self.apply_window.oldest()?;
        let filling = self.apply_window.bytes() >= self.config.apply_queue_bytes / 2;
        (filling || self.is_snapshot_near()).then_some(index)
    }

    pub(super) fn dispatch_committed(&mut self) {
        while let Some(last) = self.dispatchable() {
            let first = self.log.dispatched() + 1;
            let room = self.config.apply_queue_bytes.saturating_sub(self.apply_window.bytes());
            match self.log.cached(first, last, room, usize::MAX) {
                Some(entries) => self.dispatch(entries),
                None => return self.read_to_apply(first, last, room),
            }
        }
    }

    /// The last index that may be dispatched now. `None` if there is none, or no room for it.
    fn dispatchable(&self) -> Option<Index> {
        let last = self.log.commit().min(self.log.persisted());
        let waits = self.apply_window.is_full(self.config.apply_queue_bytes)
            || self.apply_window.read().is_some();
        (last > self.log.dispatched() && !waits).then_some(last)
    }

    fn dispatch(&mut self, entries: Entries) {
        let last = self.log.dispatched() + entries.len() as u64;
        let bytes = self.log.bytes_between(self.log.dispatched(), last) as usize;
        self.log.dispatched_to(last);
        self.apply_window.push(last, bytes);
        self.out.apply.push(ApplyItem::Entries(entries));
    }

    fn read_to_apply(&mut self, first: Index, last: Index, room: usize) {
        let id = self.numbers.take_log_read();
        self.apply_window.begin_read(id, first);
        self.out.reads.push(LogRead {
            id,
            first,
            last,
            max_bytes: room.max(1),
            purpose: ReadPurpose::Apply,
        });
    }

    pub(super) fn on_apply_read(&mut self, outcome: LogReadOutcome) {
        let Some(first) = self.apply_window.end_read() else { return };
        // An install in between has moved past these entries; its snapshot covers them.
        if self.log.dispatched() + 1 != first {
            return;
        }
        match outcome {
            LogReadOutcome::Entries(entries) => {
                assert!(
                    self.log.agrees_with(first, &entries),
                    "read {} entries at {first} that are not those of the log",
                    entries.len()
                );
                self.dispatch(entries);
            }
            LogReadOutcome::Compacted => {
                panic!(
                    "committed entry {first} was purged before it was applied: log starts at {}",
                    self.log.start()
                )
            }
        }
    }

    /// An install covers the entries that are dispatched and not applied; the state machine skips
    /// them (B5).
    pub(super) fn forget_dispatched(&mut self) {
        self.apply_window.clear();
    }
}
