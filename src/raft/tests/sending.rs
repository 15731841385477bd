//! Sending a snapshot: when it begins, continues and ends (A33–A45, B1, B15, B16, SN09–SN21).

use std::collections::VecDeque;

use super::hand::*;
use super::world::MILLISECOND;
use crate::raft::message::Kind;
use crate::raft::state::{ProgressState, TransferStep};
use crate::raft::*;

const PENDING: InstallStatus = InstallStatus::Pending { index: 3 };

/// A leader of term 2 whose log begins after a snapshot of 3@1; member 1 was found to need it.
fn sending() -> Hand {
    sending_with(|_| {})
}

fn sending_with(change: impl FnOnce(&mut RaftConfig)) -> Hand {
    let mut hand = Setup::of(3).snapshot(id(3, 1)).log(&[1]).with(change).lead();
    let probe = hand.append(1);
    hand.reply(&probe, rejected(0, 4, LogId::BASE));
    hand.sent.clear();
    hand
}

fn is_sending(hand: &Hand) -> bool {
    matches!(hand.progress(1).state, ProgressState::Snapshot(_))
}

/// Member 1 has received all of the snapshot.
fn sent() -> Hand {
    let mut hand = sending();
    let piece = hand.send_piece(100);
    hand.reply_piece(&piece, PENDING, ChunkOutcome::Continue { offset: 100 });
    hand
}

/// Member 1 answers a heartbeat with this match and status.
fn reports(hand: &mut Hand, matched: Index, install: InstallStatus) {
    hand.after(100);
    let beat = hand.appends(1).pop().expect("a heartbeat");
    let report = FollowerReport { install, ..report(matched, append_of(&beat).round) };
    let outcome = AppendOutcome::Accepted;
    hand.reply(&beat, Answer::Append(AppendAnswer { report, outcome }));
}

/// A member that needs purged entries gets the snapshot by chunks, then entries (A34, A37, A42).
#[test]
fn a34_a42_snapshot_and_then_entries() {
    let mut hand = sending_with(|config| config.snapshot_chunk_bytes = 60);
    assert!(is_sending(&hand));
    for (offset, length) in [(0, 60), (60, 40)] {
        let read = hand.out.chunk_reads[0];
        assert_eq!(
            (read.to, read.snapshot, read.offset, read.max_bytes),
            (1, id(3, 1), offset, 60)
        );
        let piece = hand.send_piece(length);
        let end = offset + length as u64;
        let status = InstallStatus::Receiving { index: 3, bytes: end };
        hand.reply_piece(&piece, status, ChunkOutcome::Continue { offset: end });
    }
    assert!(hand.out.chunk_reads.is_empty());
    assert_eq!(hand.status().counters.snapshots_sent, 1);
    reports(&mut hand, 3, InstallStatus::None);
    let entries = hand.append(1);
    assert_eq!((append_of(&entries).prev, last_of(&entries)), (id(3, 1), 5));
    hand.accept(&entries);
    assert_eq!(hand.status().commit, 5);
}

/// What follows the log's start is sent as entries (A35, B22); the start itself needs the snapshot.
#[test]
fn a35_b22_the_entry_behind_the_logs_start_goes_without_a_snapshot() {
    let cases = [(id(3, 1), false), (id(2, 1), true), (LogId::BASE, true)];
    for (hint, snapshot) in cases {
        let mut hand = Setup::of(3).snapshot(id(3, 1)).log(&[1]).lead();
        let probe = hand.append(1);
        hand.reply(&probe, rejected(0, 4, hint));
        assert_eq!(is_sending(&hand), snapshot, "hint {hint}");
        if !snapshot {
            assert_eq!(append_of(&hand.append(1)).prev, id(3, 1));
        }
    }
}

