//! A scripted peer: the test sends it each message, completes its disk steps, and inspects its
//! output.
//!
//! The peer is node 0 (EL26). Its stored entries are kept, and reads of them answered at once;
//! nothing else happens by itself. Randomized runs are in `world/`.

pub(super) use super::words::*;
use super::world::{self, MILLISECOND};
use crate::raft::state::Progress;
use crate::raft::*;
use crate::storage::log_state::{LogState, assert_fits};
use std::collections::{BTreeMap, VecDeque};

/// How a peer starts.
#[derive(Clone)]
pub(super) struct Setup {
    pub config: RaftConfig,
    pub recovered: Recovered,
}

impl Setup {
    /// Node 0 of `size` voters, with nothing stored.
    pub(super) fn of(size: u64) -> Setup {
        let config =
            RaftConfig { snapshot_bytes: None, uncommitted_bytes: 100_000, ..world::config() };
        let recovered = Recovered {
            life: Life { incarnation: 1, ..Life::default() },
            hard_state: HardState::default(),
            base: Membership::of_voters(0..size),
            snapshot: None,
            log: LogOutline::default(),
            known_peers: KnownPeers::new(),
        };
        Setup { config, recovered }
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut RaftConfig)) -> Setup {
        change(&mut self.config);
        self
    }

    pub(super) fn members(mut self, members: Membership) -> Setup {
        self.recovered.base = members;
        self
    }

    pub(super) fn term(mut self, term: Term, vote: Option<NodeId>) -> Setup {
        self.recovered.hard_state = HardState { term, vote };
        self
    }

    pub(super) fn incarnation(mut self, incarnation: Incarnation) -> Setup {
        self.recovered.life.incarnation = incarnation;
        self
    }

    pub(super) fn damaged(mut self) -> Setup {
        self.recovered.life.loss = Some(Loss::default());
        self
    }

    /// The current snapshot and the purged part of the log end at `log_id`.
    pub(super) fn snapshot(mut self, log_id: LogId) -> Setup {
        self.recovered.snapshot = Some(meta(log_id, &self.recovered.base));
        self.recovered.log.start = log_id;
        self
    }

    /// Entries of these terms are stored after the purged part; the peer's term is at least the
    /// last one's.
    pub(super) fn log(mut self, terms: &[Term]) -> Setup {
        let start = self.recovered.log.start;
        let entries = entries(start.index + 1, terms);
        self.recovered.log = LogOutline::of(start, entries.iter());
        let hard_state = &mut self.recovered.hard_state;
        hard_state.term = terms.iter().copied().fold(hard_state.term, Term::max);
        self
    }

    pub(super) fn start(self) -> Hand {
        let log = &self.recovered.log;
        let mut stored = BTreeMap::new();
        for (position, run) in log.runs.iter().enumerate() {
            let end = log.runs.get(position + 1).map_or(log.last_index(), |next| next.first - 1);
            stored.extend((run.first..=end).map(|index| (index, entry(id(index, run.term)))));
        }
        let disk = LogState {
            life: self.recovered.life,
            known_peers: self.recovered.known_peers.clone(),
            hard_state: self.recovered.hard_state,
            start: log.start,
            last: log.last_index(),
            runs: log.runs.clone(),
            snapshot: self.recovered.snapshot.clone(),
        };
        let mut hand = Hand {
            raft: Raft::new(self.config.clone(), self.recovered, 0),
            disk,
            config: self.config,
            now: 0,
            sent: Vec::new(),
            steps: VecDeque::new(),
            out: Ready::default(),
            stored,
            asked: 100,
        };
        hand.collect();
        hand
    }

    /// Starts and wins the election of the next term. Drops what was sent so far; the blank entry
    /// is durable.
    pub(super) fn lead(self) -> Hand {
        let mut hand = self.start();
        hand.win();
        hand
    }
}

pub(super) struct Hand {
    pub raft: Raft,
    pub config: RaftConfig,
    pub now: Micros,
    /// The messages that were sent, oldest first, until a test takes them.
    pub sent: Vec<Envelope>,
    /// Durable steps under way.
    pub steps: VecDeque<Persist>,
    /// The other output, until a test takes it.
    pub out: Ready,
    stored: BTreeMap<Index, Entry>,
    /// The storage state that steps are checked against.
    disk: LogState,
    asked: RequestId,
}

