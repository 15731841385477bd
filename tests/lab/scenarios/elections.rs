//! A leader, and another one when that is gone.

use crate::helpers::ELECTION_MS;
use crate::world::World;

/// One leader, and it stays.
pub async fn initial_election(world: World) {
    world.check_one_leader().await;
    world.sleep(50).await;
    let term = world.check_terms();
    assert!(term >= 1, "a leader in term {term}");
    world.sleep(2 * ELECTION_MS).await;
    // Another term by now is allowed, if unexpected.
    world.check_terms();
    world.check_one_leader().await;
}

/// A new leader for one that is cut off, none without a quorum, one again with it.
pub async fn re_election(world: World) {
    let first = world.check_one_leader().await;
    world.disconnect(first);
    world.check_one_leader().await;
    world.connect(first);
    let second = world.check_one_leader().await;
    world.disconnect(second);
    world.disconnect(world.after(second, 1));
    world.sleep(2 * ELECTION_MS).await;
    world.check_no_leader();
    world.connect(world.after(second, 1));
    world.check_one_leader().await;
    world.connect(second);
    world.check_one_leader().await;
}

/// Three of seven are cut off, again and again.
pub async fn many_elections(world: World) {
    world.check_one_leader().await;
    for _ in 0..9 {
        let cut = [world.any_peer(), world.any_peer(), world.any_peer()];
        cut.into_iter().for_each(|peer| world.disconnect(peer));
        world.check_one_leader().await;
        cut.into_iter().for_each(|peer| world.connect(peer));
    }
    world.check_one_leader().await;
}
