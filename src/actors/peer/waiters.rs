//! The callers that wait for log entries.
//!
//! A waiter is keyed by the whole [`LogId`] of its entry, never by an index alone: an entry of
//! another term at the same index belongs to another caller (CL03). Both ids and deadlines are in
//! ascending order, so every operation works at one of the two ends of the queue.
//!
//! | event | the waiter's reply |
//! |---|---|
//! | its entry is committed | none yet: the reply is sent with the entry to the apply side |
//! | another id is committed at its index | `NotLeader`: certainly not applied |
//! | a higher term, truncation, a covering install, timeout, stop | `Unknown` |

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::messages::{ProposeError, Reply};
use crate::raft::{Entries, Index, LogId, Micros, NodeId};

#[derive(Default)]
pub(crate) struct Waiters {
    /// Ascending by index.
    appended: VecDeque<Waiter>,
    /// Callers to be notified when their entry is durable here; ascending by index.
    durable: VecDeque<(LogId, oneshot::Sender<LogId>)>,
}

struct Waiter {
    log_id: LogId,
    deadline: Micros,
    reply: Reply,
}

impl Waiters {
    /// Adds `reply`, which waits for the entry just appended as `log_id`.
    pub(crate) fn add(&mut self, log_id: LogId, deadline: Micros, mut reply: Reply) {
        let before = self.appended.back().map_or(0, |waiter| waiter.log_id.index);
        assert!(log_id.index > before, "a waiter for {log_id} behind one for index {before}");
        if let Some(durable) = reply.take_durable() {
            self.durable.push_back((log_id, durable));
        }
        self.appended.push_back(Waiter { log_id, deadline, reply });
    }

    /// Takes the replies that are sent along with these committed entries.
    pub(crate) fn take_for(
        &mut self,
        entries: &Entries,
        leader: Option<NodeId>,
    ) -> Vec<(Index, Reply)> {
        let mut taken = Vec::with_capacity(entries.len().min(self.appended.len()));
        for entry in entries {
            if self.appended.is_empty() {
                break;
            }
            self.pass_over(entry.log_id.index - 1);
            let Some(waiter) =
                self.pop_front_if(|waiter| waiter.log_id.index == entry.log_id.index)
            else {
                continue;
            };
            match waiter.log_id == entry.log_id {
                true => {
                    waiter.reply.mark_replicated();
                    taken.push((entry.log_id.index, waiter.reply));
                }
                false => waiter.reply.refuse(ProposeError::NotLeader { leader }),
            }
        }
        taken
    }

    /// All entries through `index` are settled but were not dispatched: their waiters get
    /// `Unknown`.
    pub(crate) fn pass_over(&mut self, index: Index) {
        while let Some(waiter) = self.pop_front_if(|waiter| waiter.log_id.index <= index) {
            drop(waiter.reply);
        }
    }

    /// A snapshot replaced all entries through `index`, and perhaps the rest of the log.
    pub(crate) fn covered(&mut self, index: Index) {
        self.pass_over(index);
        self.durable.clear();
    }

    /// This member's entries from `from` on are removed here; they may survive on other members.
    pub(crate) fn truncated(&mut self, from: Index) {
        while self.appended.back().is_some_and(|waiter| waiter.log_id.index >= from) {
            self.appended.pop_back();
        }
        while self.durable.back().is_some_and(|(log_id, _)| log_id.index >= from) {
            self.durable.pop_back();
        }
    }

    /// This member's log is durable through `through`.
    pub(crate) fn persisted(&mut self, through: LogId) {
        while self.durable.front().is_some_and(|(log_id, _)| log_id.index <= through.index) {
            if let Some((log_id, durable)) = self.durable.pop_front() {
                // A closed receiver means that the client has stopped waiting.
                let _ = durable.send(log_id);
            }
        }
    }

    /// Answers `Unknown` to all waiters whose deadline has passed at `now`.
    pub(crate) fn expire(&mut self, now: Micros) {
        while self.pop_front_if(|waiter| waiter.deadline <= now).is_some() {}
    }

    /// Answers `Unknown` to all waiters for entries that were not dispatched. Callers that wait for
    /// durability are still notified.
    pub(crate) fn forget_outcomes(&mut self) {
        self.appended.clear();
    }

    /// The entry of the oldest waiter.
    pub(crate) fn first(&self) -> Option<LogId> {
        self.appended.front().map(|waiter| waiter.log_id)
    }

