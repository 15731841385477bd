//! From a complete snapshot to an installed one: A53–A66, B6, B7, SN01–SN28. The results of each
//! interleaving of CondInstallSnapshot are tested in `interleavings.rs`.

use super::hand::*;
use super::world::MILLISECOND;
use crate::raft::*;

const S: LogId = LogId::new(1, 10);

/// A follower that has received all of S.
fn received() -> Hand {
    let mut hand = Setup::of(3).term(1, None).log(&[1]).start();
    hand.receive(1, 1, S);
    hand.sent.clear();
    hand
}

/// Receiving, decoding and offering change neither the log, nor the commit index, nor the state
/// machine (A53, SN06).
#[test]
fn a53_until_the_state_machine_asks_nothing_changes() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.hear(1, 1, heartbeat(id(2, 1), 2));
    hand.disk();
    hand.apply();
    let before = (hand.status().commit, hand.status().log_start, hand.terms());
    hand.offer(1, 1, S);
    assert_eq!((hand.status().commit, hand.status().log_start, hand.terms()), before);
    assert!(hand.steps.is_empty());
    assert_eq!(hand.status().counters.installs_offered, 1);
}

/// A snapshot that does not decode is dropped with an alarm; then the next one can be received (B7,
/// SN16).
#[test]
fn b7_sn16_what_does_not_decode_is_dropped() {
    let mut hand = received();
    hand.does(|raft, now| raft.decode_begun(now, S));
    hand.does(|raft, now| raft.snapshot_decoded(now, S, false));
    assert_eq!(
        (hand.status().install, hand.status().counters.safety_alarms),
        (InstallStatus::None, 1)
    );
    assert!(hand.out.apply.is_empty());
    assert!(hand.out.snapshots.contains(&SnapshotJob::Discard(S)));
    hand.receive(1, 1, id(11, 1));
    assert_eq!(hand.status().install, InstallStatus::Pending { index: 11 });
}

/// A whole snapshot of a format unknown to this build raises no alarm. Its leader is informed in
/// every answer, and another snapshot can be received. The log's own progress, or the next
/// snapshot, ends this state.
#[test]
fn a_snapshot_that_this_build_cannot_decode_is_reported_and_no_alarm() {
    let mut hand = received();
    hand.does(|raft, now| raft.decode_begun(now, S));
    hand.does(|raft, now| raft.snapshot_undecodable(now, S));
    let undecodable = InstallStatus::Undecodable { index: 10 };
    assert_eq!((hand.status().install, hand.status().undecodable), (undecodable, Some(S)));
    assert_eq!(hand.status().counters.safety_alarms, 0);
    assert!(hand.out.apply.is_empty());
    assert!(hand.out.snapshots.contains(&SnapshotJob::Discard(S)));
    // In a later term too: another leader's snapshot may have the same format.
    for term in [1, 2] {
        hand.hear(1, term, heartbeat(LogId::BASE, 0));
        hand.disk();
        assert_eq!(hand.append_answer().report.install, undecodable);
    }
    // A snapshot that is already withdrawn is dropped.
    hand.does(|raft, now| raft.snapshot_undecodable(now, id(12, 1)));
    assert_eq!(hand.status().undecodable, Some(S));
    hand.receive(1, 2, id(11, 1));
    assert_eq!(hand.status().install, InstallStatus::Pending { index: 11 });
    hand.decode(id(11, 1));
    assert_eq!(hand.cond_install(id(11, 1)), None, "granted once it is durable");
    hand.disk();
    assert_eq!((hand.status().install, hand.status().undecodable), (InstallStatus::None, None));
}

/// Inputs about another snapshot than the one that waits have no effect.
#[test]
fn sn02_words_about_another_snapshot_mean_nothing() {
    let mut hand = received();
    for other in [id(9, 1), id(10, 2)] {
        hand.does(|raft, now| raft.decode_begun(now, other));
        hand.does(|raft, now| raft.snapshot_decoded(now, other, true));
        assert!(hand.out.apply.is_empty());
        assert_eq!(hand.cond_install(other), Some(false));
    }
    assert_eq!(hand.cond_install(S), Some(false), "not offered yet");
    assert_eq!(hand.status().install, InstallStatus::Pending { index: 10 });
    hand.decode(S);
    for other in [id(9, 1), id(10, 2)] {
        assert_eq!(hand.cond_install(other), Some(false));
    }
    assert_eq!(hand.cond_install(S), None, "granted once it is durable");
}

/// Heartbeats, votes and entries continue while a snapshot is decoded and while the state machine
/// is slow (A67, SN28).
#[test]
fn sn28_a_pending_install_delays_nothing() {
    let mut hand = received();
    hand.does(|raft, now| raft.decode_begun(now, S));
    for _ in 0..20 {
        hand.now += 200 * MILLISECOND;
        hand.hear(1, 1, append(id(1, 1), &[1], 1));
        hand.disk();
        let answer = hand.append_answer();
        assert_eq!(answer.outcome, AppendOutcome::Accepted);
        assert_eq!(answer.report.install, InstallStatus::Pending { index: 10 });
        hand.hear(1, 1, append(id(12, 1), &[1], 12));
        assert!(matches!(hand.append_answer().outcome, AppendOutcome::Rejected { .. }));
    }
    assert_eq!((hand.status().commit, hand.status().applied), (1, 0));
}

