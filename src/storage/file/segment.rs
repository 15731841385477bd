//! The log's bytes: segments of frames, frames of records.
//!
//! ```text
//! segment  header: magic, version, segment, cluster, node, group, CRC-32C
//!          frame 0: a checkpoint, the log's whole state but the entries
//!          frame 1 .. one or more for each write
//! frame    magic, CRC-32C, payload length, segment, incarnation, synced through; payload: records
//! ```
//! Files are longer than their content, and are reused: behind the last frame there are zeros, or
//! the content of an earlier segment. A frame's CRC begins with its position (segment, offset), so
//! such content never verifies. The incarnation distinguishes a frame from the remains of an
//! unfinished write of an earlier incarnation. `synced through` is the end of the data that was
//! durable before the frame was written: damage before it is corruption. Damage behind it is a
//! write that was never acknowledged, unless the [mark](super::end) of the log's end covers it
//! (PS05, PS06). In a segment's first frame it is the end of the previous segment.
//! `docs/formats.md` describes every byte.
//!
//! *What it does not do:* encode [records](super::record), interpret them together
//! ([`recovery`](super::recovery) does), or make file calls.

use std::cmp::Ordering;
use std::fmt;

use super::super::Identity;
use super::super::binary::{Fields, Malformed, put_u32, put_u64};
use super::super::log_state::LogState;
use super::record;
use crate::raft::{Incarnation, Life, is_possible_incarnation, unborn};

const MAGIC: &[u8; 8] = b"QRTWAL1\n";
/// The version this code writes, and the only one it reads: earlier ones were never released.
const VERSION: u32 = 3;
/// Length of a segment's header.
pub(crate) const HEADER_BYTES: usize = 56;
/// Number of the first segment.
pub(crate) const FIRST: u64 = 1;
/// Length of a segment after the bootstrap: header and the checkpoint of an empty log.
pub(crate) const FOUNDED_BYTES: u64 =
    (HEADER_BYTES + FRAME_HEAD_BYTES + EMPTY_CHECKPOINT_BYTES) as u64;
const EMPTY_CHECKPOINT_BYTES: usize = 1 + 17 + 17 + 16 + 8 + 1 + 4 + 4;

const FRAME_MAGIC: [u8; 4] = *b"qrF1";
/// Length of a frame without its payload.
pub(crate) const FRAME_HEAD_BYTES: usize = 48;
/// A frame that reaches this size ends after the current change; a larger change has its own frame.
const FULL_FRAME_BYTES: usize = if cfg!(test) { 400 } else { 1 << 20 };

/// A position in the log's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Position {
    /// The segment's number.
    pub segment: u64,
    /// Byte offset in it.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of segment {}", self.offset, self.segment)
    }
}

/// Encodes a new segment's header.
pub(crate) fn encode_header(out: &mut Vec<u8>, identity: Identity, segment: u64) {
    let begin = out.len();
    out.extend_from_slice(MAGIC);
    put_u32(out, VERSION);
    put_u32(out, HEADER_BYTES as u32);
    put_u64(out, segment);
    put_u64(out, identity.cluster);
    put_u64(out, identity.node);
    put_u64(out, 0); // the group
    put_u32(out, 0);
    let crc = crc32c::crc32c(&out[begin..]);
    put_u32(out, crc);
}

