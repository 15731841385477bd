//! Not of the labs: processes that stand still for a moment, as on a busy machine.

use crate::world::World;

const PAUSES_MS: [u64; 3] = [150, 250, 300];

/// One process at a time stands still, the leader's or another one, at any moment: the leader stays.
pub async fn one_pauses(world: World) {
    let lost = leaders_lost(&world, 20).await;
    assert_eq!(lost, 0, "pauses cost {lost} leaders their place");
}

/// How many pauses of one process end with another leader, or the same one in another term.
pub async fn leaders_lost(world: &World, rounds: usize) -> usize {
    let mut lost = 0;
    let mut leader = world.check_one_leader().await;
    for pause_ms in PAUSES_MS.repeat(rounds) {
        if world.percent(50) {
            world.one(world.any_command(), world.size(), true).await;
        }
        world.sleep(world.between(0, 500)).await;
        let before = world.state(leader);
        let peer = if world.percent(50) { leader } else { world.any_peer() };
        world.pause(peer, pause_ms);
        world.sleep(pause_ms + 700).await;
        if before.is_none_or(|(_, leads)| !leads) || world.state(leader) != before {
            lost += 1;
            leader = world.check_one_leader().await;
        }
    }
    lost
}

/// The whole machine stands still, for longer than any timeout: the leader stays.
pub async fn all_pause(world: World) {
    let leader = world.check_one_leader().await;
    world.one(world.any_command(), world.size(), true).await;
    let before = world.state(leader);
    for _ in 0..20 {
        world.sleep(world.between(0, 1_000)).await;
        let pause_ms = world.between(1_000, 3_000);
        world.all().for_each(|peer| world.pause(peer, pause_ms));
        world.sleep(pause_ms + 700).await;
        assert_eq!(world.state(leader), before, "after {pause_ms} ms");
    }
}
