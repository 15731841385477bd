//! Local snapshots, and what they allow the log to purge (A9–A32, B12, B16, B20 in
//! `docs/mechanisms.md`).
//!
//! The request for a snapshot goes through the apply queue, so that state and index always belong
//! together. The trigger measures what has been *applied* since the last snapshot. A new snapshot
//! makes exactly that obsolete, so the trigger can't fire again because of entries that stay
//! anyway. Only one build is active at a time.

use super::core::Raft;
use super::random::Random;
use super::ready::{ApplyItem, Event, SnapshotJob};
use super::types::{Index, LogId, Micros, SnapshotMeta};

/// The wait before a trigger asks again is doubled at most this many times.
const RETRY_DOUBLINGS_MAX: u32 = 6;

/// The state of local snapshot builds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Building {
    /// A snapshot was asked for and is not yet published, refused or declined.
    under_way: bool,
    /// The service asked for a snapshot.
    requested: bool,
    /// The service still waits for a snapshot that it asked for: the one that was built did not
    /// become current.
    requested_again: bool,
    /// Bytes of the applied entries that the current snapshot does not cover, and the last index
    /// counted.
    applied_bytes: u64,
    counted_through: Index,
    /// Snapshots in a row that were asked for and did not become current.
    pub(super) failures: u32,
    /// No trigger asks again before this moment.
    pub(super) retry_at: Micros,
    /// More entries may be purged than have been: a transfer retained them, or a restart came
    /// between.
    purge_due: bool,
    /// What retained them at the last look. While it is unchanged, another look has the same
    /// result.
    pub(super) kept_by: Option<(Option<Index>, bool)>,
    /// How far this node's next trigger is below 90 % of the limits, in thousandths of them: so
    /// that members do not all build at once.
    jitter_thousandths: u64,
}

impl Building {
    /// The state at a node's start: entries that were retained before the restart may be purged
    /// now.
    pub(super) fn new(random: &mut Random) -> Building {
        let mut building = Building { purge_due: true, ..Building::default() };
        building.draw_jitter(random);
        building
    }

    fn draw_jitter(&mut self, random: &mut Random) {
        self.jitter_thousandths = random.between(0, 100);
    }

    /// If a snapshot was being built, it has not become current.
    fn fail(&mut self, now: Micros, retry_interval: Micros) {
        if std::mem::take(&mut self.under_way) {
            let doublings = self.failures.min(RETRY_DOUBLINGS_MAX);
            self.failures = self.failures.saturating_add(1);
            self.retry_at = now.saturating_add(retry_interval.saturating_mul(1 << doublings));
        }
    }

    fn forget_requests(&mut self) {
        (self.requested, self.requested_again) = (false, false);
    }

    /// A snapshot, made here or installed, has become current.
    fn succeed(&mut self) {
        (self.failures, self.retry_at) = (0, 0);
    }

    /// 90 % of the limit, less the jitter.
    fn threshold(&self, limit: u64) -> u64 {
        (u128::from(limit) * u128::from(900 - self.jitter_thousandths) / 1000) as u64
    }
}

impl Raft {
    /// Asks for a snapshot, whatever the triggers say. Nothing happens if nothing was applied since
    /// the last one.
    pub fn request_snapshot(&mut self, now: Micros) {
        self.input(now, |raft| raft.building.requested = true);
    }

    /// As [`Raft::request_snapshot`], for a service that still waits because the snapshot that was
    /// built did not become current. Takes effect after `snapshot_retry_interval`, like the
    /// triggers.
    pub fn request_snapshot_again(&mut self, now: Micros) {
        self.input(now, |raft| raft.building.requested_again = true);
    }

    pub(super) fn trigger_snapshot(&mut self) {
        self.count_applied();
        let nothing_new = self.log.applied() <= self.snapshot_id().index;
        if self.building.under_way || self.install.pending_index().is_some() {
            return;
        }
        if nothing_new {
            self.building.forget_requests();
            return;
        }
        let (bytes, entries) =
            (self.building.applied_bytes, self.log.applied() - self.snapshot_id().index);
        if self.building.requested || self.is_snapshot_due(bytes, entries) {
            self.building.forget_requests();
            self.building.under_way = true;
            self.out.apply.push(ApplyItem::TakeSnapshot);
        }
    }

    /// Whether a snapshot will be due once all dispatched entries are applied.
    pub(super) fn is_snapshot_near(&self) -> bool {
        let bytes = self.building.applied_bytes + self.apply_window.bytes() as u64;
        let entries = self.log.dispatched().saturating_sub(self.snapshot_id().index);
        !self.building.under_way
            && (self.building.requested || self.is_snapshot_due(bytes, entries))
    }

    /// Whether a snapshot is due without a new request, with this much applied since the last one.
    /// After a failure, not before `retry_at`.
    fn is_snapshot_due(&self, bytes: u64, entries: u64) -> bool {
        self.now >= self.building.retry_at
            && (self.building.requested_again
                || self.size_triggers(bytes)
                || self.count_triggers(entries))
    }

    /// Whether this many bytes applied since the last snapshot make one due.
    fn size_triggers(&self, bytes: u64) -> bool {
        let limit = self.config.snapshot_bytes;
        limit.is_some_and(|limit| bytes >= self.building.threshold(limit as u64))
    }

    /// Whether this many entries applied since the last snapshot make one due.
    fn count_triggers(&self, entries: u64) -> bool {
        let limit = self.config.snapshot_entries;
        limit.is_some_and(|limit| entries >= self.building.threshold(limit).max(1))
    }