/// Why a segment's header is invalid.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFlaw {
    /// It does not verify.
    Damaged(&'static str),
    /// It verifies, but this node must not read the segment.
    Refused(&'static str),
}

/// Checks a segment's header against the expected owner and number.
pub(crate) fn check_header(
    bytes: &[u8],
    identity: Identity,
    segment: u64,
) -> Result<(), HeaderFlaw> {
    let damaged = HeaderFlaw::Damaged;
    let mut fields = Fields::new(verified_header(bytes)?);
    let mut numbers = || -> Result<_, Malformed> {
        let (magic, version, length) = (fields.bytes(8)?, fields.u32()?, fields.u32()?);
        let ids = [fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?];
        Ok((magic, version, length, ids, fields.u32()?))
    };
    let (magic, version, length, ids, zero) = numbers().map_err(|Malformed(what)| damaged(what))?;
    if magic != MAGIC {
        return Err(HeaderFlaw::Refused("is not a log segment"));
    }
    check_version(version)?;
    if length as usize != HEADER_BYTES {
        return Err(damaged("the header gives itself another length than it has"));
    }
    if zero != 0 {
        return Err(damaged("the header holds something in the field that is zero"));
    }
    let [own, owner @ ..] = ids;
    if owner != [identity.cluster, identity.node, 0] {
        return Err(HeaderFlaw::Refused("is a segment of another node: restore this node's own"));
    }
    match own.cmp(&segment) {
        Ordering::Less => Err(damaged("the header is that of an earlier segment")),
        Ordering::Equal => Ok(()),
        Ordering::Greater => {
            Err(HeaderFlaw::Refused("is a later segment under another one's name: give it its own"))
        }
    }
}

/// The header before its checksum, which is verified.
fn verified_header(bytes: &[u8]) -> Result<&[u8], HeaderFlaw> {
    let Some((body, crc)) =
        bytes.split_at_checked(HEADER_BYTES - 4).filter(|(_, crc)| crc.len() == 4)
    else {
        return Err(HeaderFlaw::Damaged("the header ends too early"));
    };
    if crc32c::crc32c(body).to_le_bytes() != crc {
        return Err(HeaderFlaw::Damaged("the header's checksum does not hold"));
    }
    Ok(body)
}

fn check_version(version: u32) -> Result<(), HeaderFlaw> {
    match version.cmp(&VERSION) {
        Ordering::Less => Err(HeaderFlaw::Refused(
            "is of a format that no release wrote: begin with an empty directory",
        )),
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(HeaderFlaw::Refused(
            "is of a newer format: use the version that wrote it, or a newer one",
        )),
    }
}

/// The first segment of an empty log.
pub(crate) fn founded(identity: Identity) -> Vec<u8> {
    let mut out = Vec::new();
    encode_header(&mut out, identity, FIRST);
    let at = Position { segment: FIRST, offset: HEADER_BYTES as u64 };
    let frame = FrameStart::begin(&mut out, at);
    let life = Life { incarnation: unborn(identity.created_at_ms), ..Life::default() };
    record::put_checkpoint(&mut out, &LogState { life, ..LogState::default() });
    frame.end(&mut out, life.incarnation, Position::default());
    out
}

/// A frame being encoded into a buffer.
pub(crate) struct FrameStart {
    /// The frame's position in the log.
    pub at: Position,
    begin: usize,
}

impl FrameStart {
    /// Reserves space for the head; records follow. `at`: the frame's position in the log.
    pub(crate) fn begin(out: &mut Vec<u8>, at: Position) -> FrameStart {
        let begin = out.len();
        out.resize(begin + FRAME_HEAD_BYTES, 0);
        FrameStart { at, begin }
    }

    /// Length of the records so far.
    pub(crate) fn payload_bytes(&self, out: &[u8]) -> usize {
        out.len() - self.begin - FRAME_HEAD_BYTES
    }

    /// Whether the next change should begin a new frame.
    pub(crate) fn is_full(&self, out: &[u8]) -> bool {
        self.payload_bytes(out) >= FULL_FRAME_BYTES
    }

    /// Writes the head. Returns the end of the frame.
    pub(crate) fn end(
        self,
        out: &mut [u8],
        incarnation: Incarnation,
        synced: Position,
    ) -> Position {
        let payload = self.payload_bytes(out);
        assert!(
            payload <= u32::MAX as usize,
            "a change of {payload} bytes, a frame holds {}",
            u32::MAX
        );
        let frame = &mut out[self.begin..];
        frame[..4].copy_from_slice(&FRAME_MAGIC);
        frame[8..12].copy_from_slice(&(payload as u32).to_le_bytes());
        let numbers = [self.at.segment, incarnation, synced.segment, synced.offset];
        for (field, number) in frame[16..FRAME_HEAD_BYTES].chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_le_bytes());
        }
        let crc = frame_crc(self.at, &frame[8..]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        Position { segment: self.at.segment, offset: self.at.offset + frame.len() as u64 }
    }
}

/// Continues a CRC over the frame's position and everything behind the CRC field.
fn frame_crc(at: Position, frame_behind_crc: &[u8]) -> u32 {
    let seed = crc32c::crc32c(&at.segment.to_le_bytes());
    let seed = crc32c::crc32c_append(seed, &at.offset.to_le_bytes());
    crc32c::crc32c_append(seed, frame_behind_crc)
}

