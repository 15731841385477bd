//! The interleavings of CondInstallSnapshot, (a) to (r) without (p), which waits for membership
//! changes. S is the snapshot 10@1; whatever the decision, state machine and peer change together
//! or not at all (A57).

use super::hand::*;
use super::world::{self, MILLISECOND, World};
use crate::raft::*;

const S: LogId = LogId::new(1, 10);

/// A follower in term 1 with entries 1 and 2, to which S is offered.
fn offered() -> Hand {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.offer(1, 1, S);
    hand.out.snapshots.clear();
    hand.out.apply.clear();
    hand
}

/// The leader commits all entries up to S and one more.
fn overtake(hand: &mut Hand, commit: Index) {
    hand.hear(1, 1, append(LogId::BASE, &[1; 11], commit));
    hand.disk();
}

#[test]
fn a_commits_overtake_the_offer_a55() {
    let mut hand = offered();
    overtake(&mut hand, 11);
    assert_eq!(hand.out.apply[0], ApplyItem::Withdraw(S), "withdrawn at once");
    assert_eq!(hand.out.snapshots, [SnapshotJob::Discard(S)]);
    assert_eq!(hand.append_answer().report.install, InstallStatus::Refused { commit: 10 });
    assert_eq!(hand.cond_install(S), Some(false), "and refused, if it was asked already");
    let counters = hand.status().counters;
    assert_eq!((counters.installs_refused, counters.installs_withdrawn), (1, 1));
    assert_eq!((hand.status().commit, hand.status().snapshot), (11, LogId::BASE));
    assert_eq!(hand.dispatched().len(), 11, "all that was committed is applied one by one");
}

/// Withdrawn before it is decoded: the state machine is not informed, and a late report of the
/// decoder does not revive it.
#[test]
fn a_commits_overtake_the_decoding() {
    for begun in [false, true] {
        let mut hand = Setup::of(3).log(&[1, 1]).start();
        hand.receive(1, 1, S);
        hand.out.snapshots.clear();
        if begun {
            hand.does(|raft, now| raft.decode_begun(now, S));
        }
        overtake(&mut hand, 10);
        assert_eq!((hand.out.snapshots.len(), hand.dispatched().len()), (1, 10));
        hand.does(|raft, now| raft.decode_begun(now, S));
        hand.does(|raft, now| raft.snapshot_decoded(now, S, true));
        assert!(hand.out.apply.is_empty());
    }
}

#[test]
fn b_equal_index_and_term_is_no_install() {
    let mut hand = offered();
    overtake(&mut hand, 10);
    assert_eq!(hand.cond_install(S), Some(false));
    assert_eq!((hand.status().commit, hand.status().counters.safety_alarms), (10, 0));
}

#[test]
fn c_equal_index_and_another_term_raises_an_alarm() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.offer(1, 2, id(10, 2));
    hand.hear(1, 2, append(LogId::BASE, &[1; 11], 11));
    assert_eq!(hand.status().counters.safety_alarms, 1);
    assert_eq!(hand.cond_install(id(10, 2)), Some(false));
    let piece = hand.chunk(id(9, 2), 5, 0, 100);
    hand.hear(1, 2, piece);
    assert_eq!(hand.status().counters.safety_alarms, 2, "a stale one is compared as well");
}

/// Queued entries up to S are covered: their waiters are informed, and they are not applied (B5,
/// B19).
#[test]
fn d_queued_entries_are_covered() {
    let mut hand = offered();
    hand.hear(1, 1, heartbeat(id(2, 1), 2));
    assert_eq!(hand.dispatched().len(), 2);
    hand.cond_install(S);
    assert!(hand.out.events.contains(&Event::SnapshotInstalled { through: 10 }));
    hand.disk();
    assert_eq!((hand.decision(S), hand.dispatched().len()), (Some(true), 0));
    // The peer counts the queue as empty: there is room for later entries.
    assert_eq!(hand.raft.apply_window.bytes(), 0);
    hand.does(|raft, now| raft.applied(now, 10));
    assert_eq!(hand.status().applied, 10);
}

