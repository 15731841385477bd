//! Snapshots built here, and the compaction that they allow: A9–A19, A27, A28, B12, B16, B20,
//! SN15–SN19.

use super::hand::*;
use crate::raft::*;

/// The leader of a cluster of one, with this many commands of 33 bytes applied after its blank
/// entry.
fn applied(count: u64, change: impl FnOnce(&mut RaftConfig)) -> Hand {
    let mut hand = Setup::of(1).with(change).lead();
    hand.propose_many(count);
    hand.apply();
    hand
}

fn none_trailing(config: &mut RaftConfig) {
    config.trailing_entries = 0;
}

/// Whether a snapshot was requested since the last call.
fn triggered(hand: &mut Hand) -> bool {
    hand.collect();
    let asked = hand.out.apply.contains(&ApplyItem::TakeSnapshot);
    hand.out.apply.clear();
    asked
}

/// A snapshot that is not applied, not newer than the current one, not of the log's term, or not of
/// these members is refused and changes nothing (A9, A10, A11, B24).
#[test]
fn a9_a10_a11_b24_a_snapshot_that_can_not_be_is_refused() {
    let mut hand = Setup::of(1).lead();
    hand.propose_many(5);
    hand.does(|raft, now| raft.applied(now, 4));
    let members = Membership::of_voters(0..1);
    hand.does(|raft, now| raft.snapshot_taken(now, meta(id(3, 1), &members)));
    hand.disk();
    hand.out.events.clear();
    let others = Membership::of_voters(0..3);
    let refused = [
        ("committed and not applied", meta(id(5, 1), &members)),
        ("beyond the log", meta(id(9, 1), &members)),
        ("the current one", meta(id(3, 1), &members)),
        ("older", meta(id(2, 1), &members)),
        ("of another term", meta(id(4, 2), &members)),
        ("of other members", meta(id(4, 1), &others)),
    ];
    for (why, meta) in refused {
        let log_id = meta.log_id;
        hand.does(|raft, now| raft.snapshot_taken(now, meta));
        assert_eq!(hand.out.events.pop(), Some(Event::SnapshotRefused(log_id)), "{why}");
        assert_eq!((hand.status().snapshot, hand.steps.len()), (id(3, 1), 0), "{why}");
    }
}

/// Record and purge are one step, and only after it is the snapshot current: it can be sent, and
/// older files may be removed (A5, A28, SN17).
#[test]
fn a28_sn17_a_snapshot_is_current_when_its_record_is_durable() {
    let mut hand = applied(5, none_trailing);
    let meta = meta(id(6, 1), &Membership::of_voters(0..1));
    hand.does(|raft, now| raft.snapshot_taken(now, meta.clone()));
    let change = &hand.steps[0].change;
    assert_eq!((change.snapshot.as_ref(), change.purge_through), (Some(&meta), Some(id(6, 1))));
    assert!(hand.out.snapshots.is_empty());
    assert_eq!(hand.status().counters.snapshots_taken, 0);
    hand.disk();
    assert_eq!(hand.out.snapshots, [SnapshotJob::Current(id(6, 1))]);
    assert!(hand.out.events.contains(&Event::SnapshotCurrent(id(6, 1))));
    let counters = hand.status().counters;
    assert_eq!((counters.snapshots_taken, counters.entries_compacted), (1, 6));
}

/// Trailing entries are retained, up to a number and a size, and never more than there are (A27).
#[test]
fn a27_trailing_entries_stay() {
    for (entries, bytes, start) in [(4, 1_000, 7), (4, 100, 8), (400, 1_000, 0), (0, 1_000, 11)] {
        let mut hand = applied(10, |config| {
            (config.trailing_entries, config.trailing_bytes) = (entries, bytes);
        });
        hand.take_snapshot();
        assert_eq!(hand.status().log_start.index, start, "{entries} entries, {bytes} bytes");
    }
}

/// Triggers at 90 % of the limit, less a jitter of up to a tenth, of the bytes applied since the
/// last snapshot (A16).
#[test]
fn a16_the_trigger_is_nine_tenths_of_the_bytes() {
    let mut hand = applied(0, |config| config.snapshot_bytes = Some(3_300));
    let mut count = 0;
    while !triggered(&mut hand) {
        hand.propose_many(1);
        let dispatched = hand.status().dispatched;
        hand.raft.applied(hand.now, dispatched);
        count += 1;
        assert!(count <= 90, "no trigger at {count} % of the limit");
    }
    assert!(count > 79, "triggered at {count} % of the limit");
    let mut never = applied(200, |config| config.snapshot_bytes = None);
    assert!(!triggered(&mut never), "-1 disables");
}

