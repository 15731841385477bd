//! Many seeds, with every fault of the world; afterwards every world must recover.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{Disk, Faults, MILLISECOND, World, config};
use crate::raft::*;

/// One world under faults: proposals, crashes, partitions, slow disks and slow state machines for
/// eight seconds.
fn run(seed: u64, size: u64, config: RaftConfig) -> World {
    let mut world = if seed.is_multiple_of(3) {
        World::new(size, seed, config)
    } else {
        World::uneven(size, seed, config)
    };
    world.exact = seed % 5 >= 3;
    world.faults = Faults {
        drop: world.random.between(0, 1) * world.random.between(0, 200),
        duplicate: world.random.between(0, 100),
        delay_max: world.random.between(1, 60) * MILLISECOND,
        persist_max: world.random.between(1, 40) * MILLISECOND,
        apply_max: world.random.between(1, 30) * MILLISECOND,
        decode_max: world.random.between(1, 1500) * MILLISECOND,
    };
    let until = world.now + 8_000 * MILLISECOND;
    while world.now < until {
        let pause = world.random.between(1, 20) * MILLISECOND;
        world.run_for(pause);
        disturb(&mut world, size);
        for id in 0..size {
            if world.lives(id) {
                let data = vec![seed as u8; world.random.between(0, 60) as usize];
                let _ = world.propose(id, &data);
            }
        }
    }
    world.heal_and_converge();
    world
}

fn disturb(world: &mut World, size: u64) {
    let victim = world.random.between(0, size - 1);
    match world.random.between(0, 99) {
        0..=1 if world.lives(victim) => world.crash(victim),
        2..=6 if !world.lives(victim) => world.start(victim),
        7..=8 => world.isolate(victim),
        9 => {
            let other = world.random.between(0, size - 1);
            world.cut.insert((victim, other));
        }
        10..=13 => world.heal(),
        14 if world.lives(victim) => world.with(victim, |raft, now| raft.request_snapshot(now)),
        15..=20 if world.lives(victim) => {
            let _ = world.with(victim, |raft, now| raft.read_index(now));
        }
        _ => {}
    }
}

/// The seeds of a batch; `QUORATE_SEEDS=N` runs N seeds instead, `QUORATE_SEED=N` only seed N.
fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let number =
        |name| std::env::var(name).ok().and_then(|value: String| value.parse::<u64>().ok());
    match (number("QUORATE_SEED"), number("QUORATE_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => usual.start..usual.start + count,
        (None, None) => usual,
    }
}

fn batch(usual: std::ops::Range<u64>, config: impl Fn(u64) -> RaftConfig) -> Counters {
    let mut totals = Counters::default();
    for seed in seeds(usual) {
        let size = [3, 5, 3, 4, 1, 2, 5, 7][seed as usize % 8];
        println!("seed {seed}, {size} nodes");
        let world = run(seed, size, config(seed));
        totals.add(&world.totals());
    }
    totals
}

/// The invariants hold under every fault, every world recovers, and every event of the protocol
/// occurs: a batch without some event has not tested it and fails.
#[test]
fn worlds_under_faults_stay_safe_and_get_well() {
    let totals = batch(0..120, |_| config());
    println!("{totals:#?}");
    for (what, count) in [
        ("elections", totals.elections_won),
        ("truncations", totals.truncations),
        ("snapshots taken", totals.snapshots_taken),
        ("snapshots sent", totals.snapshots_sent),
        ("offered", totals.installs_offered),
        ("granted", totals.installs_granted),
        ("compacted", totals.entries_compacted),
        ("ignored", totals.ignored_messages),
    ] {
        assert!(count > 0, "vacuous: no {what} in the whole batch");
    }
}

