//! A leader's half of log replication: proposals, answers, commit (Raft §5.3, §5.4.2).
//!
//! What is sent, and when, is in `sending.rs`. The leader replicates entries while its own disk
//! writes them: it counts its own entries only once they are durable (PS03).

use bytes::Bytes;

use super::Refusal;
use super::core::Raft;
use super::message::{AppendAnswer, AppendOutcome, Envelope, FollowerReport, InstallStatus};
use super::state::{ProgressState, quorum};
use super::types::{Entry, EntryKind, Index, LogId, Micros, NodeId};

impl Raft {
    /// Appends a command and returns its log id. Refused if this node does not lead or has no room.
    ///
    /// `wall_ms` is the wall clock, in milliseconds since 1970. It stamps only the first command of
    /// a term. Later commands get that stamp plus the time that has passed by `now`. If the wall
    /// clock jumps, stamps are not affected until another leader reads its own clock.
    pub fn propose(&mut self, now: Micros, wall_ms: u64, data: Bytes) -> Result<LogId, Refusal> {
        self.input(now, |raft| raft.on_propose(wall_ms, data))
    }

    fn on_propose(&mut self, wall_ms: u64, data: Bytes) -> Result<LogId, Refusal> {
        let log_id = LogId::new(self.terms.term(), self.log.last_index() + 1);
        let mut entry = Entry { log_id, kind: EntryKind::Command, stamp_ms: 0, data };
        let has_room = self.has_room(entry.size_bytes() as u64);
        let leader = self.leader();
        let Some(leading) = self.role.leading_mut() else {
            return Err(Refusal::NotLeader(leader));
        };
        if !has_room {
            return Err(Refusal::Busy);
        }
        entry.stamp_ms = leading.stamp_ms(self.now, wall_ms);
        let (after_all, config) = (self.log.commit() + 1 == log_id.index, &self.config);
        let soon = config.append_interval / 4;
        leading.batching.proposed(log_id.index, after_all, self.now, soon, config.batch_delay);
        self.append_entry(entry);
        self.agreement.agree(log_id.index, log_id.index);
        Ok(log_id)
    }

    fn has_room(&self, size_bytes: u64) -> bool {
        let uncommitted = self.log.uncommitted_bytes();
        let fits =
            uncommitted == 0 || uncommitted + size_bytes <= self.config.uncommitted_bytes as u64;
        // A slow disk here does not stop the other members from committing, so the bytes that are
        // not durable have a limit of their own.
        let unpersisted = self.log.unpersisted_bytes();
        let disk_full =
            unpersisted > 0 && unpersisted + size_bytes > self.config.unpersisted_bytes as u64;
        fits && !disk_full && !self.log_is_full() && !self.must_slow_down()
    }

    /// Whether committed entries fill the log: only a snapshot can make room.
    pub(super) fn log_is_full(&self) -> bool {
        self.config
            .committed_bytes_max()
            .is_some_and(|max| self.log.committed_bytes() >= max as u64)
    }

    // ---- time ----------------------------------------------------------------------------

    pub(super) fn tick_leader(&mut self) {
        if self.disk_hangs() {
            tracing::warn!(node = self.config.node, "the disk hangs: stepping down");
            return self.step_down();
        }
        if !self.hears_quorum() {
            // No member confirms the pending reads now. New reads are refused until a quorum
            // answers again.
            self.fail_reads();
        }
        if self.config.check_quorum && !self.hears_quorum() {
            tracing::info!(
                node = self.config.node,
                term = self.terms.term(),
                "no quorum answers: stepping down"
            );
            return self.step_down();
        }
        // While a quorum answers, unresponsive members are asked at heartbeats only. If no quorum
        // answers, all of them are asked again as soon as their request expires, before this leader
        // steps down.
        let (own, timeout) = (self.config.node, self.config.request_timeout);
        let answers = |node: NodeId| {
            node == own || self.role.progress(node).is_some_and(|progress| !progress.unresponsive)
        };
        let in_doubt = !quorum::is_quorum(&self.membership, answers);
        for (_, progress) in self.role.members_mut() {
            progress.expire(self.now, timeout, in_doubt);
        }
        self.expire_transfers();
    }

    /// Check-quorum: whether a quorum has answered within the shortest election timeout (EL18).
    /// After that time the others may have elected another leader, and entries proposed here would
    /// be lost.
    pub(super) fn hears_quorum(&self) -> bool {
        self.now <= self.quorum_lost_at()
    }

    /// The last moment at which this leader still hears a quorum, if no further answer arrives.
    pub(super) fn quorum_lost_at(&self) -> Micros {
        let lost_at = self.quorum_heard_at().saturating_add(self.config.election_timeout_min);
        lost_at.max(self.timer.excused_until())
    }

    /// The latest time since which a quorum has answered.
    pub(super) fn quorum_heard_at(&self) -> Micros {
        let own = self.config.node;
        quorum::reached_by_quorum(&self.membership, |node| match node {
            _ if node == own => Micros::MAX,
            _ => self.role.progress(node).map_or(0, |progress| progress.answered_at),
        })
    }

    /// Stops leading without a higher term. Requests that wait for entries go on waiting for their
    /// outcome.
    fn step_down(&mut self) {
        self.become_follower(None);
    }

    // ---- answers -------------------------------------------------------------------------

