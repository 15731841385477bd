//! The report of an inspection: plain values for printing and for JSON.
//!
//! *What it does not do:* compute them.

use serde::Serialize;

use super::super::super::log_state::LogState;
use super::super::record::Record;
use super::super::scanner::Content;
use crate::raft::{
    EntryKind, Incarnation, Index, Life, LogId, Loss, Membership, NodeId, SnapshotMeta, Term,
    TermRun, created_at_ms, start_number,
};

pub use super::super::segment::Position;

/// A node's directory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Its path.
    pub directory: String,
    /// A node has the directory open: the end of the log may have moved meanwhile.
    pub in_use: bool,
    /// The cluster's id.
    pub cluster: u64,
    /// The node's id.
    pub node: NodeId,
    /// The members that the cluster was bootstrapped with.
    pub members: Membership,
    /// What a start would do with the directory.
    pub outcome: Outcome,
    /// What is wrong; empty if nothing is.
    pub findings: Vec<Finding>,
    /// Irregularities that do no harm.
    pub notes: Vec<Finding>,
    /// The log, if its end is known.
    pub log: Option<LogReport>,
    /// The durable end of the log by the file `end`. `None`: it can't be read, which is a finding.
    pub end: Option<EndReport>,
    /// The log's files by number.
    pub segments: Vec<SegmentReport>,
    /// Files that are ready for reuse as segments.
    pub spares: Vec<SpareReport>,
    /// Snapshots by index, followed by unfinished ones.
    pub snapshots: Vec<SnapshotReport>,
}

/// What a start would do with a directory.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Continue as before.
    Sound,
    /// Continue as before, as a member with a data loss that does not count before it has caught
    /// up.
    Recovering,
    /// Continue from an older snapshot than the log names.
    FallsBack {
        /// The older snapshot; 0@0: none, because the log reaches back to its beginning.
        older: LogId,
    },
    /// Continue without a damaged part that a snapshot covers. No data is lost.
    Covered,
    /// Continue from the intact data, catch up from the other members and not count before that.
    /// With [`OnDamage::Refuse`](super::super::OnDamage) the start would be refused instead.
    CatchesUp {
        /// The last entry it would continue from; 0: none.
        last: Index,
        /// What it would consider lost.
        loss: Loss,
    },
    /// Be refused, without a change.
    Refused {
        /// The reason.
        why: String,
    },
}

/// A finding at a position, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, or the directory.
    pub path: String,
    /// Byte offset in the file.
    pub offset: u64,
    /// The finding: a clause that follows the file's name.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// An incarnation, split into its parts: as one number it exceeds what many JSON parsers represent
/// exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StartReport {
    /// When the directory was created, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// The number of the start since then; 0: none yet.
    pub number: u64,
}

impl From<Incarnation> for StartReport {
    fn from(incarnation: Incarnation) -> StartReport {
        StartReport { created_at_ms: created_at_ms(incarnation), number: start_number(incarnation) }
    }
}

/// The incarnation record of the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LifeReport {
    /// The last start.
    pub start: StartReport,
    /// The last start of the member's previous directory, as reported by other members.
    pub predecessor: Option<StartReport>,
    /// A data loss: acknowledged data may be gone and is not recovered yet.
    pub loss: Option<Loss>,
}

impl From<Life> for LifeReport {
    fn from(life: Life) -> LifeReport {
        let predecessor = (life.predecessor > 0).then(|| life.predecessor.into());
        LifeReport { start: life.incarnation.into(), predecessor, loss: life.loss }
    }
}

/// The record of another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PeerRecordReport {
    /// The member.
    pub node: NodeId,
    /// The member's last known start.
    pub start: StartReport,
    /// The last entry that the member is known to have acknowledged.
    pub acknowledged: LogId,
}

