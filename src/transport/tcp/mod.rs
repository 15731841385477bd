//! Members on different machines, over plain TCP.
//!
//! ```text
//!  actors' threads                        the transport's one thread
//!
//!  send ─▶ outbox (member, main)   ─▶ link ═══════ frames ═══════▶ listener ─▶ incoming ─▶ Inbox ─▶ peer
//!       └▶ outbox (member, chunks) ─▶ link ═══════ frames ═══════▶    "          "           │
//!                                       ◀─── limits, signs of life ────────────── gate ◀── receipt
//! ```
//! | file | idea |
//! |---|---|
//! | `handshake` | who calls whom: the first bytes, and why a caller is refused |
//! | `frame` | envelopes in a stream of bytes |
//! | `outbox`, `link`, `backoff` | what waits for a member, and the way to it |
//! | `listener`, `callers`, `incoming` | who comes, who may stay, what they say |
//! | `credit` | how much may be on its way to a peer that has not handled it |
//! | `shared` | where actors and connections meet |
//! | `options`, `counters`, `notices` | limits; figures; log lines that do not repeat |
//!
//! Each direction between two members has a connection of its own, opened by the one who speaks: one for everything small,
//! requests and answers and entries in order, and one for pieces of snapshots, so that a large transfer never delays a
//! heartbeat (AC10). The bytes are described in `docs/wire.md`.
//!
//! ```no_run
//! # fn main() -> Result<(), quorate::transport::TcpError> {
//! use quorate::transport::{TcpOptions, TcpTransport};
//!
//! let peers = [(1, "127.0.0.1:7001"), (2, "127.0.0.1:7002"), (3, "127.0.0.1:7003")];
//! let peers = peers.map(|(node, address)| (node, address.to_owned())).into();
//! let options = TcpOptions { listen: "127.0.0.1:7001".into(), ..TcpOptions::new(1, 42, peers) };
//! let transport = TcpTransport::bind(options)?;
//! // NodeBuilder::new(1, machine).cluster(42).transport(transport) ..
//! # Ok(()) }
//! ```
//!
//! # What is bounded
//! Everything, whoever calls: connections before the handshake, connections of members, read buffers (by what has come,
//! not by what is announced), what was delivered and not handled, what waits to be sent (in messages, bytes and time).
//! What has no room is dropped, and the protocol asks again; nobody waits.
//!
//! # What it does not do
//! No TLS and no authentication: who reaches the port and knows cluster and ids can speak as a member. It listens on the
//! loopback interface unless it is told otherwise; the network beyond has to be a trusted one. No discovery: addresses
//! are given. No simulated time: it is for real networks, the simulated one is [`in_process`](super::in_process).

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tracing::Instrument;

use crate::raft::{Envelope, NodeId};
use crate::runtime::thread::{self, ThreadEnd, ThreadHandle};

use super::{Inbox, Transport};

mod backoff;
mod callers;
mod counters;
mod credit;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod incoming;
mod link;
mod listener;
mod notices;
mod options;
mod outbox;
mod shared;
#[cfg(test)]
mod tests;

pub use counters::TcpCounters;
pub use handshake::Refusal;
pub use options::{TcpError, TcpOptions};

use handshake::Lane;
use shared::Shared;

/// A member's end of a network of TCP connections. Clones are the same end, except that each stands for one start of
/// the node: give each start a clone of its own. A clone that a newer start has replaced neither sends nor receives.
///
/// With the last clone it ends; so it does at [`TcpTransport::shutdown`].
pub struct TcpTransport {
    core: Arc<Core>,
    /// The attachment made through this clone; 0 if none was.
    attachment: AtomicU64,
}

struct Core {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: ThreadHandle,
    end: Mutex<Option<ThreadEnd>>,
}

impl Drop for Core {
    fn drop(&mut self) {
        self.thread.exit();
    }
}

impl TcpTransport {
    /// Begins to listen, on a thread of its own. Callers are refused until a node is attached.
    pub fn bind(options: TcpOptions) -> Result<TcpTransport, TcpError> {
        options.validate()?;
        let failed = |source| TcpError::Listen { address: options.listen.clone(), source };
        let listener = std::net::TcpListener::bind(&options.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let name = format!("quorate-{}-tcp", options.node);
        let (thread, end) = thread::spawn(name).map_err(TcpError::Thread)?;
        let peers: BTreeMap<NodeId, String> = options.peers.clone();
        let shared = Arc::new(Shared::new(options));
        let listening = Arc::clone(&shared);
        let span = shared.span.clone();
        thread.run(move || Box::pin(listener::listen(listening, listener).instrument(span)));
        let core = Core { shared, address, thread, end: Mutex::new(Some(end)) };
        let transport = TcpTransport { core: Arc::new(core), attachment: AtomicU64::new(0) };
        for (node, address) in peers {
            transport.set_peer(node, address);
        }
        Ok(transport)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.core.address
    }

    /// Where `node` listens from now on: `host:port`, used at the next attempt to connect. A member that was not known is
    /// from now on. The local member's own address is not needed, and ignored.
    pub fn set_peer(&self, node: NodeId, address: impl Into<String>) {
        let shared = &self.core.shared;
        if node == shared.options.node {
            return;
        }
        let Some(member) = shared.set_member(node, address.into()) else { return };
        for lane in Lane::ALL {
            let (shared, member) = (Arc::clone(shared), Arc::clone(&member));
            let span = shared.span.clone();
            self.core
                .thread
                .run(move || Box::pin(link::run(shared, member, lane).instrument(span)));
        }
    }

    /// Forgets a member: it is neither called nor let in any more.
    pub fn remove_peer(&self, node: NodeId) {
        self.core.shared.remove_member(node);
    }

    /// What has happened so far, and what is there now.
    pub fn counters(&self) -> TcpCounters {
        self.core.shared.counters()
    }

    /// Ends all connections and the thread, and waits for both; the address is free then. Clones send nothing any more.
    /// A name that is just being looked up is waited for.
    pub async fn shutdown(&self) {
        self.core.thread.exit();
        let end = self.core.end.lock().take();
        if let Some(end) = end {
            end.join().await;
        }
    }
}

impl Clone for TcpTransport {
    fn clone(&self) -> TcpTransport {
        TcpTransport { core: Arc::clone(&self.core), attachment: AtomicU64::new(0) }
    }
}

impl fmt::Debug for TcpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.core.shared.options.node;
        write!(f, "TcpTransport(member {node} at {})", self.core.address)
    }
}

impl Transport for TcpTransport {
    fn send(&self, envelope: Envelope) {
        let attachment = self.attachment.load(Ordering::Acquire);
        if attachment != 0 {
            self.core.shared.send(attachment, envelope);
        }
    }

    fn member(&self) -> Option<NodeId> {
        Some(self.core.shared.options.node)
    }

    /// For another member than its own it does nothing.
    fn attach(&self, node: NodeId, inbox: Inbox) {
        let own = self.core.shared.options.node;
        if node != own {
            return tracing::error!(own, node, "a TCP transport receives for its own member alone");
        }
        let attachment = self.core.shared.attach(inbox);
        self.attachment.store(attachment, Ordering::Release);
    }

    fn detach(&self, node: NodeId) {
        let attachment = self.attachment.load(Ordering::Acquire);
        if node == self.core.shared.options.node && attachment != 0 {
            self.core.shared.detach(attachment);
        }
    }

    fn max_message_bytes(&self) -> Option<usize> {
        Some(self.core.shared.options.max_frame_bytes)
    }
}
