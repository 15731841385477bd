//! What the reader is told.

use actix::Message;

use crate::raft::{ChunkRead, LogRead};

use super::StopAck;

#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum ReaderMessage {
    /// Old entries are wanted.
    Log(LogRead),
    /// A piece of a stored snapshot is wanted.
    Chunk(ChunkRead),
    /// What found no file descriptor may be tried again.
    Again,
    /// End.
    Stop(StopAck),
}
