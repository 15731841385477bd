//! The log's records: the payload of a frame.
//!
//! A record is a tag and fixed fields; the records of a change are in the order of its fields. An
//! entry is 32 bytes and its data, so the append path writes nothing else. `docs/formats.md`
//! describes every byte.
//!
//! *What it does not do:* compute checksums (the [frame](super::segment) has one over all its
//! records), or interpret records together.

use super::super::binary::{Fields, Malformed, put_log_id, put_snapshot_meta, put_u32, put_u64};
use super::super::log_state::LogState;
use crate::raft::{
    Entry, EntryKind, HardState, Index, Install, KnownPeers, Life, LogChange, LogId, Loss, NodeId,
    PeerRecord, SnapshotMeta, TermRun,
};

const CHECKPOINT: u8 = 1;
const LIFE: u8 = 2;
const HARD_STATE: u8 = 3;
const INSTALL: u8 = 4;
const SNAPSHOT: u8 = 5;
const TRUNCATE: u8 = 6;
const ENTRY: u8 = 7;
const PURGE: u8 = 8;
const FALL_BACK: u8 = 9;
const PEER_RECORD: u8 = 10;

/// One record of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// The whole state, at the beginning of a segment.
    Checkpoint(LogState),
    /// A start of the node, a data loss, or the recovery from one.
    Life(Life),
    /// The record of a member.
    Peer(NodeId, PeerRecord),
    /// Term and vote.
    HardState(HardState),
    /// An accepted install.
    Install(Install),
    /// A snapshot made here.
    Snapshot(SnapshotMeta),
    /// Entries from this index on are removed.
    Truncate(Index),
    /// An entry.
    Entry(EntryView<'a>),
    /// Entries up to this one are purged.
    Purge(LogId),
    /// At this start an older snapshot, or none, replaced the current one.
    FallBack(Option<SnapshotMeta>),
}

/// An entry that borrows its data from the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryView<'a> {
    /// Its id.
    pub log_id: LogId,
    /// Its kind.
    pub kind: EntryKind,
    /// The leader's clock.
    pub stamp_ms: u64,
    /// Its data.
    pub data: &'a [u8],
}

impl EntryView<'_> {
    /// Copies the entry and its data, so that it does not keep the frame in memory.
    pub(crate) fn to_entry(self) -> Entry {
        let EntryView { log_id, kind, stamp_ms, data } = self;
        Entry { log_id, kind, stamp_ms, data: bytes::Bytes::copy_from_slice(data) }
    }

    /// The size that counts towards limits.
    pub(crate) fn size_bytes(self) -> usize {
        self.data.len() + Entry::OVERHEAD_BYTES
    }
}

pub(crate) fn put_checkpoint(out: &mut Vec<u8>, state: &LogState) {
    out.push(CHECKPOINT);
    put_life_fields(out, state.life);
    put_term_and_vote(out, state.hard_state);
    put_log_id(out, state.start);
    put_u64(out, state.last);
    put_optional_snapshot(out, state.snapshot.as_ref());
    put_u32(out, state.runs.len() as u32);
    for run in &state.runs {
        put_u64(out, run.first);
        put_u64(out, run.term);
    }
    put_u32(out, state.known_peers.len() as u32);
    for (&node, &peer_record) in &state.known_peers {
        put_peer_record(out, node, peer_record);
    }
}

pub(crate) fn put_life(out: &mut Vec<u8>, life: Life) {
    out.push(LIFE);
    put_life_fields(out, life);
}

fn put_life_fields(out: &mut Vec<u8>, life: Life) {
    put_u64(out, life.incarnation);
    put_u64(out, life.predecessor);
    out.push(match (life.loss, life.doubted_by) {
        (None, _) => 0,
        (Some(_), None) => 1,
        (Some(_), Some(_)) => 2,
    });
    if let Some(loss) = life.loss {
        out.push(loss.forgot_vote.into());
        out.push(loss.last.is_some().into());
        put_log_id(out, loss.last.unwrap_or_default());
        if let Some(node) = life.doubted_by {
            put_u64(out, node);
        }
    }
}

