//! Slow work delays nobody else: each part has a place of its own, and moving one onto the peer's shows at once.
//!
//! | slow | by | meanwhile |
//! |---|---|---|
//! | decode | a minute | heartbeats answered, entries appended, reads confirmed |
//! | apply, encode, fsync | seconds | the same |
//!
//! Every story is told twice: on places of their own the loop never stalls; with the part moved onto the peer's place the
//! same story shows the stall. So the first half can't hold by accident.

use std::time::Duration;

use quorate::machine::{Increment, WordCount};
use quorate::node::{ClientOptions, Cluster, Consistency};
use quorate::raft::{Answer, AppendOutcome, InstallStatus, NodeId, Role};
use quorate::runtime::{Component, Placement};
use tokio::time::Instant;

use crate::puppet::{History, LEADER, Puppet};
use crate::support::*;

const MINUTE: Duration = Duration::from_secs(60);
/// One tick of the clock: a loop that nothing delays is never later than that.
const TICK_MS: f64 = 10.0;

/// Isolates a follower and lets the others go on until their logs do not reach back to it. Returns the leader and it.
async fn leave_behind(cluster: &Cluster<WordCount>) -> (NodeId, NodeId) {
    let client = client(cluster);
    count(&client, "before", 5).await;
    all_caught_up(cluster).await;
    let leader = leader(cluster).await;
    let behind = (leader + 1) % 3;
    cluster.network().isolate(behind);
    count(&client, "missed", 1_000).await;
    assert!(status(cluster, leader).raft.log_start.index > status(cluster, behind).raft.last.index);
    (leader, behind)
}

fn is_pending(cluster: &Cluster<WordCount>, node: NodeId) -> bool {
    matches!(status(cluster, node).raft.install, InstallStatus::Pending { .. })
}

/// The longest stall of any member's loop, in milliseconds.
fn longest_stall_ms(cluster: &Cluster<WordCount>) -> f64 {
    cluster
        .ids()
        .into_iter()
        .map(|node| status(cluster, node).max_loop_stall_ms)
        .fold(0.0, f64::max)
}

/// SN28, A67, B9, AC17: for a minute of decoding the leader's quorum hangs on the member that decodes, and holds.
#[test]
fn a_decode_of_a_minute_delays_nobody() {
    story(async {
        let cluster = words(3).start().await.unwrap();
        let (leader, behind) = leave_behind(&cluster).await;
        cluster.delays(behind).unwrap().set_decode(MINUTE);
        cluster.network().heal();
        until("the snapshot is pending", || is_pending(&cluster, behind)).await;

        let began = Instant::now();
        let term = status(&cluster, leader).raft.term;
        let campaigns = status(&cluster, behind).raft.counters.campaigns;
        // From here on the leader has nobody else to hear from.
        cluster.crash_member((leader + 2) % 3).await;
        let handle = cluster.handle(leader).unwrap();
        while began.elapsed() < Duration::from_secs(50) {
            // A read is confirmed by a round that the decoding member answers.
            let asked = Instant::now();
            let read = handle.read(Consistency::Linearizable, |state| state.get(b"missed")).await;
            assert_eq!(read, Ok(1_000));
            assert!(
                asked.elapsed() < Duration::from_millis(100),
                "read after {:?}",
                asked.elapsed()
            );
            let (leading, decoding) = (status(&cluster, leader), status(&cluster, behind));
            assert_eq!((leading.raft.role, leading.raft.term), (Role::Leader, term));
            assert_eq!((decoding.raft.role, decoding.raft.leader), (Role::Follower, Some(leader)));
            assert!(is_pending(&cluster, behind), "decoded after {:?}", began.elapsed());
            // The old state serves until the new one is there.
            assert_eq!(counted(&cluster, behind, "before").await, 5);
            assert_eq!(counted(&cluster, behind, "missed").await, 0);
            pass(Duration::from_secs(1)).await;
        }
        assert_eq!(status(&cluster, behind).raft.counters.campaigns, campaigns);

        all_caught_up(&cluster).await;
        assert!(began.elapsed() >= Duration::from_secs(59), "decoded after {:?}", began.elapsed());
        assert_eq!(counted(&cluster, behind, "missed").await, 1_000);
        let installed = status(&cluster, behind);
        assert!(installed.max_install_ms >= 60_000.0, "{installed:?}");
        assert_eq!(installed.raft.counters.installs_granted, 1);
        assert_eq!(status(&cluster, leader).raft.term, term);
        let stall_ms = longest_stall_ms(&cluster);
        assert!(stall_ms <= TICK_MS, "a loop stalled for {stall_ms} ms");
        assert_healthy(&cluster);
        cluster.shutdown().await;
    });
}

