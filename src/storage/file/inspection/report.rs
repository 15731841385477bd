//! What an inspection reports: plain values, as they are printed and as they stand in JSON.
//!
//! Not here: how they come about.

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
    /// A node has it open: the end of the log may have moved meanwhile.
    pub in_use: bool,
    /// The cluster's id.
    pub cluster: u64,
    /// The node's id.
    pub node: NodeId,
    /// The members that the cluster began with.
    pub members: Membership,
    /// What a start would make of it.
    pub outcome: Outcome,
    /// What is wrong. Empty: nothing is.
    pub findings: Vec<Finding>,
    /// What is there and does no harm.
    pub notes: Vec<Finding>,
    /// The log, as far as its end is known.
    pub log: Option<LogReport>,
    /// How far the log is durable by the file `end`. `None`: it can't be read, which is a finding.
    pub end: Option<EndReport>,
    /// The log's files by number.
    pub segments: Vec<SegmentReport>,
    /// Files that are ready to become segments.
    pub spares: Vec<SpareReport>,
    /// Snapshots by index, then those that are not finished.
    pub snapshots: Vec<SnapshotReport>,
}

/// What a start would make of a directory.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It would go on as it was.
    Sound,
    /// It would go on as it was: as a member that has lost something, and does not count before it has caught up.
    Recovering,
    /// It would go on from an older snapshot than the log names.
    FallsBack {
        /// The older snapshot; 0@0: none, the log reaches back to its beginning.
        older: LogId,
    },
    /// It would go on without a damaged part that a snapshot covers. Nothing is lost.
    Covered,
    /// It would go on from what is whole, catch up from the others and not count before it has; unless the node asks for
    /// [`OnDamage::Refuse`](super::super::OnDamage): then it would be refused.
    CatchesUp {
        /// The last entry that it would go on from; 0: none.
        last: Index,
        /// What it would take for lost.
        loss: Loss,
    },
    /// It would be refused, and change nothing.
    Refused {
        /// Why.
        why: String,
    },
}

/// Something at a place, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, or the directory.
    pub path: String,
    /// Where in it.
    pub offset: u64,
    /// What: for a sentence that begins with the file's name.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// An incarnation, taken apart: as one number it is more than programs that read JSON can tell from its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StartReport {
    /// When the directory came into being, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// The number of the start since then; 0: none yet.
    pub number: u64,
}

impl From<Incarnation> for StartReport {
    fn from(incarnation: Incarnation) -> StartReport {
        StartReport { created_at_ms: created_at_ms(incarnation), number: start_number(incarnation) }
    }
}

/// Which life of the member it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LifeReport {
    /// The last start.
    pub start: StartReport,
    /// The last start of the life before this one, on another directory, that others have told of.
    pub predecessor: Option<StartReport>,
    /// Something that may have been acknowledged is gone, and not made good yet.
    pub loss: Option<Loss>,
}

impl From<Life> for LifeReport {
    fn from(life: Life) -> LifeReport {
        let predecessor = (life.predecessor > 0).then(|| life.predecessor.into());
        LifeReport { start: life.incarnation.into(), predecessor, loss: life.loss }
    }
}

/// What is remembered of another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PeerRecordReport {
    /// The member.
    pub node: NodeId,
    /// Its last start that was heard of.
    pub start: StartReport,
    /// The last entry that it is known to have acknowledged.
    pub acknowledged: LogId,
}

/// A log without its entries: its end, or a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StateReport {
    /// The life that wrote it.
    pub life: LifeReport,
    /// The term.
    pub term: Term,
    /// Who has this node's vote in the term.
    pub vote: Option<NodeId>,
    /// The id just before the first entry.
    pub start: LogId,
    /// The index of the last entry, or of the start.
    pub last: Index,
    /// Terms of the entries.
    pub runs: Vec<TermRun>,
    /// The current snapshot.
    pub snapshot: Option<SnapshotMeta>,
    /// What is remembered of other members.
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
    /// As its last frame leaves it.
    #[serde(flatten)]
    pub state: StateReport,
    /// Entries that are there.
    pub entries: u64,
    /// Their records' length.
    pub entries_bytes: u64,
}

/// The mark of the log's end: a log that ends before it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EndReport {
    /// Through where the log was durable when the mark was written.
    pub through: Position,
    /// The last entry then.
    pub last: LogId,
    /// The start that wrote it.
    pub start: StartReport,
    /// It is the end of the log, in both copies: the log was idle, or its node was stopped in
    /// order.
    pub is_sealed: bool,
}