fn put_peer_record(out: &mut Vec<u8>, node: NodeId, peer_record: PeerRecord) {
    put_u64(out, node);
    put_u64(out, peer_record.incarnation);
    put_log_id(out, peer_record.acknowledged);
}

pub(crate) fn put_fall_back(out: &mut Vec<u8>, snapshot: Option<&SnapshotMeta>) {
    out.push(FALL_BACK);
    put_optional_snapshot(out, snapshot);
}

/// Encodes the change's records before its entries.
pub(crate) fn put_before_entries(out: &mut Vec<u8>, change: &LogChange) {
    if let Some(life) = change.life {
        put_life(out, life);
    }
    for (&node, &peer_record) in &change.known_peers {
        out.push(PEER_RECORD);
        put_peer_record(out, node, peer_record);
    }
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

/// Tag, kind, two zeros, data length, term, index, stamp: 32 bytes; then the data.
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

/// Encodes the change's records behind its entries.
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

/// Iterates the records of a verified payload with their offsets.
pub(crate) struct Records<'a> {
    payload: &'a [u8],
    fields: Fields<'a>,
}

impl<'a> Records<'a> {
    /// Begins with the record at offset `from`.
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
            LIFE => Record::Life(life(fields)?),
            PEER_RECORD => {
                let (node, peer_record) = peer_record(fields)?;
                Record::Peer(node, peer_record)
            }
            HARD_STATE => Record::HardState(term_and_vote(fields)?),
            INSTALL => {
                let keep_suffix = fields.flag()?;
                Record::Install(Install { meta: fields.snapshot_meta()?, keep_suffix })
            }
            SNAPSHOT => Record::Snapshot(fields.snapshot_meta()?),
            TRUNCATE => Record::Truncate(fields.count()?),
            ENTRY => Record::Entry(entry(fields)?),
            PURGE => Record::Purge(fields.log_id()?),
            FALL_BACK => Record::FallBack(optional_snapshot(fields)?),
            _ => return Err(Malformed("holds a record of an unknown kind")),
        })
    }
}

fn checkpoint(fields: &mut Fields<'_>) -> Result<LogState, Malformed> {
    let mut state = LogState {
        life: life(fields)?,
        hard_state: term_and_vote(fields)?,
        start: fields.log_id()?,
        last: fields.count()?,
        snapshot: optional_snapshot(fields)?,
        runs: Vec::new(),
        known_peers: KnownPeers::new(),
    };
    for _ in 0..fields.u32()? {
        state.runs.push(TermRun { first: fields.count()?, term: fields.count()? });
    }
    for _ in 0..fields.u32()? {
        let (node, peer_record) = peer_record(fields)?;
        state.known_peers.insert(node, peer_record);
    }
    Ok(state)
}

fn life(fields: &mut Fields<'_>) -> Result<Life, Malformed> {
    let (incarnation, predecessor) = (fields.u64()?, fields.u64()?);
    let (loss, doubted_by) = match fields.u8()? {
        0 => (None, None),
        1 => (Some(loss(fields)?), None),
        2 => (Some(loss(fields)?), Some(fields.u64()?)),
        _ => return Err(Malformed("says neither that something is lost nor that nothing is")),
    };
    Ok(Life { incarnation, predecessor, loss, doubted_by })
}

fn loss(fields: &mut Fields<'_>) -> Result<Loss, Malformed> {
    let (forgot_vote, known, last) = (fields.flag()?, fields.flag()?, fields.log_id()?);
    Ok(Loss { forgot_vote, last: known.then_some(last) })
}

fn peer_record(fields: &mut Fields<'_>) -> Result<(NodeId, PeerRecord), Malformed> {
    let (node, incarnation) = (fields.u64()?, fields.u64()?);
    Ok((node, PeerRecord { incarnation, acknowledged: fields.log_id()? }))
}

fn term_and_vote(fields: &mut Fields<'_>) -> Result<HardState, Malformed> {
    let (term, voted, vote) = (fields.count()?, fields.flag()?, fields.u64()?);
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
