//! A peer without its clock, its randomness and its counters, for a model checker.
//!
//! A model checker lets timeouts fire at any time. For it two peers are in the same state if they
//! differ only in when or how often something happened, or in the next random numbers.
//! [`Raft::forget_history`] makes such peers equal:
//!
//! | state | becomes |
//! |---|---|
//! | the clock | the given time, which may be in the past |
//! | times at which something happened | that time |
//! | times at which a wait ends | that time plus the full wait; that time, if the wait is over |
//! | when a leader was heard | never: every candidate may be voted for |
//! | a stall of the process | over |
//! | randomness | always the same seed |
//! | counters | 0 |
//! | numbers of steps and reads | start again, if none is under way |
//!
//! Contents of messages and disks are not changed. *Not here:* which timeout fires; for that, call
//! [`tick`](Raft::tick) with a later time.

use super::Counters;
use super::compaction::Building;
use super::config::RaftConfig;
use super::core::Raft;
use super::install::InstallSlot;
use super::random::Random;
use super::state::{Campaign, Progress, ProgressState, TransferStep};
use super::types::Micros;

/// The new end of a wait of `wait` that ends at `at`, when the clock changes from `from` to `to`.
fn waits_anew(at: Micros, wait: Micros, from: Micros, to: Micros) -> Micros {
    if at > from { to + wait } else { to }
}

impl Raft {
    /// Sets the clock to `now`, and resets all state that depends only on time, randomness and
    /// counting as if it had been set at that time. Call it when [`ready`](Raft::ready) has
    /// returned everything.
    pub fn forget_history(&mut self, now: Micros) {
        let from = std::mem::replace(&mut self.now, now);
        let config = &self.config;
        let interval = config.election_timeout_max;
        self.peers.forget_history(|at| waits_anew(at, interval, from, now), now);
        self.recovery_query.ask_at =
            waits_anew(self.recovery_query.ask_at, config.request_timeout, from, now);
        self.terms.forget_history(now);
        self.claims.doubted_at = now;
        self.timer.forget_history(now + config.election_timeout_max);
        self.campaign.forget_times(now + config.request_timeout);
        if let Some(leading) = self.role.leading_mut() {
            leading.members_mut().for_each(|(_, progress)| {
                progress.forget_times(config, from, now);
            });
            leading.forget_history(now);
        }
        self.steps.forget_history(now);
        self.building.forget_times(config.snapshot_retry_interval, from, now);
        if let InstallSlot::Receiving(receiving) = &mut self.install {
            receiving.heard_at = now;
        }
        self.random = Random::of([config.seed, config.node, 0]);
        self.counters = Counters::default();
        let reads = self.role.members().any(|(_, progress)| progress.read.is_some());
        if !reads && self.apply_window.read().is_none() {
            self.numbers.forget_log_reads();
        }
    }
}

impl Progress {
    fn forget_times(&mut self, config: &RaftConfig, from: Micros, now: Micros) {
        self.sent_at = now;
        self.heartbeat.0 = now;
        self.answered_at = now;
        self.entries_sent_at = None;
        // Not lost: a heartbeat is due after an interval without any request.
        self.next_heartbeat_at = None;
        self.retry_at = waits_anew(self.retry_at, config.retry_interval, from, now);
        match &mut self.state {
            ProgressState::Probe { outstanding } => {
                if let Some((_, at)) = outstanding {
                    *at = now;
                }
            }
            ProgressState::Replicate { inflight } => {
                inflight.iter_mut().for_each(|sent| sent.sent_at = now);
            }
            ProgressState::Snapshot(transfer) => {
                transfer.progressed_at = now;
                transfer.poll = config.retry_interval;
                transfer.patience = config.request_timeout;
                if let TransferStep::Sent { at, .. } = &mut transfer.step {
                    *at = now;
                }
            }
        }
    }
}

impl Building {
    fn forget_times(&mut self, retry_interval: Micros, from: Micros, now: Micros) {
        self.retry_at = waits_anew(self.retry_at, retry_interval, from, now);
        (self.failures, self.kept_by) = (0, None);
    }
}

impl Campaign {
    fn forget_times(&mut self, again_at: Micros) {
        self.again.values_mut().for_each(|at| *at = again_at);
    }
}