/// The mirror: the same decode on the peer's place is a stall of a minute, and is seen as one.
#[test]
fn a_decode_on_the_peers_place_shows_as_a_stall() {
    story(async {
        let beside = Placement::virtual_time().with(Component::Snapshotter, Component::Peer);
        let cluster = words(3).placement(beside).start().await.unwrap();
        let (_, behind) = leave_behind(&cluster).await;
        cluster.delays(behind).unwrap().set_decode(MINUTE);
        cluster.network().heal();
        until_within("the snapshot is installed", 5 * MINUTE, || {
            status(&cluster, behind).raft.counters.installs_granted == 1
        })
        .await;
        let stall_ms = status(&cluster, behind).max_loop_stall_ms;
        assert!(
            stall_ms >= 60_000.0 - TICK_MS,
            "a loop that decoded for a minute stalled for {stall_ms} ms"
        );
        cluster.shutdown().await;
    });
}

/// SN14, A67: while a snapshot is decoded, entries are judged against the own log, appended and acknowledged.
#[test]
fn entries_are_appended_during_a_decode() {
    story(async {
        let puppet = Puppet::start(small()).await;
        let history = History::of(&[(1, 100)]);
        puppet.delays.set_decode(MINUTE);
        puppet.send_snapshot(LEADER, 1, 1, &history.snapshot(100)).await;
        until("decoding", || puppet.install() == InstallStatus::Pending { index: 100 }).await;
        let began = Instant::now();
        for last in 1..=40 {
            let answer = puppet.append(LEADER, 1, &history, last - 1, last, last).await;
            let Answer::Append(answer) = answer else { panic!("{answer:?}") };
            assert_eq!(answer.outcome, AppendOutcome::Accepted, "entry {last}");
            assert_eq!(answer.report.matched, last);
            assert_eq!(answer.report.install, InstallStatus::Pending { index: 100 });
        }
        assert!(began.elapsed() < Duration::from_secs(5), "appended within {:?}", began.elapsed());
        until("they are applied", || puppet.status().raft.applied == 40).await;
        assert_eq!(puppet.counted(&history.word(40)).await, 1);
        puppet.keep_alive(LEADER, 1);
        until_within("installed", 2 * MINUTE, || puppet.status().raft.applied == 100).await;
        assert!(puppet.status().max_loop_stall_ms <= TICK_MS);
        assert_eq!(puppet.status().raft.counters.campaigns, 0);
        puppet.shutdown().await;
    });
}

/// How long the loops stalled while the leader's state machine took `cost` for a batch.
async fn apply_slowly(placement: Placement, cost: Duration) -> f64 {
    let cluster = words(3).placement(placement).start().await.unwrap();
    let client = client(&cluster);
    count(&client, "word", 10).await;
    let slow = leader(&cluster).await;
    all_caught_up(&cluster).await;
    let term = status(&cluster, slow).raft.term;
    cluster.delays(slow).unwrap().set_apply(cost);
    let handle = cluster.handle(slow).unwrap();
    let mut proposal = handle.submit(Increment { word: "slow".into() }).unwrap();
    let appended = proposal.appended().await.expect("durable");
    until_within("committed", 2 * cost, || {
        cluster
            .ids()
            .into_iter()
            .any(|node| node != slow && status(&cluster, node).raft.applied >= appended.index)
    })
    .await;
    until_within("applied", 3 * cost, || status(&cluster, slow).raft.applied >= appended.index)
        .await;
    let stall_ms = status(&cluster, slow).max_loop_stall_ms;
    if stall_ms <= TICK_MS {
        assert_eq!(proposal.reply().await, Ok(1), "the reply comes from a leader that stayed one");
        assert_eq!(status(&cluster, slow).raft.term, term);
        assert_eq!(status(&cluster, slow).raft.role, Role::Leader);
    }
    cluster.shutdown().await;
    stall_ms
}

/// A67, AC17, SN22: a state machine that takes half a minute for a batch costs its leader neither office nor commits.
#[test]
fn a_slow_state_machine_delays_only_its_replies() {
    story(async {
        let cost = Duration::from_secs(30);
        let stall_ms = apply_slowly(Placement::virtual_time(), cost).await;
        assert!(stall_ms <= TICK_MS, "stalled for {stall_ms} ms");
        let beside = Placement::virtual_time().with(Component::Applier, Component::Peer);
        let stall_ms = apply_slowly(beside, cost).await;
        assert!(
            stall_ms >= 30_000.0 - TICK_MS,
            "on the peer's place it stalled for {stall_ms} ms only"
        );
    });
}

