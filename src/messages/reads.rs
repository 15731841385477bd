//! Reads in flight. Each is answered once: when it runs, at its deadline, or when it is dropped.
//!
//! The callers' closures stay here, in one table for the node; the actors pass on a [`ReadJob`],
//! the permission to run one of them. So a read in the mailbox of a blocked actor is still answered
//! in time, by the peer's tick, and its caller needs neither a clock nor a runtime of its own.
//!
//! *What it does not do:* an expired job is not recalled. It counts as in flight until its holder
//! tries to run it and finds it answered. So the number of jobs in mailboxes is bounded, too.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::raft::Micros;

use super::ReadError;
use super::reply::{Admission, Permit};

type Read = Box<dyn FnOnce(Result<&dyn Any, ReadError>) + Send>;

/// The unanswered reads of a node, up to its admission limit.
pub(crate) struct Reads {
    admission: Arc<Admission>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// Each read with its deadline. All reads have the same timeout, so deadlines ascend with the
    /// numbers.
    by_number: BTreeMap<u64, (Micros, Read)>,
}

impl Reads {
    pub(crate) fn new(max: usize) -> Arc<Reads> {
        Arc::new(Reads { admission: Admission::new(max), open: Mutex::default() })
    }

    /// Admits a read with this deadline. `None`: the limit is reached.
    pub(crate) fn begin(
        self: &Arc<Reads>,
        deadline: Micros,
        read: impl FnOnce(Result<&dyn Any, ReadError>) + Send + 'static,
    ) -> Option<ReadJob> {
        let permit = self.admission.enter()?;
        let mut open = self.open.lock();
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, (deadline, Box::new(read)));
        drop(open);
        Some(ReadJob { number, reads: self.clone(), _permit: permit })
    }

    /// Answers all reads whose deadline has passed at `now`.
    pub(crate) fn expire(&self, now: Micros) {
        while let Some(read) = self.take_overdue(now) {
            read(Err(ReadError::TimedOut));
        }
    }

    /// Answers all remaining reads: the node has ended.
    pub(crate) fn fail_all(&self) {
        let left = std::mem::take(&mut self.open.lock().by_number);
        left.into_values().for_each(|(_, read)| read(Err(ReadError::Fatal)));
    }

    pub(crate) fn under_way(&self) -> usize {
        self.admission.under_way()
    }

    /// Removes one expired read under the lock; the caller answers it after the lock is released.
    fn take_overdue(&self, now: Micros) -> Option<Read> {
        let mut open = self.open.lock();
        let first = open.by_number.first_entry().filter(|first| first.get().0 <= now)?;
        Some(first.remove().1)
    }

    fn take(&self, number: u64) -> Option<Read> {
        self.open.lock().by_number.remove(&number).map(|(_, read)| read)
    }
}

/// A read of the state machine, to be run by the apply side. If dropped without being run, it
/// answers `Fatal`.
pub struct ReadJob {
    number: u64,
    reads: Arc<Reads>,
    _permit: Permit,
}

impl ReadJob {
    /// Runs the read on `state`, which must be of the type that the caller expects: the node's
    /// state machine. Does nothing if the read has timed out.
    pub fn run(self, state: &dyn Any) {
        self.answer(Ok(state));
    }

    pub(crate) fn fail(self, error: ReadError) {
        self.answer(Err(error));
    }

    fn answer(&self, with: Result<&dyn Any, ReadError>) {
        if let Some(read) = self.reads.take(self.number) {
            read(with);
        }
    }
}

impl Drop for ReadJob {
    fn drop(&mut self) {
        // If the read has run, it was removed and this does nothing.
        self.answer(Err(ReadError::Fatal));
    }
}

impl std::fmt::Debug for ReadJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadJob")
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    type Answer = oneshot::Receiver<Result<u32, ReadError>>;

    fn begin(reads: &Arc<Reads>, deadline: Micros) -> Option<(ReadJob, Answer)> {
        let (to, answer) = oneshot::channel();
        let read = move |state: Result<&dyn Any, ReadError>| {
            drop(to.send(state.map(|state| *state.downcast_ref().expect("a number"))));
        };
        Some((reads.begin(deadline, read)?, answer))
    }

    #[test]
    fn a_dropped_read_is_answered() {
        // AC15
        let reads = Reads::new(1);
        let (job, mut answer) = begin(&reads, 10).expect("one place is free");
        assert!(begin(&reads, 10).is_none(), "a second read in an admission of one");
        drop(job);
        assert_eq!(answer.try_recv(), Ok(Err(ReadError::Fatal)));
        assert_eq!(reads.under_way(), 0);
    }

    #[test]
    fn a_read_is_answered_by_its_deadline_wherever_its_job_is() {
        // CL04: reads expire in the order of their deadlines, each once; an expired job does
        // nothing.
        let reads = Reads::new(3);
        let (early, mut early_answer) = begin(&reads, 10).expect("a place");
        let (_late, mut late_answer) = begin(&reads, 20).expect("a place");
        let (done, mut done_answer) = begin(&reads, 20).expect("a place");
        done.run(&7_u32);
        reads.expire(10);
        assert_eq!(early_answer.try_recv(), Ok(Err(ReadError::TimedOut)));
        assert!(late_answer.try_recv().is_err(), "answered before its time");
        assert_eq!(reads.under_way(), 2, "the jobs are still somewhere");
        early.run(&8_u32);
        reads.expire(30);
        assert_eq!(late_answer.try_recv(), Ok(Err(ReadError::TimedOut)));
        assert_eq!(done_answer.try_recv(), Ok(Ok(7)));
        assert_eq!(reads.under_way(), 1);
    }
}
