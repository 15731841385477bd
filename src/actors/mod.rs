//! The actors of one node: thin, one a file, and none of them waits for another.
//!
//! ```text
//! handle ─Proposals, Read─▶ Peer ──Step──▶ Persister ──▶ LogStore
//!                           │ ▲ │ ▲──Persisted──┘  └─then_send─▶ Transport
//!                           │ │ └──Envelope──▶ Transport ──▶ other members' Peer
//!                           │ └─CondInstall, (applied)─┐
//!                           ├──entries, offers──▶ ApplyQueue ◀──Pull── Applier (Replica)
//!                           ├──pieces, decode──▶ Snapshotter ──▶ SnapshotStore
//!                           └──old entries──▶ Reader        Ticker ──Tick──▶ Peer
//! ```
//!
//! # Who waits for whom
//! Between these actors only owned values are sent, with `do_send`, and nothing is awaited. Those outside who wait, wait
//! for a value that answers by itself when it is dropped:
//!
//! ```text
//! caller of a handle ──▶ Peer ──▶ (its entry) ──▶ Applier        stopping node ──▶ each actor's StopAck, in order
//! ```
//! There is no cycle, so there is no deadlock (B2, AC05, SN22).
//!
//! # Order
//! | what | where |
//! |---|---|
//! | after an fsync | inside `Persist`, sent by the persister |
//! | changes of the state machine | one line: the apply queue |
//! | an actor's messages from one sender | as sent: one mailbox, `do_send` |
//! | the end | `director.rs`: peer, apply queue, apply side, snapshotter, reader, persister; then the threads |
//!
//! *What is not here:* decisions (`crate::raft`), file formats (`crate::storage`), types of commands (`crate::machine`).

mod abortable;
pub(crate) mod applier;
pub(crate) mod apply_queue;
mod apply_side;
mod carry_out;
pub(crate) mod clock;
mod common;
mod delays;
pub(crate) mod director;
mod held;
pub(crate) mod lifeline;
mod local_tasks;
mod observer;
pub(crate) mod outlet;
pub(crate) mod peer;
mod pending_reads;
pub(crate) mod persister;
mod placement;
pub(crate) mod postponed;
pub(crate) mod race;
pub(crate) mod reader;
mod receiving;
pub(crate) mod shell;
mod snapshot_requests;
pub(crate) mod snapshotter;
pub(crate) mod thread;
pub(crate) mod ticker;
mod views;
mod waiters;

pub(crate) use apply_side::ApplyGuard;
pub use apply_side::{ApplySide, DecodeState};
#[cfg(any(test, feature = "testing"))]
pub(crate) use clock::Warp;
pub use delays::Delays;
pub use observer::Observer;
#[cfg(any(test, feature = "testing"))]
pub(crate) use observer::StateWatch;
#[cfg(feature = "tcp")]
pub(crate) use placement::member_span;
pub(crate) use placement::{Ends, Place, Places};
pub use placement::{Part, Placement};
pub(crate) use receiving::Receiving;
