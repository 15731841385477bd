//! The log's bytes: segments of frames, frames of records.
//!
//! ```text
//! segment  header: magic, version, segment, cluster, node, group, CRC-32C
//!          frame 0: a checkpoint, the log's whole state but the entries
//!          frame 1 .. one or more for each write
//! frame    magic, CRC-32C, payload length, segment, batch, synced through; payload: records
//! record   tag, then fixed fields; an entry: 32 bytes, then its data
//! ```
//! A frame's CRC begins with where it stands (segment, offset), so bytes of a segment's earlier life never
//! verify. `synced through` is the end of what had been made durable before the frame was written: damage
//! before it is corruption, damage behind it a write that was never acknowledged (PS05, PS06).
//! `docs/formats.md` has every byte.
//!
//! Not here: what records mean together ([`recovery`](super::recovery)), reading and writing of files.

use super::super::Identity;
use super::super::binary::{Fields, Malformed, put_log_id, put_snapshot_meta, put_u32, put_u64};
use super::super::log_state::LogState;
use crate::raft::{
    Entry, EntryKind, HardState, Incarnation, Index, Install, LogChange, LogId, SnapshotMeta,
    TermRun,
};

const MAGIC: &[u8; 8] = b"QRTWAL1\n";
/// The version this code writes, and the newest that it reads.
const VERSION: u32 = 1;
/// Length of a segment's header.
pub(crate) const HEADER_BYTES: usize = 56;
/// Number of the first segment.
pub(crate) const FIRST: u64 = 1;
/// Length of a segment as the bootstrap leaves it: header and the checkpoint of an empty log.
pub(crate) const FOUNDED_BYTES: u64 =
    (HEADER_BYTES + FRAME_HEAD_BYTES + EMPTY_CHECKPOINT_BYTES) as u64;
const EMPTY_CHECKPOINT_BYTES: usize = 1 + 8 + 17 + 16 + 8 + 1 + 4;

const FRAME_MAGIC: [u8; 4] = *b"qrF1";
/// Length of a frame without its payload.
pub(crate) const FRAME_HEAD_BYTES: usize = 48;
/// A frame that has grown to this is ended behind the change it holds; a bigger change has its own frame.
const FULL_FRAME_BYTES: usize = if cfg!(test) { 400 } else { 1 << 20 };

/// A place in the log's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// The segment.
    pub segment: u64,
    /// The byte in it.
    pub offset: u64,
}

/// A new segment's header.
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

