//! A thread that runs actors.
//!
//! It has a single-threaded tokio runtime with a `LocalSet`, which is all that `Actor::start`
//! needs. No actix `System` is needed, so a node starts under any `main`. Unlike an `Arbiter`, the
//! thread is joined when the node stops, and no task that was sent to it before is lost.
//!
//! *What it does not do:* it does not watch its actors; [`super::shell`] does.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::select::select;

/// A future that stays on the thread that creates it.
pub(crate) type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

enum Order {
    Run(Box<dyn FnOnce() -> LocalFuture + Send>),
    Exit,
}

/// Sends tasks to a thread.
#[derive(Clone)]
pub(crate) struct ThreadHandle(mpsc::UnboundedSender<Order>);

impl ThreadHandle {
    /// Runs the future that `make` creates on the thread. If the thread has ended, `make` is
    /// dropped without being called.
    pub(crate) fn run(&self, make: impl FnOnce() -> LocalFuture + Send + 'static) {
        // A closed channel means that the thread has ended; dropping `make` notifies the task that
        // waits for it.
        let _ = self.0.send(Order::Run(Box::new(make)));
    }

    /// Returns when all tasks sent to the thread before have begun, or the thread's runtime is
    /// gone.
    pub(crate) async fn reached(&self) {
        let (here, reached) = oneshot::channel::<()>();
        self.run(move || Box::pin(async move { drop(here) }));
        // A task that is sent while the thread is ending may be neither run nor dropped.
        select(async { drop(reached.await) }, self.0.closed()).await
    }

    /// Ends the thread, which drops the tasks that still run on it.
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
        // An error means the same as a value: the thread has dropped its sender.
        let _ = self.ended.await;
        // A panic of the thread itself was reported when its actors were found to be missing.
        let _ = self.thread.join();
    }
}

/// Starts a thread called `name`.
pub(crate) fn spawn(name: String) -> io::Result<(ThreadHandle, ThreadEnd)> {
    let (orders, mut inbox) = mpsc::unbounded_channel();
    let (end, ended) = oneshot::channel::<()>();
    // The runtime is built here, so that the caller gets the error if that fails.
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
