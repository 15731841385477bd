//! Elections: pre-vote, vote, and which members may ask (Raft §5.2, §5.4.1; dissertation §9.6).
//!
//! A campaign has two phases. The pre-vote asks whether an election could be won, and changes no
//! term anywhere. The term is raised only after a quorum has granted the pre-vote. A member that
//! has heard its leader within the shortest election timeout refuses, so a member that is partly
//! cut off can't disturb the others (EL18). `state/campaign.rs` selects the members that are asked for a
//! pre-vote; votes are requested from all members that did not refuse it.

use std::collections::BTreeSet;

use super::core::Raft;
use super::message::{Answer, Envelope, Request, RequestId};
use super::ready::Role;
use super::state::quorum::{self, VoteResult};
use super::state::{Leading, RoleState, Votes};
use super::steps;
use super::types::{Entry, EntryKind, HardState, Index, LogId, Membership, NodeId, Term};

impl Raft {
    /// Fires the election timeout now, whatever the clock says. For tests and model checking.
    pub fn expire_election(&mut self, now: super::types::Micros) {
        self.input(now, |raft| {
            if !raft.role.is_leader() {
                raft.election_timeout();
            }
        });
    }

    pub(super) fn election_timeout(&mut self) {
        self.reset_election_timer();
        if self.may_campaign() {
            if !self.own_vote_is_pending() {
                self.pre_campaign();
            }
        } else if !self.role.is_follower() || self.leader().is_some() {
            self.become_follower(None);
        }
    }

    /// Learners, members that recover from a loss, members whose disk hangs and members that wait
    /// for a snapshot beyond their log do not campaign (EL15, EL17, PS20).
    fn may_campaign(&self) -> bool {
        self.membership.is_voter(self.config.node)
            && !self.is_recovering()
            && !self.disk_hangs()
            && self.install.pending_index().is_none_or(|index| index <= self.log.last_index())
    }

    /// Whether this is a candidate whose vote for itself is not durable yet; no vote has been
    /// requested then. A higher term would have to wait for the same disk: if the disk is slower
    /// than the election timeout, the campaign would never end (EL23).
    fn own_vote_is_pending(&self) -> bool {
        self.is_candidate() && !self.terms.is_durable()
    }

    fn is_candidate(&self) -> bool {
        self.role.kind() == Role::Candidate
    }

    fn pre_campaign(&mut self) {
        self.counters.campaigns += 1;
        let silent = self.leader();
        let mut votes = Votes::new(self.numbers.next_request());
        votes.record(self.config.node, true);
        self.role = RoleState::PreCandidate(votes);
        let (own, membership) = (self.config.node, &self.membership);
        let suffice = |nodes: &BTreeSet<NodeId>| {
            quorum::is_quorum(membership, |node| node == own || nodes.contains(&node))
        };
        let others = other_voters(membership, own);
        let asked = self.campaign.begin(others, silent, self.numbers.next_request(), suffice);
        asked.into_iter().for_each(|voter| self.ask_pre_vote(voter));
        self.count_votes();
    }

    fn ask_pre_vote(&mut self, voter: NodeId) {
        let campaign_term = self.terms.term() + 1;
        self.ask(voter, Request::PreVote { campaign_term, last: self.log.last() });
    }

    fn campaign(&mut self) {
        self.reset_election_timer();
        let (term, own) = (self.terms.term() + 1, self.config.node);
        self.begin_term(HardState { term, vote: Some(own) });
        let candidate = RoleState::Candidate(Votes::new(self.numbers.next_request()));
        let before = std::mem::replace(&mut self.role, candidate);
        self.campaign.rest();
        self.campaign.asked.retain(|&voter| before.vote_of(voter) != Some(false));
        self.campaign.asked.clone().into_iter().for_each(|voter| self.ask_vote(voter));
        self.campaign.forget_again();
        self.retry();
    }

    /// Raft §5.1: members that do not answer are asked again.
    fn retry(&mut self) {
        let silent: Vec<NodeId> = self.campaign.asked.iter().copied().collect();
        let silent = silent.into_iter().filter(|&node| self.role.vote_of(node).is_none());
        self.campaign.retry(silent, self.now + self.config.request_timeout);
    }

    /// No vote is requested before the own vote is durable (PS01).
    fn ask_vote(&mut self, voter: NodeId) {
        let request = Request::Vote { last: self.log.last() };
        if self.own_vote_is_pending() {
            self.ask_after_persist(voter, request);
        } else {
            self.ask(voter, request);
        }
    }

    /// The transport reports that a request of the current campaign could not be delivered.
    pub(super) fn on_question_undelivered(&mut self, to: NodeId, id: RequestId) {
        let Some(votes) = self.role.votes() else { return };
        if steps::place(id) >= votes.first_request && votes.of(to).is_none() {
            self.campaign.lost(to, self.now + self.config.retry_interval);
        }
    }

    pub(super) fn ask_again(&mut self) {
        let due = self.campaign.due(self.now);
        for &voter in &due {
            match self.role.kind() {
                Role::PreCandidate => self.ask_pre_vote(voter),
                // Until the own vote is durable, the first request has not left yet.
                Role::Candidate if !self.own_vote_is_pending() => self.ask_vote(voter),
                Role::Candidate | Role::Follower | Role::Leader => {}
            }
        }
        if self.is_candidate() && !due.is_empty() {
            self.retry();
        }
    }

    /// The own vote counts once it is durable (PS01).
    pub(super) fn on_vote_durable(&mut self) {
        let voted = HardState { term: self.terms.term(), vote: Some(self.config.node) };
        if self.terms.durable() == voted
            && let RoleState::Candidate(votes) = &mut self.role
        {
            votes.record(self.config.node, true);
            self.count_votes();
        }
    }