/// Triggers by the number of applied entries (A17), and by request, if anything new is applied.
#[test]
fn a17_the_trigger_counts_entries_and_listens() {
    let mut hand = applied(0, |config| config.snapshot_entries = Some(100));
    let mut count = 1;
    while !triggered(&mut hand) {
        hand.propose_many(1);
        let dispatched = hand.status().dispatched;
        hand.raft.applied(hand.now, dispatched);
        count += 1;
        assert!(count <= 90, "no trigger at {count} entries of 100");
    }
    assert!(count >= 80, "triggered at {count} entries of 100");
    let mut hand = applied(1, |_| {});
    hand.does(|raft, now| raft.request_snapshot(now));
    assert!(triggered(&mut hand));
    hand.take_snapshot();
    hand.does(|raft, now| raft.request_snapshot(now));
    assert!(!triggered(&mut hand), "nothing was applied since");
    hand.propose_many(1);
    hand.apply();
    assert!(!triggered(&mut hand), "and that request is done with");
}

/// Entries covered by the snapshot are not counted again (A17).
#[test]
fn a17_the_count_begins_anew_behind_a_snapshot() {
    let mut hand = applied(89, |config| config.snapshot_entries = Some(100));
    assert!(triggered(&mut hand));
    hand.take_snapshot();
    for count in 1..80 {
        hand.propose_many(1);
        hand.apply();
        assert!(!triggered(&mut hand), "at {count} entries of 100");
    }
}

/// One build at a time; a trigger or request during a build is not forgotten (B20, SN18).
#[test]
fn b20_sn18_one_build_at_a_time_and_none_forgotten() {
    let mut hand = applied(1, |_| {});
    hand.does(|raft, now| raft.request_snapshot(now));
    assert!(triggered(&mut hand));
    hand.propose_many(1);
    hand.apply();
    hand.does(|raft, now| raft.request_snapshot(now));
    assert!(!triggered(&mut hand), "one is being built");
    let built = meta(id(2, 1), &Membership::of_voters(0..1));
    hand.raft.snapshot_taken(hand.now, built);
    assert!(triggered(&mut hand), "the second request");
    hand.does(|raft, now| raft.snapshot_declined(now));
    hand.does(|raft, now| raft.request_snapshot(now));
    assert!(triggered(&mut hand), "a declined one is over");
    let refused = meta(id(1, 1), &Membership::of_voters(0..1));
    hand.does(|raft, now| raft.snapshot_taken(now, refused));
    hand.does(|raft, now| raft.request_snapshot(now));
    assert!(triggered(&mut hand), "and so is a refused one");
}

/// A request is for one snapshot, even if more is applied while it is built (B20).
#[test]
fn b20_a_request_is_for_one_snapshot() {
    let mut hand = applied(1, |_| {});
    hand.does(|raft, now| raft.request_snapshot(now));
    assert!(triggered(&mut hand));
    hand.propose_many(1);
    hand.apply();
    let built = meta(id(2, 1), &Membership::of_voters(0..1));
    hand.does(|raft, now| raft.snapshot_taken(now, built));
    assert!(!triggered(&mut hand));
}

/// Entries retained after a snapshot do not trigger the next one (B20).
#[test]
fn b20_what_stays_does_not_trigger_again() {
    let mut hand = applied(100, |config| {
        config.snapshot_bytes = Some(3_300);
        (config.trailing_entries, config.trailing_bytes) = (1_000, 100_000);
    });
    assert!(triggered(&mut hand));
    hand.take_snapshot();
    assert_eq!(hand.status().log_start.index, 0, "all of it stays");
    assert!(!triggered(&mut hand));
    hand.propose_many(10);
    hand.apply();
    assert!(!triggered(&mut hand));
    hand.propose_many(90);
    hand.apply();
    assert!(triggered(&mut hand));
}

/// Entries applied while a snapshot is built count for the next one (SN18).
#[test]
fn sn18_what_was_applied_during_a_build_counts_for_the_next() {
    let mut hand = applied(100, |config| {
        (config.snapshot_bytes, config.trailing_bytes) = (Some(3_300), 100_000);
    });
    assert!(triggered(&mut hand));
    hand.propose_many(60);
    hand.apply();
    let built = meta(id(101, 1), &Membership::of_voters(0..1));
    hand.does(|raft, now| raft.snapshot_taken(now, built));
    hand.disk();
    assert!(!triggered(&mut hand), "60 %");
    hand.propose_many(30);
    hand.apply();
    assert!(triggered(&mut hand), "90 %");
}

