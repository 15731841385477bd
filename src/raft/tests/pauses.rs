//! Paused processes: when a pause costs leadership, and the purpose of staggered heartbeats.

use super::hand::*;
use super::world::MILLISECOND;
use crate::raft::*;

/// Election timeouts shorter than two heartbeats.
fn short(config: &mut RaftConfig) {
    config.heartbeat_interval = 100 * MILLISECOND;
    config.election_timeout_min = 180 * MILLISECOND;
    config.election_timeout_max = 220 * MILLISECOND;
    config.request_timeout = 40 * MILLISECOND;
    config.noop_on_election = false;
}

/// A leader that all others have answered.
fn settled(size: u64) -> Hand {
    let mut hand = Setup::of(size).with(short).lead();
    (1..size).for_each(|node| hand.accept_all(node));
    hand
}

/// No input arrives for this long; then the driver runs again.
fn stands_still(hand: &mut Hand, milliseconds: u64) {
    hand.now += milliseconds * MILLISECOND;
    hand.does(|raft, now| {
        raft.stalled(now);
        raft.tick(now);
    });
}

#[test]
fn a_leader_that_stood_still_asks_before_it_steps_down() {
    for answered in [true, false] {
        let mut hand = settled(3);
        stands_still(&mut hand, 5_000);
        assert_eq!(hand.role(), Role::Leader);
        let asked = hand.append(1);
        hand.append(2);
        hand.after(40);
        assert_eq!(hand.role(), Role::Leader, "as long as an answer may take");
        if answered {
            hand.accept(&asked);
        }
        hand.after(1);
        assert_eq!(hand.role() == Role::Leader, answered);
    }
}

#[test]
fn a_follower_that_stood_still_waits_for_what_it_was_sent() {
    for heard in [true, false] {
        let mut hand = Setup::of(3).with(short).start();
        hand.hear(1, 1, heartbeat(LogId::BASE, 0));
        hand.disk();
        stands_still(&mut hand, 5_000);
        assert_eq!(hand.role(), Role::Follower);
        hand.sent.clear();
        hand.hear(2, 1, pre_vote(2, LogId::BASE));
        assert_eq!(hand.answer(), Answer::PreVote { campaign_term: 2, granted: false });
        hand.after(39);
        assert_eq!(hand.role(), Role::Follower);
        if heard {
            hand.hear(1, 1, heartbeat(LogId::BASE, 0));
        }
        hand.after(1);
        assert_eq!(hand.role() == Role::Follower, heard);
    }
}

/// Requests may time out later than a leader: an election does not wait for them.
#[test]
fn a_stall_delays_an_election_by_no_more_than_an_election_timeout() {
    let mut hand = Setup::of(3)
        .with(|config| {
            short(config);
            config.request_timeout = 60_000 * MILLISECOND;
        })
        .start();
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    hand.disk();
    stands_still(&mut hand, 5_000);
    hand.after(179);
    assert_eq!(hand.role(), Role::Follower);
    hand.after(1);
    assert_ne!(hand.role(), Role::Follower);
}

/// Silence is excused only once: otherwise ticks that always come late would keep a leader without
/// a quorum, and a cluster without a leader.
#[test]
fn silence_is_excused_once() {
    let mut leader = settled(3);
    stands_still(&mut leader, 5_000);
    stands_still(&mut leader, 100);
    assert_ne!(leader.role(), Role::Leader);
    let mut follower = Setup::of(3).with(short).start();
    follower.hear(1, 1, heartbeat(LogId::BASE, 0));
    follower.disk();
    stands_still(&mut follower, 5_000);
    stands_still(&mut follower, 100);
    assert_eq!(follower.role(), Role::PreCandidate);
    follower.hear(1, 1, heartbeat(LogId::BASE, 0));
    stands_still(&mut follower, 5_000);
    assert_eq!(follower.role(), Role::Follower, "it has heard the leader since");
}

/// A disk that did not answer while the process was paused is not hung.
#[test]
fn a_disk_does_not_hang_because_the_process_stood_still() {
    let mut hand = settled(3);
    hand.propose(b"x").expect("leading");
    assert!(!hand.steps.is_empty(), "a write is under way");
    stands_still(&mut hand, 5_000);
    assert_eq!(hand.role(), Role::Leader);
}