/// Why a segment's header is not what it should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFlaw {
    /// It does not verify.
    Damaged(&'static str),
    /// It verifies and says that this node must not read on.
    Refused(&'static str),
}

/// Checks a segment's header against whose segment it should be.
pub(crate) fn check_header(
    bytes: &[u8],
    identity: Identity,
    segment: u64,
) -> Result<(), HeaderFlaw> {
    let damaged = HeaderFlaw::Damaged;
    let Some((body, crc)) =
        bytes.split_at_checked(HEADER_BYTES - 4).filter(|(_, crc)| crc.len() == 4)
    else {
        return Err(damaged("the header ends too early"));
    };
    if crc32c::crc32c(body).to_le_bytes() != crc {
        return Err(damaged("the header's checksum does not hold"));
    }
    let mut fields = Fields::new(body);
    let mut numbers = || -> Result<_, Malformed> {
        let magic = fields.bytes(8)?;
        Ok((
            magic,
            fields.u32()?,
            fields.u32()?,
            [fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?],
        ))
    };
    let (magic, version, _, ids) = numbers().map_err(|Malformed(what)| damaged(what))?;
    if magic != MAGIC {
        return Err(HeaderFlaw::Refused("is not a log segment"));
    }
    if version > VERSION {
        return Err(HeaderFlaw::Refused(
            "is of a newer format: use the version that wrote it, or a newer one",
        ));
    }
    if ids != [segment, identity.cluster, identity.node, 0] {
        return Err(HeaderFlaw::Refused(
            "is a segment of another node, or has another one's name: restore this node's own",
        ));
    }
    Ok(())
}

/// The first segment of a log in which nothing has happened.
pub(crate) fn founded(identity: Identity) -> Vec<u8> {
    let mut out = Vec::new();
    encode_header(&mut out, identity, FIRST);
    let at = Position { segment: FIRST, offset: HEADER_BYTES as u64 };
    let frame = FrameStart::begin(&mut out, at);
    put_checkpoint(&mut out, &LogState::default());
    frame.end(&mut out, 0, Position::default());
    out
}

/// A frame being written into a buffer.
pub(crate) struct FrameStart {
    /// Where the frame will stand.
    pub at: Position,
    begin: usize,
}

impl FrameStart {
    /// Leaves room for the head; records follow. `at`: where the frame will stand.
    pub(crate) fn begin(out: &mut Vec<u8>, at: Position) -> FrameStart {
        let begin = out.len();
        out.resize(begin + FRAME_HEAD_BYTES, 0);
        FrameStart { at, begin }
    }

    /// Length of the records so far.
    pub(crate) fn payload_bytes(&self, out: &[u8]) -> usize {
        out.len() - self.begin - FRAME_HEAD_BYTES
    }

    /// Whether another change should begin a frame of its own.
    pub(crate) fn is_full(&self, out: &[u8]) -> bool {
        self.payload_bytes(out) >= FULL_FRAME_BYTES
    }

    /// Fills in the head. Returns the end of the frame.
    pub(crate) fn end(self, out: &mut [u8], batch: u64, synced: Position) -> Position {
        let payload = self.payload_bytes(out);
        assert!(
            payload <= u32::MAX as usize,
            "a change of {payload} bytes, a frame holds {}",
            u32::MAX
        );
        let frame = &mut out[self.begin..];
        frame[..4].copy_from_slice(&FRAME_MAGIC);
        frame[8..12].copy_from_slice(&(payload as u32).to_le_bytes());
        let numbers = [self.at.segment, batch, synced.segment, synced.offset];
        for (field, number) in frame[16..FRAME_HEAD_BYTES].chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_le_bytes());
        }
        let crc = frame_crc(self.at, &frame[8..]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        Position { segment: self.at.segment, offset: self.at.offset + frame.len() as u64 }
    }
}

/// Continues a CRC over where the frame stands with all of it behind the CRC itself.
fn frame_crc(at: Position, frame_behind_crc: &[u8]) -> u32 {
    let seed = crc32c::crc32c(&at.segment.to_le_bytes());
    let seed = crc32c::crc32c_append(seed, &at.offset.to_le_bytes());
    crc32c::crc32c_append(seed, frame_behind_crc)
}

/// What stands before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    /// Where the frame stands.
    pub at: Position,
    /// Its number: one more than the frame's before it.
    pub batch: u64,
    /// End of what had been made durable before the frame was written.
    pub synced: Position,
    /// Length of the payload.
    pub payload_bytes: usize,
}

impl FrameHead {
    /// Where the next frame stands.
    pub(crate) fn end(&self) -> u64 {
        self.at.offset + (FRAME_HEAD_BYTES + self.payload_bytes) as u64
    }
}

/// Length of the payload that a head announces, unverified.
pub(crate) fn announced_bytes(head: &[u8; FRAME_HEAD_BYTES]) -> Result<usize, &'static str> {
    if head[..4] != FRAME_MAGIC {
        return Err("is not the beginning of a frame");
    }
    Ok(u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize)
}

/// Where in `bytes` a frame's magic begins, the first one.
pub(crate) fn find_magic(bytes: &[u8]) -> Option<usize> {
    bytes.windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC)
}

/// Verifies a whole frame that stands at `at`.
pub(crate) fn decode_frame(frame: &[u8], at: Position) -> Result<(FrameHead, &[u8]), &'static str> {
    let mut fields = Fields::new(frame);
    let mut numbers = || -> Result<_, Malformed> {
        let magic = fields.bytes(4)?;
        let (crc, length, zero) = (fields.u32()?, fields.u32()? as usize, fields.u32()?);
        let segment = fields.u64()?;
        let (batch, synced) =
            (fields.u64()?, Position { segment: fields.u64()?, offset: fields.u64()? });
        Ok((magic, crc, zero, segment, FrameHead { at, batch, synced, payload_bytes: length }))
    };
    let (magic, crc, zero, segment, head) = numbers().map_err(|Malformed(what)| what)?;
    let payload = fields.bytes(head.payload_bytes).map_err(|Malformed(what)| what)?;
    if magic != FRAME_MAGIC || frame_crc(at, &frame[8..]) != crc {
        return Err("has a checksum that does not hold");
    }
    if segment != at.segment || zero != 0 || head.synced > at {
        return Err("has a head that contradicts its place");
    }
    Ok((head, payload))
}