/// A member whose entry at the log's start has another term is detected by one more request.
#[test]
fn b4_another_term_at_the_logs_start_needs_the_snapshot() {
    let mut hand = Setup::of(3).snapshot(id(3, 2)).log(&[2]).lead();
    let probe = hand.append(1);
    hand.reply(&probe, rejected(0, 4, id(3, 1)));
    let again = hand.append(1);
    assert_eq!(append_of(&again).prev, id(3, 2));
    hand.reply(&again, rejected(0, 3, id(3, 1)));
    assert!(is_sending(&hand));
}

/// A snapshot is sent only to members that have answered, and recently (A38).
#[test]
fn a38_a_silent_member_gets_no_snapshot() {
    let mut hand = Setup::of(3).snapshot(id(3, 1)).log(&[1]).lead();
    hand.raft.role.progress_mut(1).expect("a member").become_probe_at(1);
    hand.sent.clear();
    hand.after(150);
    assert!(!is_sending(&hand) && hand.out.chunk_reads.is_empty(), "it has never answered");
    let beat = hand.appends(1).remove(0);
    hand.accept_all(2);
    hand.reply(&beat, accepted(0, 0));
    assert!(is_sending(&hand));
    let mut hand = sending();
    let ChunkRead { to, transfer, offset, .. } = hand.out.chunk_reads.remove(0);
    for _ in 0..7 {
        hand.after(100);
        hand.accept_all(2);
        hand.sent.clear();
    }
    hand.does(|raft, now| raft.chunk_read(now, to, transfer, offset, ChunkReadOutcome::Gone));
    for _ in 0..3 {
        hand.after(100);
        hand.accept_all(2);
    }
    assert!(!is_sending(&hand), "it has not answered for an election timeout");
}

/// Two of three chunks are under way to member 1, which falls silent: returns how many chunks are
/// read in three seconds. Each read is answered, and the transport reports for each chunk whether
/// it did `arrive`.
fn pieces_to_a_silent_member(hand: &mut Hand, arrive: bool) -> usize {
    let mut pieces = 0;
    for _ in 0..60 {
        hand.after(50);
        hand.accept_all(2);
        if !hand.out.chunk_reads.is_empty() {
            let piece = hand.send_piece(60);
            pieces += 1;
            if !arrive {
                hand.does(|raft, now| raft.undelivered(now, 1, piece.id));
            }
        }
        let deadline = hand.raft.next_deadline();
        assert!(deadline > hand.now, "due at {deadline} again, it is {}", hand.now);
    }
    pieces
}

/// A leader whose member 1 has the first 60 of 100 bytes, and falls silent when the next are sent.
fn silent_in_the_middle() -> Hand {
    let mut hand = sending_with(|config| config.snapshot_chunk_bytes = 60);
    let piece = hand.send_piece(60);
    let status = InstallStatus::Receiving { index: 3, bytes: 60 };
    hand.reply_piece(&piece, status, ChunkOutcome::Continue { offset: 60 });
    hand.send_piece(40);
    hand
}

/// A member that falls silent in a transfer gets only heartbeats after an election timeout (A38).
#[test]
fn a38_a_member_that_falls_silent_in_the_middle_is_not_sent_the_same_piece_for_ever() {
    for arrive in [true, false] {
        let mut hand = silent_in_the_middle();
        let pieces = pieces_to_a_silent_member(&mut hand, arrive);
        assert!(
            pieces <= 6,
            "{pieces} pieces, of which the last 2.4 s of silence should have none"
        );
        hand.sent.clear();
        hand.after(100);
        assert_eq!(hand.appends(1).len(), 1, "it is still asked whether it is there");
    }
}

/// When it answers again, the transfer continues; after a restart it begins anew (A38, SN12).
#[test]
fn a38_a_member_that_answers_again_gets_the_rest() {
    for incarnation in [1, 2] {
        let mut hand = silent_in_the_middle();
        pieces_to_a_silent_member(&mut hand, true);
        hand.sent.clear();
        hand.after(100);
        let beat = hand.append(1);
        let install = match incarnation {
            1 => InstallStatus::Receiving { index: 3, bytes: 60 },
            _ => InstallStatus::None,
        };
        let report = FollowerReport { install, ..report(0, append_of(&beat).round) };
        let outcome = AppendOutcome::Accepted;
        let answer = hand.answer_of(&beat, 2, Answer::Append(AppendAnswer { report, outcome }));
        hand.step(Envelope { incarnation, ..answer });
        assert_eq!(hand.out.chunk_reads.len(), 1);
        let offset = if incarnation == 1 { 60 } else { 0 };
        assert_eq!(hand.out.chunk_reads[0].offset, offset, "life {incarnation}");
    }
}

