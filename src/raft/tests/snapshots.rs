//! Receiving a snapshot, until it is complete: A46–A51, B9, SN05–SN26 as far as the receiver is
//! concerned.

use super::hand::*;
use crate::raft::*;

const S: LogId = LogId::new(1, 10);

fn outcome(hand: &mut Hand) -> ChunkOutcome {
    hand.disk();
    hand.chunk_answer().outcome
}

// ---- chunks ----------------------------------------------------------------------------------

/// A chunk that is not the next one is answered with the offset to continue at, and not stored
/// (SN09).
#[test]
fn sn09_a_piece_out_of_place_is_not_stored() {
    let mut hand = Setup::of(3).start();
    let late = hand.chunk(S, 1, 40, 20);
    hand.hear(1, 1, late.clone());
    assert_eq!(outcome(&mut hand), ChunkOutcome::Continue { offset: 0 });
    assert_eq!(hand.status().install, InstallStatus::None, "a transfer begins at 0");
    let first = hand.chunk(S, 1, 0, 60);
    hand.hear(1, 1, first.clone());
    hand.store(ChunkWritten::Partial(60));
    hand.sent.clear();
    for piece in [late, first] {
        hand.hear(1, 1, piece);
        assert_eq!(outcome(&mut hand), ChunkOutcome::Continue { offset: 60 });
    }
    assert!(hand.out.snapshots.is_empty());
}

/// A chunk that arrives twice while it is being stored is stored once; each request gets its answer
/// (SN09).
#[test]
fn sn09_a_piece_repeated_while_it_is_stored_is_stored_once() {
    let mut hand = Setup::of(3).term(1, None).start();
    let piece = hand.chunk(S, 1, 0, 60);
    hand.hear(1, 1, piece.clone());
    hand.hear(1, 1, piece);
    assert_eq!(
        (hand.out.snapshots.len(), outcome(&mut hand)),
        (1, ChunkOutcome::Continue { offset: 0 })
    );
    hand.store(ChunkWritten::Partial(60));
    assert_eq!(outcome(&mut hand), ChunkOutcome::Continue { offset: 60 });
}

/// Chunks that no leader can have sent are ignored; so is one of another snapshot in the same
/// transfer.
#[test]
fn sn09_malformed_pieces_are_ignored() {
    type Change = fn(&mut SnapshotChunk);
    let malformed: [(&str, Change); 6] = [
        ("index 0", |c| c.meta.log_id.index = 0),
        ("term 0", |c| c.meta.log_id.term = 0),
        ("of a later term", |c| c.meta.log_id.term = 2),
        ("empty", |c| c.data = Default::default()),
        ("beyond the end", |c| c.offset = 41),
        ("overflowing", |c| c.offset = u64::MAX),
    ];
    for (why, change) in malformed {
        let mut hand = Setup::of(3).term(1, None).start();
        let Request::Snapshot(mut chunk) = hand.chunk(S, 1, 0, 60) else { unreachable!() };
        change(&mut chunk);
        hand.hear(1, 1, Request::Snapshot(chunk));
        assert_eq!(hand.status().counters.ignored_messages, 1, "{why}");
        assert!(hand.is_silent() && hand.out.snapshots.is_empty(), "{why}");
    }
    let mut hand = Setup::of(3).start();
    for log_id in [S, id(12, 1)] {
        let piece = hand.chunk(log_id, 1, 0, 60);
        hand.hear(1, 1, piece);
    }
    assert_eq!((hand.status().counters.ignored_messages, hand.out.snapshots.len()), (1, 1));
}

/// A transfer that does not verify is dropped, and restarted (SN26).
#[test]
fn sn26_a_corrupt_transfer_begins_anew() {
    let mut hand = Setup::of(3).term(1, None).start();
    let piece = hand.chunk(S, 1, 0, 100);
    hand.hear(1, 1, piece);
    hand.store(ChunkWritten::Corrupt);
    assert_eq!(outcome(&mut hand), ChunkOutcome::Corrupt);
    assert_eq!(hand.status().install, InstallStatus::None);
    hand.receive(1, 1, S);
    assert_eq!(hand.status().install, InstallStatus::Pending { index: 10 });
}

