//! The actors of one node. Each is small, and none waits for another.
//!
//! ```text
//! handle ─Proposals, Read─▶ RaftPeer ──Step──▶ Persister ──▶ LogStore
//!                           │ ▲ │ ▲──Persisted──┘  └─then_send─▶ Transport
//!                           │ │ └──Envelope──▶ Transport ──▶ other members' RaftPeer
//!                           │ └─CondInstall, (applied)─┐
//!                           ├──entries, offers──▶ ApplyQueue ◀──Pull── Applier (Replica)
//!                           ├──chunks, decode──▶ Snapshotter ──▶ SnapshotStore
//!                           └──old entries──▶ Reader        Ticker ──Tick──▶ RaftPeer
//! ```
//!
//! # What waits for what
//! These actors send each other owned values with `do_send` and await nothing. Callers outside of
//! the actors wait for a value that answers when it is dropped:
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
//! | an actor's messages from one sender | sending order: one mailbox, `do_send` |
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
pub(crate) use observer::StateWatch;
pub(crate) use snapshotter::Receiving;
