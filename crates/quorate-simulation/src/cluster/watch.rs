//! Receives the reports of all parts of a run: the invariant checker, the trace, and the outside view of
//! members.
//!
//! Everything runs on one thread; the lock exists because parts of actors must be `Send`. It is
//! never held during a call to anything that reports.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use quorate::hooks::{Delays, StateWatch};
use quorate::machine::Outcome;
use quorate::raft::{
    Entry, Incarnation, Index, KnownPeers, LogChange, LogId, Membership, Micros, NodeId,
    Observation, Recovered, Role, Term,
};

use super::super::MILLISECOND;
use super::super::conditions::Conditions;
use super::super::invariants::InvariantChecker;
use super::super::random::Dice;
use super::super::remembered::Remembered;
use super::super::sights::Sights;
use super::super::trace::Trace;
use super::config::Pace;

/// A failed write is never certainly durable.
const NEVER: Micros = Micros::MAX;

/// Clones share the state.
#[derive(Clone)]
pub(super) struct Watch(Arc<Mutex<Watched>>);

/// The shared state.
pub(super) struct Watched {
    origin: Instant,
    pub invariants: InvariantChecker,
    pub trace: Trace,
    pub conditions: Conditions,
    pub pace: Pace,
    pub members: Vec<Member>,
    /// Random stream for the durations of disk steps and slow work.
    pub dice: Dice,
    /// Digests of whole states, by index.
    states: BTreeMap<Index, u32>,
    /// Of this many entries, one is first applied to copies; 0: none.
    proofs: u64,
    /// The number of events; each one was checked.
    pub events: u64,
    pub sights: Sights,
    /// Whether no fault is under way.
    pub is_calm: bool,
    /// Random stream for what happens together.
    pub turns: Dice,
    /// Random stream for a service's own apply side.
    pub hand: Dice,
    /// The time between a member's ticks; 0: unknown.
    pub tick: Micros,
    /// Leaders that were elected and not yet handled.
    pub new_leaders: u64,
}

/// The outside view of a member.
#[derive(Default)]
pub(super) struct Member {
    pub delays: Delays,
    pub incarnation: Incarnation,
    /// What its disk records of the others, and writes of it under way.
    known_peers: KnownPeers,
    writing: VecDeque<(Micros, KnownPeers)>,
    /// The state of its machine as one number: what it applied and replied.
    digest: u64,
    role: Option<(Role, Term)>,
    /// Whether its disk was changed while it was down.
    pub tampered: bool,
    /// Whether the end of its log was, where the storage notices it.
    pub end_is_damaged: bool,
}

impl Watch {
    pub(super) fn new(nodes: u64, seed: u64, pace: Pace, proofs: u64, trace: Trace) -> Watch {
        let watched = Watched {
            origin: Instant::now(),
            invariants: InvariantChecker::new(&Membership::of_voters(0..nodes)),
            trace,
            conditions: Conditions::of([], nodes),
            pace,
            members: (0..nodes).map(|_| Member::default()).collect(),
            dice: Dice::new(seed, 20),
            states: BTreeMap::new(),
            proofs,
            events: 0,
            sights: Sights::default(),
            is_calm: true,
            turns: Dice::new(seed, 23),
            hand: Dice::new(seed, 24),
            tick: 0,
            new_leaders: 0,
        };
        Watch(Arc::new(Mutex::new(watched)))
    }

    /// The state at this moment.
    pub(super) fn lock(&self) -> MutexGuard<'_, Watched> {
        let mut watched = self.0.lock();
        let now = watched.now();
        watched.invariants.at(now);
        watched
    }

    /// The state after the end, when virtual time has stopped.
    pub(super) fn lock_late(&self) -> MutexGuard<'_, Watched> {
        self.0.lock()
    }

    pub(super) fn now(&self) -> Micros {
        self.0.lock().now()
    }

    /// The moment at virtual time `at`.
    pub(super) fn moment(&self, at: Micros) -> Instant {
        self.0.lock().origin + Duration::from_micros(at)
    }

    pub(super) fn note(&self, node: Option<NodeId>, what: impl FnOnce() -> String) {
        let mut watched = self.0.lock();
        let now = watched.now();
        watched.trace.line(now, node, what);
    }

    pub(super) fn report_breach(&self, rule: &'static str, what: String) {
        self.lock().invariants.report_breach(rule, what);
    }

    /// Whether there is nothing more to find.
    pub(super) fn is_over(&self) -> bool {
        self.0.lock().invariants.is_over()
    }
}

