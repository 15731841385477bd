//! How actors run: where each part of a node stands, its threads, its clock, its stop.
//!
//! ```text
//! Placement ──▶ Place (a thread of its own, a shared thread, or a virtual one)
//!                 └─ shell: mailbox ─▶ one turn ─▶ clock, busy time, end
//! Lifeline: one state for all actors of a node; the first that fails stops the rest in order
//! ```
//!
//! *What it does not do:* it knows no node and no message. What actors say and do is in
//! [`crate::messages`] and [`crate::actors`].

pub(crate) mod abortable;
pub(crate) mod clock;
mod common;
pub(crate) mod lifeline;
mod local_tasks;
mod placement;
pub(crate) mod race;
pub(crate) mod shell;
pub(crate) mod thread;

#[cfg(any(test, feature = "testing"))]
pub(crate) use clock::Warp;
pub use lifeline::StopAck;
#[cfg(feature = "tcp")]
pub(crate) use placement::member_span;
pub(crate) use placement::{Ends, Place, Places};
pub use placement::{Part, Placement};
