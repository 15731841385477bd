//! One inbound connection: its hello, then frames, until it ends.
//!
//! ```text
//! hello within handshake_timeout ─▶ checked ─▶ seated ─▶ accepted ─▶ frames ─▶ inbox
//!        │                            │                      ▲         │
//!        └──────── refused ◀──────────┴──────────────────────┼─────────┘
//!                                                            └ limits, also as keep-alives
//! ```
//! A refusal is sent with its reason before the connection is closed, and is logged here,
//! rate-limited for each member and reason. Deadlines: a frame that has begun must end within
//! `frame_timeout`, and a connection without any bytes for `dead_after` is closed. Every read
//! buffer is sized by the bytes received so far (`frame.rs`), and delivered envelopes count against
//! the window until the peer has handled them (`credit.rs`).

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use crate::raft::Envelope;
use crate::runtime::select::select;
use crate::transport::wire;

use super::counters::{Share, add};
use super::credit::{Gate, cost};
use super::frame::{Back, FrameBuffer};
use super::handshake::{
    HEAD_BYTES, Hello, MAGIC, OUR_VERSIONS, Refusal, Refused, Reply, check_magic, length,
};
use super::shared::{Attached, Shared};

/// How long, and for how many bytes, a refused connection is still read, so that the other side can
/// read the refusal before the connection is reset.
const PARTING: Duration = Duration::from_millis(500);
const PARTING_BYTES: usize = 64 << 10;

/// An inbound connection. It is removed from the table of connections when this is dropped.
pub(crate) struct Caller {
    shared: Arc<Shared>,
    number: u64,
    address: SocketAddr,
}

impl Caller {
    pub(crate) fn new(shared: &Arc<Shared>, address: SocketAddr) -> Caller {
        Caller { shared: Arc::clone(shared), number: shared.callers.next(), address }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.shared.callers.remove(self.number);
    }
}

/// Why a connection ended.
enum Ended {
    /// Closed by the other side, between two frames.
    Closed,
    /// Closed by the other side, in the middle of a frame.
    Cut,
    Failed(io::Error),
    /// No bytes arrived for `dead_after`.
    Dead,
    /// The local member was detached or replaced.
    Detached,
    Refused(Refused),
}

impl From<Refused> for Ended {
    fn from(refused: Refused) -> Ended {
        Ended::Refused(refused)
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Failed(error)
    }
}

pub(crate) async fn serve(caller: Caller, mut stream: TcpStream) {
    // Write without delay; if the system does not support that, writes are delayed.
    let _ = stream.set_nodelay(true);
    match admit(&caller, &mut stream).await {
        Ok(guest) => match guest.stay(&mut stream).await {
            Ended::Refused(refused) => {
                caller.say_refused(Some(&guest.hello), &refused);
                part(stream, &Back::Refused(Reply::refused(&refused)).encode()).await;
            }
            ended => caller.say_ended(&guest.hello, &ended),
        },
        Err(Turned { hello, ended: Ended::Refused(refused) }) => {
            caller.say_refused(hello.as_ref(), &refused);
            part(stream, &Reply::refused(&refused).encode()).await;
        }
        // The connection ended before the handshake. That is not logged.
        Err(_) => {}
    }
}

/// A connection that did not complete the handshake, with its hello if that was read.
struct Turned {
    hello: Option<Hello>,
    ended: Ended,
}

async fn admit(caller: &Caller, stream: &mut TcpStream) -> Result<Guest, Turned> {
    let limit = caller.shared.options.handshake_timeout;
    let hello = match timeout(limit, read_hello(stream)).await {
        Ok(read) => read.map_err(|ended| Turned { hello: None, ended })?,
        Err(_) => {
            let refused = Refused::new(Refusal::Silent, format!("no hello within {limit:?}"));
            return Err(Turned { hello: None, ended: refused.into() });
        }
    };
    let turned = |ended| Turned { hello: Some(hello), ended };
    let guest = judge(caller, hello).map_err(|refused| turned(refused.into()))?;
    let written = timeout(limit, stream.write_all(&guest.accepted().encode())).await;
    match written {
        Ok(Ok(())) => Ok(guest),
        Ok(Err(error)) => Err(turned(error.into())),
        Err(_) => Err(turned(Ended::Dead)),
    }
}

/// Reads no more than the hello, and stops at the first invalid field.
async fn read_hello(stream: &mut TcpStream) -> Result<Hello, Ended> {
    let mut bytes = vec![0; HEAD_BYTES];
    stream.read_exact(&mut bytes[..MAGIC.len()]).await?;
    check_magic(&bytes[..MAGIC.len()])?;
    stream.read_exact(&mut bytes[MAGIC.len()..]).await?;
    let head = bytes[..].try_into().map_err(|_| Ended::Closed)?;
    bytes.resize(length(head, Hello::MIN_BYTES)?, 0);
    stream.read_exact(&mut bytes[HEAD_BYTES..]).await?;
    Ok(Hello::decode(&bytes)?)
}

