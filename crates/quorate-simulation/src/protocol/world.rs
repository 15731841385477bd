//! Peers, disks, a network and state machines in virtual time, event by event from one seed.
//!
//! The world does the work of the actors: it carries out each `Ready`, later and in any order that
//! the types allow, and drops what was not durable when a node crashes.
//!
//! ```text
//! agenda ──next──▶ a node's input ──▶ Raft ──▶ Ready ──▶ the checker sees the turn ──▶ agenda
//!    ▲                                                                             │
//!    └───────────────────────── messages, steps, reads, work ◀─────────────────────┘
//! ```
//! Each node has its own clock, which may go wrong, and may be paused while its events wait.

use std::collections::{BTreeMap, VecDeque};

use quorate::raft::testing::Disk;
use quorate::raft::{
    ApplyItem, Body, ChunkRead, Counters, Envelope, Event, InstallStatus, LogId, LogRead,
    Membership, Micros, NodeId, Raft, RaftConfig, RaftStatus, Request, RequestId, Role,
};

use super::super::MILLISECOND;
use super::super::acting::Acting;
use super::super::conditions::Conditions;
use super::super::invariants::{Durable, InvariantChecker, ReadMark};
use super::super::quorums::Quorums;
use super::super::random::Dice;
use super::super::remembered::Remembered;
use super::super::schedule::Schedule;
use super::super::sights::Sights;
use super::super::trace::Trace;
use super::agenda::Agenda;
use super::clients::{Clients, Waiter};
use super::clock::NodeClock;
use super::machine::Machine;
use super::turns::Job;

/// A member that was paused handles everything that waits for it within this time, in any order:
/// messages, timeouts, clients.
pub(super) const WAKING: Micros = 2 * MILLISECOND;
/// The time between ticks if there is no deadline.
const SELDOM: Micros = 400 * MILLISECOND;

/// The longest durations without faults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Delivery of a message.
    pub(crate) latency: Micros,
    /// A durable step.
    pub(crate) sync: Micros,
    /// Applying a batch.
    pub(crate) apply: Micros,
    /// Reading or storing a chunk of a snapshot.
    pub(crate) piece: Micros,
    /// Encoding a snapshot.
    pub(crate) encode: Micros,
    /// Decoding a snapshot.
    pub(crate) decode: Micros,
    /// A turn: inputs within this time may be carried out together.
    pub(crate) turn: Micros,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            latency: MILLISECOND,
            sync: MILLISECOND,
            apply: MILLISECOND,
            piece: MILLISECOND,
            encode: MILLISECOND,
            decode: MILLISECOND,
            turn: 0,
        }
    }
}

/// A member: its peer, if it is running, and its surroundings.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) raft: Option<Raft>,
    /// Counts its incarnations: an event planned for one is not for another.
    born: u64,
    pub(crate) disk: Disk,
    pub(crate) machine: Machine,
    pub(super) clock: NodeClock,
    pub(super) queue: VecDeque<ApplyItem>,
    /// The offer for which the state machine waits for the answer to CondInstallSnapshot.
    pub(super) asking: Option<LogId>,
    /// Whether it sends its install request later, or together with what a leader sends.
    pub(super) asks_late: bool,
    /// Whether it is applying a step.
    pub(super) applying: bool,
    /// The queue of snapshot jobs.
    pub(super) jobs: VecDeque<Job>,
    pub(super) working: bool,
    /// Whether it has inputs that will be carried out later, together with further ones.
    pub(super) turn_is_open: bool,
    /// When it checks its deadline next, in world time.
    pub(super) armed: Option<Micros>,
    /// When it last ticked, in world time.
    pub(super) ticked_at: Micros,
    /// Whether the next step given to the disk fails.
    pub(super) sync_fails: bool,
    /// The number of acts that keep it down.
    pub(super) held_down: u32,
    /// Proposals without an answer.
    pub(super) waiters: BTreeMap<LogId, Waiter>,
    /// Linearizable reads without an answer: by ticket, and then by the index they wait for.
    pub(super) asked: BTreeMap<u64, (Waiter, ReadMark)>,
    pub(super) confirmed: Vec<(u64, Waiter)>,
    /// Counters of earlier incarnations.
    pub(super) counters: Counters,
    pub(super) duplicates: u64,
    pub(super) expired: u64,
}

