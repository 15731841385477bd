//! Afterwards all faults are over and all members running: a leader must be elected, all members
//! must become equal, and no request may wait.

use std::time::Duration;

use tokio::time::sleep;

use quorate::machine::Machine;
use quorate::node::{Consistency, Handle};
use quorate::raft::Micros;

use super::super::healing::{ConvergenceWait, LeaderWait};
use super::super::{MILLISECOND, SECOND};
use super::run::Crew;
use super::world::World;

/// What did not happen, and the state instead.
type Unhealed = (&'static str, String);

/// How often the conditions are checked.
const LOOK: Duration = Duration::from_millis(5);

impl<M: Machine> World<M> {
    pub(super) async fn heal(&mut self, crew: &mut Crew) -> Result<(), Unhealed> {
        self.end_all().await;
        for id in self.ids() {
            self.slot(id).held_down = 0;
            self.start_again(id).await;
        }
        self.watch.lock().sights.disturbed();
        if !self.leader_comes(crew).await {
            let what = format!("no leader after 12 election timeouts: {}", self.describe());
            return Err(("a leader in time", what));
        }
        crew.close();
        // Work under way keeps the durations with which it began.
        let busy =
            self.slots.iter().filter_map(|slot| quorate::hooks::busy_until(slot.node.as_ref()?));
        let busy =
            busy.max().map(|until| until.saturating_duration_since(tokio::time::Instant::now()));
        let patience = 60 * SECOND + busy.unwrap_or_default().as_micros() as Micros;
        let mut wait = ConvergenceWait::begin(self.watch.now(), patience);
        let is_equal = |world: &World<M>, crew: &Crew| crew.is_idle() && world.is_converged();
        self.comes(crew, Micros::MAX, |world, crew| {
            let applied = world.positions().map(|position| position.applied);
            is_equal(world, crew) || wait.is_over(world.watch.now(), applied)
        })
        .await;
        if !self.watch.is_over() && !is_equal(self, crew) {
            let waiting = if crew.is_idle() { "" } else { ", clients still wait" };
            let what = format!("not converged{waiting}: {}", self.describe());
            return Err(("convergence in time", what));
        }
        self.is_at_rest().await
    }

    /// Whether a leader is elected and commits in time.
    async fn leader_comes(&mut self, crew: &mut Crew) -> bool {
        let (now, timeout) = (self.watch.now(), self.terms.config.election_timeout_max);
        let timeout = timeout.as_micros() as Micros;
        let mut wait = LeaderWait::begin(now, timeout, self.terms.pace.decode);
        let mut came = None;
        self.comes(crew, now + wait.at_most(), |world, _| {
            came = wait.look(world.watch.now(), world.is_led(), world.quorum_is_free());
            came.is_some()
        })
        .await;
        let came = came.and_then(Result::ok);
        self.watch.lock().sights.elected_after = came.unwrap_or_default();
        came.is_some() || self.watch.is_over()
    }

    /// Whether `done` becomes true by then, or there is nothing more to find.
    async fn comes(
        &mut self,
        crew: &mut Crew,
        until: Micros,
        mut done: impl FnMut(&World<M>, &Crew) -> bool,
    ) -> bool {
        loop {
            crew.check(&self.watch).await;
            if self.watch.is_over() || done(self, crew) {
                return true;
            }
            if self.watch.now() > until {
                return false;
            }
            sleep(LOOK).await;
            self.attend().await;
        }
    }

    /// Whether a member leads and has committed in its term, so that it serves requests.
    fn is_led(&self) -> bool {
        let term = self.watch.lock().invariants.committed_term();
        self.leader().is_some_and(|leader| Some(leader.term) == term)
    }

    /// Whether more than half of the members have no snapshot to install.
    fn quorum_is_free(&self) -> bool {
        self.positions().filter(|position| position.is_free).count() > self.slots.len() / 2
    }

    /// Whether all have applied all entries, and all count.
    fn is_converged(&self) -> bool {
        let Some(goal) = self.leader() else { return false };
        let there = self.positions().filter(|position| position.applied == goal.last).count();
        let watched = self.watch.lock();
        there == self.slots.len() && self.ids().all(|id| watched.invariants.is_sound(id))
    }

    /// No request waits, nothing is queued, and all states are equal.
    async fn is_at_rest(&mut self) -> Result<(), Unhealed> {
        // The last answers reach the members.
        sleep(Duration::from_micros(10 * MILLISECOND)).await;
        let mut digests = Vec::new();
        for id in self.ids() {
            let Some(handle) = self.slots[id as usize].handle.clone() else { continue };
            let status = handle.status();
            let (commands, reads) = (status.proposals_in_flight, status.reads_in_flight);
            if commands + reads > 0 || status.apply_queue_items > 0 {
                let queued = status.apply_queue_items;
                let what = format!("n{id}: {commands} commands, {reads} reads, {queued} queued");
                return Err(("every waiter resolved", what));
            }
            let config = quorate::hooks::raft_config(&self.terms.config_of(id), 0, id);
            let held = status.raft.counters.max_log_bytes;
            self.watch.lock().invariants.log_was_bounded(&config, held);
            digests.push((id, digest(&handle).await));
        }
        let first = digests.first().map(|(_, digest)| digest.clone());
        match digests.iter().find(|(_, digest)| Some(digest) != first.as_ref()) {
            Some((id, digest)) => {
                Err(("equal states", format!("n{id} ends as {digest:?}, n0 as {first:?}")))
            }
            None => Ok(()),
        }
    }

    /// Stops all members in order.
    pub(super) async fn shut_down(&mut self) {
        for id in self.ids() {
            self.take_stock(id);
            let slot = self.slot(id);
            let (node, handle) = (slot.node.take(), slot.handle.take());
            let Some((node, handle)) = node.zip(handle) else { continue };
            if tokio::time::timeout(Duration::from_secs(60), node.shutdown()).await.is_err() {
                self.watch.report_breach("a member stops", format!("n{id} does not, in 60 s"));
            }
            if let Some(fatal) = handle.status().fatal {
                self.watch.report_breach("no member stops by itself", format!("n{id}: {fatal}"));
            }
        }
    }

    fn describe(&self) -> String {
        let line = |(id, slot): (usize, &super::world::Slot<M>)| match &slot.handle {
            Some(handle) if slot.is_running() => {
                let status = handle.status();
                let sound = self.watch.lock().invariants.is_sound(id as u64);
                let raft = &status.raft;
                format!(
                    "\n    n{id} {:?} term {} leader {:?} log {}..{} snapshot {} persisted {} commit {} applied {} \
                     {:?} recovering {} waits for {:?} sound {sound} {} commands {} reads",
                    raft.role,
                    raft.term,
                    raft.leader,
                    raft.log_start,
                    raft.last,
                    raft.snapshot,
                    raft.persisted,
                    raft.commit,
                    raft.applied,
                    raft.install,
                    raft.recovering,
                    raft.waits_for,
                    status.proposals_in_flight,
                    status.reads_in_flight,
                )
            }
            _ => format!("\n    n{id} is down ({} hold it)", slot.held_down),
        };
        self.slots.iter().enumerate().map(line).collect()
    }
}

/// The digest of a member's encoded state machine.
async fn digest<M: Machine>(handle: &Handle<M>) -> Result<u32, String> {
    let encoded = |machine: &M| {
        let mut bytes = Vec::new();
        let encoded = M::encode(&machine.view(), &mut bytes);
        encoded.map(|()| crc32c::crc32c(&bytes)).map_err(|error| error.to_string())
    };
    let digest = handle.read(Consistency::Local, encoded).await;
    digest.map_err(|error| error.to_string())?
}
