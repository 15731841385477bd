//! The first bytes of a connection, in both directions.
//!
//! Nothing of a connection is looked at before its hello has been accepted. Numbers are little-endian.
//!
//! ```text
//! hello     0  magic "QRTWIRE\n"                    the caller, first thing
//!           8  length of the whole hello u16        72 to 4096; what is behind byte 72 is for later versions, and ignored
//!          10  lowest version u8 │ highest u8       wire versions that the caller speaks
//!          12  lane u8 │ zero u8 × 3
//!          16  cluster u64 │ group u64 │ from u64 │ to u64 │ incarnation u64
//!          56  zero u64 × 2
//!
//! reply     0  magic "QRTWIRE\n"                    the called, once
//!           8  length of the whole reply u16        40 to 4096
//!          10  code u8                              0: accepted, else why not
//!          11  version u8                           the one to speak; 0 if refused
//!          12  zero u32
//!          16  incarnation u64                      of the called; 0 if refused
//!          24  limit u64                            how much may be sent at first, see `credit.rs`
//!          32  zero u64
//!          40  text                                 of a refusal: why, and what to do, UTF-8
//! ```
//! Magic, length and versions of a hello, and all of a reply, stay where they are in every version: so two releases that
//! share no version can still tell each other so.
//!
//! *What it does not do:* it reads no socket, and judges no hello beyond its form; `incoming.rs` does.

use bytes::{Buf, BufMut};

use crate::raft::{Incarnation, NodeId};
use crate::transport::wire;

/// The first bytes of a connection, both ways.
pub(crate) const MAGIC: [u8; 8] = *b"QRTWIRE\n";
/// No hello and no reply is longer.
pub(crate) const MAX_HANDSHAKE_BYTES: usize = 4096;
/// Magic and length.
pub(crate) const HEAD_BYTES: usize = 10;

const HELLO_BYTES: usize = 72;
const REPLY_BYTES: usize = 40;
const MAX_TEXT_BYTES: usize = 512;

/// The wire versions that this release speaks.
pub(crate) const OUR_VERSIONS: Versions =
    Versions { lowest: wire::VERSION, highest: wire::VERSION };

/// Which of a pair's connections one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Lane {
    /// Everything but pieces of snapshots.
    Main,
    /// Pieces of snapshots: large, and in nobody's way here (AC10).
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

/// An unbroken row of wire versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) lowest: u8,
    pub(crate) highest: u8,
}

impl Versions {
    /// The highest version of both.
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
    /// No wire version is spoken by both.
    Version = 2,
    /// The hello is not as its version says.
    Malformed = 3,
    /// The caller is of another cluster (LR26).
    Cluster = 4,
    /// The caller wants another member.
    Receiver = 5,
    /// The caller says that it is the one it calls.
    Myself = 6,
    /// The caller is no member that is known here.
    Stranger = 7,
    /// No node runs behind this transport now.
    NotRunning = 8,
    /// A later start of the caller is connected.
    Outdated = 9,
    /// The hello did not come in time.
    Silent = 10,
    /// A frame claims to be longer than is allowed.
    Oversized = 11,
    /// A frame does not decode.
    Undecodable = 12,
    /// A frame names other members, another cluster or another start than the handshake.
    Foreign = 13,
    /// More came than was allowed.
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

    /// The number on the wire; never 0.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// A word for it, for logs and figures.
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

/// What a caller says of itself.
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

/// A refusal with the words that explain it.
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

/// The length of a hello or reply that begins with `head`.
pub(crate) fn length(head: [u8; HEAD_BYTES], at_least: usize) -> Result<usize, Refused> {
    check_magic(&head[..MAGIC.len()])?;
    let length = usize::from(u16::from_le_bytes([head[8], head[9]]));
    if (at_least..=MAX_HANDSHAKE_BYTES).contains(&length) {
        return Ok(length);
    }
    let bounds = format!("{at_least} to {MAX_HANDSHAKE_BYTES}");
    Err(Refused::malformed(format!("a handshake of {length} bytes; it has {bounds}")))
}

/// Whether somebody speaks our protocol at all.
pub(crate) fn check_magic(first: &[u8]) -> Result<(), Refused> {
    if first == MAGIC {
        return Ok(());
    }
    let text = "this port speaks to members of a quorate cluster only; check the address";
    Err(Refused::new(Refusal::Magic, text))
}

impl Hello {
    /// No hello is shorter.
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

    /// A whole hello, from its first byte to its last.
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

/// What is behind the length, if length and bytes agree.
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

/// What a called member answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Frames may come.
    Accepted { version: u8, incarnation: Incarnation, limit: u64 },
    /// Nothing more is read.
    Refused { code: u8, text: String },
}

impl Reply {
    /// No reply is shorter.
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

    /// A whole reply, from its first byte to its last. Whatever its text is, it comes out as text.
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
