//! Members in virtual time: their disks, their incarnations and their surroundings.
//!
//! A member is a whole node of the library. Its disk, its clock and what acts keep down outlive it.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::spawn_local;

use quorate::hooks::{
    Observer, SimDisk, SkewedClock, Unsynced, skewed, stop_signal, with_raft_status,
};
use quorate::machine::{Machine, SessionCounters};
use quorate::node::{Handle, Members, Node, NodeBuilder};
use quorate::raft::{Counters, InstallStatus, Membership, Micros, NodeId, Role, Term};
use quorate::runtime::Placement;
use quorate::storage::Start;

use super::super::acting::Acting;
use super::super::outcome::Settings;
use super::super::random::Dice;
use super::acting::Agenda;
use super::config::Terms;
use super::disk::{Before, WatchedStorage};
use super::losses::Copy;
use super::network::Network;
use super::own_side::Making;
use super::room::Room;
use super::watch::{Applying, Watch};

pub(super) const CLUSTER: u64 = 9;
/// The error of a node when others remember a later start of it.
const OUTLIVED: &str = "other members remember a later start";

/// A cluster.
pub(super) struct World<M: Machine> {
    pub watch: Watch,
    pub network: Network,
    pub terms: Terms,
    pub slots: Vec<Slot<M>>,
    pub members: Members<M>,
    pub acting: Acting<Copy>,
    pub agenda: Agenda,
    /// Random stream for the acts.
    pub dice: Dice,
    pub room: Room,
    pub totals: Totals,
    make: Rc<dyn Fn() -> M>,
    placement: Placement,
}

/// A member and what outlives it.
pub(super) struct Slot<M: Machine> {
    pub disk: SimDisk,
    pub node: Option<Node<M>>,
    pub handle: Option<Handle<M>>,
    pub warp: Arc<SkewedClock>,
    before: Before,
    /// Where the last write to its log began.
    pub last_log_write: Option<(PathBuf, u64)>,
    /// The number of acts that keep it down.
    pub held_down: u32,
    /// Set if its power or process is about to fail.
    pub doom: Option<Doom>,
    /// An act may have made it stop.
    pub may_stop: bool,
    /// Its disk was replaced by a copy: others may remember later starts, even if no data is
    /// missing.
    pub rolled_back: bool,
    /// Its time was paused or jumped in this incarnation.
    pub is_disturbed: bool,
    /// The counters of its own apply side, if it has one.
    by_hand: Arc<Mutex<SessionCounters>>,
}

/// How an incarnation ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doom {
    /// The latest time.
    pub at: Micros,
    /// What becomes of unsynced data; `None`: only the process dies.
    pub unsynced: Option<Unsynced>,
}

/// The counters of members over all incarnations.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub counters: Counters,
    pub duplicates: u64,
    pub expired: u64,
    /// How many of those expired because they were idle for too long.
    pub idle: u64,
    /// The sum of all clock jumps.
    pub jumped: Micros,
    pub stall_ms: f64,
}

impl<M: Machine> World<M> {
    /// All members, down.
    pub(super) fn new(
        settings: &Settings,
        terms: Terms,
        watch: Watch,
        make: Rc<dyn Fn() -> M>,
    ) -> World<M> {
        let (nodes, seed) = (settings.nodes, settings.seed);
        let slot = |_| Slot {
            disk: SimDisk::forgetful(Default::default()),
            node: None,
            handle: None,
            warp: Arc::new(SkewedClock::default()),
            before: Before::default(),
            last_log_write: None,
            held_down: 0,
            doom: None,
            may_stop: false,
            rolled_back: false,
            is_disturbed: false,
            by_hand: Arc::default(),
        };
        let slots: Vec<Slot<M>> = (0..nodes).map(slot).collect();
        watch.lock().tick = terms.config.tick_interval.as_micros() as Micros;
        World {
            network: Network::new(nodes, seed, watch.clone(), terms.grid),
            watch,
            terms,
            slots,
            members: Members::default(),
            acting: Acting::of(&settings.schedule),
            agenda: Agenda::of(&settings.schedule),
            dice: Dice::new(seed, 22),
            room: Room::new(seed, nodes),
            totals: Totals::default(),
            make,
            placement: Placement::virtual_time(),
        }
    }

    pub(super) fn ids(&self) -> std::ops::Range<NodeId> {
        0..self.slots.len() as NodeId
    }

