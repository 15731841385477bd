//! How a snapshot that the apply side hands out ends, and when the apply side hears of it.

use std::time::Duration;

use quorate::messages::{ApplyMessage, SnapshotTaken};
use quorate::node::SnapshotError;
use quorate::raft::*;
use tokio::task::{JoinHandle, spawn_local};

use crate::puppet::*;
use crate::support::*;

type Ending = JoinHandle<Result<LogId, SnapshotError>>;

/// Waits for it beside the story.
fn ending(taken: SnapshotTaken) -> Ending {
    spawn_local(taken)
}

/// A node whose hand has applied everything up to `applied`.
async fn applied(history: &History, applied: Index) -> (Puppet, Hand) {
    let (puppet, hand) = Puppet::start_by_hand(small()).await;
    puppet.keep_alive(LEADER, 1);
    puppet.append(LEADER, 1, history, 0, applied, applied).await;
    assert_eq!(hand.apply_entries(1).await, history.id(applied));
    until("applied", || puppet.status().raft.applied == applied).await;
    (puppet, hand)
}

async fn restored(puppet: &Puppet) -> LogId {
    let hand = puppet.restart_by_hand().await;
    match hand.next().await {
        ApplyMessage::Restored { log_id, .. } => log_id,
        other => panic!("told {other:?} first"),
    }
}

/// PS25: a snapshot counts as taken only when the log's record names it; a crash before does not bring it back.
#[test]
fn a_snapshot_is_taken_once_its_record_is_durable() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = applied(&history, 9).await;
        puppet.delays.set_fsync(Duration::from_secs(5));
        let taken = ending(hand.link().snapshot(history.view(5)));
        until("accepted", || puppet.status().raft.snapshot == history.id(5)).await;
        pass(Duration::from_secs(3)).await;
        assert!(!taken.is_finished(), "its record is on the way");
        assert_eq!(taken.await.unwrap(), Ok(history.id(5)));
        puppet.crash().await;
        assert_eq!(restored(&puppet).await, history.id(5));
        puppet.shutdown().await;
    });
}

#[test]
fn what_is_covered_or_not_applied_is_refused() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = applied(&history, 9).await;
        assert_eq!(hand.link().snapshot(history.view(5)).await, Ok(history.id(5)));
        for stale in [5, 3, 1] {
            let refused = hand.link().snapshot(history.view(stale)).await;
            assert_eq!(refused, Err(SnapshotError::Outdated), "{stale}");
        }
        let beyond = hand.link().snapshot(history.view(10)).await;
        assert_eq!(beyond, Err(SnapshotError::Refused));
        let other = History::of(&[(2, 20)]);
        assert_eq!(hand.link().snapshot(other.view(7)).await, Err(SnapshotError::Refused));
        assert_eq!(puppet.status().raft.snapshot, history.id(5));
        assert_eq!(hand.link().snapshot(history.view(9)).await, Ok(history.id(9)));
        puppet.shutdown().await;
    });
}

/// PS25: a second view of the same entry, handed out while the first one's record is on its way, is refused and leaves the
/// file where it is: soon the log names it.
#[test]
fn a_second_view_of_the_same_entry_does_not_take_the_file_away() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = applied(&history, 9).await;
        puppet.delays.set_fsync(Duration::from_secs(5));
        let first = ending(hand.link().snapshot(history.view(7)));
        until("accepted", || puppet.status().raft.snapshot == history.id(7)).await;
        let second = hand.link().snapshot(history.view(7)).await;
        assert_eq!(second, Err(SnapshotError::Outdated));
        assert!(!first.is_finished());
        assert_eq!(first.await.unwrap(), Ok(history.id(7)));
        puppet.crash().await;
        assert_eq!(restored(&puppet).await, history.id(7));
        puppet.shutdown().await;
    });
}

/// Several under way: each hears its own end, in whichever order they were made.
#[test]
fn each_view_hears_its_own_end() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = applied(&history, 9).await;
        puppet.delays.set_encode(Duration::from_secs(1));
        puppet.delays.set_fsync(Duration::from_millis(100));
        let [first, newest, older, again] =
            [4, 8, 6, 8].map(|index| ending(hand.link().snapshot(history.view(index))));
        assert_eq!(first.await.unwrap(), Ok(history.id(4)));
        assert_eq!(newest.await.unwrap(), Ok(history.id(8)));
        assert_eq!(older.await.unwrap(), Err(SnapshotError::Outdated));
        assert_eq!(again.await.unwrap(), Err(SnapshotError::Outdated));
        puppet.shutdown().await;
    });
}

/// B20: an install is granted while an accepted snapshot's record is on its way, or while a view is being encoded.
#[test]
fn an_install_overtakes_what_is_under_way() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = applied(&history, 5).await;
        puppet.send_snapshot(LEADER, 1, 1, &history.snapshot(10)).await;
        hand.pull_offer().await;
        puppet.delays.set_encode(Duration::from_secs(5));
        let late = ending(hand.link().snapshot(history.view(5)));
        assert!(hand.ask(history.id(10)).await);
        hand.link().applied(10);
        assert_eq!(late.await.unwrap(), Err(SnapshotError::Outdated));
        assert_eq!(puppet.status().raft.snapshot, history.id(10));
        puppet.shutdown().await;
    });
}

#[test]
fn the_end_of_the_node_answers_who_waits() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = applied(&history, 9).await;
        puppet.delays.set_encode(Duration::from_secs(5));
        let encoding = ending(hand.link().snapshot(history.view(4)));
        pass(Duration::from_millis(100)).await;
        puppet.shutdown().await;
        assert_eq!(encoding.await.unwrap(), Err(SnapshotError::Fatal));
        assert_eq!(hand.link().snapshot(history.view(5)).await, Err(SnapshotError::Fatal));
    });
}