/// How a link treats several chunks under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Each takes the same time, however many there are.
    Long,
    /// One after the other.
    Narrow,
}

/// A member whose link takes longer for each chunk than `request_timeout` still gets the whole
/// snapshot: late answers advance the transfer, and chunks are not sent again and again (A46).
#[test]
fn a46_a_link_slower_than_the_timeout_gets_the_whole_snapshot() {
    for link in [Link::Long, Link::Narrow] {
        for milliseconds in [140, 160, 400, 550] {
            let mut hand = sending_with(|config| config.snapshot_chunk_bytes = 10);
            let (mut sent, mut received) = (0, 0);
            let mut under_way: VecDeque<(Micros, Envelope)> = VecDeque::new();
            let begun_at = hand.now;
            while hand.status().counters.snapshots_sent == 0 {
                hand.after(10);
                hand.accept_all(2);
                while !hand.out.chunk_reads.is_empty() {
                    let piece = read_piece(&mut hand);
                    sent += u64::from(piece.is_some());
                    let narrow = under_way.back().filter(|_| link == Link::Narrow);
                    let free_at = narrow.map_or(hand.now, |(due, _)| *due);
                    let due = free_at + milliseconds * MILLISECOND;
                    under_way.extend(piece.map(|piece| (due, piece)));
                }
                while under_way.front().is_some_and(|(due, _)| *due <= hand.now) {
                    let (_, piece) = under_way.pop_front().expect("just seen");
                    let Body::Request(Request::Snapshot(chunk)) = &piece.body else { panic!() };
                    if chunk.offset == received {
                        received += chunk.data.len() as u64;
                    }
                    let status = InstallStatus::Receiving { index: 3, bytes: received };
                    let outcome = ChunkOutcome::Continue { offset: received };
                    hand.reply_piece(&piece, status, outcome);
                }
                let took = (hand.now - begun_at) / (10 * milliseconds * MILLISECOND);
                assert!(took < 4, "{link:?}, {milliseconds} ms: at {received} of 100 bytes");
            }
            assert!(sent <= 35, "{link:?}, {milliseconds} ms: {sent} pieces instead of ten");
        }
    }
}

/// Answers the oldest read of a chunk; returns the chunk if it is still wanted.
fn read_piece(hand: &mut Hand) -> Option<Envelope> {
    let ChunkRead { to, transfer, offset, max_bytes, .. } = hand.out.chunk_reads.remove(0);
    let data = vec![7; max_bytes.min(100 - offset as usize)].into();
    let outcome = ChunkReadOutcome::Data { data, crc: 0 };
    hand.does(|raft, now| raft.chunk_read(now, to, transfer, offset, outcome));
    let is_piece = |e: &Envelope| matches!(e.body, Body::Request(Request::Snapshot(_)));
    hand.sent_to(to).into_iter().find(is_piece)
}

/// A snapshot is not sent before its record is durable, nor if it is outdated; it is retried (A39).
#[test]
fn a39_no_snapshot_before_it_is_durable() {
    let mut hand = Setup::of(3).with(|config| config.trailing_entries = 0).log(&[1, 1]).lead();
    hand.accept_all(2);
    hand.apply();
    let meta = meta(id(3, 2), &hand.status().membership);
    hand.does(|raft, now| raft.snapshot_taken(now, meta));
    assert_eq!(hand.status().log_start, id(3, 2));
    let probe = hand.append(1);
    hand.reply(&probe, rejected(0, 2, LogId::BASE));
    assert!(!is_sending(&hand));
    hand.disk();
    assert!(is_sending(&hand));
}

