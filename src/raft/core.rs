//! One peer's protocol state, and what its rules share: inputs, terms and roles. The rules are in
//! files of their own, one idea each; the table of the [module](super) lists them.

use super::config::RaftConfig;
use super::log::RaftLog;
use super::message::*;
use super::random::Random;
use super::ready::*;
use super::state::{
    Agreement, ApplyWindow, Campaign, ElectionTimer, Numbers, PeerRecords, RoleState, Snapshots,
    Steps, Terms,
};
use super::types::*;
use super::{Counters, RaftStatus};
use super::{compaction::Building, install::InstallSlot};
use super::{known_peers::Claims, recovering::RecoveryQuery};

/// One peer's protocol state. See the [module](super) for how to drive it.
///
/// Invariants, asserted after every input, each in constant time:
/// - the log's positions are in order (`log/`)
/// - the snapshot is between the log's start and the last index dispatched to the state machine
/// - the parts of the state hold their own invariants (`state/`)
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    pub(super) config: RaftConfig,
    pub(super) incarnation: Incarnation,
    pub(super) random: Random,
    /// The latest time of any input.
    pub(super) now: Micros,

    pub(super) terms: Terms,
    pub(super) log: RaftLog,
    pub(super) snapshots: Snapshots,
    pub(super) membership: Membership,
    /// The number of other members.
    pub(super) others: usize,
    pub(super) peers: PeerRecords,

    pub(super) role: RoleState,
    /// Role, term and leader of the last event about them.
    announced: (Role, Term, Option<NodeId>),
    pub(super) timer: ElectionTimer,
    pub(super) campaign: Campaign,
    /// The incarnation record: this incarnation, and its data loss, if any (PS20).
    pub(super) life: Life,
    pub(super) recovery_query: RecoveryQuery,
    pub(super) claims: Claims,

    pub(super) agreement: Agreement,
    pub(super) install: InstallSlot,
    /// Set if the last offer was refused; reported until the leader's next chunk or term.
    pub(super) refused_at_commit: Option<Index>,
    /// The last snapshot that this build could not decode.
    pub(super) undecodable: Option<LogId>,

    /// The last round of requests that confirms reads. It rises as long as this incarnation runs,
    /// so that no answer to a request of an earlier term confirms a read.
    pub(super) round: u64,

    pub(super) apply_window: ApplyWindow,
    pub(super) building: Building,

    pub(super) steps: Steps,
    pub(super) numbers: Numbers,

    pub(super) out: Ready,
    pub(super) counters: Counters,
}

impl Raft {
    /// A peer that starts as a follower, from what storage recovered.
    pub fn new(config: RaftConfig, recovered: Recovered, now: Micros) -> Raft {
        let snapshot_index = recovered.snapshot.as_ref().map_or(0, |meta| meta.log_id.index);
        let membership =
            recovered.snapshot.as_ref().map_or(recovered.base, |meta| meta.membership.clone());
        let log = RaftLog::new(recovered.log, snapshot_index, config.log_cache_bytes);
        let mut raft = Raft {
            random: Random::of([
                config.seed,
                config.node,
                start_number(recovered.life.incarnation),
            ]),
            incarnation: recovered.life.incarnation,
            now,
            terms: Terms::new(recovered.hard_state, now),
            agreement: Agreement::new(snapshot_index),
            log,
            snapshots: Snapshots::new(recovered.snapshot),
            others: 0,
            membership,
            peers: PeerRecords::new(recovered.known_peers, now),
            role: RoleState::Follower { leader: None },
            announced: (Role::Follower, 0, None),
            timer: ElectionTimer::default(),
            campaign: Campaign::default(),
            life: recovered.life,
            recovery_query: RecoveryQuery::default(),
            claims: Claims { doubted_at: now, ..Claims::default() },
            install: InstallSlot::None,
            refused_at_commit: None,
            undecodable: None,
            round: 0,
            apply_window: ApplyWindow::default(),
            building: Building::default(),
            steps: Steps::default(),
            numbers: Numbers::new(),
            out: Ready::default(),
            counters: Counters::default(),
            config,
        };
        raft.set_membership(raft.membership.clone());
        raft.building = Building::new(&mut raft.random);
        let wait = raft.random.between(0, raft.election_spread());
        raft.timer.restart(now + wait);
        raft.counters.max_log_bytes = raft.log.bytes();
        raft
    }

    /// Handles a message from another member. An invalid message is counted and ignored.
    pub fn step(&mut self, now: Micros, envelope: Envelope) {
        self.input(now, |raft| {
            if let Err(why) = raft.admit(&envelope) {
                return raft.ignore(&envelope, why);
            }
            if raft.is_identified(&envelope) && raft.reconcile_term(&envelope) {
                raft.handle_message(envelope);
            }
        });
    }

