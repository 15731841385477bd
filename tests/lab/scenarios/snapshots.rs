//! Services that take snapshots, so that logs stay short and peers that were away are sent one.

use crate::command::Command;
use crate::service::SNAPSHOT_INTERVAL;
use crate::world::World;

/// A saved state has to stay below this.
const MAX_STATE_BYTES: usize = 2_000;

/// What becomes of one peer in each round.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// Nothing.
    Stays,
    /// It is cut off, and comes back.
    IsCutOff,
    /// It crashes, and starts again.
    Crashes,
}

/// Thirty rounds of commands, during which a peer may be away.
pub async fn rounds(world: World, fate: Victim) {
    world.one(world.any_command(), 3, true).await;
    let mut leader = world.check_one_leader().await;
    for round in 0..30 {
        let follower = world.after(leader, 1);
        let (victim, sender) = if round % 3 == 1 { (leader, follower) } else { (follower, leader) };
        send_away(&world, victim, fate).await;
        start_some(&world, sender, SNAPSHOT_INTERVAL + 1).await;
        let need = if fate == Victim::Stays { 3 } else { 2 };
        world.one(world.any_command(), need, true).await;
        let bytes = world.largest_state_bytes();
        assert!(bytes < MAX_STATE_BYTES, "{bytes} bytes of saved state");
        if fate != Victim::Stays {
            bring_back(&world, victim, fate).await;
            leader = world.check_one_leader().await;
        }
    }
}

async fn send_away(world: &World, victim: usize, fate: Victim) {
    match fate {
        Victim::Stays => return,
        Victim::IsCutOff => world.disconnect(victim),
        Victim::Crashes => world.crash(victim).await,
    }
    world.one(world.any_command(), 2, true).await;
}

async fn bring_back(world: &World, victim: usize, fate: Victim) {
    if fate == Victim::Crashes {
        world.start(victim).await;
    }
    world.connect(victim);
    world.one(world.any_command(), 3, true).await;
}

/// Not of the labs: a peer that works on a leader's snapshot meets another leader, whose log is longer and reaches it by entries. Then the
/// snapshot has to be refused.
pub async fn contested(world: World) {
    world.one(world.any_command(), 3, true).await;
    for _ in 0..12 {
        let leader = world.check_one_leader().await;
        let victim = world.after(leader, world.between(1, 2) as usize);
        send_away(&world, victim, Victim::Crashes).await;
        start_some(&world, leader, SNAPSHOT_INTERVAL + 1).await;
        world.one(world.any_command(), 2, true).await;
        world.restart(victim).await;
        world.sleep(world.between(0, 300)).await;
        world.disconnect(leader);
        world.one(world.any_command(), 2, true).await;
        world.connect(leader);
        world.one(world.any_command(), 3, true).await;
    }
}

/// Not of the labs: a leader that was cut off with entries of its own is sent a snapshot that ends among them. None of them may stay.
pub async fn replaced_tail(world: World) {
    world.one(world.any_command(), 3, true).await;
    for _ in 0..10 {
        let leader = world.check_one_leader().await;
        world.disconnect(leader);
        start_some(&world, leader, 2 * SNAPSHOT_INTERVAL).await;
        world.one(world.any_command(), 2, true).await;
        let other = world.check_one_leader().await;
        start_some(&world, other, SNAPSHOT_INTERVAL + 1).await;
        world.one(world.any_command(), 2, true).await;
        world.connect(leader);
        world.one(world.any_command(), 3, true).await;
    }
}

async fn start_some(world: &World, peer: usize, count: u64) {
    let commands: Vec<Command> = (0..count).map(|_| world.any_command()).collect();
    world.start_many(peer, &commands).await;
}

/// All peers crash at once, some commands after a snapshot.
pub async fn all_crash(world: World) {
    world.one(world.any_command(), 3, true).await;
    for _ in 0..5 {
        for _ in 0..5 + world.between(0, 9) {
            world.one(world.any_command(), 3, true).await;
        }
        let before = world.one(world.any_command(), 3, true).await;
        restart_all(&world).await;
        let after = world.one(world.any_command(), 3, true).await;
        assert!(after > before, "index {after} after {before}");
    }
}

/// A snapshot outlives a life of its peer in which none is taken, and that saves its state.
pub async fn init(world: World) {
    world.one(world.any_command(), 3, true).await;
    for _ in 0..=SNAPSHOT_INTERVAL {
        world.one(world.any_command(), 3, true).await;
    }
    for _ in 0..2 {
        restart_all(&world).await;
        world.one(world.any_command(), 3, true).await;
    }
}

async fn restart_all(world: &World) {
    for peer in world.all() {
        world.crash(peer).await;
    }
    for peer in world.all() {
        world.restart(peer).await;
    }
}
