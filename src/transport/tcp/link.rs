//! The outbound connection to one member over one lane: opened when a message is queued, kept until
//! it fails.
//!
//! ```text
//!          queued                      accepted
//!   idle ──────────▶ connecting ──────────────────▶ connected ─┐
//!     ▲                 │ failed, or refused                   │ ended
//!     │                 ▼                                      │
//!     └─────────── backing off ◀───────────────────────────────┘
//!              (for a delay, or until the member connects to us)
//! ```
//! Each attempt resolves the address again. If it fails, all queued messages are dropped at once;
//! messages queued longer than `outbox_age` are dropped in every state. While connected, all queued
//! messages that the limit allows are written with one write.
//!
//! *What it does not do:* no message is sent twice. What was written before a connection ended may
//! or may not have arrived.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use crate::raft::Envelope;
use crate::runtime::select::select;
use crate::transport::wire;

use super::backoff::Backoff;
use super::counters::{Share, add};
use super::credit::{Allowance, FRAME_COST, cost};
use super::frame::{Back, LENGTH_BYTES};
use super::handshake::{HEAD_BYTES, Hello, Lane, OUR_VERSIONS, Refusal, Refused, Reply, length};
use super::shared::{Attached, Link, Member, Shared};

/// A write is filled up to about this size.
const BATCH_BYTES: usize = 256 << 10;
/// The room for one read of records that come back.
const BACK_ROOM_BYTES: usize = 256;

/// Why a connection could not be opened, or ended.
enum Ended {
    /// No address, no route, no listener, or the connection broke.
    Failed(io::Error),
    /// A step did not complete in time.
    Late(&'static str),
    /// The member refused the connection.
    Refused { code: u8, text: String },
    /// The other side does not use our protocol.
    Strange(Refused),
    /// The member closed it.
    Closed,
    /// The local member was detached or replaced, or the other member was removed.
    Over,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Failed(error)
    }
}

/// Runs the link to `member` until the member is removed.
pub(crate) async fn run(shared: Arc<Shared>, member: Arc<Member>, lane: Lane) {
    let options = &shared.options;
    let parts = [options.node, member.node, lane as u64];
    let seed = parts.iter().fold(options.seed, |seed, part| seed.wrapping_mul(0x100_0003) ^ part);
    let mut backoff = Backoff::new(options.retry_min, options.retry_max, seed);
    let way = Way { shared: &shared, member: &member, lane };
    while way.mail_has_come().await {
        let Some(attached) = shared.attached() else {
            // Queued by a start that has just ended.
            way.link().outbox.lock().clear();
            continue;
        };
        let ended = match way.call(&attached).await {
            Ok((stream, limit)) => {
                let ended = way.talk(&attached, stream, limit).await;
                // Keep backing off if the peer accepts and then refuses us.
                if !matches!(ended, Ended::Refused { .. } | Ended::Strange(_)) {
                    backoff.reset();
                }
                ended
            }
            Err(ended) => {
                way.give_up_all();
                ended
            }
        };
        way.say(&ended);
        if !matches!(ended, Ended::Over) {
            way.rest(Instant::now() + backoff.next()).await;
        }
    }
}

struct Way<'a> {
    shared: &'a Arc<Shared>,
    member: &'a Member,
    lane: Lane,
}

