//! What members say to each other.
//!
//! Every request gets exactly one answer, delayed by nothing but its own persist. The network is
//! taken to lose, repeat, delay and reorder: an answer names the request's id and the asker's
//! incarnation, and one that names an earlier incarnation never counts (LR14, AC16).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::entries::Entries;
use super::types::{
    COUNT_MAX, Incarnation, Index, LogId, NodeId, PeerRecord, SnapshotMeta, Term,
    is_credible_incarnation,
};

/// A request's number, unique in one incarnation of its sender: from the lowest bit on a tag of 16 bits that depends on
/// whom it asks what, then its place among the sender's requests. An answer carries the request's, and counts only for a
/// request of its kind to the member that answers.
pub type RequestId = u64;

/// One message on its way between two members.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Envelope {
    /// The cluster both belong to; a message of another cluster is refused (LR26).
    pub cluster: u64,
    /// The consensus group inside the cluster. One group exists today: 0.
    pub group: u64,
    /// Who speaks.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// The sender's start number.
    pub incarnation: Incarnation,
    /// The sender's term, durable before the message left.
    pub term: Term,
    /// The request's number, or that of the request being answered.
    pub id: RequestId,
    /// What is said.
    pub body: Body,
}

/// A request, or the answer to one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Body {
    /// Asks for an answer.
    Request(Request),
    /// Answers a request.
    Answer {
        /// The asker's incarnation, as the request had it.
        asker_incarnation: Incarnation,
        /// The answer itself.
        answer: Answer,
    },
}

/// What one member asks of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Request {
    /// Would you vote for me? Changes nothing at the receiver (Raft dissertation §9.6).
    PreVote {
        /// The term the sender would campaign in: one above its own.
        campaign_term: Term,
        /// The last entry of the sender's log.
        last: LogId,
    },
    /// Vote for me in the envelope's term (Raft §5.2).
    Vote {
        /// The last entry of the sender's log.
        last: LogId,
    },
    /// Entries, or without any a heartbeat (Raft §5.3).
    Append(Append),
    /// A piece of a snapshot (Raft §7).
    Snapshot(SnapshotChunk),
    /// This is what the sender remembers of the receiver, which speaks as if it had lost it (PS20).
    Identify(PeerRecord),
    /// The sender lost something: how far is your log, and in which term are you (PS20)?
    RecoveryQuery,
}

/// AppendEntries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Append {
    /// The entry before the first of `entries`. A heartbeat names one the receiver is known to hold (LR13).
    pub prev: LogId,
    /// Contiguous entries from `prev.index + 1`; empty in a heartbeat.
    pub entries: Entries,
    /// Commit index as far as this message vouches for it: at most `prev.index + entries.len()`.
    pub commit: Index,
    /// The leader's last entry. Never how far to commit; what the message says of the leader lies within it.
    pub leader_last: Index,
    /// The leader's own log is durable up to here. A member that makes a quorum together with the leader alone may commit
    /// by it, without being told ([`Raft`](super::Raft) decides, see `follower.rs`). 0: do not.
    pub leader_durable: Index,
    /// The leader's round; an answer echoes it. Confirms reads and the leader's quorum.
    pub round: u64,
}

/// One piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// The snapshot this is part of.
    pub meta: SnapshotMeta,
    /// The transfer's number, unique in one incarnation of the sender.
    pub transfer: u64,
    /// Where `data` begins in the snapshot, in bytes.
    pub offset: u64,
    /// The bytes; never empty unless the whole snapshot is.
    pub data: Bytes,
    /// CRC-32C of `data`.
    pub crc: u32,
    /// Echoed by the answer, as in [`Append::round`].
    pub round: u64,
}

/// What one member answers another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Request::PreVote`].
    PreVote {
        /// The request's `campaign_term`.
        campaign_term: Term,
        /// Whether the sender would vote for the asker.
        granted: bool,
    },
    /// To [`Request::Vote`].
    Vote {
        /// Whether the sender voted for the asker, durably.
        granted: bool,
        /// The last index of the log by which the sender votes. `None`: it knows that it may have held more than it knows of.
        held: Option<Index>,
    },
    /// To [`Request::Append`].
    Append(AppendAnswer),
    /// To [`Request::Snapshot`].
    Snapshot(SnapshotAnswer),
    /// To [`Request::Identify`].
    Identify {
        /// The highest incarnation of an earlier life that the sender accounts for ([`Life`](super::Life)); durable.
        predecessor: Incarnation,
    },
    /// To [`Request::RecoveryQuery`]. The term is the envelope's.
    RecoveryQuery {
        /// The last index of the sender's log.
        last: Index,
        /// Whether the sender leads that term.
        leads: bool,
    },
}

