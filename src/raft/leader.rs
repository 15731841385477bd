//! A leader's half of log replication: proposals, sending, answers, commit (Raft §5.3, §5.4.2).
//!
//! Nothing is sent while inputs come in; [`replicate`](Raft::replicate) runs once per `ready`, so all proposals of
//! a drained mailbox leave in one AppendEntries a member. The disk works in parallel: the leader counts its own
//! entries only once they are durable (PS03).

use std::sync::Arc;

use bytes::Bytes;

use super::Refusal;
use super::core::Raft;
use super::message::{
    Append, AppendAnswer, AppendOutcome, Envelope, FollowerReport, InstallStatus, Request,
};
use super::progress::ProgressState;
use super::quorum;
use super::ready::{LogRead, LogReadOutcome, ReadPurpose, Role};
use super::types::{Entry, EntryKind, Index, LogId, Micros, NodeId};

impl Raft {
    /// Appends a command, if this node leads and has room for it. `stamp_ms` is the wall clock, in milliseconds since 1970.
    pub fn propose(&mut self, now: Micros, stamp_ms: u64, data: Bytes) -> Result<LogId, Refusal> {
        self.advance(now);
        if self.role != Role::Leader {
            return Err(Refusal::NotLeader(self.leader));
        }
        let log_id = LogId::new(self.hard_state.term, self.log.last_index() + 1);
        let entry = Entry { log_id, kind: EntryKind::Command, stamp_ms, data };
        if !self.has_room(entry.size_bytes() as u64) {
            return Err(Refusal::Busy);
        }
        self.append_entry(entry);
        self.verified = log_id.index;
        Ok(log_id)
    }

    fn has_room(&self, size_bytes: u64) -> bool {
        let uncommitted = self.log.uncommitted_bytes();
        let fits =
            uncommitted == 0 || uncommitted + size_bytes <= self.config.uncommitted_bytes as u64;
        fits && !self.log_is_full() && !self.must_slow_down()
    }

    /// Whether what is committed fills the log: a snapshot must make room first.
    pub(super) fn log_is_full(&self) -> bool {
        let committed = self.log.bytes() - self.log.uncommitted_bytes();
        self.config.committed_bytes_max().is_some_and(|max| committed >= max as u64)
    }

    // ---- time ----------------------------------------------------------------------------

    pub(super) fn tick_leader(&mut self) {
        if self.disk_hangs() {
            tracing::warn!(node = self.config.node, "the disk hangs: stepping down");
            return self.step_down();
        }
        if !self.hears_quorum() {
            tracing::info!(
                node = self.config.node,
                term = self.hard_state.term,
                "no quorum answers: stepping down"
            );
            return self.step_down();
        }
        for progress in self.progress.values_mut() {
            progress.expire(self.now, self.config.request_timeout);
        }
        self.expire_transfers();
    }

    /// Check-quorum: whether a quorum has answered within an election timeout (EL18).
    fn hears_quorum(&self) -> bool {
        let since = self.now.saturating_sub(self.config.election_timeout_max);
        let own = self.config.node;
        quorum::is_quorum(&self.membership, |node| {
            node == own
                || self.progress.get(&node).is_some_and(|progress| progress.answered_at >= since)
        })
    }

    /// Stops leading without a higher term; whoever waits goes on waiting for what becomes of the entries.
    fn step_down(&mut self) {
        self.become_follower(None);
    }

    // ---- sending -------------------------------------------------------------------------

    pub(super) fn replicate(&mut self) {
        let confirm = self.begin_read_round();
        let members: Vec<NodeId> = self.progress.keys().copied().collect();
        let mut shared = None;
        for to in members {
            while self.send_entries(to, &mut shared) {}
            self.go_on_with_transfer(to);
            self.send_heartbeat_if_due(to, confirm);
        }
    }

