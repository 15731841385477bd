//! Sending a snapshot to a member that needs entries from before the log's start (Raft §7, A33–A45
//! in `docs/mechanisms.md`).
//!
//! One chunk is in flight at a time. It is read outside the protocol, sent on a lane of its own,
//! and answered with the offset to continue at. When the member has the whole snapshot, its state
//! machine decides whether to install it; answers to heartbeats report the progress. The member
//! stays in the Snapshot state until entries can follow its log, or it reports Refused, or it
//! reports nothing about a snapshot for an election timeout (B15). It is asked soon after it has
//! the snapshot, and at increasing intervals while it decodes. A member whose build can't decode
//! the snapshot is sent the next one much later, unless it is restarted before. A transfer that
//! makes progress retains the log after its snapshot (B16).
//!
//! A lost chunk is sent again only to a member that has answered within the longest election
//! timeout (A38). A silent member gets only heartbeats. When it answers one, the transfer continues
//! at its offset, or ends if the member was restarted.
//!
//! A link may need more than `request_timeout` for a chunk. A late answer, to a chunk that was
//! given up and sent again, still advances the transfer, and the timeout of the next chunks is
//! doubled, up to twice the longest election timeout.

use std::collections::VecDeque;

use super::core::Raft;
use super::message::{
    ChunkOutcome, Envelope, InstallStatus, Request, SnapshotAnswer, SnapshotChunk,
};
use super::ready::{ChunkRead, ChunkReadOutcome};
use super::state::{Progress, ProgressState, Transfer, TransferStep};
use super::types::{Index, Micros, NodeId};

/// After this many failed transfers in a row, proposals slow down so that the member can catch up
/// (B16).
const FAILED_TRANSFERS_MAX: u32 = 3;

impl Raft {
    /// Begins a transfer, because the log starts after the entries that the member needs. Nothing
    /// is sent to a member that has not answered recently (A38) or that receives or installs a
    /// snapshot from any sender, or while no snapshot is available (A39).
    pub(super) fn begin_transfer(&mut self, to: NodeId) {
        let Some(meta) = self.snapshots.durable().cloned() else { return };
        let reaches = meta.log_id.index >= self.log.start().index;
        let active = self.role.progress(to).is_some_and(|progress| self.is_active(progress));
        let now = self.now;
        let Some(progress) = self.role.progress_mut(to) else { return };
        if !reaches || !active || progress.installs() {
            return;
        }
        let transfer = self.numbers.take_transfer();
        progress.needs_newer_build = false;
        tracing::debug!(node = self.config.node, to, snapshot = %meta.log_id, "sending a snapshot");
        progress.state = ProgressState::Snapshot(Transfer {
            transfer,
            meta,
            offset: 0,
            step: TransferStep::Reading,
            asked: VecDeque::new(),
            patience: self.config.request_timeout,
            progressed_at: now,
            poll: self.config.retry_interval,
        });
        self.read_chunk(to);
    }

    /// Whether the member has answered this leader, and recently. Only then is it sent a snapshot
    /// (A38).
    pub(super) fn is_active(&self, progress: &Progress) -> bool {
        let active_since = self.now.saturating_sub(self.config.election_timeout_max);
        progress.has_answered && progress.answered_at >= active_since
    }

    fn read_chunk(&mut self, to: NodeId) {
        let max_bytes = self.config.snapshot_chunk_bytes;
        let Some(transfer) = self.role.progress_mut(to).and_then(Progress::transfer_mut) else {
            return;
        };
        transfer.step = TransferStep::Reading;
        self.out.chunk_reads.push(ChunkRead {
            to,
            transfer: transfer.transfer,
            snapshot: transfer.meta.log_id,
            offset: transfer.offset,
            max_bytes,
        });
    }

    /// A chunk that `Ready::chunk_reads` asked for was read, or its snapshot is gone.
    pub fn chunk_read(
        &mut self,
        now: Micros,
        to: NodeId,
        transfer: u64,
        offset: u64,
        outcome: ChunkReadOutcome,
    ) {
        self.input(now, |raft| raft.on_chunk_read(to, transfer, offset, outcome));
    }

    fn on_chunk_read(&mut self, to: NodeId, transfer: u64, offset: u64, outcome: ChunkReadOutcome) {
        let (now, round) = (self.now, self.round);
        let Some(progress) = self.role.progress_mut(to) else { return };
        let Some(current) = progress.transfer_mut() else { return };
        if current.transfer != transfer
            || current.offset != offset
            || current.step != TransferStep::Reading
        {
            return;
        }
        let ChunkReadOutcome::Data { data, crc } = outcome else {
            return self.fail_transfer(to);
        };
        let meta = current.meta.clone();
        let chunk = SnapshotChunk { meta, transfer, offset, data, crc, round };
        let id = self.ask(to, Request::Snapshot(chunk));
        if let Some(progress) = self.role.progress_mut(to) {
            progress.sent_at = now;
            progress.next_heartbeat_at = None;
            if let Some(current) = progress.transfer_mut() {
                current.on_sent(id, now);
            }
        }
    }

    pub(super) fn on_chunk_answer(&mut self, envelope: &Envelope, answer: SnapshotAnswer) {
        if !self.on_report(envelope, &answer.report) {
            return;
        }
        self.on_chunk_outcome(envelope, &answer);
        self.look_at_transfer(envelope.from);
        self.advance_commit();
    }

