//! Simple rules of log compaction that no other file covers, by the rows of `docs/mechanisms.md`.

use bytes::Bytes;

use super::hand::*;
use super::world::{MILLISECOND, World, config};
use crate::machine::{CommandRef, KeyValue, KeyValueCommand, Replica, encode_replica};
use crate::raft::log::RaftLog;
use crate::raft::*;

const S: LogId = LogId::new(1, 10);

fn none_trailing(config: &mut RaftConfig) {
    config.trailing_entries = 0;
}

// ---- why and what ----------------------------------------------------------------------------

/// The length of the log depends on what happened since the last snapshot, not on what happened
/// before.
#[test]
fn a1_the_log_stays_within_its_bound() {
    let limits = |config: &mut RaftConfig| {
        (config.snapshot_bytes, config.trailing_bytes) = (Some(3_300), 330);
    };
    let mut hand = Setup::of(1).with(limits).lead();
    for _ in 0..2_000 {
        hand.propose_many(1);
        hand.apply();
        if hand.out.apply.contains(&ApplyItem::TakeSnapshot) {
            hand.out.apply.clear();
            hand.take_snapshot();
        }
    }
    let RaftStatus { last, counters, .. } = hand.status();
    assert_eq!(last.index, 2_001);
    assert!(counters.snapshots_taken >= 10, "{counters:?}");
    assert!(counters.max_log_bytes <= 3_300 + 330, "{counters:?}");
}

/// Overwritten values are in the log and not in the state.
#[test]
fn a2_the_state_is_smaller_than_its_log() {
    let mut replica = Replica::new(KeyValue::default(), Default::default(), 9);
    let mut log_bytes = 0;
    for index in 1..=1_000u64 {
        let value = index.to_be_bytes().to_vec();
        let command = KeyValueCommand::Put { key: b"key".to_vec(), value };
        let command = crate::machine::codec::encode(&command).expect("a small command");
        let data = CommandRef::Raw(command.into()).encode();
        let entry = Entry { data, ..entry(id(index, 1)) };
        log_bytes += entry.size_bytes();
        replica.apply(&entry).expect("a command of this machine");
    }
    let mut state = Vec::new();
    encode_replica::<KeyValue>(&replica.view(), &mut state).expect("a small state");
    assert!(state.len() * 100 < log_bytes, "{} bytes of {log_bytes}", state.len());
}

/// After a snapshot, with an otherwise empty log, the consistency check uses the snapshot's own
/// index and term: on the follower that checks, and on the leader that sends them.
#[test]
fn a3_a4_a_snapshot_knows_the_entry_it_ends_with() {
    for (prev, fits) in [(id(5, 2), true), (id(5, 1), false), (id(6, 2), false)] {
        let mut hand = Setup::of(3).snapshot(id(5, 2)).term(3, None).start();
        hand.hear(1, 3, append(prev, &[3], 0));
        hand.disk();
        let outcome = hand.append_answer().outcome;
        assert_eq!(outcome == AppendOutcome::Accepted, fits, "after {prev}: {outcome:?}");
    }
    let mut leader = Setup::of(3).snapshot(id(5, 2)).term(3, None).lead();
    let first = leader.append(1);
    assert_eq!((append_of(&first).prev, last_of(&first)), (id(5, 2), 6));
}

/// Without a snapshot the boundary is index 0 and term 0, which every log holds.
#[test]
fn a8_a_fresh_log_begins_at_zero() {
    let mut hand = Setup::of(3).start();
    let RaftStatus { log_start, snapshot, last, .. } = hand.status();
    assert_eq!((log_start, snapshot, last), (LogId::BASE, LogId::BASE, LogId::BASE));
    hand.hear(1, 1, append(LogId::BASE, &[1], 0));
    hand.disk();
    assert_eq!(hand.append_answer().outcome, AppendOutcome::Accepted);
}

// ---- creating --------------------------------------------------------------------------------

/// A follower takes its snapshot at any time, without asking or informing another member.
#[test]
fn a12_a_follower_takes_its_snapshot_by_itself() {
    let mut hand = Setup::of(3).with(none_trailing).log(&[1; 5]).start();
    hand.hear(1, 1, heartbeat(id(5, 1), 5));
    hand.disk();
    hand.apply();
    hand.sent.clear();
    hand.does(|raft, now| raft.request_snapshot(now));
    assert!(hand.out.apply.contains(&ApplyItem::TakeSnapshot));
    assert_eq!(hand.take_snapshot(), id(5, 1));
    assert_eq!((hand.role(), hand.status().log_start), (Role::Follower, id(5, 1)));
    assert!(hand.sent.is_empty(), "{:?}", hand.sent);
}

