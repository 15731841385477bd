//! The messages of the snapshotter.

use actix::Message;

use crate::raft::{LogId, SnapshotJob};
use crate::runtime::mailbox;

use super::{BoxedState, StateView, Stop};

mailbox! {
    /// The mailbox of the snapshotter.
    pub(crate) SnapshotterAddress = dyn SnapshotterMailbox:
        RunSnapshotJob, RestoreState, EncodeView, RemoveRefused, DropState, RetrySnapshotJobs, Stop
}

/// Do a job for the protocol.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RunSnapshotJob(pub(crate) SnapshotJob);

/// Decode this member's current snapshot, from which the node starts, and pass the state to the
/// apply side.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RestoreState(pub(crate) LogId);

/// Encode and publish this view of the state.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct EncodeView(pub(crate) StateView);

/// A snapshot made by this member was refused: delete its file unless it is needed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RemoveRefused(pub(crate) LogId);

/// Drop this state in the background: freeing a large one takes seconds.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct DropState(pub(crate) BoxedState);

/// Retry the work that found no free file descriptor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RetrySnapshotJobs;
