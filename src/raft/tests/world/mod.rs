//! Peers, disks, a network and state machines in virtual time, event by event from one seed.
//!
//! The world does the work of the actors: it carries out each `Ready`, later and in any order that
//! the types allow, and drops what was not durable when a node crashes. After every event it checks
//! the invariants; [`World::heal_and_converge`] checks that a world without faults recovers.
//!
//! - `turns.rs`: carries out a `Ready`.
//! - `machine.rs`: the state machine. The disk is the simulator's.
//! - `losses.rs`: disks that lose data.
//! - `checks.rs`: the invariants.
//! - `driving.rs`: helpers for tests.
//!
//! *What it does not do:* clients, different clocks and whole schedules of faults are in the
//! simulator. Here a test controls every peer.

mod checks;
mod driving;
mod losses;
mod machine;
mod turns;

use std::collections::{BTreeMap, VecDeque};

use crate::raft::Random;
pub(super) use crate::raft::testing::{Disk, MILLISECOND, small_config as config};
use crate::raft::*;

use machine::Machine;

const TICK: Micros = 10 * MILLISECOND;
/// The time between ticks without a deadline, in an exact world.
const SELDOM: Micros = 400 * MILLISECOND;

/// Probabilities of faults, in thousandths.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    pub drop: u64,
    pub duplicate: u64,
    pub delay_max: Micros,
    pub persist_max: Micros,
    pub apply_max: Micros,
    pub decode_max: Micros,
}

impl Faults {
    pub(super) fn none() -> Faults {
        Faults {
            drop: 0,
            duplicate: 0,
            delay_max: MILLISECOND,
            persist_max: MILLISECOND,
            apply_max: MILLISECOND,
            decode_max: MILLISECOND,
        }
    }
}

pub(super) struct Node {
    pub raft: Option<Raft>,
    pub disk: Disk,
    /// Its disk lost durable data, and it has not caught up.
    pub damaged: bool,
    /// The loss has not been noticed yet.
    pub unnoticed: bool,
    /// Others remember a later start of it.
    outlived: bool,
    pub machine: Machine,
    queue: VecDeque<ApplyItem>,
    /// The offer for which the state machine waits for the answer to CondInstallSnapshot.
    asking: Option<LogId>,
    /// It is applying a step.
    applying: bool,
    jobs: VecDeque<SnapshotJob>,
    working: bool,
    /// When it checks its deadline next.
    armed: Option<Micros>,
    pub confirmed: Vec<ReadConfirmed>,
    pub events: Vec<Event>,
    pub counters: Counters,
}

enum Happening {
    Deliver(Box<Envelope>),
    Tick,
    /// A deadline may be due.
    Deadline,
    Undelivered {
        to: NodeId,
        id: RequestId,
    },
    DiskDone,
    ApplyDone,
    JobDone,
    LogRead(LogRead),
    ChunkRead(ChunkRead),
}

pub(super) struct World {
    pub now: Micros,
    pub random: Random,
    pub faults: Faults,
    pub nodes: BTreeMap<NodeId, Node>,
    pub members: Membership,
    pub config: RaftConfig,
    /// Every other node keeps much more log behind its snapshots.
    uneven: bool,
    /// Ticks come mostly when a deadline is due; the network often reports losses.
    pub exact: bool,
    /// Directed links that are cut.
    pub cut: std::collections::BTreeSet<(NodeId, NodeId)>,
    agenda: BTreeMap<(Micros, u64), (NodeId, Incarnation, Happening)>,
    next_event: u64,
    /// Everything that was ever applied: the id and the digest after it.
    pub history: Vec<(LogId, u64)>,
    committed: Vec<LogId>,
    leaders: BTreeMap<Term, NodeId>,
    pub log: Vec<String>,
    pub tracing: bool,
    /// Some disk has lost data that it had acknowledged: alarms are expected.
    lossy: bool,
    pub requests: u64,
}

impl World {
    /// `size` peers with ids from 0 (EL26).
    pub(super) fn new(size: u64, seed: u64, config: RaftConfig) -> World {
        World::build(size, seed, config, false)
    }

    /// Peers of which every other one keeps much more log behind its snapshots.
    pub(super) fn uneven(size: u64, seed: u64, config: RaftConfig) -> World {
        World::build(size, seed, config, true)
    }

    fn build(size: u64, seed: u64, config: RaftConfig, uneven: bool) -> World {
        let mut world = World {
            now: 0,
            random: Random::of([seed, size, 77]),
            faults: Faults::none(),
            nodes: BTreeMap::new(),
            members: Membership::of_voters(0..size),
            config: RaftConfig { seed, ..config },
            uneven,
            exact: false,
            cut: Default::default(),
            agenda: BTreeMap::new(),
            next_event: 0,
            history: Vec::new(),
            committed: Vec::new(),
            leaders: BTreeMap::new(),
            log: Vec::new(),
            tracing: false,
            lossy: false,
            requests: 0,
        };
        for id in 0..size {
            world.nodes.insert(
                id,
                Node {
                    raft: None,
                    disk: Disk::default(),
                    damaged: false,
                    unnoticed: false,
                    outlived: false,
                    machine: Machine::default(),
                    queue: VecDeque::new(),
                    asking: None,
                    applying: false,
                    jobs: VecDeque::new(),
                    working: false,
                    armed: None,
                    confirmed: Vec::new(),
                    events: Vec::new(),
                    counters: Counters::default(),
                },
            );
            world.start(id);
        }
        world
    }

