//! What a leader sends to its members, and when: entries, heartbeats, notices of a commit.
//!
//! Nothing is sent while inputs are handled. [`replicate`](Raft::replicate) runs once per `ready`,
//! so all proposals of a batch of inputs leave in one AppendEntries per member. Settings delay it,
//! to gather more proposals:
//!
//! - `batch_delay`: the first proposal waits this long for others.
//! - `append_interval`: the least time between two small messages to one member. It does not apply
//!   if the member has acknowledged everything sent and proposals come one at a time, each right
//!   after the commit of the one before: no other proposal would join them.
//! - `window_messages`: the most messages in flight to a member. Later proposals leave with the
//!   next message.
//!
//! A member that has not answered in time gets no entries until it answers. It gets a request
//! without entries, to learn whether it is reachable and which entries it holds: at once, then when
//! there are new entries for it (if it has answered this leader before), and otherwise at the usual
//! heartbeat times. Members that can't derive a commit by themselves are sent it after
//! `commit_notice`, unless another message has carried it by then.
//!
//! Snapshots are sent in `transfer.rs`; answers are handled in `leader.rs`.

use super::core::Raft;
use super::log::Entries;
use super::message::{Append, Request};
use super::ready::{LogRead, LogReadOutcome, ReadPurpose};
use super::state::{Leading, Progress, ProgressState, quorum};
use super::types::{Index, LogId, Micros, NodeId};

impl Raft {
    pub(super) fn replicate(&mut self) {
        let confirm = self.begin_read_round();
        if let Some(leading) = self.role.leading_mut() {
            leading.batching.expire(self.now);
        }
        self.tell_of_commit();
        let members: Vec<NodeId> = self.role.members().map(|(node, _)| node).collect();
        let mut shared = None;
        for to in members {
            while self.send_entries(to, &mut shared) {}
            self.go_on_with_transfer(to);
            self.send_heartbeat_if_due(to, confirm);
        }
        self.alternate_heartbeats();
    }

    // ---- entries -------------------------------------------------------------------------

    /// When the next AppendEntries may leave for a member. `None` if there is nothing to send, or
    /// an answer has to come first.
    pub(super) fn entries_due_at(&self, leading: &Leading, progress: &Progress) -> Option<Micros> {
        let (config, last) = (&self.config, self.log.last_index());
        let probing = matches!(progress.state, ProgressState::Probe { .. });
        let agreed = !probing || progress.matched + 1 >= progress.next;
        let open = progress.window_open(config.window_messages, config.window_bytes);
        if !open || progress.read.is_some() || agreed && progress.next > last {
            return None;
        }
        if progress.unresponsive {
            let news = progress.has_answered && last > progress.asked_at_last;
            return news
                .then_some(progress.retry_at.max(progress.sent_at + config.request_timeout));
        }
        let spaced = progress.entries_sent_at.filter(|_| !probing);
        let spaced = spaced.filter(|_| !(leading.batching.is_lone() && progress.is_idle()));
        let spaced = spaced.map_or(0, |sent_at| sent_at + config.append_interval);
        let spaced = if spaced > self.now && self.has_few_for(progress) { spaced } else { 0 };
        let waits = progress.next <= last;
        let batched = if waits { leading.batching.waits_until(progress.next) } else { 0 };
        Some(progress.retry_at.max(spaced).max(batched))
    }

    /// Whether the entries that the member lacks do not fill an AppendEntries. Looks at no more
    /// entries than one holds, however far the member is behind: this runs at every call of
    /// `ready`.
    fn has_few_for(&self, progress: &Progress) -> bool {
        let (bytes, entries) = (self.config.append_bytes, self.config.append_entries as u64);
        let before = progress.next - 1;
        let lacking = self.log.last_index() - before;
        lacking < entries && self.log.bytes_between(before, self.log.last_index()) < bytes as u64
    }