const CHECKPOINT: u8 = 1;
const INCARNATION: u8 = 2;
const HARD_STATE: u8 = 3;
const INSTALL: u8 = 4;
const SNAPSHOT: u8 = 5;
const TRUNCATE: u8 = 6;
const ENTRY: u8 = 7;
const PURGE: u8 = 8;
const FALL_BACK: u8 = 9;

/// One record of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// The whole state at the beginning of a segment.
    Checkpoint(LogState),
    /// A start of the node.
    Incarnation(Incarnation),
    /// Term and vote.
    HardState(HardState),
    /// An accepted install.
    Install(Install),
    /// A snapshot made here.
    Snapshot(SnapshotMeta),
    /// Entries from here on are gone.
    Truncate(Index),
    /// An entry.
    Entry(EntryView<'a>),
    /// Entries up to here are gone.
    Purge(LogId),
    /// At this start an older snapshot, or none, stood in for the current one.
    FallBack(Option<SnapshotMeta>),
}

/// An entry whose data is still in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryView<'a> {
    /// Its id.
    pub log_id: LogId,
    /// Its kind.
    pub kind: EntryKind,
    /// Its leader's clock.
    pub stamp_ms: u64,
    /// Its data.
    pub data: &'a [u8],
}

impl EntryView<'_> {
    /// The entry with a copy of its data: it must not keep the frame in memory.
    pub(crate) fn to_entry(self) -> Entry {
        let EntryView { log_id, kind, stamp_ms, data } = self;
        Entry { log_id, kind, stamp_ms, data: bytes::Bytes::copy_from_slice(data) }
    }

    /// What it counts against limits.
    pub(crate) fn size_bytes(self) -> usize {
        self.data.len() + Entry::OVERHEAD_BYTES
    }
}

pub(crate) fn put_checkpoint(out: &mut Vec<u8>, state: &LogState) {
    out.push(CHECKPOINT);
    put_u64(out, state.incarnation);
    put_term_and_vote(out, state.hard_state);
    put_log_id(out, state.start);
    put_u64(out, state.last);
    put_optional_snapshot(out, state.snapshot.as_ref());
    put_u32(out, state.runs.len() as u32);
    for run in &state.runs {
        put_u64(out, run.first);
        put_u64(out, run.term);
    }
}

pub(crate) fn put_incarnation(out: &mut Vec<u8>, incarnation: Incarnation) {
    out.push(INCARNATION);
    put_u64(out, incarnation);
}

pub(crate) fn put_fall_back(out: &mut Vec<u8>, snapshot: Option<&SnapshotMeta>) {
    out.push(FALL_BACK);
    put_optional_snapshot(out, snapshot);
}

/// The change's records without its entries and what comes behind them.
pub(crate) fn put_before_entries(out: &mut Vec<u8>, change: &LogChange) {
    if let Some(hard_state) = change.hard_state {
        out.push(HARD_STATE);
        put_term_and_vote(out, hard_state);
    }
    if let Some(install) = &change.install {
        out.push(INSTALL);
        out.push(install.keep_suffix.into());
        put_snapshot_meta(out, &install.meta);
    }
    if let Some(meta) = &change.snapshot {
        out.push(SNAPSHOT);
        put_snapshot_meta(out, meta);
    }
    if let Some(from) = change.truncate_from {
        out.push(TRUNCATE);
        put_u64(out, from);
    }
}

/// Tag, kind, two zeros, data length, term, index, stamp: 32 bytes; the data.
pub(crate) fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    let length = entry.data.len();
    assert!(length <= u32::MAX as usize, "entry {} has {length} bytes of data", entry.log_id);
    let mut head = [0; Entry::OVERHEAD_BYTES];
    head[0] = ENTRY;
    head[1] = match entry.kind {
        EntryKind::Blank => 0,
        EntryKind::Command => 1,
    };
    head[4..8].copy_from_slice(&(length as u32).to_le_bytes());
    head[8..16].copy_from_slice(&entry.log_id.term.to_le_bytes());
    head[16..24].copy_from_slice(&entry.log_id.index.to_le_bytes());
    head[24..32].copy_from_slice(&entry.stamp_ms.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(&entry.data);
}

