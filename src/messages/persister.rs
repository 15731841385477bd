//! The messages of the persister.

use actix::Message;

use crate::raft::{Micros, Persist};
use crate::runtime::mailbox;

use super::Stop;

mailbox! {
    /// The mailbox of the persister.
    pub(crate) PersisterAddress = dyn PersisterMailbox: PersistStep, SealLog, Stop
}

/// Make this step durable, then send the messages it releases.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PersistStep {
    pub(crate) step: Box<Persist>,
    /// The time of the peer's request.
    pub(crate) asked: Micros,
}

/// The log has been idle: mark it as cleanly ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct SealLog;