/// What a follower reports with every answer to its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FollowerReport {
    /// Everything up to here agrees with the leader's log and is durable at the follower.
    pub matched: Index,
    /// What the follower is doing with a snapshot.
    pub install: InstallStatus,
    /// The follower lost something it may have acknowledged and does not count yet (PS20).
    pub recovering: bool,
    /// The request's `round`.
    pub round: u64,
}

/// Answer to AppendEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppendAnswer {
    /// How the follower stands.
    pub report: FollowerReport,
    /// What became of the request.
    pub outcome: AppendOutcome,
}

/// What became of an AppendEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AppendOutcome {
    /// The entries (or a heartbeat's `prev`) are in the follower's log; what is durable of it the report says.
    Accepted,
    /// The follower's log does not hold `prev`. `hint` is the last of its entries that can still agree.
    Rejected {
        /// The index of `prev` in the refused request.
        refused: Index,
        /// The largest own index at or below `refused` whose term is not above `prev`'s, and its term.
        hint: LogId,
    },
    /// The follower's disk or state machine is behind by its limits; nothing of it was taken.
    Busy,
    /// The sender's term is over.
    Stale,
}

/// What a follower is doing with a snapshot; the stations are drawn in `install.rs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InstallStatus {
    /// Nothing.
    #[default]
    None,
    /// Chunks of the snapshot up to this index are arriving.
    Receiving {
        /// Last index the snapshot covers.
        index: Index,
        /// Bytes received so far, without a gap.
        bytes: u64,
    },
    /// The snapshot up to this index is complete and waits for the state machine.
    Pending {
        /// Last index the snapshot covers.
        index: Index,
    },
    /// The last offered snapshot was not installed: the follower had already committed past it.
    Refused {
        /// The follower's commit index.
        commit: Index,
    },
    /// The follower's build could not decode the last snapshot, which is complete and verified; it needs a newer build.
    /// Sending it again leads nowhere until the follower has been restarted.
    Undecodable {
        /// Last index the snapshot covers.
        index: Index,
    },
}

/// Answer to a snapshot chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotAnswer {
    /// How the follower stands.
    pub report: FollowerReport,
    /// The request's `transfer`.
    pub transfer: u64,
    /// What became of the chunk.
    pub outcome: ChunkOutcome,
}

/// What became of a snapshot chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChunkOutcome {
    /// Go on at this offset; equal to the snapshot's size when it is complete.
    Continue {
        /// The first byte still missing.
        offset: u64,
    },
    /// The follower does not want this transfer (any more): its report says why.
    Unwanted,
    /// What arrived does not verify; start the transfer over.
    Corrupt,
    /// The sender's term is over.
    Stale,
}

/// What a request asks, and its answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    PreVote,
    Vote,
    Append,
    Snapshot,
    Identify,
    RecoveryQuery,
}

impl Request {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Request::PreVote { .. } => Kind::PreVote,
            Request::Vote { .. } => Kind::Vote,
            Request::Append(_) => Kind::Append,
            Request::Snapshot(_) => Kind::Snapshot,
            Request::Identify(_) => Kind::Identify,
            Request::RecoveryQuery => Kind::RecoveryQuery,
        }
    }
}

impl Answer {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Answer::PreVote { .. } => Kind::PreVote,
            Answer::Vote { .. } => Kind::Vote,
            Answer::Append(_) => Kind::Append,
            Answer::Snapshot(_) => Kind::Snapshot,
            Answer::Identify { .. } => Kind::Identify,
            Answer::RecoveryQuery { .. } => Kind::RecoveryQuery,
        }
    }
}

// ---- numbers that no member can have reached ---------------------------------------------

