//! One seed, from the first event to the last check.

use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate::raft::{Micros, RaftConfig};

use super::super::MILLISECOND;
use super::super::faults::FaultKind;
use super::super::outcome::{Outcome, Settings, panic_message};
use super::super::quorums::founding;
use super::super::random::Dice;
use super::super::trace::Trace;
use super::world::{Pace, World};

/// Runs one seed of tier 1.
pub fn run(settings: &Settings) -> Outcome {
    let trace = if settings.with_lines { Trace::with_lines() } else { Trace::default() };
    let mut dice = Dice::new(settings.seed, 2);
    let mut config = config(&mut dice);
    let mut coincidences = Dice::new(settings.seed, 4);
    if coincidences.chance(300) {
        tighten(&mut config, &mut coincidences);
    }
    if settings.schedule.acts.iter().any(|act| act.kind == FaultKind::Lies) {
        config.doubt_timeout = 10 * config.election_timeout_max;
    }
    let members = founding(settings.nodes, &mut coincidences);
    let mut world = World::new(members, settings.seed, config, trace);
    world.invariants.follow_transfers(&world.config);
    world.pace = pace(&mut dice);
    world.pace.turn = turn(&mut coincidences);
    world.eager = *coincidences.pick(&[0, 0, 20, 100]);
    world.asks_late = *coincidences.pick(&[0, 0, 500, 3_000]) * MILLISECOND;
    // Where snapshots are frequent, a transfer takes longer than several of them.
    let often = world.eager > 0 || world.config.snapshot_entries.is_some_and(|most| most < 40);
    world.retained = if often { 40 } else { coincidences.below(4) as usize };
    // Sometimes fewer than there are clients.
    world.sessions_max = if dice.chance(200) { 6 } else { dice.between(12, 20) as usize };
    world.start_all();
    world.follow(&settings.schedule);
    world.admit_clients(10, dice.between(300, 900) * MILLISECOND);
    let ran = catch_unwind(AssertUnwindSafe(|| world.live(settings)));
    if let Err(panic) = ran {
        world.invariants.report_breach("no panic", panic_message(&*panic));
    }
    world.into_outcome(settings)
}

/// Limits of all sizes: small ones make rare events frequent.
fn config(dice: &mut Dice) -> RaftConfig {
    let heartbeat_interval = dice.between(5, 25) * 10 * MILLISECOND;
    let sparing = dice.chance(300);
    RaftConfig {
        node: 0,
        cluster: 9,
        seed: 0,
        heartbeat_interval,
        election_timeout_min: 3 * heartbeat_interval,
        election_timeout_max: 6 * heartbeat_interval,
        request_timeout: heartbeat_interval * 3 / 2,
        retry_interval: dice.between(1, 10) * 10 * MILLISECOND,
        check_quorum: true,
        batch_delay: if sparing { dice.below(4) * 5 * MILLISECOND } else { 0 },
        append_interval: if sparing { dice.below(3) * 10 * MILLISECOND } else { 0 },
        commit_notice: sparing.then(|| dice.below(5) * 4 * MILLISECOND),
        noop_on_election: true,
        append_bytes: *dice.pick(&[1, 500, 2_000]),
        append_entries: *dice.pick(&[1, 16, 64]),
        window_messages: *dice.pick(&[1, 2, 8]),
        window_bytes: 16_000,
        uncommitted_bytes: 3_000,
        unpersisted_bytes: 20_000,
        log_cache_bytes: *dice.pick(&[0, 1_000, 4_000, 50_000]),
        apply_queue_bytes: *dice.pick(&[1, 1_000]),
        snapshot_bytes: dice.chance(800).then_some(4_000),
        snapshot_entries: dice.chance(300).then_some(40),
        snapshot_retry_interval: dice.between(1, 20) * 10 * MILLISECOND,
        trailing_entries: *dice.pick(&[0, 5, 20]),
        trailing_bytes: 1_000,
        pin_bytes: 4_000,
        snapshot_chunk_bytes: *dice.pick(&[40, 100, 4_000]),
        undecodable_retry_max: 60_000 * MILLISECOND,
        // Longer than a run: members are taken to be honest.
        doubt_timeout: 3_600_000 * MILLISECOND,
    }
}