    fn count_applied(&mut self) {
        let (from, to) =
            (self.building.counted_through.max(self.snapshot_id().index), self.log.applied());
        if to > from {
            self.building.applied_bytes += self.log.bytes_between(from, to);
            self.building.counted_through = to;
        }
    }

    /// A snapshot made here is published: asked for by `ApplyItem::TakeSnapshot`, or unasked by the
    /// service.
    pub fn snapshot_taken(&mut self, now: Micros, meta: SnapshotMeta) {
        self.input(now, |raft| raft.on_snapshot_taken(meta));
    }

    fn on_snapshot_taken(&mut self, meta: SnapshotMeta) {
        let log_id = meta.log_id;
        if let Err(why) = self.check_taken(&meta) {
            tracing::debug!(node = self.config.node, snapshot = %log_id, "snapshot not taken: {why}");
            self.building.fail(self.now, self.config.snapshot_retry_interval);
            self.out.events.push(Event::SnapshotRefused(log_id));
            return;
        }
        self.building.under_way = false;
        self.building.succeed();
        self.steps.change().snapshot = Some(meta.clone());
        self.snapshots.replace(meta);
        self.building.applied_bytes =
            self.log.bytes_between(log_id.index, self.building.counted_through);
        self.building.draw_jitter(&mut self.random);
        self.purge_behind_snapshot();
        self.counters.purges_pinned += u64::from(self.building.purge_due);
    }

    /// A9, A10 and A11, as amended by B24: such a snapshot is refused, and the node goes on.
    fn check_taken(&self, meta: &SnapshotMeta) -> Result<(), &'static str> {
        let log_id = meta.log_id;
        if log_id.index <= self.snapshot_id().index {
            return Err("not newer than the current one");
        }
        if log_id.index > self.log.applied() {
            return Err("beyond what was reported applied");
        }
        if !self.log.holds(log_id) {
            return Err("of another term than the log");
        }
        if meta.membership != self.membership {
            return Err("of other members");
        }
        Ok(())
    }

    /// The service did not make the snapshot it was asked for. The triggers ask again after
    /// `snapshot_retry_interval`.
    pub fn snapshot_declined(&mut self, now: Micros) {
        self.input(now, |raft| {
            raft.building.fail(raft.now, raft.config.snapshot_retry_interval);
        });
    }

    pub(super) fn on_snapshot_durable(&mut self, meta: SnapshotMeta) {
        self.counters.snapshots_taken += 1;
        self.make_current(meta);
    }

    /// The record that names this snapshot, made here or installed, is durable. Requests that wait
    /// for a snapshot of this index are complete, it can be sent, and older files may go.
    pub(super) fn make_current(&mut self, meta: SnapshotMeta) {
        self.out.events.push(Event::SnapshotCurrent(meta.log_id));
        self.out.snapshots.push(SnapshotJob::Current(meta.log_id));
        self.snapshots.persisted(meta);
    }

    // ---- purging -------------------------------------------------------------------------

    /// Purges the entries that the current snapshot covers, except trailing ones and those that a
    /// transfer retains.
    fn purge_behind_snapshot(&mut self) {
        self.building.purge_due = false;
        let target = self.purge_target();
        let start = self.log.start().index;
        if target <= start {
            return;
        }
        self.counters.entries_compacted += target - start;
        self.log.purge_through(target);
        self.steps.change().purge_through = Some(self.log.start());
    }

    /// Entries that a transfer retained are purged at the next `ready` after its end, not only at
    /// the next snapshot.
    pub(super) fn purge_released(&mut self) {
        let durable = self.snapshots.durable_id().index;
        if self.building.purge_due
            && durable == self.snapshot_id().index
            && self.install.pending_index().is_none()
            && self.building.kept_by != Some(self.keeper())
        {
            self.purge_behind_snapshot();
        }
    }

    /// What can retain more of the log than trailing entries: the lowest index that a transfer
    /// needs, and whether it is retained beyond its limit.
    fn keeper(&self) -> (Option<Index>, bool) {
        (self.pinned_index(), self.favours_slow_member())
    }

    /// The last index to purge. Trailing entries stay (A27), and up to `pin_bytes` more for a
    /// transfer that makes progress (B16).
    fn purge_target(&mut self) -> Index {
        let snapshot = self.snapshot_id().index;
        let target = self.before_trailing(snapshot);
        let keeper = self.keeper();
        let (pin, favoured) = (keeper.0.unwrap_or(Index::MAX), keeper.1);
        let kept_bytes = self.log.bytes_between(pin, target);
        let pinned = pin < target && (kept_bytes <= self.config.pin_bytes as u64 || favoured);
        self.building.purge_due = pinned;
        self.building.kept_by = pinned.then_some(keeper);
        if pinned { pin } else { target }
    }

    fn before_trailing(&self, snapshot: Index) -> Index {
        let start = self.log.start().index;
        let oldest = snapshot.saturating_sub(self.config.trailing_entries).max(start);
        let mut bytes = self.log.bytes_between(oldest, snapshot);
        let mut target = oldest;
        while bytes > self.config.trailing_bytes as u64 {
            target += 1;
            bytes -= self.log.bytes_between(target - 1, target);
        }
        target
    }

    /// After an install, entries before it no longer count.
    pub(super) fn forget_built(&mut self, installed: LogId) {
        self.building.applied_bytes = 0;
        self.building.counted_through = installed.index;
        self.building.succeed();
    }
}