/// The request to take a snapshot is in the apply queue, after what is applied before it (B12,
/// SN19).
#[test]
fn b12_the_trigger_goes_through_the_apply_queue() {
    let mut hand = applied(1, |_| {});
    hand.raft.request_snapshot(hand.now);
    hand.raft.propose(hand.now, 0, Default::default()).expect("room");
    hand.collect();
    hand.disk();
    assert!(matches!(hand.out.apply[..], [ApplyItem::TakeSnapshot, ApplyItem::Entries(_)]));
}

/// A transfer that makes progress retains the log behind it, up to `pin_bytes`; at its end the log
/// is purged (B16).
fn transferring(pin_bytes: usize) -> Hand {
    let mut hand = Setup::of(3)
        .snapshot(id(3, 1))
        .log(&[1])
        .with(|config| {
            (config.pin_bytes, config.trailing_entries) = (pin_bytes, 0);
        })
        .lead();
    hand.accept_all(2);
    let probe = hand.append(1);
    hand.reply(&probe, rejected(0, 4, LogId::BASE));
    hand.propose_many(5);
    hand.accept_all(2);
    hand.apply();
    hand
}

#[test]
fn b16_a_transfer_pins_the_log() {
    let mut hand = transferring(1_000);
    hand.take_snapshot();
    assert_eq!(hand.status().log_start, id(3, 1), "the transfer is of 3@1");
    let piece = hand.send_piece(100);
    hand.reply_piece(&piece, InstallStatus::None, ChunkOutcome::Continue { offset: 100 });
    hand.after(100);
    let beat = hand.appends(1).remove(0);
    hand.reply(&beat, accepted(3, 0));
    hand.accept_all(1);
    hand.disk();
    assert_eq!(hand.status().log_start, id(10, 2), "released at the next turn");
}

#[test]
fn b16_the_pin_is_bounded() {
    let mut hand = transferring(100);
    hand.take_snapshot();
    assert_eq!(hand.status().log_start, id(10, 2), "more than 100 bytes would stay");
}

#[test]
fn b16_a_slow_transfer_pins_as_long_as_it_gets_further() {
    let mut hand = transferring(1_000);
    for offset in (10..90).step_by(10) {
        let piece = hand.send_piece(10);
        for _ in 0..4 {
            hand.after(50);
            hand.accept_all(2);
        }
        // Given up meanwhile, and read again: the late answer asks for the next chunk.
        hand.out.chunk_reads.clear();
        hand.reply_piece(&piece, InstallStatus::None, ChunkOutcome::Continue { offset });
    }
    hand.take_snapshot();
    assert_eq!(hand.status().log_start, id(3, 1));
}

/// A member whose install takes longer than any timeout still retains the log, as long as it
/// reports the install.
#[test]
fn b16_a_slow_install_pins_the_log() {
    let mut hand = transferring(1_000);
    let pending = InstallStatus::Pending { index: 3 };
    let piece = hand.send_piece(100);
    hand.reply_piece(&piece, pending, ChunkOutcome::Continue { offset: 100 });
    for _ in 0..20 {
        hand.after(100);
        hand.accept_all(2);
        let beat = hand.appends(1).remove(0);
        let report = FollowerReport { install: pending, ..report(0, append_of(&beat).round) };
        let outcome = AppendOutcome::Accepted;
        hand.reply(&beat, Answer::Append(AppendAnswer { report, outcome }));
    }
    hand.take_snapshot();
    assert_eq!(hand.status().log_start, id(3, 1));
}

#[test]
fn b16_a_transfer_that_gets_no_further_pins_nothing() {
    let mut hand = transferring(1_000);
    for _ in 0..13 {
        hand.after(100);
        hand.accept_all(2);
        hand.sent.clear();
    }
    hand.take_snapshot();
    assert_eq!(hand.status().log_start, id(10, 2));
}

/// Chunks are sent and answered, but the offset stays: that is no progress.
#[test]
fn b16_an_answer_that_asks_for_the_same_piece_pins_nothing() {
    let mut hand = transferring(1_000);
    for _ in 0..13 {
        let piece = hand.send_piece(10);
        hand.after(100);
        hand.accept_all(2);
        hand.reply_piece(&piece, InstallStatus::None, ChunkOutcome::Continue { offset: 0 });
    }
    hand.take_snapshot();
    assert_eq!(hand.status().log_start, id(10, 2));
}

