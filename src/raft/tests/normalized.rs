//! Events are part of a state, their times are not: for `docs/exhaustive.md`.

use super::hand::*;
use super::world::MILLISECOND;
use crate::raft::*;

const NOW: Micros = 1_000 * MILLISECOND;

/// The peer after a sequence with pauses of this many milliseconds, without its history.
fn forgetful(course: impl Fn(&mut Hand, u64), setup: &Setup, pause: u64) -> Raft {
    let mut hand = setup.clone().start();
    course(&mut hand, pause);
    hand.raft.forget_history(NOW);
    hand.raft
}

fn assert_same_normalized(setup: Setup, course: impl Fn(&mut Hand, u64)) {
    let [early, late] = [1, 7].map(|pause| forgetful(&course, &setup, pause));
    assert_eq!(early, late);
}

/// A leader with entries on their way to its disk and to members: one member is probed, one
/// receives a snapshot.
#[test]
fn a_leader_forgets_when() {
    let setup = Setup::of(4).snapshot(id(3, 1)).log(&[1, 1]);
    assert_same_normalized(setup, |hand, pause| {
        hand.after(pause);
        hand.win();
        hand.after(pause);
        hand.accept_all(1);
        let probe = hand.append(2);
        let refused = append_of(&probe).prev.index;
        hand.reply(&probe, rejected(0, refused, LogId::BASE));
        hand.after(pause);
        hand.send_piece(10);
        hand.propose(b"x").expect("leading");
        hand.after(pause);
    });
}

/// A follower that receives a snapshot, and a candidate that waits for its votes.
#[test]
fn followers_and_candidates_forget_when() {
    assert_same_normalized(Setup::of(3), |hand, pause| {
        hand.after(pause);
        let piece = hand.chunk(id(10, 1), 1, 0, 40);
        hand.hear(1, 2, piece);
        hand.after(pause);
    });
    assert_same_normalized(Setup::of(3), |hand, pause| {
        hand.after(pause);
        hand.campaign_for_votes();
        hand.disk();
        hand.after(pause);
    });
}

/// What is due when times are removed is due at once, not after another wait.
#[test]
fn what_is_due_stays_due() {
    let mut setup = Setup::of(3);
    setup.recovered.life.loss = Some(Loss { forgot_vote: true, last: None });
    let mut hand = setup.start();
    hand.raft.forget_history(NOW);
    hand.now = NOW;
    hand.after(0);
    let asked: Vec<NodeId> = hand
        .sent
        .iter()
        .filter(|envelope| matches!(envelope.body, Body::Request(Request::RecoveryQuery)))
        .map(|envelope| envelope.to)
        .collect();
    assert_eq!(asked, [1, 2]);
}
