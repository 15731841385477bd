//! Clients go on while peers come and go.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use tokio::task::spawn_local;

use crate::command::Command;
use crate::helpers::ELECTION_MS;
use crate::world::World;

/// Whatever a client has seen committed is there in the end.
pub async fn churn(world: World) {
    let stop = Rc::new(Cell::new(false));
    let clients = (0..3).map(|id| spawn_local(client(world.aside(), id, stop.clone())));
    let clients: Vec<_> = clients.collect();
    for _ in 0..20 {
        disturb(&world).await;
        world.sleep(ELECTION_MS * 7 / 10).await;
    }
    world.sleep(ELECTION_MS).await;
    world.network().set_reliable(true);
    for peer in world.all() {
        if !world.lives(peer) {
            world.start(peer).await;
        }
        world.connect(peer);
    }
    stop.set(true);
    let mut seen = Vec::new();
    for client in clients {
        seen.extend(client.await.expect("a client"));
    }
    world.sleep(ELECTION_MS).await;
    let last = world.one(world.any_command(), 5, true).await;
    let mut there = BTreeSet::new();
    for index in 1..=last {
        there.extend(world.wait(index, 5, None).await);
    }
    let lost: Vec<_> = seen.iter().filter(|command| !there.contains(command)).collect();
    assert!(lost.is_empty(), "seen committed, and gone: {lost:?}");
}

async fn disturb(world: &World) {
    if world.percent(20) {
        world.disconnect(world.any_peer());
    }
    if world.percent(50) {
        let peer = world.any_peer();
        if !world.lives(peer) {
            world.start(peer).await;
        }
        world.connect(peer);
    }
    if world.percent(20) {
        let peer = world.any_peer();
        if world.lives(peer) {
            world.crash(peer).await;
        }
    }
}

/// Starts commands wherever they are taken; returns those it has seen committed.
async fn client(world: World, id: u64, stop: Rc<Cell<bool>>) -> Vec<Command> {
    let mut seen = Vec::new();
    while !stop.get() {
        let command = world.any_command();
        let mut taken = None;
        for peer in world.all() {
            let log_id = world.start_at(peer, command.clone()).await;
            taken = log_id.map(|log_id| log_id.index).or(taken);
        }
        let Some(index) = taken else {
            world.sleep(79 + 17 * id).await;
            continue;
        };
        // The question in the moment of the start finds nothing, and time has to pass between two starts.
        for pause in [10, 20, 50, 100, 200] {
            world.sleep(pause).await;
            let (count, there) = world.committed(index);
            if count > 0 {
                seen.extend(there.filter(|there| *there == command));
                break;
            }
        }
    }
    seen
}
