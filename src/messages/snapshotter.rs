//! What the snapshotter is told.

use actix::Message;

use crate::raft::{LogId, SnapshotJob};

use super::{BoxedState, StateView, StopAck};

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum SnapshotterMessage {
    /// What the protocol wants done.
    Job(SnapshotJob),
    /// Decode the own current snapshot, with which the node starts, and give it to the apply side.
    Restore(LogId),
    /// Encode and publish this view of the state.
    Take(StateView),
    /// A snapshot made here was refused: its file may go.
    Remove(LogId),
    /// Drop this here, where it delays nobody.
    Retire(BoxedState),
    /// What found no file descriptor may be tried again.
    Again,
    /// End.
    Stop(StopAck),
}
