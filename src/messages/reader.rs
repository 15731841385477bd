//! The messages of the reader.

use actix::Message;

use crate::raft::{ChunkRead, LogRead};
use crate::runtime::mailbox;

use super::Stop;

mailbox! {
    /// The mailbox of the reader.
    pub(crate) ReaderAddress = dyn ReaderMailbox: ReadLog, ReadChunk, RetryReads, Stop
}

/// Read old log entries.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ReadLog(pub(crate) LogRead);

/// Read a chunk of a stored snapshot.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ReadChunk(pub(crate) ChunkRead);

/// Retry the reads that found no free file descriptor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RetryReads;