/// The last snapshot isn't sent if the log begins after it: the entries between are purged.
#[test]
fn a39_no_snapshot_that_the_log_does_not_continue() {
    let limits = |config: &mut RaftConfig| config.trailing_entries = 0;
    let mut hand = Setup::of(3).snapshot(id(3, 1)).log(&[1]).with(limits).lead();
    hand.accept_all(2);
    hand.apply();
    let meta = meta(id(5, 2), &hand.status().membership);
    hand.does(|raft, now| raft.snapshot_taken(now, meta));
    let probe = hand.append(1);
    hand.reply(&probe, rejected(0, 4, LogId::BASE));
    assert!(!is_sending(&hand), "5@2 is not durable, 3@1 leaves a gap");
    hand.disk();
    assert_eq!(hand.out.chunk_reads[0].snapshot, id(5, 2));
}

/// During a transfer the member gets heartbeats and nothing else (A40).
#[test]
fn a40_replication_pauses_while_a_snapshot_is_sent() {
    let mut hand = sending();
    hand.propose_many(2);
    assert!(hand.appends(1).is_empty());
    hand.after(100);
    let beat = hand.append(1);
    assert_eq!((append_of(&beat).prev, append_of(&beat).entries.len()), (LogId::BASE, 0));
    hand.accept(&beat);
    assert!(is_sending(&hand), "that it answers is no reason to stop");
}

/// One chunk at a time; only the answer to it asks for the next (SN09).
#[test]
fn sn09_only_the_answer_to_the_piece_under_way_moves_on() {
    let mut hand = sending_with(|config| config.snapshot_chunk_bytes = 60);
    let piece = hand.send_piece(60);
    let status = InstallStatus::Receiving { index: 3, bytes: 60 };
    let go_on = ChunkOutcome::Continue { offset: 60 };
    let earlier = (piece.id >> 16) - 1;
    let earlier = earlier << 16 | hand.raft.tag(earlier, 1, Kind::Snapshot);
    let other = Envelope { id: earlier, ..piece.clone() };
    hand.reply_piece(&other, status, go_on);
    assert!(hand.out.chunk_reads.is_empty());
    hand.reply_piece(&piece, status, go_on);
    hand.reply_piece(&piece, status, go_on);
    assert_eq!(hand.out.chunk_reads.len(), 1);
    let second = hand.send_piece(40);
    hand.reply_piece(&second, status, ChunkOutcome::Continue { offset: 101 });
    assert_eq!(hand.status().counters.ignored_messages, 1, "beyond the snapshot's end");
    hand.reply_piece(&second, status, ChunkOutcome::Continue { offset: 0 });
    assert_eq!(hand.out.chunk_reads[0].offset, 0, "the member starts over");
}

/// The result of a read for a chunk that is no longer wanted is dropped (A41).
#[test]
fn a41_a_late_read_of_a_piece_is_dropped() {
    let mut hand = sending();
    let read = hand.out.chunk_reads.remove(0);
    let data = || ChunkReadOutcome::Data { data: vec![7; 100].into(), crc: 0 };
    let mut wrong = [(2, read.transfer, 0), (1, read.transfer + 1, 0), (1, read.transfer, 5)];
    for (to, transfer, offset) in wrong.iter_mut() {
        hand.does(|raft, now| raft.chunk_read(now, *to, *transfer, *offset, data()));
        assert!(hand.sent.is_empty());
    }
    hand.does(|raft, now| raft.chunk_read(now, 1, read.transfer, 0, data()));
    hand.does(|raft, now| raft.chunk_read(now, 1, read.transfer, 0, data()));
    assert_eq!(hand.sent.len(), 1);
}

