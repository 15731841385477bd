//! The cost of a turn: it reads no more of the log than it sends, however long the log is.

use super::hand::*;
use super::world::MILLISECOND;
use crate::raft::log::paged_queue::SHOWN;
use crate::raft::*;

/// This many entries of 33 bytes are far more than any turn may read.
const MANY: u64 = 20_000;
/// The number of entries that a turn may read: a few messages of 16 entries.
const FEW: u64 = 500;

fn roomy(config: &mut RaftConfig) {
    (config.uncommitted_bytes, config.unpersisted_bytes) = (10_000_000, 10_000_000);
    (config.log_cache_bytes, config.apply_queue_bytes) = (10_000_000, 10_000_000);
    (config.append_entries, config.window_messages) = (16, 2);
}

/// Proposes this many commands in one turn.
fn propose(hand: &mut Hand, count: u64) {
    for _ in 0..count {
        hand.raft.propose(hand.now, 0, "x".into()).expect("room");
    }
    hand.collect();
    hand.disk();
}

/// How many entries' sizes are read meanwhile.
fn looked_at(hand: &mut Hand, turn: impl FnOnce(&mut Hand)) -> u64 {
    let before = SHOWN.get();
    turn(hand);
    SHOWN.get() - before
}

#[test]
fn a_turn_looks_at_no_more_entries_than_it_sends_however_far_a_member_lags() {
    for interval in [0, 10 * MILLISECOND] {
        let setup = Setup::of(3).with(roomy).with(|config| config.append_interval = interval);
        let mut hand = setup.lead();
        [1, 2].iter().for_each(|&node| hand.accept_all(node));
        propose(&mut hand, MANY);
        for turn in 0..20 {
            let requests = hand.appends(1);
            assert!(!requests.is_empty(), "nothing is sent in turn {turn}");
            let looked_at = looked_at(&mut hand, |hand| {
                requests.iter().for_each(|request| hand.accept(request));
                hand.after(0);
                hand.raft.next_deadline();
            });
            assert!(looked_at < FEW, "{looked_at} entries looked at in turn {turn}");
        }
    }
}

/// A message with the maximum number of entries is full, even if it has few bytes.
#[test]
fn a_message_full_of_small_entries_does_not_wait() {
    let spaced = |config: &mut RaftConfig| config.append_interval = 10 * MILLISECOND;
    let mut hand = Setup::of(3).with(roomy).with(spaced).lead();
    hand.accept_all(1);
    for (count, sent) in [(16, 16), (15, 0)] {
        propose(&mut hand, count);
        let entries: usize =
            hand.appends(1).iter().map(|request| append_of(request).entries.len()).sum();
        assert_eq!(entries, sent, "of {count}");
    }
}

/// A turn does not read all trailing entries either, while a transfer retains the log.
#[test]
fn a_turn_does_not_look_at_trailing_entries_while_a_transfer_pins_the_log() {
    let trailing = |config: &mut RaftConfig| {
        (config.trailing_entries, config.trailing_bytes) = (MANY / 2, 100_000_000);
        config.pin_bytes = 100_000_000;
    };
    let setup = Setup::of(3).snapshot(id(3, 1)).log(&[1]).with(roomy).with(trailing);
    let mut hand = setup.lead();
    hand.accept_all(2);
    let probe = hand.append(1);
    hand.reply(&probe, rejected(0, 4, LogId::BASE));
    propose(&mut hand, MANY);
    hand.accept_all(2);
    hand.apply();
    hand.take_snapshot();
    assert_eq!(hand.status().log_start, id(3, 1), "the transfer is of 3@1");
    for turn in 0..20 {
        let looked_at = looked_at(&mut hand, |hand| hand.after(1));
        assert!(looked_at < FEW, "{looked_at} entries looked at in turn {turn}");
    }
    let piece = hand.send_piece(100);
    hand.reply_piece(&piece, InstallStatus::None, ChunkOutcome::Corrupt);
    hand.disk();
    assert_eq!(hand.status().log_start.index, 5 + MANY / 2, "released at the next turn");
}