    pub(super) fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of this world")
    }

    pub(super) fn raft(&mut self, id: NodeId) -> &mut Raft {
        self.node(id).raft.as_mut().expect("a living node")
    }

    pub(super) fn status(&self, id: NodeId) -> RaftStatus {
        self.nodes[&id].raft.as_ref().expect("a living node").status()
    }

    pub(super) fn lives(&self, id: NodeId) -> bool {
        self.nodes[&id].raft.is_some()
    }

    pub(super) fn start(&mut self, id: NodeId) {
        let (now, members) = (self.now, self.members.clone());
        let mut config = RaftConfig { node: id, ..self.config.clone() };
        if self.uneven && id % 2 == 1 {
            (config.trailing_entries, config.trailing_bytes) = (10_000, 8_000);
        }
        let node = self.node(id);
        assert!(node.raft.is_none(), "node {id} lives already");
        node.disk.life.incarnation += 1;
        let recovered = node.disk.recovered(&members);
        node.machine = match &recovered.snapshot {
            Some(meta) => Machine::decode(&node.disk.files[&meta.log_id]),
            None => Machine::default(),
        };
        node.armed = None;
        node.raft = Some(Raft::new(config, recovered, now));
        let phase = self.random.between(0, TICK - 1);
        self.plan(id, phase, Happening::Tick);
    }

    /// The node's process ends; of the steps given to the disk, none, some or all were done.
    pub(super) fn crash(&mut self, id: NodeId) {
        let done = self.random.between(0, 3);
        let node = self.node(id);
        let Some(raft) = node.raft.take() else { return };
        node.counters.add(raft.counters());
        for _ in 0..done {
            if let Some(step) = node.disk.steps.pop_front() {
                node.disk.apply(step.change);
            }
        }
        node.disk.crash();
        node.queue.clear();
        node.jobs.clear();
        (node.asking, node.applying, node.working) = (None, false, false);
    }

    pub(super) fn isolate(&mut self, id: NodeId) {
        for other in self.members.all() {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    fn note(&mut self, delivered: &Envelope) {
        if self.tracing {
            self.log.push(format!("{} {delivered:?}", self.now));
        }
    }

    fn plan(&mut self, id: NodeId, delay: Micros, happening: Happening) {
        let key = (self.now + delay, self.next_event);
        self.next_event += 1;
        let incarnation = self.nodes[&id].disk.life.incarnation;
        self.agenda.insert(key, (id, incarnation, happening));
    }

    fn chance(&mut self, thousandths: u64) -> bool {
        self.random.between(0, 999) < thousandths
    }

    /// Runs the next event, if its time is before `until`; returns whether there was one.
    pub(super) fn turn(&mut self, until: Micros) -> bool {
        let due = self.agenda.first_key_value().is_some_and(|(key, _)| key.0 <= until);
        if !due {
            self.now = self.now.max(until);
            return false;
        }
        let Some(((at, _), (id, incarnation, happening))) = self.agenda.pop_first() else {
            return false;
        };
        self.now = self.now.max(at);
        let node = &self.nodes[&id];
        let current = node.raft.is_some() && node.disk.life.incarnation == incarnation;
        // A message can't tell whether its receiver has been restarted meanwhile.
        if current || node.raft.is_some() && matches!(happening, Happening::Deliver(_)) {
            self.happen(id, happening);
            self.carry_out(id);
            self.check(id);
        }
        if std::mem::take(&mut self.node(id).outlived) {
            self.crash(id);
            self.start(id);
        }
        true
    }

    pub(super) fn run_for(&mut self, time: Micros) {
        let until = self.now + time;
        while self.turn(until) {}
    }

    /// Runs until `done`, for at most `limit`; returns whether it became true.
    pub(super) fn run_until(
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

    fn happen(&mut self, id: NodeId, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Deliver(envelope) => {
                if !self.cut.contains(&(envelope.from, id)) {
                    self.note(&envelope);
                    self.raft(id).step(now, *envelope);
                }
            }
            Happening::Tick => {
                self.raft(id).tick(now);
                self.plan(id, if self.exact { SELDOM } else { TICK }, Happening::Tick);
            }
            Happening::Deadline => {
                self.node(id).armed = None;
                if self.raft(id).next_deadline() <= now {
                    self.raft(id).tick(now);
                }
            }
            Happening::Undelivered { to, id: request } => {
                self.raft(id).undelivered(now, to, request)
            }
            Happening::DiskDone => {
                let node = self.node(id);
                if let Some(step) = node.disk.steps.pop_front() {
                    node.disk.apply(step.change);
                    self.raft(id).persisted(now, step.seq);
                    step.then_send.into_iter().for_each(|envelope| self.send(envelope));
                }
            }
            Happening::ApplyDone => self.apply_one(id),
            Happening::JobDone => self.job_done(id),
            Happening::LogRead(read) => self.log_read(id, read),
            Happening::ChunkRead(read) => self.chunk_read(id, read),
        }
    }
}
