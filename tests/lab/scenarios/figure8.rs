//! Leaders that come and go with entries of theirs in some logs (Raft figure 8), and agreement on a network that loses.

use crate::helpers::ELECTION_MS;
use crate::world::World;

/// Leaders crash, with or without time to replicate what they have.
pub async fn figure8(world: World) {
    world.one(world.any_command(), 1, true).await;
    let mut up = 5;
    for _ in 0..1_000 {
        let mut leader = None;
        for peer in world.all() {
            if world.start_at(peer, world.any_command()).await.is_some() {
                leader = Some(peer);
            }
        }
        sometimes_long(&world).await;
        if let Some(leader) = leader {
            world.crash(leader).await;
            up -= 1;
        }
        let peer = if up < 3 { Some(world.any_peer()) } else { None };
        if let Some(peer) = peer.filter(|peer| !world.lives(*peer)) {
            world.restart(peer).await;
            up += 1;
        }
    }
    for peer in world.all().filter(|peer| !world.lives(*peer)) {
        world.restart(peer).await;
    }
    world.one(world.any_command(), 5, true).await;
}

async fn sometimes_long(world: &World) {
    let pause = match world.percent(10) {
        true => world.between(0, ELECTION_MS / 2 - 1),
        false => world.between(0, 12),
    };
    world.sleep(pause).await;
}

/// Not of the labs: among three, too, an entry of an earlier term is committed by a later one only, whoever does the counting.
pub async fn old_terms_wait(world: World) {
    world.one(world.any_command(), 3, true).await;
    for _ in 0..5 {
        let leader = world.check_one_leader().await;
        let followers = [1, 2].map(|places| world.after(leader, places));
        followers.into_iter().for_each(|peer| world.disconnect(peer));
        world.start_at(leader, world.any_command()).await;
        world.sleep(ELECTION_MS).await;
        // One of them elects whoever has the entry; nothing new comes behind it.
        world.connect(followers[0]);
        world.check_one_leader().await;
        world.sleep(ELECTION_MS).await;
        world.connect(followers[1]);
        world.one(world.any_command(), 3, true).await;
    }
}

/// The same with peers that are cut off instead, on a network that loses, delays and holds replies back.
pub async fn figure8_unreliable(world: World) {
    let small_command = || world.between(0, 9_999);
    world.one(small_command(), 1, true).await;
    let mut up = 5;
    for round in 0..1_000 {
        if round == 200 {
            world.network().set_long_reordering();
        }
        let mut leader = None;
        for peer in world.all() {
            let taken = world.start_at(peer, small_command()).await.is_some();
            if taken && world.is_connected(peer) {
                leader = Some(peer);
            }
        }
        sometimes_long(&world).await;
        if let Some(leader) = leader.filter(|_| world.percent(50)) {
            world.disconnect(leader);
            up -= 1;
        }
        let peer = if up < 3 { Some(world.any_peer()) } else { None };
        if let Some(peer) = peer.filter(|peer| !world.is_connected(*peer)) {
            world.connect(peer);
            up += 1;
        }
    }
    world.all().for_each(|peer| world.connect(peer));
    world.one(small_command(), 5, true).await;
}

/// Many commands at a time, each somewhere.
pub async fn unreliable_agree(world: World) {
    let mut beside = Vec::new();
    for round in 1..50 {
        for j in 0..4 {
            let aside = world.aside();
            beside.push(tokio::task::spawn_local(async move {
                aside.one(100 * round + j, 1, true).await;
            }));
        }
        world.one(round, 1, true).await;
    }
    world.network().set_reliable(true);
    for one in beside {
        one.await.expect("an agreement");
    }
    world.one(100, 5, true).await;
}