    pub(super) fn on_append_answer(&mut self, envelope: &Envelope, answer: AppendAnswer) {
        if !self.on_report(envelope, &answer.report) {
            return;
        }
        let now = self.now;
        let Some(progress) = self.role.progress_mut(envelope.from) else { return };
        match answer.outcome {
            AppendOutcome::Accepted => progress.on_matched(answer.report.matched, envelope.id),
            AppendOutcome::Rejected { refused, hint } => self.on_reject(envelope, refused, hint),
            AppendOutcome::Busy => {
                progress.become_probe();
                progress.retry_at = now + self.config.retry_interval;
            }
            // The member's term has reached the own one by now, so this is an old answer.
            AppendOutcome::Stale => {}
        }
        self.look_at_transfer(envelope.from);
        self.advance_commit();
    }

    /// Takes over what every answer says about its sender. Returns `false` if the answer is to be
    /// ignored.
    pub(super) fn on_report(&mut self, envelope: &Envelope, report: &FollowerReport) -> bool {
        let last = self.log.last_index();
        let Some(progress) = self.role.progress_mut(envelope.from) else {
            self.ignore(envelope, "an answer to a leader, and this member does not lead");
            return false;
        };
        if report.matched > last || report.round > self.round {
            self.ignore(envelope, "acknowledges entries that the log does not have");
            return false;
        }
        if envelope.incarnation > progress.incarnation {
            let known = progress.incarnation != 0;
            progress.incarnation = envelope.incarnation;
            if known {
                // It has been restarted: requests in flight are lost.
                progress.become_probe();
                progress.undecodable_transfers = 0;
                progress.forget_undecodable(self.now);
            }
        }
        progress.install = report.install;
        if !matches!(report.install, InstallStatus::Undecodable { .. }) {
            progress.forget_undecodable(self.now);
        }
        progress.recovering = report.recovering;
        progress.has_answered = true;
        progress.unresponsive = false;
        progress.answered_at = self.now;
        // A member that lost data may have forgotten its vote for a newer leader: its answers
        // confirm no reads (PS20).
        if progress.counts() {
            progress.round = progress.round.max(report.round);
        }
        if report.matched > progress.matched {
            progress.undecodable_transfers = 0;
            progress.matched = report.matched;
            progress.matched_in = Some(envelope.incarnation);
            progress.next = progress.next.max(report.matched + 1);
        }
        self.confirm_reads();
        true
    }

    /// The member's log does not hold the request's `prev` (B21).
    fn on_reject(&mut self, envelope: &Envelope, refused: Index, hint: LogId) {
        let found = self.log.last_not_above(hint.index, hint.term);
        let Some(progress) = self.role.progress_mut(envelope.from) else { return };
        if refused <= progress.matched {
            return self.on_lost_acknowledged(envelope, refused);
        }
        let stale = match &progress.state {
            // It answers the outstanding probe, however late it comes.
            ProgressState::Probe { outstanding } => {
                outstanding.is_none_or(|(id, _)| id != envelope.id) && refused != progress.next - 1
            }
            ProgressState::Replicate { inflight } => {
                inflight.iter().all(|sent| sent.id != envelope.id)
            }
            ProgressState::Snapshot(_) => true,
        };
        if !stale {
            // If the hint lies before the log's start, `found` is the start, on which the logs need
            // not agree: the member needs a snapshot.
            let agreed = found.index.min(hint.index);
            let next = (agreed + 1).min(refused);
            progress.become_probe_at(next.max(1));
        }
    }

    /// A reject at or below an index that the member had acknowledged. If it comes from the
    /// incarnation that acknowledged it, it is a late message and means nothing. If it comes from a
    /// new incarnation, the member has lost what it had promised to keep (LR14, PS20).
    fn on_lost_acknowledged(&mut self, envelope: &Envelope, refused: Index) {
        let commit = self.log.commit();
        let Some(progress) = self.role.progress_mut(envelope.from) else { return };
        let first_life = progress.matched_in.is_none_or(|life| life == envelope.incarnation);
        if first_life && !progress.recovering {
            // This leader or an earlier one may nevertheless have a record of an acknowledgement.
            self.remind_if_lacking(envelope.from, refused.saturating_sub(1));
            return;
        }
        let (matched, knows) = (progress.matched, progress.recovering);
        progress.matched = 0;
        progress.matched_in = None;
        progress.distrusted_until = Some(commit.max(matched));
        progress.become_probe_at(refused);
        if knows {
            // The member reports the loss itself, so it does not count already.
            return;
        }
        self.alarm(format!(
            "node {} had acknowledged {matched} and after a restart does not hold {refused}",
            envelope.from
        ));
        self.remind(envelope.from);
    }

    // ---- commit --------------------------------------------------------------------------

    /// Commits what a quorum holds durably, if that is an entry of the own term; all earlier
    /// entries are committed with it (Raft §5.4.2, LR01).
    pub(super) fn advance_commit(&mut self) {
        let (own, persisted) = (self.config.node, self.log.persisted());
        let Some(leading) = self.role.leading_mut() else { return };
        let reached = quorum::reached_by_quorum(&self.membership, |node| match node {
            _ if node == own => persisted,
            _ => leading.progress(node).map_or(0, |progress| progress.counted()),
        });
        let own_term = reached >= leading.term_start();
        if own_term && reached > self.log.commit() {
            self.log.commit_to(reached);
            leading.batching.committed(self.now);
            self.confirm_reads();
        }
    }
}
