//! The first bytes of a connection, in both directions.
//!
//! Nothing else is read from a connection before its hello is accepted. Numbers are little-endian.
//!
//! ```text
//! hello     0  magic "QRTWIRE\n"                    sent first, by the connecting member
//!           8  length of the whole hello u16        72 to 4096; bytes after 72 are for later
//!                                                   versions, and ignored
//!          10  lowest version u8 │ highest u8       wire versions that the sender supports
//!          12  lane u8 │ zero u8 × 3
//!          16  cluster u64 │ group u64 │ from u64 │ to u64 │ incarnation u64
//!          56  zero u64 × 2
//!
//! reply     0  magic "QRTWIRE\n"                    sent once, by the accepting member
//!           8  length of the whole reply u16        40 to 4096
//!          10  code u8                              0: accepted, else the reason of the refusal
//!          11  version u8                           the version to use; 0 if refused
//!          12  zero u32
//!          16  incarnation u64                      of the accepting member; 0 if refused
//!          24  limit u64                            initial send limit, see `credit.rs`
//!          32  zero u64
//!          40  text                                 of a refusal: reason and remedy, UTF-8
//! ```
//! Magic, length and versions of a hello, and all fields of a reply, keep their place in every
//! version: so two releases without a common version can still report that to each other.
//!
//! *What it does not do:* it reads no socket, and checks only the form of a hello; `incoming.rs`
//! checks its content.

use bytes::{Buf, BufMut};

use crate::raft::{Incarnation, NodeId};
use crate::transport::wire;

/// The first bytes of a connection, in both directions.
pub(crate) const MAGIC: [u8; 8] = *b"QRTWIRE\n";
/// The maximum length of a hello or a reply.
pub(crate) const MAX_HANDSHAKE_BYTES: usize = 4096;
/// The length of magic and length field.
pub(crate) const HEAD_BYTES: usize = 10;

const HELLO_BYTES: usize = 72;
const REPLY_BYTES: usize = 40;
const MAX_TEXT_BYTES: usize = 512;

/// The wire versions that this release supports.
pub(crate) const OUR_VERSIONS: Versions =
    Versions { lowest: wire::VERSION, highest: wire::VERSION };

/// The lane of a connection, among those between two members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Lane {
    /// Everything except snapshot chunks.
    Main,
    /// Snapshot chunks: large, on a lane of their own so that they delay nothing else (AC10).
    Chunks,
}

impl Lane {
    pub(crate) const ALL: [Lane; 2] = [Lane::Main, Lane::Chunks];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Lane::Main => "main",
            Lane::Chunks => "chunks",
        }
    }
}

/// A contiguous range of wire versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) lowest: u8,
    pub(crate) highest: u8,
}

impl Versions {
    /// The highest version in both ranges.
    pub(crate) fn common(self, other: Versions) -> Option<u8> {
        let highest = self.highest.min(other.highest);
        (highest >= self.lowest.max(other.lowest)).then_some(highest)
    }
}

/// Why a connection is refused or ended. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Refusal {
    /// The first bytes are not those of a member.
    Magic = 1,
    /// No wire version is common to both.
    Version = 2,
    /// The hello does not have the form of its version.
    Malformed = 3,
    /// The sender belongs to another cluster.
    Cluster = 4,
    /// The hello is addressed to another member.
    Receiver = 5,
    /// The sender has the id of the member that it connects to.
    Myself = 6,
    /// The sender is not a known member.
    Stranger = 7,
    /// No node is attached to this transport now.
    NotRunning = 8,
    /// A later start of the sender is connected.
    Outdated = 9,
    /// The hello did not arrive in time.
    Silent = 10,
    /// A frame's length exceeds the maximum.
    Oversized = 11,
    /// A frame does not decode.
    Undecodable = 12,
    /// A frame names other members, another cluster or another incarnation than the handshake.
    Foreign = 13,
    /// The sender exceeded its limit.
    Overrun = 14,
    /// A frame began and did not end in time.
    Slow = 15,
}

impl Refusal {
    pub(crate) const ALL: [Refusal; 15] = [
        Refusal::Magic,
        Refusal::Version,
        Refusal::Malformed,
        Refusal::Cluster,
        Refusal::Receiver,
        Refusal::Myself,
        Refusal::Stranger,
        Refusal::NotRunning,
        Refusal::Outdated,
        Refusal::Silent,
        Refusal::Oversized,
        Refusal::Undecodable,
        Refusal::Foreign,
        Refusal::Overrun,
        Refusal::Slow,
    ];

    /// The code on the wire; never 0.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// A short name, for logs and counters.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Magic => "magic",
            Refusal::Version => "version",
            Refusal::Malformed => "malformed",
            Refusal::Cluster => "cluster",
            Refusal::Receiver => "receiver",
            Refusal::Myself => "myself",
            Refusal::Stranger => "stranger",
            Refusal::NotRunning => "not running",
            Refusal::Outdated => "outdated",
            Refusal::Silent => "silent",
            Refusal::Oversized => "oversized",
            Refusal::Undecodable => "undecodable",
            Refusal::Foreign => "foreign",
            Refusal::Overrun => "overrun",
            Refusal::Slow => "slow",
        }
    }

    pub(crate) fn of_code(code: u8) -> Option<Refusal> {
        Refusal::ALL.into_iter().find(|refusal| refusal.code() == code)
    }
}

/// The fields of a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) versions: Versions,
    pub(crate) lane: Lane,
    pub(crate) cluster: u64,
    pub(crate) group: u64,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) incarnation: Incarnation,
}