/// The state machine is informed of durable facts only: record and log in one step, and then the
/// answer (A56, B6, SN17).
#[test]
fn a56_b6_the_answer_follows_the_durable_step() {
    let mut hand = received();
    hand.decode(S);
    hand.propose(b"x").expect_err("a follower");
    assert_eq!(hand.cond_install(S), None);
    assert_eq!(hand.status().install, InstallStatus::Pending { index: 10 });
    assert_eq!((hand.status().persisted, hand.status().counters.installs_granted), (0, 0));
    hand.sent.clear();
    hand.hear(1, 1, heartbeat(S, 10));
    assert_eq!(hand.append_answer().report.matched, 0, "match = i is a promise");
    hand.disk();
    assert_eq!(hand.decision(S), Some(true));
    hand.hear(1, 1, heartbeat(S, 10));
    assert_eq!(hand.append_answer().report.matched, 10);
    assert_eq!(hand.status().install, InstallStatus::None);
    let counters = hand.status().counters;
    assert_eq!((counters.installs_granted, counters.entries_compacted), (1, 1), "the log held one");
}

/// After an install the log continues at its index and term, without a gap (SN27, A66).
#[test]
fn sn27_a66_entries_go_on_behind_the_snapshot() {
    let mut hand = received();
    hand.decode(S);
    hand.cond_install(S);
    hand.sent.clear();
    for (prev, accepted) in [(id(11, 1), false), (id(10, 2), false), (S, true)] {
        hand.hear(1, 2, append(prev, &[2], prev.index));
        hand.disk();
        let outcome = hand.append_answer().outcome;
        assert_eq!(outcome == AppendOutcome::Accepted, accepted, "after {prev}: {outcome:?}");
    }
    assert_eq!(hand.terms(), [2]);
}

/// Entries after the snapshot reach the state machine after it has switched, not before and not
/// twice (SN01, SN23).
#[test]
fn sn01_sn23_entries_behind_the_snapshot_follow_the_switch() {
    let mut hand = received();
    hand.decode(S);
    hand.cond_install(S);
    hand.out.apply.clear();
    hand.hear(1, 1, append(S, &[1, 1], 12));
    assert_eq!(hand.dispatched(), []);
    hand.disk();
    assert_eq!(hand.decision(S), Some(true));
    assert_eq!(hand.dispatched(), [id(11, 1), id(12, 1)]);
    hand.does(|raft, now| raft.applied(now, 10));
    hand.does(|raft, now| raft.applied(now, 12));
    assert_eq!(hand.status().applied, 12);
}

/// A read of entries to apply that completes after an install covered them is dropped, whatever it
/// found (SN01, B5).
#[test]
fn sn01_a_read_of_entries_since_covered_is_dropped() {
    let found = [LogReadOutcome::Compacted, LogReadOutcome::Entries(entries(1, &[1, 1]))];
    for outcome in found {
        let mut hand = Setup::of(3).log(&[1, 1]).start();
        hand.offer(1, 1, S);
        let envelope = hand.request(1, 1, heartbeat(id(2, 1), 2));
        hand.raft.step(hand.now, envelope);
        let read = hand.raft.ready().reads[0];
        assert_eq!(read.purpose, ReadPurpose::Apply);
        hand.cond_install(S);
        hand.disk();
        hand.out.apply.clear();
        hand.does(|raft, now| raft.log_read(now, read.id, outcome));
        assert_eq!((hand.dispatched(), hand.status().dispatched), (vec![], 10));
        hand.hear(1, 1, append(S, &[1], 11));
        hand.disk();
        assert_eq!(hand.dispatched(), [id(11, 1)], "and reading goes on");
    }
}

/// The installing step includes other changes of the same turn: a term, but never entries of the
/// dropped log (SN16, B11).
#[test]
fn sn16_the_installing_step_carries_the_term_and_no_entries_of_the_dropped_log() {
    let mut hand = received();
    hand.decode(S);
    let envelope = hand.request(1, 4, append(id(1, 1), &[3, 3], 0));
    hand.raft.step(hand.now, envelope);
    hand.raft.cond_install(hand.now, S);
    hand.collect();
    let change = &hand.steps[0].change;
    assert_eq!(change.hard_state.map(|hard_state| hard_state.term), Some(4));
    assert_eq!((change.append.len(), change.truncate_from, change.purge_through), (0, None, None));
    assert!(change.install.is_some());
    hand.disk();
    assert_eq!((hand.status().last, hand.decision(S)), (S, Some(true)));
}

/// A snapshot older than the installed one, built here or received, changes nothing (A10, A49,
/// SN02).
#[test]
fn a49_an_older_snapshot_after_the_install_changes_nothing() {
    let mut hand = received();
    hand.decode(S);
    hand.cond_install(S);
    hand.disk();
    hand.out.decisions.clear();
    hand.sent.clear();
    let piece = hand.chunk(id(8, 1), 2, 0, 100);
    hand.hear(1, 1, piece);
    let answer = hand.chunk_answer();
    assert_eq!((answer.outcome, answer.report.matched), (ChunkOutcome::Unwanted, 10));
    assert_eq!(hand.cond_install(S), Some(false), "asked once more");
    assert_eq!(hand.status().snapshot, S);
}
