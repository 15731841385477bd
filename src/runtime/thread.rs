//! A thread that runs actors.
//!
//! It has a single-threaded tokio runtime with a `LocalSet`, which is all that `Actor::start` needs. No
//! actix `System` is needed, so a node starts under any `main`. Unlike an `Arbiter` the thread is joined
//! when the node stops, and no task that was sent to it before is lost.
//!
//! *What it does not do:* it does not watch its actors; [`super::shell`] does.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::select::select;

/// A future that stays on the thread that makes it.
pub(crate) type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

enum Order {
    Run(Box<dyn FnOnce() -> LocalFuture + Send>),
    Exit,
}

/// Gives work to a thread.
#[derive(Clone)]
pub(crate) struct ThreadHandle(mpsc::UnboundedSender<Order>);

impl ThreadHandle {
    /// Runs the future that `make` makes on the thread. On an ended thread it is dropped unmade.
    pub(crate) fn run(&self, make: impl FnOnce() -> LocalFuture + Send + 'static) {
        // A closed channel is an ended thread, and dropping `make` tells whoever waits for it.
        let _ = self.0.send(Order::Run(Box::new(make)));
    }

    /// Returns when everything given to the thread before has begun, or nothing is left of the thread's runtime.
    pub(crate) async fn reached(&self) {
        let (here, reached) = oneshot::channel::<()>();
        self.run(move || Box::pin(async move { drop(here) }));
        // What is sent in the moment in which the thread ends may be neither taken nor dropped.
        select(async { drop(reached.await) }, self.0.closed()).await
    }

    /// Ends the thread: it drops what still runs on it.
    pub(crate) fn exit(&self) {
        let _ = self.0.send(Order::Exit);
    }
}

/// Waits for a thread's end.
pub(crate) struct ThreadEnd {
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl ThreadEnd {
    /// Waits without blocking the caller's thread until the runtime is gone, then joins.
    pub(crate) async fn join(self) {
        // An error here says the same as a value: the thread has dropped its end.
        let _ = self.ended.await;
        // A panic on the thread itself has been reported by whoever noticed the missing actors.
        let _ = self.thread.join();
    }
}

/// Starts a thread called `name`.
pub(crate) fn spawn(name: String) -> io::Result<(ThreadHandle, ThreadEnd)> {
    let (orders, mut inbox) = mpsc::unbounded_channel();
    let (end, ended) = oneshot::channel::<()>();
    // The runtime is built here so that a failure is the caller's to report.
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let runtime = actix_rt::Runtime::from(tokio);
        runtime.block_on(async {
            while let Some(Order::Run(make)) = inbox.recv().await {
                tokio::task::spawn_local(make());
            }
        });
        drop(runtime);
        drop(end);
    })?;
    Ok((ThreadHandle(orders), ThreadEnd { ended, thread }))
}
