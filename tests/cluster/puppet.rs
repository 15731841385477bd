//! One real node whose fellow members are hand-made messages.
//!
//! The node runs with all its actors; its transport records what it sends and delivers what the story says. So
//! every message comes exactly when the story wants it, odd ones too, and with [`Hand`] in place of the usual apply
//! side, every step of an install as well.
//!
//! ```text
//!  story ── say(from, term, request) ──▶ Strings ──▶ node 0 ──▶ Strings ── answer(id) ──▶ story
//! ```
//! *What it does not do:* it does not play Raft. What its members say is what the story says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler};
use bytes::Bytes;
use parking_lot::Mutex;
use quorate::actors::{ApplySide, Delays};
use quorate::machine::{
    Increment, Replica, SessionConfig, WordCount, command, decode_replica, encode_replica,
};
use quorate::messages::{
    ApplyLink, ApplyMessage, ApplyWork, BoxedState, CommittedBatch, OfferedSnapshot, StateView,
};
use quorate::node::{Config, Consistency, Handle, Node, NodeBuilder, NodeStatus};
use quorate::raft::*;
use quorate::runtime::Placement;
use quorate::storage::memory::MemoryStorage;
use quorate::storage::{Identity, Start, Storage};
use quorate::transport::{Inbox, Transport};

use crate::faulty::{FaultyStorage, Traps};
use crate::support::until;

/// The node itself.
pub const NODE: NodeId = 0;
/// The member that leads first in most stories.
pub const LEADER: NodeId = 1;
/// The third member.
pub const OTHER: NodeId = 2;

/// The members of the puppet's cluster.
pub fn members() -> Membership {
    Membership::of_voters([NODE, LEADER, OTHER])
}

// ---- what leaders have in their logs ---------------------------------------------------------

/// A log that a leader might have: each entry counts a word of its own.
#[derive(Clone)]
pub struct History(Vec<Entry>);

impl History {
    /// Runs of (term, how many entries).
    pub fn of(runs: &[(Term, u64)]) -> History {
        let mut history = History(Vec::new());
        for &(term, entries) in runs {
            for _ in 0..entries {
                let index = history.0.len() as u64 + 1;
                let word = format!("{index}@{term}").into_bytes();
                let data = command::encode_raw(&Increment { word }).unwrap();
                history.push(term, data);
            }
        }
        history
    }

    /// Appends an entry with these bytes.
    pub fn push(&mut self, term: Term, data: Bytes) {
        let log_id = LogId::new(term, self.0.len() as u64 + 1);
        self.0.push(Entry { log_id, kind: EntryKind::Command, stamp_ms: 1_000, data });
    }

    /// The same log, but for what the entry at `index` counts: no correct cluster has both.
    pub fn forged(&self, index: Index, word: &str) -> History {
        let mut forged = self.clone();
        let word = word.as_bytes().to_vec();
        forged.0[index as usize - 1].data = command::encode_raw(&Increment { word }).unwrap();
        forged
    }

    /// Appends an entry as a new leader of `term` makes it.
    pub fn push_blank(&mut self, term: Term) {
        self.push(term, Bytes::new());
        let blank = self.0.last_mut().expect("just pushed");
        (blank.kind, blank.stamp_ms) = (EntryKind::Blank, 0);
    }

    /// The id of the entry at `index`.
    pub fn id(&self, index: Index) -> LogId {
        if index == 0 { LogId::BASE } else { self.0[index as usize - 1].log_id }
    }

    /// The word that the entry at `index` counts.
    pub fn word(&self, index: Index) -> String {
        self.id(index).to_string()
    }

    fn between(&self, prev: Index, last: Index) -> Entries {
        self.0[prev as usize..last as usize].to_vec().into()
    }

    fn state(&self, index: Index) -> Replica<WordCount> {
        let mut replica = Replica::new(WordCount::default(), SessionConfig::default(), 0);
        self.0[..index as usize].iter().for_each(|entry| drop(replica.apply(entry)));
        replica
    }