/// Entries beyond S, queued before it, mean that it was overtaken.
#[test]
fn e_entries_beyond_the_offer_were_queued_before_it() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.receive(1, 1, S);
    overtake(&mut hand, 11);
    assert_eq!(hand.dispatched().last(), Some(&id(11, 1)));
    hand.decode(S);
    assert_eq!((hand.cond_install(S), hand.status().applied), (Some(false), 0));
}

/// A newer snapshot replaces one whose decoding has not begun, and no other (B3, SN11).
#[test]
fn f_a_newer_snapshot_replaces_one_that_is_not_being_decoded() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.receive(1, 1, S);
    hand.out.snapshots.clear();
    let newer = hand.chunk(id(20, 1), 2, 0, 100);
    let middle = hand.chunk(id(20, 1), 2, 50, 50);
    hand.hear(1, 1, middle);
    assert_eq!(hand.status().install, InstallStatus::Pending { index: 10 }, "not by its middle");
    hand.hear(1, 1, newer.clone());
    assert_eq!(hand.out.snapshots[0], SnapshotJob::Discard(S));
    assert_eq!(hand.status().counters.installs_superseded, 1);
    hand.store(ChunkWritten::Complete);
    hand.does(|raft, now| raft.snapshot_decoded(now, S, true));
    assert!(hand.out.apply.is_empty(), "superseded");
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.receive(1, 1, S);
    hand.sent.clear();
    hand.does(|raft, now| raft.decode_begun(now, S));
    hand.hear(1, 1, newer);
    assert_eq!(hand.chunk_answer().outcome, ChunkOutcome::Unwanted);
    assert_eq!(hand.status().install, InstallStatus::Pending { index: 10 });
}

/// The decoding of another snapshot does not protect the one that waits.
#[test]
fn f_another_snapshots_decoding_keeps_no_place() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.receive(1, 1, S);
    hand.does(|raft, now| raft.decode_begun(now, id(8, 1)));
    let newer = hand.chunk(id(20, 1), 2, 0, 100);
    hand.hear(1, 1, newer);
    assert_eq!(hand.status().counters.installs_superseded, 1);
}

#[test]
fn g_an_older_or_equal_snapshot_is_dropped() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.receive(1, 1, S);
    hand.out.snapshots.clear();
    hand.sent.clear();
    for log_id in [id(8, 1), S] {
        let piece = hand.chunk(log_id, 2, 0, 100);
        hand.hear(1, 1, piece);
        assert_eq!(hand.chunk_answer().outcome, ChunkOutcome::Unwanted);
    }
    assert!(hand.out.snapshots.is_empty());
    assert_eq!(hand.status().install, InstallStatus::Pending { index: 10 });
}

/// The term of the leader that sent S does not matter: what S covers is committed, whichever member
/// leads now.
#[test]
fn h_a_new_leader_in_between_changes_nothing() {
    let mut hand = offered();
    hand.hear(2, 7, heartbeat(LogId::BASE, 0));
    hand.disk();
    assert_eq!(hand.append_answer().report.install, InstallStatus::Pending { index: 10 });
    hand.cond_install(S);
    hand.disk();
    assert_eq!((hand.decision(S), hand.term()), (Some(true), 7));
}

