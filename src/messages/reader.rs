//! The messages of the reader.

use actix::Message;

use crate::raft::{ChunkRead, LogRead};

use super::StopAck;

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum ReaderMessage {
    /// Read old log entries.
    Log(LogRead),
    /// Read a chunk of a stored snapshot.
    Chunk(ChunkRead),
    /// Retry the reads that found no free file descriptor.
    Again,
    /// Stop.
    Stop(StopAck),
}