impl Node {
    fn new() -> Node {
        Node {
            raft: None,
            born: 0,
            disk: Disk::default(),
            machine: Machine::default(),
            clock: NodeClock::default(),
            queue: VecDeque::new(),
            asking: None,
            asks_late: false,
            applying: false,
            jobs: VecDeque::new(),
            working: false,
            turn_is_open: false,
            armed: None,
            ticked_at: 0,
            sync_fails: false,
            held_down: 0,
            waiters: BTreeMap::new(),
            asked: BTreeMap::new(),
            confirmed: Vec::new(),
            counters: Counters::default(),
            duplicates: 0,
            expired: 0,
        }
    }
}

/// An event.
#[derive(Debug)]
pub(super) enum Happening {
    Deliver(Envelope),
    /// An event of one incarnation of a node.
    Node(NodeId, u64, Own),
    /// A client continues, unless it already has.
    Client(usize, u64),
    /// An act begins.
    Begin(usize),
    /// An act is over.
    End(usize),
    /// Old messages are delivered again.
    Flood(NodeId),
}

/// An event within a node.
#[derive(Debug)]
pub(super) enum Own {
    /// A deadline may be due.
    Deadline,
    Undelivered(NodeId, RequestId),
    DiskDone,
    ApplyDone,
    JobDone,
    TurnOver,
    AskInstall,
    LogRead(LogRead),
    ChunkRead(ChunkRead),
}

/// Random streams: if one part draws more or fewer numbers, the others do not change.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) network: Dice,
    pub(super) disks: Dice,
    pub(super) work: Dice,
    pub(super) clients: Dice,
    pub(super) acts: Dice,
    pub(super) lies: Dice,
    pub(super) turns: Dice,
}

/// A cluster.
pub(crate) struct World {
    pub(crate) now: Micros,
    pub(crate) nodes: Vec<Node>,
    pub(super) members: Membership,
    pub(super) quorums: Quorums,
    pub(super) config: RaftConfig,
    pub(super) pace: Pace,
    pub(super) sessions_max: usize,
    pub(super) conditions: Conditions,
    pub(super) agenda: Agenda<Happening>,
    pub(super) invariants: InvariantChecker,
    pub(super) clients: Clients,
    pub(super) acting: Acting<Disk>,
    pub(super) streams: Streams,
    pub(super) trace: Trace,
    /// The last messages that were sent, for floods.
    pub(super) recent: VecDeque<Envelope>,
    /// Messages that are delivered again when another member leads.
    pub(super) kept: VecDeque<Envelope>,
    /// A state machine sends its install request up to this much later.
    pub(super) asks_late: Micros,
    /// The number of snapshots, older than the current one, that stay on the disks.
    pub(super) retained: usize,
    /// The probability, in thousandths, that a snapshot is requested when a chunk of one arrives or
    /// leaves.
    pub(super) eager: u64,
    pub(super) sights: Sights,
    /// The number of events so far.
    pub(super) events: u64,
}

impl World {
    /// These members, with ids from 0 (EL26), all down.
    pub(crate) fn new(members: Membership, seed: u64, config: RaftConfig, trace: Trace) -> World {
        let size = members.all().len() as u64;
        World {
            now: 0,
            nodes: (0..size).map(|_| Node::new()).collect(),
            quorums: Quorums::of(&members),
            config: RaftConfig { seed, ..config },
            pace: Pace::default(),
            sessions_max: 8,
            conditions: Conditions::of([], size),
            agenda: Agenda::default(),
            invariants: InvariantChecker::new(&members),
            members,
            clients: Clients::default(),
            acting: Acting::of(&Schedule::default()),
            streams: Streams {
                network: Dice::new(seed, 10),
                disks: Dice::new(seed, 11),
                work: Dice::new(seed, 12),
                clients: Dice::new(seed, 13),
                acts: Dice::new(seed, 14),
                lies: Dice::new(seed, 16),
                turns: Dice::new(seed, 15),
            },
            trace,
            recent: VecDeque::new(),
            kept: VecDeque::new(),
            eager: 0,
            retained: 0,
            asks_late: 0,
            sights: Sights::default(),
            events: 0,
        }
    }