impl Hand {
    // ---- output of the peer --------------------------------------------------------------

    /// Collects the peer's output.
    pub(super) fn collect(&mut self) {
        loop {
            let ready = self.raft.ready();
            self.sent.extend(ready.messages);
            self.steps.extend(ready.persist.map(|step| *step));
            self.out.apply.extend(ready.apply);
            self.out.snapshots.extend(ready.snapshots);
            self.out.chunk_reads.extend(ready.chunk_reads);
            self.out.decisions.extend(ready.decisions);
            self.out.reads_confirmed.extend(ready.reads_confirmed);
            self.out.reads_failed.extend(ready.reads_failed);
            self.out.events.extend(ready.events);
            if ready.reads.is_empty() {
                return;
            }
            ready.reads.into_iter().for_each(|read| self.answer_read(read));
        }
    }

    fn answer_read(&mut self, read: LogRead) {
        let mut bytes = 0;
        let entries: Vec<Entry> = (read.first..=read.last)
            .map_while(|index| self.stored.get(&index).cloned())
            .take_while(|entry| {
                bytes += entry.size_bytes();
                bytes <= read.max_bytes || bytes == entry.size_bytes()
            })
            .collect();
        assert!(!entries.is_empty(), "read of {read:?}, which is not stored");
        self.raft.log_read(self.now, read.id, LogReadOutcome::Entries(entries.into()));
    }

    /// Completes the oldest durable step. A step that a storage would refuse fails the test.
    pub(super) fn disk_one(&mut self) -> LogChange {
        let step = self.steps.pop_front().expect("a step under way");
        assert_fits(self.disk.apply(&step.change), &step.change);
        if let Some(from) = step.change.truncate_from {
            self.stored.retain(|&index, _| index < from);
        }
        self.stored.extend(step.change.append.iter().map(|e| (e.log_id.index, e.clone())));
        self.raft.persisted(self.now, step.seq);
        self.sent.extend(step.then_send);
        self.collect();
        step.change
    }

    /// The index up to which the disk holds the log at every moment until the steps under way are
    /// done.
    pub(super) fn lasting(&self) -> Index {
        let (log, mut stored) = (&self.raft.log, self.stored.clone());
        let agreed = |stored: &BTreeMap<Index, Entry>| {
            let indexes = log.start().index + 1..=log.last_index();
            let held =
                |&index: &Index| stored.get(&index).is_some_and(|entry| log.holds(entry.log_id));
            log.start().index + indexes.take_while(held).count() as u64
        };
        let mut lasting = agreed(&stored);
        for step in &self.steps {
            if let Some(from) = step.change.truncate_from {
                stored.retain(|&index, _| index < from);
            }
            lasting = lasting.min(agreed(&stored));
            stored.extend(step.change.append.iter().map(|e| (e.log_id.index, e.clone())));
        }
        lasting
    }

    /// Completes all durable steps, and those that follow from them.
    pub(super) fn disk(&mut self) {
        while !self.steps.is_empty() {
            self.disk_one();
        }
    }

    /// Runs an input and collects the output.
    pub(super) fn does<R>(&mut self, input: impl FnOnce(&mut Raft, Micros) -> R) -> R {
        let result = input(&mut self.raft, self.now);
        self.collect();
        result
    }

    // ---- time ----------------------------------------------------------------------------

    /// Advances the time, and ticks.
    pub(super) fn after(&mut self, milliseconds: u64) {
        self.now += milliseconds * MILLISECOND;
        self.does(|raft, now| raft.tick(now));
    }

    pub(super) fn campaign(&mut self) {
        self.does(|raft, now| raft.expire_election(now));
    }

    // ---- messages in ---------------------------------------------------------------------

    fn envelope(&mut self, from: NodeId, term: Term, id: RequestId, body: Body) -> Envelope {
        Envelope {
            cluster: self.config.cluster,
            group: 0,
            from,
            to: 0,
            incarnation: 1,
            term,
            id,
            body,
        }
    }

    /// A request of `from` in `term`, as from the network.
    pub(super) fn request(&mut self, from: NodeId, term: Term, request: Request) -> Envelope {
        self.asked += 1;
        let id = self.asked;
        self.envelope(from, term, id, Body::Request(request))
    }

