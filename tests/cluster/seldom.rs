//! Paths that are seldom taken: answers that arrive another way than the usual one, and content that lies.

use std::time::Duration;

use quorate::machine::Increment;
use quorate::node::{ClientOptions, Consistency, ReadError};
use quorate::raft::*;
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::puppet::*;
use crate::support::*;

/// SN06, SN19, A65: a snapshot whose checksums hold and whose content is the state of another entry. It is dropped before it is
/// offered; had it been granted, the node could not even start again.
#[test]
fn a_snapshot_with_another_entrys_state_is_not_offered() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let puppet = Puppet::start(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        for (state, transfer) in [(9, 1), (11, 2)] {
            let lie = history.mislabelled_snapshot(state, 10);
            puppet.send_snapshot(LEADER, 1, transfer, &lie).await;
            until("it is dropped", || puppet.install() == InstallStatus::None).await;
            assert_eq!(puppet.status().fatal, None);
        }
        assert_eq!(puppet.status().raft.snapshot, LogId::BASE);
        assert_eq!(puppet.status().raft.counters.installs_granted, 0);
        puppet.send_snapshot(LEADER, 1, 3, &history.snapshot(10)).await;
        until("the true one is installed", || puppet.status().raft.applied == 10).await;
        assert_eq!(puppet.counted(&history.word(10)).await, 1);
        puppet.shutdown().await;
    });
}

/// CL04, A10: whoever asked for a snapshot while an install was under way is answered by the install.
#[test]
fn an_install_answers_who_waits_for_a_snapshot() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let puppet = Puppet::start(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        until("applied", || puppet.status().raft.applied == 5).await;
        puppet.delays.set_decode(Duration::from_secs(5));
        puppet.send_snapshot(LEADER, 1, 1, &history.snapshot(10)).await;
        let handle = puppet.handle();
        let waiting = spawn_local(async move { handle.snapshot().await });
        pass(Duration::from_secs(2)).await;
        assert!(!waiting.is_finished(), "answered before anything was durable");
        until("installed", || puppet.status().raft.applied == 10).await;
        until("answered", || waiting.is_finished()).await;
        assert_eq!(waiting.await.unwrap(), Ok(history.id(10)));
        puppet.shutdown().await;
    });
}

/// SN17: a snapshot is not reported before its record is durable, however current the protocol holds it to be.
#[test]
fn a_snapshot_is_reported_when_it_is_durable() {
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
        let handle = puppet.handle();
        let waiting = spawn_local(async move { handle.snapshot().await });
        pass(Duration::from_secs(1)).await;
        assert_eq!(puppet.status().raft.counters.snapshots_taken, 0, "its record is on the way");
        assert!(!waiting.is_finished(), "reported before it is durable");
        until("recorded", || puppet.status().raft.counters.snapshots_taken == 1).await;
        until("answered", || waiting.is_finished()).await;
        assert_eq!(waiting.await.unwrap(), Ok(history.id(9)));
        puppet.shutdown().await;
    });
}

/// B3, SN13: a snapshot that is withdrawn while it is decoded leaves no state behind: not until the next install, not at all.
#[test]
fn a_withdrawn_snapshots_state_is_dropped() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = Puppet::start_by_hand(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        puppet.delays.set_decode(Duration::from_secs(5));
        puppet.send_snapshot(LEADER, 1, 1, &history.snapshot(10)).await;
        pass(Duration::from_secs(1)).await;
        assert_eq!(puppet.install(), InstallStatus::Pending { index: 10 });
        puppet.append(LEADER, 1, &history, 5, 12, 12).await;
        until("withdrawn", || puppet.status().raft.counters.installs_withdrawn == 1).await;
        assert_eq!(hand.shadows(), 1, "decoded, and not yet reported");
        pass(Duration::from_secs(10)).await;
        assert_eq!(hand.shadows(), 0, "the state of a withdrawn snapshot is kept");
        assert_eq!(hand.apply_entries(1).await, history.id(12));
        puppet.shutdown().await;
    });
}

/// CL01, CL04: the leader is cut off with a command under way. The client does not wait for that leader to give up: it asks
/// the others with the same number, and the command is executed once.
#[test]
fn a_client_leaves_a_leader_that_is_cut_off() {
    story(async {
        let cluster = words(3).start().await.unwrap();
        let client = cluster.client(ClientOptions::default());
        count(&client, "word", 3).await;
        let old = leader(&cluster).await;
        let before = client.metrics().retries;
        cluster.network().isolate(old);
        let began = Instant::now();
        client.execute(Increment { word: "word".into() }).await.expect("executed by the others");
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(5), "waited for {waited:?}");
        assert!(client.metrics().retries > before);
        cluster.network().heal();
        all_caught_up(&cluster).await;
        for node in cluster.ids() {
            assert_eq!(counted(&cluster, node, "word").await, 4);
        }
        assert_healthy(&cluster);
        cluster.shutdown().await;
    });
}

/// CL04, RD08: a read behind a state machine that is busy for long is answered by its deadline, by whoever is not busy; the
/// late job then finds nothing to do and gives its place back.
#[test]
fn a_read_behind_a_busy_state_machine_is_answered_in_time() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let puppet = Puppet::start(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.delays.set_apply(Duration::from_secs(60));
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        pass(Duration::from_secs(1)).await;
        let began = Instant::now();
        let read = puppet.handle().read(Consistency::Local, |state| state.len()).await;
        assert_eq!(read, Err(ReadError::TimedOut));
        let waited = began.elapsed();
        assert!(waited >= small().proposal_timeout, "gave up after {waited:?}");
        assert!(
            waited < small().proposal_timeout + Duration::from_secs(1),
            "waited for {waited:?}"
        );
        assert_eq!(puppet.status().reads_in_flight, 1, "its job waits for the state machine");
        until("applied", || puppet.status().raft.applied == 5).await;
        until("its place is free", || puppet.status().reads_in_flight == 0).await;
        puppet.shutdown().await;
    });
}