/// Sets some limits to one, or to values that meet other limits.
fn tighten(config: &mut RaftConfig, dice: &mut Dice) {
    let trailing = dice.between(1, 20);
    for tightened in 0..6 {
        if dice.chance(500) {
            continue;
        }
        match tightened {
            0 => (config.append_entries, config.window_messages) = (1, 1),
            1 => config.uncommitted_bytes = 1,
            2 => config.apply_queue_bytes = 1,
            3 => config.log_cache_bytes = 0,
            4 => {
                (config.trailing_entries, config.snapshot_entries) = (trailing, Some(trailing));
            }
            _ => config.snapshot_chunk_bytes = 20,
        }
    }
}

fn pace(dice: &mut Dice) -> Pace {
    let mut up_to = |most: u64| dice.between(1, most) * MILLISECOND / 4;
    let (latency, sync, apply, piece) = (up_to(20), up_to(30), up_to(8), up_to(30));
    let decode = if dice.chance(300) { dice.between(1, 4_000) * MILLISECOND } else { piece };
    let encode = if dice.chance(300) { dice.between(1, 2_000) * MILLISECOND } else { piece };
    Pace { latency, sync, apply, piece, encode, decode, turn: 0 }
}

/// How long inputs may wait for others: not at all, very briefly, or long enough for a disk step, a
/// decode and a message to end in one turn.
fn turn(dice: &mut Dice) -> Micros {
    match dice.below(4) {
        0 | 1 => 0,
        2 => dice.between(1, 20) * MILLISECOND / 4,
        _ => dice.between(5, 30) * MILLISECOND,
    }
}

impl World {
    fn live(&mut self, settings: &Settings) {
        let until = settings.time;
        while !self.invariants.is_over() && self.turn(until) {}
        if self.invariants.is_over() {
            return;
        }
        if let Err((rule, what)) = self.heal() {
            self.invariants.report_breach(rule, what);
        }
        self.check_bounds();
    }

    /// Checks upper bounds: leaders, bytes.
    fn check_bounds(&mut self) {
        self.invariants.leaders_came(self.sights.leaders_per_disturbance);
        for id in self.ids() {
            let (config, held) = (self.config_of(id), self.lived(id).max_log_bytes);
            self.invariants.log_was_bounded(&config, held);
        }
    }

    fn into_outcome(mut self, settings: &Settings) -> Outcome {
        let operations = self.clients.answered;
        if self.invariants.breach().is_none() {
            self.invariants.clients_saw(&self.clients.verdict());
        }
        let mut outcome = Outcome {
            seed: settings.seed,
            breach: self.invariants.breach().cloned(),
            trace_hash: self.trace.hash(),
            events: self.events,
            virtual_time: self.now,
            operations,
            ..Outcome::default()
        };
        outcome.saw_all(&self.totals(), &self.sights);
        outcome.saw("recovered", self.invariants.recovered());
        outcome.saw("unnoticeable", u64::from(self.invariants.has_given_up()));
        outcome.saw("committed", self.invariants.committed());
        outcome.saw("given_up", self.clients.given_up);
        outcome.saw("grouped", self.sights.grouped);
        outcome.saw("asked_beside", self.sights.asked_beside);
        outcome.saw("truncated_beside", self.sights.truncated_beside);
        outcome.saw("founded_jointly", u64::from(!self.members.voters_outgoing.is_empty()));
        outcome.saw("sent_at_once", u64::from(self.invariants.transfers_at_once() > 1));
        let nodes = self.nodes.iter();
        outcome.saw(
            "duplicates_suppressed",
            nodes.clone().map(|node| node.duplicates + node.machine.duplicates).sum(),
        );
        outcome
            .saw("sessions_expired", nodes.map(|node| node.expired + node.machine.expired).sum());
        outcome.lines = self.trace.into_lines();
        outcome
    }
}
