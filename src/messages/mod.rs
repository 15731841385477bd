//! Messages between the actors of one node: one file per receiver, one struct per message.
//!
//! All messages are owned values. Those of one sender to one receiver arrive in the order of
//! sending. A request that needs an answer carries a [`Reply`], a [`ReadJob`] or another value that
//! answers when it is dropped, so every request is answered on every path.
//!
//! Messages between *members* are in [`crate::raft`].

mod apply;
mod apply_queue;
mod errors;
mod peer;
mod persister;
mod proposals;
mod reader;
mod reads;
mod reply;
mod snapshotter;
mod trace;

pub use crate::runtime::StopAck;
pub(crate) use apply::{AppliedMark, ApplyGuard};
pub use apply::{
    ApplyLink, ApplyMessage, ApplyWork, BoxedState, CommittedBatch, OfferedSnapshot, SnapshotTaken,
    StateView,
};
pub(crate) use apply_queue::{ApplyQueueAddress, Enqueue, Pull, WithdrawOffer};
pub use errors::{ProposeError, ReadError, SnapshotError};
pub(crate) use peer::{
    Applied, ChunkReadCompleted, ChunkStored, CondInstallSnapshot, DecodeBegun, DecodedSnapshot,
    Deliver, LinearizableRead, LogReadCompleted, PeerAddress, PeerMailbox, Persisted,
    ProposalsQueued, RequestSnapshot, SnapshotDeclined, SnapshotDecoded, SnapshotObsolete,
    SnapshotPublished, SnapshotReply, Tick, Undelivered, ViewSupplied,
};
pub(crate) use persister::{PersistStep, PersisterAddress, SealLog};
pub(crate) use proposals::{Proposal, Proposals, ProposalsEnd};
pub(crate) use reader::{ReadChunk, ReadLog, ReaderAddress, RetryReads};
pub use reads::ReadJob;
pub(crate) use reads::Reads;
pub(crate) use reply::Admission;
pub use reply::Reply;
pub(crate) use snapshotter::{
    DropState, EncodeView, RemoveRefused, RestoreState, RetrySnapshotJobs, RunSnapshotJob,
    SnapshotterAddress,
};
pub(crate) use trace::Trace;

/// Stop, and drop the acknowledgement when nothing is left to do. What an actor does before it ends
/// is its own decision.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Stop(pub(crate) StopAck);
