//! Checks of reads: each is confirmed by a quorum that answered requests sent *after* the read
//! arrived at its leader (RD02, RD03).
//!
//! ```text
//! read arrives at L ── mark ──┐
//!          L sends request 7 ─┼─ after the mark ──▶ an answer to 7 counts for the read
//!          L sent request 5 ──┘  before it ───────▶ an answer to 5 does not count
//! ```
//! Requests and answers are observed on the network, so no counter of the protocol is trusted.

use std::collections::BTreeMap;

use quorate::raft::{Answer, Body, Envelope, Incarnation, NodeId, Request, RequestId};

use super::InvariantChecker;

/// The number of requests remembered for an incarnation.
const REMEMBERED: usize = 4_096;

/// The requests between members, in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Questions {
    clock: u64,
    asked: BTreeMap<NodeId, Asked>,
}

/// The requests of one incarnation of a member.
#[derive(Debug, Default)]
struct Asked {
    incarnation: Incarnation,
    sent: BTreeMap<RequestId, u64>,
    /// No request that is not in `sent` any more was sent later than this.
    forgotten: u64,
    /// By member: the last request that it has answered.
    answered: BTreeMap<NodeId, u64>,
}

/// When a read arrived at a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadMark {
    member: NodeId,
    incarnation: Incarnation,
    at: u64,
}

impl Questions {
    /// A member begins an incarnation.
    pub(super) fn begins(&mut self, member: NodeId, incarnation: Incarnation) {
        self.asked.insert(member, Asked { incarnation, ..Asked::default() });
    }

    pub(super) fn sent(&mut self, envelope: &Envelope) {
        if !matches!(&envelope.body, Body::Request(Request::Append(_) | Request::Snapshot(_))) {
            return;
        }
        self.clock += 1;
        let Some(asked) = self.asked.get_mut(&envelope.from) else { return };
        if asked.incarnation == envelope.incarnation {
            asked.sent.insert(envelope.id, self.clock);
            if asked.sent.len() > REMEMBERED {
                asked.forgotten = asked.sent.pop_first().map_or(0, |(_, sent)| sent);
            }
        }
    }

    pub(super) fn delivered(&mut self, envelope: &Envelope) {
        let Body::Answer { asker_incarnation, answer } = &envelope.body else { return };
        if !matches!(answer, Answer::Append(_) | Answer::Snapshot(_)) {
            return;
        }
        let Some(asked) = self.asked.get_mut(&envelope.to) else { return };
        if asked.incarnation != *asker_incarnation {
            return;
        }
        let is_forgotten = asked.sent.first_key_value().is_some_and(|(&id, _)| envelope.id < id);
        let forgotten = is_forgotten.then_some(asked.forgotten);
        if let Some(sent) = asked.sent.get(&envelope.id).copied().or(forgotten) {
            let last = asked.answered.entry(envelope.from).or_default();
            *last = sent.max(*last);
        }
    }
}

impl InvariantChecker {
    /// A read is about to be given to a member.
    pub(crate) fn read_arrives(&mut self, member: NodeId) -> ReadMark {
        self.questions.clock += 1;
        let asked = self.questions.asked.get(&member);
        let incarnation = asked.map_or(0, |asked| asked.incarnation);
        ReadMark { member, incarnation, at: self.questions.clock }
    }

    /// A member counts a read as confirmed, or executes it.
    pub(crate) fn read_confirmed(&mut self, mark: ReadMark) {
        let ReadMark { member, incarnation, at } = mark;
        let asked = self.questions.asked.get(&member);
        let Some(asked) = asked.filter(|asked| asked.incarnation == incarnation) else { return };
        let answered = |node: NodeId| {
            node == member || asked.answered.get(&node).is_some_and(|&sent| sent > at)
        };
        if !self.quorums.are(answered) {
            let by: Vec<NodeId> = asked.answered.keys().copied().filter(|n| answered(*n)).collect();
            let what =
                format!("n{member} confirms a read; asked since it came, only {by:?} answered");
            self.report_breach("reads are confirmed afresh", what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remembered::Remembered;
    use quorate::raft::{
        Append, AppendAnswer, AppendOutcome, Entries, FollowerReport, InstallStatus, Life, LogId,
        Membership,
    };

    fn invariants() -> InvariantChecker {
        let mut invariants = InvariantChecker::new(&Membership::of_voters(0..3));
        for member in 0..3 {
            let life = Life { incarnation: 1, ..Life::default() };
            invariants.begins(member, life, &Remembered::of(member, []));
        }
        invariants
    }

    fn envelope(from: NodeId, to: NodeId, id: RequestId, body: Body) -> Envelope {
        Envelope { cluster: 1, group: 0, from, to, incarnation: 1, term: 0, id, body }
    }

    fn ask(invariants: &mut InvariantChecker, to: NodeId, id: RequestId) {
        let append = Append {
            prev: LogId::BASE,
            entries: Entries::new(),
            commit: 0,
            leader_last: 0,
            leader_durable: 0,
            round: 0,
        };
        invariants.sent(&envelope(0, to, id, Body::Request(Request::Append(append))));
    }

    fn answer(invariants: &mut InvariantChecker, from: NodeId, id: RequestId) {
        let report = FollowerReport {
            matched: 0,
            install: InstallStatus::None,
            recovering: false,
            round: 0,
        };
        let answer = Answer::Append(AppendAnswer { report, outcome: AppendOutcome::Accepted });
        invariants.delivered(&envelope(from, 0, id, Body::Answer { asker_incarnation: 1, answer }));
    }

    #[test]
    fn an_answer_to_what_left_before_a_read_confirms_nothing() {
        let mut invariants = invariants();
        ask(&mut invariants, 1, 5);
        let mark = invariants.read_arrives(0);
        answer(&mut invariants, 1, 5);
        invariants.read_confirmed(mark);
        assert_eq!(
            invariants.breach().map(|breach| breach.rule),
            Some("reads are confirmed afresh")
        );
    }

    /// A leader that is flooded with campaigns answers each with a heartbeat.
    #[test]
    fn an_answer_to_a_request_that_is_not_remembered_may_confirm_a_read() {
        let mut invariants = invariants();
        let mark = invariants.read_arrives(0);
        (6..=REMEMBERED as u64 + 6).for_each(|id| ask(&mut invariants, 1, id));
        answer(&mut invariants, 1, 6);
        invariants.read_confirmed(mark);
        assert_eq!(invariants.breach(), None);
        let later = invariants.read_arrives(0);
        answer(&mut invariants, 1, 6);
        invariants.read_confirmed(later);
        assert_eq!(
            invariants.breach().map(|breach| breach.rule),
            Some("reads are confirmed afresh")
        );
    }

    #[test]
    fn an_answer_to_what_left_after_a_read_confirms_it() {
        let mut invariants = invariants();
        let mark = invariants.read_arrives(0);
        ask(&mut invariants, 1, 6);
        answer(&mut invariants, 1, 6);
        invariants.read_confirmed(mark);
        assert_eq!(invariants.breach(), None);
    }
}
