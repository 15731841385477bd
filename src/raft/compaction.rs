//! Local snapshots and what they allow the log to forget (MECHANISMS A9–A32, B12, B16, B20).
//!
//! The trigger goes through the apply queue, so that state and index are paired by construction. Its measure is what
//! has been *applied* since the last snapshot: that part a new snapshot makes superfluous, so the trigger cannot fire
//! again on what would stay anyway. Only one build is under way at a time.

use super::core::Raft;
use super::random::Random;
use super::ready::{ApplyItem, Event, SnapshotJob};
use super::types::{Index, LogId, Micros, SnapshotMeta};

/// The wait before a trigger asks again is doubled so often, at most.
const RETRY_DOUBLINGS_MAX: u32 = 6;

/// The state of making snapshots here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Building {
    /// Between asking for a snapshot and its being published, refused or declined.
    under_way: bool,
    /// The service asked for one.
    requested: bool,
    /// The service still waits for one that it asked for: what was built did not become current.
    requested_again: bool,
    /// Bytes and index of the part of the log that is applied and not in the current snapshot.
    applied_bytes: u64,
    counted_through: Index,
    /// Snapshots in a row that were asked for and did not become current.
    pub(super) failures: u32,
    /// No trigger asks again before this moment.
    pub(super) retry_at: Micros,
    /// More may go than has gone: a transfer kept it, or a restart came between.
    purge_due: bool,
    /// What kept it, as of the last look: while that is the same, another look finds the same.
    pub(super) kept_by: Option<(Option<Index>, bool)>,
    /// How far below the limits this node's next trigger lies, in thousandths: so that members do not all build at once.
    jitter_thousandths: u64,
}

impl Building {
    /// As a node starts: what an earlier incarnation kept may go now.
    pub(super) fn new(random: &mut Random) -> Building {
        let mut building = Building { purge_due: true, ..Building::default() };
        building.draw_jitter(random);
        building
    }

    fn draw_jitter(&mut self, random: &mut Random) {
        self.jitter_thousandths = random.between(0, 100);
    }

    /// What was being built, if anything was, has not become current.
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

    /// The limit, 90 % of it less the jitter.
    fn threshold(&self, limit: u64) -> u64 {
        (u128::from(limit) * u128::from(900 - self.jitter_thousandths) / 1000) as u64
    }
}

impl Raft {
    /// A snapshot is wanted, whatever the triggers say. Nothing happens if nothing was applied since the last one.
    pub fn request_snapshot(&mut self, now: Micros) {
        self.input(now, |raft| raft.building.requested = true);
    }

    /// As [`Raft::request_snapshot`], by a service that still waits for one because what was built
    /// did not become current: after `snapshot_retry_interval`, as the triggers.
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

    /// Whether a snapshot will be due once all is applied that was handed over.
    pub(super) fn is_snapshot_near(&self) -> bool {
        let bytes = self.building.applied_bytes + self.apply_outstanding_bytes as u64;
        let entries = self.log.handed().saturating_sub(self.snapshot_id().index);
        !self.building.under_way
            && (self.building.requested || self.is_snapshot_due(bytes, entries))
    }

    /// Whether one is due without a new request, with so much applied since the last one. After a
    /// failure this waits for `retry_at`.
    fn is_snapshot_due(&self, bytes: u64, entries: u64) -> bool {
        self.now >= self.building.retry_at
            && (self.building.requested_again
                || self.size_triggers(bytes)
                || self.count_triggers(entries))
    }

    /// Whether so many bytes applied since the last snapshot make one due.
    fn size_triggers(&self, bytes: u64) -> bool {
        let limit = self.config.snapshot_bytes;
        limit.is_some_and(|limit| bytes >= self.building.threshold(limit as u64))
    }

    /// Whether so many entries applied since the last snapshot make one due.
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

    /// A snapshot made here is published: asked for by `ApplyItem::TakeSnapshot`, or unasked by the service.
    pub fn snapshot_taken(&mut self, now: Micros, meta: SnapshotMeta) {
        self.input(now, |raft| raft.on_snapshot_taken(meta));
    }

    fn on_snapshot_taken(&mut self, meta: SnapshotMeta) {
        let log_id = meta.log_id;
        if let Err(why) = self.judge_taken(&meta) {
            tracing::debug!(node = self.config.node, snapshot = %log_id, "snapshot not taken: {why}");
            self.building.fail(self.now, self.config.snapshot_retry_interval);
            self.out.events.push(Event::SnapshotRefused(log_id));
            return;
        }
        self.building.under_way = false;
        self.building.succeed();
        self.step_change.snapshot = Some(meta.clone());
        self.snapshot = Some(meta);
        self.building.applied_bytes =
            self.log.bytes_between(log_id.index, self.building.counted_through);
        self.building.draw_jitter(&mut self.random);
        self.purge_behind_snapshot();
        self.counters.purges_pinned += u64::from(self.building.purge_due);
    }

    /// A9, A10, A11 as B24 has it: refused, not fatal.
    fn judge_taken(&self, meta: &SnapshotMeta) -> Result<(), &'static str> {
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

    /// The service did not make the snapshot it was asked for; the triggers ask again after
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

    /// The record that names this snapshot, made here or installed, is durable: who waits for one that covers so much has
    /// it, it can be sent, and older files may go.
    pub(super) fn make_current(&mut self, meta: SnapshotMeta) {
        self.out.events.push(Event::SnapshotCurrent(meta.log_id));
        self.out.snapshots.push(SnapshotJob::Current(meta.log_id));
        self.durable_snapshot = Some(meta);
    }

    // ---- purging -------------------------------------------------------------------------

    /// Purges behind the current snapshot what neither trailing nor a transfer keeps.
    fn purge_behind_snapshot(&mut self) {
        self.building.purge_due = false;
        let target = self.purge_target();
        let start = self.log.start().index;
        if target <= start {
            return;
        }
        self.counters.entries_compacted += target - start;
        self.log.purge_through(target);
        self.step_change.purge_through = Some(self.log.start());
    }

    /// A pin that was released lets the log go at the next turn, not only at the next snapshot.
    pub(super) fn purge_released(&mut self) {
        let durable = self.durable_snapshot.as_ref().map_or(0, |meta| meta.log_id.index);
        if self.building.purge_due
            && durable == self.snapshot_id().index
            && self.install.pending_index().is_none()
            && self.building.kept_by != Some(self.keeper())
        {
            self.purge_behind_snapshot();
        }
    }

    /// What can keep more of the log than trailing entries: the pin, and whether it holds beyond
    /// its limit.
    fn keeper(&self) -> (Option<Index>, bool) {
        (self.pinned_index(), self.favours_slow_member())
    }

    /// The last index to go: trailing entries stay (A27), and up to `pin_bytes` more for a transfer that gets further (B16).
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

    /// After an install nothing before it counts any more.
    pub(super) fn forget_built(&mut self, installed: LogId) {
        self.building.applied_bytes = 0;
        self.building.counted_through = installed.index;
        self.building.succeed();
    }
}
