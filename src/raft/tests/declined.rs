//! Requested snapshots that fail: the apply side declines, or what it returns is refused.

use super::hand::*;
use super::world::MILLISECOND;
use crate::raft::*;

/// The first interval between two requests, as in `world::config`.
const INTERVAL: Micros = 200 * MILLISECOND;

type Change = fn(&mut RaftConfig);
type Outcome = fn(&mut Raft, Micros);

const TRIGGERS: [(&str, Change); 2] = [
    ("bytes", |config| config.snapshot_bytes = Some(3_000)),
    ("entries", |config| config.snapshot_entries = Some(50)),
];

const OUTCOMES: [(&str, Outcome); 4] = [
    ("declined", |raft, now| raft.snapshot_declined(now)),
    ("beyond what is applied", |raft, now| raft.snapshot_taken(now, snapshot(id(500, 1)))),
    ("of another term", |raft, now| raft.snapshot_taken(now, snapshot(id(50, 2)))),
    ("of nothing", |raft, now| raft.snapshot_taken(now, snapshot(LogId::BASE))),
];

fn snapshot(log_id: LogId) -> SnapshotMeta {
    meta(log_id, &Membership::of_voters(0..1))
}

/// The leader of a cluster of one, with 200 applied commands of 33 bytes; a snapshot has been
/// requested.
fn triggered(change: Change) -> Hand {
    let roomy = |config: &mut RaftConfig| config.pin_bytes = 500_000;
    let mut hand = Setup::of(1).with(roomy).with(change).lead();
    hand.propose_many(200);
    hand.apply();
    assert!(asked(&mut hand), "nothing was triggered");
    hand
}

/// Whether a snapshot was requested since the last call.
fn asked(hand: &mut Hand) -> bool {
    let count = hand.out.apply.iter().filter(|item| **item == ApplyItem::TakeSnapshot).count();
    hand.out.apply.clear();
    assert!(count <= 1, "asked {count} times in one turn");
    count == 1
}

/// Ends the request with `outcome`, and lets time pass until the next request: returns how long
/// that takes.
fn asked_again_after(hand: &mut Hand, outcome: Outcome) -> Micros {
    let begun_at = hand.now;
    hand.does(outcome);
    for _ in 0..20 {
        hand.collect();
        assert!(!asked(hand), "asked again without a pause");
    }
    while !asked(hand) {
        assert!(hand.now - begun_at <= 64 * INTERVAL, "not asked again at all");
        hand.after(10);
    }
    hand.now - begun_at
}

#[test]
fn a_trigger_asks_again_after_a_pause_that_grows_to_a_bound() {
    for (trigger, change) in TRIGGERS {
        for (what, outcome) in OUTCOMES {
            let mut hand = triggered(change);
            let pauses: Vec<Micros> =
                (0..9).map(|_| asked_again_after(&mut hand, outcome) / INTERVAL).collect();
            assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64], "{trigger}, {what}");
        }
    }
}

/// Entries applied meanwhile are no reason to request earlier, and the next request does not wait
/// for a report of them.
#[test]
fn the_pause_is_kept_while_entries_are_applied() {
    for (_, change) in TRIGGERS {
        let mut hand = triggered(change);
        hand.does(|raft, now| raft.snapshot_declined(now));
        for _ in 0..19 {
            hand.after(10);
            hand.propose_many(1);
            assert_eq!(hand.raft.awaits_applied(), None);
            hand.apply();
            assert!(!asked(&mut hand));
        }
        hand.after(10);
        assert!(asked(&mut hand));
    }
}

/// A new request of the service takes effect at once. One that is still open after a failure waits
/// like a trigger.
#[test]
fn a_new_request_does_not_wait_and_a_repeated_one_does() {
    for (what, outcome) in OUTCOMES {
        let mut hand = triggered(TRIGGERS[0].1);
        hand.does(outcome);
        hand.does(|raft, now| raft.request_snapshot(now));
        assert!(asked(&mut hand), "{what}");
        let mut waiting = Setup::of(1).lead();
        waiting.propose_many(1);
        waiting.apply();
        waiting.does(|raft, now| raft.request_snapshot(now));
        assert!(asked(&mut waiting), "{what}");
        waiting.does(|raft, now| {
            outcome(raft, now);
            raft.request_snapshot_again(now);
        });
        assert!(!asked(&mut waiting), "{what}: asked again without a pause");
        waiting.after(199);
        assert!(!asked(&mut waiting), "{what}");
        waiting.after(1);
        assert!(asked(&mut waiting), "{what}");
    }
}

/// A snapshot that becomes current ends the series of failures.
#[test]
fn a_snapshot_that_becomes_current_forgets_the_failures() {
    let mut hand = triggered(TRIGGERS[1].1);
    for _ in 0..3 {
        asked_again_after(&mut hand, OUTCOMES[0].1);
    }
    hand.take_snapshot();
    hand.propose_many(200);
    hand.apply();
    assert!(asked(&mut hand), "the next trigger is not delayed");
    assert_eq!(asked_again_after(&mut hand, OUTCOMES[0].1), INTERVAL);
}

/// An unrequested snapshot of the service that is refused delays no trigger.
#[test]
fn a_refusal_of_what_nobody_asked_for_delays_nothing() {
    let mut hand = Setup::of(1).with(|config| config.snapshot_entries = Some(50)).lead();
    hand.propose_many(10);
    hand.apply();
    hand.does(OUTCOMES[1].1);
    hand.propose_many(60);
    hand.apply();
    assert!(asked(&mut hand));
}
