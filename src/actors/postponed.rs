//! Work that an actor does later, because no file can be opened now.
//!
//! Where the process has no file descriptor left, what an actor was asked for neither stops the
//! node nor is lost. It waits with everything that came behind it, in order, and is tried again
//! after a pause:
//!
//! ```text
//! message ─▶ waiting ─▶ tried ─▶ done
//!               ▲          └─ no descriptor ─▶ first again, until the pause is over
//!               └───────────────────────────────────┘
//! ```
//!
//! *What it does not do:* it has no bound of its own. The protocol asks for a bounded number of
//! reads and jobs at a time.

use std::collections::VecDeque;
use std::time::Duration;

use actix::{Message, Recipient};

use crate::runtime::Executor;
use crate::storage::StorageError;

/// What an actor has to do, oldest first.
pub(crate) struct Postponed<M: Message + Send>
where
    M::Result: Send,
{
    waiting: VecDeque<M>,
    /// The first one was put back, and the pause is not over.
    is_pausing: bool,
    pause: Pause<M>,
}

/// How an actor is told that the pause is over.
pub(crate) struct Pause<M: Message + Send>
where
    M::Result: Send,
{
    /// How long it is.
    pub(crate) lasts: Duration,
    /// Where the timer runs.
    pub(crate) executor: Executor,
    /// The actor's own mailbox, and what comes there when the pause is over.
    pub(crate) own: Recipient<M>,
    pub(crate) over: fn() -> M,
}

impl<M: Message<Result = ()> + Send + 'static> Postponed<M> {
    pub(crate) fn new(pause: Pause<M>) -> Postponed<M> {
        Postponed { waiting: VecDeque::new(), is_pausing: false, pause }
    }

    /// One more thing to do.
    pub(crate) fn add(&mut self, message: M) {
        self.waiting.push_back(message);
    }

    /// What is to be done now.
    pub(crate) fn next(&mut self) -> Option<M> {
        if self.is_pausing { None } else { self.waiting.pop_front() }
    }

    /// This could not be done for want of a file descriptor: it is the next again after a pause.
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

    /// The pause is over.
    pub(crate) fn pause_is_over(&mut self) {
        self.is_pausing = false;
    }

    /// Nothing of it is done any more.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}
