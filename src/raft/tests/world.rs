//! Peers, disks, a network and state machines in virtual time, event by event from one seed.
//!
//! The world does what the actors do, without them: it carries out each `Ready`, later and in any order that the types
//! allow, and loses what was not durable when a node crashes. After every event it checks the invariants that must
//! hold at every moment; [`World::heal_and_converge`] checks that a world without faults gets well.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::raft::random::Random;
use crate::raft::*;

pub(super) const MILLISECOND: Micros = 1_000;
const TICK: Micros = 10 * MILLISECOND;
/// Between ticks that no deadline asks for, in an exact world.
const SELDOM: Micros = 400 * MILLISECOND;

/// What can go wrong, in thousandths of the occasions.
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

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub life: Life,
    pub acquaintances: Acquaintances,
    pub hard_state: HardState,
    pub start: LogId,
    pub entries: VecDeque<Entry>,
    pub snapshot: Option<SnapshotMeta>,
    /// Published snapshot files: the state each holds.
    pub files: BTreeMap<LogId, Bytes>,
    /// Those that came in by a transfer.
    received: std::collections::BTreeSet<LogId>,
    /// Steps given to the disk and not done.
    pub steps: VecDeque<Persist>,
    /// It lost what was durable, and has not caught up.
    pub damaged: bool,
    /// Nobody has noticed that yet.
    pub unnoticed: bool,
}

impl Disk {
    fn last_index(&self) -> Index {
        self.start.index + self.entries.len() as u64
    }

    /// Whether the entry, or a snapshot that covers it, is durable here.
    fn keeps(&self, log_id: LogId) -> bool {
        let covered = self.snapshot.as_ref().is_some_and(|meta| meta.log_id.index >= log_id.index);
        covered
            || log_id.index <= self.start.index
            || self.entry(log_id.index).is_some_and(|e| e.log_id == log_id)
    }

    fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(index.checked_sub(self.start.index + 1)? as usize)
    }

    fn apply(&mut self, change: LogChange) {
        if let Some(life) = change.life {
            let old = self.life;
            let falls = life.incarnation < old.incarnation || life.predecessor < old.predecessor;
            assert!(!falls, "life back from {old:?} to {life:?}");
            self.life = life;
        }
        self.acquaintances.extend(change.acquaintances);
        if let Some(hard_state) = change.hard_state {
            let old = self.hard_state;
            assert!(hard_state.term >= old.term, "term back from {old:?} to {hard_state:?}");
            let revoted =
                hard_state.term == old.term && old.vote.is_some() && hard_state.vote != old.vote;
            assert!(!revoted, "vote changed within a term: {old:?} to {hard_state:?}");
            self.hard_state = hard_state;
        }
        if let Some(Install { meta, keep_suffix }) = change.install {
            assert!(
                self.files.contains_key(&meta.log_id),
                "installed {} without a file",
                meta.log_id
            );
            if keep_suffix {
                self.purge(meta.log_id);
            } else {
                self.entries.clear();
                self.start = meta.log_id;
            }
            self.snapshot = Some(meta);
        }
        if let Some(meta) = change.snapshot {
            assert!(
                self.files.contains_key(&meta.log_id),
                "recorded {} without a file",
                meta.log_id
            );
            self.snapshot = Some(meta);
        }
        if let Some(from) = change.truncate_from {
            self.entries.retain(|entry| entry.log_id.index < from);
        }
        for entry in change.append {
            assert_eq!(entry.log_id.index, self.last_index() + 1, "a hole in the log");
            self.entries.push_back(entry);
        }
        if let Some(through) = change.purge_through {
            self.purge(through);
        }
    }

    fn purge(&mut self, through: LogId) {
        let covered = self.snapshot.as_ref().map_or(0, |meta| meta.log_id.index);
        assert!(
            through.index <= covered || self.snapshot.is_none(),
            "purged {through} beyond the snapshot {covered}"
        );
        self.entries.retain(|entry| entry.log_id.index > through.index);
        self.start = through;
    }

    fn recovered(&self, members: &Membership) -> Recovered {
        Recovered {
            life: self.life,
            hard_state: self.hard_state,
            base: members.clone(),
            snapshot: self.snapshot.clone(),
            log: LogOutline::of(self.start, &self.entries),
            acquaintances: self.acquaintances.clone(),
        }
    }
}

