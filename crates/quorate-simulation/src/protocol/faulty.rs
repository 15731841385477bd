//! Carries out the parts of acts that are not conditions: what happens to a member when an act
//! begins, and when it is over.
//!
//! An act that makes no sense at its moment is skipped and not counted: a member that is down can't
//! crash, and a second disk may not be lost before the first loss is repaired.

use quorate::raft::{Index, InstallStatus, Micros, NodeId};

use super::super::acting::{Acting, Needs};
use super::super::faults::FaultKind;
use super::super::healing::{ConvergenceWait, LeaderWait};
use super::super::schedule::{Act, Schedule};
use super::super::{MILLISECOND, SECOND};
use super::world::{Happening, World};

impl World {
    /// Follows the schedule from now on.
    pub(super) fn follow(&mut self, schedule: &Schedule) {
        self.acting = Acting::of(schedule);
        for (number, act) in schedule.acts.iter().enumerate() {
            self.agenda.plan(act.at, Happening::Begin(number));
            self.agenda.plan(act.until(), Happening::End(number));
        }
    }

    pub(super) fn begin(&mut self, number: usize) {
        let leader = self.leader();
        let act = self.acting.aimed(number, leader);
        if !self.applies(&act) {
            return;
        }
        self.trace.line(self.now, None, || format!("begins: {act}"));
        self.sights.begins(act.kind);
        self.sights.disturbed();
        self.acting.begins(number);
        self.adjust();
        self.strike(number, &act);
    }

    pub(super) fn end(&mut self, number: usize) {
        let Some(act) = self.acting.ends(number) else { return };
        self.trace.line(self.now, None, || format!("is over: {act}"));
        self.adjust();
        self.relent(number, &act);
        self.sights.disturbed();
    }

    /// Adds an act, from now on until all are over.
    pub(super) fn impose(&mut self, act: Act) {
        self.acting.impose(act);
        self.adjust();
    }

    /// Ends all acts at once.
    pub(super) fn end_all(&mut self) {
        while let Some(number) = self.acting.first() {
            self.end(number);
        }
        self.acting.clear();
    }

    /// Updates the conditions to the acts under way.
    fn adjust(&mut self) {
        let conditions = self.acting.conditions(self.nodes.len());
        for id in self.ids() {
            let skew = conditions.member(id).skew;
            if self.conditions.member(id).skew != skew {
                self.nodes[id as usize].clock.set_skew(self.now, skew);
                self.nodes[id as usize].armed = None;
                self.arm(id);
            }
        }
        self.conditions = conditions;
    }

    fn applies(&self, act: &Act) -> bool {
        let id = act.node;
        let alone = self.quorums.is_alone(id);
        match act.kind.needs() {
            Needs::Nothing => true,
            Needs::Life => self.lives(id),
            Needs::Others => !alone,
            Needs::SoundDisks => !alone && self.may_lose(id),
            Needs::KnownDisk => !alone && self.may_lose(id) && self.is_known(id),
        }
    }

    /// Whether a disk may be lost now: with two lost disks, acknowledged entries may be lost.
    fn may_lose(&self, id: NodeId) -> bool {
        let others_are_sound = self.ids().all(|id| self.invariants.is_sound(id));
        self.lives(id) && self.quorums.may_lose(id) && others_are_sound && !self.loses_soon()
    }

    fn is_known(&self, id: NodeId) -> bool {
        self.remembered(id).is_known(self.nodes[id as usize].disk.life.incarnation)
    }

    /// Whether a disk will be rolled back when an act is over.
    fn loses_soon(&self) -> bool {
        !self.acting.copies.is_empty()
    }