/// Rounds: a follower falls behind the log and gets a snapshot; while it decodes, the leader is cut
/// off or crashes, or the follower crashes, or nothing happens.
fn run_installs(seed: u64) -> World {
    let mut world = World::uneven(5, seed, config());
    for _ in 0..6 {
        world.faults = Faults::none();
        world.heal_and_converge();
        let leader = world.elect();
        let behind = (leader + 1 + world.random.between(0, 3)) % 5;
        world.isolate(behind);
        let count = world.random.between(60, 150);
        world.load(leader, count);
        world.heal();
        world.faults.decode_max = 3_000 * MILLISECOND;
        world.faults.drop = world.random.between(0, 1) * 50;
        world.run_until(3_000 * MILLISECOND, |world| {
            matches!(world.status(behind).install, InstallStatus::Pending { .. })
        });
        match world.random.between(0, 4) {
            0..=1 => world.isolate(leader),
            2 if world.lives(leader) => world.crash(leader),
            3 if world.lives(behind) => world.crash(behind),
            _ => {}
        }
        let pause = world.random.between(1, 4_000) * MILLISECOND;
        world.run_for(pause);
    }
    world.heal_and_converge();
    world
}

/// An offer ends in each of the possible ways, and every world recovers.
#[test]
fn offers_end_granted_refused_or_forgotten() {
    let mut totals = Counters::default();
    for seed in seeds(0..60) {
        println!("seed {seed}");
        totals.add(&run_installs(seed).totals());
    }
    println!("{totals:#?}");
    let Counters { installs_offered, installs_granted, installs_refused, fast_forwards, .. } =
        totals;
    for (what, count) in [
        ("offered", installs_offered),
        ("granted", installs_granted),
        ("refused", installs_refused),
        ("fast forwards", fast_forwards),
        ("lost in a crash", installs_offered - installs_granted - installs_refused),
    ] {
        assert!(count > 0, "vacuous: no {what} in the whole batch");
    }
}

/// How often disks lost which data, and how many nodes soon counted again.
#[derive(Debug, Default)]
struct Losses {
    tails: u64,
    votes: u64,
    wiped: u64,
    rolled_back: u64,
    /// How often two members had losses at the same time.
    at_once: u64,
    recovered: u64,
}

/// Whether the rest can do without `victim`: fewer than a quorum have losses, or one of two; and a
/// member that has not recovered gets no further loss while another member has one. An old disk
/// that is started again and again reaches the incarnation that others remember, which can't be
/// noticed.
fn may_lose(world: &World, victim: NodeId) -> bool {
    let others = world.nodes.iter().filter(|&(&id, node)| id != victim && node.damaged);
    let (lost, most) = (others.count(), (world.nodes.len() - 1) / 2);
    let node = &world.nodes[&victim];
    world.lives(victim) && lost < most.max(1) && !node.unnoticed && (lost == 0 || !node.damaged)
}

/// The disk of `victim` loses durable data: storage notices, or other members do.
fn lose(
    world: &mut World,
    victim: NodeId,
    copies: &mut BTreeMap<NodeId, Disk>,
    losses: &mut Losses,
) {
    world.crash(victim);
    let copy = copies.get(&victim);
    let copy = copy.filter(|copy| world.is_remembered(victim, copy.life.incarnation)).cloned();
    let copy = copy.filter(|_| world.random.between(0, 1) == 0);
    match (copy, world.random.between(0, 3)) {
        (Some(copy), _) => {
            copies.remove(&victim);
            world.roll_back(victim, copy);
            losses.rolled_back += 1;
        }
        (None, 0) if world.is_remembered(victim, 0) => {
            world.wipe(victim);
            losses.wiped += 1;
        }
        (None, 1) => {
            let count = world.random.between(1, 40);
            world.lose_votes(victim, count);
            losses.votes += 1;
        }
        _ => {
            let count = world.random.between(1, 40);
            world.lose_tail(victim, count);
            losses.tails += 1;
        }
    }
}

