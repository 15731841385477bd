//! Installs by agreement, one interleaving at a time: the usual apply side, delayed where the story needs room.
//!
//! ```text
//!  (a) commits pass the offer      (b) equal, same term    (c) equal, other term   (d)(e) entries before and behind
//!  (f) a newer one takes the slot  (g) an older one        (h) another leader      (i) becoming leader
//!  (j)(k)(l) a crash in between    (m) slow applier        (n) dead applier        (o) a local build beside it
//!  (q) waiters and sessions        (r) repeated pieces
//! ```
//! What needs a step exactly between two others is in `by_hand.rs`.

use std::time::Duration;

use quorate::machine::{CommandRef, Increment, Outcome, command};
use quorate::node::{Config, ProposeError};
use quorate::raft::*;
use quorate::runtime::{Component, Placement};
use quorate::transport::LinkFaults;
use tokio::task::spawn_local;

use crate::faulty::Trap;
use crate::puppet::*;
use crate::support::*;

const PENDING_10: InstallStatus = InstallStatus::Pending { index: 10 };
const LONG: Duration = Duration::from_secs(5);

fn counters(puppet: &Puppet) -> Counters {
    puppet.status().raft.counters
}

/// The node holds entries up to 5 of `history`, committed, and its applier is busy with them for a while.
async fn busy_applier(history: &History) -> Puppet {
    let puppet = Puppet::start(small()).await;
    puppet.keep_alive(LEADER, 1);
    puppet.delays.set_apply(LONG);
    puppet.append(LEADER, 1, history, 0, 5, 5).await;
    until("they are dispatched", || puppet.status().raft.dispatched == 5).await;
    puppet
}

async fn offered_10(puppet: &Puppet, history: &History) {
    let answer = puppet.send_snapshot(LEADER, 1, 1, &history.snapshot(10)).await;
    assert!(matches!(answer.outcome, ChunkOutcome::Continue { .. }), "{answer:?}");
    until("pending", || puppet.install() == PENDING_10).await;
}

/// (a), A55, A57, SN02: commits reach the offer before the state machine does. It is withdrawn at once; nothing of it is
/// ever seen.
#[test]
fn commits_that_pass_an_offer_withdraw_it() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let puppet = busy_applier(&history).await;
        offered_10(&puppet, &history).await;
        let answer = append_answer(puppet.append(LEADER, 1, &history, 5, 12, 12).await);
        assert_eq!(answer.outcome, AppendOutcome::Accepted);
        assert!(
            matches!(answer.report.install, InstallStatus::Refused { commit } if commit >= 10),
            "{answer:?}"
        );
        assert!(puppet.status().raft.applied < 5, "withdrawn before anything was applied");
        until("all is applied", || puppet.status().raft.applied == 12).await;
        for index in 1..=12 {
            assert_eq!(puppet.counted(&history.word(index)).await, 1, "entry {index}");
        }
        let counters = counters(&puppet);
        assert_eq!((counters.installs_offered, counters.installs_granted), (1, 0));
        assert_eq!((counters.installs_refused, counters.installs_withdrawn), (1, 1));
        assert_eq!(counters.safety_alarms, 0);
        // The file went with the offer: the same snapshot is still stale, and the next newer one is taken.
        let answer = puppet.send_snapshot(LEADER, 1, 2, &history.snapshot(10)).await;
        assert_eq!(answer.outcome, ChunkOutcome::Unwanted);
        assert_eq!(answer.report.matched, 12);
        puppet.delays.set_apply(Duration::ZERO);
        puppet.send_snapshot(LEADER, 1, 3, &history.snapshot(20)).await;
        until("installed", || puppet.status().raft.applied == 20).await;
        assert_eq!(puppet.counted(&history.word(7)).await, 1);
        puppet.shutdown().await;
    });
}