    pub(super) fn slot(&mut self, id: NodeId) -> &mut Slot<M> {
        &mut self.slots[id as usize]
    }

    /// Whether it is running and not stopping.
    pub(super) fn lives(&self, id: NodeId) -> bool {
        let slot = &self.slots[id as usize];
        slot.doom.is_none() && slot.is_running()
    }

    pub(super) fn positions(&self) -> impl Iterator<Item = Position> {
        (0..).zip(&self.slots).filter_map(|(id, slot)| {
            let handle = slot.handle.as_ref().filter(|_| slot.is_running())?;
            Some(with_raft_status(handle, |raft| Position {
                id,
                role: raft.role,
                term: raft.term,
                last: raft.last.index,
                applied: raft.applied,
                is_free: raft.install == InstallStatus::None,
            }))
        })
    }

    /// The leader of the highest term among the running members, if any.
    pub(super) fn leader(&self) -> Option<Position> {
        let leaders = self.positions().filter(|position| position.role == Role::Leader);
        leaders.max_by_key(|position| position.term)
    }

    // ---- incarnations --------------------------------------------------------------------------

    /// Starts a member that is down.
    pub(super) async fn start(&mut self, id: NodeId) {
        let members = Membership::of_voters(self.ids());
        let watch = self.watch.clone();
        watch.lock().roll(id);
        let delays = watch.lock().members[id as usize].delays.clone();
        let slot = &mut self.slots[id as usize];
        (slot.before, slot.doom) = (Before::default(), None);
        (slot.may_stop, slot.is_disturbed) = (false, false);
        let storage = WatchedStorage {
            node: id,
            disk: slot.disk.clone(),
            files: self.terms.files.clone(),
            delays: delays.clone(),
            before: slot.before.clone(),
            watch: watch.clone(),
        };
        let (turns, states) = (watch.clone(), Applying { node: id, watch: watch.clone() });
        let observer = Observer::new(move |observation| turns.lock().turn(observation))
            .with_states(Arc::new(states));
        let mut builder = NodeBuilder::new(id, (self.make)());
        if self.terms.by_hand {
            let making = Making {
                node: id,
                machine: (self.make)(),
                sessions: self.terms.config.sessions,
                delays: delays.clone(),
                watch: watch.clone(),
                observer: observer.clone(),
                counters: slot.by_hand.clone(),
            };
            builder = builder.apply_side(|link| making.start(link));
        }
        let started = builder
            .cluster(CLUSTER)
            .config(self.terms.config_of(id))
            .storage(storage)
            .transport(self.network.endpoint(id))
            .start_mode(Start::Bootstrap(members))
            .placement(skewed(self.placement.clone(), slot.warp.clone()))
            .delays(delays)
            .observer(observer)
            .start()
            .await;
        match started {
            Ok(node) => {
                self.members.set(node.handle());
                (slot.handle, slot.node) = (Some(node.handle()), Some(node));
            }
            Err(error) => {
                watch.report_breach("a member starts", format!("n{id} does not: {error}"))
            }
        }
    }

    /// Ends the member's process. Unsynced data is kept or lost as `unsynced` says; with `undone`,
    /// a write under way is lost, too.
    pub(super) async fn crash(&mut self, id: NodeId, unsynced: Option<Unsynced>, undone: bool) {
        self.take_stock(id);
        let slot = &mut self.slots[id as usize];
        (slot.doom, slot.handle) = (None, None);
        let Some(node) = slot.node.take() else { return };
        self.watch.note(Some(id), || format!("ends: {unsynced:?}"));
        self.watch.lock().invariants.ended(id);
        node.crash().await;
        slot.last_log_write = slot.disk.last_log_write();
        slot.disk = slot.before.after_crash(&slot.disk, unsynced, undone);
    }

    /// Starts a member that is down, unless an act keeps it down.
    pub(super) async fn start_again(&mut self, id: NodeId) {
        let slot = &self.slots[id as usize];
        if slot.node.is_none() && slot.held_down == 0 {
            self.start(id).await;
        }
    }