impl Way<'_> {
    fn link(&self) -> &Link {
        self.member.link(self.lane)
    }

    /// Waits for a queued message. `false`: the member was removed.
    async fn mail_has_come(&self) -> bool {
        loop {
            if self.member.is_removed() {
                return false;
            }
            if !self.link().outbox.lock().is_empty() {
                return true;
            }
            self.link().stir.notified().await;
        }
    }

    async fn call(&self, attached: &Attached) -> Result<(TcpStream, u64), Ended> {
        let options = &self.shared.options;
        add(&self.shared.counts.calls, 1);
        let connected = timeout(options.connect_timeout, self.connect()).await;
        let mut stream = connected.map_err(|_| Ended::Late("connecting"))??;
        let shaken = timeout(options.handshake_timeout, self.greet(&mut stream, attached)).await;
        let reply = shaken.map_err(|_| Ended::Late("the reply to our hello"))??;
        match reply {
            Reply::Accepted { version: wire::VERSION, incarnation, limit } => {
                add(&self.shared.counts.calls_accepted, 1);
                let (member, lane) = (self.member.node, self.lane.name());
                tracing::info!(member, lane, incarnation, "connected to a member");
                Ok((stream, limit))
            }
            Reply::Accepted { version, .. } => {
                let text = format!("it chose wire version {version}, which was not offered");
                Err(Ended::Strange(Refused::new(Refusal::Version, text)))
            }
            Reply::Refused { code, text } => Err(Ended::Refused { code, text }),
        }
    }

    /// Tries the addresses that the name resolves to now, one after the other.
    async fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in tokio::net::lookup_host(self.member.address()).await? {
            match TcpStream::connect(address).await {
                // A TCP self-connect: the target is a free port of this machine, and the system
                // chose the same port as the local end of this connection.
                Ok(stream) if stream.local_addr()? == address => {
                    last = io::Error::new(io::ErrorKind::ConnectionRefused, "connected to itself");
                }
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn greet(&self, stream: &mut TcpStream, attached: &Attached) -> Result<Reply, Ended> {
        let options = &self.shared.options;
        let hello = Hello {
            versions: OUR_VERSIONS,
            lane: self.lane,
            cluster: options.cluster,
            group: 0,
            from: options.node,
            to: self.member.node,
            incarnation: attached.incarnation(),
        };
        stream.write_all(&hello.encode()).await?;
        let mut bytes = vec![0; HEAD_BYTES];
        stream.read_exact(&mut bytes).await?;
        let head = bytes[..].try_into().map_err(|_| Ended::Closed)?;
        bytes.resize(length(head, Reply::MIN_BYTES).map_err(Ended::Strange)?, 0);
        stream.read_exact(&mut bytes[HEAD_BYTES..]).await?;
        Reply::decode(&bytes).map_err(Ended::Strange)
    }

    async fn talk(&self, attached: &Attached, mut stream: TcpStream, limit: u64) -> Ended {
        let _connected = Share::new(&self.shared.counts.outgoing_connections, 1);
        let allowance = Cell::new(Allowance::new(limit));
        let (reader, writer) = stream.split();
        select(self.listen(reader, &allowance), self.write(attached, writer, &allowance)).await
    }

    /// Reads what comes back: limits, refusals, keep-alives.
    async fn listen(&self, mut reader: ReadHalf<'_>, allowance: &Cell<Allowance>) -> Ended {
        let mut bytes = BytesMut::new();
        loop {
            bytes.reserve(BACK_ROOM_BYTES);
            match timeout(self.shared.options.dead_after, reader.read_buf(&mut bytes)).await {
                Ok(Ok(0)) => return Ended::Closed,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Ended::Failed(error),
                Err(_) => return Ended::Late("a sign of life"),
            }
            loop {
                match Back::take(&mut bytes) {
                    Ok(Some(Back::Limit(limit))) => self.raise(allowance, limit),
                    Ok(Some(Back::Refused(Reply::Refused { code, text }))) => {
                        return Ended::Refused { code, text };
                    }
                    Ok(Some(Back::Refused(Reply::Accepted { .. }))) => return Ended::Closed,
                    Ok(None) => break,
                    Err(refused) => return Ended::Strange(refused),
                }
            }
        }
    }

    fn raise(&self, allowance: &Cell<Allowance>, limit: u64) {
        let mut raised = allowance.get();
        raised.raise(limit);
        if raised != allowance.replace(raised) {
            self.link().stir.notify_one();
        }
    }

    async fn write(
        &self,
        attached: &Attached,
        mut writer: WriteHalf<'_>,
        allowance: &Cell<Allowance>,
    ) -> Ended {
        let alive_interval = self.shared.options.alive_interval;
        let mut buffer = BytesMut::new();
        let mut alive_at = Instant::now() + alive_interval;
        loop {
            if self.member.is_removed() || !self.fill(attached, &mut buffer, allowance) {
                return Ended::Over;
            }
            if buffer.is_empty() {
                let wake_at = self.next_expiry().map_or(alive_at, |at| at.min(alive_at));
                let stirred = timeout_at(wake_at, self.link().stir.notified()).await.is_ok();
                if stirred || Instant::now() < alive_at {
                    continue;
                }
                buffer.put_u32_le(0);
            }
            if let Err(error) = writer.write_all(&buffer).await {
                return Ended::Failed(error);
            }
            add(&self.shared.counts.bytes_sent, buffer.len() as u64);
            add(&self.shared.counts.writes, 1);
            alive_at = Instant::now() + alive_interval;
            empty(&mut buffer);
        }
    }

    /// Fills the buffer with frames, up to the size of a write and the limit. `false`: the outbox
    /// belongs to another attachment.
    fn fill(
        &self,
        attached: &Attached,
        buffer: &mut BytesMut,
        allowance: &Cell<Allowance>,
    ) -> bool {
        self.expire();
        while buffer.len() < BATCH_BYTES {
            let mut left = allowance.get();
            let largest = left.left().saturating_sub(FRAME_COST);
            let next = {
                let mut outbox = self.link().outbox.lock();
                if outbox.attachment() != attached.number {
                    return false;
                }
                outbox.pop_within(largest)
            };
            let Some(envelope) = next else { return true };
            if let Some(frame_bytes) = self.put(envelope, buffer) {
                left.spend(cost(frame_bytes));
                allowance.set(left);
            }
        }
        true
    }

    /// Appends the envelope as a frame. `None` if it can't be encoded, which a peer that keeps the
    /// protocol never causes.
    fn put(&self, envelope: Envelope, buffer: &mut BytesMut) -> Option<usize> {
        let begin = buffer.len();
        buffer.put_u32_le(0);
        if let Err(error) = wire::encode_into(&envelope, buffer) {
            buffer.truncate(begin);
            tracing::error!(to = envelope.to, %error, "message not sent");
            add(&self.shared.counts.dropped_unsendable, 1);
            return None;
        }
        let frame_bytes = buffer.len() - begin - LENGTH_BYTES;
        let length = (frame_bytes as u32).to_le_bytes();
        buffer[begin..begin + LENGTH_BYTES].copy_from_slice(&length);
        add(&self.shared.counts.frames_sent, 1);
        Some(frame_bytes)
    }

    fn next_expiry(&self) -> Option<Instant> {
        self.link().outbox.lock().next_expiry()
    }

    /// Drops messages that have waited too long.
    fn expire(&self) {
        let (attachment, expired) = {
            let mut outbox = self.link().outbox.lock();
            (outbox.attachment(), outbox.expire(Instant::now()))
        };
        self.shared.give_up(attachment, &expired);
    }

    fn give_up_all(&self) {
        let (attachment, all) = {
            let mut outbox = self.link().outbox.lock();
            (outbox.attachment(), outbox.clear())
        };
        self.shared.give_up(attachment, &all);
    }

    /// Waits until a new attempt is useful: at `until`, or when the member has connected to us.
    async fn rest(&self, until: Instant) {
        select(self.link().heard.notified(), self.grow_old(until)).await;
    }

    /// Until `until`, drops queued messages that have waited too long.
    async fn grow_old(&self, until: Instant) {
        while Instant::now() < until && !self.member.is_removed() {
            let next = self.next_expiry().map_or(until, |at| at.min(until));
            // Notified or timed out: a message may have expired, or a new one may be queued.
            let _ = timeout_at(next, self.link().stir.notified()).await;
            self.expire();
        }
    }

    fn say(&self, ended: &Ended) {
        if let Ended::Refused { code, .. } = ended
            && let Some(why) = Refusal::of_code(*code)
        {
            self.shared.counts.refused_by_others.add(why);
        }
        let Some(why) = ended.why() else { return };
        if let Some(suppressed) =
            self.shared.notices.due(Some(self.member.node), why, Instant::now())
        {
            let (member, lane, address) =
                (self.member.node, self.lane.name(), self.member.address());
            let text = ended.text();
            tracing::warn!(
                member,
                lane,
                address,
                why,
                ?text,
                suppressed,
                "no connection to a member"
            );
        }
    }
}

impl Ended {
    /// The reason as a short name; `None` if it is not logged.
    fn why(&self) -> Option<&'static str> {
        match self {
            Ended::Over => None,
            Ended::Failed(_) => Some("failed"),
            Ended::Late(_) => Some("late"),
            Ended::Strange(_) => Some("strange"),
            Ended::Closed => Some("closed"),
            Ended::Refused { code, .. } => {
                Some(Refusal::of_code(*code).map_or("refused", Refusal::name))
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Ended::Failed(error) => error.to_string(),
            Ended::Late(what) => format!("{what} took too long"),
            Ended::Strange(Refused { text, .. }) => {
                format!("what answers there is no member, check the address: {text}")
            }
            Ended::Refused { text, .. } => format!("it refuses us: {text}"),
            Ended::Closed => "it has closed the connection".to_owned(),
            Ended::Over => String::new(),
        }
    }
}

/// Clears the buffer for the next batch, and frees the memory that one large frame needed.
fn empty(buffer: &mut BytesMut) {
    buffer.clear();
    if buffer.capacity() > 2 * BATCH_BYTES {
        *buffer = BytesMut::new();
    }
}