/// (a), A55, A57: the state machine has asked already when commits pass the offer. It is told no, and keeps its old state.
///
/// The peer's place is busy with an fsync: the entries wait there, and behind them the question.
#[test]
fn a_refused_question_leaves_the_old_state() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let beside = Placement::virtual_time().with(Component::Persister, Component::Peer);
        let puppet = Puppet::start_placed(small(), beside).await;
        puppet.delays.set_apply(LONG);
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        until("they are dispatched", || puppet.status().raft.dispatched == 5).await;
        // So that the offered state would show if it were ever seen.
        offered_10(&puppet, &history.forged(3, "forged")).await;
        puppet.delays.set_fsync(4 * LONG);
        puppet.say(LEADER, 1, entries(&history, 5, 6, 5));
        pass(Duration::from_millis(50)).await;
        puppet.delays.set_fsync(Duration::ZERO);
        puppet.delays.set_apply(Duration::ZERO);
        puppet.say(LEADER, 1, entries(&history, 6, 12, 12));
        until("all is applied", || puppet.status().raft.applied == 12).await;
        assert_eq!(puppet.counted("forged").await, 0, "a refused state was seen");
        for index in 1..=12 {
            assert_eq!(puppet.counted(&history.word(index)).await, 1, "entry {index}");
        }
        let counters = counters(&puppet);
        assert_eq!((counters.installs_refused, counters.installs_granted), (1, 0));
        puppet.shutdown().await;
    });
}

/// (a) while decoding: the decode goes on, its shadow is thrown away, a newer snapshot follows.
#[test]
fn commits_that_pass_a_decode_withdraw_it() {
    story(async {
        let history = History::of(&[(1, 30)]);
        let puppet = Puppet::start(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.delays.set_decode(LONG);
        puppet.send_snapshot(LEADER, 1, 1, &history.snapshot(10)).await;
        until("pending", || puppet.install() == PENDING_10).await;
        puppet.append(LEADER, 1, &history, 0, 15, 15).await;
        until("applied without it", || puppet.status().raft.applied == 15).await;
        assert_eq!(counters(&puppet).installs_withdrawn, 1);
        puppet.delays.set_decode(Duration::ZERO);
        let answer = puppet.send_snapshot(LEADER, 1, 2, &history.snapshot(30)).await;
        assert!(matches!(answer.outcome, ChunkOutcome::Continue { .. }), "{answer:?}");
        until("installed", || puppet.status().raft.applied == 30).await;
        assert_eq!(counters(&puppet).installs_granted, 1);
        for index in 1..=30 {
            assert_eq!(puppet.counted(&history.word(index)).await, 1, "entry {index}");
        }
        puppet.shutdown().await;
    });
}

/// (b), A48, A50, A51: equal to what is committed, or to an entry that is there: no install, and the answer says how far
/// the node is.
#[test]
fn a_snapshot_of_what_is_there_is_not_installed() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let puppet = Puppet::start(small()).await;
        puppet.append(LEADER, 1, &history, 0, 12, 10).await;
        until("applied", || puppet.status().raft.applied == 10).await;
        for index in [1, 9, 10] {
            let answer = puppet.send_snapshot(LEADER, 1, index, &history.snapshot(index)).await;
            assert_eq!(answer.outcome, ChunkOutcome::Unwanted, "{index}");
            assert!(answer.report.matched >= 10, "{answer:?}");
        }
        assert_eq!(counters(&puppet).fast_forwards, 0);
        // Held, and not known to be committed until now.
        let answer = puppet.send_snapshot(LEADER, 1, 12, &history.snapshot(12)).await;
        assert_eq!((answer.outcome, answer.report.matched), (ChunkOutcome::Unwanted, 12));
        until("fast-forwarded", || puppet.status().raft.applied == 12).await;
        let counters = counters(&puppet);
        assert_eq!((counters.fast_forwards, counters.installs_offered), (1, 0));
        assert_eq!(counters.safety_alarms, 0);
        assert_eq!(puppet.counted(&history.word(12)).await, 1);
        puppet.shutdown().await;
    });
}

/// (c): what a correct cluster never shows is refused, counted and survived.
#[test]
fn a_snapshot_that_contradicts_what_is_committed_is_an_alarm() {
    story(async {
        let history = History::of(&[(1, 10)]);
        let puppet = Puppet::start(small()).await;
        puppet.append(LEADER, 1, &history, 0, 10, 10).await;
        let wrong = History::of(&[(2, 10)]);
        let answer = puppet.send_snapshot(OTHER, 2, 1, &wrong.snapshot(10)).await;
        assert_eq!(answer.outcome, ChunkOutcome::Unwanted);
        assert_eq!(counters(&puppet).safety_alarms, 1);
        until("applied", || puppet.status().raft.applied == 10).await;
        assert_eq!(puppet.counted("10@1").await, 1);
        assert_eq!(puppet.counted("10@2").await, 0);
        puppet.shutdown().await;
    });
}