/// A lost chunk is read and sent again, after a request timeout or when it is reported lost.
#[test]
fn a46_a_lost_piece_is_sent_again() {
    let mut hand = sending();
    let piece = hand.send_piece(100);
    hand.after(149);
    assert!(hand.out.chunk_reads.is_empty());
    hand.after(1);
    assert_eq!(hand.out.chunk_reads.len(), 1);
    let again = hand.send_piece(100);
    hand.does(|raft, now| raft.undelivered(now, 1, again.id));
    assert!(hand.out.chunk_reads.is_empty(), "not before an interval has passed");
    hand.after(100);
    let third = hand.send_piece(100);
    hand.does(|raft, now| raft.undelivered(now, 1, piece.id));
    hand.reply_piece(&third, PENDING, ChunkOutcome::Continue { offset: 100 });
    assert_eq!(hand.status().counters.snapshots_sent, 1, "the first was not the one under way");
}

/// Only a member's own answers advance its match: a complete transfer is not an install (B1).
#[test]
fn b1_a_complete_transfer_is_not_an_install() {
    let mut hand = sent();
    assert_eq!(hand.progress(1).matched, 0);
    hand.propose_many(1);
    assert!(hand.appends(1).is_empty() && is_sending(&hand));
}

/// A member that answers Pending, for however long, gets no second snapshot (B15, SN11, SN28).
#[test]
fn b15_a_pending_member_is_waited_for() {
    let mut hand = sent();
    for _ in 0..50 {
        reports(&mut hand, 0, PENDING);
        hand.accept_all(2);
        assert!(is_sending(&hand) && hand.out.chunk_reads.is_empty());
    }
    assert_eq!(hand.progress(1).failed_transfers, 0);
}

/// A member that answered Pending and is cut off is not taken to have lost the snapshot.
#[test]
fn b15_a_pending_member_that_is_cut_off_has_not_failed() {
    let mut hand = sent();
    reports(&mut hand, 0, PENDING);
    for _ in 0..8 {
        hand.after(100);
        hand.accept_all(2);
    }
    assert!(is_sending(&hand));
    assert_eq!(hand.progress(1).failed_transfers, 0);
}

/// A chunk refused because another leader's snapshot waits there is not sent again.
#[test]
fn b3_an_unwanted_piece_is_not_sent_again() {
    let mut hand = sending();
    let piece = hand.send_piece(100);
    hand.reply_piece(&piece, PENDING, ChunkOutcome::Unwanted);
    for _ in 0..10 {
        reports(&mut hand, 0, PENDING);
        hand.accept_all(2);
        assert!(hand.out.chunk_reads.is_empty());
    }
    reports(&mut hand, 3, InstallStatus::None);
    assert!(!is_sending(&hand), "it was as good as this one");
}

/// A member with a complete transfer that is silent about it for an election timeout lost it (B15).
#[test]
fn b15_a_member_that_forgot_the_snapshot_gets_it_again() {
    let mut hand = sent();
    for _ in 0..6 {
        reports(&mut hand, 0, InstallStatus::None);
        hand.accept_all(2);
        assert!(hand.out.chunk_reads.is_empty());
    }
    reports(&mut hand, 0, InstallStatus::None);
    assert_eq!(hand.progress(1).failed_transfers, 1);
    hand.accept_all(2);
    reports(&mut hand, 0, InstallStatus::None);
    assert_eq!(hand.out.chunk_reads.len(), 1);
}

/// Sends all of the snapshot to member 1, which can't decode it; returns when it was requested.
fn sends_in_vain(hand: &mut Hand) -> Micros {
    for _ in 0..10_000 {
        if !hand.out.chunk_reads.is_empty() {
            let asked_at = hand.now;
            let piece = hand.send_piece(100);
            hand.reply_piece(&piece, PENDING, ChunkOutcome::Continue { offset: 100 });
            reports(hand, 0, InstallStatus::Undecodable { index: 3 });
            assert!(!is_sending(hand));
            return asked_at;
        }
        reports(hand, 0, InstallStatus::Undecodable { index: 3 });
        hand.accept_all(2);
    }
    panic!("no snapshot is sent any more");
}

