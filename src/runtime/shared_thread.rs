//! One thread for several nodes of a process.
//!
//! Each node has a [`Lease`]: its own tasks, which are ended and awaited separately from other
//! nodes' tasks. The thread starts with the first lease, ends with the last, and starts anew with
//! the next.
//!
//! *What it does not do:* it shares only the thread. A panic in a node ends only that node; slow
//! work delays all of them.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::local_tasks::LocalTasks;
use super::thread::{self, LocalFuture, ThreadEnd, ThreadHandle};

/// Grants leases. Clones grant leases on the same thread.
#[derive(Clone, Default)]
pub(crate) struct SharedThread(Arc<Mutex<Option<Running>>>);

struct Running {
    thread: ThreadHandle,
    end: ThreadEnd,
    leases: usize,
}

impl SharedThread {
    /// Grants a lease on the thread, which is started with the name `name` if it does not run yet.
    pub(crate) fn lease(&self, name: &str) -> io::Result<Lease> {
        let mut running = self.0.lock();
        let running = match &mut *running {
            Some(running) => running,
            none => {
                let (thread, end) = thread::spawn(name.to_owned())?;
                none.insert(Running { thread, end, leases: 0 })
            }
        };
        running.leases += 1;
        let taken = Taken {
            shared: self.clone(),
            thread: running.thread.clone(),
            tasks: LocalTasks::default(),
            left: Mutex::new(Left::No),
        };
        Ok(Lease(Arc::new(taken)))
    }

    /// Gives back one lease. For the last one it returns the thread's end, to be awaited.
    fn leave(&self) -> Option<ThreadEnd> {
        let mut running = self.0.lock();
        let leases = &mut running.as_mut()?.leases;
        *leases -= 1;
        if *leases > 0 {
            return None;
        }
        let Running { thread, end, .. } = running.take()?;
        thread.exit();
        Some(end)
    }
}

impl std::fmt::Debug for SharedThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedThread")
    }
}

/// A node's lease on the thread. Clones are the same lease. It ends by [`Lease::exit`], or when its
/// last clone is dropped and no task that runs on it holds one.
#[derive(Clone)]
pub(crate) struct Lease(Arc<Taken>);

struct Taken {
    shared: SharedThread,
    thread: ThreadHandle,
    tasks: LocalTasks,
    left: Mutex<Left>,
}

enum Left {
    No,
    /// With the thread's end, if this was the last lease.
    Yes(Option<ThreadEnd>),
}

impl Lease {
    /// Runs the future that `make` creates on the thread. After the end of the lease it is dropped.
    pub(crate) fn run(&self, make: impl FnOnce() -> LocalFuture + Send + 'static) {
        let tasks = self.0.tasks.clone();
        // Created in a task of its own, so that a panic there affects only this task.
        self.0.thread.run(move || Box::pin(async move { tasks.run(make()) }));
    }

    /// Ends the lease: tasks of the node that still run on the thread are dropped.
    pub(crate) fn exit(&self) {
        self.0.leave();
    }

    /// Returns when no task of the node is left on the thread.
    pub(crate) async fn idle(&self) {
        self.0.thread.reached().await;
        self.0.tasks.join().await;
    }

    /// Waits for the thread's end if this lease has ended and was the last.
    pub(crate) async fn join(&self) {
        let end = match &mut *self.0.left.lock() {
            Left::No => None,
            Left::Yes(end) => end.take(),
        };
        if let Some(end) = end {
            end.join().await;
        }
    }
}

impl Taken {
    fn leave(&self) {
        let mut left = self.left.lock();
        if let Left::No = *left {
            let tasks = self.tasks.clone();
            // After all futures passed to the thread before.
            self.thread.run(move || Box::pin(async move { tasks.abort() }));
            *left = Left::Yes(self.shared.leave());
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use tokio::sync::oneshot;

    use super::*;

    async fn thread_of(lease: &Lease) -> Option<ThreadId> {
        let (to, told) = oneshot::channel();
        lease.run(move || {
            Box::pin(async move {
                let _ = to.send(std::thread::current().id());
            })
        });
        told.await.ok()
    }

    /// Runs a task that never ends; the returned receiver is closed when the task is dropped.
    fn run_for_ever(lease: &Lease) -> oneshot::Receiver<()> {
        let (held, dropped) = oneshot::channel();
        lease.run(move || {
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(held);
            })
        });
        dropped
    }

    async fn end(lease: &Lease) {
        lease.exit();
        lease.idle().await;
        lease.join().await;
    }

    #[tokio::test]
    async fn nodes_end_apart_and_the_thread_with_the_last() {
        let common = SharedThread::default();
        let (one, two) = (common.lease("common").unwrap(), common.lease("common").unwrap());
        let thread = thread_of(&one).await;
        assert!(thread.is_some() && thread == thread_of(&two).await);
        let (of_one, mut of_two) = (run_for_ever(&one), run_for_ever(&two));
        end(&one).await;
        assert!(of_one.await.is_err(), "the lease's task is dropped");
        assert_eq!(thread_of(&one).await, None, "a lease that is left runs nothing");
        assert_eq!(thread_of(&two).await, thread);
        assert_eq!(of_two.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        end(&two).await;
        assert!(of_two.await.is_err());
        assert!(common.0.lock().is_none(), "the thread is not needed any more");
        let three = common.lease("common").unwrap();
        assert_ne!(thread_of(&three).await, thread, "the first is gone");
        end(&three).await;
    }

    #[tokio::test]
    async fn a_panic_is_its_own_nodes() {
        let common = SharedThread::default();
        let (one, two) = (common.lease("common").unwrap(), common.lease("common").unwrap());
        one.run(|| panic!("while a future is made"));
        one.run(|| Box::pin(async { panic!("while it runs") }));
        assert!(thread_of(&two).await.is_some());
        assert_eq!(thread_of(&one).await, thread_of(&two).await);
        end(&one).await;
        end(&two).await;
    }

    /// A node start that is abandoned half-way leaves no task behind.
    #[tokio::test]
    async fn a_dropped_seat_is_left() {
        let common = SharedThread::default();
        let (one, two) = (common.lease("common").unwrap(), common.lease("common").unwrap());
        let task = run_for_ever(&one);
        drop(one);
        assert!(task.await.is_err());
        assert!(common.0.lock().is_some());
        drop(two);
        assert!(common.0.lock().is_none());
    }
}