/// (d), (e), B5, SN01, SN23, SN27: entries queued before the offer are applied before it, entries behind it after it, each
/// once.
#[test]
fn entries_before_and_behind_an_offer_keep_their_order() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let puppet = busy_applier(&history).await;
        offered_10(&puppet, &history).await;
        // Taken into the log, and uncommitted: the install covers 6 to 8.
        puppet.append(LEADER, 1, &history, 5, 8, 5).await;
        until("granted", || counters(&puppet).installs_granted == 1).await;
        let answer = append_answer(puppet.append(LEADER, 1, &history, 8, 14, 14).await);
        assert_eq!((answer.outcome, answer.report.matched), (AppendOutcome::Accepted, 14));
        until("applied", || puppet.status().raft.applied == 14).await;
        for index in 1..=14 {
            assert_eq!(puppet.counted(&history.word(index)).await, 1, "entry {index}");
        }
        assert_eq!(puppet.counted(&history.word(15)).await, 0);
        puppet.shutdown().await;
    });
}

/// (d): entries on their way back from the disk when the install covers them are dropped; what follows is read again.
#[test]
fn entries_read_for_applying_that_an_install_covers_are_dropped() {
    story(async {
        let history = History::of(&[(1, 40)]);
        let puppet = Puppet::start(Config { log_cache_bytes: 0, ..small() }).await;
        puppet.keep_alive(LEADER, 1);
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        until("applied", || puppet.status().raft.applied == 5).await;
        puppet.delays.set_read(LONG);
        puppet.append(LEADER, 1, &history, 5, 8, 5).await;
        until("durable", || puppet.status().raft.persisted == 8).await;
        // Committed only now, when they have left the cache: the disk is asked.
        puppet.append(LEADER, 1, &history, 8, 8, 8).await;
        pass(Duration::from_millis(50)).await;
        puppet.send_snapshot(LEADER, 1, 1, &history.snapshot(20)).await;
        until("granted", || counters(&puppet).installs_granted == 1).await;
        puppet.delays.set_read(Duration::ZERO);
        puppet.append(LEADER, 1, &history, 20, 30, 30).await;
        until("applied", || puppet.status().raft.applied == 30).await;
        pass(2 * LONG).await;
        for index in 1..=30 {
            assert_eq!(puppet.counted(&history.word(index)).await, 1, "entry {index}");
        }
        puppet.shutdown().await;
    });
}

/// SN03, B4, A58: entries behind the snapshot are kept only if the log holds its index *and term*.
#[test]
fn a_conflicting_tail_goes_with_the_install() {
    story(async {
        let (old, new) = (History::of(&[(1, 15)]), History::of(&[(1, 5), (2, 20)]));
        let puppet = Puppet::start(small()).await;
        puppet.append(LEADER, 1, &old, 0, 15, 5).await;
        puppet.send_snapshot(OTHER, 2, 1, &new.snapshot(10)).await;
        until("installed", || puppet.status().raft.applied == 10).await;
        let raft = puppet.status().raft;
        assert_eq!((raft.last, raft.log_start), (new.id(10), new.id(10)), "{raft:?}");
        puppet.crash().await;
        puppet.restart().await;
        assert_eq!(puppet.status().raft.last, new.id(10), "the tail came back");
        let answer = append_answer(puppet.append(OTHER, 2, &new, 10, 16, 16).await);
        assert_eq!((answer.outcome, answer.report.matched), (AppendOutcome::Accepted, 16));
        until("applied", || puppet.status().raft.applied == 16).await;
        assert_eq!(puppet.counted("12@2").await, 1);
        assert_eq!(puppet.counted("12@1").await, 0);
        assert_eq!(counters(&puppet).safety_alarms, 0);
        puppet.shutdown().await;
    });
}