/// The service may return a snapshot that was not requested: it is checked like any other.
#[test]
fn a13_a_snapshot_may_come_unasked() {
    let mut hand = Setup::of(1).with(none_trailing).lead();
    hand.propose_many(4);
    hand.apply();
    assert!(hand.out.apply.is_empty(), "nothing was asked for");
    let unasked = meta(id(3, 1), &hand.status().membership);
    hand.does(|raft, now| raft.snapshot_taken(now, unasked));
    hand.disk();
    assert!(hand.out.events.contains(&Event::SnapshotCurrent(id(3, 1))));
    assert_eq!(hand.status().log_start, id(3, 1));
}

/// The trigger is checked at every report of applied entries, not periodically.
#[test]
fn a18_the_trigger_is_looked_at_after_every_applied_entry() {
    let limits = |config: &mut RaftConfig| {
        (config.snapshot_bytes, config.apply_queue_bytes) = (Some(3_300), 1);
    };
    let mut hand = Setup::of(1).with(limits).lead();
    hand.propose_many(110);
    while !hand.out.apply.contains(&ApplyItem::TakeSnapshot) {
        let dispatched = hand.status().dispatched;
        assert!(dispatched <= 91, "no trigger at {dispatched} entries of 100");
        hand.does(|raft, now| raft.applied(now, dispatched));
    }
    assert!(hand.status().applied >= 80, "at {} entries of 100", hand.status().applied);
    assert_eq!(hand.now, 0, "no time has passed");
}

/// Purged entries are released at once, with the last of their block: nothing in the log keeps
/// their bytes.
#[test]
fn a25_purged_entries_leave_memory() {
    let mut log = RaftLog::new(LogOutline::default(), 0, 1_000_000);
    let data: Vec<Bytes> = (0..10).map(|_| Bytes::from(vec![7; 100])).collect();
    for indexes in [1..=4, 5..=8, 9..=10] {
        let data_of = |index: Index| data[index as usize - 1].clone();
        let block = indexes.map(|index| Entry { data: data_of(index), ..entry(id(index, 1)) });
        log.append_all(&block.collect());
    }
    log.persisted_to(id(10, 1));
    log.commit_to(10);
    log.dispatched_to(10);
    log.applied_to(10);
    let kept = || data.iter().filter(|data| !data.is_unique()).count();
    let kept_behind = |log: &mut RaftLog, through| {
        log.purge_through(through);
        kept()
    };
    assert_eq!([3, 4, 7, 10].map(|through| kept_behind(&mut log, through)), [10, 6, 6, 0]);
}

// ---- sending ---------------------------------------------------------------------------------

/// A member that does not answer retains nothing of the log: it will get a snapshot.
#[test]
fn a33_a_silent_member_keeps_nothing_of_the_log() {
    let mut hand = Setup::of(3).with(none_trailing).log(&[1; 10]).lead();
    hand.accept_all(2);
    hand.apply();
    assert_eq!(hand.progress(1).matched, 0);
    assert_eq!(hand.take_snapshot(), id(11, 2));
    assert_eq!(hand.status().log_start, id(11, 2));
}

/// Entries that are purged while they are read for a member: it gets the snapshot instead.
#[test]
fn a36_entries_purged_while_they_are_read_lead_to_a_snapshot() {
    let limits = |config: &mut RaftConfig| {
        (config.trailing_entries, config.log_cache_bytes) = (0, 0);
    };
    let mut hand = Setup::of(3).with(limits).log(&[1; 5]).lead();
    let probe = hand.append(1);
    hand.accept_all(2);
    hand.apply();
    let answer = hand.answer_of(&probe, 2, rejected(0, 5, LogId::BASE));
    hand.raft.step(hand.now, answer);
    let read = hand.raft.ready().reads[0];
    assert_eq!((read.purpose, read.first), (ReadPurpose::Member(1), 1));
    hand.take_snapshot();
    assert!(hand.out.chunk_reads.is_empty(), "the read may still be of use");
    hand.does(|raft, now| raft.log_read(now, read.id, LogReadOutcome::Compacted));
    let chunk = hand.out.chunk_reads[0];
    assert_eq!((chunk.to, chunk.snapshot, chunk.offset), (1, id(6, 2), 0));
}

// ---- receiving -------------------------------------------------------------------------------

/// A chunk of a later term brings the term and its leader; one of an earlier term is answered with
/// the own term, and not stored.
#[test]
fn a47_a_piece_brings_its_leaders_term() {
    let mut hand = Setup::of(3).term(1, Some(0)).start();
    let piece = hand.chunk(S, 1, 0, 60);
    hand.hear(1, 4, piece.clone());
    assert_eq!(hand.raft.role(), (Role::Follower, 4, Some(1)));
    hand.store(ChunkWritten::Partial(60));
    hand.disk();
    hand.sent.clear();
    hand.hear(2, 3, piece);
    assert_eq!(hand.sent[0].term, 4);
    assert_eq!(hand.chunk_answer().outcome, ChunkOutcome::Stale);
    assert!(hand.out.snapshots.is_empty());
    assert_eq!(hand.status().install, InstallStatus::Receiving { index: 10, bytes: 60 });
}

