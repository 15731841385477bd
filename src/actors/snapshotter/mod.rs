//! The snapshotter: the slow work on snapshots.
//!
//! It stores received chunks, decodes a complete snapshot into a *staged* state that is not in use
//! yet, encodes views, publishes files and drops large old states. All of this runs outside the
//! loops of the peer and the apply side: while it decodes for a minute, the peer answers heartbeats
//! and the old state serves reads (SN28). If no file can be opened, the work is retried later.
//!
//! *What it does not do:* it does not decide. The protocol determines which snapshot is requested,
//! offered, granted or current.

mod receiving;

use std::collections::BTreeSet;
use std::io::{BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use actix::Recipient;

pub(crate) use self::receiving::Receiving;
use crate::actors::apply_side::DecodeState;
use crate::actors::context::NodeContext;
use crate::actors::delays::Delays;
use crate::actors::postponed::Postponed;
use crate::machine::CodecError;
use crate::messages::{
    ApplyMessage, BoxedState, ChunkStored, DecodeBegun, DecodedSnapshot, DropState, EncodeView,
    PeerAddress, PeerMailbox, RemoveRefused, RestoreState, RetrySnapshotJobs, RunSnapshotJob,
    SnapshotDecoded, SnapshotObsolete, SnapshotPublished, StateView, Stop,
};
use crate::raft::{LogId, Membership, SnapshotJob, SnapshotMeta};
use crate::runtime::abortable::Abortable;
use crate::runtime::shell::{Behaviour, Receive, Turn};
use crate::runtime::{Executor, Mailbox};
use crate::storage::{SnapshotSink, SnapshotStore, StorageError};

const BUFFER_BYTES: usize = 256 << 10;

/// A stored snapshot's content, or why it can't be opened.
type Content = Result<Box<dyn Read + Send>, StorageError>;

pub(crate) struct Snapshotter {
    pub(crate) store: Box<dyn SnapshotStore>,
    pub(crate) decode: DecodeState,
    /// The machine's type, for error messages.
    pub(crate) machine: &'static str,
    /// The membership that is written into every snapshot made here.
    pub(crate) membership: Membership,
    pub(crate) receiving: Receiving,
    /// The current snapshot, named by the log's record.
    pub(crate) current: Option<LogId>,
    /// Made here and published, and neither current nor refused yet: their records may still be
    /// being written to the log.
    pub(crate) made: BTreeSet<LogId>,
    /// Completely received, and not yet current or discarded.
    pub(crate) received: Option<LogId>,
    pub(crate) peer: PeerAddress,
    pub(crate) apply_side: Recipient<ApplyMessage>,
    pub(crate) executor: Executor,
    pub(crate) delays: Delays,
    pub(crate) shared: Arc<NodeContext>,
    pub(crate) asked: Postponed<Work>,
}

/// Requested work, in the order of the requests.
pub(crate) enum Work {
    Job(SnapshotJob),
    Restore(LogId),
    Encode(StateView),
    Remove(LogId),
}

/// Why work failed, and the work if it may be retried.
type Undone = (StorageError, Option<Box<Work>>);

fn given_up(error: StorageError) -> Undone {
    (error, None)
}

/// Why a snapshot could not be read or written: a fault of the store, or of its content.
enum Failure {
    Storage(StorageError),
    Content(CodecError),
    /// The content is intact, but this build can't decode it: another build encodes states
    /// differently.
    Undecodable(CodecError),
}

/// Classifies a decoder's error: failing to read is the file's fault, failing to decode the
/// build's.
fn undecoded(error: CodecError) -> Failure {
    match error {
        CodecError::Io(_) => Failure::Content(error),
        error => Failure::Undecodable(error),
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Failure {
        match error {
            StorageError::Damaged { .. } => {
                Failure::Content(CodecError::invalid("a snapshot", error.to_string()))
            }
            error => Failure::Storage(error),
        }
    }
}

/// A snapshot's content may pass every checksum and still be the state at another entry: at its
/// place in the apply queue it would corrupt the replica (SN06, SN19).
fn of_its_entry(log_id: LogId, state: BoxedState) -> Result<BoxedState, Failure> {
    match state.log_id() {
        Some(held) if held != log_id => Err(Failure::Content(CodecError::invalid(
            "a snapshot",
            format!("covers {log_id} and holds the state at {held}"),
        ))),
        _ => Ok(state),
    }
}

impl Behaviour for Snapshotter {
    const NAME: &'static str = "snapshotter";
}

impl Receive<RunSnapshotJob> for Snapshotter {
    fn receive(&mut self, RunSnapshotJob(job): RunSnapshotJob, _turn: &mut Turn) {
        self.add(Work::Job(job));
    }
}

impl Receive<RestoreState> for Snapshotter {
    fn receive(&mut self, RestoreState(log_id): RestoreState, _turn: &mut Turn) {
        self.add(Work::Restore(log_id));
    }
}

impl Receive<EncodeView> for Snapshotter {
    fn receive(&mut self, EncodeView(view): EncodeView, _turn: &mut Turn) {
        self.add(Work::Encode(view));
    }
}

impl Receive<RemoveRefused> for Snapshotter {
    fn receive(&mut self, RemoveRefused(log_id): RemoveRefused, _turn: &mut Turn) {
        self.add(Work::Remove(log_id));
    }
}

impl Receive<RetrySnapshotJobs> for Snapshotter {
    fn receive(&mut self, _retry: RetrySnapshotJobs, _turn: &mut Turn) {
        self.asked.pause_is_over();
        self.work();
    }
}

impl Receive<DropState> for Snapshotter {
    fn receive(&mut self, DropState(state): DropState, _turn: &mut Turn) {
        drop(state);
    }
}

impl Receive<Stop> for Snapshotter {
    fn receive(&mut self, Stop(ack): Stop, turn: &mut Turn) {
        turn.stop(ack);
    }
}

impl Snapshotter {
    fn add(&mut self, work: Work) {
        self.asked.add(work);
        self.work();
    }

    fn work(&mut self) {
        // A stopping node starts no slow work, and a fenced node accesses no file.
        if !self.shared.stop_signal.is_running() {
            self.asked.clear();
        }
        while let Some(work) = self.asked.next() {
            match self.process(work) {
                Err((error, Some(work))) if error.is_out_of_descriptors() => {
                    self.asked.put_back(*work, &error);
                }
                Err((error, _)) => {
                    self.shared.stop_signal.fail(format!("snapshots can't be stored: {error}"));
                }
                Ok(()) => {}
            }
        }
    }

    /// Processes one request. If it fails for lack of a file descriptor, it has done only what may
    /// be repeated.
    fn process(&mut self, work: Work) -> Result<(), Undone> {
        let done = match &work {
            Work::Job(job) => self.job(job),
            Work::Restore(log_id) => self.restore(*log_id),
            Work::Remove(log_id) => {
                self.made.remove(log_id);
                self.remove(*log_id)
            }
            Work::Encode(_) => Ok(()),
        };
        match (done, work) {
            (Err(error), work) => Err((error, Some(Box::new(work)))),
            (Ok(()), Work::Encode(view)) => self.take(view),
            (Ok(()), _) => Ok(()),
        }
    }

    fn job(&mut self, job: &SnapshotJob) -> Result<(), StorageError> {
        match job {
            &SnapshotJob::WriteChunk { transfer, ref meta, offset, ref data, crc } => {
                let written =
                    self.receiving.write(self.store.as_mut(), transfer, meta, offset, data, crc)?;
                if written == crate::raft::ChunkWritten::Complete {
                    self.received = Some(meta.log_id);
                }
                self.tell(ChunkStored { transfer, outcome: written });
                Ok(())
            }
            SnapshotJob::AbortTransfer(transfer) => {
                // The last chunk may have been stored before the transfer was aborted.
                self.receiving.abort(*transfer).map_or(Ok(()), |complete| self.discard(complete))
            }
            SnapshotJob::Decode(meta) => self.decode_received(meta),
            SnapshotJob::Discard(log_id) => self.discard(*log_id),
            &SnapshotJob::Current(log_id) => {
                self.current = Some(log_id);
                self.made.retain(|made| *made > log_id);
                self.received = self.received.filter(|received| *received != log_id);
                self.store.retain(log_id, self.received)
            }
        }
    }

    fn decode_received(&mut self, meta: &SnapshotMeta) -> Result<(), StorageError> {
        let log_id = meta.log_id;
        let content = self.store.open(log_id);
        if let Err(error) = &content
            && error.is_out_of_descriptors()
        {
            return content.map(drop);
        }
        self.tell(DecodeBegun(log_id));
        let decoded = match self.decode(log_id, content) {
            Ok(state) => DecodedSnapshot::State(state),
            Err(Failure::Undecodable(error)) => {
                self.needs_newer_build(log_id, &error);
                DecodedSnapshot::Undecodable
            }
            Err(Failure::Content(error)) => {
                tracing::warn!(%log_id, %error, "a received snapshot does not decode");
                DecodedSnapshot::Broken
            }
            Err(Failure::Storage(error)) => return Err(error),
        };
        self.tell(SnapshotDecoded { log_id, decoded });
        Ok(())
    }

    /// Logged once: the leader resends a snapshot from time to time, and the status shows the
    /// reason permanently.
    fn needs_newer_build(&mut self, log_id: LogId, error: &CodecError) {
        let reason = format!(
            "the leader's snapshot {log_id} can't be decoded by this build (machine {}): {error}; \
             start this member with the build of the other members",
            self.machine
        );
        let before = self.shared.needs_newer_build.lock().replace(reason.clone());
        if before.is_none() {
            tracing::error!(node = self.shared.node, reason, "this member needs a newer build");
        }
    }

    /// This member's current snapshot must decode: continuing without it would lose acknowledged
    /// entries (B7, B17).
    fn restore(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.current = Some(log_id);
        let content = self.store.open(log_id);
        match self.decode(log_id, content) {
            Ok(state) => {
                let restored = ApplyMessage::Restored { log_id, state };
                self.executor.emit(&self.apply_side, |apply_side| apply_side.do_send(restored));
            }
            Err(Failure::Content(_)) if !self.shared.stop_signal.is_running() => {}
            Err(Failure::Content(error)) => {
                self.shared
                    .stop_signal
                    .fail(format!("the current snapshot {log_id} does not decode: {error}"));
            }
            Err(Failure::Undecodable(error)) => {
                self.shared.stop_signal.fail(format!(
                    "this member's snapshot {log_id} can't be decoded by this build (machine {}): {error}; another \
                     build made it, so start this member with that one or a newer one; its data is intact",
                    self.machine
                ));
            }
            Err(Failure::Storage(error)) => return Err(error),
        }
        Ok(())
    }

    fn decode(&mut self, log_id: LogId, content: Content) -> Result<BoxedState, Failure> {
        let (decode, shared) = (&mut self.decode, &self.shared);
        self.executor.work(self.delays.decode(), || {
            let content = BufReader::with_capacity(BUFFER_BYTES, content?);
            let mut content = Abortable::new(content, &shared.stop_signal);
            let state = decode(&mut content).map_err(undecoded)?;
            of_its_entry(log_id, state)
        })
    }

    fn take(&mut self, view: StateView) -> Result<(), Undone> {
        let log_id = view.log_id();
        // The same file would be written twice, and the existing one has the same content.
        if self.is_needed(log_id) {
            self.tell(SnapshotObsolete(log_id));
            return Ok(());
        }
        let sink = match self.store.create(log_id, &self.membership) {
            Ok(sink) => sink,
            Err(error) => return Err((error, Some(Box::new(Work::Encode(view))))),
        };
        match self.encode(view, sink) {
            Ok(meta) => {
                self.made.insert(log_id);
                self.tell(SnapshotPublished(meta));
            }
            Err(Failure::Content(_)) if !self.shared.stop_signal.is_running() => {}
            Err(Failure::Content(error) | Failure::Undecodable(error)) => {
                self.shared
                    .stop_signal
                    .fail(format!("the state at {log_id} can't be encoded: {error}"));
            }
            Err(Failure::Storage(error)) => return Err(given_up(error)),
        }
        Ok(())
    }

    fn encode(
        &mut self,
        view: StateView,
        mut sink: Box<dyn SnapshotSink>,
    ) -> Result<SnapshotMeta, Failure> {
        let shared = &self.shared;
        self.executor.work(self.delays.encode(), || {
            let mut out = BufWriter::with_capacity(
                BUFFER_BYTES,
                Abortable::new(&mut sink, &shared.stop_signal),
            );
            view.encode(&mut out).map_err(Failure::Content)?;
            out.flush().map_err(|error| Failure::Content(error.into()))?;
            drop(out);
            Ok(sink.publish()?)
        })
    }

    /// A received snapshot is obsolete.
    fn discard(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.received = self.received.filter(|received| *received != log_id);
        self.remove(log_id)
    }

    fn remove(&mut self, log_id: LogId) -> Result<(), StorageError> {
        if self.is_needed(log_id) { Ok(()) } else { self.store.remove(log_id) }
    }

    fn is_needed(&self, log_id: LogId) -> bool {
        self.current == Some(log_id) || self.received == Some(log_id) || self.made.contains(&log_id)
    }

    fn tell<M: Send + 'static>(&self, message: M)
    where
        dyn PeerMailbox: Mailbox<M>,
    {
        self.executor.emit(&self.peer, |peer| peer.send(message));
    }
}