/// A node whose log reaches beyond S may campaign; once it leads it needs no snapshot of another
/// member (EL17).
#[test]
fn i_a_leader_refuses_what_was_offered_before() {
    let mut hand = Setup::of(3).log(&[1; 11]).start();
    hand.offer(1, 2, id(10, 2));
    hand.disk();
    hand.win();
    assert!(hand.out.apply.contains(&ApplyItem::Withdraw(id(10, 2))));
    assert_eq!((hand.cond_install(id(10, 2)), hand.role()), (Some(false), Role::Leader));
    assert_eq!(hand.status().install, InstallStatus::Refused { commit: 0 });
    let mut receiving = Setup::of(3).log(&[1; 11]).start();
    let piece = receiving.chunk(id(10, 2), 1, 0, 60);
    receiving.hear(1, 2, piece);
    receiving.disk();
    receiving.win();
    assert_eq!(receiving.status().install, InstallStatus::None);
    assert!(matches!(receiving.out.snapshots.last(), Some(SnapshotJob::AbortTransfer(_))));
}

/// Crashes before the durable step, between it and the switch, and during the switch: the node
/// continues from what the record names (A72, B6).
#[test]
fn j_k_l_a_crash_goes_on_from_what_the_record_names() {
    for durable in [false, true] {
        let mut hand = offered();
        hand.cond_install(S);
        let setup = Setup::of(3).term(1, None).incarnation(2);
        let mut restarted =
            if durable { setup.snapshot(S).start() } else { setup.log(&[1, 1]).start() };
        let status = restarted.status();
        let expected = if durable { 10 } else { 0 };
        assert_eq!(
            (status.commit, status.applied, status.dispatched),
            (expected, expected, expected)
        );
        assert_eq!(status.install, InstallStatus::None);
        assert_eq!(restarted.cond_install(S), Some(false), "an offer of another life");
        let prev = if durable { S } else { id(2, 1) };
        restarted.hear(1, 1, append(prev, &[1], prev.index));
        restarted.disk();
        assert_eq!(restarted.append_answer().outcome, AppendOutcome::Accepted);
    }
}

/// A state machine that is slow, or dead, does not affect the peer: it receives, answers, votes and
/// compacts nothing.
#[test]
fn m_n_a_state_machine_that_never_asks_holds_up_nothing() {
    let mut hand = offered();
    for _ in 0..30 {
        hand.now += 250 * MILLISECOND;
        hand.hear(1, 1, heartbeat(id(2, 1), 2));
        assert_eq!(hand.append_answer().report.matched, 2);
    }
    hand.now += 700 * MILLISECOND;
    hand.hear(2, 2, Request::Vote { last: id(20, 1) });
    hand.disk();
    assert!(hand.vote());
    hand.after(2_000);
    assert_eq!(hand.role(), Role::Follower, "but it does not campaign");
}

/// A snapshot k built here meanwhile is published while S waits, and dropped once S is granted
/// (B20, SN10).
#[test]
fn o_a_local_snapshot_finishes_while_the_offer_is_pending() {
    let members = Membership::of_voters(0..3);
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.hear(1, 1, heartbeat(id(2, 1), 2));
    hand.disk();
    hand.apply();
    hand.offer(1, 1, S);
    hand.does(|raft, now| raft.snapshot_taken(now, meta(id(1, 1), &members)));
    hand.disk();
    assert_eq!(hand.status().snapshot, id(1, 1));
    hand.cond_install(S);
    hand.does(|raft, now| raft.snapshot_taken(now, meta(id(2, 1), &members)));
    assert!(hand.out.events.contains(&Event::SnapshotRefused(id(2, 1))));
    hand.disk();
    assert_eq!((hand.decision(S), hand.status().snapshot), (Some(true), S));
}

/// A snapshot built here and a grant in one turn: the step makes the newer one current.
#[test]
fn o_a_local_snapshot_and_a_grant_in_one_step() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.hear(1, 1, heartbeat(id(2, 1), 2));
    hand.disk();
    hand.apply();
    hand.offer(1, 1, S);
    let local = meta(id(2, 1), &Membership::of_voters(0..3));
    hand.raft.snapshot_taken(hand.now, local);
    hand.raft.cond_install(hand.now, S);
    hand.collect();
    let change = &hand.steps[0].change;
    assert_eq!((change.snapshot.as_ref(), change.purge_through), (None, None));
    hand.disk();
    assert_eq!((hand.decision(S), hand.status().snapshot), (Some(true), S));
}