/// (f), B3: a newer snapshot takes the slot of one whose decoding has not begun; (g): an older one does not; and SN11:
/// what is being decoded is finished whatever comes.
#[test]
fn a_newer_snapshot_takes_the_slot_until_decoding_begins() {
    story(async {
        let history = History::of(&[(1, 60)]);
        let (puppet, hand) = Puppet::start_by_hand(small()).await;
        puppet.keep_alive(LEADER, 1);
        hand.link().pull();
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        let _ = hand.next().await;
        hand.link().applied(5);
        // The snapshotter is busy: first with a decode that nobody wants any more ..
        puppet.delays.set_decode(LONG);
        puppet.send_snapshot(LEADER, 1, 1, &history.snapshot(6)).await;
        puppet.append(LEADER, 1, &history, 5, 7, 7).await;
        until("withdrawn", || counters(&puppet).installs_withdrawn == 1).await;
        // .. then with the second snapshot's bytes, and at once with an encode, so that its decode has to wait.
        puppet.delays.set_encode(LONG);
        puppet.say(LEADER, 1, Request::Snapshot(history.snapshot(20).whole(2)));
        pass(Duration::from_millis(20)).await;
        hand.link().snapshot(history.view(5));
        until("the second is here", || puppet.install() == InstallStatus::Pending { index: 20 })
            .await;
        // (g) An older one is not wanted.
        let older = puppet.send_snapshot(LEADER, 1, 3, &history.snapshot(15)).await;
        assert_eq!(older.outcome, ChunkOutcome::Unwanted);
        assert_eq!(older.report.install, InstallStatus::Pending { index: 20 });
        // (f) A newer one is.
        puppet.say(LEADER, 1, Request::Snapshot(history.snapshot(40).whole(4)));
        until("superseded", || counters(&puppet).installs_superseded == 1).await;
        until("the third is here", || puppet.install() == InstallStatus::Pending { index: 40 })
            .await;
        pass(Duration::from_millis(100)).await;
        // SN11: from now on nothing takes its place.
        let newer = puppet.send_snapshot(LEADER, 1, 5, &history.snapshot(60)).await;
        assert_eq!(newer.outcome, ChunkOutcome::Unwanted);
        let _ = hand.apply_entries(6).await;
        let offer = hand.pull_offer().await;
        assert_eq!(offer.meta.log_id, history.id(40));
        assert!(hand.ask(offer.meta.log_id).await);
        assert_eq!(puppet.status().raft.snapshot, history.id(40));
        puppet.shutdown().await;
    });
}

/// (h), SN14, SN20: another leader between the offer and its decision. The snapshot's term does not matter; the new leader
/// sends none of its own to a member that reports Pending.
#[test]
fn a_new_leader_finds_the_offer_and_it_is_granted() {
    story(async {
        let history = History::of(&[(1, 10), (2, 10)]);
        let puppet = busy_applier(&history).await;
        offered_10(&puppet, &history).await;
        let answer = append_answer(puppet.append(OTHER, 2, &history, 12, 14, 12).await);
        assert!(matches!(answer.outcome, AppendOutcome::Rejected { .. }), "{answer:?}");
        assert_eq!(answer.report.install, PENDING_10);
        let answer = puppet.send_snapshot(OTHER, 2, 1, &history.snapshot(12)).await;
        assert_eq!(answer.outcome, ChunkOutcome::Unwanted, "one is waiting already");
        until("granted", || counters(&puppet).installs_granted == 1).await;
        puppet.append(OTHER, 2, &history, 10, 14, 14).await;
        until("applied", || puppet.status().raft.applied == 14).await;
        for index in 1..=14 {
            assert_eq!(puppet.counted(&history.word(index)).await, 1, "entry {index}");
        }
        assert_eq!(counters(&puppet).safety_alarms, 0);
        puppet.shutdown().await;
    });
}

/// (i), EL17: no campaign while the snapshot reaches beyond the own log. Once the log holds its last entry, it is withdrawn,
/// and the node may lead.
#[test]
fn a_node_campaigns_only_without_a_pending_snapshot() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let puppet = Puppet::start(small()).await;
        puppet.delays.set_decode(Duration::from_secs(30));
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        offered_10(&puppet, &history).await;
        let campaigns = counters(&puppet).campaigns;
        // The leader falls silent.
        pass(LONG).await;
        assert_eq!(counters(&puppet).campaigns, campaigns, "it campaigned while pending");
        assert_eq!(puppet.install(), PENDING_10);
        puppet.append(LEADER, 1, &history, 5, 12, 5).await;
        until("fast-forwarded", || counters(&puppet).fast_forwards == 1).await;
        assert_eq!(counters(&puppet).installs_withdrawn, 1);
        puppet.elect().await;
        assert_eq!(puppet.status().raft.leader, Some(NODE));
        until("its own entry is there", || puppet.status().raft.last.index == 13).await;
        puppet.acknowledge(OTHER, 13).await;
        until("applied", || puppet.status().raft.applied == 13).await;
        for index in 1..=12 {
            assert_eq!(puppet.counted(&history.word(index)).await, 1, "entry {index}");
        }
        puppet.shutdown().await;
    });
}