    /// Sends one AppendEntries with entries, if there is something to send and room; whether there may be more. Members
    /// that stand at the same place are sent the same `shared` entries, not copies.
    fn send_entries(&mut self, to: NodeId, shared: &mut Option<Arc<[Entry]>>) -> bool {
        let (now, last) = (self.now, self.log.last_index());
        let config = &self.config;
        let Some(progress) = self.progress.get_mut(&to) else { return false };
        let probing = matches!(progress.state, ProgressState::Probe { .. });
        let idle =
            progress.next > last && !(probing && !progress.has_answered && progress.sent_at == 0);
        if idle
            || progress.read.is_some()
            || now < progress.retry_at
            || !progress.window_open(config.window_messages, config.window_bytes)
        {
            return false;
        }
        let next = progress.next;
        if next <= self.log.start().index {
            self.begin_transfer(to);
            return false;
        }
        if next > last {
            self.send_append(to, Arc::default());
            return false;
        }
        if shared.as_ref().is_none_or(|entries| entries[0].log_id.index != next) {
            let cached = self.log.cached(next, last, config.append_bytes, config.append_entries);
            *shared = cached.map(Arc::from);
        }
        match shared {
            Some(entries) => {
                let entries = entries.clone();
                self.send_append(to, entries);
                true
            }
            None => {
                self.read_for(to, next, last);
                false
            }
        }
    }

    fn send_append(&mut self, to: NodeId, entries: Arc<[Entry]>) {
        let Some(progress) = self.progress.get(&to) else { return };
        let prev = self.log.id_at(progress.next - 1);
        let last = prev.index + entries.len() as u64;
        let bytes = entries.iter().map(Entry::size_bytes).sum();
        let append = self.append_message(prev, entries);
        let id = self.ask(to, append);
        if let Some(progress) = self.progress.get_mut(&to) {
            progress.on_sent(id, last, bytes, self.now);
        }
    }

    fn append_message(&self, prev: LogId, entries: Arc<[Entry]>) -> Request {
        let commit = self.log.commit();
        let vouched = commit.min(prev.index + entries.len() as u64);
        Request::Append(Append {
            prev,
            entries,
            commit: vouched,
            leader_last: self.log.last_index(),
            round: self.round,
        })
    }

    /// A heartbeat names an entry that the member is known to hold, never the optimistic next (LR13). Any request
    /// serves as one, so it is due only to members that have been sent nothing for an interval; `confirm` asks all.
    fn send_heartbeat_if_due(&mut self, to: NodeId, confirm: bool) {
        let round = self.round;
        let Some(progress) = self.progress.get_mut(&to) else { return };
        let due = self.now.saturating_sub(progress.sent_at) >= self.config.heartbeat_interval;
        if !(due || confirm && progress.round < round) {
            return;
        }
        progress.sent_at = self.now;
        let matched = progress.matched;
        let prev = self.log.term_at(matched).map_or(LogId::BASE, |term| LogId::new(term, matched));
        let heartbeat = self.append_message(prev, Arc::default());
        self.ask(to, heartbeat);
    }

    fn read_for(&mut self, to: NodeId, first: Index, last: Index) {
        let id = self.next_read;
        self.next_read += 1;
        if let Some(progress) = self.progress.get_mut(&to) {
            progress.read = Some((id, first));
        }
        let last = last
            .min(first + self.config.append_entries.max(1) as u64 - 1)
            .min(self.log.persisted());
        let max_bytes = self.config.append_bytes;
        self.out.reads.push(LogRead {
            id,
            first,
            last,
            max_bytes,
            purpose: ReadPurpose::Member(to),
        });
    }

    /// Entries asked for in `Ready::reads` are here, or are no longer to be had.
    pub fn log_read(&mut self, now: Micros, id: u64, outcome: LogReadOutcome) {
        self.advance(now);
        if self.apply_read.is_some_and(|(wanted, _)| wanted == id) {
            return self.on_apply_read(outcome);
        }
        let waiting = self.progress.iter().find_map(|(&node, progress)| match progress.read {
            Some((wanted, first)) if wanted == id => Some((node, first)),
            _ => None,
        });
        let Some((to, first)) = waiting else { return };
        let Some(progress) = self.progress.get_mut(&to) else { return };
        progress.read = None;
        let open = progress.window_open(self.config.window_messages, self.config.window_bytes);
        if progress.next != first || !open || first <= self.log.start().index {
            return;
        }
        // A purge, or anything else that made the answer old, shows at the next turn.
        if let LogReadOutcome::Entries(entries) = outcome
            && self.log.agrees_with(first, &entries)
        {
            self.send_append(to, entries.into());
        }
    }

    // ---- answers -------------------------------------------------------------------------