impl Envelope {
    /// The first field with a number that no member can have reached: above [`COUNT_MAX`], or a start that no other could
    /// follow. Ids, checksums and times are any number. The terms of entries are looked at where their order is.
    pub(crate) fn impossible_field(&self) -> Option<&'static str> {
        let Envelope { cluster: _, group: _, from: _, to: _, incarnation, term, id: _, body } =
            self;
        let heading = [count("term", *term), start("incarnation", *incarnation)];
        first(&heading).or_else(|| match body {
            Body::Request(request) => request.impossible_field(),
            // The asker compares its own incarnation with it.
            Body::Answer { asker_incarnation: _, answer } => answer.impossible_field(),
        })
    }
}

impl Request {
    fn impossible_field(&self) -> Option<&'static str> {
        match self {
            Request::PreVote { campaign_term, last } => {
                first(&[count("campaign_term", *campaign_term), log_id("last", *last)])
            }
            Request::Vote { last } => log_id("last", *last),
            Request::Append(append) => {
                let Append { prev, entries, commit, leader_last, leader_durable, round } = append;
                let last_term = entries.last().map_or(0, |entry| entry.log_id.term);
                first(&[
                    log_id("prev", *prev),
                    count("the entries' index", prev.index.saturating_add(entries.len() as u64)),
                    count("the entries' term", last_term),
                    count("commit", *commit),
                    count("leader_last", *leader_last),
                    count("leader_durable", *leader_durable),
                    count("round", *round),
                ])
            }
            Request::Snapshot(chunk) => {
                let SnapshotChunk { meta, transfer, offset, data: _, crc: _, round } = chunk;
                let SnapshotMeta { log_id: last, membership: _, size_bytes } = meta;
                first(&[
                    log_id("the snapshot's last", *last),
                    count("snapshot size", *size_bytes),
                    count("transfer", *transfer),
                    count("offset", *offset),
                    count("round", *round),
                ])
            }
            Request::Identify(PeerRecord { incarnation, acknowledged }) => first(&[
                start("remembered incarnation", *incarnation),
                log_id("acknowledged", *acknowledged),
            ]),
            Request::RecoveryQuery => None,
        }
    }
}

impl Answer {
    fn impossible_field(&self) -> Option<&'static str> {
        match self {
            Answer::PreVote { campaign_term, granted: _ } => count("campaign_term", *campaign_term),
            Answer::Vote { granted: _, held } => count("held", held.unwrap_or(0)),
            Answer::Append(AppendAnswer { report, outcome }) => {
                report.impossible_field().or_else(|| match outcome {
                    AppendOutcome::Rejected { refused, hint } => {
                        first(&[count("refused", *refused), log_id("hint", *hint)])
                    }
                    AppendOutcome::Accepted | AppendOutcome::Busy | AppendOutcome::Stale => None,
                })
            }
            Answer::Snapshot(SnapshotAnswer { report, transfer, outcome }) => {
                let offset = match outcome {
                    ChunkOutcome::Continue { offset } => *offset,
                    ChunkOutcome::Unwanted | ChunkOutcome::Corrupt | ChunkOutcome::Stale => 0,
                };
                let fields = [count("transfer", *transfer), count("offset", offset)];
                report.impossible_field().or_else(|| first(&fields))
            }
            Answer::Identify { predecessor } => start("predecessor", *predecessor),
            Answer::RecoveryQuery { last, leads: _ } => count("last", *last),
        }
    }
}

impl FollowerReport {
    fn impossible_field(&self) -> Option<&'static str> {
        let FollowerReport { matched, install, recovering: _, round } = self;
        let (index, bytes) = match install {
            InstallStatus::None => (0, 0),
            InstallStatus::Receiving { index, bytes } => (*index, *bytes),
            InstallStatus::Pending { index }
            | InstallStatus::Undecodable { index }
            | InstallStatus::Refused { commit: index } => (*index, 0),
        };
        first(&[
            count("matched", *matched),
            count("round", *round),
            count("the install's index", index),
            count("received bytes", bytes),
        ])
    }
}

fn first(fields: &[Option<&'static str>]) -> Option<&'static str> {
    fields.iter().copied().flatten().next()
}

fn count(field: &'static str, value: u64) -> Option<&'static str> {
    (value > COUNT_MAX).then_some(field)
}

fn log_id(field: &'static str, id: LogId) -> Option<&'static str> {
    count(field, id.term.max(id.index))
}

fn start(field: &'static str, incarnation: Incarnation) -> Option<&'static str> {
    (!is_credible_incarnation(incarnation)).then_some(field)
}
