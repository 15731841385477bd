//! The contract of the apply side: the messages it receives and the calls it makes.
//!
//! The apply side is the actor that holds the state machine. By default it is the node's own
//! applier; a service may supply an actor of its own
//! ([`NodeBuilder::apply_side`](crate::node::NodeBuilder::apply_side)). It communicates with the
//! node by messages only:
//!
//! ```text
//!   apply side                            node
//!     │ ── ApplyLink::pull ────────────────▶ │  room for one item
//!     │ ◀─────────────── ApplyMessage::Work  │  entries | an offered snapshot | "take a snapshot"
//!     │ ── ApplyLink::applied(index) ──────▶ │  after entries
//!     │ ── ApplyLink::cond_install(id) ────▶ │  when an offer is reached: may I switch?
//!     │ ◀─────────── ApplyMessage::Decision  │  granted: switch, report. refused: drop it
//!     │ ── ApplyLink::snapshot(view) ──────▶ │  at any time; await it: is it durable?
//! ```
//!
//! The rules for the apply side:
//! 1. It pulls once at the start (after [`ApplyMessage::Restored`], if [`ApplyLink::restores`] is
//!    true) and again after each item it has finished. Between an offer and its decision it does
//!    not pull.
//! 2. It skips entries at or below the applied index (they were queued before an install that
//!    covers them). Their replies are answered from the session table or dropped (B5).
//! 3. Until an offer is granted the old state stays unchanged; a refused offer changes nothing
//!    (A57).
//! 4. Old states and refused staged states are passed to [`ApplyLink::retire`]: freeing a large
//!    state takes seconds.
//! 5. An entry that the apply side can't decode was written by another build of the service, and
//!    other members may execute it. It must not be skipped: the apply side calls
//!    [`ApplyLink::fail`], reports neither that entry nor a later one as applied, and stops
//!    pulling. To keep such entries out of the log, the service checks each command with its own
//!    decoder before it proposes it; the node does not decode the commands of a custom apply side.
//! 6. After [`ApplyMessage::Stop`] it answers or drops what it holds and ends. Work that arrives
//!    while a decision is outstanding means that no decision will come: the offer is void.

use std::any::Any;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};

use actix::Message;
use tokio::sync::oneshot;

use crate::machine::CodecError;
use crate::raft::{Entries, Entry, Index, InstallDecision, LogId, SnapshotMeta};
use crate::runtime::stop_signal::StopSignal;

use super::{
    Applied, ApplyQueueAddress, CondInstallSnapshot, DropState, PeerAddress, Pull, ReadJob, Reply,
    SnapshotDeclined, SnapshotError, SnapshotterAddress, StopAck, ViewSupplied,
};

/// A value whose type only the apply side knows: usually a decoded state.
pub struct BoxedState {
    value: Box<dyn Any + Send>,
    log_id: Option<LogId>,
}

impl BoxedState {
    /// Wraps a value.
    pub fn new<T: Send + 'static>(value: T) -> BoxedState {
        BoxedState { value: Box::new(value), log_id: None }
    }

    /// Wraps a decoded state together with the id of the last entry it includes. The node compares
    /// that id with the snapshot's metadata before it offers the state to the apply side.
    pub fn state_behind<T: Send + 'static>(log_id: LogId, state: T) -> BoxedState {
        BoxedState { log_id: Some(log_id), ..BoxedState::new(state) }
    }

    /// The last entry that the state includes, if it was given.
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

/// The messages that the apply side receives.
#[derive(Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub enum ApplyMessage {
    /// The initial state, decoded from the node's current snapshot. It comes before any work.
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
    /// Run the read once all entries through the index are applied.
    ReadAt {
        /// The index; 0 for a read of the current state.
        index: Index,
        /// The read.
        job: ReadJob,
    },
    /// Stop, and drop the acknowledgement when nothing is left to do.
    Stop(StopAck),
}

/// One item of the apply queue.
#[derive(Debug)]
#[non_exhaustive]
pub enum ApplyWork {
    /// Apply these entries.
    Entries(CommittedBatch),
    /// Ask with [`ApplyLink::cond_install`] whether to switch to this snapshot.
    Offer(OfferedSnapshot),
    /// Pass a view of the current state to [`ApplyLink::snapshot`].
    TakeSnapshot,
}

/// Committed entries, with the replies to their proposers.
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
    /// The snapshot's metadata: the last entry it covers, membership and size.
    pub meta: SnapshotMeta,
    /// The state.
    pub shadow: BoxedState,
}

/// A view of the state after one entry, encoded later on the snapshotter's thread.
pub struct StateView {
    log_id: LogId,
    encode: Encode,
}