    fn strike(&mut self, number: usize, act: &Act) {
        let id = act.node;
        self.node(id).held_down += u32::from(act.kind.keeps_down());
        match act.kind {
            FaultKind::Crash => {
                let done = self.streams.acts.below(4) as usize;
                self.crash(id, done);
            }
            FaultKind::TornWrite => self.crash(id, 1),
            FaultKind::LostWrites => self.crash(id, 0),
            FaultKind::MisdirectedWrite => {
                self.crash(id, 0);
                let count = self.streams.acts.between(1, 40);
                let terms = self.streams.acts.below(3);
                self.node(id).disk.lose_votes(count, terms);
                self.disk_lost(id, true);
            }
            FaultKind::BitRot | FaultKind::DamagedEnd => {
                self.crash(id, 0);
                let count = self.streams.acts.between(1, 40);
                self.node(id).disk.lose_tail(count);
                self.disk_lost(id, true);
            }
            FaultKind::WipedDisk => {
                self.crash(id, 0);
                let node = self.node(id);
                node.disk = node.disk.wiped();
                self.disk_lost(id, false);
            }
            FaultKind::RolledBackDisk => {
                // Others will notice an old copy only if the member has restarted since.
                let copy = self.nodes[id as usize].disk.backup();
                self.acting.copies.insert(number, copy);
                self.crash(id, 0);
                self.start(id);
            }
            FaultKind::FailingSync => self.node(id).sync_fails = true,
            FaultKind::ClockJump => {
                let by = act.strength * 20 * MILLISECOND;
                let node = self.node(id);
                node.clock.jump(by);
                node.armed = None;
                self.invariants.clock_jumped(id);
                self.arm(id);
            }
            FaultKind::ForcedSnapshot => {
                self.input(id, |raft, now| raft.request_snapshot(now));
            }
            FaultKind::MailboxFlood => self.agenda.plan(self.now, Happening::Flood(id)),
            _ => {}
        }
    }

    fn relent(&mut self, number: usize, act: &Act) {
        let id = act.node;
        if act.kind.keeps_down() {
            let node = self.node(id);
            node.held_down -= 1;
            node.sync_fails = false;
            self.start_again(id);
        }
        if act.kind == FaultKind::RolledBackDisk {
            self.roll_back(number, id);
        }
    }

    /// Starts a member that is down, unless an act keeps it down.
    fn start_again(&mut self, id: NodeId) {
        if !self.lives(id) && self.nodes[id as usize].held_down == 0 {
            self.start(id);
        }
    }

    fn roll_back(&mut self, number: usize, id: NodeId) {
        let Some(copy) = self.acting.copies.remove(&number) else { return };
        let (life, earlier) = (self.nodes[id as usize].disk.life, copy.life);
        let noticeable = self.remembered(id).tells_apart(life.incarnation, earlier.incarnation);
        if noticeable && self.may_lose(id) {
            self.crash(id, 0);
            self.node(id).disk = copy;
            self.disk_lost(id, false);
            self.sights.rolled_back += 1;
            self.start_again(id);
        }
    }

    // ---- afterwards ----------------------------------------------------------------------

    /// All faults are over and all members running: a leader must be elected, and all must become
    /// equal. `Err`: what did not happen.
    pub(super) fn heal(&mut self) -> Result<(), (&'static str, String)> {
        let has_failed = !self.acting.is_empty();
        self.end_all();
        self.start_everybody();
        if has_failed {
            self.do_without_a_minority()?;
        }
        self.end_all();
        self.start_everybody();
        self.sights.disturbed();
        let Some(elected_after) = self.leader_comes(World::is_led) else {
            let what = format!("no leader after 12 election timeouts: {}", self.positions());
            return Err(("a leader in time", what));
        };
        self.sights.elected_after = elected_after;
        let goal = self.invariants.committed();
        if !self.comes_to_be(120 * SECOND, |world| world.has_applied(goal)) {
            let what = format!("not all at {goal} with clients: {}", self.positions());
            return Err(("catching up under load", what));
        }
        if has_failed {
            self.outlive_a_hung_disk()?;
        }
        self.close_clients();
        if !self.comes_to_be(60 * SECOND, World::is_converged) {
            return Err(("convergence in time", format!("not converged: {}", self.positions())));
        }
        if has_failed { self.leave_one_unheard() } else { Ok(()) }
    }

