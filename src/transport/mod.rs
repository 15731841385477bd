//! How members reach each other: the contract, the in-process network, the bytes on a wire, TCP, and wires of requests and
//! answers.
//!
//! ```text
//!  peer ──────┐                                            ┌──▶ peer's mailbox
//!             ├─▶ Transport::send ─▶ (lost, late, twice) ─▶ Inbox::deliver
//!  persister ─┘                                            
//!                      └─ certainly not arriving ─▶ sender's Inbox::undelivered
//! ```
//!
//! Everything members say is an [`Envelope`]: a request with an id, or the answer that carries the same id. A
//! transport moves envelopes and understands nothing else of them. It may lose one, deliver it late, out of order or
//! twice: the protocol is built for that. It must not alter one, and must not hand an envelope to a member other than
//! [`Envelope::to`].
//!
//! # Request and answer
//! There is no call that returns the answer. An answer is an envelope of its own and comes to the asker through the
//! asker's [`Inbox`], whichever way it travelled. A transport over a request/answer wire (an HTTP body, say) pairs the
//! two like this, and [`PairedTransport`] is these rules as code:
//!
//! 1. the asker's side sends the request's bytes and lets the exchange stand open, without waiting anywhere;
//! 2. the answerer's side delivers the request to the local inbox and remembers the open exchange under
//!    (`from`, `incarnation`, `id`) of the request;
//! 3. a local `send` of an answer whose (`to`, `asker_incarnation`, `id`) is remembered goes out as that exchange's
//!    response; any other answer is lost, its asker has given up; a request begins an exchange of its own;
//! 4. an exchange nobody answered in time ends without a body. Seconds are normal: an answer waits for a disk.
//!
//! # Lanes
//! A wire should give [`Request::Snapshot`](crate::raft::Request::Snapshot) a connection of its own: chunks are large,
//! and a heartbeat that queues behind them looks like a dead leader (AC10).
//!
//! # Receipts
//! A mailbox has no bounds, so a wire that puts into it whatever comes would pile up what a slow member has not handled.
//! [`Inbox::deliver_with`] hands a [`Receipt`] in together with the envelope; the member drops it when it has handled the
//! envelope. What a transport has handed in and got no receipt for is what it holds the other side to
//! (`docs/decisions/010-credits-are-returned-by-the-peer.md`).
//!
//! # Who implements it
//! | | |
//! |---|---|
//! | [`in_process`] | members of one process, and every fault a network can have |
//! | `tcp`, with the feature `tcp` | members anywhere, over plain TCP |
//!
//! # What it does not do
//! No retries (the protocol repeats what it needs), no membership (members know ids, a transport knows what address an id
//! has), no judgement of cluster, group, term or incarnation: the receiving peer refuses what is not for it (LR26, EL25).

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

/// Moves envelopes between members: at most once as far as it can, unordered, perhaps late, perhaps never.
///
/// Both the peer and the persister send, from different threads.
pub trait Transport: Send + Sync + 'static {
    /// Sends one envelope and returns at once, whatever the network does. May drop it; if it *knows* that a request
    /// will not arrive, it tells the sender's [`Inbox::undelivered`].
    fn send(&self, envelope: Envelope);

    /// The only member that it can receive for, if there is but one. A node of another id is not
    /// started on it.
    fn member(&self) -> Option<NodeId> {
        None
    }

    /// Starts delivery to the local member `node`. What was attached for it before gets nothing any more.
    fn attach(&self, node: NodeId, inbox: Inbox);

    /// Ends the local member's part: nothing is delivered to it and nothing it sends leaves any more. A call for a member
    /// that is not attached here, or no more, changes nothing.
    fn detach(&self, node: NodeId);

    /// The longest message that this transport carries, in bytes as [`wire`] encodes it; `None`: it
    /// has no limit. A node whose limits allow longer ones does not start.
    fn max_message_bytes(&self) -> Option<usize> {
        None
    }
}

/// Where a transport puts what it has for the local member.
///
/// Both functions are called from any thread and from inside [`Transport::send`], so they only enqueue
/// (`Addr::do_send`): they neither wait nor handle the message there. A member that is gone drops what it gets.
#[derive(Clone)]
pub struct Inbox {
    incarnation: Incarnation,
    deliver: Arc<dyn Fn(Envelope, Receipt) + Send + Sync>,
    undelivered: Arc<dyn Fn(NodeId, RequestId) + Send + Sync>,
}

impl Inbox {
    /// An inbox of the two functions: `deliver` takes envelopes to the member, `undelivered` the ids of the member's own
    /// requests that will not arrive, with whom they were for. What is put into it counts as handled at once.
    pub fn new(
        deliver: impl Fn(Envelope) + Send + Sync + 'static,
        undelivered: impl Fn(NodeId, RequestId) + Send + Sync + 'static,
    ) -> Inbox {
        Inbox::with_receipts(move |envelope, _handled| deliver(envelope), undelivered)
    }

    /// The same for a member that handles an envelope later than it takes it: it keeps the receipt until then.
    pub fn with_receipts(
        deliver: impl Fn(Envelope, Receipt) + Send + Sync + 'static,
        undelivered: impl Fn(NodeId, RequestId) + Send + Sync + 'static,
    ) -> Inbox {
        Inbox { incarnation: 0, deliver: Arc::new(deliver), undelivered: Arc::new(undelivered) }
    }

    /// Says which start of the member this is, for transports that tell the others when they connect.
    #[must_use]
    pub fn of_incarnation(mut self, incarnation: Incarnation) -> Inbox {
        self.incarnation = incarnation;
        self
    }

    /// Which start of the member this is; 0 if it was not said.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Puts an envelope into the member's mailbox.
    pub fn deliver(&self, envelope: Envelope) {
        self.deliver_with(envelope, Receipt::none());
    }

    /// Puts an envelope into the member's mailbox; the receipt is dropped when the member has handled it, or never will.
    pub fn deliver_with(&self, envelope: Envelope, receipt: Receipt) {
        (self.deliver)(envelope, receipt);
    }

    /// Tells the member that its request `id` to `to` will not arrive. Only a hint, and never certain to come: the member
    /// may pause towards `to`, and must not answer it by sending the same again at once.
    pub fn undelivered(&self, to: NodeId, id: RequestId) {
        (self.undelivered)(to, id);
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}