/// (j), B6, B10, A72: a crash after the file is there and before the record names it. It starts from the old state, and the
/// file is an orphan.
#[test]
fn a_crash_before_the_record_leaves_the_old_state() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let puppet = Puppet::start(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        until("applied", || puppet.status().raft.applied == 5).await;
        for stage in ["decoding", "granted and not written"] {
            match stage {
                "decoding" => puppet.delays.set_decode(LONG),
                // An earlier step holds the disk, the install's record waits behind it.
                _ => {
                    puppet.delays.set_decode(Duration::ZERO);
                    puppet.delays.set_fsync(LONG);
                    puppet.say(LEADER, 1, entries(&history, 5, 6, 5));
                    pass(Duration::from_millis(50)).await;
                }
            }
            puppet.say(LEADER, 1, Request::Snapshot(history.snapshot(10).whole(1)));
            until(stage, || puppet.install() == PENDING_10).await;
            if stage != "decoding" {
                until(stage, || puppet.status().raft.snapshot.index == 10).await;
            }
            puppet.crash().await;
            puppet.delays.set_fsync(Duration::ZERO);
            puppet.delays.set_decode(Duration::ZERO);
            puppet.restart().await;
            let raft = puppet.status().raft;
            assert_eq!(
                (raft.snapshot, raft.install),
                (LogId::BASE, InstallStatus::None),
                "{stage}"
            );
            assert!(raft.last.index >= 5 && raft.last.index <= 6, "{stage}: {raft:?}");
            puppet.append(LEADER, 1, &history, 5, 5, 5).await;
            until("replayed", || puppet.status().raft.applied == 5).await;
            assert_eq!(puppet.counted(&history.word(5)).await, 1, "{stage}");
            assert_eq!(puppet.counted(&history.word(6)).await, 0, "{stage}");
        }
        puppet.send_snapshot(LEADER, 1, 9, &history.snapshot(10)).await;
        until("installed after all", || puppet.status().raft.applied == 10).await;
        assert_eq!(puppet.counted(&history.word(10)).await, 1);
        puppet.shutdown().await;
    });
}

/// (k), (l), A56, A72, PS10, PS21: a crash after the record and before the state machine has switched. The start finishes
/// the install.
#[test]
fn a_crash_behind_the_record_is_finished_by_the_start() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let puppet = Puppet::start(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.append(LEADER, 1, &history, 0, 8, 5).await;
        until("applied", || puppet.status().raft.applied == 5).await;
        // What the record says is on the disk when its fsync begins; its completion is not told before the crash.
        puppet.delays.set_fsync(LONG);
        puppet.send_snapshot(LEADER, 1, 1, &history.snapshot(10)).await;
        until("granted", || puppet.status().raft.snapshot.index == 10).await;
        pass(Duration::from_millis(50)).await;
        let raft = puppet.status().raft;
        assert_eq!((raft.install, raft.applied), (PENDING_10, 5), "not told yet");
        assert_eq!(puppet.counted(&history.word(10)).await, 0, "not switched yet");
        puppet.crash().await;
        puppet.delays.set_fsync(Duration::ZERO);
        puppet.restart().await;
        let raft = puppet.status().raft;
        assert_eq!((raft.snapshot, raft.last), (history.id(10), history.id(10)));
        assert_eq!((raft.commit, raft.applied), (10, 10));
        for index in 1..=10 {
            assert_eq!(puppet.counted(&history.word(index)).await, 1, "entry {index}");
        }
        puppet.append(LEADER, 1, &history, 10, 15, 15).await;
        until("goes on", || puppet.status().raft.applied == 15).await;
        assert_eq!(puppet.counted(&history.word(15)).await, 1);
        puppet.shutdown().await;
    });
}

/// (m), SN28: the offer waits behind a slow state machine for many election timeouts; every heartbeat is answered at once.
#[test]
fn an_offer_behind_a_slow_applier_costs_no_heartbeat() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let puppet = busy_applier(&history).await;
        offered_10(&puppet, &history).await;
        while puppet.install() == PENDING_10 {
            let id = puppet.say(LEADER, 1, heartbeat());
            pass(Duration::from_millis(1)).await;
            assert!(puppet.answer(LEADER, id).is_some(), "a heartbeat waits");
            pass(Duration::from_millis(99)).await;
        }
        until("installed", || puppet.status().raft.applied == 10).await;
        assert_eq!(counters(&puppet).campaigns, 0);
        assert!(puppet.status().max_loop_stall_ms <= 10.0);
        puppet.shutdown().await;
    });
}