/// A member whose transfers failed three times is favoured: the log is retained for it and
/// proposals slow down (B16, SN11).
#[test]
fn b16_proposals_slow_down_for_a_member_that_keeps_losing() {
    let mut hand = transferring(100);
    for failed in 0..3 {
        assert!(hand.propose(b"x").is_ok(), "{failed} transfers failed");
        let piece = hand.send_piece(100);
        hand.reply_piece(&piece, InstallStatus::None, ChunkOutcome::Corrupt);
        assert!(hand.propose(b"x").is_ok(), "nothing is kept for a transfer now");
        hand.after(100);
        hand.disk();
        hand.accept_all(2);
    }
    assert_eq!(hand.progress(1).failed_transfers, 3);
    hand.apply();
    hand.take_snapshot();
    assert_eq!(hand.status().log_start, id(3, 1), "kept, whatever the limit");
    assert_eq!(hand.propose(b"x"), Err(Refusal::Busy));
    let piece = hand.send_piece(100);
    hand.reply_piece(&piece, InstallStatus::None, ChunkOutcome::Continue { offset: 100 });
    hand.after(100);
    let beat = hand.appends(1).remove(0);
    hand.reply(&beat, accepted(3, 0));
    assert!(hand.propose(b"x").is_ok(), "it has caught up");
    assert_eq!(hand.progress(1).failed_transfers, 0);
}

/// Of two transfers at once the older one's log is retained too, whichever member it is for; each
/// retains its own until it ends (B16).
#[test]
fn b16_the_older_of_two_transfers_pins_the_log() {
    for (older, newer) in [(1, 2), (2, 1)] {
        for older_ends_first in [true, false] {
            let limits =
                |config: &mut RaftConfig| (config.pin_bytes, config.trailing_entries) = (1_000, 0);
            let mut hand = Setup::of(5).snapshot(id(3, 1)).log(&[1]).with(limits).lead();
            let probes = [older, newer].map(|node| hand.append(node));
            let mut reads = Vec::new();
            for probe in &probes {
                hand.reply(probe, rejected(0, 4, LogId::BASE));
                reads.append(&mut hand.out.chunk_reads);
                hand.propose_many(2);
                [3, 4].iter().for_each(|&node| hand.accept_all(node));
                hand.apply();
                hand.take_snapshot();
            }
            assert_eq!(reads.iter().map(|r| r.snapshot).collect::<Vec<_>>(), [id(3, 1), id(7, 2)]);
            assert_eq!(hand.status().snapshot, id(9, 2));
            assert_eq!(hand.status().log_start, id(3, 1), "{older} is sent 3@1");
            if !older_ends_first {
                reads.reverse();
            }
            let starts = if older_ends_first { [7, 9] } else { [3, 9] };
            for (ChunkRead { to, transfer, offset, .. }, start) in reads.into_iter().zip(starts) {
                let gone = ChunkReadOutcome::Gone;
                hand.does(|raft, now| raft.chunk_read(now, to, transfer, offset, gone));
                hand.disk();
                assert_eq!(hand.status().log_start.index, start, "behind the transfer to {to}");
            }
        }
    }
}

/// A log full of committed entries accepts no more until it is compacted; uncommitted entries never
/// block themselves.
#[test]
fn a19_a_full_log_takes_nothing_more() {
    let limits = |config: &mut RaftConfig| {
        (config.snapshot_bytes, config.trailing_bytes) = (Some(1_000), 0);
        (config.pin_bytes, config.uncommitted_bytes) = (500, 300);
    };
    let mut hand = Setup::of(1).with(limits).lead();
    let mut count = 0;
    while hand.propose(b"x").is_ok() {
        hand.disk();
        count += 1;
        assert!(count < 100);
    }
    assert_eq!(hand.status().log_bytes, 32 + 33 * count);
    assert!(
        (1_200..1_240).contains(&hand.status().log_bytes),
        "trigger and pin, less the uncommitted"
    );
    hand.apply();
    hand.take_snapshot();
    assert!(hand.propose(b"x").is_ok());
    // A follower answers Busy.
    let mut follower = Setup::of(3).with(limits).log(&[1; 40]).start();
    follower.hear(1, 1, heartbeat(id(40, 1), 40));
    follower.sent.clear();
    follower.hear(1, 1, append(id(40, 1), &[1], 40));
    assert_eq!(follower.append_answer().outcome, AppendOutcome::Busy);
    let mut uncommitted = Setup::of(3).with(limits).log(&[1; 40]).start();
    uncommitted.hear(1, 1, append(id(40, 1), &[1], 0));
    uncommitted.disk();
    assert_eq!(uncommitted.append_answer().outcome, AppendOutcome::Accepted);
}

