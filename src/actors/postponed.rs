//! Work that an actor postpones because no file can be opened now.
//!
//! If the process has no free file descriptor, a request to an actor neither stops the node nor is
//! lost. It waits, followed by all later requests in order, and is retried after a pause:
//!
//! ```text
//! request ─▶ waiting ─▶ tried ─▶ done
//!               ▲          └─ no descriptor ─▶ first again, until the pause is over
//!               └───────────────────────────────────┘
//! ```
//!
//! *What it does not do:* it has no bound of its own. The protocol limits the number of outstanding
//! reads and jobs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::Executor;
use crate::storage::StorageError;

/// An actor's outstanding requests, oldest first.
pub(crate) struct Postponed<W> {
    waiting: VecDeque<W>,
    /// The first request was put back, and the pause is not over.
    is_pausing: bool,
    pause: Pause,
}

/// How to notify an actor that the pause is over.
pub(crate) struct Pause {
    /// The duration of the pause.
    pub(crate) lasts: Duration,
    /// The executor of the timer.
    pub(crate) executor: Executor,
    /// Sends the actor the message that ends the pause.
    pub(crate) end: Arc<dyn Fn() + Send + Sync>,
}

impl<W> Postponed<W> {
    pub(crate) fn new(pause: Pause) -> Postponed<W> {
        Postponed { waiting: VecDeque::new(), is_pausing: false, pause }
    }

    /// Adds a request.
    pub(crate) fn add(&mut self, request: W) {
        self.waiting.push_back(request);
    }

    /// The request to be done now, if there is one and no pause.
    pub(crate) fn next(&mut self) -> Option<W> {
        if self.is_pausing { None } else { self.waiting.pop_front() }
    }

    /// Puts back a request that found no free file descriptor: it is retried first after a pause.
    pub(crate) fn put_back(&mut self, request: W, error: &StorageError) {
        tracing::warn!(%error, "no file can be opened now: tried again later. Allow this process more open files");
        self.waiting.push_front(request);
        self.is_pausing = true;
        let (lasts, end) = (self.pause.lasts, self.pause.end.clone());
        self.pause.executor.run(move || {
            Box::pin(async move {
                tokio::time::sleep(lasts).await;
                end();
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