/// (r), SN09, A46: pieces that come twice, late and out of order, at every stage.
#[test]
fn repeated_and_disordered_pieces_change_nothing() {
    story(async {
        let history = History::of(&[(1, 50)]);
        let snapshot = history.snapshot(40);
        let puppet = Puppet::start(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.delays.set_decode(LONG);
        let size = snapshot.bytes.len();
        let third = size / 3;
        let piece = |from: usize, to: usize| Request::Snapshot(snapshot.piece(7, from, to));
        let offset = |answer: Answer| match snapshot_answer(answer).outcome {
            ChunkOutcome::Continue { offset } => offset as usize,
            other => panic!("{other:?}"),
        };
        // Not from its beginning: told where to begin.
        assert_eq!(offset(puppet.ask(LEADER, 1, piece(third, size)).await), 0);
        assert_eq!(offset(puppet.ask(LEADER, 1, piece(0, third)).await), third);
        assert_eq!(offset(puppet.ask(LEADER, 1, piece(0, third)).await), third);
        assert_eq!(offset(puppet.ask(LEADER, 1, piece(2 * third, size)).await), third);
        assert_eq!(offset(puppet.ask(LEADER, 1, piece(third, 2 * third)).await), 2 * third);
        // Twice at once: each is answered.
        let first = puppet.say(LEADER, 1, piece(2 * third, size));
        let second = puppet.say(LEADER, 1, piece(2 * third, size));
        until("both are answered", || {
            [first, second].iter().all(|id| puppet.answer(LEADER, *id).is_some())
        })
        .await;
        until("pending", || puppet.install() == InstallStatus::Pending { index: 40 }).await;
        for (from, to) in [(0, third), (2 * third, size), (0, size)] {
            let answer = snapshot_answer(puppet.ask(LEADER, 1, piece(from, to)).await);
            assert_eq!(answer.outcome, ChunkOutcome::Unwanted, "while it is decoded");
        }
        until("installed", || puppet.status().raft.applied == 40).await;
        let answer = snapshot_answer(puppet.ask(LEADER, 1, piece(2 * third, size)).await);
        assert_eq!((answer.outcome, answer.report.matched), (ChunkOutcome::Unwanted, 40));
        pass(LONG).await;
        let counters = counters(&puppet);
        assert_eq!((counters.installs_offered, counters.installs_granted), (1, 1));
        assert_eq!(counters.safety_alarms, 0);
        assert_eq!(puppet.counted(&history.word(40)).await, 1);
        puppet.shutdown().await;
    });
}

/// SN09, B7: pieces that do not verify, alone or together, and pieces that make no sense. The old state stays, the node
/// goes on, a good transfer is installed.
#[test]
fn damaged_transfers_are_refused() {
    story(async {
        let history = History::of(&[(1, 50)]);
        let snapshot = history.snapshot(40);
        let puppet = Puppet::start(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        let damaged = |change: &dyn Fn(&mut SnapshotChunk), transfer| {
            let mut chunk = snapshot.whole(transfer);
            change(&mut chunk);
            Request::Snapshot(chunk)
        };
        // The piece's own checksum, then the file's under a right one of the piece.
        let wrong = puppet.ask(LEADER, 1, damaged(&|chunk| chunk.crc ^= 1, 1)).await;
        assert_eq!(snapshot_answer(wrong).outcome, ChunkOutcome::Corrupt);
        let mut flipped = snapshot.clone();
        let mut bytes = flipped.bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x40;
        flipped.bytes = bytes.into();
        let answer = puppet.send_snapshot(LEADER, 1, 2, &flipped).await;
        assert_eq!(answer.outcome, ChunkOutcome::Corrupt);
        // Another snapshot's id over these bytes.
        let renamed = damaged(&|chunk| chunk.meta.log_id.index = 41, 3);
        assert_eq!(
            snapshot_answer(puppet.ask(LEADER, 1, renamed).await).outcome,
            ChunkOutcome::Corrupt
        );
        // Other members.
        let others = damaged(&|chunk| chunk.meta.membership = Membership::of_voters([0, 1]), 4);
        assert_eq!(
            snapshot_answer(puppet.ask(LEADER, 1, others).await).outcome,
            ChunkOutcome::Unwanted
        );
        assert_eq!(counters(&puppet).safety_alarms, 1);
        // No sense at all: ignored and counted.
        let before = counters(&puppet).ignored_messages;
        let senseless: [&dyn Fn(&mut SnapshotChunk); 5] = [
            &|chunk| chunk.meta.log_id.index = 0,
            &|chunk| chunk.meta.log_id.term = 9,
            &|chunk| chunk.offset = u64::MAX,
            &|chunk| chunk.meta.size_bytes = 3,
            &|chunk| chunk.data = Default::default(),
        ];
        for change in senseless {
            puppet.say(LEADER, 1, damaged(change, 5));
        }
        until("ignored", || counters(&puppet).ignored_messages == before + 5).await;
        assert_eq!(puppet.install(), InstallStatus::None);
        assert_eq!(counters(&puppet).installs_offered, 0);
        puppet.send_snapshot(LEADER, 1, 6, &snapshot).await;
        until("the good one is installed", || puppet.status().raft.applied == 40).await;
        assert_eq!(puppet.counted(&history.word(40)).await, 1);
        puppet.shutdown().await;
    });
}

/// SN14, B15: a sender that falls silent does not keep the slot; the next one starts over and gets through.
#[test]
fn a_transfer_that_stops_half_way_gives_up_the_slot() {
    story(async {
        let history = History::of(&[(1, 10), (2, 10)]);
        let puppet = Puppet::start(small()).await;
        puppet.ask(LEADER, 1, Request::Snapshot(history.snapshot(10).piece(1, 0, 50))).await;
        assert!(matches!(puppet.install(), InstallStatus::Receiving { index: 10, bytes: 50 }));
        puppet.keep_alive(OTHER, 2);
        until("given up", || puppet.install() == InstallStatus::None).await;
        let answer = puppet.send_snapshot(OTHER, 2, 1, &history.snapshot(12)).await;
        assert!(matches!(answer.outcome, ChunkOutcome::Continue { .. }), "{answer:?}");
        until("installed", || puppet.status().raft.applied == 12).await;
        // A late piece of the former leader's transfer.
        let late = Request::Snapshot(history.snapshot(10).piece(1, 50, 60));
        let answer = snapshot_answer(puppet.ask(LEADER, 1, late).await);
        assert_eq!(answer.outcome, ChunkOutcome::Stale);
        assert_eq!(puppet.counted(&history.word(12)).await, 1);
        puppet.shutdown().await;
    });
}

/// B1, PS02: what an install makes the node acknowledge is durable first.
#[test]
fn an_install_is_acknowledged_when_it_is_durable() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let puppet = Puppet::start(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        until("applied", || puppet.status().raft.applied == 5).await;
        puppet.delays.set_fsync(LONG);
        puppet.send_snapshot(LEADER, 1, 1, &history.snapshot(10)).await;
        until("granted", || puppet.status().raft.snapshot.index == 10).await;
        for _ in 0..20 {
            let answer = append_answer(puppet.ask(LEADER, 1, heartbeat()).await);
            assert_eq!(answer.report.matched, 5, "acknowledged before its fsync");
            assert_eq!(answer.report.install, PENDING_10);
            pass(Duration::from_millis(200)).await;
        }
        until("applied", || puppet.status().raft.applied == 10).await;
        let answer = append_answer(puppet.ask(LEADER, 1, heartbeat()).await);
        assert_eq!((answer.report.matched, answer.report.install), (10, InstallStatus::None));
        puppet.shutdown().await;
    });
}

