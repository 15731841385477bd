//! Limits and speeds of all sizes, drawn from the seed: small limits make rare events frequent.

use std::time::Duration;

use quorate::machine::SessionConfig;
use quorate::node::Config;
use quorate::raft::{Micros, NodeId};
use quorate::storage::file::FileOptions;

use super::super::MILLISECOND;
use super::super::random::Dice;

/// The longest durations without faults.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Delivery of a message.
    pub latency: Micros,
    /// A durable step, and a read of the disk.
    pub sync: Micros,
    /// Applying a batch.
    pub apply: Micros,
    /// Encoding a snapshot.
    pub encode: Micros,
    /// Decoding a snapshot.
    pub decode: Micros,
}

/// The settings of a run's members.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub config: Config,
    pub files: FileOptions,
    pub pace: Pace,
    /// Messages arrive at multiples of this.
    pub grid: Micros,
    /// The probability, in thousandths of a look, that a member that receives a snapshot is asked
    /// for its own.
    pub eager: u64,
    /// The number of clients that share a session.
    pub sharing: u64,
    /// The probability, in thousandths, that a client without a session opens one and leaves it:
    /// other sessions are evicted for it.
    pub evicts: u64,
    /// Whether members use a service's own apply side.
    pub by_hand: bool,
    /// Whether disks lack the room for preallocated files now and then.
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
        // A separate random stream: the rest of a seed stays the same without it.
        let mut beside = Dice::new(seed, 6);
        let by_hand = beside.chance(250);
        let scarce = beside.chance(300) && files.spare_segments > 0;
        Terms { config, files, pace, grid, eager, sharing, evicts, by_hand, scarce }
    }

    /// The settings of one member: every other one keeps more log behind its snapshots.
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
    // Sometimes fewer sessions than clients open.
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

/// Sets some limits to one, or to values that meet other limits.
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
