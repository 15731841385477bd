//! Limits and paces of every size, drawn from the seed: small ones make everything happen often.

use std::time::Duration;

use crate::machine::SessionConfig;
use crate::node::Config;
use crate::raft::{Micros, NodeId};
use crate::storage::file::FileOptions;

use super::super::MILLISECOND;
use super::super::random::Dice;

/// How fast everything is while nothing fails, at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Of a message.
    pub latency: Micros,
    /// Of a durable step, and of a read of the disk.
    pub sync: Micros,
    /// Of a batch applied.
    pub apply: Micros,
    /// Of a snapshot encoded.
    pub encode: Micros,
    /// Of a snapshot decoded.
    pub decode: Micros,
}

/// What a run's members are like.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub config: Config,
    pub files: FileOptions,
    pub pace: Pace,
    /// Messages come at multiples of this.
    pub grid: Micros,
    /// A member that receives a snapshot is asked for one of its own so often, of a thousand looks.
    pub eager: u64,
    /// So many clients share a session.
    pub sharing: u64,
    /// A client that has no session opens one all the same so often, of a thousand times, and
    /// leaves it: others go for it.
    pub evicts: u64,
    /// Whether members have an apply side of the service's own.
    pub by_hand: bool,
    /// Whether disks lack the room for spare files now and then.
    pub scarce: bool,
}

impl Terms {
    pub(super) fn draw(seed: u64, dice: &mut Dice) -> Terms {
        let (mut config, files, pace) = (config(seed, dice), files(dice), pace(dice));
        let mut dice = Dice::new(seed, 4);
        if dice.chance(300) {
            tighten(&mut config, &mut dice);
        }
        let grid = if dice.chance(300) { dice.between(2, 40) } else { 1 } * MILLISECOND;
        let eager = *dice.pick(&[0, 0, 200, 700]);
        let (sharing, evicts) = (*dice.pick(&[1, 2, 5, 10]), *dice.pick(&[0, 0, 100, 300]));
        if evicts > 0 {
            config.sessions.max_sessions = dice.between(1, 3) as usize;
        }
        // Dice of their own: without them a seed is the same.
        let mut beside = Dice::new(seed, 6);
        let by_hand = beside.chance(250);
        let scarce = beside.chance(300) && files.spare_segments > 0;
        Terms { config, files, pace, grid, eager, sharing, evicts, by_hand, scarce }
    }

    /// One member's: every other one keeps more log behind its snapshots.
    pub(super) fn config_of(&self, node: NodeId) -> Config {
        let mut config = self.config.clone();
        if node % 2 == 1 {
            config.trailing_entries = (config.trailing_entries + 5) * 20;
            config.trailing_bytes *= 4;
        }
        config
    }
}

fn config(seed: u64, dice: &mut Dice) -> Config {
    let millis = |count: u64| Duration::from_millis(count);
    let heartbeat = dice.between(8, 25) * 10;
    let sparing = dice.chance(300);
    // Sometimes fewer than clients open.
    let max_sessions = if dice.chance(200) { 6 } else { dice.between(30, 60) as usize };
    Config {
        heartbeat_interval: millis(heartbeat),
        election_timeout_min: millis(3 * heartbeat),
        election_timeout_max: millis(6 * heartbeat),
        request_timeout: millis(heartbeat * 3 / 2),
        retry_interval: millis(dice.between(1, 10) * 10),
        batch_delay: millis(if sparing { dice.below(4) * 5 } else { 0 }),
        append_interval: millis(if sparing { dice.below(3) * 10 } else { 0 }),
        commit_notice: sparing.then(|| millis(dice.below(5) * 4)),
        tick_interval: millis(dice.between(3, 8) * 10),
        seed,
        noop_on_election: true,
        proposal_timeout: millis(dice.between(2_000, 10_000)),
        append_bytes: *dice.pick(&[1, 500, 2_000]),
        append_entries: *dice.pick(&[1, 16, 64]),
        window_messages: *dice.pick(&[1, 2, 8]),
        window_bytes: 16_000,
        uncommitted_bytes: 3_000,
        unpersisted_bytes: 20_000,
        log_cache_bytes: *dice.pick(&[0, 1_000, 4_000, 50_000]),
        apply_queue_bytes: *dice.pick(&[1, 1_000]),
        snapshot_bytes: dice.chance(800).then_some(8_000),
        snapshot_entries: dice.chance(300).then_some(60),
        trailing_entries: *dice.pick(&[0, 5, 20]),
        trailing_bytes: 1_000,
        pin_bytes: 8_000,
        snapshot_chunk_bytes: *dice.pick(&[200, 700, 4_000]),
        sessions: SessionConfig {
            max_sessions,
            session_timeout_ms: 15 * 60 * 1_000,
            max_time_step_ms: 5_000,
            ..SessionConfig::default()
        },
        ..Config::default()
    }
}

/// Limits of one, and borders that meet: some of them.
fn tighten(config: &mut Config, dice: &mut Dice) {
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
            _ => config.snapshot_chunk_bytes = 60,
        }
    }
}

fn files(dice: &mut Dice) -> FileOptions {
    FileOptions {
        segment_bytes: *dice.pick(&[2_000, 6_000, 20_000]),
        spare_segments: dice.below(3) as usize,
        ..FileOptions::default()
    }
}

fn pace(dice: &mut Dice) -> Pace {
    let mut up_to = |most: u64| dice.between(1, most) * MILLISECOND;
    let (latency, sync, apply, encode) = (up_to(5), up_to(8), up_to(2), up_to(8));
    let decode = if dice.chance(400) { dice.between(1, 4_000) * MILLISECOND } else { encode };
    Pace { latency, sync, apply, encode, decode }
}