    fn on_chunk_outcome(&mut self, envelope: &Envelope, answer: &SnapshotAnswer) {
        let (to, now) = (envelope.from, self.now);
        let patience_max = (2 * self.config.election_timeout_max).max(self.config.request_timeout);
        let Some(transfer) = self.role.progress_mut(to).and_then(Progress::transfer_mut) else {
            return;
        };
        let current = matches!(transfer.step, TransferStep::Sent { id, .. } if id == envelope.id);
        let further =
            matches!(answer.outcome, ChunkOutcome::Continue { offset } if offset > transfer.offset);
        let late = further && transfer.is_answered_late_by(envelope.id);
        if transfer.transfer != answer.transfer || !(current || late) {
            return;
        }
        if late {
            transfer.patience = (2 * transfer.patience).min(patience_max);
        }
        match answer.outcome {
            ChunkOutcome::Continue { offset } if offset > transfer.meta.size_bytes => {
                self.ignore(envelope, "an offset beyond the snapshot's end");
            }
            ChunkOutcome::Continue { offset } => {
                transfer.move_to(offset, now);
                if offset == transfer.meta.size_bytes {
                    transfer.step = TransferStep::Installing;
                    transfer.progressed_at = now;
                    self.counters.snapshots_sent += 1;
                } else {
                    self.read_chunk(to);
                }
            }
            ChunkOutcome::Unwanted => transfer.step = TransferStep::Installing,
            ChunkOutcome::Corrupt => self.fail_transfer(to),
            ChunkOutcome::Stale => {}
        }
    }

    /// Ends a failed transfer. The next one begins when the member is again found to need a
    /// snapshot.
    fn fail_transfer(&mut self, to: NodeId) {
        let retry_at = self.now + self.config.retry_interval;
        if let Some(progress) = self.role.progress_mut(to) {
            progress.failed_transfers += 1;
            progress.install = InstallStatus::None;
            progress.become_probe();
            progress.retry_at = retry_at;
        }
    }

    /// Lost chunks are read and sent again.
    pub(super) fn go_on_with_transfer(&mut self, to: NodeId) {
        let resumes_at = self.role.progress(to).and_then(|progress| self.resumes_at(progress));
        if resumes_at.is_some_and(|at| self.now >= at) {
            self.read_chunk(to);
        }
    }

    /// When the chunk that was lost on its way to this member is sent again. `None` while the
    /// member is silent.
    pub(super) fn resumes_at(&self, progress: &Progress) -> Option<Micros> {
        let lost = progress.transfer().is_some_and(|transfer| transfer.step == TransferStep::Lost);
        (lost && self.is_active(progress)).then_some(progress.retry_at)
    }

    /// Ends the transfer if entries can follow the member's log by now, or the snapshot was
    /// refused.
    pub(super) fn look_at_transfer(&mut self, from: NodeId) {
        let (now, start) = (self.now, self.log.start().index);
        let poll_max = self.config.heartbeat_interval;
        let wait_max = self.config.undecodable_retry_max;
        let Some(progress) = self.role.progress_mut(from) else { return };
        let Some(transfer) = progress.transfer() else { return };
        let refused = matches!(progress.install, InstallStatus::Refused { .. })
            && matches!(transfer.step, TransferStep::Installing);
        let undecodable = matches!(progress.install, InstallStatus::Undecodable { .. })
            && matches!(transfer.step, TransferStep::Installing);
        if progress.matched >= start {
            progress.failed_transfers = 0;
            progress.become_probe();
        } else if refused {
            // The member's committed entries may not be durable there yet. Without a wait, the same
            // snapshot would be sent and refused again and again, as fast as the network carries
            // it.
            progress.become_probe();
            progress.retry_at = now + self.config.heartbeat_interval;
        } else if undecodable {
            progress.on_undecodable(now, wait_max);
        } else if transfer.step == TransferStep::Installing {
            let poll_at = now + transfer.poll;
            let busy = progress.installs();
            if let Some(transfer) = progress.transfer_mut() {
                transfer.poll = (2 * transfer.poll).min(poll_max);
                if busy {
                    transfer.progressed_at = now;
                }
            }
            progress.call(poll_at);
        }
    }

    /// A member that has the snapshot and reports nothing of it for an election timeout has lost
    /// it.
    pub(super) fn expire_transfers(&mut self) {
        let timeout = self.config.election_timeout_max;
        let now = self.now;
        let silent = |progress: &Progress| {
            progress.install == InstallStatus::None
                && progress.transfer().is_some_and(|transfer| {
                    transfer.step == TransferStep::Installing
                        && now.saturating_sub(transfer.progressed_at) > timeout
                })
        };
        let failed: Vec<NodeId> =
            self.role.members().filter(|(_, p)| silent(p)).map(|(node, _)| node).collect();
        for node in failed {
            self.fail_transfer(node);
        }
    }

    /// The lowest index after which active transfers need the log. A transfer without recent
    /// progress does not count.
    pub(super) fn pinned_index(&self) -> Option<Index> {
        let patience = 2 * self.config.election_timeout_max;
        let alive =
            |transfer: &&Transfer| self.now.saturating_sub(transfer.progressed_at) <= patience;
        let transfers = self.role.members().filter_map(|(_, progress)| progress.transfer());
        transfers.filter(alive).map(|transfer| transfer.meta.log_id.index).min()
    }

    /// Whether compaction repeatedly overtakes the transfers to a member.
    pub(super) fn favours_slow_member(&self) -> bool {
        let active_since = self.now.saturating_sub(self.config.election_timeout_max);
        let losing = |progress: &Progress| {
            progress.failed_transfers >= FAILED_TRANSFERS_MAX
                && progress.answered_at >= active_since
        };
        self.role.members().any(|(_, progress)| losing(progress))
    }

    /// Whether proposals have to wait so that such a member can catch up.
    pub(super) fn must_slow_down(&self) -> bool {
        let pinned = |pin: Index| self.log.bytes_between(pin, self.log.last_index());
        self.favours_slow_member()
            && self.pinned_index().is_some_and(|pin| pinned(pin) >= self.config.pin_bytes as u64)
    }
}