/// The fields before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    /// The frame's position.
    pub at: Position,
    /// The incarnation that wrote it.
    pub incarnation: Incarnation,
    /// End of the data that was durable before the frame was written.
    pub synced: Position,
    /// Length of the payload.
    pub payload_bytes: usize,
}

impl FrameHead {
    /// Offset of the next frame.
    pub(crate) fn end(&self) -> u64 {
        self.at.offset + (FRAME_HEAD_BYTES + self.payload_bytes) as u64
    }
}

/// Length of the payload by an unverified head. A flaw if no frame of the segment begins here.
pub(crate) fn announced_bytes(head: &[u8; FRAME_HEAD_BYTES], segment: u64) -> Result<usize, Flaw> {
    if head[..4] == [0; 4] {
        return Err(Flaw::Empty);
    }
    if head[..4] != FRAME_MAGIC {
        return Err(Flaw::NoFrame);
    }
    if claims(head).0 != segment {
        return Err(Flaw::Misnamed);
    }
    Ok(claims(head).1)
}

/// The segment and the length of the payload by an unverified head.
pub(crate) fn claims(head: &[u8; FRAME_HEAD_BYTES]) -> (u64, usize) {
    let mut segment = [0; 8];
    segment.copy_from_slice(&head[16..24]);
    let payload_bytes = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    (u64::from_le_bytes(segment), payload_bytes as usize)
}

/// Offset of the first frame magic in `bytes`.
pub(crate) fn find_magic(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, &FRAME_MAGIC)
}

/// Why there is no valid frame of the log at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The file ends within the frame.
    CutOff,
    /// Zeros, as behind every last frame.
    Empty,
    /// Other bytes.
    NoFrame,
    /// A frame from when the file was an earlier segment.
    EarlierSegment,
    /// Its head names another segment, but it is no valid frame of that one either.
    Misnamed,
    /// The checksum does not match.
    Checksum,
    /// It verifies but contradicts its position.
    Contradiction,
    /// An earlier incarnation wrote it, and its write was never finished.
    Unfinished,
}

impl Flaw {
    /// A clause that follows "the log".
    pub(crate) fn what(self) -> &'static str {
        match self {
            Flaw::CutOff => "ends in the middle of a frame",
            Flaw::Empty => "holds zeros where a frame should begin",
            Flaw::NoFrame => "holds something else where a frame should begin",
            Flaw::EarlierSegment => {
                "holds a frame of an earlier segment where one of its own should be"
            }
            Flaw::Misnamed => {
                "has a frame whose head names another segment and whose checksum does not hold"
            }
            Flaw::Checksum => "has a frame whose checksum does not hold",
            Flaw::Contradiction => "has a frame whose head contradicts its place",
            Flaw::Unfinished => "has a frame left by an earlier start",
        }
    }
}

/// Verifies a whole frame at position `at`.
pub(crate) fn decode_frame(frame: &[u8], at: Position) -> Result<(FrameHead, &[u8]), Flaw> {
    let mut fields = Fields::new(frame);
    let mut numbers = || -> Result<_, Malformed> {
        let magic = fields.bytes(4)?;
        let (crc, length, zero) = (fields.u32()?, fields.u32()? as usize, fields.u32()?);
        let (segment, incarnation) = (fields.u64()?, fields.u64()?);
        let synced = Position { segment: fields.u64()?, offset: fields.u64()? };
        let head = FrameHead { at, incarnation, synced, payload_bytes: length };
        Ok((magic, crc, zero, segment, head))
    };
    let (magic, crc, zero, segment, head) = numbers().map_err(|_| Flaw::CutOff)?;
    let payload = fields.bytes(head.payload_bytes).map_err(|_| Flaw::CutOff)?;
    if magic != FRAME_MAGIC {
        return Err(Flaw::NoFrame);
    }
    if frame_crc(at, &frame[8..]) != crc {
        return Err(Flaw::Checksum);
    }
    let is_possible = is_possible_incarnation(head.incarnation);
    if segment != at.segment || zero != 0 || head.synced > at || !is_possible {
        return Err(Flaw::Contradiction);
    }
    Ok((head, payload))
}
