//! Encoding of an [`Envelope`] as bytes.
//!
//! Nearly all bytes between members are commands and snapshot data. These two kinds of frame have a
//! fixed layout with the raw payloads at the end; decoding takes the payloads as slices of the
//! received buffer, without a copy. All other messages are small: the same heading, then
//! MessagePack (structs as arrays).
//!
//! Numbers are little-endian, `u64` unless stated.
//!
//! ```text
//! heading      0  version u8 = 1 │ kind u8: 0 control, 1 append, 2 snapshot chunk
//!              2  cluster │ group │ from │ to │ incarnation │ term │ id
//!             58  the rest, by kind:
//!
//! control         MessagePack of a request for a vote, or of any answer
//!
//! append      58  prev.term │ prev.index │ commit │ leader_last │ leader_durable │ round
//!            106  count u32
//!            110  count × (term │ stamp_ms │ data length u32 │ kind u8: 0 blank, 1 command)
//!                 the entries' data, concatenated
//!
//! chunk       58  transfer │ offset │ round │ last.term │ last.index │ snapshot size │ crc u32
//!            110  voters: count u32, ids ascending
//!                 outgoing voters: the same │ learners: the same
//!                 data length u32 │ data
//! ```
//!
//! Indexes of entries are not sent: they follow `prev.index`. A frame does not contain its own
//! length; a stream transport puts a length before each frame and bounds it. Every frame has one
//! meaning and is consumed completely: leftover bytes are an error.
//!
//! Decoding accepts any input: it never panics, allocates in proportion to the bytes it was given
//! and never to a length that they claim, and nests no deeper than [`MAX_DEPTH`].
//!
//! # What it does not do
//! No check of a message's content: a hostile term or a foreign cluster decodes, and the peer
//! refuses it. No checksum: a wire has one, and snapshot data carries its own. No copying: an entry
//! of a decoded frame keeps the whole frame's buffer alive.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use crate::raft::{
    Answer, Append, Body, Entries, Entry, EntryKind, Envelope, Incarnation, Index, LogId,
    Membership, NodeId, PeerRecord, Request, SnapshotChunk, SnapshotMeta, Term,
};

#[cfg(test)]
mod tests;

/// The first byte of every frame.
pub const VERSION: u8 = 1;
/// The maximum nesting of MessagePack values. Our deepest message needs less than half of it.
pub const MAX_DEPTH: usize = 16;

const KIND_CONTROL: u8 = 0;
const KIND_APPEND: u8 = 1;
const KIND_CHUNK: u8 = 2;

const HEADING_BYTES: usize = 2 + 7 * 8;
const APPEND_FIXED_BYTES: usize = 6 * 8 + 4;
const ENTRY_FIXED_BYTES: usize = 8 + 8 + 4 + 1;
const CHUNK_FIXED_BYTES: usize = 6 * 8 + 4;
/// The maximum length of a control message. An answer with every number at its maximum needs less
/// than two thirds of it.
const CONTROL_MAX_BYTES: usize = 256;

/// The maximum length of a frame beyond its payload (a command, entries by their
/// [`Entry::size_bytes`], a chunk of a snapshot), in a cluster of up to 100 members.
pub(crate) const FRAMING_BYTES_MAX: usize = 1024;
const BEYOND_ALL: &str =
    "a number that no member can have reached; the sender is broken, or no member of this cluster";

/// Why bytes can't be decoded to an envelope, or an envelope can't be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The frame ends inside a field.
    #[error("message ends at {field}: {needed} bytes needed, {left} left; it was cut on its way")]
    Short {
        /// The incomplete field.
        field: &'static str,
        /// The field's length in bytes.
        needed: u64,
        /// The bytes left in the frame.
        left: usize,
    },
    /// The sender uses another version.
    #[error(
        "message of wire version {found}, this member speaks {VERSION}; run releases that share a version"
    )]
    Version {
        /// The frame's first byte.
        found: u8,
    },
    /// A byte that selects a kind of message or entry has an unknown value.
    #[error("{field} is {found}, which means nothing in wire version {VERSION}")]
    Kind {
        /// What the byte selects.
        field: &'static str,
        /// The byte's value.
        found: u8,
    },
    /// The message is complete and bytes are left over.
    #[error("{left} bytes behind the end of the message")]
    Trailing {
        /// The number of bytes left over.
        left: usize,
    },
    /// A field has an invalid value.
    #[error("{field}: {what}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The envelope can't be encoded: it breaks a rule of the message, or the format has no room
    /// for it.
    #[error("can't encode {field}: {what}")]
    Unencodable {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
}