/// No local build begins while a snapshot waits to be installed (SN10).
#[test]
fn o_no_local_snapshot_begins_while_the_offer_is_pending() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.hear(1, 1, heartbeat(id(2, 1), 2));
    hand.disk();
    hand.apply();
    hand.receive(1, 1, S);
    hand.does(|raft, now| raft.request_snapshot(now));
    assert!(hand.out.apply.is_empty(), "{:?}", hand.out.apply);
}

/// Waiters of covered entries, at a node that was leader, are informed that they are covered (B19).
#[test]
fn q_a_deposed_leaders_waiters_hear_of_the_install() {
    let mut hand = Setup::of(3).lead();
    hand.propose_many(3);
    hand.hear(1, 2, heartbeat(LogId::BASE, 0));
    hand.disk();
    hand.offer(1, 2, id(10, 2));
    hand.cond_install(id(10, 2));
    hand.disk();
    assert!(hand.out.events.contains(&Event::Deposed));
    assert!(hand.out.events.contains(&Event::SnapshotInstalled { through: 10 }));
}

/// Chunks repeated after S was complete, granted or installed begin nothing (SN09).
#[test]
fn r_pieces_repeated_after_the_end_begin_nothing() {
    let mut hand = offered();
    let last = hand.chunk(S, 1, 60, 40);
    let first = hand.chunk(S, 1, 0, 60);
    let repeat = |hand: &mut Hand| {
        for piece in [&first, &last] {
            hand.hear(1, 1, piece.clone());
            assert_eq!(hand.chunk_answer().outcome, ChunkOutcome::Unwanted);
        }
        assert!(hand.out.snapshots.iter().all(|job| matches!(job, SnapshotJob::Current(_))));
    };
    repeat(&mut hand);
    hand.cond_install(S);
    repeat(&mut hand);
    hand.disk();
    assert_eq!(hand.decision(S), Some(true));
    repeat(&mut hand);
    assert_eq!(hand.status().counters.safety_alarms, 0);
}

/// A refusal is reported until the leader sends another chunk, or there is another leader (B1).
#[test]
fn a_refusal_is_reported_until_the_next_transfer_or_term() {
    let mut hand = offered();
    overtake(&mut hand, 11);
    hand.sent.clear();
    let refused = InstallStatus::Refused { commit: 10 };
    hand.hear(1, 1, heartbeat(id(11, 1), 11));
    assert_eq!(hand.append_answer().report.install, refused);
    let mut other = hand.raft.clone();
    let piece = hand.chunk(id(20, 1), 3, 0, 60);
    hand.hear(1, 1, piece);
    assert_eq!(hand.status().install, InstallStatus::Receiving { index: 20, bytes: 0 });
    hand.store(ChunkWritten::Corrupt);
    assert_eq!(hand.status().install, InstallStatus::None, "that refusal is forgotten");
    let vote = hand.request(2, 2, heartbeat(LogId::BASE, 0));
    other.step(hand.now, vote);
    assert_eq!(other.status().install, InstallStatus::None);
}

/// Installs that take many election timeouts while the leader stays: there is no election, and they
/// end (SN28).
#[test]
fn m_a_slow_install_costs_no_election() {
    let mut world = World::new(3, 8, world::config());
    world.elect_node(0);
    world.isolate(2);
    world.load(0, 200);
    world.heal();
    world.elect_node(0);
    let (term, campaigns) = (world.status(0).term, world.totals().campaigns);
    world.faults.decode_max = 20_000 * MILLISECOND;
    let granted = world
        .run_until(30_000 * MILLISECOND, |world| world.status(2).counters.installs_granted == 1);
    assert!(granted, "{:#?}", world.positions());
    assert_eq!((world.status(0).term, world.totals().campaigns), (term, campaigns));
    world.heal_and_converge();
}
