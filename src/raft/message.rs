//! The messages between members.
//!
//! Every request gets exactly one answer, which waits for nothing but its own durable step. The
//! network may lose, repeat, delay and reorder messages. An answer therefore names the id of its
//! request and the incarnation of the member that sent the request; an answer to an earlier
//! incarnation never counts.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::log::Entries;
use super::types::{
    COUNT_MAX, Incarnation, Index, LogId, NodeId, PeerRecord, SnapshotMeta, Term,
    is_credible_incarnation,
};

/// A request's number, unique in one incarnation of its sender. The lowest 16 bits are a tag that
/// depends on the receiver and the kind of the request; the bits above are the request's place
/// among its sender's requests. An answer carries the number of its request. It counts only if the
/// answering member was sent a request of that kind with this number.
pub type RequestId = u64;

/// One message between two members.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Envelope {
    /// The cluster of both members; a message of another cluster is ignored.
    pub cluster: u64,
    /// The consensus group in the cluster. There is one group: 0.
    pub group: u64,
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The sender's incarnation.
    pub incarnation: Incarnation,
    /// The sender's term, durable before the message is sent.
    pub term: Term,
    /// The request's number, or that of the request being answered.
    pub id: RequestId,
    /// The content.
    pub body: Body,
}

/// A request, or the answer to one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Body {
    /// A request, which expects an answer.
    Request(Request),
    /// The answer to a request.
    Answer {
        /// The incarnation of the member that sent the request, copied from the request.
        asker_incarnation: Incarnation,
        /// The content of the answer.
        answer: Answer,
    },
}

/// A request of one member to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Request {
    /// Asks whether the receiver would vote for the sender. Changes nothing at the receiver (Raft
    /// dissertation §9.6).
    PreVote {
        /// The term in which the sender would campaign: its own plus 1.
        campaign_term: Term,
        /// The last entry of the sender's log.
        last: LogId,
    },
    /// Asks for the receiver's vote in the envelope's term (Raft §5.2).
    Vote {
        /// The last entry of the sender's log.
        last: LogId,
    },
    /// AppendEntries: entries, or a heartbeat if there are none (Raft §5.3).
    Append(Append),
    /// One chunk of a snapshot (Raft §7).
    Snapshot(SnapshotChunk),
    /// The sender's record of the receiver, whose messages look as if it had lost that state.
    Identify(PeerRecord),
    /// From a member that lost data: asks for the receiver's last log index and its term.
    RecoveryQuery,
}

/// AppendEntries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Append {
    /// The entry before the first of `entries`. In a heartbeat: an entry that the receiver is known
    /// to hold.
    pub prev: LogId,
    /// Contiguous entries from `prev.index + 1`; empty in a heartbeat.
    pub entries: Entries,
    /// The commit index as far as this message covers it: at most `prev.index + entries.len()`.
    pub commit: Index,
    /// The leader's last entry. Not a commit index; `commit` and `leader_durable` never exceed it.
    pub leader_last: Index,
    /// The leader's own log is durable up to here. A member that forms a quorum with the leader
    /// alone may commit by it, before the leader reports the commit. 0: the member must not.
    pub leader_durable: Index,
    /// The leader's round; the answer repeats it. It confirms reads and the leader's quorum.
    pub round: u64,
}