/// The sender's transfer number distinguishes a new transfer from a late chunk of the one before.
#[test]
fn a46_a_late_piece_of_an_earlier_transfer_is_unwanted() {
    let mut hand = Setup::of(3).term(1, None).start();
    let piece = |hand: &Hand, transfer| hand.chunk(S, transfer, 0, 60);
    let second = piece(&hand, 2);
    hand.hear(1, 1, second);
    hand.store(ChunkWritten::Partial(60));
    hand.sent.clear();
    let first = piece(&hand, 1);
    hand.hear(1, 1, first);
    assert_eq!(outcome(&mut hand), ChunkOutcome::Unwanted);
    assert_eq!(hand.status().install, InstallStatus::Receiving { index: 10, bytes: 60 });
    let third = piece(&hand, 3);
    hand.hear(1, 1, third);
    assert!(matches!(hand.out.snapshots[0], SnapshotJob::AbortTransfer(key) if key.transfer == 2));
}

/// A sender that falls silent keeps the slot for one election timeout (SN14); a chunk being stored
/// keeps it longer.
#[test]
fn sn14_a_silent_sender_loses_the_place() {
    let mut hand = Setup::of(3).term(1, None).start();
    let first = hand.chunk(S, 1, 0, 60);
    hand.hear(1, 1, first);
    hand.after(700);
    assert_eq!(hand.status().install, InstallStatus::Receiving { index: 10, bytes: 0 });
    hand.store(ChunkWritten::Partial(60));
    hand.after(600);
    assert_eq!(hand.status().install, InstallStatus::Receiving { index: 10, bytes: 60 });
    hand.after(1);
    assert_eq!(hand.status().install, InstallStatus::None);
    assert!(matches!(hand.out.snapshots[..], [SnapshotJob::AbortTransfer(_)]));
}

/// Another leader's transfer replaces one that is not complete; a chunk still being stored is
/// answered (SN14, SN10).
#[test]
fn sn14_a_new_leaders_transfer_takes_over() {
    let mut hand = Setup::of(3).term(1, None).start();
    let first = hand.chunk(S, 1, 0, 60);
    hand.hear(1, 1, first);
    let TransferKey { from, .. } = match &hand.out.snapshots[0] {
        SnapshotJob::WriteChunk { transfer, .. } => *transfer,
        other => panic!("{other:?}"),
    };
    assert_eq!(from, 1);
    let abandoned = match hand.out.snapshots.remove(0) {
        SnapshotJob::WriteChunk { transfer, .. } => transfer,
        other => panic!("{other:?}"),
    };
    let other = hand.chunk(S, 1, 0, 100);
    hand.hear(2, 2, other);
    hand.disk();
    let answers: Vec<_> = hand.sent.drain(..).map(|e| e.to).collect();
    assert_eq!(answers, [1], "the first one's piece will not be stored");
    assert!(
        matches!(hand.out.snapshots[..], [SnapshotJob::AbortTransfer(key), SnapshotJob::WriteChunk { .. }] if key == abandoned)
    );
    // The abandoned chunk was stored after all.
    hand.does(|raft, now| raft.chunk_written(now, abandoned, ChunkWritten::Complete));
    assert_eq!(hand.status().install, InstallStatus::Receiving { index: 10, bytes: 0 });
    assert!(
        matches!(hand.out.snapshots.pop(), Some(SnapshotJob::AbortTransfer(key)) if key == abandoned)
    );
    hand.store(ChunkWritten::Complete);
    assert_eq!(hand.status().install, InstallStatus::Pending { index: 10 });
}

/// A candidate that receives a leader's chunk follows it (SN14); the timer restarts with each chunk
/// (B9).
#[test]
fn sn14_b9_a_piece_is_heard_as_the_leaders_word() {
    let mut hand = Setup::of(3).start();
    hand.campaign_for_votes();
    hand.disk();
    let piece = hand.chunk(S, 1, 0, 10);
    hand.hear(1, 1, piece);
    assert_eq!(hand.raft.role(), (Role::Follower, 1, Some(1)));
    for offset in 1..8 {
        hand.after(290);
        assert_eq!(hand.role(), Role::Follower);
        let piece = hand.chunk(S, 1, 99 - offset, 1);
        hand.hear(1, 1, piece);
    }
}

/// Neither the term nor the role comes from the snapshot: an old term's snapshot in a later
/// leader's term (SN05, SN25).
#[test]
fn sn05_sn25_the_term_is_the_leaders() {
    let mut hand = Setup::of(3).term(6, Some(2)).start();
    let piece = hand.chunk(id(10, 3), 1, 0, 100);
    hand.hear(1, 6, piece);
    hand.store(ChunkWritten::Complete);
    assert_eq!((hand.sent[0].term, hand.term(), hand.status().vote), (6, 6, Some(2)));
    hand.decode(id(10, 3));
    hand.cond_install(id(10, 3));
    hand.disk();
    assert_eq!((hand.term(), hand.status().vote), (6, Some(2)));
    assert_eq!(hand.status().last, id(10, 3));
}