/// A log's state without its entries: at its end, or in a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StateReport {
    /// The incarnation record that wrote it.
    pub life: LifeReport,
    /// The term.
    pub term: Term,
    /// The candidate this node voted for in the term.
    pub vote: Option<NodeId>,
    /// The id just before the first entry.
    pub start: LogId,
    /// The index of the last entry, or of the start.
    pub last: Index,
    /// Terms of the entries.
    pub runs: Vec<TermRun>,
    /// The current snapshot.
    pub snapshot: Option<SnapshotMeta>,
    /// Records of the other members.
    pub known_peers: Vec<PeerRecordReport>,
}

impl From<&LogState> for StateReport {
    fn from(state: &LogState) -> StateReport {
        let known_peers = state.known_peers.iter().map(|(&node, known)| PeerRecordReport {
            node,
            start: known.incarnation.into(),
            acknowledged: known.acknowledged,
        });
        StateReport {
            life: state.life.into(),
            term: state.hard_state.term,
            vote: state.hard_state.vote,
            start: state.start,
            last: state.last,
            runs: state.runs.clone(),
            snapshot: state.snapshot.clone(),
            known_peers: known_peers.collect(),
        }
    }
}

/// The log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogReport {
    /// The state after the last frame.
    #[serde(flatten)]
    pub state: StateReport,
    /// Number of entries in the files.
    pub entries: u64,
    /// Length of their records in bytes.
    pub entries_bytes: u64,
}

/// The mark of the log's end: a log that ends before it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EndReport {
    /// The position through which the log was durable when the mark was written.
    pub through: Position,
    /// The last entry at that time.
    pub last: LogId,
    /// The start that wrote it.
    pub start: StartReport,
    /// The mark is the end of the log, in both copies: the log was idle, or its node was stopped
    /// orderly.
    pub is_sealed: bool,
}

/// How a start treats a file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SegmentState {
    /// The log continues here.
    Newest,
    /// Part of the log, up to `used_bytes`.
    InUse,
    /// No longer part of the log; kept until the lost data is recovered.
    SetAside,
    /// No longer part of the log; the next start reuses or removes it.
    LeftOver,
    /// Created, but nothing in it was acknowledged; the next start removes it.
    Unused,
    /// Unknown, because the log can't be read.
    Unknown,
}

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SegmentReport {
    /// Its number.
    pub number: u64,
    /// Its path.
    pub path: String,
    /// Its length in bytes.
    pub file_bytes: u64,
    /// How a start treats it.
    pub state: SegmentState,
    /// Where the log's part of it ends; for a file that is not the log's, where its frames end.
    pub used_bytes: u64,
    /// Number of frames up to there.
    pub frames: u64,
    /// The lowest index of an entry up to there.
    pub first: Option<Index>,
    /// The highest index of an entry up to there.
    pub last: Option<Index>,
    /// Where the previous segment ended, by this one's first frame.
    pub follows: Option<Position>,
    /// What is wrong with its header, or why it can't be read completely.
    pub flaw: Option<String>,
    /// Regions before or between frames without a valid frame.
    pub gaps: Vec<GapReport>,
}

/// A region of a segment without a valid frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GapReport {
    /// Its byte offset.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its content.
    pub holds: Holding,
}

/// The content of a region without a valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Holding {
    /// Only zeros: it was never written.
    Zeros,
    /// Content of an earlier segment that used the file.
    EarlierSegment,
    /// A damaged or unfinished frame of this segment.
    BrokenFrame,
    /// Other bytes.
    Unknown,
}

impl From<Content> for Holding {
    fn from(content: Content) -> Holding {
        match content {
            Content::Blank => Holding::Zeros,
            Content::EarlierSegment => Holding::EarlierSegment,
            Content::Own => Holding::BrokenFrame,
            Content::Unknown => Holding::Unknown,
        }
    }
}

/// A file that is ready for reuse as a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpareReport {
    /// Its path.
    pub path: String,
    /// Its length in bytes.
    pub file_bytes: u64,
}

/// How a start treats a snapshot's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SnapshotState {
    /// The log names it.
    Current,
    /// It can replace the current one if the log reaches back to it.
    Older,
    /// No readable record names it. A start removes it, unless data was lost.
    Orphan,
    /// It was never published. A start removes it, unless data was lost.
    Unfinished,
}