/// The state machine: what it has applied, in order, as one running digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    pub applied: LogId,
    pub digest: u64,
}

impl Machine {
    fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.log_id.index, self.applied.index + 1, "applied out of order");
        self.applied = entry.log_id;
        for byte in entry.data.iter() {
            self.digest = self.digest.wrapping_mul(0x100_0000_01b3) ^ u64::from(*byte);
        }
        self.digest = self.digest.wrapping_mul(31).wrapping_add(entry.log_id.index);
    }

    fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        for number in [self.applied.term, self.applied.index, self.digest] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.resize(100, 7);
        bytes.into()
    }

    fn decode(bytes: &Bytes) -> Machine {
        let number = |at: usize| {
            bytes[at..at + 8].iter().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte))
        };
        Machine { applied: LogId::new(number(0), number(8)), digest: number(16) }
    }
}

pub(super) struct Node {
    pub raft: Option<Raft>,
    pub disk: Disk,
    /// Others remember a later start of it.
    outlived: bool,
    pub machine: Machine,
    queue: VecDeque<ApplyItem>,
    /// The state machine waits for the answer to CondInstallSnapshot.
    asking: Option<LogId>,
    /// It has a step of its own under way.
    applying: bool,
    transfer: Option<(TransferKey, Vec<u8>)>,
    jobs: VecDeque<SnapshotJob>,
    working: bool,
    /// When it looks at its deadline again.
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
    /// Ticks come when a deadline is due and hardly otherwise; of what is lost the network often tells.
    pub exact: bool,
    /// Directed links that are cut.
    pub cut: std::collections::BTreeSet<(NodeId, NodeId)>,
    agenda: BTreeMap<(Micros, u64), (NodeId, Incarnation, Happening)>,
    next_event: u64,
    /// Everything ever applied anywhere: id and digest after it.
    pub history: Vec<(LogId, u64)>,
    committed: Vec<LogId>,
    leaders: BTreeMap<Term, NodeId>,
    pub log: Vec<String>,
    pub tracing: bool,
    /// Some disk has lost what it had promised to keep: alarms are in order.
    lossy: bool,
    pub requests: u64,
}

pub(super) fn config() -> RaftConfig {
    RaftConfig {
        node: 0,
        cluster: 9,
        seed: 0,
        heartbeat_interval: 100 * MILLISECOND,
        election_timeout_min: 300 * MILLISECOND,
        election_timeout_max: 600 * MILLISECOND,
        request_timeout: 150 * MILLISECOND,
        retry_interval: 100 * MILLISECOND,
        batch_delay: 0,
        append_interval: 0,
        commit_notice: None,
        noop_on_election: true,
        append_bytes: 2_000,
        append_entries: 64,
        window_messages: 8,
        window_bytes: 16_000,
        uncommitted_bytes: 3_000,
        unpersisted_bytes: 20_000,
        log_cache_bytes: 4_000,
        apply_queue_bytes: 1_000,
        snapshot_bytes: Some(4_000),
        snapshot_entries: None,
        trailing_entries: 20,
        trailing_bytes: 1_000,
        pin_bytes: 4_000,
        snapshot_chunk_bytes: 40,
    }
}

impl World {
    /// `size` peers with ids from 0 (EL26).
    pub(super) fn new(size: u64, seed: u64, config: RaftConfig) -> World {
        World::build(size, seed, config, false)
    }

    /// Peers of which every other keeps much more log behind its snapshots.
    pub(super) fn uneven(size: u64, seed: u64, config: RaftConfig) -> World {
        World::build(size, seed, config, true)
    }

