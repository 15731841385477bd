//! What the peer is told: the protocol's inputs, and who waits for what.

use actix::Message;
use tokio::sync::oneshot;

use crate::raft::{
    ChunkReadOutcome, ChunkWritten, Envelope, LogId, LogReadOutcome, Micros, NodeId, RequestId,
    SnapshotMeta, TransferKey,
};
use crate::transport::Receipt;

use super::SnapshotError;
use super::{BoxedState, ReadJob, StateView, StopAck};

/// Answers a request for a snapshot.
pub(crate) type SnapshotReply = oneshot::Sender<Result<LogId, SnapshotError>>;

/// What came of decoding a received snapshot.
#[derive(Debug)]
pub(crate) enum DecodedSnapshot {
    /// The state in it.
    State(BoxedState),
    /// This build does not know what stands in it.
    Undecodable,
    /// It can't be read, or holds the state behind another entry than it says.
    Broken,
}

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum PeerMessage {
    /// Append what stands in the line of proposals, if you lead.
    Proposals,
    /// Run this read once it is linearizable.
    Read(ReadJob),
    /// Take a snapshot.
    Snapshot(SnapshotReply),
    /// Another member speaks; the transport waits for the receipt.
    Envelope(Envelope, Receipt),
    /// A request did not reach its member, as far as the transport knows.
    Undelivered { to: NodeId, id: RequestId },
    /// Time has passed; this tick was due then.
    Tick { due: Micros },
    /// All durable steps up to this one are complete.
    Persisted { seq: u64 },
    /// What a log read found.
    LogRead { id: u64, outcome: LogReadOutcome },
    /// What reading a piece of a snapshot found.
    ChunkRead { to: NodeId, transfer: u64, offset: u64, outcome: ChunkReadOutcome },
    /// How storing a received piece ended.
    ChunkWritten { transfer: TransferKey, outcome: ChunkWritten },
    /// A received snapshot is being decoded now.
    DecodeBegun(LogId),
    /// A received snapshot is decoded, or does not decode.
    Decoded { log_id: LogId, decoded: DecodedSnapshot },
    /// The apply side hands out a view of its state.
    View { view: StateView, reply: SnapshotReply },
    /// A snapshot made here is published.
    SnapshotTaken(SnapshotMeta),
    /// The apply side has nothing to make a snapshot of.
    SnapshotDeclined,
    /// A view was not encoded: a snapshot of the same entry is there already.
    SnapshotSuperfluous(LogId),
    /// The state machine has applied what the peer waits for.
    Applied,
    /// The apply side has reached an offered snapshot: may it switch?
    CondInstall(LogId),
    /// End.
    Stop(StopAck),
}
