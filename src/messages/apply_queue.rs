//! The messages of the apply queue.

use actix::Message;

use crate::raft::LogId;

use super::{ApplyWork, StopAck};

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum ApplyQueueMessage {
    /// Append this to the queue.
    Push(ApplyWork),
    /// An offered snapshot is obsolete: drop it if it is still queued.
    Withdraw(LogId),
    /// The apply side requests one item.
    Pull,
    /// The peer has ended (A70): pass the remaining entries to the apply side and end.
    Stop(StopAck),
}