/// For each whole millisecond of two quiet seconds: the longest time for which not `enough` members
/// had heard the leader.
fn longest_silence(hand: &mut Hand, size: u64, enough: usize) -> Micros {
    let mut heard_at = vec![hand.now; size as usize - 1];
    let mut longest = 0;
    for _ in 0..2_000 {
        hand.after(1);
        for node in 1..size {
            let beats = hand.appends(node);
            beats.iter().for_each(|beat| hand.accept(beat));
            if !beats.is_empty() {
                heard_at[node as usize - 1] = hand.now;
            }
        }
        heard_at.sort_unstable_by(|one, other| other.cmp(one));
        longest = longest.max(hand.now - heard_at[enough - 1]);
    }
    longest
}

/// If a timeout is shorter than two heartbeats, then at every moment the members that have not
/// heard the leader within half an interval are no quorum. So only a pause longer than a timeout
/// minus that time lets others elect a leader.
#[test]
fn heartbeats_go_to_half_the_members_in_turn() {
    for size in [3, 5, 7] {
        let mut hand = settled(size);
        let enough = (size as usize - 1) / 2;
        assert_eq!(longest_silence(&mut hand, size, enough), 49 * MILLISECOND, "{size}");
    }
    let mut hand = Setup::of(3).with(short).with(|c| c.election_timeout_min = 200_000).lead();
    (1..3).for_each(|node| hand.accept_all(node));
    assert_eq!(longest_silence(&mut hand, 3, 1), 99 * MILLISECOND, "long timeouts: together");
}

/// Staggered heartbeats are no more in number than simultaneous ones.
#[test]
fn heartbeats_in_turn_are_no_more() {
    let mut hand = settled(5);
    let mut sent = 0;
    for _ in 0..2_000 {
        hand.after(1);
        for node in 1..5 {
            let beats = hand.appends(node);
            sent += beats.len();
            // Two of them are down.
            beats.iter().filter(|_| node < 3).for_each(|beat| hand.accept(beat));
        }
    }
    assert_eq!(sent, 4 * 20, "one a member and interval");
}

/// A driver that ticks only at deadlines sends staggered heartbeats as well.
#[test]
fn ac07_heartbeats_in_turn_have_a_deadline() {
    let mut hand = settled(3);
    let deadline = hand.raft.next_deadline();
    assert_eq!(deadline, hand.now + 50 * MILLISECOND);
    hand.now = deadline;
    hand.does(|raft, now| raft.tick(now));
    assert_eq!(hand.sent.len(), 1);
}

// ---- one client alone ------------------------------------------------------------------------

/// A leader that waits: with batches and minimum distances.
fn patient(config: &mut RaftConfig) {
    config.batch_delay = MILLISECOND;
    config.append_interval = 20 * MILLISECOND;
    config.noop_on_election = false;
}

/// How many milliseconds it takes until `count` proposals together are sent and committed.
fn commits_after(hand: &mut Hand, count: u64) -> u64 {
    hand.propose_many(count);
    hand.disk();
    for milliseconds in 1..100 {
        hand.after(1);
        for node in 1..3 {
            hand.accept_all(node);
        }
        if hand.status().commit == hand.status().last.index {
            return milliseconds;
        }
    }
    panic!("nothing is sent");
}

/// A single client waits for each reply, so no other proposal joins its proposals, and they are not
/// delayed for a batch.
#[test]
fn a_client_alone_is_not_held_back() {
    let mut hand = Setup::of(3).with(patient).lead();
    (1..3).for_each(|node| hand.accept_all(node));
    hand.after(30);
    let took: Vec<u64> = (0..6).map(|_| commits_after(&mut hand, 1)).collect();
    assert_eq!(took[3..], [1, 1, 1], "{took:?}: a batch's moment each");
    commits_after(&mut hand, 2);
    assert_eq!(commits_after(&mut hand, 1), 20, "two at once: distances again");
}

/// Several clients propose at any time; minimum distances gather their proposals.
#[test]
fn clients_that_come_at_any_time_are_gathered() {
    let mut hand = Setup::of(3).with(patient).lead();
    (1..3).for_each(|node| hand.accept_all(node));
    hand.after(30);
    let mut took = Vec::new();
    for _ in 0..6 {
        took.push(commits_after(&mut hand, 1));
        hand.after(6);
    }
    assert_eq!(took[1..], [14; 5], "none comes right behind the one before");
}
