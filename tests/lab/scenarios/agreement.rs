//! Commands get committed, by as many peers as can be reached, at what cost.

use std::time::Duration;

use tokio::time::Instant;

use crate::command::Command;
use crate::helpers::ELECTION_MS;
use crate::world::World;

/// Three commands at three indexes.
pub async fn basic_agree(world: World) {
    for index in 1..=3 {
        assert_eq!(world.committed(index).0, 0, "{index} is committed before it is there");
        assert_eq!(world.one(100 * index, 3, false).await, index);
    }
}

/// A large command is sent to each peer once.
pub async fn rpc_bytes(world: World) {
    world.one(99, 3, false).await;
    let before = world.network().traffic().bytes;
    let mut sent = 0;
    for index in 2..=11 {
        let text = text(&world, 5_000);
        sent += text.len() as u64;
        assert_eq!(world.one(Command::Text(text), 3, false).await, index);
    }
    let bytes = world.network().traffic().bytes - before;
    let most = 3 * sent + 50_000;
    assert!(bytes <= most, "{bytes} bytes for {sent} bytes of commands");
}

fn text(world: &World, length: usize) -> String {
    (0..length).map(|_| char::from(b'a' + world.between(0, 25) as u8)).collect()
}

/// Followers go one after the other; without them nothing is committed.
pub async fn follower_failure(world: World) {
    world.one(101, 3, false).await;
    let leader = world.check_one_leader().await;
    world.disconnect(world.after(leader, 1));
    world.one(102, 2, false).await;
    world.sleep(ELECTION_MS).await;
    world.one(103, 2, false).await;
    let leader = world.check_one_leader().await;
    world.disconnect(world.after(leader, 1));
    world.disconnect(world.after(leader, 2));
    let index = world.start_at(leader, 104).await.map(|log_id| log_id.index);
    assert_eq!(index, Some(4), "the leader takes a command");
    world.sleep(2 * ELECTION_MS).await;
    assert_eq!(world.committed(4).0, 0, "committed without a quorum");
}

/// Leaders go one after the other; the last peer commits nothing.
pub async fn leader_failure(world: World) {
    world.one(101, 3, false).await;
    world.disconnect(world.check_one_leader().await);
    world.one(102, 2, false).await;
    world.sleep(ELECTION_MS).await;
    world.one(103, 2, false).await;
    world.disconnect(world.check_one_leader().await);
    for peer in world.all() {
        world.start_at(peer, 104).await;
    }
    world.sleep(2 * ELECTION_MS).await;
    assert_eq!(world.committed(4).0, 0, "committed without a quorum");
}

/// A follower that was away catches up.
pub async fn fail_agree(world: World) {
    world.one(101, 3, false).await;
    let away = world.after(world.check_one_leader().await, 1);
    world.disconnect(away);
    world.one(102, 2, false).await;
    world.one(103, 2, false).await;
    world.sleep(ELECTION_MS).await;
    world.one(104, 2, false).await;
    world.one(105, 2, false).await;
    world.connect(away);
    world.one(106, 3, true).await;
    world.sleep(ELECTION_MS).await;
    world.one(107, 3, true).await;
}

/// With three of five away nothing is committed, and afterwards everything is well.
pub async fn fail_no_agree(world: World) {
    world.one(10, 5, false).await;
    let leader = world.check_one_leader().await;
    let away = [1, 2, 3].map(|places| world.after(leader, places));
    away.into_iter().for_each(|peer| world.disconnect(peer));
    let index = world.start_at(leader, 20).await.map(|log_id| log_id.index);
    assert_eq!(index, Some(2), "the leader takes a command");
    world.sleep(2 * ELECTION_MS).await;
    assert_eq!(world.committed(2).0, 0, "committed without a quorum");
    away.into_iter().for_each(|peer| world.connect(peer));
    // What the old leader had appended may have survived or not.
    let leader = world.check_one_leader().await;
    let index = world.start_at(leader, 30).await.map(|log_id| log_id.index);
    assert!(matches!(index, Some(2 | 3)), "a new leader takes a command at {index:?}");
    world.one(1000, 5, true).await;
}

/// A leader that was cut off with entries of its own comes back, after another one.
pub async fn rejoin(world: World) {
    world.one(101, 3, true).await;
    let first = world.check_one_leader().await;
    world.disconnect(first);
    world.start_many(first, &[102, 103, 104].map(Command::Number)).await;
    world.one(103, 2, true).await;
    let second = world.check_one_leader().await;
    world.disconnect(second);
    world.connect(first);
    world.one(104, 2, true).await;
    world.connect(second);
    world.one(105, 3, true).await;
}

