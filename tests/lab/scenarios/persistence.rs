//! What was saved before a crash is there after it.

use crate::helpers::ELECTION_MS;
use crate::world::World;

/// All peers, the leader, the leader while it is cut off, a follower.
pub async fn persist1(world: World) {
    world.one(11, 3, true).await;
    for peer in world.all() {
        world.start(peer).await;
    }
    world.all().for_each(|peer| world.connect(peer));
    world.one(12, 3, true).await;

    let leader = world.check_one_leader().await;
    world.restart(leader).await;
    world.one(13, 3, true).await;

    let leader = world.check_one_leader().await;
    world.disconnect(leader);
    world.one(14, 2, true).await;
    world.restart(leader).await;
    world.wait(4, 3, None).await;

    let follower = world.after(world.check_one_leader().await, 1);
    world.disconnect(follower);
    world.one(15, 2, true).await;
    world.restart(follower).await;
    world.one(16, 3, true).await;
}

/// Majorities that overlap in one peer, with restarts in between.
pub async fn persist2(world: World) {
    let mut command = 10;
    let mut next = || {
        command += 1;
        command
    };
    for _ in 0..5 {
        world.one(next(), 5, true).await;
        let leader = world.check_one_leader().await;
        let [second, third, fourth, fifth] = [1, 2, 3, 4].map(|places| world.after(leader, places));
        [second, third].into_iter().for_each(|peer| world.disconnect(peer));
        world.one(next(), 3, true).await;
        [leader, fourth, fifth].into_iter().for_each(|peer| world.disconnect(peer));
        world.restart(second).await;
        world.restart(third).await;
        world.sleep(ELECTION_MS).await;
        world.restart(fourth).await;
        world.one(next(), 3, true).await;
        [fifth, leader].into_iter().for_each(|peer| world.connect(peer));
    }
    world.one(1000, 5, true).await;
}

/// The leader and one follower crash, and come back one after the other.
pub async fn persist3(world: World) {
    world.one(101, 3, true).await;
    let leader = world.check_one_leader().await;
    let [second, third] = [1, 2].map(|places| world.after(leader, places));
    world.disconnect(third);
    world.one(102, 2, true).await;
    world.crash(leader).await;
    world.crash(second).await;
    world.connect(third);
    world.restart(leader).await;
    world.one(103, 2, true).await;
    world.restart(second).await;
    world.one(104, 3, true).await;
}