    /// The time until there is a leader, in thousandths of an election timeout; `None`: there is
    /// none in time.
    pub(super) fn leader_comes(&mut self, is_led: impl Fn(&World) -> bool) -> Option<u64> {
        let timeout = self.config.election_timeout_max;
        let mut wait = LeaderWait::begin(self.now, timeout, self.pace.decode);
        let mut came = None;
        self.run_until(wait.at_most(), |world| {
            let is_led = world.invariants.is_over() || is_led(world);
            came = wait.look(world.now, is_led, world.quorum_is_free());
            came.is_some()
        });
        came?.ok()
    }

    /// Whether `done` becomes true before the members have applied nothing for `patience`.
    fn comes_to_be(&mut self, patience: Micros, done: impl Fn(&World) -> bool) -> bool {
        let mut wait = ConvergenceWait::begin(self.now, patience);
        self.run_until(Micros::MAX / 2, |world| {
            let applied = world.nodes.iter().map(|node| node.machine.applied.index);
            done(world) || wait.is_over(world.now, applied)
        });
        done(self)
    }

    /// Whether a quorum has no snapshot to install or to build. A member whose log is full takes no
    /// entries before its snapshot is built, and a build keeps the duration with which it began.
    fn quorum_is_free(&self) -> bool {
        self.quorums.are(|id| self.is_free(id) && !self.is_building(id))
    }

    /// Whether it is running and has no snapshot to install.
    pub(super) fn is_free(&self, id: NodeId) -> bool {
        self.status(id).is_some_and(|status| status.install == InstallStatus::None)
    }

    fn start_everybody(&mut self) {
        for id in self.ids() {
            self.node(id).held_down = 0;
            self.start_again(id);
        }
    }

    fn is_led(&self) -> bool {
        let led = self.leader().and_then(|leader| self.status(leader));
        // It has committed an entry of its term, so it serves requests.
        led.is_some_and(|status| Some(status.term) == self.invariants.committed_term())
    }

    fn has_applied(&self, goal: Index) -> bool {
        self.invariants.is_over()
            || self.nodes.iter().all(|node| node.machine.applied.index >= goal)
    }

    /// Whether all have applied all entries, all count, and no request waits.
    fn is_converged(&self) -> bool {
        if self.invariants.is_over() {
            return true;
        }
        let Some(goal) = self.leader().and_then(|leader| self.status(leader)) else { return false };
        self.clients_are_idle()
            && (0..).zip(&self.nodes).all(|(id, node)| {
                node.machine.applied == goal.last && self.invariants.is_sound(id) && node.is_well()
            })
    }

    pub(super) fn positions(&self) -> String {
        let line = |(id, node): (usize, &super::world::Node)| match &node.raft {
            None => format!("\n    n{id} is down ({} hold it)", node.held_down),
            Some(raft) => {
                let status = raft.status();
                format!(
                    "\n    n{id} {:?} term {} leader {:?} log {}..{} snapshot {} persisted {} commit {} applied {} \
                     {:?} recovering {} waits for {:?} {} waiters",
                    status.role,
                    status.term,
                    status.leader,
                    status.log_start,
                    status.last,
                    status.snapshot,
                    status.persisted,
                    status.commit,
                    node.machine.applied,
                    status.install,
                    status.recovering,
                    status.waits_for,
                    node.waiters.len() + node.asked.len() + node.confirmed.len(),
                )
            }
        };
        self.nodes.iter().enumerate().map(line).collect()
    }
}

impl super::world::Node {
    /// Whether it is running, has no loss to repair, and no request waits for it.
    fn is_well(&self) -> bool {
        self.raft.is_some()
            && self.disk.life.loss.is_none()
            && self.waiters.is_empty()
            && self.asked.is_empty()
            && self.confirmed.is_empty()
    }
}
