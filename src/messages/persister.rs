//! What the persister is told.

use actix::Message;

use crate::raft::{Micros, Persist};

use super::StopAck;

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum PersisterMessage {
    /// Make this durable, then send what it lets go. `asked` is when the peer asked for it.
    Step { step: Box<Persist>, asked: Micros },
    /// Nothing has come for a while: mark the log as cleanly ended.
    Seal,
    /// Finish what is collected, seal and end.
    Stop(StopAck),
}
