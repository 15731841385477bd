//! A member that lost something it may have acknowledged, until it counts again (PS20).
//!
//! It appends, applies and installs like any other member. It does not campaign, and its leader
//! counts neither its log nor its answers. It counts again once it durably holds everything that it
//! may have promised to hold:
//!
//! - *How far its log must reach*: the leader of the current term states it, in answer to a request
//!   of this incarnation. By then its log has every entry that this member acknowledged, to any
//!   leader, and that is or may yet be committed. A mark in the leader's requests would not do: a
//!   request sent before the loss may arrive after it.
//! - *Which member it voted for*, if it forgot that: it asks every other voter. One of them is the
//!   candidate that had its vote, and that candidate has not gone back behind that term. In the
//!   highest of the terms answered, this member votes for the leader that it has caught up with, so
//!   that no other candidate gets its vote.
//!
//! A member that knows its vote and how far its log reached still votes, by the log that it had.
//!
//! Not here: how a loss is noticed (`known_peers.rs`, and the storage).

use std::collections::{BTreeMap, BTreeSet};

use super::core::Raft;
use super::election::other_voters;
use super::message::{Answer, Envelope, Request};
use super::types::{Index, LogId, Loss, Micros, NodeId, Term};

/// The answers to a member's questions about what it lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct RecoveryQuery {
    /// The term that each member answered with, to this incarnation, and its last index if it led
    /// that term.
    answers: BTreeMap<NodeId, (Term, Option<Index>)>,
    /// When the members whose answers are missing are asked again.
    pub ask_at: Micros,
}

impl Raft {
    /// A loss was noticed: answers to earlier questions say nothing about it.
    pub(super) fn begin_recovering(&mut self) {
        self.recovery_query = RecoveryQuery { ask_at: self.now, ..RecoveryQuery::default() };
    }

    pub(super) fn is_recovering(&self) -> bool {
        self.life.loss.is_some()
    }

    /// The last entry that this member has ever held. `None`: it may have lost more than it knows.
    pub(super) fn held(&self) -> Option<LogId> {
        match self.life.loss {
            None => Some(self.log.last()),
            Some(Loss { forgot_vote: false, last: Some(held) }) => Some(held.max(self.log.last())),
            Some(_) => None,
        }
    }

    /// The last entry that `candidate`'s log must reach to get this member's vote. `None`: this
    /// member must not vote.
    ///
    /// With two voters, the other one holds all committed entries, because nothing is committed
    /// without it. A forgotten vote was for that voter, or for this member, whose campaign is over.
    /// So it gets the vote, whatever was lost. With more voters, another one may hold more than the
    /// candidate, and may need exactly the acknowledgement that this member once gave (decision
    /// 013).
    pub(super) fn votes_by(&self, candidate: NodeId) -> Option<LogId> {
        let others = || other_voters(&self.membership, self.config.node);
        if self.is_recovering() && others() == BTreeSet::from([candidate]) {
            return Some(LogId::BASE);
        }
        self.held()
    }

    /// The members whose answers a member with a loss still waits for.
    pub(super) fn missing_answers(&self) -> BTreeSet<NodeId> {
        let Some(loss) = self.life.loss else { return BTreeSet::new() };
        let mut missing = BTreeSet::new();
        if loss.forgot_vote {
            missing = other_voters(&self.membership, self.config.node);
            missing.retain(|node| !self.recovery_query.answers.contains_key(node));
            missing.retain(|&node| self.life.doubted_by != Some(node) || !self.is_doubt_old());
        }
        missing.extend(self.leader().filter(|_| self.recovery_target().is_none()));
        missing
    }

    /// Whether the only member that reports the loss has had the time to send its record, and
    /// others to confirm it.
    fn is_doubt_old(&self) -> bool {
        self.now.saturating_sub(self.claims.doubted_at) > self.config.doubt_timeout
    }

    /// A single member's report must not keep this member from voting forever. It is dismissed if
    /// all other voters but the reporting one have answered since, none of them has a record of
    /// more than this directory holds, and no leader is elected without this member's vote.
    fn dismiss_doubt(&mut self) {
        let Some(claimant) = self.life.doubted_by else { return };
        let heard = |at| self.now.saturating_sub(at) <= self.config.doubt_timeout;
        let others = other_voters(&self.membership, self.config.node);
        let answered =
            |node: &NodeId| *node == claimant || self.recovery_query.answers.contains_key(node);
        if !self.is_doubt_old()
            || self.timer.leader_heard_at().is_some_and(heard)
            || !others.iter().all(answered)
        {
            return;
        }
        self.alarm(format!(
            "node {claimant} alone says that this member lost something: the other voters do not confirm it"
        ));
        self.count_again();
    }

    fn count_again(&mut self) {
        self.claims.disbelieved.extend(self.life.doubted_by.take());
        self.life.loss = None;
        self.steps.change().life = Some(self.life);
        self.recovery_query = RecoveryQuery::default();
    }

    /// Asks for the missing answers, at intervals of `request_timeout`.
    pub(super) fn tick_recovering(&mut self) {
        self.dismiss_doubt();
        if self.is_recovering() && self.now >= self.recovery_query.ask_at {
            self.recovery_query.ask_at = self.now + self.config.request_timeout;
            for member in self.missing_answers() {
                self.ask(member, Request::RecoveryQuery);
            }
        }
    }

    pub(super) fn on_recovery_query(&mut self, request: &Envelope) {
        let leads = self.role.is_leader();
        self.answer(request, Answer::RecoveryQuery { last: self.log.last_index(), leads });
    }

    pub(super) fn on_recovery_answer(&mut self, answer: &Envelope, last: Option<Index>) {
        if self.is_recovering() {
            self.recovery_query.answers.insert(answer.from, (answer.term, last));
            self.finish_recovering();
        }
    }

    /// A leader is heard that has not stated in its term how far its log reaches: it is asked at
    /// once.
    pub(super) fn ask_new_leader(&mut self) {
        if self.is_recovering() && self.recovery_target().is_none() {
            self.recovery_query.ask_at = self.now;
            self.tick_recovering();
        }
    }

    /// How far the log of the current term's leader reached, as it stated. It must have led when it
    /// answered: if it has been restarted since, it may have lost the end of its log, which was
    /// durable here but not there.
    fn recovery_target(&self) -> Option<Index> {
        let (term, last) = *self.recovery_query.answers.get(&self.leader()?)?;
        last.filter(|_| term == self.terms.term())
    }

    /// Counts again if everything is there. After a crash before that is durable, the member
    /// catches up once more.
    pub(super) fn finish_recovering(&mut self) {
        let (Some(loss), Some(leader)) = (self.life.loss, self.leader()) else { return };
        let Some(target) = self.recovery_target() else { return };
        let held = self.matched_durable();
        if !self.role.is_follower() || held < target || !self.missing_answers().is_empty() {
            return;
        }
        if loss.forgot_vote && self.terms.vote().is_some_and(|vote| vote != leader) {
            // The vote was given before the loss was noticed, and may have been the second in this
            // term. It can't be taken back, and would be given again to the same candidate: so a
            // new term must begin.
            return self.enter_term(self.terms.term() + 1);
        }
        tracing::info!(node = self.config.node, target, "caught up after a loss, counts again");
        if loss.forgot_vote && self.terms.vote().is_none() {
            self.vote_for(leader);
        }
        self.count_again();
    }
}
