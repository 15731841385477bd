//! Reads under way: each is answered once, by whoever runs it, by its deadline, or by being dropped.
//!
//! The readers' questions stay here, in one list for the node; what travels through the actors is a [`ReadJob`], the
//! right to run one of them. So a read that stands in a mailbox nobody gets to is answered in time all the same, by the
//! peer's tick, and whoever waits needs neither a clock nor a runtime of its own.
//!
//! *What it does not do:* a late job is not called back. It keeps its place among the reads under way until whoever has it
//! gets to it and finds nothing to do: so what lies in mailboxes is bounded, too.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::raft::Micros;

use super::ReadError;
use super::reply::{Admission, Permit};

type Read = Box<dyn FnOnce(Result<&dyn Any, ReadError>) + Send>;

/// The reads of a node that are not answered yet, at most as many as it admits.
pub(crate) struct Reads {
    admission: Arc<Admission>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// With its deadline. Deadlines are as far away for all, so they ascend like the numbers.
    by_number: BTreeMap<u64, (Micros, Read)>,
}

impl Reads {
    pub(crate) fn new(max: usize) -> Arc<Reads> {
        Arc::new(Reads { admission: Admission::new(max), open: Mutex::default() })
    }

    /// Takes a read in that is to be answered by `deadline`, if there is a place for it.
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

    /// Answers all whose time is up at `now`.
    pub(crate) fn expire(&self, now: Micros) {
        while let Some(read) = self.take_overdue(now) {
            read(Err(ReadError::TimedOut));
        }
    }

    /// Answers all that are left: the node has ended.
    pub(crate) fn fail_all(&self) {
        let left = std::mem::take(&mut self.open.lock().by_number);
        left.into_values().for_each(|(_, read)| read(Err(ReadError::Fatal)));
    }

    pub(crate) fn under_way(&self) -> usize {
        self.admission.under_way()
    }

    /// Taken out under the lock, answered outside of it.
    fn take_overdue(&self, now: Micros) -> Option<Read> {
        let mut open = self.open.lock();
        let first = open.by_number.first_entry().filter(|first| first.get().0 <= now)?;
        Some(first.remove().1)
    }

    fn take(&self, number: u64) -> Option<Read> {
        self.open.lock().by_number.remove(&number).map(|(_, read)| read)
    }
}

/// A read of the state machine, to be run where the state machine is. Dropped unrun it answers `Fatal`.
pub struct ReadJob {
    number: u64,
    reads: Arc<Reads>,
    _permit: Permit,
}

impl ReadJob {
    /// Reads `state`, which must be of the type the reader expects: the node's state machine. Nothing happens if the
    /// reader's time was up before.
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
        // Of a read that has run there is nothing left to answer.
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
        // CL04: in the order of the deadlines, each once, and a late job finds nothing to do.
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
