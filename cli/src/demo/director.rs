//! The schedule of faults, which happen to the peers while the clients count.
//!
//! The seed determines the steps and their order. A step releases some load, injects its fault,
//! waits for the expected effect and restores everything. A step that cannot be carried out
//! (because the text is too short, for example) is reported as skipped.

use std::sync::Arc;
use std::time::Duration;

use quorate::raft::{InstallStatus, NodeId};
use tokio::time::{Instant, sleep};

use super::load::Load;
use super::members::Members;
use super::options::{Faults, Options};
use quorate::raft::Random;

/// How long a step waits for its effect.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);
/// Words per round of all steps: longer texts get more rounds.
const WORDS_PER_ROUND: usize = 800_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Crash,
    LeaderCrash,
    Partition,
    SlowApply,
    SlowInstall,
    RefusedInstall,
}

impl Step {
    fn told(self) -> &'static str {
        match self {
            Step::Crash => "a follower crashes and comes back",
            Step::LeaderCrash => "the leader crashes and comes back",
            Step::Partition => "the leader is cut off, twice",
            Step::SlowApply => "one state machine is slow",
            Step::SlowInstall => "a member that fell behind installs a snapshot slowly",
            Step::RefusedInstall => {
                "a snapshot is offered, overtaken by another leader's entries, and refused"
            }
        }
    }
}

/// Carries out the faults of one run.
pub struct Director {
    members: Arc<Members>,
    load: Arc<Load>,
    random: Random,
    install_delay: Duration,
    faults: Faults,
    skipped: Vec<String>,
}

impl Director {
    /// A director for these members under this load.
    pub fn new(members: Arc<Members>, load: Arc<Load>, options: &Options) -> Director {
        let random = Random::new(options.seed ^ 0xfa17);
        let (install_delay, faults) = (options.install_delay.0, options.faults);
        Director { members, load, random, install_delay, faults, skipped: Vec::new() }
    }

    /// Carries out the schedule and releases the whole load; returns the skipped steps.
    pub async fn direct(mut self) -> Vec<String> {
        let rounds = 1 + self.load.text().len() / WORDS_PER_ROUND;
        let mut steps = Vec::new();
        for _ in 0..rounds {
            steps.extend(self.shuffled_steps());
        }
        let portion = self.load.text().len() / (steps.len() + 1);
        for step in steps {
            self.members.note(step.told().into());
            if let Err(why) = self.carry_out(step, portion).await {
                self.skipped.push(format!("{}: {why}", step.told()));
            }
            self.put_back().await;
        }
        self.members.note("the rest of the text".into());
        self.load.release(usize::MAX);
        self.load.end();
        self.skipped
    }

