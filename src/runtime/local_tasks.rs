//! The tasks that one node has started on another's `LocalSet`: they can be aborted and awaited, in any order.
//!
//! *What it does not do:* it never blocks, and it ends nothing that others have started there.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinHandle};

use super::thread::LocalFuture;

/// A node's tasks on one thread.
#[derive(Clone, Default)]
pub(crate) struct LocalTasks(Arc<Mutex<Tasks>>);

#[derive(Default)]
struct Tasks {
    running: Vec<JoinHandle<()>>,
    aborts: Vec<AbortHandle>,
    ended: bool,
}

impl LocalTasks {
    /// Runs `future` on the `LocalSet` of the caller. After the end it is dropped.
    pub(crate) fn run(&self, future: LocalFuture) {
        let mut tasks = self.0.lock();
        if tasks.ended {
            // What it holds may look at these tasks while it is dropped.
            drop(tasks);
            return drop(future);
        }
        let task = tokio::task::spawn_local(future);
        tasks.running.retain(|task| !task.is_finished());
        tasks.aborts.retain(|task| !task.is_finished());
        tasks.aborts.push(task.abort_handle());
        tasks.running.push(task);
    }

    /// Ends all of them, and whatever would be run later.
    pub(crate) fn abort(&self) {
        let mut tasks = self.0.lock();
        tasks.ended = true;
        let aborts = std::mem::take(&mut tasks.aborts);
        drop(tasks);
        aborts.iter().for_each(AbortHandle::abort);
    }

    /// Waits until none of them is left.
    pub(crate) async fn join(&self) {
        let running = std::mem::take(&mut self.0.lock().running);
        for task in running {
            // Ended, aborted or panicked: gone in each case.
            let _ = task.await;
        }
    }
}