/// A snapshot with other members than the own, where members do not change, is refused before it is
/// offered (SN07).
#[test]
fn sn07_a_snapshot_of_other_members_is_refused() {
    let mut hand = Setup::of(3).start();
    let Request::Snapshot(mut chunk) = hand.chunk(S, 1, 0, 100) else { unreachable!() };
    chunk.meta.membership = Membership::of_voters(0..5);
    hand.hear(1, 1, Request::Snapshot(chunk));
    assert_eq!(outcome(&mut hand), ChunkOutcome::Unwanted);
    assert_eq!(hand.status().counters.safety_alarms, 1);
    assert!(hand.out.snapshots.is_empty());
}

// ---- stale, or in the log already ------------------------------------------------------------

/// A snapshot that ends at or before the commit index is answered with this node's durable match
/// (A48, A50).
#[test]
fn a48_a50_a_stale_snapshot_teaches_the_leader_the_commit_index() {
    let mut hand = Setup::of(3).term(1, None).start();
    hand.hear(1, 1, append(LogId::BASE, &[1; 12], 12));
    for (log_id, matched) in [(S, 0), (id(12, 1), 0)] {
        let piece = hand.chunk(log_id, 1, 0, 100);
        hand.hear(1, 1, piece);
        let answer = hand.chunk_answer();
        assert_eq!((answer.outcome, answer.report.matched), (ChunkOutcome::Unwanted, matched));
    }
    hand.disk();
    hand.sent.clear();
    let piece = hand.chunk(S, 1, 0, 100);
    hand.hear(1, 1, piece);
    assert_eq!(hand.chunk_answer().report.matched, 12);
    assert_eq!(
        (hand.status().counters.fast_forwards, hand.status().install),
        (0, InstallStatus::None)
    );
}

/// A snapshot whose last entry the log holds advances the commit index, whatever was committed
/// before (A51).
#[test]
fn a51_a_snapshot_of_what_is_in_the_log_is_not_fetched() {
    let mut hand = Setup::of(3).log(&[1; 12]).start();
    let piece = hand.chunk(S, 1, 0, 100);
    hand.hear(1, 2, piece);
    hand.disk();
    let answer = hand.chunk_answer();
    assert_eq!((answer.outcome, answer.report.matched), (ChunkOutcome::Unwanted, 10));
    assert_eq!((hand.status().commit, hand.terms().len()), (10, 12));
    assert_eq!(hand.dispatched().len(), 10);
}

/// A snapshot is needed if its last entry has another term in the log (B4, SN03), or is beyond the
/// log's end.
#[test]
fn sn03_b4_the_term_counts_with_the_index() {
    let mut hand = Setup::of(3).log(&[1; 12]).start();
    let piece = hand.chunk(id(10, 2), 1, 0, 100);
    hand.hear(1, 2, piece);
    assert_eq!(hand.status().install, InstallStatus::Receiving { index: 10, bytes: 0 });
    assert_eq!(hand.status().commit, 0);
}

/// A transfer is abandoned when the commit index reaches it.
#[test]
fn a48_a_transfer_is_given_up_when_it_is_overtaken() {
    let mut hand = Setup::of(3).term(1, None).start();
    let piece = hand.chunk(S, 1, 0, 60);
    hand.hear(1, 1, piece);
    hand.hear(1, 1, append(LogId::BASE, &[1; 9], 9));
    assert_eq!(hand.status().install, InstallStatus::Receiving { index: 10, bytes: 0 });
    hand.sent.clear();
    hand.hear(1, 1, append(id(9, 1), &[1], 10));
    assert_eq!(hand.status().install, InstallStatus::None);
    assert_eq!(hand.chunk_answer().outcome, ChunkOutcome::Unwanted);
    assert!(matches!(hand.out.snapshots.last(), Some(SnapshotJob::AbortTransfer(_))));
}

/// It may be complete only after the log has received its last entry: then it is dropped, not
/// offered.
#[test]
fn a51_a_complete_snapshot_is_judged_again() {
    let mut hand = Setup::of(3).term(1, None).start();
    let piece = hand.chunk(S, 1, 0, 100);
    hand.hear(1, 1, piece);
    hand.hear(1, 1, append(LogId::BASE, &[1; 10], 3));
    hand.store(ChunkWritten::Complete);
    assert_eq!((hand.status().install, hand.status().commit), (InstallStatus::None, 10));
    assert_eq!(hand.out.snapshots, [SnapshotJob::Discard(S)]);
    assert_eq!(hand.status().counters.installs_offered, 0);
}