    pub(super) fn step(&mut self, envelope: Envelope) {
        self.does(|raft, now| raft.step(now, envelope));
    }

    pub(super) fn hear(&mut self, from: NodeId, term: Term, request: Request) {
        let envelope = self.request(from, term, request);
        self.step(envelope);
    }

    /// The answer to `request`, by its receiver in `term`.
    pub(super) fn answer_of(&mut self, request: &Envelope, term: Term, answer: Answer) -> Envelope {
        let body = Body::Answer { asker_incarnation: request.incarnation, answer };
        self.envelope(request.to, term, request.id, body)
    }

    pub(super) fn reply(&mut self, request: &Envelope, answer: Answer) {
        let envelope = self.answer_of(request, request.term, answer);
        self.step(envelope);
    }

    /// The receiver of an AppendEntries accepts it and holds it durably.
    pub(super) fn accept(&mut self, request: &Envelope) {
        let matched = last_of(request);
        let round = append_of(request).round;
        self.reply(request, accepted(matched, round));
    }

    /// Member `node` answers every AppendEntries sent to it, until it has the whole log.
    pub(super) fn accept_all(&mut self, node: NodeId) {
        loop {
            let appends = self.appends(node);
            if appends.is_empty() {
                return;
            }
            appends.iter().for_each(|request| self.accept(request));
        }
    }

    // ---- messages out --------------------------------------------------------------------

    /// Takes what was sent to `node`.
    pub(super) fn sent_to(&mut self, node: NodeId) -> Vec<Envelope> {
        let (taken, kept) = self.sent.drain(..).partition(|envelope| envelope.to == node);
        self.sent = kept;
        taken
    }

    /// Takes the AppendEntries sent to `node`.
    pub(super) fn appends(&mut self, node: NodeId) -> Vec<Envelope> {
        let is_append = |e: &Envelope| matches!(e.body, Body::Request(Request::Append(_)));
        self.sent_to(node).into_iter().filter(is_append).collect()
    }

    /// Takes the one AppendEntries sent to `node`.
    pub(super) fn append(&mut self, node: NodeId) -> Envelope {
        let mut appends = self.appends(node);
        assert_eq!(appends.len(), 1, "{appends:?}");
        appends.remove(0)
    }

    /// Takes all that was sent, which must contain one answer.
    pub(super) fn answer(&mut self) -> Answer {
        let sent = std::mem::take(&mut self.sent);
        let mut answers = sent.into_iter().filter_map(|envelope| match envelope.body {
            Body::Answer { answer, .. } => Some(answer),
            Body::Request(_) => None,
        });
        let answer = answers.next().expect("an answer");
        assert_eq!(answers.next(), None, "a second answer beside {answer:?}");
        answer
    }

    /// Takes the one answer, to a vote request: whether the vote is granted.
    pub(super) fn vote(&mut self) -> bool {
        match self.answer() {
            Answer::Vote { granted, .. } => granted,
            other => panic!("{other:?} answers who asked for a vote"),
        }
    }

    pub(super) fn append_answer(&mut self) -> AppendAnswer {
        match self.answer() {
            Answer::Append(answer) => answer,
            other => panic!("{other:?} answers an AppendEntries"),
        }
    }

    pub(super) fn chunk_answer(&mut self) -> SnapshotAnswer {
        match self.answer() {
            Answer::Snapshot(answer) => answer,
            other => panic!("{other:?} answers a piece of a snapshot"),
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.sent.is_empty() && self.steps.is_empty()
    }

    // ---- state ---------------------------------------------------------------------------

    /// The leader's view of `node`.
    pub(super) fn progress(&self, node: NodeId) -> &Progress {
        self.raft.role.progress(node).expect("the peer leads, and this is another member")
    }

    pub(super) fn status(&self) -> RaftStatus {
        self.raft.status()
    }

    pub(super) fn role(&self) -> Role {
        self.raft.role().0
    }

    pub(super) fn term(&self) -> Term {
        self.raft.role().1
    }

    /// The terms of the log's entries, oldest first.
    pub(super) fn terms(&self) -> Vec<Term> {
        let log = &self.raft.log;
        (log.start().index + 1..=log.last_index()).map(|index| log.id_at(index).term).collect()
    }
}
