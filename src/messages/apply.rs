//! The contract of the apply side: what it is told, and what it says.
//!
//! The apply side is whoever holds the state machine. The usual one is the node's own applier; a service may put an actor
//! of its own there ([`NodeBuilder::apply_side`](crate::node::NodeBuilder::apply_side)). Everything crosses as messages:
//!
//! ```text
//!   apply side                            node
//!     │ ── ApplyLink::pull ────────────────▶ │  room for one item
//!     │ ◀─────────────── ApplyMessage::Work  │  entries | an offered snapshot | "take a snapshot"
//!     │ ── ApplyLink::applied(index) ──────▶ │  after entries
//!     │ ── ApplyLink::cond_install(id) ────▶ │  when an offer is reached: may I switch?
//!     │ ◀─────────── ApplyMessage::Decision  │  granted: switch, report applied. refused: drop it, go on
//!     │ ── ApplyLink::snapshot(view) ──────▶ │  when asked to, or unasked; await it to learn when it is durable
//! ```
//!
//! The rules for the apply side:
//! 1. It pulls once at the start (after [`ApplyMessage::Restored`], if the node says that it restores) and again after each item
//!    it is done with. Between an offer and its decision it pulls nothing.
//! 2. Entries at or below the applied index are skipped (they came before an install that covers them); their
//!    replies are answered from the session table or dropped (B5).
//! 3. Until an offer is granted the old state stays as it is; a refused offer changes nothing (A57).
//! 4. Old states and refused shadows are given to [`ApplyLink::retire`]: freeing a large one takes seconds.
//! 5. An entry that the apply side can't understand came from another build of the service, and other members may
//!    execute it. It must not be skipped: the apply side calls [`ApplyLink::fail`], reports nothing from that entry on as
//!    applied, and pulls no more. So that none gets into the log, the service checks each command with its own decoder
//!    before it proposes it; the node doesn't look into commands of an own apply side.
//! 6. After [`ApplyMessage::Stop`] it answers or drops what it holds and ends. Work that comes while a decision is
//!    outstanding means that none will come: the offer is void.

use std::any::Any;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};

use actix::{Message, Recipient};
use tokio::sync::oneshot;

use crate::machine::CodecError;
use crate::raft::{Entries, Entry, Index, InstallDecision, LogId, SnapshotMeta};
use crate::runtime::stop_signal::StopSignal;

use super::SnapshotError;
use super::{ApplyQueueMessage, PeerMessage, ReadJob, Reply, SnapshotterMessage, StopAck};

/// A value whose type only the apply side knows: a decoded state, mostly.
pub struct BoxedState {
    value: Box<dyn Any + Send>,
    log_id: Option<LogId>,
}

impl BoxedState {
    /// Wraps a value.
    pub fn new<T: Send + 'static>(value: T) -> BoxedState {
        BoxedState { value: Box::new(value), log_id: None }
    }

    /// Wraps a decoded state that says itself which entry it is the state behind. The node compares that with what the
    /// snapshot says, before anybody is offered the state (SN19).
    pub fn state_behind<T: Send + 'static>(log_id: LogId, state: T) -> BoxedState {
        BoxedState { log_id: Some(log_id), ..BoxedState::new(state) }
    }

    /// The entry that this is the state behind, if it says so.
    pub(crate) fn log_id(&self) -> Option<LogId> {
        self.log_id
    }

    /// The value, if it is a `T`.
    pub fn downcast<T: 'static>(self) -> Option<Box<T>> {
        self.value.downcast().ok()
    }
}

impl std::fmt::Debug for BoxedState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxedState")
    }
}

/// What the apply side is told.
#[derive(Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub enum ApplyMessage {
    /// The state to begin with, from the node's current snapshot. Comes before any work.
    Restored {
        /// The last entry in it.
        log_id: LogId,
        /// The state.
        state: BoxedState,
    },
    /// The next item.
    Work(ApplyWork),
    /// The answer to [`ApplyLink::cond_install`].
    Decision(InstallDecision),
    /// Run the read once everything through the index is applied.
    ReadAt {
        /// The index; 0 for a read of whatever is there.
        index: Index,
        /// The read.
        job: ReadJob,
    },
    /// End.
    Stop(StopAck),
}

/// One item of the apply queue.
#[derive(Debug)]
#[non_exhaustive]
pub enum ApplyWork {
    /// Apply these.
    Entries(CommittedBatch),
    /// Ask whether to switch to this.
    Offer(OfferedSnapshot),
    /// Hand out a view of the state as it is now (B12).
    TakeSnapshot,
}

/// Committed entries with those who wait for them.
#[derive(Debug, Default)]
pub struct CommittedBatch {
    /// Contiguous entries.
    pub entries: Entries,
    /// Replies for some of them, by index, ascending.
    pub replies: Vec<(Index, Reply)>,
}

impl CommittedBatch {
    pub(crate) fn size_bytes(&self) -> usize {
        self.entries.iter().map(Entry::size_bytes).sum()
    }
}

/// A received snapshot, decoded.
#[derive(Debug)]
pub struct OfferedSnapshot {
    /// What it covers.
    pub meta: SnapshotMeta,
    /// The state.
    pub shadow: BoxedState,
}

