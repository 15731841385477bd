//! The messages of the persister.

use actix::Message;

use crate::raft::{Micros, Persist};

use super::StopAck;

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum PersisterMessage {
    /// Make this step durable, then send the messages it releases. `asked` is the time of the
    /// peer's request.
    Step { step: Box<Persist>, asked: Micros },
    /// The log has been idle: mark it as cleanly ended.
    Seal,
    /// Write the collected steps, seal the log and end.
    Stop(StopAck),
}
