//! One thread for several nodes of a process.
//!
//! Each node has a [`Lease`]: its own tasks, which end and are waited for apart from other nodes' tasks.
//! The thread starts with the first lease, ends with the last, and starts anew with the next.
//!
//! *What it does not do:* it shares nothing but the thread. A node's panic ends that node; what takes long delays all.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::local_tasks::LocalTasks;
use super::thread::{self, LocalFuture, ThreadEnd, ThreadHandle};

/// Hands out leases. Clones hand out leases on the same thread.
#[derive(Clone, Default)]
pub(crate) struct SharedThread(Arc<Mutex<Option<Running>>>);

struct Running {
    thread: ThreadHandle,
    end: ThreadEnd,
    leases: usize,
}

impl SharedThread {
    /// A lease on the thread, which is called `name` if it begins now.
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

    /// One lease less. The last one gets the thread's end, to wait for.
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

/// A node's part of the thread. Clones are the same lease, which is left by [`Lease::exit`], or with the last of them where nothing
/// runs on it that holds one.
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
    /// Runs the future that `make` makes on the thread. After the lease is left it is dropped.
    pub(crate) fn run(&self, make: impl FnOnce() -> LocalFuture + Send + 'static) {
        let tasks = self.0.tasks.clone();
        // Made in a task of its own: a panic there is nobody else's.
        self.0.thread.run(move || Box::pin(async move { tasks.run(make()) }));
    }

    /// Leaves the lease: what still runs there for the node is dropped.
    pub(crate) fn exit(&self) {
        self.0.leave();
    }

    /// Returns when nothing of the node is left on the thread.
    pub(crate) async fn idle(&self) {
        self.0.thread.reached().await;
        self.0.tasks.join().await;
    }

    /// Waits for the thread's end if this lease, which is left, was the last.
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
            // Behind what was given to the thread before.
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

    /// Runs a task that never ends; what it returns ends with it.
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
        assert!(common.0.lock().is_none(), "nobody needs the thread");
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

    /// A start that is given up half-way leaves nothing behind.
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