/// Checks a hello and registers its connection.
fn judge(caller: &Caller, hello: Hello) -> Result<Guest, Refused> {
    let shared = &caller.shared;
    check_hello(shared, &hello)?;
    let Some(member) = shared.member(hello.from) else {
        let text = format!(
            "the list of members that member {} was started with lacks member {}: all members are \
             started with the same list, which is fixed when the cluster begins",
            shared.options.node, hello.from
        );
        return Err(Refused::new(Refusal::Stranger, text));
    };
    let not_running =
        || Refused::new(Refusal::NotRunning, "no node runs behind this address now; it may start");
    let attached = shared.attached().ok_or_else(not_running)?;
    shared.callers.seat(caller.number, (hello.from, hello.lane), hello.incarnation)?;
    // A detach just before the registration could not end this connection, so check again.
    if !shared.is_attached(attached.number) {
        return Err(not_running());
    }
    member.heard_of();
    let gate = Arc::clone(member.gate(hello.lane));
    let first_limit = gate.limit(0);
    Ok(Guest {
        shared: Arc::clone(shared),
        attached,
        hello,
        gate,
        received: Cell::new(0),
        allowed: Cell::new(first_limit),
    })
}

fn check_hello(shared: &Shared, hello: &Hello) -> Result<(), Refused> {
    let options = &shared.options;
    // LR26: messages of another cluster are refused.
    if hello.cluster != options.cluster || hello.group != 0 {
        let text = format!(
            "member {} is of cluster {}, you are of cluster {}, group {}; check the cluster id and the address",
            options.node, options.cluster, hello.cluster, hello.group
        );
        return Err(Refused::new(Refusal::Cluster, text));
    }
    if hello.to != options.node {
        let text = format!(
            "this is member {}, you want member {}; check its address",
            options.node, hello.to
        );
        return Err(Refused::new(Refusal::Receiver, text));
    }
    if hello.from == options.node {
        let text = format!("you say you are member {} as I am; check the ids", options.node);
        return Err(Refused::new(Refusal::Myself, text));
    }
    Ok(())
}

/// A connection that has completed the handshake.
struct Guest {
    shared: Arc<Shared>,
    attached: Attached,
    hello: Hello,
    gate: Arc<Gate>,
    /// The cost of its frames so far.
    received: Cell<u64>,
    /// The limit that was last sent to the member.
    allowed: Cell<u64>,
}

impl Guest {
    fn accepted(&self) -> Reply {
        Reply::Accepted {
            version: self.hello.versions.common(OUR_VERSIONS).unwrap_or(wire::VERSION),
            incarnation: self.attached.incarnation(),
            limit: self.allowed.get(),
        }
    }

    async fn stay(&self, stream: &mut TcpStream) -> Ended {
        add(&self.shared.counts.callers_accepted, 1);
        let Hello { from: member, lane, incarnation, .. } = self.hello;
        if let Some(suppressed) = self.shared.notices.due(Some(member), "connected", Instant::now())
        {
            tracing::info!(
                member,
                lane = lane.name(),
                incarnation,
                suppressed,
                "a member has connected"
            );
        }
        let (reader, writer) = stream.split();
        select(self.take_frames(reader), self.talk_back(writer)).await
    }

    async fn take_frames(&self, mut reader: ReadHalf<'_>) -> Ended {
        let options = &self.shared.options;
        let mut buffer = FrameBuffer::new(options.max_frame_bytes);
        let mut memory = Share::new(&self.shared.counts.buffer_bytes, 0);
        let mut begun = None;
        loop {
            let now = Instant::now();
            match self.deliver_whole(&mut buffer) {
                Ok(false) if buffer.has_begun() => begun = begun.or(Some(now)),
                Ok(_) => begun = buffer.has_begun().then_some(now),
                Err(ended) => return ended,
            }
            let frame_end = begun.map(|begun| begun + options.frame_timeout);
            if frame_end.is_some_and(|end| now >= end) {
                return self.slow();
            }
            let silence_end = now + options.dead_after;
            let deadline = frame_end.map_or(silence_end, |end| end.min(silence_end));
            let room = buffer.room();
            memory.set(room.capacity() as u64);
            match timeout_at(deadline, reader.read_buf(room)).await {
                Ok(Ok(0)) if buffer.has_begun() => return Ended::Cut,
                Ok(Ok(0)) => return Ended::Closed,
                Ok(Ok(bytes)) => add(&self.shared.counts.bytes_received, bytes as u64),
                Ok(Err(error)) => return Ended::Failed(error),
                Err(_) if Some(deadline) == frame_end => return self.slow(),
                Err(_) => return Ended::Dead,
            }
        }
    }

