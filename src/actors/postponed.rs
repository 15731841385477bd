//! Work that an actor postpones because no file can be opened now.
//!
//! If the process has no free file descriptor, a request to an actor neither stops the node nor is
//! lost. It waits, followed by all later requests in order, and is retried after a pause:
//!
//! ```text
//! message ─▶ waiting ─▶ tried ─▶ done
//!               ▲          └─ no descriptor ─▶ first again, until the pause is over
//!               └───────────────────────────────────┘
//! ```
//!
//! *What it does not do:* it has no bound of its own. The protocol limits the number of outstanding
//! reads and jobs.

use std::collections::VecDeque;
use std::time::Duration;

use actix::{Message, Recipient};

use crate::runtime::Executor;
use crate::storage::StorageError;

/// An actor's outstanding requests, oldest first.
pub(crate) struct Postponed<M: Message + Send>
where
    M::Result: Send,
{
    waiting: VecDeque<M>,
    /// The first request was put back, and the pause is not over.
    is_pausing: bool,
    pause: Pause<M>,
}

/// How to notify an actor that the pause is over.
pub(crate) struct Pause<M: Message + Send>
where
    M::Result: Send,
{
    /// The duration of the pause.
    pub(crate) lasts: Duration,
    /// The executor of the timer.
    pub(crate) executor: Executor,
    /// The actor's own mailbox, and below the message that is sent to it at the end of the pause.
    pub(crate) own: Recipient<M>,
    pub(crate) over: fn() -> M,
}

impl<M: Message<Result = ()> + Send + 'static> Postponed<M> {
    pub(crate) fn new(pause: Pause<M>) -> Postponed<M> {
        Postponed { waiting: VecDeque::new(), is_pausing: false, pause }
    }

    /// Adds a request.
    pub(crate) fn add(&mut self, message: M) {
        self.waiting.push_back(message);
    }

    /// The request to be done now, if there is one and no pause.
    pub(crate) fn next(&mut self) -> Option<M> {
        if self.is_pausing { None } else { self.waiting.pop_front() }
    }

    /// Puts back a request that found no free file descriptor: it is retried first after a pause.
    pub(crate) fn put_back(&mut self, message: M, error: &StorageError) {
        tracing::warn!(%error, "no file can be opened now: tried again later. Allow this process more open files");
        self.waiting.push_front(message);
        self.is_pausing = true;
        let Pause { lasts, own, over, .. } = &self.pause;
        let (lasts, own, over) = (*lasts, own.clone(), *over);
        self.pause.executor.run(move || {
            Box::pin(async move {
                tokio::time::sleep(lasts).await;
                own.do_send(over());
            })
        });
    }

    /// Ends the pause.
    pub(crate) fn pause_is_over(&mut self) {
        self.is_pausing = false;
    }

    /// Drops all requests.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}
