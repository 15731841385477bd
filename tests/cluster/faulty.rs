//! Parts that fail on order: a storage, a transport and a state machine.
//!
//! Each behaves as its original until the story sets a trap. Then the next call of that kind fails or panics.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use quorate::machine::{ApplyContext, CodecError, Machine, codec};
use quorate::raft::SnapshotMeta;
use quorate::raft::{Body, Entry, Envelope, Index, LogChange, LogId, Membership, NodeId, Request};
use quorate::storage::memory::MemoryStorage;
use quorate::storage::{
    Identity, LogReader, LogStore, OpenedStorage, SnapshotReader, SnapshotReceiver, SnapshotSink,
    SnapshotStore, Start, Storage, StorageError,
};
use quorate::transport::{Endpoint, Inbox, Transport};
use serde::{Deserialize, Serialize};

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trap {
    WriteFails,
    WritePanics,
    LogReadFails,
    LogReadPanics,
    ChunkReadFails,
    CreateFails,
    ReceiveFails,
    PublishFails,
    OpenFails,
    RetainFails,
    /// Nothing can be opened: EMFILE.
    NoDescriptors,
    SendPanics,
    DetachPanics,
    ApplyPanics,
    ViewPanics,
}

/// The traps set for one member.
#[derive(Clone, Debug, Default)]
pub struct Traps(Arc<Mutex<BTreeSet<Trap>>>);

impl Traps {
    /// From now on this fails.
    pub fn set(&self, trap: Trap) {
        self.0.lock().insert(trap);
    }

    /// It works again.
    pub fn unset(&self, trap: Trap) {
        self.0.lock().remove(&trap);
    }

    /// For a call that opens a file.
    fn check_open(&self, trap: Trap) -> Result<(), StorageError> {
        if self.is_set(Trap::NoDescriptors) {
            let (operation, path) = ("open", format!("{trap:?}"));
            return Err(StorageError::Io {
                operation,
                path,
                source: io::Error::from_raw_os_error(24),
            });
        }
        self.check(trap)
    }

    fn is_set(&self, trap: Trap) -> bool {
        self.0.lock().contains(&trap)
    }

    fn check(&self, trap: Trap) -> Result<(), StorageError> {
        match self.is_set(trap) {
            false => Ok(()),
            true => Err(StorageError::Io {
                operation: "write",
                path: format!("{trap:?}"),
                source: io::Error::other("No space left on device"),
            }),
        }
    }

    fn panic(&self, trap: Trap) {
        if self.is_set(trap) {
            panic!("{trap:?} on order");
        }
    }
}

/// A memory storage with traps.
pub struct FaultyStorage {
    pub disk: MemoryStorage,
    pub traps: Traps,
}

impl Storage for FaultyStorage {
    fn open(
        self: Box<Self>,
        identity: Identity,
        start: &Start,
    ) -> Result<OpenedStorage, StorageError> {
        let FaultyStorage { disk, traps } = *self;
        let OpenedStorage { recovered, log, snapshots } = Box::new(disk).open(identity, start)?;
        let log = Box::new(Faulty { inner: log, traps: traps.clone() });
        let snapshots = Box::new(Faulty { inner: snapshots, traps });
        Ok(OpenedStorage { recovered, log, snapshots })
    }
}

struct Faulty<T> {
    inner: T,
    traps: Traps,
}

impl LogStore for Faulty<Box<dyn LogStore>> {
    fn write(&mut self, changes: &[LogChange]) -> Result<(), StorageError> {
        self.traps.panic(Trap::WritePanics);
        self.traps.check(Trap::WriteFails)?;
        self.inner.write(changes)
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(Faulty { inner: self.inner.reader(), traps: self.traps.clone() })
    }

    fn seal(&mut self) -> Result<(), StorageError> {
        self.inner.seal()
    }
}

impl LogReader for Faulty<Box<dyn LogReader>> {
    fn read(
        &mut self,
        first: Index,
        last: Index,
        max_bytes: usize,
    ) -> Result<Option<Vec<Entry>>, StorageError> {
        self.traps.panic(Trap::LogReadPanics);
        self.traps.check_open(Trap::LogReadFails)?;
        self.inner.read(first, last, max_bytes)
    }
}

impl SnapshotStore for Faulty<Box<dyn SnapshotStore>> {
    fn create(
        &mut self,
        log_id: LogId,
        membership: &Membership,
    ) -> Result<Box<dyn SnapshotSink>, StorageError> {
        self.traps.check_open(Trap::CreateFails)?;
        let sink = self.inner.create(log_id, membership)?;
        Ok(Box::new(Faulty { inner: sink, traps: self.traps.clone() }))
    }

