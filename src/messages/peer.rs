//! The messages of the peer: the inputs of the protocol, and the requests that wait for its
//! results.

use actix::Message;
use tokio::sync::oneshot;

use crate::raft::{
    ChunkReadOutcome, ChunkWritten, Envelope, LogId, LogReadOutcome, Micros, NodeId, RequestId,
    SnapshotMeta, TransferKey,
};
use crate::runtime::mailbox;
use crate::transport::Receipt;

use super::{BoxedState, ReadJob, SnapshotError, StateView, Stop};

mailbox! {
    /// The mailbox of the peer.
    pub(crate) PeerAddress = dyn PeerMailbox:
        ProposalsQueued, LinearizableRead, RequestSnapshot, Deliver, Undelivered, Tick, Persisted,
        LogReadCompleted, ChunkReadCompleted, ChunkStored, DecodeBegun, SnapshotDecoded,
        ViewSupplied, SnapshotPublished, SnapshotDeclined, SnapshotObsolete, Applied,
        CondInstallSnapshot, Stop
}

/// The reply to a request for a snapshot.
pub(crate) type SnapshotReply = oneshot::Sender<Result<LogId, SnapshotError>>;

/// Append the queued proposals, if this member leads. One message for all of them: see
/// [`Proposals`](super::Proposals).
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ProposalsQueued;

/// Run this read once it is confirmed as linearizable.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct LinearizableRead(pub(crate) ReadJob);

/// Take a snapshot, and reply when it is durably current.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RequestSnapshot(pub(crate) SnapshotReply);

/// A message from another member. The transport waits for the receipt to be dropped.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Deliver {
    pub(crate) envelope: Envelope,
    pub(crate) receipt: Receipt,
}

/// As far as the transport knows, a request did not reach its member.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Undelivered {
    pub(crate) to: NodeId,
    pub(crate) id: RequestId,
}

/// A tick that was due at `due`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Tick {
    pub(crate) due: Micros,
}

/// All durable steps through this one are complete.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Persisted {
    pub(crate) seq: u64,
}

/// The result of a log read.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct LogReadCompleted {
    pub(crate) id: u64,
    pub(crate) outcome: LogReadOutcome,
}

/// The result of reading a chunk of a stored snapshot.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ChunkReadCompleted {
    pub(crate) to: NodeId,
    pub(crate) transfer: u64,
    pub(crate) offset: u64,
    pub(crate) outcome: ChunkReadOutcome,
}

/// The result of storing a received chunk.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ChunkStored {
    pub(crate) transfer: TransferKey,
    pub(crate) outcome: ChunkWritten,
}

/// Decoding of a received snapshot has begun.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct DecodeBegun(pub(crate) LogId);

/// Decoding of a received snapshot has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct SnapshotDecoded {
    pub(crate) log_id: LogId,
    pub(crate) decoded: DecodedSnapshot,
}

/// The result of decoding a received snapshot.
#[derive(Debug)]
pub(crate) enum DecodedSnapshot {
    /// The decoded state.
    State(BoxedState),
    /// This build can't decode its content.
    Undecodable,
    /// It can't be read, or its state belongs to another entry than its metadata names.
    Broken,
}

/// The apply side supplies a view of its state, to be encoded and published.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ViewSupplied {
    pub(crate) view: StateView,
    pub(crate) reply: SnapshotReply,
}

/// A snapshot made by this member is published.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct SnapshotPublished(pub(crate) SnapshotMeta);

/// The apply side has no state to take a snapshot of.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct SnapshotDeclined;

/// A view was not encoded because a snapshot of the same entry already exists.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct SnapshotObsolete(pub(crate) LogId);

/// The state machine has applied the index that the peer waits for.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Applied;

/// The apply side has reached an offered snapshot and asks whether to switch to it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CondInstallSnapshot(pub(crate) LogId);