    /// The snapshot of the state after the entry at `index`, as a member would send it.
    pub fn snapshot(&self, index: Index) -> Snapshot {
        Snapshot::of(&self.state(index), self.id(index))
    }

    /// The same state under the id of another entry: no correct member makes such a snapshot.
    pub fn mislabelled_snapshot(&self, index: Index, label: Index) -> Snapshot {
        Snapshot::of(&self.state(index), self.id(label))
    }

    /// A view of the state after the entry at `index`, as an apply side hands it out.
    pub fn view(&self, index: Index) -> StateView {
        let view = self.state(index).view();
        StateView::new(self.id(index), move |out| encode_replica::<WordCount>(&view, out))
    }
}

/// A snapshot's bytes.
#[derive(Clone)]
pub struct Snapshot {
    pub meta: SnapshotMeta,
    pub bytes: Bytes,
}

impl Snapshot {
    fn of(replica: &Replica<WordCount>, log_id: LogId) -> Snapshot {
        let identity = Identity { cluster: 0, node: LEADER, created_at_ms: 0 };
        let disk = Box::new(MemoryStorage::new());
        let mut snapshots = disk.open(identity, &Start::Bootstrap(members())).unwrap().snapshots;
        let mut sink = snapshots.create(log_id, &members()).unwrap();
        encode_replica(&replica.view(), &mut sink).unwrap();
        let meta = sink.publish().unwrap();
        let bytes = snapshots.reader().read_at(log_id, 0, usize::MAX).unwrap().unwrap();
        Snapshot { meta, bytes }
    }

    /// The piece from `offset` to `end`, as transfer number `transfer`.
    pub fn piece(&self, transfer: u64, offset: usize, end: usize) -> SnapshotChunk {
        let data = self.bytes.slice(offset..end.min(self.bytes.len()));
        SnapshotChunk {
            meta: self.meta.clone(),
            transfer,
            offset: offset as u64,
            crc: crc32c(&data),
            data,
            round: 0,
        }
    }

    /// All of it in one piece.
    pub fn whole(&self, transfer: u64) -> SnapshotChunk {
        self.piece(transfer, 0, self.bytes.len())
    }
}

/// CRC-32C, bit by bit: the test's own, so that it does not agree with the code's by construction.
fn crc32c(data: &[u8]) -> u32 {
    let folded = data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    });
    !folded
}

// ---- the strings -----------------------------------------------------------------------------

/// A transport that leads to the story.
#[derive(Clone, Default)]
pub struct Strings(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    inbox: Option<Inbox>,
    sent: Vec<Envelope>,
    next_id: RequestId,
}

impl Transport for Strings {
    fn send(&self, envelope: Envelope) {
        self.0.lock().sent.push(envelope);
    }

    fn attach(&self, _node: NodeId, inbox: Inbox) {
        self.0.lock().inbox = Some(inbox);
    }

    fn detach(&self, _node: NodeId) {
        self.0.lock().inbox = None;
    }
}

impl Strings {
    /// Delivers an envelope, if the node is there.
    pub fn deliver(&self, envelope: Envelope) {
        let inbox = self.0.lock().inbox.clone();
        if let Some(inbox) = inbox {
            inbox.deliver(envelope);
        }
    }

    /// All that the node has sent so far.
    pub fn sent(&self) -> Vec<Envelope> {
        self.0.lock().sent.clone()
    }

    fn next_id(&self) -> RequestId {
        let mut held = self.0.lock();
        held.next_id += 1;
        held.next_id
    }
}

// ---- the node on them ------------------------------------------------------------------------

/// A node on strings.
pub struct Puppet {
    pub strings: Strings,
    pub delays: Delays,
    pub disk: MemoryStorage,
    pub traps: Traps,
    config: Config,
    placement: Placement,
    node: Mutex<Option<Node<WordCount>>>,
    handle: Mutex<Option<Handle<WordCount>>>,
}

impl Puppet {
    /// A node with the usual apply side.
    pub async fn start(config: Config) -> Puppet {
        let puppet = Puppet::unstarted(config);
        puppet.restart().await;
        puppet
    }