    fn receive(&mut self, meta: &SnapshotMeta) -> Result<Box<dyn SnapshotReceiver>, StorageError> {
        self.traps.check_open(Trap::ReceiveFails)?;
        self.inner.receive(meta)
    }

    fn open(&mut self, log_id: LogId) -> Result<Box<dyn Read + Send>, StorageError> {
        self.traps.check_open(Trap::OpenFails)?;
        self.inner.open(log_id)
    }

    fn reader(&self) -> Box<dyn SnapshotReader> {
        Box::new(Faulty { inner: self.inner.reader(), traps: self.traps.clone() })
    }

    fn remove(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.inner.remove(log_id)
    }

    fn retain(&mut self, current: LogId, keep: Option<LogId>) -> Result<(), StorageError> {
        self.traps.check_open(Trap::RetainFails)?;
        self.inner.retain(current, keep)
    }
}

impl SnapshotReader for Faulty<Box<dyn SnapshotReader>> {
    fn read_at(
        &mut self,
        log_id: LogId,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<bytes::Bytes>, StorageError> {
        self.traps.check_open(Trap::ChunkReadFails)?;
        self.inner.read_at(log_id, offset, max_bytes)
    }
}

impl Write for Faulty<Box<dyn SnapshotSink>> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.inner.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl SnapshotSink for Faulty<Box<dyn SnapshotSink>> {
    fn publish(self: Box<Self>) -> Result<SnapshotMeta, StorageError> {
        self.traps.check(Trap::PublishFails)?;
        self.inner.publish()
    }
}

/// An endpoint whose sending panics on order: of the peer's own messages, heartbeats and the like.
pub struct FaultyTransport {
    pub endpoint: Endpoint,
    pub traps: Traps,
}

impl Transport for FaultyTransport {
    fn send(&self, envelope: Envelope) {
        if let Body::Request(Request::Append(_)) = envelope.body {
            self.traps.panic(Trap::SendPanics);
        }
        self.endpoint.send(envelope);
    }

    fn attach(&self, node: NodeId, inbox: Inbox) {
        self.endpoint.attach(node, inbox);
    }

    fn detach(&self, node: NodeId) {
        self.traps.panic(Trap::DetachPanics);
        self.endpoint.detach(node);
    }
}

/// What can go wrong with a state itself, wherever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flaw {
    #[default]
    None,
    EncodePanics,
    EncodeFails,
    DecodePanics,
    DecodeFails,
}

/// A set of numbers, which traps and flaws can break.
#[derive(Default)]
pub struct Fragile {
    state: FragileState,
    traps: Traps,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct FragileState {
    numbers: BTreeMap<u64, u64>,
    flaw: Flaw,
}

impl Fragile {
    /// An empty one with these traps.
    pub fn with(traps: Traps) -> Fragile {
        Fragile { state: FragileState::default(), traps }
    }

    /// How often the number was noted.
    pub fn times(&self, number: u64) -> u64 {
        self.state.numbers.get(&number).copied().unwrap_or_default()
    }
}

/// What [`Fragile`] is told.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Note {
    /// Note this number; answers it, so that a crossed reply shows.
    Number(u64),
    /// From here on the state has this flaw.
    Break(Flaw),
}

impl Machine for Fragile {
    type Command = Note;
    type Reply = u64;
    type View = FragileState;

    fn apply(&mut self, command: Note, _context: &ApplyContext) -> u64 {
        self.traps.panic(Trap::ApplyPanics);
        match command {
            Note::Number(number) => {
                *self.state.numbers.entry(number).or_default() += 1;
                number
            }
            Note::Break(flaw) => {
                self.state.flaw = flaw;
                0
            }
        }
    }

    fn view(&self) -> FragileState {
        self.traps.panic(Trap::ViewPanics);
        self.state.clone()
    }

    fn encode(view: &FragileState, out: &mut dyn Write) -> Result<(), CodecError> {
        match view.flaw {
            Flaw::EncodePanics => panic!("encode panics on order"),
            Flaw::EncodeFails => Err(CodecError::invalid("a state", "fails on order")),
            _ => codec::encode_to(view, out),
        }
    }

    fn decode(input: &mut dyn Read) -> Result<Fragile, CodecError> {
        let state: FragileState = codec::decode_from(input)?;
        match state.flaw {
            Flaw::DecodePanics => panic!("decode panics on order"),
            Flaw::DecodeFails => Err(CodecError::invalid("a state", "fails on order")),
            _ => Ok(Fragile { state, traps: Traps::default() }),
        }
    }
}
