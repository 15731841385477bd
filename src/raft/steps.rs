//! Durable steps and messages: what leaves, and when.
//!
//! All changes of durable state between two calls of `ready` form one step. A message that may be
//! sent only after the fsync is *in* the step, so that no driver can send it early
//! (`docs/architecture.md`). Steps complete in the order in which `ready` returned them. A
//! completion counts only for entries that the log still holds (LR25).

use super::core::Raft;
use super::log::Entries;
use super::message::{Answer, Body, Envelope, FollowerReport, Kind, Request, RequestId};
use super::random::Random;
use super::ready::Event;
use super::state::PersistMark;
use super::types::{Entry, Incarnation, Index, NodeId};

/// The number of tag bits in a request's number. The other 48 bits count: enough for a million
/// requests a second for nine years.
const TAG_BITS: u32 = 16;

/// A request's place among the requests of its sender's incarnation.
pub(super) fn place(id: RequestId) -> u64 {
    id >> TAG_BITS
}

impl Raft {
    // ---- messages ------------------------------------------------------------------------

    fn envelope(&self, to: NodeId, id: RequestId, body: Body) -> Envelope {
        Envelope {
            cluster: self.config.cluster,
            group: 0,
            from: self.config.node,
            to,
            incarnation: self.incarnation,
            term: self.terms.term(),
            id,
            body,
        }
    }

    /// Sends at once, or with the step if the term is not durable yet: no message carries a term
    /// that is not durable.
    fn send(&mut self, envelope: Envelope) {
        if envelope.term > self.terms.durable().term {
            self.steps.send(envelope);
        } else {
            self.out.messages.push(envelope);
        }
    }

    /// A new request's number: its place among the requests of this incarnation, and the tag for
    /// its receiver and kind.
    fn request_id(&mut self, to: NodeId, request: &Request) -> RequestId {
        let number = self.numbers.take_request();
        number << TAG_BITS | self.tag(number, to, request.kind())
    }

    /// The tag of a request's number. It prevents a member from answering for another member or
    /// another kind of request: it learns only the tags of requests sent to it.
    pub(super) fn tag(&self, number: u64, to: NodeId, kind: Kind) -> u64 {
        let parts = [self.config.seed ^ self.incarnation, number, to << 3 ^ kind as u64];
        Random::of(parts).between(0, (1 << TAG_BITS) - 1)
    }

    /// Whether this incarnation sent a request of the kind of `answer`, with its number, to the
    /// envelope's sender.
    pub(super) fn has_asked(&self, envelope: &Envelope, answer: &Answer) -> bool {
        let number = place(envelope.id);
        let tag = envelope.id & ((1 << TAG_BITS) - 1);
        number < self.numbers.next_request()
            && tag == self.tag(number, envelope.from, answer.kind())
    }

    /// Sends a request to `to`, as early as the term allows.
    pub(super) fn ask(&mut self, to: NodeId, request: Request) -> RequestId {
        let id = self.request_id(to, &request);
        let envelope = self.envelope(to, id, Body::Request(request));
        self.send(envelope);
        id
    }

    /// Sends a request to `to` once the step being built is durable.
    pub(super) fn ask_after_persist(&mut self, to: NodeId, request: Request) {
        let id = self.request_id(to, &request);
        let envelope = self.envelope(to, id, Body::Request(request));
        self.steps.send(envelope);
    }

    /// Answers as early as the term allows.
    pub(super) fn answer(&mut self, request: &Envelope, answer: Answer) {
        self.answer_to(request.from, request.incarnation, request.id, answer);
    }

    /// Answers once the step being built, and all before it, are durable.
    pub(super) fn answer_after_persist(&mut self, request: &Envelope, answer: Answer) {
        let body = Body::Answer { asker_incarnation: request.incarnation, answer };
        let envelope = self.envelope(request.from, request.id, body);
        self.steps.send(envelope);
    }

    /// Answers a request by its number, when its envelope is not available any more.
    pub(super) fn answer_to(
        &mut self,
        to: NodeId,
        asker_incarnation: Incarnation,
        id: RequestId,
        answer: Answer,
    ) {
        let envelope = self.envelope(to, id, Body::Answer { asker_incarnation, answer });
        self.send(envelope);
    }

    /// The last durable entry that is known to match the leader's log.
    pub(super) fn matched_durable(&self) -> Index {
        self.agreement.matched().min(self.log.persisted())
    }

    /// This node's state, for its leader.
    pub(super) fn report(&self, round: u64) -> FollowerReport {
        FollowerReport {
            matched: self.matched_durable(),
            install: self.install_status(),
            recovering: self.is_recovering(),
            round,
        }
    }

    // ---- durable steps -------------------------------------------------------------------

    pub(super) fn append_entry(&mut self, entry: Entry) {
        self.steps.append_from(entry.log_id.index);
        self.log.append(entry);
        self.note_log_bytes();
    }

    /// Appends another member's entries, whose blocks remain shared.
    pub(super) fn append_entries(&mut self, entries: &Entries) {
        self.steps.append_from(self.log.last_index() + 1);
        self.log.append_all(entries);
        self.note_log_bytes();
    }

    fn note_log_bytes(&mut self) {
        self.counters.max_log_bytes = self.counters.max_log_bytes.max(self.log.bytes());
    }

    /// Removes entries from the log, including those of the step being built.
    pub(super) fn truncate_from(&mut self, from: Index) {
        self.log.truncate_from(from);
        self.steps.truncate(from, self.log.id_at(from - 1));
        self.counters.truncations += 1;
        self.out.events.push(Event::Truncated { from });
    }

    /// Puts the step being built into `out`, if there is anything in it.
    pub(super) fn close_step(&mut self) {
        if let Some(first) = self.steps.take_first() {
            self.steps.change().append = self.log.tail_from(first);
        }
        if self.steps.is_empty() {
            return;
        }
        self.remember_acknowledged();
        let known_peers = self.peers.take_unwritten();
        self.out.persist = Some(self.steps.close(known_peers, self.terms.current(), self.now));
    }

    pub(super) fn on_persisted(&mut self, mark: PersistMark) {
        let is_news = self.terms.persisted(mark.hard_state);
        if let Some(meta) = mark.installed {
            self.log.persisted_to(meta.log_id);
            self.on_install_durable(meta);
        }
        if let Some(log_id) = mark.last_appended {
            let before = self.log.persisted();
            self.log.persisted_to(log_id);
            if self.log.persisted() > before {
                self.out.events.push(Event::Persisted(log_id));
            }
        }
        if let Some(meta) = mark.taken {
            self.on_snapshot_durable(meta);
        }
        if mark.life.is_some_and(|life| life.incarnation > self.incarnation) {
            self.out.events.push(Event::StaleDirectory);
        }
        if is_news {
            self.on_vote_durable();
        }
        match self.role.is_leader() {
            true => self.advance_commit(),
            false => self.commit_with_leader(),
        }
        self.finish_recovering();
    }

    /// Whether a durable step has been under way for longer than a leader may wait (gray failure).
    pub(super) fn disk_hangs(&self) -> bool {
        let patience = 2 * self.config.election_timeout_max;
        let hangs = |begun_at| self.now.saturating_sub(begun_at) > patience;
        self.now >= self.timer.excused_until() && self.steps.oldest_begun_at().is_some_and(hangs)
    }
}