/// Offer, question, durable step, answer: each happens only after the one before it is done.
#[test]
fn a54_a61_b23_offer_ask_save_switch() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.receive(1, 1, S);
    hand.disk();
    assert!(matches!(hand.out.snapshots[..], [SnapshotJob::Decode(_)]));
    assert!(hand.out.apply.is_empty());
    hand.decode(S);
    assert!(matches!(hand.out.apply[..], [ApplyItem::Offer(_)]));
    assert!(hand.steps.is_empty(), "an offer changes nothing that lasts");
    assert_eq!(hand.cond_install(S), None);
    let change = hand.steps[0].change.clone();
    assert_eq!(change.install.map(|install| install.meta.log_id), Some(S));
    assert!(!hand.out.snapshots.contains(&SnapshotJob::Current(S)));
    hand.disk();
    assert_eq!(hand.decision(S), Some(true));
    assert!(hand.out.snapshots.contains(&SnapshotJob::Current(S)));
}

/// An install advances the applied index to its own, and the answers with it, and never moves it
/// back.
#[test]
fn a52_a62_a63_b18_an_install_moves_everything_forward() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.hear(1, 1, heartbeat(id(2, 1), 2));
    hand.disk();
    hand.apply();
    hand.offer(1, 1, S);
    hand.cond_install(S);
    hand.disk();
    hand.does(|raft, now| raft.applied(now, 10));
    let RaftStatus { commit, dispatched, applied, snapshot, log_start, last, .. } = hand.status();
    assert_eq!((commit, dispatched, applied), (10, 10, 10));
    assert_eq!((snapshot, log_start, last), (S, S, S));
    hand.sent.clear();
    hand.hear(1, 1, heartbeat(S, 10));
    assert_eq!(hand.append_answer().report.matched, 10);
    for applied_already in [id(2, 1), id(9, 1), S] {
        let piece = hand.chunk(applied_already, 7, 0, 100);
        hand.hear(1, 1, piece);
        assert_eq!(hand.chunk_answer().outcome, ChunkOutcome::Unwanted, "{applied_already}");
    }
    assert_eq!(hand.status().install, InstallStatus::None);
}

// ---- restart, replication --------------------------------------------------------------------

/// The end of the replay is known from the start, and a read waits for all of it.
#[test]
fn a77_the_end_of_the_replay_is_known_from_the_start() {
    let mut hand = Setup::of(1).snapshot(id(5, 1)).log(&[1, 1]).start();
    assert_eq!((hand.status().applied, hand.status().last), (5, id(7, 1)));
    assert!(hand.does(|raft, now| raft.read_index(now)).is_err());
    hand.win();
    hand.does(|raft, now| raft.read_index(now)).expect("it leads and has committed");
    assert_eq!(hand.out.reads_confirmed[0].index, 8);
}

/// Two logs that hold the same entry hold the same entries before it, committed or not.
#[test]
fn a80_logs_that_meet_agree_before() {
    let mut truncations = 0;
    for seed in 0..8 {
        let mut world = World::new(5, seed, config());
        world.faults.drop = 100;
        for _ in 0..150 {
            let pause = world.random.between(1, 60) * MILLISECOND;
            world.run_for(pause);
            match world.random.between(0, 9) {
                0 => {
                    let node = world.random.between(0, 4);
                    world.isolate(node);
                }
                1..=2 => world.heal(),
                _ => {}
            }
            for node in 0..5 {
                // Refused by all but leaders; a deposed leader that does not know it may accept it.
                let _ = world.propose(node, b"x");
            }
            check_matching(&world);
        }
        world.heal_and_converge();
        truncations += world.totals().truncations;
    }
    assert!(truncations > 0, "vacuous: no log ever differed");
}

fn check_matching(world: &World) {
    let logs: Vec<&RaftLog> =
        world.nodes.values().filter_map(|node| node.raft.as_ref()).map(|raft| &raft.log).collect();
    for (position, a) in logs.iter().enumerate() {
        for b in &logs[position + 1..] {
            let first = a.start().index.max(b.start().index);
            let agrees = |index| a.term_at(index) == b.term_at(index);
            let meet = (first..=a.last_index().min(b.last_index())).rev().find(|&i| agrees(i));
            let Some(meet) = meet else { continue };
            assert!((first..=meet).all(agrees), "agree at {meet} and not before");
        }
    }
}
