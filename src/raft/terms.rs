//! Terms: what a message's term means, and how a member enters a new one (Raft §5.1).
//!
//! A higher term is entered at once, if elections can have raised it so far (`state/terms.rs`).
//! Requests of an earlier term are answered with the own term; answers of an earlier term are
//! ignored. Pre-votes, records of peers and recovery queries change no term.

use super::core::Raft;
use super::message::*;
use super::ready::Event;
use super::state::{Agreement, TERM_LEAP_MAX};
use super::types::{HardState, NodeId, Term};

impl Raft {
    /// Reconciles the own term with the message's (Raft §5.1); `false`: the message is handled.
    pub(super) fn reconcile_term(&mut self, envelope: &Envelope) -> bool {
        let behind = envelope.term < self.terms.term();
        match &envelope.body {
            // A pre-vote changes no term (EL14); its own campaign term decides.
            Body::Request(Request::PreVote { .. }) => return true,
            // Records of peers and recovery do not depend on terms.
            Body::Request(Request::Identify(_) | Request::RecoveryQuery)
            | Body::Answer { answer: Answer::Identify { .. }, .. } => return true,
            Body::Answer { answer: Answer::RecoveryQuery { .. }, .. } if behind => return true,
            Body::Request(Request::Vote { .. }) if !behind && self.leader_lives(envelope.from) => {
                self.answer(envelope, self.vote(false));
                return false;
            }
            Body::Request(request) if behind => {
                self.answer_stale(envelope, request);
                return false;
            }
            // A voter that grants a pre-vote is not ahead; one that refuses sends its term (EL12).
            Body::Answer { answer: Answer::PreVote { .. }, .. } if behind => return true,
            Body::Answer { .. } if behind => {
                self.ignore(envelope, "answers an earlier term");
                return false;
            }
            _ => {}
        }
        if envelope.term > self.terms.term() {
            if envelope.term > self.terms.ceiling(self.now, self.config.election_timeout_min) {
                self.refuse_term(envelope);
                return false;
            }
            self.enter_term(envelope.term);
        }
        true
    }

    fn answer_stale(&mut self, envelope: &Envelope, request: &Request) {
        let answer = match request {
            Request::PreVote { .. } | Request::Identify(_) | Request::RecoveryQuery => return,
            Request::Vote { .. } => self.vote(false),
            Request::Append(append) => Answer::Append(AppendAnswer {
                report: self.report(append.round),
                outcome: AppendOutcome::Stale,
            }),
            Request::Snapshot(chunk) => Answer::Snapshot(SnapshotAnswer {
                report: self.report(chunk.round),
                transfer: chunk.transfer,
                outcome: ChunkOutcome::Stale,
            }),
        };
        self.answer(envelope, answer);
    }

    /// Refuses a term that elections could not have reached. The own term rises towards it by one
    /// step, so that a member that was away, and one that was misled, reach the others in the end.
    fn refuse_term(&mut self, envelope: &Envelope) {
        if let Some(step) = self.terms.step_up() {
            self.alarm(format!(
                "node {} claims term {}, more than {TERM_LEAP_MAX} above {}",
                envelope.from,
                envelope.term,
                self.terms.term()
            ));
            self.enter_term(step);
        }
        self.ignore(envelope, "a term further ahead than elections can have raised it");
    }

    /// Enters a higher term as a follower that knows no leader yet.
    pub(super) fn enter_term(&mut self, term: Term) {
        self.begin_term(HardState { term, vote: None });
        self.timer.forget_leader();
        self.out.events.push(Event::Deposed);
        self.become_follower(None);
    }

    /// The leader of the new term has yet to report where the logs match and what is durable.
    pub(super) fn begin_term(&mut self, hard_state: HardState) {
        self.terms.enter(hard_state);
        self.steps.change().hard_state = Some(hard_state);
        self.agreement = Agreement::new(self.log.commit());
        self.refused_at_commit = None;
    }

    /// Votes in the current term, with the step being built.
    pub(super) fn vote_for(&mut self, candidate: NodeId) {
        self.terms.vote_for(candidate);
        self.steps.change().hard_state = Some(self.terms.current());
    }
}