impl Watched {
    pub(super) fn now(&self) -> Micros {
        self.origin.elapsed().as_micros() as Micros
    }

    fn member(&mut self, node: NodeId) -> &mut Member {
        &mut self.members[node as usize]
    }

    // ---- a member's parts report -----------------------------------------------------------

    pub(super) fn turn(&mut self, observation: &Observation<'_>) {
        self.events += 1;
        self.invariants.turn(observation);
        let state = observation.state;
        self.ticks_in_time(state.node, observation.overdue);
        let role = Some((state.role, state.hard_state.term));
        if self.member(state.node).role.replace((state.role, state.hard_state.term)) == role {
            return;
        }
        let now = self.now();
        self.trace.mix([now, state.node, state.hard_state.term << 2 | state.role as u64]);
        self.trace.line(now, Some(state.node), || {
            format!("is {:?} in term {}", state.role, state.hard_state.term)
        });
        if state.role == Role::Leader {
            self.sights.led(self.is_calm);
            self.new_leaders += 1;
        }
    }

    /// Ticks come in time, even if the mailbox never drains.
    fn ticks_in_time(&mut self, node: NodeId, overdue: Micros) {
        if self.tick > 0 && overdue > self.tick {
            let what = format!("n{node} ends a turn with what was due {overdue} us ago");
            self.invariants.report_breach("ticks come in time", what);
        }
    }

    /// Draws whether this seal is checked.
    pub(super) fn draws_seal(&mut self) -> bool {
        let looks = self.turns.chance(50);
        self.sights.seals += u64::from(looks);
        looks
    }

    pub(super) fn opened(&mut self, node: NodeId, recovered: &Recovered) {
        self.events += 1;
        let member = self.member(node);
        (member.incarnation, member.role) = (recovered.life.incarnation, None);
        member.known_peers = recovered.known_peers.clone();
        member.writing.clear();
        let end_is_damaged = std::mem::take(&mut member.end_is_damaged);
        if std::mem::take(&mut member.tampered) {
            let is_unnoticed = self.invariants.opened_after_loss(node, recovered);
            if end_is_damaged && is_unnoticed {
                let what = format!("n{node} starts with {:?}", recovered.life);
                self.invariants.report_breach("damage to the end of a log is noticed", what);
            }
        } else {
            self.invariants.opened(node, recovered);
        }
        let remembered = self.remembered(node);
        self.invariants.begins(node, recovered.life, &remembered);
        let now = self.now();
        let (life, last) = (recovered.life, recovered.log.last_index());
        self.trace.mix([now, node, last]);
        self.trace.line(now, Some(node), || format!("starts: {life:?}, log to {last}"));
    }

    /// A write that takes effect when its time has passed; without a time it has failed.
    pub(super) fn writes(&mut self, node: NodeId, changes: &[LogChange], takes: Option<Duration>) {
        self.events += 1;
        let until = takes.map_or(NEVER, |takes| self.now() + takes.as_micros() as Micros);
        self.invariants.writes(node, changes, until);
        let met = changes.iter().filter(|change| !change.known_peers.is_empty());
        let met = met.map(|change| (until, change.known_peers.clone()));
        self.member(node).writing.extend(met);
        self.roll(node);
    }

    /// What the others' disks record of `node` at this time.
    pub(super) fn remembered(&mut self, node: NodeId) -> Remembered {
        let now = self.now();
        for member in &mut self.members {
            while member.writing.front().is_some_and(|(until, _)| *until <= now) {
                let met = member.writing.pop_front();
                member.known_peers.extend(met.into_iter().flat_map(|(_, met)| met));
            }
        }
        Remembered::of(node, self.members.iter().map(|member| &member.known_peers))
    }

    /// Whether all others know the directory of `node`.
    pub(super) fn is_known(&mut self, node: NodeId) -> bool {
        let life = self.members[node as usize].incarnation;
        self.remembered(node).is_known(life)
    }

    /// Whether all others would notice if `node` had this earlier incarnation.
    pub(super) fn is_told_apart(&mut self, node: NodeId, earlier: Incarnation) -> bool {
        let life = self.members[node as usize].incarnation;
        self.remembered(node).tells_apart(life, earlier)
    }

    /// Checks that leaders were elected no more often than there was a cause.
    pub(super) fn check_elections(&mut self) {
        self.invariants.leaders_came(self.sights.leaders_per_disturbance);
    }

