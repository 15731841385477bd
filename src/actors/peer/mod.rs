//! The peer: one member's protocol, and the requests that wait for its results.
//!
//! Each handler passes one message to [`Raft`]; when the mailbox is drained (or the batch is cut)
//! one `Ready` is handled for all of them. Handling a `Ready` means sending messages to other
//! actors; nothing here waits, blocks or decides.
//!
//! Time: ticks are messages, but under a flood of messages they would arrive late. So a batch that
//! is cut reads the clock itself and ticks if a tick is due. A tick that is very late shows that
//! the process was suspended: the protocol is informed of that before the tick, because messages
//! from that time may be queued behind it.
//!
//! *What it does not do:* it does not keep the log, know a command's type, or access files.

mod apply_batcher;
mod handle_ready;
mod pending_reads;
mod pending_snapshots;
mod snapshot_requests;
pub(crate) mod ticker;
mod waiters;

use std::sync::Arc;

use actix::Recipient;

use crate::actors::context::NodeContext;
use crate::actors::fenced_sender::FencedSender;
use crate::actors::observer::Observer;
use crate::messages::{
    AppliedMark, ApplyMessage, ApplyQueueMessage, BoxedState, DecodedSnapshot, PeerMessage,
    PersisterMessage, Proposal, ProposalsEnd, ProposeError, ReaderMessage, SnapshotError,
    SnapshotReply, SnapshotterMessage, StateView,
};
use crate::raft::{Envelope, Index, LogId, Micros, NodeId, Raft, Refusal, RequestId, SnapshotMeta};
use crate::runtime::clock::Clock;
use crate::runtime::shell::{Batch, Behaviour, Flow};

use self::apply_batcher::ApplyBatcher;
use self::pending_reads::PendingReads;
use self::pending_snapshots::PendingSnapshots;
use self::snapshot_requests::SnapshotRequests;
use self::ticker::TickTimer;
use self::waiters::Waiters;

pub(crate) struct RaftPeer {
    pub(super) raft: Raft,
    pub(super) links: PeerLinks,
    pub(super) shared: Arc<NodeContext>,
    pub(super) clock: Clock,
    pub(super) observer: Observer,
    times: Times,
    /// Empty between two messages; kept to reuse its allocation.
    piece: Vec<Proposal>,
    pub(super) waiters: Waiters,
    pub(super) reads: PendingReads,
    pub(super) snapshot_requests: SnapshotRequests,
    pub(super) pending_snapshots: PendingSnapshots,
    pub(super) apply_batcher: ApplyBatcher,
    /// A decoded snapshot that is offered in this batch.
    pub(super) shadow: Option<(LogId, BoxedState)>,
    /// When decoding of the snapshot to be installed was requested.
    pub(super) install_began: Option<(LogId, Micros)>,
    /// The last requested durable step with the time of its request, and the last complete step.
    pub(super) asked: (u64, Micros),
    persisted: u64,
    sealed: u64,
    /// The last applied index that was read, and the index for which the apply side sends a
    /// message.
    applied: Index,
    applied_wanted: Option<Index>,
    /// When the status was last published.
    published: Micros,
    alarm: TickTimer,
    next_tick: Micros,
}

/// The recipients of the peer's messages, and the source of its proposals.
pub(crate) struct PeerLinks {
    pub(crate) proposals: ProposalsEnd,
    pub(crate) applied: Arc<AppliedMark>,
    pub(crate) persister: Recipient<PersisterMessage>,
    pub(crate) reader: Recipient<ReaderMessage>,
    pub(crate) queue: Recipient<ApplyQueueMessage>,
    pub(crate) apply_side: Recipient<ApplyMessage>,
    pub(crate) snapshotter: Recipient<SnapshotterMessage>,
    pub(crate) sender: FencedSender,
}

/// The peer's time settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) tick: Micros,
    /// A tick that is late by this much shows that the process was suspended.
    pub(crate) stall: Micros,
    pub(crate) proposal_timeout: Micros,
    /// The log is sealed after this much time without a requested step.
    pub(crate) idle: Micros,
}

impl Behaviour for RaftPeer {
    type Message = PeerMessage;
    const NAME: &'static str = "peer";