    /// Whether a leader of the own term was heard recently, or this member leads and hears a
    /// quorum. If `asker` is that leader, the answer is no: it asks because it no longer leads,
    /// most likely after a restart.
    pub(super) fn leader_lives(&self, asker: NodeId) -> bool {
        let recently = |heard| {
            self.now.saturating_sub(heard) < self.config.election_timeout_min
                || self.now < self.timer.excused_until()
        };
        let follows = self.leader().is_some_and(|leader| leader != asker);
        match self.role {
            RoleState::Leader(_) => self.config.check_quorum || self.hears_quorum(),
            _ => follows && self.timer.leader_heard_at().is_some_and(recently),
        }
    }

    /// Raft §5.4.1: the term of the last entry decides, then its index (EL04, EL05).
    fn up_to_date(&self, candidate: NodeId, last: LogId) -> bool {
        self.votes_by(candidate).is_some_and(|own| last >= own)
    }

    /// The answer to a vote request.
    pub(super) fn vote(&self, granted: bool) -> Answer {
        Answer::Vote { granted, held: self.held().map(|held| held.index) }
    }

    pub(super) fn on_pre_vote(&mut self, request: &Envelope, campaign_term: Term, last: LogId) {
        if self.role.is_leader() {
            // The asker has missed heartbeats and is reachable: it gets one now instead of at the
            // next interval.
            self.call(request.from, self.now);
        }
        self.remind_if_lacking(request.from, last.index);
        let granted = campaign_term > self.terms.term()
            && campaign_term > last.term
            && self.up_to_date(request.from, last)
            && !self.leader_lives(request.from);
        self.answer(request, Answer::PreVote { campaign_term, granted });
    }

    pub(super) fn on_vote(&mut self, request: &Envelope, last: LogId) {
        self.remind_if_lacking(request.from, last.index);
        let free = self.terms.vote().is_none_or(|vote| vote == request.from);
        let possible = last.term <= request.term;
        if !(free && possible && self.up_to_date(request.from, last)) {
            return self.answer(request, self.vote(false));
        }
        if self.terms.vote().is_none() {
            self.vote_for(request.from);
            self.reset_election_timer();
        }
        if self.terms.is_durable() {
            self.answer(request, self.vote(true));
        } else {
            self.answer_after_persist(request, self.vote(true));
        }
    }

    pub(super) fn on_pre_vote_answer(
        &mut self,
        answer: &Envelope,
        campaign_term: Term,
        granted: bool,
    ) {
        let place = steps::place(answer.id);
        match &mut self.role {
            RoleState::PreCandidate(votes) if campaign_term == self.terms.term() + 1 => {
                if place >= votes.first_request {
                    votes.record(answer.from, granted);
                } else if granted && place >= self.campaign.first_request {
                    // A refusal of an earlier round may be out of date. A grant still counts.
                    votes.record_earlier(answer.from, granted);
                } else {
                    return self.ignore(answer, "answers an earlier campaign");
                }
            }
            _ => return self.ignore(answer, "answers an earlier campaign"),
        }
        let news = self.campaign.heard(answer.from);
        self.count_votes();
        if news && self.role.kind() == Role::PreCandidate {
            self.campaign.rest().into_iter().for_each(|voter| self.ask_pre_vote(voter));
            self.retry();
        }
    }

    pub(super) fn on_vote_answer(&mut self, answer: &Envelope, granted: bool, held: Option<Index>) {
        let is_current = match &self.role {
            RoleState::Candidate(votes) => steps::place(answer.id) >= votes.first_request,
            _ => false,
        };
        if !is_current {
            return self.ignore(answer, "answers an earlier campaign");
        }
        // A voter that holds less than it acknowledged, and does not know that, may have voted in
        // this term before (PS20).
        let is_forgetful = held.is_some_and(|held| self.remind_if_lacking(answer.from, held));
        if let Some(votes) = self.role.votes_mut() {
            votes.record(answer.from, granted && !is_forgetful);
        }
        self.campaign.heard(answer.from);
        self.count_votes();
    }

    fn count_votes(&mut self) {
        let result = quorum::vote_result(&self.membership, |node| self.role.vote_of(node));
        match (result, self.role.kind()) {
            (VoteResult::Won, Role::PreCandidate) => self.campaign(),
            // No vote is requested before the own vote is durable. Votes that are here nevertheless
            // wait for it.
            (VoteResult::Won, Role::Candidate) if !self.own_vote_is_pending() => {
                self.become_leader()
            }
            (VoteResult::Lost, _) => self.become_follower(None),
            _ => {}
        }
    }

    fn become_leader(&mut self) {
        assert!(
            self.is_candidate() && self.terms.is_durable(),
            "a {:?} leads term {} with {:?} durable",
            self.role.kind(),
            self.terms.term(),
            self.terms.durable()
        );
        self.counters.elections_won += 1;
        let next = self.log.last_index() + 1;
        let own = self.config.node;
        let others = self.membership.all().into_iter().filter(|&node| node != own);
        let leading = Leading::new(others, next, self.now);
        self.agreement.agree(next - 1, next - 1);
        self.campaign.reset();
        self.withdraw_install_as_leader();
        self.role = RoleState::Leader(Box::new(leading));
        if self.config.noop_on_election {
            let log_id = LogId::new(self.terms.term(), next);
            self.append_entry(Entry {
                log_id,
                kind: EntryKind::Blank,
                stamp_ms: 0,
                data: Default::default(),
            });
            self.agreement.agree(next, next);
        }
    }
}

pub(super) fn other_voters(membership: &Membership, own: NodeId) -> BTreeSet<NodeId> {
    let voters = membership.voters.union(&membership.voters_outgoing);
    voters.copied().filter(|&node| node != own).collect()
}