    /// Lets time pass: timeouts are compared with `now`, however late the call comes.
    pub fn tick(&mut self, now: Micros) {
        self.input(now, |raft| {
            raft.expire_receiving();
            raft.tick_recovering();
            match raft.role.kind() {
                Role::Leader => raft.tick_leader(),
                _ if raft.now >= raft.timer.ends_at() => raft.election_timeout(),
                _ => raft.ask_again(),
            }
        });
    }

    /// Durable step `seq` is complete, as are all steps before it.
    pub fn persisted(&mut self, now: Micros, seq: u64) {
        self.input(now, |raft| {
            let mark = raft.steps.complete(seq);
            raft.on_persisted(mark);
        });
    }

    /// The transport reports that it could not deliver a request.
    pub fn undelivered(&mut self, now: Micros, to: NodeId, id: RequestId) {
        self.input(now, |raft| {
            let retry_at = raft.now + raft.config.retry_interval;
            match raft.role.progress_mut(to) {
                Some(progress) => progress.on_undelivered(id, retry_at),
                None => raft.on_question_undelivered(to, id),
            }
        });
    }

    /// Returns the work to do now. Each item is returned once.
    pub fn ready(&mut self) -> Ready {
        if self.role.is_leader() {
            self.replicate();
        }
        self.dispatch_committed();
        self.trigger_snapshot();
        self.purge_released();
        self.close_step();
        self.announce_role();
        self.check();
        std::mem::take(&mut self.out)
    }

    /// The current state, as a new value.
    pub fn status(&self) -> RaftStatus {
        let mut status = RaftStatus::default();
        self.show_status(&mut status);
        status
    }

    /// As [`Raft::status`], written over an earlier status of this peer, or the default. The
    /// members are copied only if the snapshot changed: only a snapshot changes them.
    pub fn show_status(&self, status: &mut RaftStatus) {
        let shown = status.snapshot == self.snapshot_id() && !status.membership.voters.is_empty();
        let membership = match shown {
            true => std::mem::take(&mut status.membership),
            false => self.membership.clone(),
        };
        *status = RaftStatus {
            role: self.role.kind(),
            term: self.terms.term(),
            vote: self.terms.vote(),
            leader: self.leader(),
            last: self.log.last(),
            persisted: self.log.persisted(),
            commit: self.log.commit(),
            dispatched: self.log.dispatched(),
            applied: self.log.applied(),
            snapshot: self.snapshot_id(),
            log_start: self.log.start(),
            log_bytes: self.log.bytes(),
            install: self.install_status(),
            undecodable: self.needed_and_undecodable(),
            recovering: self.is_recovering(),
            waits_for: self.missing_answers(),
            membership,
            counters: self.counters,
        };
    }

    /// Role, term and leader.
    pub fn role(&self) -> (Role, Term, Option<NodeId>) {
        (self.role.kind(), self.terms.term(), self.leader())
    }

    /// The leader of the current term, if known.
    pub fn leader(&self) -> Option<NodeId> {
        match self.role {
            RoleState::Follower { leader } => leader,
            RoleState::PreCandidate(_) | RoleState::Candidate(_) => None,
            RoleState::Leader(_) => Some(self.config.node),
        }
    }

    /// The counts since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    // ---- time and terms ------------------------------------------------------------------

    pub(super) fn advance(&mut self, now: Micros) {
        self.now = self.now.max(now);
    }

    /// Handles one input at time `now`, then checks the invariants. All public functions that
    /// change the state go through this one, except [`Raft::ready`].
    pub(super) fn input<R>(&mut self, now: Micros, handle: impl FnOnce(&mut Raft) -> R) -> R {
        self.advance(now);
        let result = handle(self);
        self.check();
        result
    }