/// A member that can't decode the snapshot gets it ever less often, up to a limit; no other waits.
#[test]
fn a_member_that_cannot_decode_is_sent_snapshots_ever_more_seldom() {
    let mut hand = sending_with(|config| config.undecodable_retry_max = 64_000 * MILLISECOND);
    let mut asked_at = sends_in_vain(&mut hand);
    for wait in [4, 8, 16, 32, 64, 64, 64] {
        let next = sends_in_vain(&mut hand);
        let waited = (next - asked_at) / MILLISECOND;
        assert!((wait * 1000..wait * 1000 + 500).contains(&waited), "{waited} ms, not {wait} s");
        asked_at = next;
    }
    assert_eq!(hand.progress(1).failed_transfers, 0, "proposals do not wait for it");
    assert_eq!(hand.status().counters.safety_alarms, 0);
}

/// It may return with another build, or report that it can decode now.
#[test]
fn a_restart_of_the_member_or_its_word_ends_the_wait_for_a_newer_build() {
    for restarted in [true, false] {
        let mut hand = sending_with(|config| config.undecodable_retry_max = 64_000 * MILLISECOND);
        for _ in 0..3 {
            sends_in_vain(&mut hand);
        }
        hand.after(100);
        let beat = hand.appends(1).pop().expect("a heartbeat");
        let install = match restarted {
            true => InstallStatus::Undecodable { index: 3 },
            false => InstallStatus::None,
        };
        let report = FollowerReport { install, ..report(0, append_of(&beat).round) };
        let answer = AppendAnswer { report, outcome: AppendOutcome::Accepted };
        let mut envelope = hand.answer_of(&beat, beat.term, Answer::Append(answer));
        envelope.incarnation += u64::from(restarted);
        hand.step(envelope);
        hand.after(10);
        hand.accept_all(2);
        assert!(is_sending(&hand), "restarted: {restarted}");
    }
}

/// A new leader sends nothing to a member that another leader's snapshot occupies (B3, SN14, SN20).
#[test]
fn b3_a_member_with_a_snapshot_under_way_gets_no_other() {
    let occupied = [PENDING, InstallStatus::Receiving { index: 3, bytes: 9 }];
    for install in occupied {
        let mut hand = Setup::of(3).snapshot(id(3, 1)).log(&[1]).lead();
        let probe = hand.append(1);
        let report = FollowerReport { install, ..report(0, 0) };
        let outcome = AppendOutcome::Rejected { refused: 4, hint: LogId::BASE };
        hand.reply(&probe, Answer::Append(AppendAnswer { report, outcome }));
        reports(&mut hand, 0, install);
        assert!(!is_sending(&hand), "{install:?}");
        hand.accept_all(2);
        reports(&mut hand, 0, InstallStatus::None);
        assert!(is_sending(&hand), "free again");
    }
}

/// A refusal after a complete transfer ends it, an older one does not (B1).
#[test]
fn b1_a_refusal_ends_the_transfer() {
    let refused = InstallStatus::Refused { commit: 4 };
    let mut hand = sending();
    reports(&mut hand, 0, refused);
    assert!(is_sending(&hand), "said of an offer before this one");
    let mut hand = sent();
    reports(&mut hand, 4, refused);
    assert!(!is_sending(&hand));
    assert_eq!(append_of(&hand.append(1)).prev, id(4, 1));
}

/// A refusal by a member whose log is not yet durable up to the log's start does not begin another
/// transfer at once: it would be refused again, as fast as the network can carry it (SN11, LR27).
#[test]
fn sn11_a_refusal_does_not_begin_the_next_transfer_at_once() {
    let refused = InstallStatus::Refused { commit: 4 };
    let mut hand = sent();
    reports(&mut hand, 0, refused);
    assert!(!is_sending(&hand), "refused is refused");
    let mut pieces = 0;
    for _ in 0..100 {
        if hand.out.chunk_reads.is_empty() {
            break;
        }
        let piece = hand.send_piece(100);
        hand.reply_piece(&piece, refused, ChunkOutcome::Unwanted);
        pieces += 1;
    }
    assert!(pieces <= 1, "{pieces} snapshots in no time");
    let mut patient = hand.raft.clone();
    patient.tick(hand.now + hand.config.heartbeat_interval);
    assert_eq!(patient.ready().chunk_reads.len(), 1, "it still needs one");
    reports(&mut hand, 4, refused);
    assert!(!is_sending(&hand));
}

