//! The messages of the peer: the inputs of the protocol, and the requests that wait for its
//! results.

use actix::Message;
use tokio::sync::oneshot;

use crate::raft::{
    ChunkReadOutcome, ChunkWritten, Envelope, LogId, LogReadOutcome, Micros, NodeId, RequestId,
    SnapshotMeta, TransferKey,
};
use crate::transport::Receipt;

use super::SnapshotError;
use super::{BoxedState, ReadJob, StateView, StopAck};

/// The reply to a request for a snapshot.
pub(crate) type SnapshotReply = oneshot::Sender<Result<LogId, SnapshotError>>;

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

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum PeerMessage {
    /// Append the queued proposals, if this member leads.
    Proposals,
    /// Run this read once it is confirmed as linearizable.
    Read(ReadJob),
    /// Take a snapshot.
    Snapshot(SnapshotReply),
    /// A message from another member. The transport waits for the receipt to be dropped.
    Envelope(Envelope, Receipt),
    /// As far as the transport knows, a request did not reach its member.
    Undelivered { to: NodeId, id: RequestId },
    /// A tick that was due at `due`.
    Tick { due: Micros },
    /// All durable steps through this one are complete.
    Persisted { seq: u64 },
    /// The result of a log read.
    LogRead { id: u64, outcome: LogReadOutcome },
    /// The result of reading a chunk of a snapshot.
    ChunkRead { to: NodeId, transfer: u64, offset: u64, outcome: ChunkReadOutcome },
    /// The result of storing a received chunk.
    ChunkWritten { transfer: TransferKey, outcome: ChunkWritten },
    /// Decoding of a received snapshot has begun.
    DecodeBegun(LogId),
    /// Decoding of a received snapshot has ended.
    Decoded { log_id: LogId, decoded: DecodedSnapshot },
    /// The apply side supplies a view of its state.
    View { view: StateView, reply: SnapshotReply },
    /// A snapshot made by this member is published.
    SnapshotTaken(SnapshotMeta),
    /// The apply side has no state to take a snapshot of.
    SnapshotDeclined,
    /// A view was not encoded because a snapshot of the same entry already exists.
    SnapshotSuperfluous(LogId),
    /// The state machine has applied the index that the peer waits for.
    Applied,
    /// The apply side has reached an offered snapshot and asks whether to switch to it.
    CondInstall(LogId),
    /// Stop.
    Stop(StopAck),
}