    /// Whether the message is valid and addressed to this member.
    fn admit(&self, envelope: &Envelope) -> Result<(), &'static str> {
        if envelope.cluster != self.config.cluster || envelope.group != 0 {
            return Err("of another cluster");
        }
        if envelope.to != self.config.node {
            return Err("for another member");
        }
        if envelope.from == self.config.node || !self.membership.contains(envelope.from) {
            return Err("not from another member");
        }
        if envelope.impossible_field().is_some() {
            return Err("a number that no member can have reached");
        }
        match &envelope.body {
            Body::Answer { asker_incarnation, .. } if *asker_incarnation != self.incarnation => {
                Err("answers an earlier incarnation")
            }
            Body::Answer { answer, .. } if !self.has_asked(envelope, answer) => {
                Err("answers nothing that was asked of its sender")
            }
            _ => Ok(()),
        }
    }

    fn handle_message(&mut self, envelope: Envelope) {
        match &envelope.body {
            Body::Request(Request::PreVote { campaign_term, last }) => {
                self.on_pre_vote(&envelope, *campaign_term, *last);
            }
            Body::Request(Request::Vote { last }) => self.on_vote(&envelope, *last),
            Body::Request(Request::Append(append)) => self.on_append(&envelope, append),
            Body::Request(Request::Snapshot(chunk)) => self.on_chunk(&envelope, chunk),
            Body::Request(Request::Identify(known)) => self.on_identify(&envelope, *known),
            Body::Request(Request::RecoveryQuery) => self.on_recovery_query(&envelope),
            Body::Answer { answer, .. } => match *answer {
                Answer::PreVote { campaign_term, granted } => {
                    self.on_pre_vote_answer(&envelope, campaign_term, granted);
                }
                Answer::Vote { granted, held } => self.on_vote_answer(&envelope, granted, held),
                Answer::Append(answer) => self.on_append_answer(&envelope, answer),
                Answer::Snapshot(answer) => self.on_chunk_answer(&envelope, answer),
                Answer::Identify { .. } => self.on_identified(&envelope),
                Answer::RecoveryQuery { last, leads } => {
                    self.on_recovery_answer(&envelope, leads.then_some(last));
                }
            },
        }
    }

    /// Follows in the current term.
    pub(super) fn become_follower(&mut self, leader: Option<NodeId>) {
        self.fail_reads();
        if !self.role.is_follower() {
            self.reset_election_timer();
        }
        self.role = RoleState::Follower { leader };
    }

    fn announce_role(&mut self) {
        let (role, term, leader) = self.role();
        if self.announced != (role, term, leader) {
            self.announced = (role, term, leader);
            self.out.events.push(Event::RoleChanged { role, term, leader });
        }
    }

    /// A request of the term's leader has come: it is the leader, and it is alive.
    pub(super) fn hear_leader(&mut self, leader: NodeId) -> Result<(), &'static str> {
        if self.role.is_leader() {
            self.alarm(format!("node {leader} leads in term {} as well", self.terms.term()));
            return Err("a second leader in the own term");
        }
        if let Some(known) = self.leader().filter(|&known| known != leader) {
            let term = self.terms.term();
            self.alarm(format!("two leaders in term {term}: {known} and {leader}"));
            return Err("another leader in the same term");
        }
        if self.leader().is_none() {
            self.become_follower(Some(leader));
            self.ask_new_leader();
        }
        self.timer.hear_leader(self.now);
        self.campaign.reset();
        self.reset_election_timer();
        Ok(())
    }

    pub(super) fn reset_election_timer(&mut self) {
        let (min, max) = (self.config.election_timeout_min, self.config.election_timeout_max);
        self.timer.restart(self.now + self.random.between(min, max));
    }

    /// A member that starts does not wait for a leader to fall silent. It asks as soon as members
    /// that start with it had a chance to be first. Its request makes a live leader send it a
    /// heartbeat.
    fn election_spread(&self) -> Micros {
        self.config.election_timeout_max - self.config.election_timeout_min
    }

    // ---- invalid messages and alarms -----------------------------------------------------

    /// Counts and logs an invalid message, which has no other effect.
    pub(super) fn ignore(&mut self, envelope: &Envelope, why: &'static str) {
        self.counters.ignored_messages += 1;
        tracing::debug!(
            node = self.config.node,
            from = envelope.from,
            id = envelope.id,
            term = envelope.term,
            "message ignored: {why}"
        );
    }

    /// Raises an alarm: this is impossible in a correct cluster.
    pub(super) fn alarm(&mut self, what: String) {
        self.counters.safety_alarms += 1;
        tracing::error!(
            node = self.config.node,
            term = self.terms.term(),
            "safety alarm, impossible in a correct cluster: {what}"
        );
        self.out.events.push(Event::Alarm(what));
    }

    pub(super) fn snapshot_id(&self) -> LogId {
        self.snapshots.current_id()
    }

    /// The last entry of the current snapshot as far as its record is durable.
    /// [`RaftStatus::snapshot`] may be ahead: a crash can still undo the newest one.
    pub fn durable_snapshot(&self) -> LogId {
        self.snapshots.durable_id()
    }

    /// Asserts the invariants in constant time: it runs after every input.
    fn check(&mut self) {
        self.log.check();
        self.steps.check(self.log.last_index());
        self.apply_window.check(self.log.applied(), self.log.dispatched());
        self.agreement.check(self.log.last_index());
        let (snapshot, start, dispatched) =
            (self.snapshot_id().index, self.log.start().index, self.log.dispatched());
        assert!(
            start <= snapshot && snapshot <= dispatched,
            "snapshot {snapshot} outside {start}..={dispatched}"
        );
        if let Some(leading) = self.role.leading() {
            leading.check(self.others, self.log.last_index(), self.round);
        }
    }
}