    fn shuffled_steps(&mut self) -> Vec<Step> {
        let faults = self.faults;
        let several = self.members.len() > 1;
        let quorum = self.members.len() > 2;
        let wanted = [
            (Step::Crash, faults.crash && several),
            (Step::LeaderCrash, faults.leader_crash),
            (Step::Partition, faults.partition && quorum),
            (Step::SlowApply, faults.slow_apply),
            (Step::SlowInstall, faults.slow_install && quorum),
            (Step::RefusedInstall, faults.slow_install && quorum),
        ];
        let mut steps: Vec<Step> =
            wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(step, _)| step).collect();
        for last in (1..steps.len()).rev() {
            steps.swap(last, self.random.below(last as u64 + 1) as usize);
        }
        steps
    }

    async fn carry_out(&mut self, step: Step, portion: usize) -> Result<(), String> {
        match step {
            Step::Crash => self.crash_follower(portion).await,
            Step::LeaderCrash => self.crash_leader(portion).await,
            Step::Partition => self.partition(portion).await,
            Step::SlowApply => self.slow_apply(portion).await,
            Step::SlowInstall => self.slow_install(portion).await,
            Step::RefusedInstall => self.refused_install().await,
        }
    }

    /// Restarts, reconnects and speeds up all members, and waits until they have caught up with the
    /// leader.
    async fn put_back(&mut self) {
        self.members.heal();
        for id in self.members.ids() {
            self.members.delays(id).clear();
            if !self.members.lives(id) {
                self.restart(id).await;
            }
        }
        let members = self.members.clone();
        let caught_up = self.until(PATIENCE, || members.caught_up(1_000)).await;
        if !caught_up {
            let late = self.members.behind(1_000);
            self.skipped.push(format!("not caught up within {} s: {late:?}", PATIENCE.as_secs()));
        }
    }

    // ---- steps ---------------------------------------------------------------------------

    async fn crash_follower(&mut self, portion: usize) -> Result<(), String> {
        let leader = self.leader().await?;
        let victim = self.other_than(&[leader])?;
        self.crash_under_load(victim, portion).await
    }

    async fn crash_leader(&mut self, portion: usize) -> Result<(), String> {
        let leader = self.leader().await?;
        self.crash_under_load(leader, portion).await
    }

    async fn crash_under_load(&mut self, victim: NodeId, portion: usize) -> Result<(), String> {
        self.load.release(portion / 4);
        sleep(Duration::from_millis(20)).await;
        self.members.crash(victim).await;
        self.work_off(portion / 2).await;
        self.restart(victim).await;
        self.work_off(portion / 4).await;
        Ok(())
    }

    /// Twice: disconnects the leader in both directions or in one, then heals the network.
    async fn partition(&mut self, portion: usize) -> Result<(), String> {
        for _ in 0..2 {
            let leader = self.leader().await?;
            self.load.release(portion / 8);
            sleep(Duration::from_millis(20)).await;
            match self.random.below(3) {
                0 => self.members.isolate(leader),
                1 => self.members.cut_one_way(leader, true),
                _ => self.members.cut_one_way(leader, false),
            }
            self.work_off(portion / 8).await;
            sleep(Duration::from_millis(1_500)).await;
            self.members.heal();
            self.work_off(portion / 4).await;
        }
        Ok(())
    }

    async fn slow_apply(&mut self, portion: usize) -> Result<(), String> {
        let Some(victim) = self.pick(&self.members.ids()) else {
            return Err("no members".into());
        };
        self.members.delays(victim).set_apply(Duration::from_millis(20));
        self.work_off(portion / 2).await;
        self.members.delays(victim).clear();
        self.work_off(portion / 2).await;
        Ok(())
    }

    /// A follower falls behind the leader's log and installs a snapshot that takes long to decode,
    /// while the cluster continues.
    async fn slow_install(&mut self, portion: usize) -> Result<(), String> {
        let leader = self.leader().await?;
        let victim = self.other_than(&[leader])?;
        self.members.isolate(victim);
        self.fall_behind(leader, victim).await?;
        self.members.delays(victim).set_decode(self.install_delay);
        let granted_before = self.members.status(victim).raft.counters.installs_granted;
        self.members.heal();
        self.pending(victim).await?;
        let members = self.members.clone();
        let begun = Instant::now();
        let granted = || members.status(victim).raft.counters.installs_granted > granted_before;
        while !granted() {
            if begun.elapsed() > PATIENCE + 3 * self.install_delay {
                return Err("the install did not come to an end".into());
            }
            self.load.release(portion / 200);
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// A snapshot is offered, its leader is isolated, and a member whose log reaches back is
    /// elected: the entries that this one appends make the snapshot obsolete, and the offer is
    /// refused.
    async fn refused_install(&mut self) -> Result<(), String> {
        let mut why = String::new();
        for _ in 0..4 {
            match self.try_refused_install().await {
                Ok(()) => return Ok(()),
                Err(reason) => why = reason,
            }
            self.put_back().await;
        }
        Err(why)
    }

    async fn try_refused_install(&mut self) -> Result<(), String> {
        self.fresh_snapshots().await?;
        let leader = self.leader().await?;
        let victim = self.other_than(&[leader])?;
        self.members.isolate(victim);
        // Only the leader compacts past the victim: it is asked to, once there is more than the
        // trailing entries.
        let behind = self.members.status(victim).raft.last.index;
        let others: Vec<NodeId> =
            self.members.ids().into_iter().filter(|&id| id != leader && id != victim).collect();
        let begun = Instant::now();
        while self.members.status(leader).raft.log_start.index <= behind {
            if begun.elapsed() > PATIENCE || self.load.left() == 0 {
                return Err("the leader's log was not compacted past the follower".into());
            }
            self.work_off(500).await;
            self.members.snapshot(leader).await;
        }
        if others.iter().any(|&id| self.members.status(id).raft.log_start.index > behind) {
            return Err("the others compacted as well".into());
        }
        self.members.delays(victim).set_decode(self.install_delay);
        let before = self.members.status(victim).raft.counters;
        self.members.heal();
        self.pending(victim).await?;
        self.members.isolate(leader);
        let members = self.members.clone();
        let refused =
            || members.status(victim).raft.counters.installs_refused > before.installs_refused;
        let wait = 2 * self.install_delay + Duration::from_secs(5);
        if !self.until(wait, refused).await {
            return Err("the offer was not refused".into());
        }
        Ok(())
    }

    // ---- helpers of the steps ------------------------------------------------------------

    async fn restart(&mut self, id: NodeId) {
        if let Err(error) = self.members.restart(id).await {
            self.skipped.push(error.0);
        }
    }

    /// Makes every member take a snapshot, so that no log is compacted on its own for a while.
    async fn fresh_snapshots(&mut self) -> Result<(), String> {
        for id in self.members.ids() {
            self.members.snapshot(id).await;
        }
        Ok(())
    }

    /// Adds load until the leader's log does not reach back to `victim` any more.
    async fn fall_behind(&mut self, leader: NodeId, victim: NodeId) -> Result<(), String> {
        let behind = self.members.status(victim).raft.last.index;
        let begun = Instant::now();
        while self.members.status(leader).raft.log_start.index <= behind {
            if begun.elapsed() > PATIENCE || self.load.left() == 0 {
                return Err("the log was not compacted past the follower".into());
            }
            self.work_off(2_000).await;
        }
        Ok(())
    }

    async fn pending(&mut self, victim: NodeId) -> Result<(), String> {
        let members = self.members.clone();
        let pending =
            || matches!(members.status(victim).raft.install, InstallStatus::Pending { .. });
        if self.until(PATIENCE, pending).await {
            Ok(())
        } else {
            Err("no snapshot was offered".into())
        }
    }

    /// Releases some load and waits until most of it is acknowledged.
    async fn work_off(&mut self, words: usize) {
        let load = self.load.clone();
        load.release(words);
        self.until(Duration::from_secs(5), || load.under_way() < 64).await;
    }

    async fn leader(&mut self) -> Result<NodeId, String> {
        let members = self.members.clone();
        self.until(PATIENCE, || members.leader().is_some()).await;
        self.members.leader().ok_or_else(|| "no leader".into())
    }

    fn other_than(&mut self, not: &[NodeId]) -> Result<NodeId, String> {
        let ids: Vec<NodeId> =
            self.members.ids().into_iter().filter(|id| !not.contains(id)).collect();
        self.pick(&ids).ok_or_else(|| "no other member".into())
    }

    /// One of `ids`. `None` if there is none.
    fn pick(&mut self, ids: &[NodeId]) -> Option<NodeId> {
        (!ids.is_empty()).then(|| *self.random.pick(ids))
    }

    async fn until(&mut self, limit: Duration, done: impl Fn() -> bool) -> bool {
        let begun = Instant::now();
        while !done() {
            if begun.elapsed() > limit {
                return false;
            }
            sleep(LOOK).await;
        }
        true
    }
}