/// A view of the state after one entry, to be encoded elsewhere.
pub struct StateView {
    log_id: LogId,
    encode: Encode,
}

type Encode = Box<dyn FnOnce(&mut dyn Write) -> Result<(), CodecError> + Send>;

impl StateView {
    /// The state after the entry `log_id`; `encode` writes it out, on the snapshotter's thread.
    pub fn new(
        log_id: LogId,
        encode: impl FnOnce(&mut dyn Write) -> Result<(), CodecError> + Send + 'static,
    ) -> StateView {
        StateView { log_id, encode: Box::new(encode) }
    }

    pub(crate) fn log_id(&self) -> LogId {
        self.log_id
    }

    pub(crate) fn encode(self, out: &mut dyn Write) -> Result<(), CodecError> {
        (self.encode)(out)
    }
}

impl std::fmt::Debug for StateView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateView({})", self.log_id)
    }
}

/// How a snapshot that the apply side handed out ends: `Ok` once it is the node's current one, durably, and what it
/// covers may be forgotten. Dropping it changes nothing.
#[derive(Debug)]
pub struct SnapshotTaken(oneshot::Receiver<Result<LogId, SnapshotError>>);

impl Future for SnapshotTaken {
    type Output = Result<LogId, SnapshotError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let taken = Pin::new(&mut self.0).poll(context);
        taken.map(|taken| taken.unwrap_or(Err(SnapshotError::Fatal)))
    }
}

/// How far the apply side is, for the peer to look at in each of its turns. A message comes only if the peer waits: another
/// turn or tick is never far, and waking a thread costs more than applying a few commands.
#[derive(Debug)]
pub(crate) struct AppliedMark {
    applied: AtomicU64,
    /// The peer wants to be woken once this is applied.
    wake_at: AtomicU64,
}

impl AppliedMark {
    pub(crate) fn new() -> Arc<AppliedMark> {
        Arc::new(AppliedMark { applied: AtomicU64::new(0), wake_at: AtomicU64::new(Index::MAX) })
    }

    /// Everything through `index` is applied; whether the peer is to be woken.
    fn reach(&self, index: Index) -> bool {
        // Each side stores its own before it loads the other's: one of the two sees both.
        self.applied.store(index, SeqCst);
        self.wake_at.load(SeqCst) <= index
    }

    /// How far the apply side is.
    pub(crate) fn applied(&self) -> Index {
        self.applied.load(SeqCst)
    }

    /// Wakes the peer once `index` is applied; whether it is already.
    pub(crate) fn wake_at(&self, index: Index) -> bool {
        self.wake_at.store(index, SeqCst);
        self.applied() >= index
    }
}

/// How the apply side speaks to its node. While the node runs, the end of the last clone is the end of the apply side:
/// the node stops.
#[derive(Clone)]
pub struct ApplyLink {
    pub(crate) peer: Recipient<PeerMessage>,
    pub(crate) queue: Recipient<ApplyQueueMessage>,
    pub(crate) snapshotter: Recipient<SnapshotterMessage>,
    pub(crate) restores: bool,
    pub(crate) mark: Arc<AppliedMark>,
    pub(crate) _guard: Arc<ApplyGuard>,
}

impl ApplyLink {
    /// Whether the node starts from a snapshot: then [`ApplyMessage::Restored`] comes, and before it nothing is pulled.
    pub fn restores(&self) -> bool {
        self.restores
    }

    /// There is room for one item.
    pub fn pull(&self) {
        self.queue.do_send(ApplyQueueMessage::Pull);
    }

    /// Everything through `index` is applied.
    pub fn applied(&self, index: Index) {
        if self.mark.reach(index) {
            self.peer.do_send(PeerMessage::Applied);
        }
    }

    /// CondInstallSnapshot: an offer is reached. Answered by [`ApplyMessage::Decision`], once.
    pub fn cond_install(&self, log_id: LogId) {
        self.peer.do_send(PeerMessage::CondInstall(log_id));
    }

    /// Encodes and publishes a snapshot, of the last entry that was reported applied or of an earlier one. It becomes current
    /// unless it covers more than that, or no more than the current one. Whoever wants to know awaits what is returned.
    pub fn snapshot(&self, view: StateView) -> SnapshotTaken {
        let (reply, taken) = oneshot::channel();
        self.peer.do_send(PeerMessage::View { view, reply });
        SnapshotTaken(taken)
    }

    /// The state machine can't go on: the node stops, with this reason in its status. For an entry that can't be decoded: name
    /// its index and term, and which build is needed.
    pub fn fail(&self, reason: impl Into<String>) {
        self._guard.0.fail(reason.into());
    }

    /// There is nothing to take a snapshot of.
    pub fn decline_snapshot(&self) {
        self.peer.do_send(PeerMessage::SnapshotDeclined);
    }

    /// Drops `value` where that delays nobody.
    pub fn retire(&self, value: BoxedState) {
        self.snapshotter.do_send(SnapshotterMessage::Retire(value));
    }
}

/// Notices the end of an apply side: held by every clone of its link.
pub struct ApplyGuard(pub(crate) Arc<StopSignal>);

impl Drop for ApplyGuard {
    fn drop(&mut self) {
        self.0.actor_ended("apply side");
    }
}
