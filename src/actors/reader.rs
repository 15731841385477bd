//! The reader: reads old entries and chunks of stored snapshots, concurrently with the writers.
//!
//! A read never queues behind an fsync, and a slow read delays only its requester. If data that
//! should exist can't be read the node stops; an unreadable entry is never taken for the end of the
//! log (PS24). If no file can be opened, the read is retried later.

use std::sync::Arc;

use actix::Recipient;

use crate::actors::context::NodeContext;
use crate::messages::{PeerMessage, ReaderMessage};
use crate::raft::{ChunkRead, ChunkReadOutcome, LogRead, LogReadOutcome, Micros};
use crate::runtime::Executor;
use crate::runtime::shell::{Behaviour, Flow};
use crate::storage::{LogReader, SnapshotReader, StorageError};

use super::delays::Delays;
use super::postponed::Postponed;

pub(crate) struct Reader {
    pub(crate) log: Box<dyn LogReader>,
    pub(crate) snapshots: Box<dyn SnapshotReader>,
    pub(crate) peer: Recipient<PeerMessage>,
    pub(crate) executor: Executor,
    pub(crate) delays: Delays,
    pub(crate) shared: Arc<NodeContext>,
    pub(crate) wanted: Postponed<ReaderMessage>,
}

impl Behaviour for Reader {
    type Message = ReaderMessage;
    const NAME: &'static str = "reader";

    fn on(&mut self, message: ReaderMessage, _now: Micros) -> Flow {
        match message {
            ReaderMessage::Stop(ack) => return Flow::Stop(ack),
            // The peer no longer needs reads, and a store that is closing may refuse them.
            _ if !self.shared.stop_signal.is_running() => self.wanted.clear(),
            ReaderMessage::Again => self.wanted.pause_is_over(),
            read => self.wanted.add(read),
        }
        while let Some(message) = self.wanted.next() {
            self.read(message);
        }
        Flow::Go
    }
}

impl Reader {
    fn read(&mut self, message: ReaderMessage) {
        let answer = match &message {
            ReaderMessage::Log(read) => self.read_log(*read),
            ReaderMessage::Chunk(read) => self.read_chunk(*read),
            ReaderMessage::Again | ReaderMessage::Stop(_) => return,
        };
        match answer {
            Ok(answer) => self.executor.emit(&self.peer, |peer| peer.do_send(answer)),
            Err(error) if error.is_out_of_descriptors() => self.wanted.put_back(message, &error),
            Err(error) => self.shared.stop_signal.fail(format!("storage can't be read: {error}")),
        }
    }

    fn read_log(&mut self, read: LogRead) -> Result<PeerMessage, StorageError> {
        let LogRead { id, first, last, max_bytes, .. } = read;
        let found =
            self.executor.work(self.delays.read(), || self.log.read(first, last, max_bytes))?;
        let outcome = found
            .map_or(LogReadOutcome::Compacted, |entries| LogReadOutcome::Entries(entries.into()));
        Ok(PeerMessage::LogRead { id, outcome })
    }

    fn read_chunk(&mut self, read: ChunkRead) -> Result<PeerMessage, StorageError> {
        let ChunkRead { to, transfer, snapshot, offset, max_bytes } = read;
        let found = self
            .executor
            .work(self.delays.read(), || self.snapshots.read_at(snapshot, offset, max_bytes))?;
        let outcome = match found {
            Some(data) => ChunkReadOutcome::Data { crc: crc32c::crc32c(&data), data },
            None => ChunkReadOutcome::Gone,
        };
        Ok(PeerMessage::ChunkRead { to, transfer, offset, outcome })
    }
}
