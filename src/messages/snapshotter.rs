//! The messages of the snapshotter.

use actix::Message;

use crate::raft::{LogId, SnapshotJob};

use super::{BoxedState, StateView, StopAck};

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum SnapshotterMessage {
    /// Do a job for the protocol.
    Job(SnapshotJob),
    /// Decode this member's current snapshot, from which the node starts, and pass the state to the
    /// apply side.
    Restore(LogId),
    /// Encode and publish this view of the state.
    Take(StateView),
    /// A snapshot made by this member was refused: delete its file unless it is needed.
    Remove(LogId),
    /// Drop this value in the background.
    Retire(BoxedState),
    /// Retry the work that found no free file descriptor.
    Again,
    /// Stop.
    Stop(StopAck),
}