    pub(crate) fn start_all(&mut self) {
        self.ids().for_each(|id| self.start(id));
    }

    pub(crate) fn node(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    pub(crate) fn ids(&self) -> std::ops::Range<NodeId> {
        0..self.nodes.len() as u64
    }

    pub(crate) fn lives(&self, id: NodeId) -> bool {
        self.nodes[id as usize].raft.is_some()
    }

    pub(crate) fn status(&self, id: NodeId) -> Option<RaftStatus> {
        self.nodes[id as usize].raft.as_ref().map(Raft::status)
    }

    /// The leader of the highest term among the running members, if any.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leads = |(id, node): (usize, &Node)| {
            let (role, term, _) = node.raft.as_ref()?.role();
            (role == Role::Leader).then_some((term, id as NodeId))
        };
        self.nodes.iter().enumerate().filter_map(leads).max().map(|(_, id)| id)
    }

    pub(super) fn note(&mut self, node: NodeId, what: impl FnOnce() -> String) {
        self.trace.line(self.now, Some(node), what);
    }

    // ---- incarnations --------------------------------------------------------------------

    /// The limits of one node: every other node keeps much more log behind its snapshots.
    pub(super) fn config_of(&self, id: NodeId) -> RaftConfig {
        let mut config = RaftConfig { node: id, ..self.config.clone() };
        if id % 2 == 1 {
            config.trailing_entries *= 20;
            config.trailing_bytes *= 4;
        }
        config
    }

    /// Starts a node that is down.
    pub(crate) fn start(&mut self, id: NodeId) {
        let (now, members, sessions_max) = (self.now, self.members.clone(), self.sessions_max);
        let config = self.config_of(id);
        let node = &mut self.nodes[id as usize];
        assert!(node.raft.is_none(), "node {id} lives already");
        node.disk.life.incarnation += 1;
        node.born += 1;
        let (life, remembered) = (node.disk.life, self.remembered(id));
        self.invariants.begins(id, life, &remembered);
        let node = &mut self.nodes[id as usize];
        let recovered = node.disk.recovered(&members);
        node.machine = match &recovered.snapshot {
            Some(meta) => Machine::decode(&node.disk.files[&meta.log_id]),
            None => Machine::new(sessions_max),
        };
        (node.armed, node.ticked_at, node.sync_fails) = (None, now, false);
        self.invariants.opened(id, &recovered);
        self.invariants.restored(id, node.machine.applied.index, node.machine.digest);
        node.raft = Some(Raft::new(config, recovered, node.clock.at(now)));
        self.note(id, || "starts".into());
        self.observe(id);
        self.arm(id);
    }

    /// The node's process ends; of the steps given to its disk, `done` were done.
    pub(crate) fn crash(&mut self, id: NodeId, done: usize) {
        let node = &mut self.nodes[id as usize];
        let Some(raft) = node.raft.take() else { return };
        node.counters.add(raft.counters());
        node.duplicates += node.machine.duplicates;
        node.expired += node.machine.expired;
        for _ in 0..done {
            let Some(step) = node.disk.steps.pop_front() else { break };
            self.invariants.durable(id, &step.change);
            node.disk.apply(step.change);
        }
        node.disk.crash();
        node.queue.clear();
        node.jobs.clear();
        (node.asking, node.applying, node.working) = (None, false, false);
        (node.turn_is_open, node.asks_late) = (false, false);
        self.note(id, || "crashes".into());
        self.forget_waiters(id);
    }

    /// The disk of a node that is down has lost data.
    pub(super) fn disk_lost(&mut self, id: NodeId, noticed: bool) {
        let disk = &self.nodes[id as usize].disk;
        self.invariants.lost(id, Durable::of(&disk.recovered(&self.members)), noticed);
    }

    /// What the others' disks record of `id`.
    pub(super) fn remembered(&self, id: NodeId) -> Remembered {
        Remembered::of(id, self.nodes.iter().map(|node| &node.disk.known_peers))
    }

    // ---- time ----------------------------------------------------------------------------

    /// Plans an event for the present incarnation of a node.
    pub(super) fn plan(&mut self, id: NodeId, delay: Micros, what: Own) {
        let life = self.nodes[id as usize].born;
        self.agenda.plan(self.now + delay, Happening::Node(id, life, what));
    }

    /// Runs the next event, if its time is before `until`; returns whether there was one.
    pub(crate) fn turn(&mut self, until: Micros) -> bool {
        if self.invariants.has_given_up() {
            return false;
        }
        let Some((at, happening)) = self.agenda.next(until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(at);
        self.invariants.at(self.now);
        self.events += 1;
        match happening {
            Happening::Deliver(envelope) => self.deliver(envelope),
            Happening::Node(id, life, what) => self.own(id, life, what),
            Happening::Client(client, attempt) => self.client_wakes(client, attempt),
            Happening::Begin(act) => self.begin(act),
            Happening::End(act) => self.end(act),
            Happening::Flood(id) => self.flood(id),
        }
        true
    }

    /// Runs until `done`, for at most `limit`; returns whether it became true.
    pub(crate) fn run_until(
        &mut self,
        limit: Micros,
        mut done: impl FnMut(&World) -> bool,
    ) -> bool {
        let until = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            if !self.turn(until) {
                return done(self);
            }
        }
    }

    fn deliver(&mut self, envelope: Envelope) {
        let id = envelope.to;
        let paused_until = self.conditions.member(id).paused_until;
        if paused_until > self.now {
            let at = paused_until + self.streams.network.between(0, WAKING);
            return self.agenda.plan(at, Happening::Deliver(envelope));
        }
        if !self.lives(id) || self.is_cut(envelope.from, id) {
            return;
        }
        self.trace.mix([self.now, id, envelope.id ^ envelope.from << 48]);
        let from = envelope.from;
        self.trace.line(self.now, Some(id), || format!("<- n{from} {:?}", envelope.body));
        self.invariants.delivered(&envelope);
        let is_piece = matches!(&envelope.body, Body::Request(Request::Snapshot(_)));
        let asks = self.asks_with(id, &envelope.body);
        self.input(id, |raft, now| {
            raft.step(now, envelope);
            asks.into_iter().for_each(|log_id| raft.cond_install(now, log_id));
        });
        if is_piece && self.streams.turns.chance(self.eager) {
            // The receiver builds a snapshot just as it receives another one.
            self.sights.built_beside += 1;
            self.input(id, |raft, now| raft.request_snapshot(now));
        }
    }

    fn own(&mut self, id: NodeId, life: u64, what: Own) {
        let node = &self.nodes[id as usize];
        if node.raft.is_none() || node.born != life {
            return;
        }
        let surroundings = self.conditions.member(id);
        let mut waits_until = surroundings.paused_until;
        if matches!(what, Own::DiskDone) {
            waits_until = waits_until.max(surroundings.sync_hangs_until);
        }
        if waits_until > self.now {
            let at = waits_until + self.streams.work.between(0, WAKING);
            if matches!(what, Own::Deadline) {
                self.node(id).armed = Some(at);
            }
            return self.agenda.plan(at, Happening::Node(id, life, what));
        }
        self.trace.mix([self.now, id, what.number()]);
        match what {
            Own::Deadline => self.deadline(id),
            Own::Undelivered(to, request) => {
                self.input(id, |raft, now| raft.undelivered(now, to, request));
            }
            Own::DiskDone => self.disk_done(id),
            Own::ApplyDone => self.apply_one(id),
            Own::JobDone => self.job_done(id),
            Own::LogRead(read) => self.log_read(id, read),
            Own::ChunkRead(read) => self.chunk_read(id, read),
            Own::TurnOver => self.carry_out(id),
            Own::AskInstall => self.ask_install(id),
        }
    }

    fn deadline(&mut self, id: NodeId) {
        let now = self.now;
        let node = &mut self.nodes[id as usize];
        // An earlier deadline may have been planned since; another event handles it.
        if node.armed.is_none_or(|armed| armed != now) {
            return;
        }
        node.armed = None;
        let local = node.clock.at(now);
        let seldom = now >= node.ticked_at + SELDOM;
        let due = node.raft.as_ref().is_some_and(|raft| raft.next_deadline() <= local);
        if due || seldom {
            node.ticked_at = now;
            self.input(id, |raft, now| raft.tick(now));
        } else {
            self.arm(id);
        }
    }

    /// Plans a check of the node's deadline for when it is due.
    pub(super) fn arm(&mut self, id: NodeId) {
        let now = self.now;
        let node = &mut self.nodes[id as usize];
        let Some(raft) = &node.raft else { return };
        let due = node.clock.world_time(raft.next_deadline()).max(now + MILLISECOND);
        let at = due.min((node.ticked_at + SELDOM).max(now + MILLISECOND));
        if node.armed.is_none_or(|armed| at < armed) {
            node.armed = Some(at);
            self.plan(id, at - now, Own::Deadline);
        }
    }

    // ---- a turn of a node ----------------------------------------------------------------

    /// Gives a running node an input, and carries out its output.
    pub(crate) fn input<R>(
        &mut self,
        id: NodeId,
        input: impl FnOnce(&mut Raft, Micros) -> R,
    ) -> Option<R> {
        let node = &mut self.nodes[id as usize];
        let now = node.clock.at(self.now);
        let result = input(node.raft.as_mut()?, now);
        self.end_turn(id);
        Some(result)
    }

    /// Carries out a node's input: at once, or together with later inputs.
    pub(super) fn end_turn(&mut self, id: NodeId) {
        if self.nodes[id as usize].turn_is_open {
            self.sights.grouped += 1;
            return;
        }
        if self.pace.turn == 0 || self.streams.turns.chance(300) {
            return self.carry_out(id);
        }
        // Now and then many inputs come together, as behind a flood; not while a leader has to be
        // elected in time.
        let is_long = !self.acting.is_calm() && self.streams.turns.chance(30);
        let longest = if is_long { self.config.heartbeat_interval / 2 } else { 0 };
        let longest = longest.max(self.pace.turn);
        self.node(id).turn_is_open = true;
        let delay = self.streams.turns.between(1, longest);
        self.plan(id, delay, Own::TurnOver);
    }

    pub(super) fn observe(&mut self, id: NodeId) {
        if let Some(raft) = &self.nodes[id as usize].raft {
            self.invariants.turn(&raft.observe());
        }
    }

    /// A node's counters over all its incarnations.
    pub(super) fn lived(&self, id: NodeId) -> Counters {
        let node = &self.nodes[id as usize];
        let mut lived = node.counters;
        node.raft.iter().for_each(|raft| lived.add(raft.counters()));
        lived
    }

    /// The counters of all nodes.
    pub(crate) fn totals(&self) -> Counters {
        let mut totals = Counters::default();
        self.ids().for_each(|id| totals.add(&self.lived(id)));
        totals
    }

    /// Events that only matter within the protocol are left out.
    pub(super) fn heed(&mut self, id: NodeId, events: &[Event]) {
        for event in events {
            match event {
                Event::Truncated { from } => {
                    let from = *from;
                    let raft = self.nodes[id as usize].raft.as_ref();
                    let install = raft.map_or(InstallStatus::None, |raft| raft.status().install);
                    let is_pending = matches!(install, InstallStatus::Pending { .. });
                    self.sights.truncated_beside += u64::from(is_pending);
                    self.unknown_waiters(id, |log_id| log_id.index >= from);
                }
                Event::SnapshotInstalled { through } => {
                    let through = *through;
                    self.unknown_waiters(id, |log_id| log_id.index <= through);
                }
                Event::Deposed => self.unknown_waiters(id, |_| true),
                Event::Alarm(what) => self.invariants.alarmed(id, what),
                Event::RoleChanged { role: Role::Leader, .. } => {
                    let calm = self.acting.is_calm();
                    self.sights.led(calm);
                    self.replay();
                }
                _ => {}
            }
            if !matches!(event, Event::Persisted(_)) {
                self.trace.line(self.now, Some(id), || format!("{event:?}"));
            }
        }
    }
}

impl Own {
    fn number(&self) -> u64 {
        match self {
            Own::Deadline => 1,
            Own::Undelivered(to, id) => 2 + (to << 8) + (id << 16),
            Own::DiskDone => 3,
            Own::ApplyDone => 4,
            Own::JobDone => 5,
            Own::LogRead(read) => 6 + (read.first << 8),
            Own::ChunkRead(read) => 7 + (read.offset << 8),
            Own::TurnOver => 8,
            Own::AskInstall => 9,
        }
    }
}