/// One chunk of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// The snapshot that the chunk belongs to.
    pub meta: SnapshotMeta,
    /// The transfer's number, unique in one incarnation of the sender.
    pub transfer: u64,
    /// The offset of `data` in the snapshot, in bytes.
    pub offset: u64,
    /// The bytes; empty only if the whole snapshot is empty.
    pub data: Bytes,
    /// CRC-32C of `data`.
    pub crc: u32,
    /// Repeated by the answer, as [`Append::round`] is.
    pub round: u64,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Request::PreVote`].
    PreVote {
        /// The request's `campaign_term`.
        campaign_term: Term,
        /// Whether the answering member would vote for the candidate.
        granted: bool,
    },
    /// To [`Request::Vote`].
    Vote {
        /// Whether the answering member voted for the candidate, durably.
        granted: bool,
        /// The last index of the log by which the answering member votes. `None`: it may have held
        /// entries that it does not know of.
        held: Option<Index>,
    },
    /// To [`Request::Append`].
    Append(AppendAnswer),
    /// To [`Request::Snapshot`].
    Snapshot(SnapshotAnswer),
    /// To [`Request::Identify`].
    Identify {
        /// The highest earlier incarnation that the answering member has acknowledged
        /// ([`Life`](super::Life)); durable.
        predecessor: Incarnation,
    },
    /// To [`Request::RecoveryQuery`]. The term is in the envelope.
    RecoveryQuery {
        /// The last index of the answering member's log.
        last: Index,
        /// Whether the answering member leads that term.
        leads: bool,
    },
}

/// A follower's state, in every answer to its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FollowerReport {
    /// The follower's log matches the leader's up to here, durably.
    pub matched: Index,
    /// The state of a snapshot that the follower receives.
    pub install: InstallStatus,
    /// The follower lost something that it may have acknowledged, and does not count in quorums
    /// yet.
    pub recovering: bool,
    /// The request's `round`.
    pub round: u64,
}

/// The answer to AppendEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppendAnswer {
    /// The follower's state.
    pub report: FollowerReport,
    /// The result of the request.
    pub outcome: AppendOutcome,
}

/// The result of an AppendEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AppendOutcome {
    /// The entries (or a heartbeat's `prev`) are in the follower's log. The report says how far
    /// they are durable.
    Accepted,
    /// The follower's log does not hold `prev`.
    Rejected {
        /// The index of `prev` in the rejected request.
        refused: Index,
        /// The follower's last entry that may still match the leader's log: the one with the
        /// largest index at or below `refused` whose term is at most that of `prev`.
        hint: LogId,
    },
    /// A limit of the follower is reached: its disk or its state machine is behind. None of the new
    /// entries was appended.
    Busy,
    /// The request's term is older than the follower's.
    Stale,
}

/// The state of a snapshot that a follower receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InstallStatus {
    /// There is no such snapshot.
    #[default]
    None,
    /// Chunks of a snapshot are arriving.
    Receiving {
        /// The last index that the snapshot covers.
        index: Index,
        /// Bytes received so far, without a gap.
        bytes: u64,
    },
    /// A snapshot is complete and waits for the state machine.
    Pending {
        /// The last index that the snapshot covers.
        index: Index,
    },
    /// The last offered snapshot was not installed: the follower had already committed past it.
    Refused {
        /// The follower's commit index.
        commit: Index,
    },
    /// The follower's build could not decode the last snapshot, which is complete and verified. It
    /// needs a newer build; sending the snapshot again is useless until the follower has been
    /// restarted.
    Undecodable {
        /// The last index that the snapshot covers.
        index: Index,
    },
}

/// The answer to a snapshot chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotAnswer {
    /// The follower's state.
    pub report: FollowerReport,
    /// The request's `transfer`.
    pub transfer: u64,
    /// The result of the chunk.
    pub outcome: ChunkOutcome,
}

/// The result of a snapshot chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChunkOutcome {
    /// Continue at this offset. It is the snapshot's size when the snapshot is complete.
    Continue {
        /// The first byte still missing.
        offset: u64,
    },
    /// The follower does not take this transfer, or no longer does. Its report has the reason.
    Unwanted,
    /// The received bytes failed verification; the transfer starts over.
    Corrupt,
    /// The chunk's term is older than the follower's.
    Stale,
}

/// The kind of a request and of its answer.
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

// ---- impossible numbers ------------------------------------------------------------------

impl Envelope {
    /// The first field with an impossible number: above [`COUNT_MAX`], or an incarnation that no
    /// further start could follow. Ids, checksums and times may be any number. The terms of entries
    /// are checked where their order is checked.
    pub(crate) fn impossible_field(&self) -> Option<&'static str> {
        let Envelope { cluster: _, group: _, from: _, to: _, incarnation, term, id: _, body } =
            self;
        let heading = [count("term", *term), start("incarnation", *incarnation)];
        first(&heading).or_else(|| match body {
            Body::Request(request) => request.impossible_field(),
            // Compared with the receiver's own incarnation elsewhere.
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