    /// Like `forget_outcomes`, and callers that wait for durability are not notified any more.
    pub(crate) fn forget_all(&mut self) {
        self.appended.clear();
        self.durable.clear();
    }

    fn pop_front_if(&mut self, condition: impl Fn(&Waiter) -> bool) -> Option<Waiter> {
        self.appended.front().is_some_and(condition).then(|| self.appended.pop_front()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::machine::Outcome;
    use crate::messages::Admission;
    use crate::raft::{Entry, EntryKind};

    type Answer = oneshot::Receiver<Result<Outcome, ProposeError>>;

    fn waiters(ids: &[(u64, u64)]) -> (Waiters, Vec<Answer>) {
        let (mut waiters, mut answers) = (Waiters::default(), Vec::new());
        let admission = Admission::new(ids.len());
        for &(term, index) in ids {
            let (to, answer) = oneshot::channel();
            let permit = admission.enter().expect("a place for each");
            let mut reply = Reply::new(to, None, permit);
            reply.mark_appended(LogId::new(term, index));
            waiters.add(LogId::new(term, index), index * 10, reply);
            answers.push(answer);
        }
        (waiters, answers)
    }

    fn entry(term: u64, index: u64) -> Entry {
        Entry {
            log_id: LogId::new(term, index),
            kind: EntryKind::Command,
            stamp_ms: 0,
            data: Bytes::new(),
        }
    }

    fn heard(answer: &mut Answer) -> &'static str {
        match answer.try_recv() {
            Ok(Err(ProposeError::Unknown)) => "unknown",
            Ok(Err(ProposeError::NotLeader { leader: Some(9) })) => "not leader",
            Ok(_) => "something else",
            Err(_) => "nothing",
        }
    }

    #[test]
    fn a_reply_goes_on_only_with_its_own_entry() {
        // CL03: index 2 was committed with another term's entry.
        let (mut waiters, mut answers) = waiters(&[(1, 1), (1, 2), (3, 3)]);
        let taken = waiters.take_for(&[entry(1, 1), entry(2, 2), entry(3, 3)].into(), Some(9));
        assert_eq!(taken.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(
            answers.iter_mut().map(heard).collect::<Vec<_>>(),
            ["nothing", "not leader", "nothing"]
        );
    }

    #[test]
    fn what_is_not_known_is_answered_unknown() {
        // CL02, CL04: each way to lose track of an entry.
        let (mut waiters, mut answers) = waiters(&[(1, 1), (1, 2), (1, 3), (1, 4), (1, 5)]);
        waiters.expire(10);
        assert_eq!(answers.iter_mut().map(heard).collect::<Vec<_>>()[..2], ["unknown", "nothing"]);
        waiters.pass_over(2);
        waiters.truncated(5);
        assert_eq!(
            answers[1..].iter_mut().map(heard).collect::<Vec<_>>(),
            ["unknown", "nothing", "nothing", "unknown"]
        );
        waiters.forget_all();
        assert_eq!(answers[2..4].iter_mut().map(heard).collect::<Vec<_>>(), ["unknown", "unknown"]);
    }

    type Told = Vec<oneshot::Receiver<LogId>>;

    /// Waiters for entries 1 and 2 to be durable.
    fn durable_waiters() -> (Waiters, Told) {
        let mut waiters = Waiters::default();
        let admission = Admission::new(2);
        let mut told = Vec::new();
        for index in 1..=2 {
            let ((to, _), (durable, is_durable)) = (oneshot::channel(), oneshot::channel());
            let permit = admission.enter().expect("a place for each");
            waiters.add(LogId::new(1, index), 100, Reply::new(to, Some(durable), permit));
            told.push(is_durable);
        }
        (waiters, told)
    }

    #[test]
    fn a_deposed_leaders_entries_may_still_become_durable() {
        let (mut waiters, mut told) = durable_waiters();
        waiters.forget_outcomes();
        waiters.persisted(LogId::new(1, 1));
        assert_eq!(told[0].try_recv().ok(), Some(LogId::new(1, 1)));
        // An install may have removed the entries behind it.
        waiters.covered(1);
        waiters.persisted(LogId::new(2, 2));
        assert!(told[1].try_recv().is_err());
    }

    #[test]
    fn durable_is_said_once_and_only_of_what_is() {
        let (mut waiters, mut told) = durable_waiters();
        waiters.persisted(LogId::new(1, 1));
        waiters.truncated(2);
        assert_eq!(told[0].try_recv().ok(), Some(LogId::new(1, 1)));
        assert!(told[1].try_recv().is_err());
    }
}
