//! The actors of one node. Each is small, and none waits for another.
//!
//! | from | messages | to |
//! |---|---|---|
//! | handle | `ProposalsQueued`, `LinearizableRead`, `RequestSnapshot` | `RaftPeer` |
//! | transport, ticker | `Deliver`, `Undelivered`; `Tick` | `RaftPeer` |
//! | `RaftPeer` | `PersistStep`, `SealLog` | `Persister`, which writes, then sends |
//! | `Persister` | `Persisted` | `RaftPeer` |
//! | `RaftPeer` | `Enqueue`, `WithdrawOffer` | `ApplyQueue` |
//! | apply side | `Pull` | `ApplyQueue`, which answers with one item |
//! | apply side | `Applied`, `CondInstallSnapshot`, `ViewSupplied` | `RaftPeer` |
//! | `RaftPeer` | `ApplyMessage::Decision`, `ReadAt` | apply side |
//! | `RaftPeer` | `RunSnapshotJob`, `EncodeView`, `DropState` | `Snapshotter` |
//! | `Snapshotter` | `ChunkStored`, `SnapshotDecoded`, `SnapshotPublished` | `RaftPeer` |
//! | `RaftPeer` | `ReadLog`, `ReadChunk` | `Reader` |
//! | `Reader` | `LogReadCompleted`, `ChunkReadCompleted` | `RaftPeer` |
//!
//! # What waits for what
//! These actors send each other owned values and await nothing. Callers outside of the actors wait
//! for a value that answers when it is dropped:
//!
//! ```text
//! caller of a handle ──▶ RaftPeer ──▶ (its entry) ──▶ Applier
//! stopping node ──▶ each actor's StopAck, in order
//! ```
//! There is no cycle, so there is no deadlock.
//!
//! # Order
//! | what | ordered by |
//! |---|---|
//! | messages after an fsync | part of the `Persist` step, sent by the persister |
//! | changes of the state machine | the apply queue: one queue for all |
//! | an actor's messages from one sender | sending order: one mailbox for all types |
//! | the stop | peer, apply queue, apply side, snapshotter, reader, persister; then the threads |
//!
//! *What is not here:* decisions (`crate::raft`), file formats (`crate::storage`), types of
//! commands (`crate::machine`).

pub(crate) mod applier;
pub(crate) mod apply_queue;
mod apply_side;
pub(crate) mod context;
mod delays;
pub(crate) mod fenced_sender;
mod observer;
pub(crate) mod peer;
pub(crate) mod persister;
pub(crate) mod postponed;
pub(crate) mod reader;
pub(crate) mod shutdown;
pub(crate) mod snapshotter;

pub use apply_side::{ApplySide, DecodeState};
pub use delays::Delays;
pub use observer::Observer;
#[cfg(any(test, feature = "testing"))]
pub use observer::StateWatch;
pub(crate) use snapshotter::Receiving;