type Encode = Box<dyn FnOnce(&mut dyn Write) -> Result<(), CodecError> + Send>;

impl StateView {
    /// The state after the entry `log_id`. `encode` writes it; it runs on the snapshotter's thread.
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

/// The outcome of a snapshot that the apply side supplied: `Ok` once it is durably the node's
/// current snapshot, so that the data it covers may be deleted. Dropping this future changes
/// nothing.
#[derive(Debug)]
pub struct SnapshotTaken(oneshot::Receiver<Result<LogId, SnapshotError>>);

impl Future for SnapshotTaken {
    type Output = Result<LogId, SnapshotError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let taken = Pin::new(&mut self.0).poll(context);
        taken.map(|taken| taken.unwrap_or(Err(SnapshotError::Fatal)))
    }
}

/// The applied index, which the peer reads in each batch. The apply side sends a message only if
/// the peer waits for an index: the next batch or tick comes soon, and waking a thread costs more
/// than applying a few commands.
#[derive(Debug)]
pub(crate) struct AppliedMark {
    applied: AtomicU64,
    /// The index at which the peer is to be woken.
    wake_at: AtomicU64,
}

impl AppliedMark {
    pub(crate) fn new() -> Arc<AppliedMark> {
        Arc::new(AppliedMark { applied: AtomicU64::new(0), wake_at: AtomicU64::new(Index::MAX) })
    }

    /// Records that all entries through `index` are applied. Returns whether to wake the peer.
    fn reach(&self, index: Index) -> bool {
        // Each side stores its own value before it loads the other's, so at least one of them sees
        // both.
        self.applied.store(index, SeqCst);
        self.wake_at.load(SeqCst) <= index
    }

    /// The applied index.
    pub(crate) fn applied(&self) -> Index {
        self.applied.load(SeqCst)
    }

    /// Requests a wake-up once `index` is applied. Returns whether it is applied already.
    pub(crate) fn wake_at(&self, index: Index) -> bool {
        self.wake_at.store(index, SeqCst);
        self.applied() >= index
    }
}

/// The apply side's handle to its node. If the last clone is dropped while the node runs, the apply
/// side counts as ended and the node stops.
#[derive(Clone)]
pub struct ApplyLink {
    pub(crate) peer: PeerAddress,
    pub(crate) queue: ApplyQueueAddress,
    pub(crate) snapshotter: SnapshotterAddress,
    pub(crate) restores: bool,
    pub(crate) mark: Arc<AppliedMark>,
    pub(crate) _guard: Arc<ApplyGuard>,
}

impl ApplyLink {
    /// Whether the node starts from a snapshot. If so, [`ApplyMessage::Restored`] comes first, and
    /// the apply side does not pull before it.
    pub fn restores(&self) -> bool {
        self.restores
    }

    /// Requests one item of work.
    pub fn pull(&self) {
        self.queue.send(Pull);
    }

    /// Reports that all entries through `index` are applied.
    pub fn applied(&self, index: Index) {
        if self.mark.reach(index) {
            self.peer.send(Applied);
        }
    }

    /// CondInstallSnapshot: asks whether to switch to an offered snapshot. Answered once, by
    /// [`ApplyMessage::Decision`].
    pub fn cond_install(&self, log_id: LogId) {
        self.peer.send(CondInstallSnapshot(log_id));
    }

    /// Encodes and publishes a snapshot of the last entry that was reported applied, or of an
    /// earlier one. It becomes current unless it covers more than that, or no more than the current
    /// snapshot. Await the returned future to learn the outcome.
    pub fn snapshot(&self, view: StateView) -> SnapshotTaken {
        let (reply, taken) = oneshot::channel();
        self.peer.send(ViewSupplied { view, reply });
        SnapshotTaken(taken)
    }

    /// Stops the node because the state machine can't continue; `reason` appears in the node's
    /// status. For an entry that can't be decoded, name its index and term and the build that is
    /// needed.
    pub fn fail(&self, reason: impl Into<String>) {
        self._guard.0.fail(reason.into());
    }

    /// Declines a request for a snapshot: there is no state to take one of.
    pub fn decline_snapshot(&self) {
        self.peer.send(SnapshotDeclined);
    }

    /// Drops `value` on the snapshotter's thread, where it delays neither the peer nor the apply
    /// side.
    pub fn retire(&self, value: BoxedState) {
        self.snapshotter.send(DropState(value));
    }
}

/// Detects the end of an apply side: all clones of its link share one guard.
pub struct ApplyGuard(pub(crate) Arc<StopSignal>);

impl Drop for ApplyGuard {
    fn drop(&mut self) {
        self.0.actor_ended("apply side");
    }
}
