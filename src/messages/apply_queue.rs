//! What the apply queue is told.

use actix::Message;

use crate::raft::LogId;

use super::{ApplyWork, StopAck};

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum ApplyQueueMessage {
    /// Queue this behind everything else.
    Push(ApplyWork),
    /// An offered snapshot is not wanted any more: drop it, if it is still here.
    Withdraw(LogId),
    /// The apply side has room for one item.
    Pull,
    /// The peer has ended (A70): hand over what is left and end.
    Stop(StopAck),
}
