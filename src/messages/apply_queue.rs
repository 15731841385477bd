//! The messages of the apply queue.

use actix::Message;

use crate::raft::LogId;
use crate::runtime::mailbox;

use super::{ApplyWork, Stop};

mailbox! {
    /// The mailbox of the apply queue.
    pub(crate) ApplyQueueAddress = dyn ApplyQueueMailbox: Enqueue, WithdrawOffer, Pull, Stop
}

/// Append this to the queue.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Enqueue(pub(crate) ApplyWork);

/// An offered snapshot is obsolete: drop it if it is still queued.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct WithdrawOffer(pub(crate) LogId);

/// The apply side requests one item.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Pull;