    // ---- slow work ---------------------------------------------------------------------------

    /// Draws new durations for the member's slow work.
    pub(super) fn roll(&mut self, node: NodeId) {
        let now = self.now();
        let (pace, around) = (self.pace, *self.conditions.member(node));
        let dice = &mut self.dice;
        let mut up_to = |most: Micros| if most == 0 { 0 } else { dice.between(0, most) };
        let hangs = around.sync_hangs_until.saturating_sub(now);
        let fsync = MILLISECOND.max(up_to(pace.sync + around.sync)).max(hangs);
        let (apply, read) =
            (up_to(pace.apply) + up_to(around.apply), up_to(pace.sync + around.sync));
        let decode = up_to(pace.decode) + up_to(around.decode);
        let encode = up_to(pace.encode) + up_to(around.encode);
        let delays = &self.members[node as usize].delays;
        delays.set_fsync(Duration::from_micros(fsync));
        delays.set_apply(Duration::from_micros(apply));
        delays.set_read(Duration::from_micros(read));
        delays.set_decode(Duration::from_micros(decode));
        delays.set_encode(Duration::from_micros(encode));
    }

    // ---- states ------------------------------------------------------------------------------

    /// Whole states at one index are equal.
    fn in_state(&mut self, node: NodeId, log_id: LogId, digest: u32) {
        let known = *self.states.entry(log_id.index).or_insert(digest);
        if known != digest {
            let what = format!(
                "n{node} at {log_id}: its whole state has digest {digest:x}, elsewhere {known:x}"
            );
            self.invariants.report_breach("equal states", what);
        }
    }

    /// A state from a snapshot gets the digest that other members had at its index.
    fn adopt(&mut self, node: NodeId, log_id: LogId, digest: u32) -> u64 {
        self.events += 1;
        self.in_state(node, log_id, digest);
        let known = self.invariants.state_at(log_id.index).unwrap_or(0);
        self.member(node).digest = known;
        known
    }
}

fn mixed(sum: u64, bytes: &[u8]) -> u64 {
    let eights = bytes.chunks(8).map(|eight| {
        let mut word = [0; 8];
        word[..eight.len()].copy_from_slice(eight);
        u64::from_le_bytes(word)
    });
    eights
        .chain([bytes.len() as u64])
        .fold(sum, |sum, word| (sum ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29))
}

fn outcome_digest(sum: u64, outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Reply(bytes) => mixed(sum ^ 1, bytes),
        Outcome::SessionOpened(session) => mixed(sum ^ 2, &session.to_le_bytes()),
        Outcome::Blank => sum ^ 3,
        Outcome::SessionExpired => sum ^ 4,
        other => mixed(sum ^ 5, format!("{other:?}").as_bytes()),
    }
}

/// The outside view of one member's apply side.
pub(super) struct Applying {
    pub node: NodeId,
    pub watch: Watch,
}

impl StateWatch for Applying {
    fn wants_proof(&self, entry: &Entry) -> bool {
        let proofs = self.watch.0.lock().proofs;
        proofs > 0 && entry.log_id.index % proofs == self.node % proofs
    }

    fn differs(&self, what: String) {
        self.watch.report_breach("determinism", format!("n{}: {what}", self.node));
    }

    fn applied(&self, entry: &Entry, outcome: &Outcome) {
        let mut watched = self.watch.lock();
        watched.events += 1;
        let before = watched.member(self.node).digest;
        let digest = outcome_digest(mixed(before ^ entry.log_id.index, &entry.data), outcome);
        watched.member(self.node).digest = digest;
        watched.invariants.applied(self.node, entry, digest);
    }

    fn restored(&self, log_id: LogId, digest: u32) {
        let mut watched = self.watch.lock();
        let known = watched.adopt(self.node, log_id, digest);
        watched.invariants.restored(self.node, log_id.index, known);
    }

    fn installed(&self, log_id: LogId, digest: u32) {
        let mut watched = self.watch.lock();
        let known = watched.adopt(self.node, log_id, digest);
        watched.invariants.installed(self.node, log_id, known);
        let now = watched.now();
        watched.trace.line(now, Some(self.node), || format!("installs snapshot {log_id}"));
    }

    fn viewed(&self, log_id: LogId, digest: u32) {
        self.watch.lock().in_state(self.node, log_id, digest);
    }
}
