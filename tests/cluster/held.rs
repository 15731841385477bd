//! What a follower holds back goes to its state machine soon, and in order.

use std::time::Duration;

use quorate::messages::ApplyWork;
use quorate::node::Config;
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::puppet::*;
use crate::support::*;

/// Ticks alone would come too late.
fn with_rare_ticks() -> Config {
    let rare = Duration::from_millis(500);
    Config {
        tick_interval: rare,
        heartbeat_interval: rare,
        request_timeout: 2 * rare,
        election_timeout_min: 6 * rare,
        election_timeout_max: 12 * rare,
        ..small()
    }
}

/// A node that has just been given entry 1 to apply, and then, one by one, those through `last`.
async fn holding(history: &History, last: u64) -> (Puppet, Hand) {
    let (puppet, hand) = Puppet::start_by_hand(with_rare_ticks()).await;
    puppet.keep_alive(LEADER, 1);
    puppet.append(LEADER, 1, history, 0, 1, 1).await;
    assert_eq!(hand.apply(hand.pull_entries().await), [history.id(1)]);
    for index in 2..=last {
        puppet.append(LEADER, 1, history, index - 1, index, index).await;
    }
    (puppet, hand)
}

/// A67: held back, but not until a tick comes.
#[test]
fn what_is_held_goes_on_soon() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = holding(&history, 9).await;
        let began = Instant::now();
        let mut applied = Vec::new();
        while applied.last() != Some(&history.id(9)) {
            applied.extend(hand.apply(hand.pull_entries().await));
        }
        assert_eq!(applied, (2..=9).map(|index| history.id(index)).collect::<Vec<_>>());
        assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
        puppet.shutdown().await;
    });
}

/// A68, B12: a snapshot that is asked for has what is held in it.
#[test]
fn what_is_held_goes_ahead_of_a_request_for_a_snapshot() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = holding(&history, 3).await;
        let handle = puppet.handle();
        let asked = spawn_local(async move { handle.snapshot().await });
        let mut applied = Vec::new();
        loop {
            match hand.pull().await {
                ApplyWork::Entries(batch) => applied.extend(hand.apply(batch)),
                ApplyWork::TakeSnapshot => break,
                other => panic!("pulled {other:?}"),
            }
        }
        assert_eq!(applied, [2, 3].map(|index| history.id(index)));
        hand.link().decline_snapshot();
        let _ = asked.await.expect("no panic");
        puppet.shutdown().await;
    });
}
