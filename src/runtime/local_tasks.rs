//! The tasks that one node has started on a `LocalSet` that it does not own: they can be aborted
//! and awaited, in any order.
//!
//! *What it does not do:* it never blocks, and does not end tasks that others have started there.

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
    /// Runs `future` on the caller's `LocalSet`. After [`LocalTasks::abort`] it is dropped instead.
    pub(crate) fn run(&self, future: LocalFuture) {
        let mut tasks = self.0.lock();
        if tasks.ended {
            // The lock is released first: values in the future may access these tasks when they are
            // dropped.
            drop(tasks);
            return drop(future);
        }
        let task = tokio::task::spawn_local(future);
        tasks.running.retain(|task| !task.is_finished());
        tasks.aborts.retain(|task| !task.is_finished());
        tasks.aborts.push(task.abort_handle());
        tasks.running.push(task);
    }

    /// Aborts all tasks; tasks that are run later are dropped.
    pub(crate) fn abort(&self) {
        let mut tasks = self.0.lock();
        tasks.ended = true;
        let aborts = std::mem::take(&mut tasks.aborts);
        drop(tasks);
        aborts.iter().for_each(AbortHandle::abort);
    }

    /// Waits until all tasks have ended.
    pub(crate) async fn join(&self) {
        let running = std::mem::take(&mut self.0.lock().running);
        for task in running {
            // Completed, aborted or panicked: the task is gone in each case.
            let _ = task.await;
        }
    }
}
