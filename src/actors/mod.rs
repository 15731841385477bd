//! The actors of one node: thin, one a file, and none of them waits for another.
//!
//! ```text
//! handle ─Proposals, Read─▶ RaftPeer ──Step──▶ Persister ──▶ LogStore
//!                           │ ▲ │ ▲──Persisted──┘  └─then_send─▶ Transport
//!                           │ │ └──Envelope──▶ Transport ──▶ other members' Peer
//!                           │ └─CondInstall, (applied)─┐
//!                           ├──entries, offers──▶ ApplyQueue ◀──Pull── Applier (Replica)
//!                           ├──pieces, decode──▶ Snapshotter ──▶ SnapshotStore
//!                           └──old entries──▶ Reader        Ticker ──Tick──▶ RaftPeer
//! ```
//!
//! # Who waits for whom
//! Between these actors only owned values are sent, with `do_send`, and nothing is awaited. Those outside who wait, wait
//! for a value that answers by itself when it is dropped:
//!
//! ```text
//! caller of a handle ──▶ RaftPeer ──▶ (its entry) ──▶ Applier        stopping node ──▶ each actor's StopAck, in order
//! ```
//! There is no cycle, so there is no deadlock (B2, AC05, SN22).
//!
//! # Order
//! | what | where |
//! |---|---|
//! | after an fsync | inside `Persist`, sent by the persister |
//! | changes of the state machine | one line: the apply queue |
//! | an actor's messages from one sender | as sent: one mailbox, `do_send` |
//! | the end | `shutdown.rs`: peer, apply queue, apply side, snapshotter, reader, persister; then the threads |
//!
//! *What is not here:* decisions (`crate::raft`), file formats (`crate::storage`), types of commands (`crate::machine`).

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
