//! The peer: one member's protocol, and the requests that wait for its results.
//!
//! Each handler passes one message to [`Raft`]; it is in the file of its concern. When the mailbox
//! is drained (or the batch is cut) one `Ready` is handled for all of them. Handling a `Ready` means
//! sending messages to other actors; nothing here waits, blocks or decides.
//!
//! Time: ticks are messages, but under a flood of messages they would arrive late. So a batch that
//! is cut reads the clock itself and ticks if a tick is due. A tick that is very late shows that
//! the process was suspended: the protocol is informed of that before the tick, because messages
//! from that time may be queued behind it.
//!
//! *What it does not do:* it does not keep the log, know a command's type, or access files.

mod apply_batcher;
mod durability;
mod handle_ready;
mod network;
mod pending_reads;
mod pending_snapshots;
mod proposing;
mod snapshot_requests;
mod snapshots;
pub(crate) mod ticker;
mod waiters;

use std::sync::Arc;

use actix::Recipient;

use crate::actors::context::NodeContext;
use crate::actors::fenced_sender::FencedSender;
use crate::actors::observer::Observer;
use crate::messages::{
    Applied, AppliedMark, ApplyMessage, ApplyQueueAddress, BoxedState, PersisterAddress, Proposal,
    ProposalsEnd, ReaderAddress, SnapshotterAddress, Stop,
};
use crate::raft::{Index, LogId, Micros, Raft};
use crate::runtime::clock::Clock;
use crate::runtime::shell::{Batch, Behaviour, Receive, Turn};

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
    tick_timer: TickTimer,
    next_tick: Micros,
}

/// The recipients of the peer's messages, and the source of its proposals.
pub(crate) struct PeerLinks {
    pub(crate) proposals: ProposalsEnd,
    pub(crate) applied: Arc<AppliedMark>,
    pub(crate) persister: PersisterAddress,
    pub(crate) reader: ReaderAddress,
    pub(crate) queue: ApplyQueueAddress,
    pub(crate) apply_side: Recipient<ApplyMessage>,
    pub(crate) snapshotter: SnapshotterAddress,
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
    const NAME: &'static str = "peer";

    fn prepare(&mut self, now: Micros) {
        self.look_at_applied(now);
    }

    fn flush(&mut self, batch: Batch) {
        if batch.now >= self.next_tick {
            self.tick(batch.now);
        }
        self.reads.begin(&mut self.raft, batch.now);
        self.handle_ready(batch.now);
        self.wait_for_applied(batch.now);
        self.set_tick_timer();
        // Under a flood of messages the mailbox may never be drained: the status is then published
        // once per tick.
        if batch.drained || batch.now >= self.published + self.times.tick {
            self.publish(batch.now);
        }
        let ended = self.clock.now();
        self.shared.metrics.loop_took(ended.saturating_sub(batch.began));
    }
}

/// Nothing to do: the applied index is read before each message.
impl Receive<Applied> for RaftPeer {
    fn receive(&mut self, _applied: Applied, _turn: &mut Turn) {}
}

impl Receive<Stop> for RaftPeer {
    fn receive(&mut self, Stop(ack): Stop, turn: &mut Turn) {
        self.finish(turn.now);
        turn.stop(ack);
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
        tick_timer: TickTimer,
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
            tick_timer,
            next_tick: 0,
        };
        let now = peer.clock.now();
        peer.next_tick = now + peer.times.tick;
        peer.handle_ready(now);
        peer.set_tick_timer();
        peer.publish(now);
        peer
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
