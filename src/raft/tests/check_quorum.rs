//! A leader with `check_quorum` off: it keeps its role without a quorum, and other rules still
//! hold.

use super::hand::*;
use super::world::MILLISECOND;
use crate::raft::*;

/// A leader of three that does not step down, and that both members have answered.
fn leader() -> Hand {
    let mut hand = Setup::of(3).with(|config| config.check_quorum = false).lead();
    [1, 2].iter().for_each(|&node| hand.accept_all(node));
    hand.sent.clear();
    hand
}

fn read(hand: &mut Hand) -> Result<ReadTicket, Refusal> {
    hand.does(|raft, now| raft.read_index(now))
}

/// Passes this many intervals without an answer. A driver that ticks at deadlines has a deadline in
/// each of them.
fn unanswered(hand: &mut Hand, intervals: u32) {
    for _ in 0..intervals {
        hand.after(100);
        assert_eq!((hand.role(), hand.term()), (Role::Leader, 1));
        let deadline = hand.raft.next_deadline();
        assert!(deadline > hand.now, "due at {deadline} again, it is {}", hand.now);
    }
}

#[test]
fn a_leader_that_keeps_its_role_without_a_quorum_commits_nothing() {
    let mut hand = leader();
    unanswered(&mut hand, 50);
    assert_eq!(hand.propose(b"x").map(|log_id| log_id.index), Ok(2));
    hand.disk();
    unanswered(&mut hand, 50);
    assert_eq!(hand.status().commit, 1);
    hand.accept_all(2);
    assert_eq!(hand.status().commit, 2, "a quorum answers again");
}

/// Pending reads fail, later ones are refused at once: none accumulate, and none is answered
/// without a quorum.
#[test]
fn a_leader_that_keeps_its_role_without_a_quorum_confirms_no_read() {
    let mut hand = leader();
    hand.accept_all(1);
    let ticket = read(&mut hand).expect("a quorum has answered");
    unanswered(&mut hand, 10);
    assert_eq!(hand.out.reads_failed, [ticket]);
    assert_eq!(read(&mut hand), Err(Refusal::Busy));
    assert!(hand.out.reads_confirmed.is_empty());
    hand.accept_all(1);
    let ticket = read(&mut hand).expect("a quorum answers again");
    hand.accept_all(1);
    assert_eq!(hand.out.reads_confirmed, [ReadConfirmed { ticket, index: 1 }]);
}

/// The answer of a quorum to an earlier round confirms neither a read that failed nor the next one.
#[test]
fn what_was_asked_before_the_silence_confirms_nothing_after_it() {
    let mut hand = leader();
    read(&mut hand).expect("a quorum has answered");
    let earlier = hand.append(1);
    unanswered(&mut hand, 10);
    hand.sent.clear();
    hand.accept(&earlier);
    assert!(hand.out.reads_confirmed.is_empty());
    read(&mut hand).expect("a quorum answers again");
    hand.accept(&earlier);
    assert!(hand.out.reads_confirmed.is_empty());
}

/// The leader notices by itself that its disk hangs; otherwise its members would follow it for
/// ever.
#[test]
fn a_leader_whose_disk_hangs_steps_down_without_check_quorum_too() {
    let mut hand = leader();
    hand.propose(b"x").expect("room");
    for _ in 0..12 {
        hand.after(100);
        [1, 2].iter().for_each(|&node| hand.accept_all(node));
        assert_eq!(hand.role(), Role::Leader);
    }
    hand.after(1);
    assert_eq!(hand.role(), Role::Follower);
}

/// While a quorum answers, the leader is active and refuses candidates; without a quorum it must
/// not.
#[test]
fn a_leader_that_hears_no_quorum_refuses_no_candidate() {
    for silence in [299, 301] {
        let mut hand = leader();
        hand.now += silence * MILLISECOND;
        hand.hear(2, 1, pre_vote(2, id(1, 1)));
        hand.hear(2, 2, Request::Vote { last: id(1, 1) });
        hand.disk();
        let lives = silence < 300;
        assert_eq!((hand.role() == Role::Leader, hand.term()), (lives, 2 - u64::from(lives)));
        let granted = hand.sent_to(2).into_iter().filter_map(|envelope| match envelope.body {
            Body::Answer { answer: Answer::PreVote { granted, .. }, .. } => Some(granted),
            Body::Answer { answer: Answer::Vote { granted, .. }, .. } => Some(granted),
            _ => None,
        });
        assert_eq!(granted.collect::<Vec<_>>(), [!lives; 2], "{silence} ms of silence");
    }
}

/// A leader that is cut off is deposed by the first message of the next term, with `check_quorum`
/// on or off.
#[test]
fn a_leader_that_kept_its_role_follows_the_next_term() {
    let mut hand = leader();
    unanswered(&mut hand, 10);
    hand.hear(1, 2, heartbeat(id(1, 1), 1));
    assert_eq!((hand.role(), hand.status().leader), (Role::Follower, Some(1)));
}