/// PS04: after a failed write nothing is acknowledged any more, and the node is at its end.
#[test]
fn a_failed_write_acknowledges_nothing() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let puppet = Puppet::start(small()).await;
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        puppet.traps.set(Trap::WriteFails);
        let ids: Vec<RequestId> =
            (5..15).map(|i| puppet.say(LEADER, 1, entries(&history, i, i + 1, 5))).collect();
        until("it ends", || !puppet.status().running).await;
        pass(LONG).await;
        for id in ids {
            let answer = puppet.answer(LEADER, id);
            let matched = answer.map_or(0, |answer| append_answer(answer).report.matched);
            assert!(matched <= 5, "acknowledged {matched} behind a failed write");
        }
        let status = puppet.status();
        assert!(status.fatal.as_ref().is_some_and(|why| why.contains("can't be written")));
        puppet.shutdown().await;
    });
}

/// (q), CL02, CL04, B19: a leader with waiters in every stage is deposed, and a snapshot covers what they wait for.
#[test]
fn waiters_of_a_deposed_leader_hear_the_truth() {
    story(async {
        let puppet = Puppet::start(small()).await;
        puppet.elect().await;
        let propose = |word: &str| {
            let (handle, word) = (puppet.handle(), word.as_bytes().to_vec());
            spawn_local(async move { handle.propose(Increment { word }).await })
        };
        // Committed, and in the hands of a slow state machine.
        puppet.delays.set_apply(LONG);
        let committed = propose("committed");
        until("appended", || puppet.status().raft.last.index == 2).await;
        puppet.acknowledge(OTHER, 2).await;
        until("dispatched", || puppet.status().raft.dispatched == 2).await;
        // Appended, and nobody else has them.
        let covered: Vec<_> = (0..3).map(|n| propose(&format!("covered {n}"))).collect();
        until("appended", || puppet.status().raft.last.index == 5).await;
        // Another leader, whose log has other entries there, and a session.
        let mut history = History::of(&[]);
        history.push_blank(1);
        history.push(1, command::encode_raw(&Increment { word: "committed".into() }).unwrap());
        history.push(2, CommandRef::OpenSession.encode());
        let session = 3;
        let increment = Increment { word: "in a session".into() };
        history.push(2, command::encode_session(session, 1, 1, &increment).unwrap());
        history.push(2, command::encode_session(session, 2, 1, &increment).unwrap());
        for word in 0..5 {
            history.push(2, command::encode_raw(&Increment { word: vec![word] }).unwrap());
        }
        puppet.send_snapshot(LEADER, 2, 1, &history.snapshot(10)).await;
        until("pending", || puppet.install() == PENDING_10).await;
        for waiter in covered {
            assert_eq!(waiter.await.unwrap(), Err(ProposeError::Unknown));
        }
        puppet.keep_alive(LEADER, 2);
        assert_eq!(committed.await.unwrap(), Ok(1), "it was committed before");
        until("installed", || puppet.status().raft.applied == 10).await;
        puppet.delays.set_apply(Duration::ZERO);
        assert_eq!(puppet.counted("committed").await, 1);
        assert_eq!(puppet.counted("covered 0").await, 0);
        assert_eq!(puppet.counted("in a session").await, 2);
        assert_eq!(puppet.status().proposals_in_flight, 0);
        puppet.shutdown().await;
    });
}