/// The change's records behind its entries.
pub(crate) fn put_behind_entries(out: &mut Vec<u8>, change: &LogChange) {
    if let Some(through) = change.purge_through {
        out.push(PURGE);
        put_log_id(out, through);
    }
}

fn put_term_and_vote(out: &mut Vec<u8>, hard_state: HardState) {
    put_u64(out, hard_state.term);
    out.push(hard_state.vote.is_some().into());
    put_u64(out, hard_state.vote.unwrap_or(0));
}

fn put_optional_snapshot(out: &mut Vec<u8>, snapshot: Option<&SnapshotMeta>) {
    out.push(snapshot.is_some().into());
    if let Some(meta) = snapshot {
        put_snapshot_meta(out, meta);
    }
}

/// The records of a verified payload, each with its place in it.
pub(crate) struct Records<'a> {
    payload: &'a [u8],
    fields: Fields<'a>,
}

impl<'a> Records<'a> {
    /// The records from the one at `from` on.
    pub(crate) fn from(payload: &'a [u8], from: usize) -> Records<'a> {
        Records { payload, fields: Fields::new(payload.get(from..).unwrap_or(&[])) }
    }

    /// The next record; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(usize, Record<'a>)>, Malformed> {
        if self.fields.is_empty() {
            return Ok(None);
        }
        let at = self.payload.len() - self.fields.remaining();
        Ok(Some((at, self.record()?)))
    }

    fn record(&mut self) -> Result<Record<'a>, Malformed> {
        let fields = &mut self.fields;
        Ok(match fields.u8()? {
            CHECKPOINT => Record::Checkpoint(checkpoint(fields)?),
            INCARNATION => Record::Incarnation(fields.u64()?),
            HARD_STATE => Record::HardState(term_and_vote(fields)?),
            INSTALL => {
                let keep_suffix = fields.flag()?;
                Record::Install(Install { meta: fields.snapshot_meta()?, keep_suffix })
            }
            SNAPSHOT => Record::Snapshot(fields.snapshot_meta()?),
            TRUNCATE => Record::Truncate(fields.u64()?),
            ENTRY => Record::Entry(entry(fields)?),
            PURGE => Record::Purge(fields.log_id()?),
            FALL_BACK => Record::FallBack(optional_snapshot(fields)?),
            _ => return Err(Malformed("holds a record of an unknown kind")),
        })
    }
}

fn checkpoint(fields: &mut Fields<'_>) -> Result<LogState, Malformed> {
    let mut state = LogState {
        incarnation: fields.u64()?,
        hard_state: term_and_vote(fields)?,
        start: fields.log_id()?,
        last: fields.u64()?,
        snapshot: optional_snapshot(fields)?,
        runs: Vec::new(),
    };
    for _ in 0..fields.u32()? {
        state.runs.push(TermRun { first: fields.u64()?, term: fields.u64()? });
    }
    Ok(state)
}

fn term_and_vote(fields: &mut Fields<'_>) -> Result<HardState, Malformed> {
    let (term, voted, vote) = (fields.u64()?, fields.flag()?, fields.u64()?);
    Ok(HardState { term, vote: voted.then_some(vote) })
}

fn optional_snapshot(fields: &mut Fields<'_>) -> Result<Option<SnapshotMeta>, Malformed> {
    if fields.flag()? { fields.snapshot_meta().map(Some) } else { Ok(None) }
}

fn entry<'a>(fields: &mut Fields<'a>) -> Result<EntryView<'a>, Malformed> {
    let kind = match fields.u8()? {
        0 => EntryKind::Blank,
        1 => EntryKind::Command,
        _ => return Err(Malformed("holds an entry of an unknown kind")),
    };
    if fields.bytes(2)? != [0, 0] {
        return Err(Malformed("holds an entry with unknown flags"));
    }
    let length = fields.u32()? as usize;
    let log_id = fields.log_id()?;
    let stamp_ms = fields.u64()?;
    Ok(EntryView { log_id, kind, stamp_ms, data: fields.bytes(length)? })
}