    /// Adds the counters of an incarnation at its end.
    pub(super) fn take_stock(&mut self, id: NodeId) {
        let slot = &self.slots[id as usize];
        let Some(status) = slot.handle.as_ref().map(Handle::status) else { return };
        self.totals.counters.add(&status.raft.counters);
        let sessions = if self.terms.by_hand { *slot.by_hand.lock() } else { status.sessions };
        self.totals.duplicates += sessions.duplicates_suppressed;
        self.totals.expired += sessions.sessions_expired + sessions.sessions_evicted;
        self.totals.idle += sessions.sessions_expired;
        self.look_for_alarms(id);
        if slot.is_disturbed {
            return;
        }
        self.totals.stall_ms = self.totals.stall_ms.max(status.max_loop_stall_ms);
        let tick = self.terms.config.tick_interval + Duration::from_millis(1);
        if status.max_loop_stall_ms > tick.as_secs_f64() * 1e3 {
            let what = format!("n{id}: {} ms, a tick is {tick:?}", status.max_loop_stall_ms);
            self.watch.report_breach("the loop goes on", what);
        }
    }

    fn look_for_alarms(&self, id: NodeId) {
        let handle = self.slots[id as usize].handle.as_ref();
        let alarms =
            handle.map_or(0, |handle| with_raft_status(handle, |raft| raft.counters.safety_alarms));
        if alarms > 0 {
            self.watch.lock().invariants.alarmed(id, "see its log");
        }
    }

    /// Handles members that have stopped by themselves, or are about to.
    pub(super) async fn attend(&mut self) {
        let now = self.watch.now();
        for id in self.ids() {
            self.look_for_alarms(id);
            self.build_beside(id);
            self.ration(id);
            let slot = &self.slots[id as usize];
            let stopped = slot.node.is_some() && !slot.is_running();
            match slot.doom {
                Some(doom) if stopped || doom.at <= now => {
                    let undone = self.dice.chance(500);
                    self.crash(id, doom.unsynced, undone).await;
                }
                None if stopped => self.stopped_by_itself(id).await,
                _ => {}
            }
        }
    }

    /// Requests a snapshot of a member's own, while it receives another one.
    fn build_beside(&mut self, id: NodeId) {
        let slot = &self.slots[id as usize];
        let Some(handle) = slot.handle.as_ref().filter(|_| slot.is_running()) else { return };
        let install = with_raft_status(handle, |raft| raft.install);
        let receives = matches!(install, InstallStatus::Receiving { .. });
        if receives && self.dice.chance(self.terms.eager) {
            self.watch.lock().sights.built_beside += 1;
            self.ask_for_snapshot(id);
        }
    }

    async fn stopped_by_itself(&mut self, id: NodeId) {
        let slot = &self.slots[id as usize];
        let fatal = slot.handle.as_ref().and_then(|handle| stop_signal(handle).fatal());
        let fatal = fatal.unwrap_or_else(|| "no reason is known".into());
        self.watch.note(Some(id), || format!("stops: {fatal}"));
        let missing = slot.rolled_back || !self.watch.lock().invariants.is_sound(id);
        let outlived = fatal.contains(OUTLIVED) && missing;
        if !(slot.may_stop || outlived) {
            return self
                .watch
                .report_breach("no member stops by itself", format!("n{id}: {fatal}"));
        }
        let unsynced = match self.dice.below(3) {
            0 => Unsynced::Kept,
            1 => Unsynced::Lost,
            _ => Unsynced::Torn(self.dice.roll()),
        };
        self.crash(id, Some(unsynced), false).await;
        self.start_again(id).await;
    }

    /// If another member leads now, old messages are delivered again.
    pub(super) fn heed_leaders(&self) {
        let mut watched = self.watch.lock();
        if std::mem::take(&mut watched.new_leaders) > 0 {
            let now = watched.now();
            drop(watched);
            let came = self.network.replay(now);
            self.watch.lock().sights.replayed += came;
        }
    }

    /// Requests a snapshot of a member.
    pub(super) fn ask_for_snapshot(&self, id: NodeId) {
        if let Some(handle) = self.slots[id as usize].handle.clone() {
            // Any answer is ignored.
            spawn_local(async move { drop(handle.snapshot().await) });
        }
    }
}

impl<M: Machine> Slot<M> {
    pub(super) fn is_running(&self) -> bool {
        self.handle.as_ref().is_some_and(|handle| stop_signal(handle).is_running())
    }
}

/// The state of a member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub id: NodeId,
    pub role: Role,
    pub term: Term,
    pub last: u64,
    pub applied: u64,
    /// It has no snapshot to install.
    pub is_free: bool,
}