/// The messages encoded as MessagePack. A separate type, so that entries and chunks have one
/// encoding only and no control message can make the decoder buffer a payload.
#[derive(Serialize, Deserialize)]
enum Control {
    PreVote { campaign_term: Term, last: LogId },
    Vote { last: LogId },
    Answer { asker_incarnation: Incarnation, answer: Answer },
    Identify(PeerRecord),
    RecoveryQuery,
}

/// Encodes the envelope as one frame.
///
/// Fails only if the entries of an append do not follow `prev`, or a length exceeds 32 bits.
pub fn encode(envelope: &Envelope) -> Result<Bytes, WireError> {
    let mut out = BytesMut::with_capacity(size_bound(envelope));
    encode_into(envelope, &mut out)?;
    Ok(out.freeze())
}

/// Appends the envelope as one frame to `out`. After an error the appended bytes are not a frame.
pub fn encode_into(envelope: &Envelope, out: &mut BytesMut) -> Result<(), WireError> {
    match &envelope.body {
        Body::Request(Request::Append(append)) => encode_append(envelope, append, out),
        Body::Request(Request::Snapshot(chunk)) => encode_chunk(envelope, chunk, out),
        Body::Request(Request::PreVote { campaign_term, last }) => {
            let control = Control::PreVote { campaign_term: *campaign_term, last: *last };
            encode_control(envelope, &control, out)
        }
        Body::Request(Request::Vote { last }) => {
            encode_control(envelope, &Control::Vote { last: *last }, out)
        }
        Body::Request(Request::Identify(known)) => {
            encode_control(envelope, &Control::Identify(*known), out)
        }
        Body::Request(Request::RecoveryQuery) => {
            encode_control(envelope, &Control::RecoveryQuery, out)
        }
        Body::Answer { asker_incarnation, answer } => {
            let control =
                Control::Answer { asker_incarnation: *asker_incarnation, answer: answer.clone() };
            encode_control(envelope, &control, out)
        }
    }
}

/// An upper bound of the envelope's frame length in bytes. Exact where there are payloads.
pub fn size_bound(envelope: &Envelope) -> usize {
    match &envelope.body {
        Body::Request(Request::Append(append)) => {
            let payload_bytes: usize = append.entries.iter().map(|entry| entry.data.len()).sum();
            let entries_bytes = append.entries.len() * ENTRY_FIXED_BYTES + payload_bytes;
            HEADING_BYTES + APPEND_FIXED_BYTES + entries_bytes
        }
        Body::Request(Request::Snapshot(chunk)) => {
            let Membership { voters, voters_outgoing, learners } = &chunk.meta.membership;
            let members = voters.len() + voters_outgoing.len() + learners.len();
            let members_bytes = 3 * 4 + 8 * members;
            HEADING_BYTES + CHUNK_FIXED_BYTES + members_bytes + 4 + chunk.data.len()
        }
        Body::Request(_) | Body::Answer { .. } => HEADING_BYTES + CONTROL_MAX_BYTES,
    }
}

/// Decodes a frame. Payloads are slices of `frame`.
pub fn decode(frame: &Bytes) -> Result<Envelope, WireError> {
    let mut reader = Reader { frame, at: 0 };
    let version = reader.u8("version")?;
    if version != VERSION {
        return Err(WireError::Version { found: version });
    }
    let kind = reader.u8("message kind")?;
    let mut envelope = decode_heading(&mut reader)?;
    envelope.body = match kind {
        KIND_CONTROL => decode_control(&mut reader)?,
        KIND_APPEND => Body::Request(Request::Append(decode_append(&mut reader)?)),
        KIND_CHUNK => Body::Request(Request::Snapshot(decode_chunk(&mut reader)?)),
        found => return Err(WireError::Kind { field: "message kind", found }),
    };
    match (reader.left(), envelope.impossible_field()) {
        (0, None) => Ok(envelope),
        (0, Some(field)) => Err(WireError::Malformed { field, what: BEYOND_ALL.into() }),
        (left, _) => Err(WireError::Trailing { left }),
    }
}

fn put_heading(out: &mut BytesMut, kind: u8, envelope: &Envelope) {
    out.put_u8(VERSION);
    out.put_u8(kind);
    let Envelope { cluster, group, from, to, incarnation, term, id, body: _ } = envelope;
    put_u64s(out, [*cluster, *group, *from, *to, *incarnation, *term, *id]);
}

fn put_u64s<const N: usize>(out: &mut BytesMut, values: [u64; N]) {
    for value in values {
        out.put_u64_le(value);
    }
}