/// Leaders back up quickly over long logs that differ.
pub async fn backup(world: World) {
    world.one(world.any_command(), 5, true).await;
    let first = world.check_one_leader().await;
    let [second, third, fourth, fifth] = [1, 2, 3, 4].map(|places| world.after(first, places));
    [third, fourth, fifth].into_iter().for_each(|peer| world.disconnect(peer));
    start_fifty(&world, first).await;
    world.sleep(ELECTION_MS / 2).await;
    [first, second].into_iter().for_each(|peer| world.disconnect(peer));
    [third, fourth, fifth].into_iter().for_each(|peer| world.connect(peer));
    agree_on_fifty(&world).await;

    let leader = world.check_one_leader().await;
    let other = if leader == third { world.after(leader, 1) } else { third };
    world.disconnect(other);
    start_fifty(&world, leader).await;
    world.sleep(ELECTION_MS / 2).await;
    world.all().for_each(|peer| world.disconnect(peer));
    [first, second, other].into_iter().for_each(|peer| world.connect(peer));
    agree_on_fifty(&world).await;

    world.all().for_each(|peer| world.connect(peer));
    world.one(world.any_command(), 5, true).await;
}

async fn start_fifty(world: &World, peer: usize) {
    let commands: Vec<Command> = (0..50).map(|_| world.any_command()).collect();
    world.start_many(peer, &commands).await;
}

async fn agree_on_fifty(world: &World) {
    for _ in 0..50 {
        world.one(world.any_command(), 3, true).await;
    }
}

/// Five commands started at once are all committed, if the leader stays.
pub async fn concurrent_starts(world: World) {
    for attempt in 0..5 {
        if attempt > 0 {
            world.wait_more(3_000).await;
        }
        if start_five(&world).await {
            return;
        }
    }
    panic!("the term changed in every attempt");
}

/// Whether the leader stayed.
async fn start_five(world: &World) -> bool {
    let leader = world.check_one_leader().await;
    let Some(first) = world.start_at(leader, 1).await else { return false };
    let starts = (0..5).map(|i| {
        let world = world.aside();
        tokio::task::spawn_local(async move { world.start_at(leader, 100 + i).await })
    });
    let mut indexes = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        let log_id = start.await.expect("a start");
        indexes
            .extend(log_id.filter(|log_id| log_id.term == first.term).map(|log_id| log_id.index));
    }
    if world.is_past(first.term) {
        return false;
    }
    let mut there = Vec::new();
    for index in indexes {
        match world.wait(index, 3, Some(first.term)).await {
            Some(command) => there.push(command),
            None => return false,
        }
    }
    let missing: Vec<_> = (100..105).filter(|n| !there.contains(&Command::Number(*n))).collect();
    assert!(missing.is_empty(), "{missing:?} are not committed");
    true
}

/// Requests are not wasted: to elect, to agree, and to do nothing.
pub async fn count(world: World) {
    world.check_one_leader().await;
    let to_elect = world.network().received();
    assert!((1..=30).contains(&to_elect), "{to_elect} requests to elect a leader");
    for attempt in 0..5 {
        if attempt > 0 {
            world.wait_more(3_000).await;
        }
        let Some(agreed) = count_agreements(&world).await else { continue };
        world.sleep(ELECTION_MS).await;
        let idle = world.network().received() - agreed;
        assert!(idle <= 3 * 20, "{idle} requests in an idle second");
        return;
    }
    panic!("the term changed in every attempt");
}

/// Twelve commands; the count of requests behind them, if the leader stayed.
async fn count_agreements(world: &World) -> Option<u64> {
    let leader = world.check_one_leader().await;
    let before = world.network().received();
    let mut commands = vec![Command::Number(1)];
    commands.extend((0..11).map(|_| world.any_command()));
    let started = world.start_many(leader, &commands).await;
    let first = started[0]?;
    for (log_id, index) in started.iter().zip(first.index..) {
        let log_id = log_id.filter(|log_id| log_id.term == first.term)?;
        assert_eq!(log_id.index, index, "commands in a row");
    }
    for (command, index) in commands.iter().zip(first.index..).take(11).skip(1) {
        let there = world.wait(index, 3, Some(first.term)).await?;
        assert_eq!(there, *command, "at {index}");
    }
    if world.all().any(|peer| world.state(peer).is_none_or(|(term, _)| term != first.term)) {
        return None;
    }
    let agreed = world.network().received();
    assert!(agreed - before <= (10 + 1 + 3) * 3, "{} requests for 12 commands", agreed - before);
    Some(agreed)
}

/// Not of the labs: one client that waits for each of its commands is not held back for the company of others.
pub async fn one_client_alone(world: World) {
    let leader = world.check_one_leader().await;
    let began = Instant::now();
    for number in 0..500 {
        let log_id = world.start_at(leader, number).await.expect("the leader stays");
        while world.committed(log_id.index).0 < 2 {
            world.wait_more(1).await;
        }
    }
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1_500), "500 commands take {took:?}");
}