    fn on(&mut self, message: PeerMessage, now: Micros) -> Flow {
        self.look_at_applied(now);
        let raft = &mut self.raft;
        match message {
            PeerMessage::Proposals => self.propose_all(now),
            PeerMessage::Read(job) => self.reads.add(job),
            PeerMessage::Snapshot(reply) => self.snapshot_requests.add(raft, now, reply),
            PeerMessage::Envelope(envelope, _handled) => self.step(now, envelope),
            PeerMessage::Undelivered { to, id } => self.undelivered(now, to, id),
            PeerMessage::Tick { due } => self.on_tick(now, due),
            PeerMessage::Persisted { seq } => self.on_persisted(now, seq),
            PeerMessage::LogRead { id, outcome } => raft.log_read(now, id, outcome),
            PeerMessage::ChunkRead { to, transfer, offset, outcome } => {
                raft.chunk_read(now, to, transfer, offset, outcome);
            }
            PeerMessage::ChunkWritten { transfer, outcome } => {
                raft.chunk_written(now, transfer, outcome)
            }
            PeerMessage::DecodeBegun(log_id) => raft.decode_begun(now, log_id),
            PeerMessage::Decoded { log_id, decoded } => self.on_decoded(now, log_id, decoded),
            PeerMessage::View { view, reply } => self.encode(view, reply),
            PeerMessage::SnapshotTaken(meta) => self.on_snapshot_taken(now, meta),
            PeerMessage::SnapshotDeclined => {
                raft.snapshot_declined(now);
                self.snapshot_requests.declined();
            }
            PeerMessage::SnapshotSuperfluous(log_id) => self.on_snapshot_superfluous(now, log_id),
            // Nothing to do: each message reads the applied index first.
            PeerMessage::Applied => {}
            PeerMessage::CondInstall(log_id) => raft.cond_install(now, log_id),
            PeerMessage::Stop(ack) => {
                self.finish(now);
                return Flow::Stop(ack);
            }
        }
        Flow::Go
    }

    fn flush(&mut self, batch: Batch) {
        if batch.now >= self.next_tick {
            self.tick(batch.now);
        }
        self.reads.begin(&mut self.raft, batch.now);
        self.handle_ready(batch.now);
        self.wait_for_applied(batch.now);
        self.set_alarm();
        // Under a flood of messages the mailbox may never be drained: the status is then published
        // once per tick.
        if batch.drained || batch.now >= self.published + self.times.tick {
            self.publish(batch.now);
        }
        let ended = self.clock.now();
        self.shared.metrics.loop_took(ended.saturating_sub(batch.began));
    }
}

impl RaftPeer {
    pub(crate) fn new(
        raft: Raft,
        links: PeerLinks,
        shared: Arc<NodeContext>,
        clock: Clock,
        observer: Observer,
        times: Times,
        alarm: TickTimer,
    ) -> RaftPeer {
        let mut peer = RaftPeer {
            raft,
            links,
            shared,
            clock,
            observer,
            times,
            piece: Vec::new(),
            waiters: Waiters::default(),
            reads: PendingReads::default(),
            snapshot_requests: SnapshotRequests::default(),
            pending_snapshots: PendingSnapshots::default(),
            apply_batcher: ApplyBatcher::default(),
            shadow: None,
            install_began: None,
            asked: (0, 0),
            persisted: 0,
            sealed: 0,
            applied: 0,
            applied_wanted: None,
            published: 0,
            alarm,
            next_tick: 0,
        };
        let now = peer.clock.now();
        peer.next_tick = now + peer.times.tick;
        peer.handle_ready(now);
        peer.set_alarm();
        peer.publish(now);
        peer
    }

    fn propose_all(&mut self, now: Micros) {
        let mut piece = std::mem::take(&mut self.piece);
        self.links.proposals.take(&mut piece);
        let wall_ms = self.clock.wall_ms();
        piece.drain(..).for_each(|proposal| self.propose(now, wall_ms, proposal));
        self.piece = piece;
    }

    fn propose(&mut self, now: Micros, wall_ms: u64, proposal: Proposal) {
        let Proposal { data, mut reply } = proposal;
        let (role, term, _) = self.raft.role();
        reply.arrived(role, term);
        match self.raft.propose(now, wall_ms, data) {
            Ok(log_id) => {
                reply.mark_appended(log_id);
                self.waiters.add(log_id, now + self.times.proposal_timeout, reply);
            }
            Err(Refusal::NotLeader(leader)) => reply.refuse(ProposeError::NotLeader { leader }),
            Err(Refusal::Busy) => reply.refuse(ProposeError::Busy),
        }
    }

    fn look_at_applied(&mut self, now: Micros) {
        let applied = self.links.applied.applied();
        if applied > self.applied {
            self.applied = applied;
            self.raft.applied(now, applied);
        }
    }