/// A node that starts does not know which part of its log is committed, so its tail may be as long
/// as the log. Beyond its limit it accepts no more while it can compact by itself, but it accepts
/// what is needed to commit (A19, A73).
#[test]
fn a19_a_restarted_follower_compacts_before_it_outgrows_its_limit() {
    let limits = |config: &mut RaftConfig| {
        (config.snapshot_bytes, config.trailing_bytes) = (Some(1_000), 0);
        (config.pin_bytes, config.uncommitted_bytes) = (500, 300);
    };
    // 36 entries of 40 bytes, and ten more would exceed 1,500.
    let restarted = |leader_commit| {
        let mut follower = Setup::of(3).with(limits).log(&[1; 36]).start();
        follower.hear(1, 1, append(id(36, 1), &[1; 10], leader_commit));
        follower.disk();
        follower
    };
    let mut needed = restarted(24);
    assert_eq!(needed.append_answer().outcome, AppendOutcome::Accepted, "960 are committed");
    let mut full = restarted(25);
    assert_eq!(full.append_answer().outcome, AppendOutcome::Busy, "1,000 are committed");
    assert_eq!((full.status().commit, full.terms().len()), (25, 36));
    full.apply();
    full.take_snapshot();
    full.sent.clear();
    full.hear(1, 1, append(id(36, 1), &[1; 10], 25));
    full.disk();
    assert_eq!(full.append_answer().outcome, AppendOutcome::Accepted, "compacted by itself");
    assert_eq!(full.status().counters.max_log_bytes, 1_440);
}

/// Entries that will be replaced do not fill the log (A19).
#[test]
fn a19_a_tail_of_another_leader_fills_no_log() {
    let limits = |config: &mut RaftConfig| {
        (config.snapshot_bytes, config.trailing_bytes) = (Some(1_000), 0);
        (config.pin_bytes, config.uncommitted_bytes) = (500, 300);
    };
    let mut follower = Setup::of(3).with(limits).log(&[1; 37]).start();
    follower.hear(1, 2, append(id(27, 1), &[2; 10], 27));
    follower.disk();
    assert_eq!(follower.append_answer().outcome, AppendOutcome::Accepted);
}

/// Entries that an earlier incarnation retained for a transfer are purged in the first turn of the
/// next (SN18).
#[test]
fn sn18_a_restart_finishes_the_purge() {
    let mut setup = Setup::of(3).log(&[1; 30]).incarnation(2).with(none_trailing);
    setup.recovered.snapshot = Some(meta(id(20, 1), &setup.recovered.base));
    let mut hand = setup.start();
    assert_eq!(hand.status().log_start, id(20, 1));
    hand.disk();
    assert_eq!((hand.status().commit, hand.terms().len()), (20, 10));
}

/// A deposed leader sends nothing any more: what it retained is purged.
#[test]
fn b16_a_deposed_leader_pins_nothing() {
    let mut hand = transferring(1_000);
    hand.take_snapshot();
    hand.hear(1, 3, heartbeat(LogId::BASE, 0));
    hand.disk();
    assert_eq!(hand.status().log_start, id(10, 2), "no transfer, no pin");
}

/// A committed entry purged before it was applied would be lost; the log refuses to purge what is
/// not applied (SN15).
#[test]
#[should_panic(expected = "purged before it was applied")]
fn sn15_a_read_to_apply_that_finds_nothing_stops_the_node() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    let envelope = hand.request(1, 1, heartbeat(id(2, 1), 2));
    hand.raft.step(hand.now, envelope);
    let ready = hand.raft.ready();
    hand.raft.log_read(hand.now, ready.reads[0].id, LogReadOutcome::Compacted);
}

/// The state machine can't have applied what was never dispatched to it.
#[test]
#[should_panic(expected = "never dispatched")]
fn a69_applied_beyond_what_was_handed_over_stops_the_node() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.raft.applied(0, 1);
}

/// A node starts at its snapshot: what it covers is committed, dispatched and applied (A73).
#[test]
fn a73_a_node_starts_at_its_snapshot() {
    let hand = Setup::of(3).snapshot(id(5, 2)).log(&[2, 3]).start();
    let status = hand.status();
    assert_eq!((status.commit, status.dispatched, status.applied, status.persisted), (5, 5, 5, 7));
    assert_eq!((status.last, status.log_start, status.term), (id(7, 3), id(5, 2), 3));
}

/// The members are those of the snapshot, if there is one (A24, A60).
#[test]
fn a24_a60_members_come_from_the_snapshot() {
    let mut setup = Setup::of(3).snapshot(id(5, 1));
    let members = Membership::of_voters(0..5);
    setup.recovered.snapshot = Some(meta(id(5, 1), &members));
    assert_eq!(setup.start().status().membership, members);
    assert_eq!(Setup::of(3).start().status().membership, Membership::of_voters(0..3));
}