    pub(super) fn on_append_answer(&mut self, envelope: &Envelope, answer: AppendAnswer) {
        if !self.on_report(envelope, &answer.report) {
            return;
        }
        let now = self.now;
        let Some(progress) = self.progress.get_mut(&envelope.from) else { return };
        match answer.outcome {
            AppendOutcome::Accepted => progress.on_matched(answer.report.matched, envelope.id),
            AppendOutcome::Rejected { refused, hint } => self.on_reject(envelope, refused, hint),
            AppendOutcome::Busy => {
                progress.become_probe();
                progress.retry_at = now + self.config.heartbeat_interval;
            }
            // The member's term is the own one by now, so the answer is an old one.
            AppendOutcome::Stale => {}
        }
        self.look_at_transfer(envelope.from);
        self.advance_commit();
    }

    /// What every answer says about its sender; `false` if there is nothing to make of it.
    pub(super) fn on_report(&mut self, envelope: &Envelope, report: &FollowerReport) -> bool {
        let last = self.log.last_index();
        let Some(progress) = self.progress.get_mut(&envelope.from) else {
            self.ignore(envelope, "an answer for a leader");
            return false;
        };
        if report.matched > last || report.round > self.round {
            self.ignore(envelope, "claims more than there is");
            return false;
        }
        if envelope.incarnation > progress.incarnation {
            let known = progress.incarnation != 0;
            progress.incarnation = envelope.incarnation;
            if known {
                // It has been restarted: what was under way is lost.
                progress.install = InstallStatus::None;
                progress.become_probe();
            }
        }
        progress.has_answered = true;
        progress.answered_at = self.now;
        // One that lost something may have forgotten its vote for a newer leader: its word confirms no read (PS20).
        if !report.recovering && progress.distrusted_until.is_none() {
            progress.round = progress.round.max(report.round);
        }
        progress.install = report.install;
        progress.recovering = report.recovering;
        if report.matched > progress.matched {
            progress.matched = report.matched;
            progress.matched_in = Some(envelope.incarnation);
            progress.next = progress.next.max(report.matched + 1);
        }
        self.confirm_reads();
        true
    }

    /// The member's log does not hold what the request went on from (B21).
    fn on_reject(&mut self, envelope: &Envelope, refused: Index, hint: LogId) {
        let found = self.log.last_not_above(hint.index, hint.term);
        let Some(progress) = self.progress.get_mut(&envelope.from) else { return };
        if refused <= progress.matched {
            return self.on_lost_acknowledged(envelope, refused);
        }
        let stale = match &progress.state {
            ProgressState::Probe { outstanding } => {
                outstanding.is_none_or(|(id, _)| id != envelope.id)
            }
            ProgressState::Replicate { inflight } => {
                inflight.iter().all(|sent| sent.id != envelope.id)
            }
            ProgressState::Snapshot(_) => true,
        };
        if !stale {
            // A log start that the hint lies before is no agreement: a snapshot is needed.
            let agreed = if found.index > hint.index { hint.index } else { found.index };
            let next = (agreed + 1).min(refused);
            progress.become_probe_at(next.max(1));
        }
    }

    /// A reject at or below what the member had acknowledged. From an earlier life of the member, or late, it means
    /// nothing; from a new life it means that the member lost what it had promised to keep (LR14, PS20).
    fn on_lost_acknowledged(&mut self, envelope: &Envelope, refused: Index) {
        let commit = self.log.commit();
        let Some(progress) = self.progress.get_mut(&envelope.from) else { return };
        let first_life = progress.matched_in.is_none_or(|life| life == envelope.incarnation);
        if first_life {
            return;
        }
        let matched = progress.matched;
        progress.matched = 0;
        progress.matched_in = None;
        progress.distrusted_until = Some(commit.max(matched));
        progress.become_probe_at(refused);
        self.alarm(format!(
            "node {} had acknowledged {matched} and after a restart does not hold {refused}",
            envelope.from
        ));
    }

    // ---- commit --------------------------------------------------------------------------

    /// Commits what a quorum holds durably, if it is of the own term; that commits all before it (Raft §5.4.2, LR01).
    pub(super) fn advance_commit(&mut self) {
        let (own, persisted) = (self.config.node, self.log.persisted());
        let reached = quorum::reached_by_quorum(&self.membership, |node| {
            if node == own {
                persisted
            } else {
                self.progress.get(&node).map_or(0, |progress| progress.counted())
            }
        });
        let own_term = reached >= self.term_start;
        if own_term && reached > self.log.commit() {
            self.log.commit_to(reached);
            self.confirm_reads();
        }
    }
}