    fn build(size: u64, seed: u64, config: RaftConfig, uneven: bool) -> World {
        let mut world = World {
            now: 0,
            random: Random::new([seed, size, 77]),
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
                    outlived: false,
                    machine: Machine::default(),
                    queue: VecDeque::new(),
                    asking: None,
                    applying: false,
                    transfer: None,
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

    /// The node ends here; of the steps given to its disk, none, some or all were done.
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
        node.disk.steps.clear();
        node.queue.clear();
        node.jobs.clear();
        (node.asking, node.applying, node.working, node.transfer) = (None, false, false, None);
        self.note(format!("n{id} crashes"));
    }

    /// The disk of a node that is down loses up to `count` of its last entries.
    pub(super) fn lose_tail(&mut self, id: NodeId, count: u64) {
        let disk = &mut self.node(id).disk;
        let last = disk.entries.back().map_or(disk.start, |entry| entry.log_id);
        let covered = disk.snapshot.as_ref().map_or(0, |meta| meta.log_id.index);
        let kept = disk.last_index().saturating_sub(count).max(covered);
        disk.entries.retain(|entry| entry.log_id.index <= kept);
        disk.damaged = true;
        let earlier = disk.life.loss.unwrap_or(Loss { forgot_vote: false, last: Some(last) });
        let last = earlier.last.map(|earlier| earlier.max(last));
        disk.life.loss = Some(Loss { last, ..earlier });
        self.lossy = true;
        self.note(format!("n{id} has lost what followed {kept}"));
    }

    /// The same, and storage can't tell whether terms and votes went with it.
    pub(super) fn lose_votes(&mut self, id: NodeId, count: u64) {
        self.lose_tail(id, count);
        let terms = self.random.between(0, 2);
        let disk = &mut self.node(id).disk;
        let lowest = disk.entries.back().map_or(disk.start.term, |entry| entry.log_id.term);
        let term = disk.hard_state.term.saturating_sub(terms).max(lowest);
        disk.hard_state = HardState { term, vote: None };
        disk.life.loss = Some(Loss { forgot_vote: true, last: None });
        disk.life.incarnation = unborn(birth_ms(disk.life.incarnation) + 1);
    }

    /// Whether all others would notice an earlier life of `id` than the one that it has.
    pub(super) fn is_remembered(&self, id: NodeId, earlier: Incarnation) -> bool {
        let life = self.nodes[&id].disk.life.incarnation;
        let remembers = |node: &Node| {
            node.disk.acquaintances.get(&id).is_some_and(|known| known.incarnation == life)
        };
        earlier + 1 < life && self.nodes.iter().all(|(&other, node)| other == id || remembers(node))
    }

    /// The directory of a node that is down is replaced by an empty one.
    pub(super) fn wipe(&mut self, id: NodeId) {
        let disk = &mut self.node(id).disk;
        let incarnation = unborn(birth_ms(disk.life.incarnation) + 1);
        let life = Life { incarnation, ..Life::default() };
        *disk = Disk { life, ..Disk::default() };
        self.goes_unnoticed(id, "an empty disk");
    }

    /// A copy of the node's disk, as a crash at this moment would leave it.
    pub(super) fn backup(&self, id: NodeId) -> Disk {
        Disk { steps: VecDeque::new(), ..self.nodes[&id].disk.clone() }
    }

    /// The directory of a node that is down is replaced by an earlier copy.
    pub(super) fn roll_back(&mut self, id: NodeId, copy: Disk) {
        self.node(id).disk = copy;
        self.goes_unnoticed(id, "an old disk");
    }

    fn goes_unnoticed(&mut self, id: NodeId, what: &str) {
        let disk = &mut self.node(id).disk;
        (disk.damaged, disk.unnoticed) = (true, true);
        self.lossy = true;
        self.note(format!("n{id} has {what} now"));
    }

    pub(super) fn isolate(&mut self, id: NodeId) {
        for other in self.members.all() {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
        self.note(format!("n{id} is cut off"));
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
        self.note("the network is whole".into());
    }

    pub(super) fn note(&mut self, line: String) {
        if self.tracing {
            self.log.push(line);
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

    /// The next event, if it comes before `until`; whether there was one.
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
        // A message does not know whether its receiver has been restarted meanwhile.
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

    /// Runs until `done`, at most for `limit`; whether it came to pass.
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
                    self.note(format!(
                        "n{id} <- n{}: {}",
                        envelope.from,
                        super::stories::tell(&envelope)
                    ));
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

    fn carry_out(&mut self, id: NodeId) {
        let ready = self.raft(id).ready();
        for envelope in ready.messages {
            self.send(envelope);
        }
        if let Some(step) = ready.persist {
            let earlier = self.nodes[&id].disk.steps.len() as u64;
            self.node(id).disk.steps.push_back(step);
            let delay = self.random.between(1, self.faults.persist_max) + earlier;
            self.plan(id, delay, Happening::DiskDone);
        }
        for read in ready.reads {
            let delay = self.random.between(1, MILLISECOND);
            self.plan(id, delay, Happening::LogRead(read));
        }
        for read in ready.chunk_reads {
            let delay = self.random.between(1, MILLISECOND);
            self.plan(id, delay, Happening::ChunkRead(read));
        }
        for event in &ready.events {
            match event {
                Event::RoleChanged { term, leader: Some(leader), .. } if *leader != id => {
                    self.note(format!("n{id} follows n{leader} in term {term}"));
                }
                Event::RoleChanged { role, term, .. } => {
                    self.note(format!("n{id} is {role:?} in term {term}"));
                }
                Event::Truncated { from } => {
                    self.note(format!("n{id} removes its entries from {from} on"))
                }
                Event::Outlived => self.node(id).outlived = true,
                Event::SnapshotCurrent(log_id) => {
                    self.note(format!("n{id}'s snapshot is {log_id} now"))
                }
                Event::Covered { through } => {
                    self.note(format!("n{id}'s log begins behind {through} now"))
                }
                _ => {}
            }
            let alarm = matches!(event, Event::Alarm(_)) && !self.lossy;
            assert!(!alarm, "n{id}: {event:?}");
        }
        for job in &ready.snapshots {
            match job {
                SnapshotJob::Decode(meta) => self.note(format!("n{id} decodes {}", meta.log_id)),
                SnapshotJob::Discard(log_id) => self.note(format!("n{id} drops {log_id} again")),
                _ => {}
            }
        }
        let node = self.node(id);
        node.events.extend(ready.events);
        node.confirmed.extend(ready.reads_confirmed);
        node.jobs.extend(ready.snapshots);
        for item in ready.apply {
            match item {
                ApplyItem::Withdraw(log_id) => node.queue.retain(
                    |queued| !matches!(queued, ApplyItem::Offer(meta) if meta.log_id == log_id),
                ),
                item => node.queue.push_back(item),
            }
        }
        for decision in ready.decisions {
            self.decide(id, decision);
        }
        self.go_on_applying(id);
        self.go_on_working(id);
        if self.exact {
            self.set_deadline(id);
        }
    }

    fn set_deadline(&mut self, id: NodeId) {
        let deadline = self.raft(id).next_deadline().max(self.now + MILLISECOND);
        if self.nodes[&id].armed.is_none_or(|armed| deadline < armed) {
            self.node(id).armed = Some(deadline);
            self.plan(id, deadline - self.now, Happening::Deadline);
        }
    }

    fn send(&mut self, envelope: Envelope) {
        assert!(
            self.nodes[&envelope.from].disk.hard_state.term >= envelope.term,
            "n{} speaks of term {} before it is durable",
            envelope.from,
            envelope.term
        );
        if matches!(envelope.body, Body::Request(_)) {
            self.requests += 1;
        }
        self.check_promise(&envelope);
        if self.cut.contains(&(envelope.from, envelope.to)) {
            return;
        }
        let copies = if self.chance(self.faults.drop) {
            0
        } else {
            1 + u64::from(self.chance(self.faults.duplicate))
        };
        if copies == 0 && self.exact && self.chance(700) {
            let delay = self.random.between(1, self.faults.delay_max);
            let lost = Happening::Undelivered { to: envelope.to, id: envelope.id };
            self.plan(envelope.from, delay, lost);
        }
        for _ in 0..copies {
            let delay = self.random.between(1, self.faults.delay_max);
            self.plan(envelope.to, delay, Happening::Deliver(Box::new(envelope.clone())));
        }
    }

    // ---- state machine -------------------------------------------------------------------

    fn go_on_applying(&mut self, id: NodeId) {
        let node = self.node(id);
        if node.applying || node.asking.is_some() || node.queue.is_empty() {
            return;
        }
        node.applying = true;
        let delay = self.random.between(1, self.faults.apply_max);
        self.plan(id, delay, Happening::ApplyDone);
    }

    fn apply_one(&mut self, id: NodeId) {
        let (now, members) = (self.now, self.members.clone());
        let node = self.node(id);
        node.applying = false;
        let Some(item) = node.queue.pop_front() else { return };
        match item {
            ApplyItem::Entries(entries) => {
                for entry in &entries {
                    if entry.log_id.index > self.node(id).machine.applied.index {
                        self.node(id).machine.apply(entry);
                        self.remember_applied(id);
                    }
                }
                let applied = self.node(id).machine.applied.index;
                self.raft(id).applied(now, applied);
            }
            ApplyItem::TakeSnapshot => {
                let state = node.machine.encode();
                let meta = SnapshotMeta {
                    log_id: node.machine.applied,
                    membership: members,
                    size_bytes: state.len() as u64,
                };
                node.disk.files.insert(meta.log_id, state);
                node.disk.received.remove(&meta.log_id);
                self.raft(id).snapshot_taken(now, meta);
            }
            ApplyItem::Offer(meta) => {
                node.asking = Some(meta.log_id);
                self.note(format!("n{id}'s state machine asks for {}", meta.log_id));
                self.raft(id).cond_install(now, meta.log_id);
            }
            ApplyItem::Withdraw(_) => unreachable!("never queued"),
        }
    }

    fn decide(&mut self, id: NodeId, decision: InstallDecision) {
        let (now, InstallDecision { log_id, granted }) = (self.now, decision);
        self.note(format!(
            "n{id}'s state machine may {}switch to {log_id}",
            if granted { "" } else { "not " }
        ));
        let node = self.node(id);
        assert_eq!(node.asking.take(), Some(decision.log_id), "an answer nobody waits for");
        if decision.granted {
            let installed = Machine::decode(&node.disk.files[&decision.log_id]);
            assert!(
                installed.applied.index > node.machine.applied.index,
                "the state machine goes back"
            );
            assert_eq!(installed.applied, decision.log_id, "the snapshot is of another state");
            node.machine = installed;
            self.remember_applied(id);
            self.raft(id).applied(now, decision.log_id.index);
        }
    }

    /// StateMachineSafety, and no gap or repeat: every machine passes through the same states.
    fn remember_applied(&mut self, id: NodeId) {
        let machine = self.nodes[&id].machine.clone();
        let at = machine.applied.index as usize;
        match self.history.get(at.wrapping_sub(1)) {
            Some(known) => {
                assert_eq!(*known, (machine.applied, machine.digest), "n{id} differs at {at}")
            }
            None => {
                assert_eq!(
                    self.history.len() + 1,
                    at,
                    "n{id} applied {at} before anybody applied what is before"
                );
                self.history.push((machine.applied, machine.digest));
            }
        }
    }

    // ---- snapshotter, reader -------------------------------------------------------------

    fn go_on_working(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node(id);
        if node.working {
            return;
        }
        let Some(job) = node.jobs.front().cloned() else { return };
        node.working = true;
        let mut longest = MILLISECOND;
        if let SnapshotJob::Decode(meta) = &job {
            longest = self.faults.decode_max;
            self.raft(id).decode_begun(now, meta.log_id);
        }
        let delay = self.random.between(1, longest);
        self.plan(id, delay, Happening::JobDone);
    }

    fn job_done(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node(id);
        node.working = false;
        let Some(job) = node.jobs.pop_front() else { return };
        match job {
            SnapshotJob::WriteChunk { transfer, meta, offset, data, .. } => {
                if offset == 0 {
                    node.transfer = Some((transfer, Vec::new()));
                }
                let Some((key, bytes)) = &mut node.transfer else {
                    return self.raft(id).chunk_written(now, transfer, ChunkWritten::Corrupt);
                };
                assert_eq!((*key, bytes.len() as u64), (transfer, offset), "a piece out of place");
                bytes.extend_from_slice(&data);
                let stored = bytes.len() as u64;
                let outcome = if stored == meta.size_bytes {
                    let bytes = std::mem::take(bytes);
                    node.disk.files.insert(meta.log_id, bytes.into());
                    node.disk.received.insert(meta.log_id);
                    node.transfer = None;
                    ChunkWritten::Complete
                } else {
                    ChunkWritten::Partial(stored)
                };
                self.raft(id).chunk_written(now, transfer, outcome);
            }
            SnapshotJob::AbortTransfer(key) => {
                if node.transfer.as_ref().is_some_and(|(current, _)| *current == key) {
                    node.transfer = None;
                }
            }
            SnapshotJob::Decode(meta) => {
                let ok = node.disk.files.contains_key(&meta.log_id);
                self.raft(id).snapshot_decoded(now, meta.log_id, ok);
            }
            SnapshotJob::Discard(log_id) => {
                if !node.disk.received.remove(&log_id) {
                    return;
                }
                let recorded =
                    node.disk.snapshot.as_ref().is_some_and(|meta| meta.log_id == log_id);
                assert!(!recorded, "the current snapshot {log_id} is discarded");
                node.disk.files.remove(&log_id);
            }
            SnapshotJob::Current(log_id) => {
                let receiving = node.raft.as_ref().map(|raft| raft.status().install);
                let pending = match receiving {
                    Some(InstallStatus::Pending { index }) => Some(index),
                    _ => None,
                };
                node.disk
                    .files
                    .retain(|file, _| file.index >= log_id.index || Some(file.index) == pending);
            }
        }
    }

    fn log_read(&mut self, id: NodeId, read: LogRead) {
        let now = self.now;
        let node = self.node(id);
        let mut bytes = 0;
        let entries: Vec<Entry> = (read.first..=read.last)
            .map_while(|index| node.disk.entry(index).cloned())
            .take_while(|entry| {
                bytes += entry.size_bytes();
                bytes <= read.max_bytes || bytes == entry.size_bytes()
            })
            .collect();
        let outcome = if entries.is_empty() {
            LogReadOutcome::Compacted
        } else {
            LogReadOutcome::Entries(entries)
        };
        self.raft(id).log_read(now, read.id, outcome);
    }

    fn chunk_read(&mut self, id: NodeId, read: ChunkRead) {
        let now = self.now;
        let node = self.node(id);
        let outcome = match node.disk.files.get(&read.snapshot) {
            Some(file) => {
                let end = file.len().min(read.offset as usize + read.max_bytes);
                ChunkReadOutcome::Data { data: file.slice(read.offset as usize..end), crc: 0 }
            }
            None => ChunkReadOutcome::Gone,
        };
        self.raft(id).chunk_read(now, read.to, read.transfer, read.offset, outcome);
    }

    // ---- checks --------------------------------------------------------------------------

    /// A granted vote and an acknowledgement leave only after what they promise is durable (PS01, PS02).
    fn check_promise(&self, envelope: &Envelope) {
        let Body::Answer { answer, .. } = &envelope.body else { return };
        let node = &self.nodes[&envelope.from];
        match answer {
            Answer::Vote { granted: true, .. } => {
                let promised = HardState { term: envelope.term, vote: Some(envelope.to) };
                let kept =
                    node.disk.hard_state == promised || node.disk.hard_state.term > envelope.term;
                assert!(
                    kept,
                    "n{} grants {promised:?}, durable is {:?}",
                    envelope.from, node.disk.hard_state
                );
            }
            Answer::Append(AppendAnswer { report, outcome: AppendOutcome::Accepted }) => {
                let durable = node.disk.last_index();
                assert!(
                    report.matched <= durable || node.disk.hard_state.term > envelope.term,
                    "n{} acknowledges {}, durable is {durable}",
                    envelope.from,
                    report.matched
                );
            }
            _ => {}
        }
    }

    fn check(&mut self, id: NodeId) {
        let Some(raft) = &self.nodes[&id].raft else { return };
        let status = raft.status();
        let disk = &mut self.node(id).disk;
        disk.unnoticed &= !status.recovering;
        // A crash before it is durable that it counts again makes it recover once more.
        disk.damaged = status.recovering || disk.unnoticed || disk.life.loss.is_some();
        assert!(self.lossy || status.counters.safety_alarms == 0, "n{id} raised an alarm");
        if status.role == Role::Leader {
            let leader = *self.leaders.entry(status.term).or_insert(id);
            assert_eq!(leader, id, "two leaders in term {}", status.term);
            self.check_leader(id, &status);
        }
        self.check_committed(id, &status);
        // Whoever commits it first: whatever others take for committed must be that.
        let first = (status.log_start.index + 1).max(status.commit.saturating_sub(64));
        for index in first..=status.commit {
            let raft = self.nodes[&id].raft.as_ref().expect("living");
            assert_eq!(
                raft.log.id_at(index),
                self.committed[index as usize - 1],
                "n{id} differs at {index}"
            );
        }
    }

    /// LeaderCompleteness.
    fn check_leader(&mut self, id: NodeId, status: &RaftStatus) {
        let raft = self.nodes[&id].raft.as_ref().expect("living");
        let known = self.committed.len() as u64;
        let newest = self.leaders.last_key_value().map(|(term, _)| *term) == Some(status.term);
        if newest {
            assert!(raft.log.last_index() >= known, "leader n{id} lacks committed {known}");
            let first = (raft.log.start().index + 1).max(known.saturating_sub(8));
            for index in first..=known {
                assert_eq!(
                    raft.log.id_at(index),
                    self.committed[index as usize - 1],
                    "leader n{id} at {index}"
                );
            }
        }
    }

    /// CommittedOnQuorum, on what is durable: by a leader's counting, or by a member that counts its leader and itself.
    fn check_committed(&mut self, id: NodeId, status: &RaftStatus) {
        let known = self.committed.len() as u64;
        let raft = self.nodes[&id].raft.as_ref().expect("living");
        for index in known + 1..=status.commit {
            let log_id = raft.log.id_at(index);
            // One that lost the entry counts with its earlier word: it helps nobody to power until it holds it again.
            let keeps = |node: &&Node| node.disk.damaged || node.disk.keeps(log_id);
            let keepers = self.nodes.values().filter(keeps).count();
            assert!(keepers > self.nodes.len() / 2, "n{id} commits {log_id}, durable on {keepers}");
            self.committed.push(log_id);
        }
    }

    // ---- driving -------------------------------------------------------------------------

    /// The leader of the highest term among the living, if any.
    pub(super) fn leader(&self) -> Option<NodeId> {
        let leads = |(&id, node): (&NodeId, &Node)| {
            let (role, term, _) = node.raft.as_ref()?.role();
            (role == Role::Leader).then_some((term, id))
        };
        self.nodes.iter().filter_map(leads).max().map(|(_, id)| id)
    }

    pub(super) fn elect(&mut self) -> NodeId {
        let elected = self.run_until(20_000 * MILLISECOND, |world| {
            world.leader().is_some_and(|id| world.status(id).commit >= world.status(id).last.index)
        });
        assert!(
            elected,
            "no leader within 20 s at {} ms: {:#?}",
            self.now / MILLISECOND,
            self.positions()
        );
        self.leader().expect("just elected")
    }

    pub(super) fn propose(&mut self, id: NodeId, data: &[u8]) -> Result<LogId, Refusal> {
        let (now, data) = (self.now, Bytes::copy_from_slice(data));
        let result = self.raft(id).propose(now, now / MILLISECOND, data);
        self.carry_out(id);
        self.check(id);
        result
    }

    /// Runs `input` on a peer and carries out what it wants.
    pub(super) fn with<R>(&mut self, id: NodeId, input: impl FnOnce(&mut Raft, Micros) -> R) -> R {
        let now = self.now;
        let result = input(self.raft(id), now);
        self.carry_out(id);
        self.check(id);
        result
    }

    /// Elects `id`: its election timeout fires until it leads.
    pub(super) fn elect_node(&mut self, id: NodeId) {
        for _ in 0..50 {
            if self.leader() == Some(id) && self.status(id).commit == self.status(id).last.index {
                return;
            }
            if self.leader() != Some(id) {
                let quiet = self.config.election_timeout_max;
                if let Some(other) = self.leader() {
                    self.isolate(other);
                    self.run_for(quiet);
                    self.heal();
                }
                self.with(id, |raft, now| raft.expire_election(now));
            }
            self.run_for(50 * MILLISECOND);
        }
        panic!("n{id} is not elected: {:#?}", self.positions());
    }

    /// Proposes `count` commands to the leader `id`, as fast as it takes them, and lets everybody who hears of them apply.
    pub(super) fn load(&mut self, id: NodeId, count: u64) {
        for number in 0..count {
            let mut tries = 0;
            while self.propose(id, &number.to_be_bytes()).is_err() {
                tries += 1;
                assert!(tries < 1_000, "not taken: {:#?}", self.positions());
                self.run_for(5 * MILLISECOND);
            }
        }
        self.run_for(300 * MILLISECOND);
    }

    /// No faults any more, everybody up: one leader, equal logs and states within a bound; returns the time it took.
    pub(super) fn heal_and_converge(&mut self) -> Micros {
        let begun = self.now;
        self.faults = Faults::none();
        self.heal();
        let down: Vec<NodeId> = self.nodes.keys().copied().filter(|&id| !self.lives(id)).collect();
        down.into_iter().for_each(|id| self.start(id));
        self.elect();
        let mut tries = 0;
        while self.leader().is_none_or(|leader| self.propose(leader, b"last").is_err()) {
            tries += 1;
            assert!(tries < 1_000, "nothing accepted for 10 s: {:#?}", self.positions());
            self.run_for(10 * MILLISECOND);
        }
        let converged = self.run_until(30_000 * MILLISECOND, |world| {
            let Some(leader) = world.leader() else { return false };
            let goal = world.status(leader).last.index;
            world.nodes.values().all(|node| node.machine.applied.index == goal)
        });
        assert!(converged, "not converged after 30 s: {:#?}", self.positions());
        self.now - begun
    }

    pub(super) fn positions(&self) -> Vec<String> {
        let line = |(id, node): (&NodeId, &Node)| {
            let status = node.raft.as_ref().map(Raft::status);
            status.map_or(format!("n{id} down"), |status| {
                format!(
                    "n{id} {:?} term {} log {}..{} ({} bytes) snapshot {} persisted {} commit {} applied {} {:?} {:?} {:?} {:?}",
                    status.role,
                    status.term,
                    status.log_start,
                    status.last,
                    status.log_bytes,
                    status.snapshot,
                    status.persisted,
                    status.commit,
                    node.machine.applied,
                    status.install,
                    (node.disk.life, node.disk.unnoticed, status.waits_for),
                    node.raft.as_ref().map(|raft| &raft.building),
                    node.queue,
                )
            })
        };
        self.nodes.iter().map(line).collect()
    }

    /// Counts of all incarnations of all nodes.
    pub(super) fn totals(&self) -> Counters {
        let mut totals = Counters::default();
        for node in self.nodes.values() {
            totals.add(&node.counters);
            if let Some(raft) = &node.raft {
                totals.add(raft.counters());
            }
        }
        totals
    }
}