/// A refusal with a text that explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) why: Refusal,
    pub(crate) text: String,
}

impl Refused {
    pub(crate) fn new(why: Refusal, text: impl Into<String>) -> Refused {
        Refused { why, text: text.into() }
    }

    fn malformed(text: impl Into<String>) -> Refused {
        Refused::new(Refusal::Malformed, text)
    }
}

/// The length of the hello or reply that begins with `head`.
pub(crate) fn length(head: [u8; HEAD_BYTES], at_least: usize) -> Result<usize, Refused> {
    check_magic(&head[..MAGIC.len()])?;
    let length = usize::from(u16::from_le_bytes([head[8], head[9]]));
    if (at_least..=MAX_HANDSHAKE_BYTES).contains(&length) {
        return Ok(length);
    }
    let bounds = format!("{at_least} to {MAX_HANDSHAKE_BYTES}");
    Err(Refused::malformed(format!("a handshake of {length} bytes; it has {bounds}")))
}

/// Whether the first bytes are those of this protocol.
pub(crate) fn check_magic(first: &[u8]) -> Result<(), Refused> {
    if first == MAGIC {
        return Ok(());
    }
    let text = "this port speaks to members of a quorate cluster only; check the address";
    Err(Refused::new(Refusal::Magic, text))
}

impl Hello {
    /// The minimum length of a hello.
    pub(crate) const MIN_BYTES: usize = HELLO_BYTES;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HELLO_BYTES);
        out.put_slice(&MAGIC);
        out.put_u16_le(HELLO_BYTES as u16);
        out.put_u8(self.versions.lowest);
        out.put_u8(self.versions.highest);
        out.put_u8(match self.lane {
            Lane::Main => 0,
            Lane::Chunks => 1,
        });
        out.put_bytes(0, 3);
        for number in [self.cluster, self.group, self.from, self.to, self.incarnation, 0, 0] {
            out.put_u64_le(number);
        }
        out
    }

    /// Decodes a whole hello, from its first byte to its last.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Hello, Refused> {
        let mut rest = body(bytes, HELLO_BYTES)?;
        let versions = Versions { lowest: rest.get_u8(), highest: rest.get_u8() };
        check_versions(versions)?;
        let lane = match rest.get_u8() {
            0 => Lane::Main,
            1 => Lane::Chunks,
            other => return Err(Refused::malformed(format!("there is no lane {other}"))),
        };
        let zeros = rest.get_uint_le(3);
        let [cluster, group, from, to, incarnation, zero, last] =
            [(); 7].map(|()| rest.get_u64_le());
        if (zeros, zero, last) != (0, 0, 0) {
            return Err(Refused::malformed("a reserved field is not 0"));
        }
        Ok(Hello { versions, lane, cluster, group, from, to, incarnation })
    }
}

fn check_versions(theirs: Versions) -> Result<(), Refused> {
    if theirs.common(OUR_VERSIONS).is_some() {
        return Ok(());
    }
    let span = |versions: Versions| format!("{} to {}", versions.lowest, versions.highest);
    let text = format!(
        "you speak wire versions {}, this member {}; run releases that share a version",
        span(theirs),
        span(OUR_VERSIONS)
    );
    Err(Refused::new(Refusal::Version, text))
}

/// The bytes after the length field, if length and bytes agree.
fn body(bytes: &[u8], at_least: usize) -> Result<&[u8], Refused> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Err(Refused::malformed("a handshake that ends in its head"));
    };
    let length = length(*head, at_least)?;
    if length != bytes.len() {
        let text = format!("a handshake of {} bytes that claims {length}", bytes.len());
        return Err(Refused::malformed(text));
    }
    Ok(rest)
}

/// The answer to a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Frames may follow.
    Accepted { version: u8, incarnation: Incarnation, limit: u64 },
    /// Nothing more is read.
    Refused { code: u8, text: String },
}

impl Reply {
    /// The minimum length of a reply.
    pub(crate) const MIN_BYTES: usize = REPLY_BYTES;

    pub(crate) fn refused(refused: &Refused) -> Reply {
        Reply::Refused { code: refused.why.code(), text: refused.text.clone() }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let (code, version, incarnation, limit, text) = match self {
            Reply::Accepted { version, incarnation, limit } => {
                (0, *version, *incarnation, *limit, "")
            }
            Reply::Refused { code, text } => (*code, 0, 0, 0, shortened(text)),
        };
        let mut out = Vec::with_capacity(REPLY_BYTES + text.len());
        out.put_slice(&MAGIC);
        out.put_u16_le((REPLY_BYTES + text.len()) as u16);
        out.put_u8(code);
        out.put_u8(version);
        out.put_u32_le(0);
        for number in [incarnation, limit, 0] {
            out.put_u64_le(number);
        }
        out.put_slice(text.as_bytes());
        out
    }

    /// Decodes a whole reply, from its first byte to its last. Invalid UTF-8 in its text is
    /// replaced.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Reply, Refused> {
        let mut rest = body(bytes, REPLY_BYTES)?;
        let (code, version) = (rest.get_u8(), rest.get_u8());
        rest.advance(4);
        let (incarnation, limit) = (rest.get_u64_le(), rest.get_u64_le());
        rest.advance(8);
        if code == 0 {
            return Ok(Reply::Accepted { version, incarnation, limit });
        }
        let text = String::from_utf8_lossy(&rest[..rest.len().min(MAX_TEXT_BYTES)]).into_owned();
        Ok(Reply::Refused { code, text })
    }
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
