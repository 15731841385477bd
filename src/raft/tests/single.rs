//! Clusters of one, two and four, where quorums are easily counted wrong (EL23, RD10, PS03, LR08).

use super::hand::*;
use super::world::{self, MILLISECOND, World};
use crate::raft::*;

/// A lone node elects itself when its timeout has passed, without any answer, and after its vote is
/// durable.
#[test]
fn el23_a_lone_node_leads_after_a_timeout() {
    let mut hand = Setup::of(1).start();
    hand.after(601);
    assert_eq!((hand.role(), hand.term()), (Role::Candidate, 1));
    hand.disk_one();
    assert_eq!((hand.role(), hand.status().commit), (Role::Leader, 0));
    hand.disk();
    assert_eq!(hand.status().commit, 1);
}

/// With a disk slower than the election timeout a lone node is still elected: one campaign at a
/// time.
#[test]
fn el23_a_lone_node_with_a_slow_disk_leads() {
    let mut world = World::new(1, 4, world::config());
    world.faults.persist_max = 1_000 * MILLISECOND;
    let led = world.run_until(10_000 * MILLISECOND, |world| world.leader().is_some());
    assert!(led, "{:#?}", world.positions());
    assert_eq!(world.status(0).term, 1);
}

/// It leads again after a restart, and commits what it had.
#[test]
fn el23_a_lone_node_leads_again_after_a_restart() {
    let mut world = World::new(1, 5, world::config());
    world.elect();
    world.load(0, 10);
    world.crash(0);
    world.start(0);
    world.elect();
    assert_eq!((world.status(0).term, world.status(0).commit >= 11), (2, true));
    assert!(world.propose(0, b"on").is_ok());
}

/// What a lone node commits is durable before it is reported.
#[test]
fn ps03_a_lone_node_commits_what_is_durable() {
    let mut hand = Setup::of(1).lead();
    hand.propose(b"x").expect("room");
    assert_eq!((hand.status().commit, hand.dispatched()), (1, vec![id(1, 1)]));
    hand.disk();
    assert_eq!((hand.status().commit, hand.dispatched()), (2, vec![id(2, 1)]));
}

/// It is always its own quorum: it waits for no answer, sends nothing, and no read fails.
#[test]
fn rd10_a_lone_node_needs_nobody() {
    let mut hand = Setup::of(1).lead();
    for _ in 0..30 {
        hand.after(100);
        assert_eq!(hand.role(), Role::Leader);
    }
    hand.does(|raft, now| raft.read_index(now)).expect("leads");
    assert_eq!(hand.out.reads_confirmed.len(), 1);
    assert!(hand.is_silent());
}

/// Of two nodes both are needed: for an election, a commit and a read.
#[test]
fn lr08_of_two_both_are_needed() {
    let mut hand = Setup::of(2).start();
    hand.after(601);
    assert_eq!(hand.role(), Role::PreCandidate, "alone there is no majority");
    hand.win();
    assert_eq!(hand.status().commit, 0);
    assert_eq!(hand.does(|raft, now| raft.read_index(now)), Err(Refusal::Busy));
    hand.accept_all(1);
    assert_eq!(hand.status().commit, 1);
    hand.does(|raft, now| raft.read_index(now)).expect("committed");
    assert!(hand.out.reads_confirmed.is_empty());
    hand.accept_all(1);
    assert_eq!(hand.out.reads_confirmed.len(), 1);
    hand.after(601);
    assert_eq!(hand.role(), Role::Follower, "nobody else answers");
}

/// Of four nodes three are needed: neither half elects a leader.
#[test]
fn lr08_of_four_three_are_needed() {
    let mut hand = Setup::of(4).start();
    hand.campaign();
    let requests = std::mem::take(&mut hand.sent);
    let yes = Answer::PreVote { campaign_term: 1, granted: true };
    hand.reply(&requests[0], yes.clone());
    assert_eq!(hand.role(), Role::PreCandidate);
    hand.reply(&requests[1], yes);
    assert_eq!(hand.role(), Role::Candidate);
    hand.disk();
    let requests = hand.votes_asked();
    hand.reply(&requests[0], Answer::Vote { granted: true, held: None });
    assert_eq!(hand.role(), Role::Candidate);
    hand.reply(&requests[1], Answer::Vote { granted: true, held: None });
    hand.disk();
    hand.accept_all(1);
    assert_eq!((hand.role(), hand.status().commit), (Role::Leader, 0));
    hand.accept_all(2);
    assert_eq!(hand.status().commit, 1);
}

/// Two refusals of four lose an election: it is given up at once.
#[test]
fn lr08_two_of_four_refuse_and_it_is_lost() {
    let mut hand = Setup::of(4).start();
    hand.campaign_for_votes();
    hand.disk();
    let requests = std::mem::take(&mut hand.sent);
    let requests: Vec<_> =
        requests.iter().filter(|e| matches!(e.body, Body::Request(Request::Vote { .. }))).collect();
    hand.reply(requests[0], Answer::Vote { granted: false, held: None });
    assert_eq!(hand.role(), Role::Candidate);
    hand.reply(requests[1], Answer::Vote { granted: false, held: None });
    assert_eq!(hand.role(), Role::Follower);
}

/// Two halves of four, cut off from each other: nothing is committed in either until they are
/// connected.
#[test]
fn lr08_two_halves_of_four_commit_nothing() {
    let mut world = World::new(4, 6, world::config());
    let leader = world.elect();
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        world.cut.extend([(a, b), (b, a)]);
    }
    let before = world.status(leader).commit;
    let _ = world.propose(leader, b"x");
    world.run_for(5_000 * MILLISECOND);
    assert_eq!(world.leader(), None, "{:#?}", world.positions());
    assert!((0..4).all(|id| world.status(id).commit <= before));
    world.heal_and_converge();
}
