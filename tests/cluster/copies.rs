//! Snapshots handed in twice: the second copy comes too late to be of use, and must do no harm.

use std::time::Duration;

use quorate::raft::{InstallStatus, Request};
use tokio::task::spawn_local;

use crate::puppet::*;
use crate::support::*;

/// B10, A10: the same view is handed in twice while the first one's record is on its way to the disk. The second one is
/// superfluous, and its file is the first one's: it has to be there when the record is.
#[test]
fn a_second_copy_does_not_take_the_file_from_the_record() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = Puppet::start_by_hand(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.append(LEADER, 1, &history, 0, 9, 9).await;
        assert_eq!(hand.apply_entries(1).await, history.id(9));
        until("applied", || puppet.status().raft.applied == 9).await;
        puppet.delays.set_fsync(Duration::from_secs(5));
        hand.link().snapshot(history.view(9));
        until("taken", || puppet.status().raft.snapshot == history.id(9)).await;
        hand.link().snapshot(history.view(9));
        until("recorded", || puppet.status().raft.counters.snapshots_taken == 1).await;
        pass(Duration::from_secs(10)).await;
        puppet.shutdown().await;
        puppet.delays.clear();
        puppet.restart().await;
        assert_eq!(puppet.counted(&history.word(9)).await, 1);
        assert_eq!(puppet.status().fatal, None);
        puppet.shutdown().await;
    });
}

/// A10, CL04: a copy of the current snapshot comes while somebody waits for a newer one. It is no answer to that.
#[test]
fn a_copy_of_the_current_snapshot_answers_nobody() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = Puppet::start_by_hand(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.append(LEADER, 1, &history, 0, 9, 9).await;
        assert_eq!(hand.apply_entries(1).await, history.id(9));
        hand.link().snapshot(history.view(9));
        until("current", || puppet.status().raft.counters.snapshots_taken == 1).await;
        puppet.append(LEADER, 1, &history, 9, 12, 12).await;
        assert_eq!(hand.apply_entries(10).await, history.id(12));
        until("applied", || puppet.status().raft.applied == 12).await;
        let handle = puppet.handle();
        let waiting = spawn_local(async move { handle.snapshot().await });
        pass(Duration::from_secs(1)).await;
        hand.link().snapshot(history.view(9));
        pass(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished(), "answered by a copy of an older snapshot");
        hand.link().snapshot(history.view(12));
        until("answered", || waiting.is_finished()).await;
        assert_eq!(waiting.await.unwrap(), Ok(history.id(12)));
        puppet.shutdown().await;
    });
}

/// A55, B3: the last piece of a snapshot is still being stored when the commit index passes it. What is stored then is nobody's:
/// it keeps no place, and the node can make the very same snapshot itself.
#[test]
fn a_snapshot_overtaken_while_its_last_piece_is_stored_is_nobodys() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = Puppet::start_by_hand(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.append(LEADER, 1, &history, 0, 9, 9).await;
        assert_eq!(hand.apply_entries(1).await, history.id(9));
        puppet.delays.set_encode(Duration::from_secs(5));
        hand.link().snapshot(history.view(9));
        pass(Duration::from_secs(1)).await;
        puppet.say(LEADER, 1, Request::Snapshot(history.snapshot(10).whole(1)));
        until("it comes", || matches!(puppet.install(), InstallStatus::Receiving { .. })).await;
        puppet.append(LEADER, 1, &history, 9, 10, 10).await;
        assert_eq!(puppet.install(), InstallStatus::None);
        puppet.delays.clear();
        assert_eq!(hand.apply_entries(10).await, history.id(10));
        until("the first is made", || puppet.status().raft.counters.snapshots_taken == 1).await;
        hand.link().snapshot(history.view(10));
        until("the same is made", || puppet.status().raft.snapshot == history.id(10)).await;
        puppet.shutdown().await;
    });
}