/// How long the leader's loop stalled while a snapshot took `cost` to encode.
async fn encode_slowly(placement: Placement, cost: Duration) -> f64 {
    let cluster = words(3).placement(placement).start().await.unwrap();
    let client = cluster.client(ClientOptions { timeout: 5 * cost, ..ClientOptions::default() });
    count(&client, "word", 10).await;
    let slow = leader(&cluster).await;
    let term = status(&cluster, slow).raft.term;
    cluster.delays(slow).unwrap().set_encode(cost);
    let handle = cluster.handle(slow).unwrap();
    let snapshot = tokio::task::spawn_local(async move { handle.snapshot().await });
    let began = Instant::now();
    count(&client, "word", 50).await;
    let answered = began.elapsed();
    let taken = snapshot.await.unwrap().expect("a snapshot");
    assert!(began.elapsed() >= cost, "encoded after {:?}", began.elapsed());
    assert_eq!(status(&cluster, slow).raft.snapshot, taken);
    let stall_ms = status(&cluster, slow).max_loop_stall_ms;
    if stall_ms <= TICK_MS {
        assert!(answered < Duration::from_secs(5), "answered after {answered:?}");
        assert_eq!(status(&cluster, slow).raft.term, term);
    }
    cluster.shutdown().await;
    stall_ms
}

/// A29, SN22: commands are answered while a snapshot is encoded.
#[test]
fn a_slow_encode_delays_nobody() {
    story(async {
        let stall_ms = encode_slowly(Placement::virtual_time(), MINUTE).await;
        assert!(stall_ms <= TICK_MS, "stalled for {stall_ms} ms");
        let beside = Placement::virtual_time().with(Component::Snapshotter, Component::Peer);
        let stall_ms = encode_slowly(beside, MINUTE).await;
        assert!(
            stall_ms >= 60_000.0 - TICK_MS,
            "on the peer's place it stalled for {stall_ms} ms only"
        );
    });
}

/// How long a follower's loop stalled whose disk takes `cost` for each step, and whom the leader needs.
async fn persist_slowly(placement: Placement, cost: Duration) -> f64 {
    let cluster = words(3).placement(placement).start().await.unwrap();
    let client = client(&cluster);
    count(&client, "word", 10).await;
    all_caught_up(&cluster).await;
    let leader = leader(&cluster).await;
    let (slow, term) = ((leader + 1) % 3, status(&cluster, leader).raft.term);
    cluster.delays(slow).unwrap().set_fsync(cost);
    cluster.crash_member((leader + 2) % 3).await;
    let handle = cluster.handle(leader).unwrap();
    let reply =
        tokio::task::spawn_local(
            async move { handle.propose(Increment { word: "slow".into() }).await },
        );
    let began = Instant::now();
    let before = status(&cluster, slow).raft.last.index;
    until_within("the slow disk has it", 10 * cost, || {
        status(&cluster, slow).raft.persisted > before
    })
    .await;
    let stall_ms = status(&cluster, slow).max_loop_stall_ms;
    if stall_ms <= TICK_MS {
        assert_eq!(reply.await.unwrap(), Ok(1));
        assert!(began.elapsed() >= cost, "committed before it was durable, {:?}", began.elapsed());
        assert_eq!(status(&cluster, leader).raft.term, term, "heartbeats waited for the disk");
    }
    cluster.shutdown().await;
    stall_ms
}

/// PS02, AC17: heartbeats are answered while the disk works, acknowledgements are not.
#[test]
fn a_slow_disk_delays_only_acknowledgements() {
    story(async {
        let cost = Duration::from_secs(5);
        let stall_ms = persist_slowly(Placement::virtual_time(), cost).await;
        assert!(stall_ms <= TICK_MS, "stalled for {stall_ms} ms");
        let beside = Placement::virtual_time().with(Component::Persister, Component::Peer);
        let stall_ms = persist_slowly(beside, cost).await;
        assert!(
            stall_ms >= 5_000.0 - TICK_MS,
            "on the peer's place it stalled for {stall_ms} ms only"
        );
    });
}

/// Gray failure: a leader whose disk hangs gives up its office; the others go on without it.
#[test]
fn a_leader_with_a_hanging_disk_gives_way() {
    story(async {
        let cluster = words(3).start().await.unwrap();
        let client = client(&cluster);
        count(&client, "word", 10).await;
        let slow = leader(&cluster).await;
        cluster.delays(slow).unwrap().set_fsync(MINUTE);
        let began = Instant::now();
        count(&client, "word", 10).await;
        assert!(began.elapsed() < Duration::from_secs(15), "went on after {:?}", began.elapsed());
        assert_ne!(leader(&cluster).await, slow);
        assert!(longest_stall_ms(&cluster) <= TICK_MS);
        cluster.delays(slow).unwrap().set_fsync(Duration::ZERO);
        until_within("the slow disk is done", 3 * MINUTE, || {
            let s = status(&cluster, slow).raft;
            s.applied == status(&cluster, leader_now(&cluster).unwrap_or(slow)).raft.last.index
        })
        .await;
        assert_eq!(counted(&cluster, slow, "word").await, 20);
        assert_healthy(&cluster);
        cluster.shutdown().await;
    });
}