fn put_length(out: &mut BytesMut, field: &'static str, length: usize) -> Result<(), WireError> {
    let length = u32::try_from(length).map_err(|_| WireError::Unencodable {
        field,
        what: format!("{length} exceeds the format's {}", u32::MAX),
    })?;
    out.put_u32_le(length);
    Ok(())
}

fn encode_control(
    envelope: &Envelope,
    control: &Control,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    put_heading(out, KIND_CONTROL, envelope);
    rmp_serde::encode::write(&mut out.writer(), control)
        .map_err(|e| WireError::Unencodable { field: "control message", what: e.to_string() })
}

fn encode_append(
    envelope: &Envelope,
    append: &Append,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let Append { prev, entries, commit, leader_last, leader_durable, round } = append;
    put_heading(out, KIND_APPEND, envelope);
    put_u64s(out, [prev.term, prev.index, *commit, *leader_last, *leader_durable, *round]);
    put_length(out, "number of entries", entries.len())?;
    for (position, entry) in entries.iter().enumerate() {
        check_follows(*prev, position, entry)?;
        put_u64s(out, [entry.log_id.term, entry.stamp_ms]);
        put_length(out, "entry data length", entry.data.len())?;
        out.put_u8(entry_kind_code(entry.kind));
    }
    for entry in entries.iter() {
        out.put_slice(&entry.data);
    }
    Ok(())
}

fn check_follows(prev: LogId, position: usize, entry: &Entry) -> Result<(), WireError> {
    if index_after(prev.index, position) == Some(entry.log_id.index) {
        return Ok(());
    }
    Err(WireError::Unencodable {
        field: "entries",
        what: format!(
            "{} stands at position {position} behind prev {prev}; indexes must follow",
            entry.log_id
        ),
    })
}

/// The index of the entry at `position` after `prev`; `None` on overflow.
fn index_after(prev: Index, position: usize) -> Option<Index> {
    prev.checked_add(position as u64)?.checked_add(1)
}

fn encode_chunk(
    envelope: &Envelope,
    chunk: &SnapshotChunk,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let SnapshotChunk { meta, transfer, offset, data, crc, round } = chunk;
    let Membership { voters, voters_outgoing, learners } = &meta.membership;
    put_heading(out, KIND_CHUNK, envelope);
    let LogId { term, index } = meta.log_id;
    put_u64s(out, [*transfer, *offset, *round, term, index, meta.size_bytes]);
    out.put_u32_le(*crc);
    put_members(out, "number of voters", voters)?;
    put_members(out, "number of outgoing voters", voters_outgoing)?;
    put_members(out, "number of learners", learners)?;
    put_length(out, "chunk data length", data.len())?;
    out.put_slice(data);
    Ok(())
}

fn put_members(
    out: &mut BytesMut,
    field: &'static str,
    members: &BTreeSet<NodeId>,
) -> Result<(), WireError> {
    put_length(out, field, members.len())?;
    for &member in members {
        out.put_u64_le(member);
    }
    Ok(())
}

fn entry_kind_code(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Blank => 0,
        EntryKind::Command => 1,
    }
}

fn entry_kind(code: u8) -> Result<EntryKind, WireError> {
    match code {
        0 => Ok(EntryKind::Blank),
        1 => Ok(EntryKind::Command),
        found => Err(WireError::Kind { field: "entry kind", found }),
    }
}

/// Decodes everything except the body, which is a minimal placeholder until the caller replaces it.
fn decode_heading(reader: &mut Reader<'_>) -> Result<Envelope, WireError> {
    Ok(Envelope {
        cluster: reader.u64("cluster")?,
        group: reader.u64("group")?,
        from: reader.u64("from")?,
        to: reader.u64("to")?,
        incarnation: reader.u64("incarnation")?,
        term: reader.u64("term")?,
        id: reader.u64("id")?,
        body: Body::Request(Request::Vote { last: LogId::BASE }),
    })
}

fn decode_control(reader: &mut Reader<'_>) -> Result<Body, WireError> {
    let mut rest = reader.rest();
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    deserializer.set_max_depth(MAX_DEPTH);
    let control = Control::deserialize(&mut deserializer)
        .map_err(|e| WireError::Malformed { field: "control message", what: e.to_string() })?;
    reader.at = reader.frame.len() - rest.len();
    Ok(match control {
        Control::PreVote { campaign_term, last } => {
            Body::Request(Request::PreVote { campaign_term, last })
        }
        Control::Vote { last } => Body::Request(Request::Vote { last }),
        Control::Identify(known) => Body::Request(Request::Identify(known)),
        Control::RecoveryQuery => Body::Request(Request::RecoveryQuery),
        Control::Answer { asker_incarnation, answer } => Body::Answer { asker_incarnation, answer },
    })
}