    /// A node whose parts stand as the story wants.
    pub async fn start_placed(config: Config, placement: Placement) -> Puppet {
        let puppet = Puppet { placement, ..Puppet::unstarted(config) };
        puppet.restart().await;
        puppet
    }

    /// A node whose apply side is the story's own hand.
    pub async fn start_by_hand(config: Config) -> (Puppet, Hand) {
        let puppet = Puppet::unstarted(config);
        let hand = puppet.restart_by_hand().await;
        (puppet, hand)
    }

    fn unstarted(config: Config) -> Puppet {
        Puppet {
            strings: Strings::default(),
            delays: Delays::default(),
            disk: MemoryStorage::new(),
            traps: Traps::default(),
            config,
            placement: Placement::virtual_time(),
            node: Mutex::new(None),
            handle: Mutex::new(None),
        }
    }

    fn builder(&self) -> NodeBuilder<WordCount> {
        NodeBuilder::new(NODE, WordCount::default())
            .config(self.config.clone())
            .storage(FaultyStorage { disk: self.disk.clone(), traps: self.traps.clone() })
            .transport(self.strings.clone())
            .start_mode(Start::Bootstrap(members()))
            .placement(self.placement.clone())
            .delays(self.delays.clone())
    }

    /// Starts the node, which is not running, on what its disk has.
    pub async fn restart(&self) {
        self.run(self.builder()).await;
    }

    /// Starts the node, which is not running, with the story's own hand as its apply side.
    pub async fn restart_by_hand(&self) -> Hand {
        let hand = Hand::default();
        let made = hand.clone();
        self.run(self.builder().apply_side(move |link| made.make(link))).await;
        hand
    }

    async fn run(&self, builder: NodeBuilder<WordCount>) {
        let node = builder.start().await.expect("the node starts");
        *self.handle.lock() = Some(node.handle());
        *self.node.lock() = Some(node);
    }

    /// Ends the node as the death of its process would.
    pub async fn crash(&self) {
        let node = self.node.lock().take().expect("a running node");
        node.crash().await;
    }

    /// Stops the node in order.
    pub async fn shutdown(&self) {
        let node = self.node.lock().take().expect("a running node");
        node.shutdown().await;
    }

    /// The node's handle.
    pub fn handle(&self) -> Handle<WordCount> {
        self.handle.lock().clone().expect("a node that was started")
    }

    /// How the node stands.
    pub fn status(&self) -> NodeStatus {
        self.handle().status()
    }

    /// What it is doing with a snapshot.
    pub fn install(&self) -> InstallStatus {
        self.status().raft.install
    }

    /// What its state has counted of `word`.
    pub async fn counted(&self, word: &str) -> u64 {
        let word = word.to_owned();
        let read = move |state: &WordCount| state.get(word.as_bytes());
        self.handle().read(Consistency::Local, read).await.expect("a local read")
    }

    /// `from`, in its first life, says this; returns the request's number.
    pub fn say(&self, from: NodeId, term: Term, request: Request) -> RequestId {
        let id = self.strings.next_id();
        self.strings.deliver(envelope(from, term, id, Body::Request(request)));
        id
    }

    /// The same, and waits for the answer.
    pub async fn ask(&self, from: NodeId, term: Term, request: Request) -> Answer {
        let id = self.say(from, term, request);
        until("an answer", || self.answer(from, id).is_some()).await;
        self.answer(from, id).expect("just seen")
    }

    /// The answer to `from`'s request `id`, if it was sent.
    pub fn answer(&self, from: NodeId, id: RequestId) -> Option<Answer> {
        self.strings.sent().into_iter().find_map(|envelope| match envelope.body {
            Body::Answer { answer, .. } if envelope.id == id && envelope.to == from => Some(answer),
            _ => None,
        })
    }

    /// Entries behind `prev` up to `last`, as `from` has them, with its commit index; waits for the answer.
    pub async fn append(
        &self,
        from: NodeId,
        term: Term,
        history: &History,
        prev: Index,
        last: Index,
        commit: Index,
    ) -> Answer {
        self.ask(from, term, entries(history, prev, last, commit)).await
    }