    /// Requests a message if the protocol can't continue before more entries are applied.
    fn wait_for_applied(&mut self, now: Micros) {
        loop {
            let wanted = self.raft.awaits_applied();
            if wanted.is_some() {
                self.release_batch(now);
            }
            if wanted == self.applied_wanted {
                return;
            }
            self.applied_wanted = wanted;
            if self.links.applied.wake_at(wanted.unwrap_or(Index::MAX)) {
                self.look_at_applied(now);
                self.handle_ready(now);
            }
        }
    }

    fn step(&mut self, now: Micros, envelope: Envelope) {
        if !self.shared.stop_signal.fenced() {
            self.raft.step(now, envelope);
        }
    }

    fn undelivered(&mut self, now: Micros, to: NodeId, id: RequestId) {
        self.raft.undelivered(now, to, id);
    }

    fn on_tick(&mut self, now: Micros, due: Micros) {
        self.alarm.arrived();
        self.shared.metrics.loop_took(now.saturating_sub(due));
        self.tick(now);
        self.seal_if_idle(now);
    }

    fn tick(&mut self, now: Micros) {
        if now.saturating_sub(self.next_tick) >= self.times.stall {
            self.raft.stalled(now);
        }
        self.next_tick = now + self.times.tick;
        self.release_batch(now);
        self.raft.tick(now);
        self.waiters.expire(now);
        self.shared.reads.expire(now);
    }

    fn set_alarm(&mut self) {
        let deadline =
            self.raft.next_deadline().min(self.apply_batcher.due().unwrap_or(Micros::MAX));
        self.next_tick = self.next_tick.min(deadline);
        self.alarm.set(deadline);
    }

    fn on_persisted(&mut self, now: Micros, seq: u64) {
        assert!(
            seq > self.persisted && seq <= self.asked.0,
            "step {seq} complete, of {:?}",
            self.asked
        );
        // Steps complete in order, and the protocol is notified of each.
        for seq in self.persisted + 1..=seq {
            self.raft.persisted(now, seq);
        }
        self.persisted = seq;
    }

    fn on_decoded(&mut self, now: Micros, log_id: LogId, decoded: DecodedSnapshot) {
        let shadow = match decoded {
            DecodedSnapshot::State(shadow) => shadow,
            DecodedSnapshot::Undecodable => return self.raft.snapshot_undecodable(now, log_id),
            DecodedSnapshot::Broken => {
                self.raft.snapshot_decoded(now, log_id, false);
                return;
            }
        };
        if self.raft.snapshot_decoded(now, log_id, true) {
            self.shadow = Some((log_id, shadow));
        } else {
            self.links.snapshotter.do_send(SnapshotterMessage::Retire(shadow));
        }
    }

    fn encode(&mut self, view: StateView, reply: SnapshotReply) {
        self.pending_snapshots.encoding(view.log_id(), reply);
        self.links.snapshotter.do_send(SnapshotterMessage::Take(view));
    }

    fn on_snapshot_taken(&mut self, now: Micros, meta: SnapshotMeta) {
        let (log_id, before) = (meta.log_id, self.raft.status().snapshot);
        self.raft.snapshot_taken(now, meta);
        let accepted = self.raft.status().snapshot == log_id && before != log_id;
        let judged = match accepted {
            true => Ok(()),
            false if log_id.index <= before.index => Err(SnapshotError::Outdated),
            false => Err(SnapshotError::Refused),
        };
        self.pending_snapshots.published(log_id, judged);
    }

    fn on_snapshot_superfluous(&mut self, now: Micros, log_id: LogId) {
        self.raft.snapshot_declined(now);
        self.snapshot_requests.passed(&mut self.raft, now);
        self.pending_snapshots.published(log_id, Err(SnapshotError::Outdated));
    }

    /// Seals an idle log: marks its end durably, so that later damage to it is detected.
    fn seal_if_idle(&mut self, now: Micros) {
        let (last, at) = self.asked;
        if self.sealed < last && self.persisted == last && now.saturating_sub(at) >= self.times.idle
        {
            self.sealed = last;
            self.links.persister.do_send(PersisterMessage::Seal);
        }
    }

    fn publish(&mut self, now: Micros) {
        self.published = now;
        self.raft.show_status(&mut self.shared.raft.lock());
    }

    /// Handles the last `Ready`; no decisions are made after it. Requested steps are still written;
    /// pending requests are failed.
    fn finish(&mut self, now: Micros) {
        self.handle_ready(now);
        self.release_batch(now);
        self.publish(now);
        self.waiters.forget_all();
        self.reads.fail_all();
        self.snapshot_requests.fail_all();
        self.pending_snapshots.fail_all();
    }
}

#[cfg(test)]
mod tests;