fn decode_append(reader: &mut Reader<'_>) -> Result<Append, WireError> {
    let prev = LogId::new(reader.u64("prev.term")?, reader.u64("prev.index")?);
    let commit = reader.u64("commit")?;
    let leader_last = reader.u64("leader_last")?;
    let leader_durable = reader.u64("leader_durable")?;
    let round = reader.u64("round")?;
    let count = reader.count("entries", ENTRY_FIXED_BYTES)?;
    let mut fixed = Reader { frame: reader.frame, at: reader.at };
    reader.at += count * ENTRY_FIXED_BYTES;
    let mut entries = Vec::with_capacity(count);
    for position in 0..count {
        entries.push(decode_entry(prev, position, &mut fixed, reader)?);
    }
    let entries = Entries::from(entries);
    Ok(Append { prev, entries, commit, leader_last, leader_durable, round })
}

/// Decodes one entry: its numbers from `fixed`, its data from `payloads`.
fn decode_entry(
    prev: LogId,
    position: usize,
    fixed: &mut Reader<'_>,
    payloads: &mut Reader<'_>,
) -> Result<Entry, WireError> {
    let index = index_after(prev.index, position).ok_or_else(|| WireError::Malformed {
        field: "prev.index",
        what: format!("no entry can follow {}", prev.index),
    })?;
    let log_id = LogId::new(fixed.u64("entry term")?, index);
    let stamp_ms = fixed.u64("entry stamp")?;
    let data_bytes = fixed.u32("entry data length")?;
    let kind = entry_kind(fixed.u8("entry kind")?)?;
    Ok(Entry { log_id, kind, stamp_ms, data: payloads.payload("entry data", data_bytes)? })
}

fn decode_chunk(reader: &mut Reader<'_>) -> Result<SnapshotChunk, WireError> {
    let transfer = reader.u64("transfer")?;
    let offset = reader.u64("offset")?;
    let round = reader.u64("round")?;
    let log_id = LogId::new(reader.u64("last.term")?, reader.u64("last.index")?);
    let size_bytes = reader.u64("snapshot size")?;
    let crc = reader.u32("crc")?;
    let membership = Membership {
        voters: decode_members(reader, "voters")?,
        voters_outgoing: decode_members(reader, "outgoing voters")?,
        learners: decode_members(reader, "learners")?,
    };
    let data_bytes = reader.u32("chunk data length")?;
    let data = reader.payload("chunk data", data_bytes)?;
    Ok(SnapshotChunk {
        meta: SnapshotMeta { log_id, membership, size_bytes },
        transfer,
        offset,
        data,
        crc,
        round,
    })
}

fn decode_members(
    reader: &mut Reader<'_>,
    field: &'static str,
) -> Result<BTreeSet<NodeId>, WireError> {
    let count = reader.count(field, 8)?;
    let mut members = BTreeSet::new();
    for _ in 0..count {
        let member = reader.u64(field)?;
        if members.last().is_some_and(|&last| last >= member) {
            return Err(WireError::Malformed { field, what: format!("{member} is out of order") });
        }
        members.insert(member);
    }
    Ok(members)
}

/// A cursor over a frame. Invariant: `at <= frame.len()`.
struct Reader<'a> {
    frame: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    fn left(&self) -> usize {
        self.frame.len() - self.at
    }

    fn rest(&self) -> &'a [u8] {
        &self.frame[self.at..]
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let Some(bytes) = self.rest().first_chunk::<N>() else {
            return Err(WireError::Short { field, needed: N as u64, left: self.left() });
        };
        self.at += N;
        Ok(*bytes)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// Reads a number of items of `item_bytes` each, and checks it against the bytes that follow.
    fn count(&mut self, field: &'static str, item_bytes: usize) -> Result<usize, WireError> {
        let count = self.u32(field)?;
        self.ensure(field, u64::from(count) * item_bytes as u64)?;
        Ok(count as usize)
    }

    /// The next bytes, sharing the frame's buffer.
    fn payload(&mut self, field: &'static str, size_bytes: u32) -> Result<Bytes, WireError> {
        self.ensure(field, u64::from(size_bytes))?;
        let end = self.at + size_bytes as usize;
        let payload = self.frame.slice(self.at..end);
        self.at = end;
        Ok(payload)
    }

    fn ensure(&self, field: &'static str, needed: u64) -> Result<(), WireError> {
        let left = self.left();
        if needed <= left as u64 { Ok(()) } else { Err(WireError::Short { field, needed, left }) }
    }
}