/// A transfer that does not verify, or is gone at the leader, restarts with the current snapshot.
#[test]
fn a_failed_transfer_begins_anew_after_an_interval() {
    let mut corrupt = sending();
    let piece = corrupt.send_piece(100);
    corrupt.reply_piece(&piece, InstallStatus::None, ChunkOutcome::Corrupt);
    let mut gone = sending();
    let ChunkRead { to, transfer, offset, .. } = gone.out.chunk_reads.remove(0);
    gone.does(|raft, now| raft.chunk_read(now, to, transfer, offset, ChunkReadOutcome::Gone));
    for mut hand in [corrupt, gone] {
        assert!(!is_sending(&hand) && hand.out.chunk_reads.is_empty());
        assert_eq!(hand.progress(1).failed_transfers, 1);
        hand.after(100);
        let read = hand.out.chunk_reads[0];
        assert!(is_sending(&hand) && read.transfer > transfer && read.offset == 0);
    }
}

/// A member that catches up by other means ends its transfer (SN12, SN20).
#[test]
fn a_member_that_catches_up_ends_its_transfer() {
    let mut hand = sending();
    let piece = hand.send_piece(60);
    reports(&mut hand, 3, InstallStatus::None);
    assert!(!is_sending(&hand));
    hand.reply_piece(&piece, InstallStatus::None, ChunkOutcome::Continue { offset: 60 });
    assert!(hand.out.chunk_reads.is_empty(), "a late answer revives nothing");
}

/// The restart of a member, and the deposition of a leader, end transfers (SN12).
#[test]
fn sn12_restart_and_deposition_end_transfers() {
    let mut hand = sending();
    let piece = hand.send_piece(100);
    let Body::Request(Request::Snapshot(chunk)) = &piece.body else { unreachable!() };
    let answer = SnapshotAnswer {
        report: report(0, 0),
        transfer: chunk.transfer,
        outcome: ChunkOutcome::Continue { offset: 60 },
    };
    let answer = hand.answer_of(&piece, 2, Answer::Snapshot(answer));
    hand.step(Envelope { incarnation: 2, ..answer });
    assert!(hand.out.chunk_reads.iter().all(|read| read.offset == 0), "its part is gone");
    let mut hand = sending();
    let ChunkRead { to, transfer, offset, .. } = hand.out.chunk_reads[0];
    hand.hear(2, 3, heartbeat(LogId::BASE, 0));
    let data = ChunkReadOutcome::Data { data: vec![7; 100].into(), crc: 0 };
    hand.disk();
    hand.sent.clear();
    hand.does(|raft, now| raft.chunk_read(now, to, transfer, offset, data));
    assert!(hand.sent.is_empty());
}

/// Other members are served as usual, and the leader sends no snapshot to itself (SN21, SN13).
#[test]
fn sn21_the_leader_has_no_progress_of_its_own() {
    let mut hand = sending();
    assert_eq!(hand.raft.role.members().map(|(node, _)| node).collect::<Vec<_>>(), [1, 2]);
    hand.propose_many(1);
    hand.after(150);
    assert!(!hand.appends(2).is_empty());
}

/// The state of a transfer at the leader, from reading to installing.
#[test]
fn a_transfer_goes_from_reading_to_installing() {
    let mut hand = sending();
    let step = |hand: &Hand| match &hand.progress(1).state {
        ProgressState::Snapshot(transfer) => transfer.step.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(step(&hand), TransferStep::Reading);
    let piece = hand.send_piece(100);
    assert_eq!(step(&hand), TransferStep::Sent { id: piece.id, at: hand.now });
    hand.reply_piece(&piece, PENDING, ChunkOutcome::Continue { offset: 100 });
    assert_eq!(step(&hand), TransferStep::Installing);
}
