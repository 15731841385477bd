//! Replies to requests. A reply that is dropped unanswered sends an error.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::machine::Outcome;
use crate::raft::{LogId, Role, Term};

use super::ProposeError;
use super::trace::Trace;

/// Limits the number of requests of one kind in flight. They are counted at the handle: excess
/// requests are refused there and never reach a mailbox.
#[derive(Debug)]
pub(crate) struct Admission {
    free: Arc<Semaphore>,
    max: usize,
}

impl Admission {
    pub(crate) fn new(max: usize) -> Arc<Admission> {
        let max = max.min(Semaphore::MAX_PERMITS);
        Arc::new(Admission { free: Arc::new(Semaphore::new(max)), max })
    }

    /// Takes a permit, if one is free.
    pub(crate) fn enter(&self) -> Option<Permit> {
        self.free.clone().try_acquire_owned().ok().map(Permit)
    }

    pub(crate) fn under_way(&self) -> usize {
        self.max - self.free.available_permits()
    }
}

/// One permit of an [`Admission`], returned when dropped.
#[derive(Debug)]
pub(crate) struct Permit(
    #[expect(dead_code, reason = "being there is its use")] OwnedSemaphorePermit,
);

pub(crate) type ProposeOutcome = Result<Outcome, ProposeError>;

/// The reply to one proposal. It travels through the node together with the proposal's entry.
///
/// If dropped unanswered, it sends `Fatal` (never appended) before the append and `Unknown` after
/// it.
#[derive(Debug)]
pub struct Reply {
    to: Option<oneshot::Sender<ProposeOutcome>>,
    durable: Option<oneshot::Sender<LogId>>,
    appended: bool,
    trace: Option<Box<Trace>>,
    _permit: Permit,
}

impl Reply {
    pub(crate) fn new(
        to: oneshot::Sender<ProposeOutcome>,
        durable: Option<oneshot::Sender<LogId>>,
        permit: Permit,
    ) -> Reply {
        Reply { to: Some(to), durable, appended: false, trace: None, _permit: permit }
    }

    /// Adds the command's span, if it has one.
    pub(crate) fn traced(mut self, trace: Option<Box<Trace>>) -> Reply {
        self.trace = trace;
        self
    }

    /// Records that the peer handles the proposal, in this role and term.
    pub(crate) fn arrived(&mut self, role: Role, term: Term) {
        if let Some(trace) = &mut self.trace {
            trace.arrived(role, term);
        }
    }

    /// Records that the proposal is or may be in a log: from now on its outcome is unknown until it
    /// is reported.
    pub(crate) fn mark_appended(&mut self, log_id: LogId) {
        self.appended = true;
        if let Some(trace) = &mut self.trace {
            trace.appended(log_id);
        }
    }

    /// Records that the proposal's entry is committed.
    pub(crate) fn mark_replicated(&self) {
        if let Some(trace) = &self.trace {
            trace.replicated();
        }
    }

    /// The command's span, to be entered while the command is executed. It is empty if no
    /// subscriber is interested.
    pub fn span(&self) -> tracing::Span {
        self.trace.as_ref().map_or_else(tracing::Span::none, |trace| trace.span())
    }

    /// The channel for the notification that the entry is durable in the local log, if the caller
    /// requested it.
    pub(crate) fn take_durable(&mut self) -> Option<oneshot::Sender<LogId>> {
        self.durable.take()
    }

    /// Answers with the outcome of the applied entry.
    pub fn answer(mut self, outcome: Outcome) {
        self.send(Ok(outcome));
    }

    /// Answers with an error.
    pub(crate) fn refuse(mut self, error: ProposeError) {
        self.send(Err(error));
    }

    fn send(&mut self, outcome: ProposeOutcome) {
        if let Some(to) = self.to.take() {
            match (&self.trace, &outcome) {
                (Some(trace), Ok(_)) => trace.applied(),
                (Some(trace), Err(error)) => trace.failed(error),
                (None, _) => {}
            }
            // A closed receiver means that the client has stopped waiting.
            let _ = to.send(outcome);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let error = if self.appended { ProposeError::Unknown } else { ProposeError::Fatal };
        self.send(Err(error));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    fn reply() -> (Reply, oneshot::Receiver<ProposeOutcome>, Arc<Admission>) {
        let (to, answer) = oneshot::channel();
        let admission = Admission::new(1);
        let permit = admission.enter().expect("one place is free");
        assert!(admission.enter().is_none(), "a second place in an admission of one");
        (Reply::new(to, None, permit), answer, admission)
    }

    /// Of several concurrent callers for one free permit, exactly one gets it.
    #[test]
    fn a_free_place_is_never_refused_to_all_who_ask() {
        const CALLERS: usize = 2;
        const ROUNDS: usize = 20_000;
        let admission = Admission::new(1);
        let (asked, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (taken, rounds) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let is_over = AtomicBool::new(false);
        // Busy-waits, so that the callers run as simultaneously as two processors allow.
        let wait_for = |count: &AtomicUsize, callers: usize| {
            for spins in 0.. {
                match count.load(SeqCst) < callers {
                    true if spins % 100 == 99 => std::thread::yield_now(),
                    true => std::hint::spin_loop(),
                    false => break,
                }
            }
        };
        let call = &|caller: usize| {
            let begun = Instant::now();
            for round in 1..=ROUNDS {
                // On a busy machine rounds are slow, and the test ends early. Both callers see the
                // flag.
                if caller == 0 && begun.elapsed() > Duration::from_secs(5) {
                    is_over.store(true, SeqCst);
                }
                asked.fetch_add(1, SeqCst);
                wait_for(&asked, round * CALLERS);
                if is_over.load(SeqCst) {
                    return;
                }
                let permit = admission.enter();
                taken.fetch_add(permit.is_some().into(), SeqCst);
                answered.fetch_add(1, SeqCst);
                // No permit is returned before all callers have tried.
                wait_for(&answered, round * CALLERS);
                drop(permit);
                rounds.fetch_max(round, SeqCst);
            }
        };
        std::thread::scope(|scope| {
            (0..CALLERS).for_each(|caller| drop(scope.spawn(move || call(caller))));
        });
        let rounds = rounds.load(SeqCst);
        assert_eq!(taken.load(SeqCst), rounds);
        assert!(rounds > 0);
        assert_eq!(admission.under_way(), 0);
    }

    #[test]
    fn a_dropped_reply_is_definite_only_before_the_append() {
        // CL02, AC15
        let (dropped, mut answer, admission) = reply();
        drop(dropped);
        assert!(matches!(answer.try_recv(), Ok(Err(ProposeError::Fatal))));
        assert_eq!(admission.under_way(), 0);

        let (mut dropped, mut answer, _) = reply();
        dropped.mark_appended(LogId::new(1, 1));
        drop(dropped);
        assert!(matches!(answer.try_recv(), Ok(Err(ProposeError::Unknown))));
    }
}
