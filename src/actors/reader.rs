//! The reader: reads old entries and chunks of stored snapshots, concurrently with the writers.
//!
//! A read never queues behind an fsync, and a slow read delays only its requester. If data that
//! should exist can't be read the node stops; an unreadable entry is never taken for the end of the
//! log (PS24). If no file can be opened, the read is retried later.

use std::sync::Arc;

use crate::actors::context::NodeContext;
use crate::messages::{
    ChunkReadCompleted, LogReadCompleted, PeerAddress, ReadChunk, ReadLog, RetryReads, Stop,
};
use crate::raft::{ChunkRead, ChunkReadOutcome, LogRead, LogReadOutcome};
use crate::runtime::Executor;
use crate::runtime::shell::{Behaviour, Receive, Turn};
use crate::storage::{LogReader, SnapshotReader, StorageError};

use super::delays::Delays;
use super::postponed::Postponed;

pub(crate) struct Reader {
    pub(crate) log: Box<dyn LogReader>,
    pub(crate) snapshots: Box<dyn SnapshotReader>,
    pub(crate) peer: PeerAddress,
    pub(crate) executor: Executor,
    pub(crate) delays: Delays,
    pub(crate) shared: Arc<NodeContext>,
    pub(crate) wanted: Postponed<Read>,
}

/// A requested read.
#[derive(Clone, Copy)]
pub(crate) enum Read {
    Log(LogRead),
    Chunk(ChunkRead),
}

impl Behaviour for Reader {
    const NAME: &'static str = "reader";
}

impl Receive<ReadLog> for Reader {
    fn receive(&mut self, ReadLog(read): ReadLog, _turn: &mut Turn) {
        self.wanted.add(Read::Log(read));
        self.read_all();
    }
}

impl Receive<ReadChunk> for Reader {
    fn receive(&mut self, ReadChunk(read): ReadChunk, _turn: &mut Turn) {
        self.wanted.add(Read::Chunk(read));
        self.read_all();
    }
}

impl Receive<RetryReads> for Reader {
    fn receive(&mut self, _retry: RetryReads, _turn: &mut Turn) {
        self.wanted.pause_is_over();
        self.read_all();
    }
}

impl Receive<Stop> for Reader {
    fn receive(&mut self, Stop(ack): Stop, turn: &mut Turn) {
        turn.stop(ack);
    }
}

impl Reader {
    fn read_all(&mut self) {
        // The peer of a stopping node no longer needs reads, and a store that is closing may refuse
        // them.
        if !self.shared.stop_signal.is_running() {
            self.wanted.clear();
        }
        while let Some(wanted) = self.wanted.next() {
            let done = match wanted {
                Read::Log(read) => self.read_log(read),
                Read::Chunk(read) => self.read_chunk(read),
            };
            match done {
                Ok(()) => {}
                Err(error) if error.is_out_of_descriptors() => self.wanted.put_back(wanted, &error),
                Err(error) => {
                    self.shared.stop_signal.fail(format!("storage can't be read: {error}"));
                }
            }
        }
    }

    fn read_log(&mut self, read: LogRead) -> Result<(), StorageError> {
        let LogRead { id, first, last, max_bytes, .. } = read;
        let found =
            self.executor.work(self.delays.read(), || self.log.read(first, last, max_bytes))?;
        let outcome = found
            .map_or(LogReadOutcome::Compacted, |entries| LogReadOutcome::Entries(entries.into()));
        self.executor.emit(&self.peer, move |peer| peer.send(LogReadCompleted { id, outcome }));
        Ok(())
    }

    fn read_chunk(&mut self, read: ChunkRead) -> Result<(), StorageError> {
        let ChunkRead { to, transfer, snapshot, offset, max_bytes } = read;
        let found = self
            .executor
            .work(self.delays.read(), || self.snapshots.read_at(snapshot, offset, max_bytes))?;
        let outcome = match found {
            Some(data) => ChunkReadOutcome::Data { crc: crc32c::crc32c(&data), data },
            None => ChunkReadOutcome::Gone,
        };
        let completed = ChunkReadCompleted { to, transfer, offset, outcome };
        self.executor.emit(&self.peer, move |peer| peer.send(completed));
        Ok(())
    }
}
