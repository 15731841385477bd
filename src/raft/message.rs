//! What members say to each other.
//!
//! Every request gets exactly one answer, delayed by nothing but its own persist. The network is
//! taken to lose, repeat, delay and reorder: an answer names the request's id and the asker's
//! incarnation, and one that names an earlier incarnation never counts (LR14, AC16).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::entries::Entries;
use super::types::{Acquaintance, Incarnation, Index, LogId, NodeId, SnapshotMeta, Term};

/// A request's number, unique in one incarnation of its sender. An answer carries the request's.
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
    Acquainted(Acquaintance),
    /// The sender lost something: how far is your log, and in which term are you (PS20)?
    RollCall,
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
    /// To [`Request::Acquainted`].
    Acquainted {
        /// The highest incarnation of an earlier life that the sender accounts for ([`Life`](super::Life)); durable.
        predecessor: Incarnation,
    },
    /// To [`Request::RollCall`]. The term is the envelope's.
    RollCall {
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