    fn slow(&self) -> Ended {
        let limit = self.shared.options.frame_timeout;
        let text = format!("a frame that began did not end within {limit:?}");
        Refused::new(Refusal::Slow, text).into()
    }

    /// Delivers all whole frames. Returns whether there was one.
    fn deliver_whole(&self, buffer: &mut FrameBuffer) -> Result<bool, Ended> {
        if !self.shared.is_attached(self.attached.number) {
            return Err(Ended::Detached);
        }
        let mut any = false;
        while let Some(frame) = buffer.next()? {
            any = true;
            if !frame.is_empty() {
                self.deliver(&frame)?;
            }
        }
        Ok(any)
    }

    fn deliver(&self, frame: &Bytes) -> Result<(), Refused> {
        let cost = cost(frame.len());
        self.received.set(self.received.get() + cost as u64);
        if self.received.get() > self.allowed.get() {
            let text = format!("{} sent, {} allowed", self.received.get(), self.allowed.get());
            return Err(Refused::new(Refusal::Overrun, text));
        }
        let envelope = wire::decode(frame)
            .map_err(|error| Refused::new(Refusal::Undecodable, error.to_string()))?;
        self.check_sender(&envelope)?;
        add(&self.shared.counts.frames_received, 1);
        self.attached.inbox.deliver_with(envelope, self.gate.admit(cost));
        Ok(())
    }

    /// A connection carries only messages of the member that opened it. Incarnation 0 means none: a
    /// member that attached without one can't be checked against it.
    fn check_sender(&self, envelope: &Envelope) -> Result<(), Refused> {
        let Hello { cluster, from, to, incarnation, .. } = self.hello;
        let said = (envelope.cluster, envelope.from, envelope.to);
        let same_start = incarnation == 0 || envelope.incarnation == incarnation;
        if said == (cluster, from, to) && same_start {
            return Ok(());
        }
        let text = format!(
            "a message in cluster {} from member {} (start {}) to member {} on a connection in cluster {cluster} from member {from} (start {incarnation}) to member {to}",
            envelope.cluster, envelope.from, envelope.incarnation, envelope.to
        );
        Err(Refused::new(Refusal::Foreign, text))
    }

    /// Sends limits: when enough has been handled, and at least every `alive_interval` as a
    /// keep-alive.
    async fn talk_back(&self, mut writer: WriteHalf<'_>) -> Ended {
        loop {
            // Notified or timed out: send the limit in both cases.
            let _ = timeout(self.shared.options.alive_interval, self.gate.moved()).await;
            let limit = self.gate.limit(self.received.get()).max(self.allowed.get());
            self.allowed.set(limit);
            if let Err(error) = writer.write_all(&Back::Limit(limit).encode()).await {
                return Ended::Failed(error);
            }
        }
    }
}

impl Caller {
    fn say_refused(&self, hello: Option<&Hello>, refused: &Refused) {
        let Refused { why, text } = refused;
        self.shared.counts.refused.add(*why);
        let from = hello.map(|hello| hello.from);
        let known = from.filter(|from| self.shared.member(*from).is_some());
        if let Some(suppressed) = self.shared.notices.due(known, why.name(), Instant::now()) {
            let address = self.address;
            tracing::warn!(%address, ?from, why = why.name(), %text, suppressed, "refused a connection");
        }
    }

    fn say_ended(&self, hello: &Hello, ended: &Ended) {
        let why = match ended {
            Ended::Cut => {
                add(&self.shared.counts.cut_frames, 1);
                "it ended in the middle of a frame"
            }
            Ended::Failed(_) => "it failed",
            Ended::Dead => "nothing came for long",
            Ended::Closed => "it was closed",
            Ended::Detached | Ended::Refused(_) => return,
        };
        let error = if let Ended::Failed(error) = ended { Some(error) } else { None };
        if let Some(suppressed) = self.shared.notices.due(Some(hello.from), why, Instant::now()) {
            let (member, lane) = (hello.from, hello.lane.name());
            tracing::info!(
                member,
                lane,
                why,
                ?error,
                suppressed,
                "a member's connection has ended"
            );
        }
    }
}

/// Sends the last message and waits briefly for it to be read: closing with unread bytes would
/// discard it.
async fn part(mut stream: TcpStream, last: &[u8]) {
    // Best effort: errors and the timeout are ignored.
    let said = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        let mut left = PARTING_BYTES;
        let mut scrap = [0; 512];
        while left > 0 {
            match stream.read(&mut scrap).await? {
                0 => break,
                bytes => left = left.saturating_sub(bytes),
            }
        }
        io::Result::Ok(())
    };
    let _ = timeout(PARTING, said).await;
}