/// A snapshot's file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SnapshotReport {
    /// Its path.
    pub path: String,
    /// Its length in bytes; `None`: the file is missing.
    pub file_bytes: Option<u64>,
    /// The last entry it covers, by its file name.
    pub log_id: Option<LogId>,
    /// How a start treats it.
    pub state: SnapshotState,
    /// The meta it contains, if every byte verifies.
    pub verified: Option<SnapshotMeta>,
    /// What is wrong with it.
    pub flaw: Option<String>,
}

/// A part of a segment, from its header on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stretch {
    /// A frame.
    Frame(FrameReport),
    /// A region without a valid frame.
    Gap(GapReport),
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrameReport {
    /// Its byte offset.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// The start that wrote it.
    pub start: StartReport,
    /// The end of the data that was durable before it was written.
    pub synced_through: Position,
    /// Whether it is part of the log.
    pub counts: bool,
    /// Its records.
    pub records: Vec<RecordReport>,
    /// Why there are no further records.
    pub flaw: Option<String>,
}

/// A record of a frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecordReport {
    /// The whole state, at the beginning of a segment.
    Checkpoint(StateReport),
    /// A start of the node, a data loss, or the recovery from one.
    Life(LifeReport),
    /// The record of a member.
    Peer(PeerRecordReport),
    /// Term and vote.
    HardState {
        /// The term.
        term: Term,
        /// The candidate voted for.
        vote: Option<NodeId>,
    },
    /// An accepted install.
    Install {
        /// Its snapshot.
        snapshot: SnapshotMeta,
        /// Whether the entries behind it are kept.
        keep_suffix: bool,
    },
    /// A snapshot made by this node.
    Snapshot(SnapshotMeta),
    /// Entries from this one on are removed.
    Truncate {
        /// The first removed entry.
        from: Index,
    },
    /// An entry.
    Entry {
        /// Its id.
        log_id: LogId,
        /// Its kind.
        kind: EntryKind,
        /// The leader's clock, in milliseconds since 1970.
        stamp_ms: u64,
        /// The length of its data in bytes.
        data_bytes: u64,
        /// The first bytes of its data as text; unprintable ones are escaped as in Rust's byte
        /// strings.
        data: String,
    },
    /// Entries up to this one are purged.
    Purge {
        /// The last purged entry.
        through: LogId,
    },
    /// At this start an older snapshot, or none, replaced the current one.
    FallBack {
        /// The replacement.
        snapshot: Option<SnapshotMeta>,
    },
}

impl RecordReport {
    pub(super) fn of(record: Record<'_>, shown_bytes: usize) -> RecordReport {
        match record {
            Record::Checkpoint(state) => RecordReport::Checkpoint((&state).into()),
            Record::Life(life) => RecordReport::Life(life.into()),
            Record::Peer(node, known) => {
                let start = known.incarnation.into();
                let acknowledged = known.acknowledged;
                RecordReport::Peer(PeerRecordReport { node, start, acknowledged })
            }
            Record::HardState(state) => {
                RecordReport::HardState { term: state.term, vote: state.vote }
            }
            Record::Install(install) => {
                RecordReport::Install { snapshot: install.meta, keep_suffix: install.keep_suffix }
            }
            Record::Snapshot(meta) => RecordReport::Snapshot(meta),
            Record::Truncate(from) => RecordReport::Truncate { from },
            Record::Entry(entry) => {
                let shown = &entry.data[..entry.data.len().min(shown_bytes)];
                RecordReport::Entry {
                    log_id: entry.log_id,
                    kind: entry.kind,
                    stamp_ms: entry.stamp_ms,
                    data_bytes: entry.data.len() as u64,
                    data: shown.escape_ascii().to_string(),
                }
            }
            Record::Purge(through) => RecordReport::Purge { through },
            Record::FallBack(snapshot) => RecordReport::FallBack { snapshot },
        }
    }
}
