//! How actors run: executors, mailboxes, clocks and the stop signal.
//!
//! ```text
//! Placement ─▶ Executor: a thread, a shared thread, or a virtual executor under a paused clock
//!                └─ shell: mailbox ─▶ a batch of messages ─▶ Receive::receive, .., Behaviour::flush
//! StopSignal: shared by the actors of a node; if one of them fails, all stop
//! ```
//!
//! *What it does not do:* it does not depend on nodes or their messages. These are in
//! [`crate::messages`] and [`crate::actors`].

pub(crate) mod abortable;
pub(crate) mod clock;
mod local_tasks;
mod mailbox;
mod placement;
pub(crate) mod select;
mod shared_thread;
pub(crate) mod shell;
pub(crate) mod stop_signal;
pub(crate) mod thread;

#[cfg(any(test, feature = "testing"))]
pub use clock::SkewedClock;
pub(crate) use mailbox::{Mailbox, mailbox};
#[cfg(feature = "tcp")]
pub(crate) use placement::member_span;
pub use placement::{Component, Placement};
pub(crate) use placement::{Executor, Executors, JoinHandles};
pub use stop_signal::StopAck;
#[cfg(feature = "testing")]
pub(crate) use stop_signal::StopSignal;
