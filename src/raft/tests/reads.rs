//! Linearizable reads, by the catalogue's ids RD01–RD10.

use super::hand::*;
use crate::raft::*;

fn read(hand: &mut Hand) -> Result<ReadTicket, Refusal> {
    hand.does(|raft, now| raft.read_index(now))
}

fn confirmed(hand: &mut Hand) -> Vec<(ReadTicket, Index)> {
    let confirmed = std::mem::take(&mut hand.out.reads_confirmed);
    confirmed.iter().map(|read| (read.ticket, read.index)).collect()
}

#[test]
fn rd01_a_new_leader_confirms_nothing_before_it_has_committed() {
    let mut hand = Setup::of(3).log(&[1, 1]).lead();
    assert_eq!(read(&mut hand), Err(Refusal::Busy));
    hand.accept_all(1);
    let ticket = read(&mut hand).expect("committed in its term");
    hand.accept_all(1);
    assert_eq!(confirmed(&mut hand), [(ticket, 3)]);
}

#[test]
fn rd02_a_read_needs_a_quorum() {
    let mut hand = Setup::of(5).lead();
    [1, 2].iter().for_each(|&node| hand.accept_all(node));
    let ticket = read(&mut hand).expect("leads");
    assert!(confirmed(&mut hand).is_empty());
    hand.accept_all(1);
    assert!(confirmed(&mut hand).is_empty(), "two of five");
    hand.accept_all(2);
    assert_eq!(confirmed(&mut hand), [(ticket, 1)]);
}

/// An answer to a request sent before the read arrived confirms nothing: a round is never reused.
#[test]
fn rd03_answers_to_earlier_requests_confirm_nothing() {
    let mut hand = Setup::of(3).lead();
    hand.accept_all(1);
    hand.sent.clear();
    hand.after(100);
    let before = hand.append(1);
    let first = read(&mut hand).expect("leads");
    let during = hand.append(1);
    hand.accept(&before);
    assert!(confirmed(&mut hand).is_empty());
    let second = read(&mut hand).expect("leads");
    let after = hand.append(1);
    hand.accept(&during);
    assert_eq!(confirmed(&mut hand), [(first, 1)], "the second read came after that request left");
    hand.accept(&before);
    hand.accept(&during);
    assert!(confirmed(&mut hand).is_empty());
    hand.accept(&after);
    assert_eq!(confirmed(&mut hand), [(second, 1)]);
}

/// A read whose round has not begun is not confirmed by the answer to an earlier one, even if both
/// arrive in one turn.
#[test]
fn rd03_a_read_without_a_round_waits_for_its_own() {
    let mut hand = Setup::of(3).lead();
    hand.accept_all(1);
    let first = read(&mut hand).expect("leads");
    let request = hand.append(1);
    let answer = hand.answer_of(&request, 1, accepted(1, append_of(&request).round));
    hand.raft.read_index(hand.now).expect("leads");
    hand.raft.step(hand.now, answer);
    hand.collect();
    assert_eq!(confirmed(&mut hand), [(first, 1)]);
}

/// Reads that arrive in one turn share a round, which is started at once, whatever was just sent.
#[test]
fn rd03_reads_of_one_turn_share_a_round() {
    let mut hand = Setup::of(3).lead();
    hand.accept_all(1);
    hand.sent.clear();
    for _ in 0..3 {
        hand.raft.read_index(hand.now).expect("leads");
    }
    hand.collect();
    assert_eq!(hand.sent.iter().map(|e| e.to).collect::<Vec<_>>(), [1, 2]);
    hand.accept_all(2);
    assert_eq!(confirmed(&mut hand).iter().map(|read| read.0).collect::<Vec<_>>(), [1, 2, 3]);
    hand.collect();
    assert!(hand.sent.iter().all(|e| e.to != 2), "nothing left to ask");
}

/// A read carries the commit index at its arrival: it runs once that is applied (RD07).
#[test]
fn rd07_a_read_names_the_commit_index_it_found() {
    let mut hand = Setup::of(3).lead();
    hand.accept_all(1);
    let ticket = read(&mut hand).expect("leads");
    hand.propose_many(2);
    hand.accept_all(1);
    assert_eq!((hand.status().commit, confirmed(&mut hand)), (3, vec![(ticket, 1)]));
}

/// Every read is answered: reads fail at a leader that is deposed or steps down (RD08).
#[test]
fn rd08_reads_of_a_deposed_leader_fail() {
    for deposed in [true, false] {
        let mut hand = Setup::of(3).lead();
        hand.accept_all(1);
        let tickets = [read(&mut hand).expect("leads"), read(&mut hand).expect("leads")];
        if deposed {
            hand.hear(1, 2, heartbeat(LogId::BASE, 0));
        } else {
            hand.after(601);
        }
        assert_eq!(hand.role(), Role::Follower);
        assert_eq!(hand.out.reads_failed, tickets);
        assert_eq!(read(&mut hand), Err(Refusal::NotLeader(deposed.then_some(1))));
    }
}

/// An answer of another term, or one to an earlier incarnation, confirms no read of this one
/// (RD03).
#[test]
fn rd03_an_answer_of_an_earlier_term_confirms_nothing() {
    let mut hand = Setup::of(3).lead();
    hand.accept_all(1);
    read(&mut hand).expect("leads");
    let earlier = hand.append(1);
    hand.after(601);
    hand.sent.clear();
    hand.win();
    hand.accept_all(1);
    read(&mut hand).expect("leads again");
    hand.reply(&earlier, accepted(1, append_of(&earlier).round));
    assert!(confirmed(&mut hand).is_empty());
    hand.accept_all(1);
    assert_eq!(confirmed(&mut hand).len(), 1);
}

/// A member in a later term answers a request of an earlier term in its later term, and names the
/// request's round. Rounds are counted across all terms of an incarnation, so no such answer
/// confirms a read of the new term, however many rounds that has had (RD03).
#[test]
fn rd03_a_late_answer_to_a_round_of_an_earlier_term_confirms_nothing() {
    for (earlier_rounds, later_rounds) in [(1, 1), (3, 1), (3, 2), (3, 3), (1, 3)] {
        for snapshot in [false, true] {
            let mut hand = Setup::of(3).lead();
            hand.accept_all(1);
            let mut earlier = Vec::new();
            for _ in 0..earlier_rounds {
                read(&mut hand).expect("leads");
                earlier.push(hand.append(1));
            }
            hand.after(601);
            hand.sent.clear();
            hand.win();
            hand.accept_all(2);
            for _ in 0..later_rounds {
                read(&mut hand).expect("leads again");
            }
            hand.sent.clear();
            for request in &earlier {
                let report = report(0, append_of(request).round);
                let outcome = ChunkOutcome::Stale;
                let stale = match snapshot {
                    true => Answer::Snapshot(SnapshotAnswer { report, transfer: 1, outcome }),
                    false => Answer::Append(AppendAnswer { report, outcome: AppendOutcome::Stale }),
                };
                let answer = hand.answer_of(request, 2, stale);
                hand.step(answer);
                let confirmed = confirmed(&mut hand);
                assert!(confirmed.is_empty(), "{confirmed:?} by an answer to {request:?}");
            }
        }
    }
}

#[test]
fn rd10_a_lone_node_confirms_at_once() {
    let mut hand = Setup::of(1).lead();
    let ticket = read(&mut hand).expect("leads");
    assert_eq!(confirmed(&mut hand), [(ticket, 1)]);
}