/// (q), A22, A23, SN08: a retry that reaches a member which knows the session from a snapshot alone gets the first reply.
#[test]
fn a_session_from_a_snapshot_answers_retries() {
    story(async {
        let mut history = History::of(&[]);
        history.push(1, CommandRef::OpenSession.encode());
        let increment = Increment { word: "once".into() };
        let data = command::encode_session(1, 1, 1, &increment).unwrap();
        history.push(1, data.clone());
        for word in 0..5 {
            history.push(1, command::encode_raw(&Increment { word: vec![word] }).unwrap());
        }
        let puppet = Puppet::start(small()).await;
        puppet.send_snapshot(LEADER, 1, 1, &history.snapshot(7)).await;
        until("installed", || puppet.status().raft.applied == 7).await;
        puppet.elect().await;
        let handle = puppet.handle();
        let retry = spawn_local(async move { handle.propose_data(data).await });
        until("appended", || puppet.status().raft.last.index == 9).await;
        puppet.acknowledge(OTHER, 9).await;
        let Ok(Outcome::Reply(reply)) = retry.await.unwrap() else { panic!("no reply") };
        assert_eq!(quorate::machine::codec::decode::<u64>(&reply).unwrap(), 1);
        assert_eq!(puppet.counted("once").await, 1);
        assert_eq!(puppet.status().sessions.duplicates_suppressed, 1);
        puppet.shutdown().await;
    });
}

/// A84, SN09, A46: members fall behind and install again and again while the network loses, repeats and delays.
#[test]
fn installs_over_a_bad_network() {
    story(async {
        let config = Config { snapshot_chunk_bytes: 700, ..small() };
        let cluster = words(3).config(config).start().await.unwrap();
        let client = client(&cluster);
        let mut counted_so_far = 0;
        for round in 0..4 {
            let behind = (leader(&cluster).await + 1 + round % 2) % 3;
            cluster.network().isolate(behind);
            count(&client, "word", 400).await;
            counted_so_far += 400;
            cluster.network().set_faults(LinkFaults {
                drop_probability: 0.15,
                duplicate_probability: 0.3,
                min_delay: Duration::ZERO,
                max_delay: Duration::from_millis(40),
            });
            cluster.network().rejoin(behind);
            until_within("caught up", Duration::from_secs(120), || {
                status(&cluster, behind).raft.applied >= counted_so_far
            })
            .await;
            cluster.network().heal();
        }
        all_caught_up(&cluster).await;
        let mut installs = 0;
        for node in cluster.ids() {
            assert_eq!(counted(&cluster, node, "word").await, 1_600, "node {node}");
            installs += status(&cluster, node).raft.counters.installs_granted;
        }
        assert!(installs >= 3, "{installs} installs");
        assert_healthy(&cluster);
        cluster.shutdown().await;
    });
}