/// What a file of the log is to a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SegmentState {
    /// The log goes on here.
    Newest,
    /// The log's, up to `used_bytes`.
    InUse,
    /// Not the log's any more; it stays until what was lost is made good.
    SetAside,
    /// Not the log's any more; the next start uses it again or removes it.
    LeftOver,
    /// It was begun, and nothing in it was ever acknowledged; the next start removes it.
    Unused,
    /// Nobody can tell: the log can't be read.
    Unknown,
}

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SegmentReport {
    /// Its number.
    pub number: u64,
    /// Its path.
    pub path: String,
    /// Its length.
    pub file_bytes: u64,
    /// What it is to a start.
    pub state: SegmentState,
    /// Where the log's part of it ends; of a file that is not the log's, where its frames end.
    pub used_bytes: u64,
    /// Frames up to there.
    pub frames: u64,
    /// The lowest index of an entry up to there.
    pub first: Option<Index>,
    /// The highest index of an entry up to there.
    pub last: Option<Index>,
    /// Where the segment before it ended, by its first frame.
    pub follows: Option<Position>,
    /// What is wrong with its header, or why it can't be read through.
    pub flaw: Option<String>,
    /// Stretches before or between frames in which none verifies.
    pub gaps: Vec<GapReport>,
}

/// A stretch of a segment in which no frame verifies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GapReport {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// What stands there.
    pub holds: Holding,
}

/// What stands where no frame verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Holding {
    /// Nothing but zeros: it was never written to.
    Zeros,
    /// What the file held as an earlier segment.
    EarlierSegment,
    /// A frame of this segment that is damaged or was never finished.
    BrokenFrame,
    /// Something else.
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

/// A file that is ready to become a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpareReport {
    /// Its path.
    pub path: String,
    /// Its length.
    pub file_bytes: u64,
}

/// What a snapshot's file is to a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SnapshotState {
    /// The log names it.
    Current,
    /// It could stand in for the current one where the log reaches back to it.
    Older,
    /// No record that can be read names it. A start removes it, unless something was lost.
    Orphan,
    /// It was never published. A start removes it, unless something was lost.
    Unfinished,
}

/// A snapshot's file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SnapshotReport {
    /// Its path.
    pub path: String,
    /// Its length; `None`: it is missing.
    pub file_bytes: Option<u64>,
    /// The last entry in it, by its name.
    pub log_id: Option<LogId>,
    /// What it is to a start.
    pub state: SnapshotState,
    /// What it says of itself, if every byte verifies.
    pub verified: Option<SnapshotMeta>,
    /// What is wrong with it.
    pub flaw: Option<String>,
}

/// What stands in a segment, from its header on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stretch {
    /// A frame.
    Frame(FrameReport),
    /// What is none.
    Gap(GapReport),
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrameReport {
    /// Where it begins.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// The start that wrote it.
    pub start: StartReport,
    /// The end of what was durable before it was written.
    pub synced_through: Position,
    /// It is part of the log.
    pub counts: bool,
    /// Its records.
    pub records: Vec<RecordReport>,
    /// Why there are no further ones.
    pub flaw: Option<String>,
}

/// A record of a frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecordReport {
    /// The whole state at the beginning of a segment.
    Checkpoint(StateReport),
    /// A start of the node, a loss, or that one is made good.
    Life(LifeReport),
    /// What is remembered of a member.
    Peer(PeerRecordReport),
    /// Term and vote.
    HardState {
        /// The term.
        term: Term,
        /// Who has the vote.
        vote: Option<NodeId>,
    },
    /// An accepted install.
    Install {
        /// Its snapshot.
        snapshot: SnapshotMeta,
        /// The entries behind it stay.
        keep_suffix: bool,
    },
    /// A snapshot made here.
    Snapshot(SnapshotMeta),
    /// Entries from here on are gone.
    Truncate {
        /// The first that is.
        from: Index,
    },
    /// An entry.
    Entry {
        /// Its id.
        log_id: LogId,
        /// Its kind.
        kind: EntryKind,
        /// Its leader's clock, in milliseconds since 1970.
        stamp_ms: u64,
        /// The length of its data.
        data_bytes: u64,
        /// The first bytes of its data as text; what is not printable is escaped as in Rust's byte strings.
        data: String,
    },
    /// Entries up to here are gone.
    Purge {
        /// The last that is.
        through: LogId,
    },
    /// At this start an older snapshot, or none, stood in for the current one.
    FallBack {
        /// What stood in.
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