    /// Sends one AppendEntries, if one is due. Returns whether there may be more. Members with the
    /// same `next` get the same `shared` entries, not copies.
    fn send_entries(&mut self, to: NodeId, shared: &mut Option<Entries>) -> bool {
        let (now, last) = (self.now, self.log.last_index());
        let Some(leading) = self.role.leading() else { return false };
        let Some(progress) = leading.progress(to) else { return false };
        if self.entries_due_at(leading, progress).is_none_or(|at| now < at) {
            return false;
        }
        let next = progress.next;
        let last_joined = leading.batching.last_with(next, last);
        if progress.unresponsive {
            self.ask_whether_there(to, last);
            return false;
        }
        if next <= self.log.start().index {
            self.begin_transfer(to);
            return false;
        }
        if next > last {
            self.send_append(to, Entries::new());
            return false;
        }
        let last = last_joined;
        let (bytes, count) = (self.config.append_bytes, self.config.append_entries);
        if shared.as_ref().is_none_or(|entries| entries[0].log_id.index != next) {
            *shared = self.log.cached(next, last, bytes, count);
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

    fn ask_whether_there(&mut self, to: NodeId, last: Index) {
        if let Some(progress) = self.role.progress_mut(to) {
            progress.asked_at_last = last;
            progress.call(self.now);
        }
    }

    fn send_append(&mut self, to: NodeId, entries: Entries) {
        let Some(progress) = self.role.progress(to) else { return };
        let prev = self.log.id_at(progress.next - 1);
        let last = prev.index + entries.len() as u64;
        let bytes = self.log.bytes_between(prev.index, last) as usize;
        let append = self.append_message(to, prev, entries);
        let id = self.ask(to, append);
        if let Some(progress) = self.role.progress_mut(to) {
            progress.on_sent(id, last, bytes, self.now);
        }
    }

    fn append_message(&mut self, to: NodeId, prev: LogId, entries: Entries) -> Request {
        let commit = self.log.commit().min(prev.index + entries.len() as u64);
        let mut leader_durable = self.log.persisted();
        if let Some(progress) = self.role.progress_mut(to) {
            if !progress.counts() {
                leader_durable = 0;
            }
            progress.sent_commit = progress.sent_commit.max(commit);
            progress.told_durable = leader_durable;
        }
        let (leader_last, round) = (self.log.last_index(), self.round);
        Request::Append(Append { prev, entries, commit, leader_last, leader_durable, round })
    }

    // ---- heartbeats ----------------------------------------------------------------------

    /// Schedules a heartbeat to `node` at `at`, unless one is due earlier.
    pub(super) fn call(&mut self, node: NodeId, at: Micros) {
        if let Some(progress) = self.role.progress_mut(node) {
            progress.call(at);
        }
    }

    /// Sends a heartbeat if one is due. Its `prev` is an entry that the member is known to hold,
    /// never the optimistic `next` (LR13). `confirm` asks all members that have not been asked in
    /// this round.
    fn send_heartbeat_if_due(&mut self, to: NodeId, confirm: bool) {
        let (now, round) = (self.now, self.round);
        let Some(progress) = self.role.progress(to) else { return };
        let due = now >= progress.heartbeat_due_at(self.config.heartbeat_interval);
        if due || confirm && progress.round < round {
            self.send_heartbeat(to);
        }
    }

    fn send_heartbeat(&mut self, to: NodeId) {
        let Some(progress) = self.role.progress(to) else { return };
        if progress.unresponsive && progress.next > self.log.start().index {
            return self.send_append(to, Entries::new());
        }
        let matched = progress.matched;
        let prev = self.log.term_at(matched).map_or(LogId::BASE, |term| LogId::new(term, matched));
        let heartbeat = self.append_message(to, prev, Entries::new());
        let id = self.ask(to, heartbeat);
        if let Some(progress) = self.role.progress_mut(to) {
            progress.on_heartbeat_sent(id, self.now);
        }
    }

    /// When the next heartbeat is due that keeps enough members informed of this leader: so many
    /// that the others cannot form a quorum. Only if the election timeout is shorter than two
    /// heartbeat intervals. It is due half an interval after the latest time since which requests
    /// have been sent to a quorum. Members hear of the leader in turn, each once an interval, so
    /// after a pause of the leader some of them still follow it.
    pub(super) fn alternate_due_at(&self) -> Option<Micros> {
        let (own, config) = (self.config.node, &self.config);
        if config.election_timeout_min >= 2 * config.heartbeat_interval {
            return None;
        }
        let told_at = quorum::reached_by_quorum(&self.membership, |node| match node {
            _ if node == own => Micros::MAX,
            _ => self.role.progress(node).map_or(Micros::MAX, |progress| progress.sent_at),
        });
        (told_at < Micros::MAX).then(|| told_at + config.heartbeat_interval / 2)
    }

    fn alternate_heartbeats(&mut self) {
        for _ in 0..self.others {
            if self.alternate_due_at().is_none_or(|at| self.now < at) {
                return;
            }
            let voters = self.role.members().filter(|(node, _)| self.membership.is_voter(*node));
            let quietest = voters.min_by_key(|(_, progress)| progress.sent_at);
            if let Some((to, _)) = quietest {
                self.send_heartbeat(to);
            }
        }
    }

    /// Schedules a commit notice for members that hold a committed entry and can't derive its
    /// commit.
    fn tell_of_commit(&mut self) {
        let Some(delay) = self.config.commit_notice else { return };
        let (own, commit, at) = (self.config.node, self.log.commit(), self.now + delay);
        let last = self.log.last_index();
        let Some(leading) = self.role.leading_mut() else { return };
        let term_start = leading.term_start();
        for (node, progress) in leading.members_mut() {
            let pair = quorum::is_quorum_of_two(&self.membership, own, node);
            let both = progress.told_durable.min(progress.matched);
            let knows_itself = if pair && both >= term_start { both } else { 0 };
            let untold = progress.sent_commit.max(knows_itself) < commit.min(progress.matched);
            // Otherwise the entries that are still to be sent, or sent again, carry the commit
            // index.
            if untold && progress.matched == last {
                progress.call(at);
            }
        }
    }

    // ---- reads ---------------------------------------------------------------------------

    fn read_for(&mut self, to: NodeId, first: Index, last: Index) {
        let id = self.numbers.take_log_read();
        if let Some(progress) = self.role.progress_mut(to) {
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

    /// Entries that `Ready::reads` asked for were read, or have been compacted.
    pub fn log_read(&mut self, now: Micros, id: u64, outcome: LogReadOutcome) {
        self.input(now, |raft| raft.on_log_read(id, outcome));
    }

    fn on_log_read(&mut self, id: u64, outcome: LogReadOutcome) {
        if self.apply_window.read() == Some(id) {
            return self.on_apply_read(outcome);
        }
        let waiting = self.role.members().find_map(|(node, progress)| match progress.read {
            Some((wanted, first)) if wanted == id => Some((node, first)),
            _ => None,
        });
        let Some((to, first)) = waiting else { return };
        let Some(progress) = self.role.progress_mut(to) else { return };
        progress.read = None;
        let open = progress.window_open(self.config.window_messages, self.config.window_bytes);
        if progress.next != first || !open || first <= self.log.start().index {
            return;
        }
        // If a purge or another change made the result obsolete, the next `ready` reads again or
        // sends a snapshot.
        if let LogReadOutcome::Entries(entries) = outcome
            && self.log.agrees_with(first, &entries)
        {
            self.send_append(to, entries);
        }
    }
}