/// Disks lose durable data, up to two of five at once. Meanwhile leaders crash and change, and
/// messages from before arrive after.
fn run_losses(seed: u64, losses: &mut Losses) {
    let size = [3, 5, 2][seed as usize % 3];
    let mut world = World::new(size, seed, config());
    let mut copies: BTreeMap<NodeId, Disk> = BTreeMap::new();
    for _ in 0..12 {
        // Now and then there are no faults for long enough that members catch up.
        let slowest = [1, 30, 300][world.random.between(0, 2) as usize];
        let latest = [20, 100, 400][world.random.between(0, 2) as usize];
        world.faults = Faults {
            drop: 50,
            duplicate: 50,
            delay_max: world.random.between(1, latest) * MILLISECOND,
            persist_max: world.random.between(1, slowest) * MILLISECOND,
            ..Faults::none()
        };
        let mut victims = BTreeSet::new();
        for _ in 0..size / 2 {
            let victim = world.random.between(0, size - 1);
            if may_lose(&world, victim) {
                lose(&mut world, victim, &mut copies, losses);
                victims.insert(victim);
            }
        }
        losses.at_once += u64::from(world.nodes.values().filter(|n| n.damaged).count() > 1);
        let copied = world.random.between(0, size - 1);
        if !world.nodes[&copied].damaged {
            copies.entry(copied).or_insert_with(|| world.nodes[&copied].disk.backup());
        }
        for id in 0..size {
            if !world.lives(id) {
                world.start(id);
            } else if world.random.between(0, 3) == 0 && !world.nodes[&id].unnoticed {
                world.crash(id);
            }
        }
        for _ in 0..world.random.between(1, 40) {
            let pause = world.random.between(1, 60) * MILLISECOND;
            world.run_for(pause);
            if let Some(leader) = world.leader() {
                let _ = world.propose(leader, &[seed as u8; 20]);
            }
            if world.random.between(0, 19) == 0 {
                let cut = world.random.between(0, size - 1);
                world.heal();
                world.isolate(cut);
            }
        }
        victims.retain(|victim| !world.nodes[victim].damaged);
        losses.recovered += victims.len() as u64;
        world.heal();
    }
    world.heal_and_converge();
    let well = world.run_until(10_000 * MILLISECOND, |world| {
        world.nodes.values().all(|node| !node.damaged && node.disk.life.loss.is_none())
    });
    assert!(well, "somebody has not caught up: {:#?}", world.positions());
}

/// Nothing committed is lost with a minority of the disks, or one of two, and no member votes twice
/// (PS20).
#[test]
fn ps20_worlds_that_lose_disks_stay_safe() {
    let mut losses = Losses::default();
    for seed in seeds(0..400) {
        println!("seed {seed}");
        run_losses(seed, &mut losses);
    }
    println!("{losses:?}");
    let Losses { tails, votes, wiped, rolled_back, at_once, recovered } = losses;
    let fewest = [tails, votes, wiped, rolled_back, at_once, recovered].into_iter().min();
    assert!(fewest > Some(5), "vacuous: a loss that hardly any world had");
}

/// Every entry except the unpersisted tail is read back from the log.
#[test]
fn worlds_without_a_cache_stay_safe_and_get_well() {
    let totals = batch(500..560, |_| RaftConfig { log_cache_bytes: 0, ..config() });
    assert!(totals.snapshots_taken > 0 && totals.installs_granted > 0, "vacuous: {totals:#?}");
}

/// Tiny limits: one entry a message, one message under way, one batch in the queue.
#[test]
fn worlds_with_tiny_limits_stay_safe_and_get_well() {
    let tiny = |_| RaftConfig {
        append_bytes: 1,
        append_entries: 1,
        window_messages: 1,
        apply_queue_bytes: 1,
        snapshot_chunk_bytes: 7,
        trailing_entries: 0,
        ..config()
    };
    let totals = batch(700..740, tiny);
    assert!(totals.installs_granted > 0, "vacuous: {totals:#?}");
}

/// With all options that save messages.
#[test]
fn worlds_that_spare_messages_stay_safe_and_get_well() {
    let sparing = |seed: u64| RaftConfig {
        heartbeat_interval: 200 * MILLISECOND,
        retry_interval: 20 * MILLISECOND,
        batch_delay: seed % 4 * 5 * MILLISECOND,
        append_interval: seed % 3 * 10 * MILLISECOND,
        commit_notice: Some(seed % 5 * 4 * MILLISECOND),
        window_messages: 1 + seed as usize % 2,
        ..config()
    };
    let totals = batch(900..960, sparing);
    assert!(totals.snapshots_taken > 0 && totals.installs_granted > 0, "vacuous: {totals:#?}");
}

/// The same seed gives the same world, up to the last event.
#[test]
fn a_seed_decides_everything() {
    let trace = |seed| {
        let mut world = World::new(3, seed, config());
        world.tracing = true;
        world.faults.drop = 100;
        world.run_for(3_000 * MILLISECOND);
        world.log
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}