    /// Sends a snapshot in one piece and waits until it is stored.
    pub async fn send_snapshot(
        &self,
        from: NodeId,
        term: Term,
        transfer: u64,
        snapshot: &Snapshot,
    ) -> SnapshotAnswer {
        snapshot_answer(self.ask(from, term, Request::Snapshot(snapshot.whole(transfer))).await)
    }

    /// From now on `from` sends heartbeats, as long as the node and the story live.
    pub fn keep_alive(&self, from: NodeId, term: Term) {
        let strings = self.strings.clone();
        tokio::task::spawn_local(async move {
            loop {
                let id = strings.next_id();
                strings.deliver(envelope(from, term, id, Body::Request(heartbeat())));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }

    /// Answers one request of the node as `from`.
    pub fn reply_to(&self, request: &Envelope, from: NodeId, answer: Answer) {
        let body = Body::Answer { asker_incarnation: request.incarnation, answer };
        self.strings.deliver(envelope(from, request.term, request.id, body));
    }

    /// Lets the node win the election it asks for.
    pub async fn elect(&self) {
        let mut answered = self.strings.sent().len();
        until("the node leads", || {
            let sent = self.strings.sent();
            for request in sent[answered..].iter().filter(|request| request.to == OTHER) {
                match &request.body {
                    Body::Request(Request::PreVote { campaign_term, .. }) => {
                        let answer =
                            Answer::PreVote { campaign_term: *campaign_term, granted: true };
                        self.reply_to(request, OTHER, answer);
                    }
                    Body::Request(Request::Vote { .. }) => {
                        self.reply_to(request, OTHER, Answer::Vote { granted: true, held: None });
                    }
                    _ => {}
                }
            }
            answered = sent.len();
            self.status().raft.role == Role::Leader
        })
        .await;
    }

    /// Acknowledges, as `from`, entries up to `through`, heartbeats too, until the node has committed so far.
    pub async fn acknowledge(&self, from: NodeId, through: Index) {
        let mut answered = 0;
        until("the node commits", || {
            let sent = self.strings.sent();
            for request in sent[answered..].iter().filter(|request| request.to == from) {
                if let Body::Request(Request::Append(append)) = &request.body {
                    self.acknowledge_one(request, append, through);
                }
            }
            answered = sent.len();
            self.status().raft.commit >= through
        })
        .await;
    }

    /// Accepts one request as the member that it is for, if that acknowledges nothing beyond
    /// `through`.
    pub fn acknowledge_one(&self, request: &Envelope, append: &Append, through: Index) {
        let matched = append.prev.index + append.entries.len() as u64;
        if matched > through {
            return;
        }
        let (install, recovering, round) = (InstallStatus::None, false, append.round);
        let report = FollowerReport { matched, install, recovering, round };
        let answer = AppendAnswer { report, outcome: AppendOutcome::Accepted };
        self.reply_to(request, request.to, Answer::Append(answer));
    }
}

/// An envelope to the node.
pub fn envelope(from: NodeId, term: Term, id: RequestId, body: Body) -> Envelope {
    Envelope { cluster: 0, group: 0, from, to: NODE, incarnation: 1, term, id, body }
}

/// A heartbeat that knows nothing of the node.
pub fn heartbeat() -> Request {
    entries(&History(Vec::new()), 0, 0, 0)
}

/// AppendEntries as a leader with this log would send it.
pub fn entries(history: &History, prev: Index, last: Index, commit: Index) -> Request {
    Request::Append(Append {
        prev: history.id(prev),
        entries: history.between(prev, last),
        commit: commit.min(last),
        leader_last: commit,
        leader_durable: 0,
        round: 1,
    })
}

/// The answer to a piece of a snapshot.
pub fn snapshot_answer(answer: Answer) -> SnapshotAnswer {
    match answer {
        Answer::Snapshot(answer) => answer,
        other => panic!("{other:?} answers a piece of a snapshot"),
    }
}

/// The answer to AppendEntries.
pub fn append_answer(answer: Answer) -> AppendAnswer {
    match answer {
        Answer::Append(answer) => answer,
        other => panic!("{other:?} answers AppendEntries"),
    }
}

// ---- the hand --------------------------------------------------------------------------------

/// An apply side that does nothing by itself: it keeps what it is told, and the story acts.
#[derive(Clone, Default)]
pub struct Hand {
    link: Arc<Mutex<Option<ApplyLink>>>,
    told: Arc<Mutex<VecDeque<ApplyMessage>>>,
    shadows: Arc<()>,
}

struct Palm(Hand);

impl Actor for Palm {
    type Context = Context<Palm>;
}

impl Handler<ApplyMessage> for Palm {
    type Result = ();

    fn handle(&mut self, message: ApplyMessage, context: &mut Context<Palm>) {
        if let ApplyMessage::Stop(_) = message {
            context.stop();
            self.0.told.lock().clear();
            return;
        }
        self.0.told.lock().push_back(message);
    }
}

impl Hand {
    fn make(self, link: ApplyLink) -> ApplySide {
        *self.link.lock() = Some(link);
        let shadows = self.shadows.clone();
        let recipient = Palm(self).start().recipient();
        let decode = move |input: &mut dyn std::io::Read| {
            let replica = decode_replica::<WordCount>(input, SessionConfig::default(), 0)?;
            Ok(BoxedState::new((replica, shadows.clone())))
        };
        ApplySide { recipient, decode: Box::new(decode) }
    }

    /// The way to the node.
    pub fn link(&self) -> ApplyLink {
        self.link.lock().clone().expect("a link that was not let go")
    }

    /// Lets the link go: the apply side is at its end.
    pub fn let_go(&self) {
        *self.link.lock() = None;
    }

    /// How many decoded states exist anywhere in the node.
    pub fn shadows(&self) -> usize {
        // The story's own, the actor's and the decoder's.
        Arc::strong_count(&self.shadows) - 3
    }

    /// Whether anything was told and not taken.
    pub fn is_empty(&self) -> bool {
        self.told.lock().is_empty()
    }

    /// The next thing told; waits for it.
    pub async fn next(&self) -> ApplyMessage {
        until("the hand is told something", || !self.is_empty()).await;
        self.told.lock().pop_front().expect("just seen")
    }

    /// Asks for one item and waits for it.
    pub async fn pull(&self) -> ApplyWork {
        self.link().pull();
        match self.next().await {
            ApplyMessage::Work(work) => work,
            other => panic!("told {other:?} instead of work"),
        }
    }

    /// Pulls entries, which begin at `first`; reports them applied and returns the last.
    pub async fn apply_entries(&self, first: Index) -> LogId {
        let applied = self.apply(self.pull_entries().await);
        assert_eq!(applied[0].index, first);
        applied[applied.len() - 1]
    }

    /// Pulls entries.
    pub async fn pull_entries(&self) -> CommittedBatch {
        match self.pull().await {
            ApplyWork::Entries(batch) => batch,
            other => panic!("pulled {other:?} instead of entries"),
        }
    }

    /// Reports entries applied; returns all their ids.
    pub fn apply(&self, batch: CommittedBatch) -> Vec<LogId> {
        let applied: Vec<LogId> = batch.entries.iter().map(|entry| entry.log_id).collect();
        self.link().applied(applied[applied.len() - 1].index);
        applied
    }

    /// Pulls an offer.
    pub async fn pull_offer(&self) -> OfferedSnapshot {
        match self.pull().await {
            ApplyWork::Offer(offer) => offer,
            other => panic!("pulled {other:?} instead of an offer"),
        }
    }

    /// Asks about an offer and returns whether it was granted.
    pub async fn ask(&self, log_id: LogId) -> bool {
        self.link().cond_install(log_id);
        let decision = self.next_decision().await;
        assert_eq!(decision.log_id, log_id);
        decision.granted
    }

    /// The decision on what was asked.
    pub async fn next_decision(&self) -> InstallDecision {
        match self.next().await {
            ApplyMessage::Decision(decision) => decision,
            other => panic!("told {other:?} instead of a decision"),
        }
    }
}
