//! Communication between members: the [`Transport`] trait, the in-process network, the wire format,
//! TCP, and an adapter for request/response protocols.
//!
//! ```text
//!  peer ──────┐                                            ┌──▶ peer's mailbox
//!             ├─▶ Transport::send ─▶ (lost, late, twice) ─▶ Inbox::deliver
//!  persister ─┘                                            
//!                      └─ certainly not arriving ─▶ sender's Inbox::undelivered
//! ```
//!
//! Members exchange [`Envelope`]s: a request with an id, or the answer with the same id. A
//! transport moves envelopes and interprets nothing else in them. It may lose an envelope, or
//! deliver it late, out of order or twice: the protocol tolerates that. It must not alter an
//! envelope, and must not deliver it to a member other than [`Envelope::to`].
//!
//! # Request and answer
//! No call returns the answer. An answer is an envelope of its own and arrives through the
//! requester's [`Inbox`], over any connection. A transport over a request/response protocol (HTTP,
//! for example) pairs the two as follows; [`PairedTransport`] implements these rules:
//!
//! 1. The requester's side sends the request's bytes and leaves the exchange open, without
//!    blocking.
//! 2. The answering side delivers the request to the local inbox and records the open exchange
//!    under (`from`, `incarnation`, `id`) of the request.
//! 3. A local `send` of an answer whose (`to`, `asker_incarnation`, `id`) is recorded becomes that
//!    exchange's response. Any other answer is dropped: its requester has given up. A request
//!    starts an exchange of its own.
//! 4. An exchange that is not answered in time ends without a body. Allow seconds: an answer may
//!    wait for a disk.
//!
//! # Lanes
//! A wire should give [`Request::Snapshot`](crate::raft::Request::Snapshot) a connection of its
//! own: chunks are large, and a heartbeat queued behind them looks like a dead leader.
//!
//! # Receipts
//! A mailbox is unbounded, so a wire that delivers everything it receives would accumulate what a
//! slow member has not handled. [`Inbox::deliver_with`] passes a [`Receipt`] together with the
//! envelope; the member drops it when it has handled the envelope. A transport limits the sender by
//! the envelopes that it has delivered and whose receipts are not yet dropped
//! (`docs/decisions/010-credits-are-returned-by-the-peer.md`).
//!
//! # Implementations
//! | | |
//! |---|---|
//! | [`in_process`] | members of one process, and every fault a network can have |
//! | `tcp`, with the feature `tcp` | members anywhere, over plain TCP |
//!
//! # What it does not do
//! No retries (the protocol repeats what it needs). No membership (members know ids, a transport
//! knows the address of each id). No check of cluster, group, term or incarnation: the receiving
//! peer refuses messages that are not for it.

use std::fmt;
use std::sync::Arc;

use crate::raft::{Envelope, Incarnation, NodeId, RequestId};

pub mod in_process;
pub mod paired;
mod receipt;
#[cfg(feature = "tcp")]
pub mod tcp;
pub mod wire;

pub use in_process::{Endpoint, InProcessNetwork, LinkFaults, NetworkCounters, NetworkOptions};
pub use paired::{PairedError, PairedOptions, PairedTransport, ReplyTo, RequestWire};
pub use receipt::{Receipt, Taken};
#[cfg(feature = "tcp")]
pub use tcp::{TcpCounters, TcpError, TcpOptions, TcpTransport};

/// Moves envelopes between members: best effort, unordered, possibly late, possibly lost.
///
/// The peer and the persister both send, from different threads.
pub trait Transport: Send + Sync + 'static {
    /// Sends one envelope and returns at once, whatever the state of the network. It may drop the
    /// envelope. If it is *certain* that a request will not arrive, it calls the sender's
    /// [`Inbox::undelivered`].
    fn send(&self, envelope: Envelope);

    /// The only member that it can receive for, if it is bound to one. A node with another id does
    /// not start on it.
    fn member(&self) -> Option<NodeId> {
        None
    }

    /// Starts delivery to the local member `node`. An inbox attached for it before gets nothing
    /// more.
    fn attach(&self, node: NodeId, inbox: Inbox);

    /// Detaches the local member: nothing more is delivered to it, and nothing it sends is
    /// transmitted. Has no effect for a member that is not attached.
    fn detach(&self, node: NodeId);

    /// The longest message that this transport carries, in bytes as encoded by [`wire`]; `None`: no
    /// limit. A node whose limits allow longer messages does not start.
    fn max_message_bytes(&self) -> Option<usize> {
        None
    }
}

/// The receiving end of the local member, called by a transport.
///
/// Both functions are called from any thread and from inside [`Transport::send`], so they only
/// enqueue (`Addr::do_send`): they neither wait nor handle the message there. A stopped member
/// drops its input.
#[derive(Clone)]
pub struct Inbox {
    incarnation: Incarnation,
    deliver: Arc<dyn Fn(Envelope, Receipt) + Send + Sync>,
    undelivered: Arc<dyn Fn(NodeId, RequestId) + Send + Sync>,
}

impl Inbox {
    /// An inbox made of two functions: `deliver` enqueues envelopes for the member, `undelivered`
    /// reports the receiver and the id of the member's own requests that will not arrive. A
    /// delivered envelope counts as handled at once.
    pub fn new(
        deliver: impl Fn(Envelope) + Send + Sync + 'static,
        undelivered: impl Fn(NodeId, RequestId) + Send + Sync + 'static,
    ) -> Inbox {
        Inbox::with_receipts(move |envelope, _handled| deliver(envelope), undelivered)
    }

    /// The same for a member that handles an envelope after `deliver` returns: it keeps the receipt
    /// until then.
    pub fn with_receipts(
        deliver: impl Fn(Envelope, Receipt) + Send + Sync + 'static,
        undelivered: impl Fn(NodeId, RequestId) + Send + Sync + 'static,
    ) -> Inbox {
        Inbox { incarnation: 0, deliver: Arc::new(deliver), undelivered: Arc::new(undelivered) }
    }

    /// Sets the incarnation of this start of the member, for transports that send it when they
    /// connect.
    #[must_use]
    pub fn of_incarnation(mut self, incarnation: Incarnation) -> Inbox {
        self.incarnation = incarnation;
        self
    }

    /// The incarnation of this start of the member; 0 if it was not set.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Puts an envelope into the member's mailbox.
    pub fn deliver(&self, envelope: Envelope) {
        self.deliver_with(envelope, Receipt::none());
    }

    /// Puts an envelope into the member's mailbox. The receipt is dropped when the member has
    /// handled the envelope, or never will.
    pub fn deliver_with(&self, envelope: Envelope, receipt: Receipt) {
        (self.deliver)(envelope, receipt);
    }

    /// Reports that the member's request `id` to `to` will not arrive. Only a hint, which may be
    /// missing: the member may pause sending to `to`, and must not repeat the request at once.
    pub fn undelivered(&self, to: NodeId, id: RequestId) {
        (self.undelivered)(to, id);
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}
