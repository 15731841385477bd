//! Members on different machines, over plain TCP.
//!
//! ```text
//!  actors' threads                        the transport's one thread
//!
//!  send ─▶ outbox (member, main)   ─▶ link ═══ frames ═══▶ listener ─▶ incoming ─▶ Inbox ─▶ peer
//!       └▶ outbox (member, chunks) ─▶ link ═══ frames ═══▶    "          "           │
//!                                       ◀──── limits, keep-alives ───── gate ◀── receipt
//! ```
//! | file | idea |
//! |---|---|
//! | `handshake` | the first bytes of a connection, and the reasons for a refusal |
//! | `frame` | envelopes in a stream of bytes |
//! | `outbox`, `link`, `backoff` | envelopes queued for a member, and the outbound connection |
//! | `listener`, `callers`, `incoming` | inbound connections: accepting, admission, reading |
//! | `credit` | bounds the bytes sent to a peer that has not handled them |
//! | `shared` | state shared by actors and connections |
//! | `options`, `counters`, `notices` | limits; counters; rate-limited log lines |
//!
//! Each direction between two members has its own connections, opened by the sender: one for all
//! small messages (requests, answers and entries, in order), and one for snapshot chunks, so that a
//! large transfer never delays a heartbeat. The bytes are described in `docs/wire.md`.
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
//! Everything, whatever connects: connections before the handshake, connections of members, read
//! buffers (by the bytes received, not by the length announced), envelopes delivered and not
//! handled, envelopes queued for sending (in number, bytes and age). Envelopes without room are
//! dropped, and the protocol repeats them; no sender waits.
//!
//! # What it does not do
//! No TLS and no authentication: a process that reaches the port and knows the cluster id and the
//! member ids can act as a member. It listens on the loopback interface unless configured
//! otherwise; a wider network must be a trusted one. No discovery: addresses are configured. No
//! simulated time: it is for real networks; the simulated one is [`in_process`](super::in_process).

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

/// A member's endpoint in a network of TCP connections. Clones are the same endpoint, except that
/// each clone belongs to one start of the node: give each start a clone of its own. A clone that
/// was replaced by a newer start neither sends nor receives.
///
/// It ends when the last clone is dropped, or at [`TcpTransport::shutdown`].
pub struct TcpTransport {
    core: Arc<Core>,
    /// The attachment made through this clone; 0 if there was none.
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
    /// Starts to listen, on a thread of its own. Connections are refused until a node is attached.
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

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.core.address
    }

    /// Sets the address of `node` as `host:port`, used from the next attempt to connect. Adds the
    /// member if it is unknown. The local member's own address is not needed, and ignored.
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

    /// Removes a member: it is neither connected to nor accepted any more.
    pub fn remove_peer(&self, node: NodeId) {
        self.core.shared.remove_member(node);
    }

    /// The counters and gauges now.
    pub fn counters(&self) -> TcpCounters {
        self.core.shared.counters()
    }

    /// Ends all connections and the thread, and waits for both; then the address is free. Clones
    /// send nothing any more. A name lookup in progress is waited for.
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

    /// Has no effect for a member other than its own.
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
