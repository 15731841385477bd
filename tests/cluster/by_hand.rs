//! Installs with the story's own hand on the apply side: what happens exactly between an offer and its decision.

use std::time::Duration;

use quorate::messages::{ApplyMessage, ApplyWork};
use quorate::node::{ReadError, SnapshotError};
use quorate::raft::*;
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::puppet::*;
use crate::support::*;

/// A node whose hand has applied 5 entries and holds the offer of 10, not yet asked about.
async fn holding_an_offer(history: &History) -> (Puppet, Hand) {
    let (puppet, hand) = Puppet::start_by_hand(small()).await;
    puppet.keep_alive(LEADER, 1);
    puppet.append(LEADER, 1, history, 0, 5, 5).await;
    assert_eq!(hand.apply_entries(1).await, history.id(5));
    puppet.send_snapshot(LEADER, 1, 1, &history.snapshot(10)).await;
    let offer = hand.pull_offer().await;
    assert_eq!(offer.meta.log_id, history.id(10));
    (puppet, hand)
}

fn counters(puppet: &Puppet) -> Counters {
    puppet.status().raft.counters
}

/// (a), A55, A57: commits pass the offer when the state machine holds it already and is about to ask. It is refused, once,
/// and entries follow where they stopped.
#[test]
fn an_offer_in_the_state_machines_hands_is_refused_once_commits_passed_it() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = holding_an_offer(&history).await;
        puppet.append(LEADER, 1, &history, 5, 12, 12).await;
        assert!(!hand.ask(history.id(10)).await);
        let counters = counters(&puppet);
        assert_eq!((counters.installs_refused, counters.installs_granted), (1, 0));
        assert_eq!(hand.apply_entries(6).await, history.id(12));
        let raft = puppet.status().raft;
        assert_eq!((raft.snapshot, raft.log_start), (LogId::BASE, LogId::BASE), "nothing changed");
        puppet.shutdown().await;
    });
}

/// A56, A66: granted, the next entries begin behind the snapshot, and the old ones are gone.
#[test]
fn after_a_grant_entries_begin_behind_the_snapshot() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = holding_an_offer(&history).await;
        // In the log, covered by the snapshot, committed only after the grant.
        puppet.append(LEADER, 1, &history, 5, 9, 5).await;
        assert!(hand.ask(history.id(10)).await);
        hand.link().applied(10);
        puppet.append(LEADER, 1, &history, 9, 9, 9).await;
        puppet.append(LEADER, 1, &history, 9, 15, 15).await;
        assert_eq!(hand.apply_entries(11).await, history.id(15));
        until("reported", || puppet.status().raft.applied == 15).await;
        let raft = puppet.status().raft;
        assert_eq!((raft.snapshot, raft.log_start), (history.id(10), history.id(10)));
        puppet.shutdown().await;
    });
}

/// (d): entries committed between the question and the record's fsync wait, and come behind the decision.
#[test]
fn what_is_committed_while_a_grant_becomes_durable_comes_behind_it() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = holding_an_offer(&history).await;
        puppet.delays.set_fsync(Duration::from_secs(5));
        hand.link().cond_install(history.id(10));
        until("granted", || puppet.status().raft.snapshot == history.id(10)).await;
        puppet.say(LEADER, 1, entries(&history, 10, 15, 15));
        pass(Duration::from_secs(1)).await;
        assert!(hand.is_empty(), "decided before the record is durable");
        match hand.next().await {
            ApplyMessage::Decision(decision) => {
                assert_eq!(decision, InstallDecision { log_id: history.id(10), granted: true })
            }
            other => panic!("{other:?} before the decision"),
        }
        hand.link().applied(10);
        assert_eq!(hand.apply_entries(11).await, history.id(15));
        puppet.shutdown().await;
    });
}

/// (a): what comes while a grant becomes durable can't take it back: the same snapshot, an older, a newer one.
#[test]
fn a_grant_is_not_taken_back() {
    story(async {
        let history = History::of(&[(1, 10), (2, 20)]);
        let (puppet, hand) = holding_an_offer(&history).await;
        puppet.delays.set_fsync(Duration::from_secs(5));
        hand.link().cond_install(history.id(10));
        until("granted", || puppet.status().raft.snapshot == history.id(10)).await;
        for (transfer, index) in [(2, 10), (3, 8), (4, 20)] {
            let snapshot = history.snapshot(index);
            let id = puppet.say(OTHER, 2, Request::Snapshot(snapshot.whole(transfer)));
            // Its new term has to be durable first, so the answer comes late.
            until("answered", || puppet.answer(OTHER, id).is_some()).await;
            let answer = snapshot_answer(puppet.answer(OTHER, id).unwrap());
            assert!(!answer.report.recovering);
        }
        assert!(hand.next_decision().await.granted);
        hand.link().applied(10);
        assert_eq!(counters(&puppet).safety_alarms, 0);
        puppet.shutdown().await;
    });
}

/// Questions about what was never offered, or was decided already, are answered no and change nothing.
#[test]
fn a_question_without_an_offer_is_answered_no() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = holding_an_offer(&history).await;
        for id in [LogId::new(1, 11), LogId::new(2, 10), LogId::new(1, 3), LogId::BASE] {
            assert!(!hand.ask(id).await, "{id}");
        }
        assert!(hand.ask(history.id(10)).await);
        assert!(!hand.ask(history.id(10)).await, "granted twice");
        let counters = counters(&puppet);
        assert_eq!((counters.installs_refused, counters.installs_granted), (0, 1));
        assert_eq!(counters.safety_alarms, 0);
        puppet.shutdown().await;
    });
}

/// (o), B20, SN10: a local snapshot that is done while an offer waits becomes current; the offer is granted all the same.
#[test]
fn a_local_snapshot_beside_an_offer_is_taken() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = holding_an_offer(&history).await;
        hand.link().snapshot(history.view(5));
        until("current", || puppet.status().raft.snapshot == history.id(5)).await;
        until("recorded", || counters(&puppet).snapshots_taken == 1).await;
        assert_eq!(puppet.install(), InstallStatus::Pending { index: 10 });
        assert!(hand.ask(history.id(10)).await);
        assert_eq!(puppet.status().raft.snapshot, history.id(10));
        hand.link().applied(10);
        puppet.crash().await;
        let hand = puppet.restart_by_hand().await;
        assert!(hand.link().restores());
        match hand.next().await {
            ApplyMessage::Restored { log_id, .. } => assert_eq!(log_id, history.id(10)),
            other => panic!("told {other:?} first"),
        }
        puppet.shutdown().await;
    });
}

/// (o), B20: a local snapshot that is done after the grant is older than what is current: refused, its file removed.
#[test]
fn a_local_snapshot_that_comes_behind_a_grant_is_dropped() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = holding_an_offer(&history).await;
        puppet.delays.set_encode(Duration::from_secs(5));
        hand.link().snapshot(history.view(5));
        assert!(hand.ask(history.id(10)).await);
        hand.link().applied(10);
        pass(Duration::from_secs(6)).await;
        let raft = puppet.status().raft;
        assert_eq!((raft.snapshot, raft.counters.snapshots_taken), (history.id(10), 0));
        puppet.shutdown().await;
    });
}

/// A70, AC11, B8: a stop while an offer is undecided, or while its grant becomes durable.
#[test]
fn a_stop_in_the_middle_of_the_handshake_ends() {
    for asked in [false, true] {
        story(async move {
            let history = History::of(&[(1, 20)]);
            let (puppet, hand) = holding_an_offer(&history).await;
            if asked {
                puppet.delays.set_fsync(Duration::from_secs(2));
                hand.link().cond_install(history.id(10));
                until("granted", || puppet.status().raft.snapshot == history.id(10)).await;
            }
            puppet.shutdown().await;
            assert!(hand.is_empty(), "told something after its end");
            puppet.delays.set_fsync(Duration::ZERO);
            let hand = puppet.restart_by_hand().await;
            let raft = puppet.status().raft;
            let current = if asked { history.id(10) } else { LogId::BASE };
            assert_eq!((raft.snapshot, hand.link().restores()), (current, asked));
            puppet.shutdown().await;
        });
    }
}

/// (n), AC11, AC15: an apply side that is gone ends the node and answers who waits, offer or not.
#[test]
fn an_apply_side_that_ends_ends_the_node() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = holding_an_offer(&history).await;
        let handle = puppet.handle();
        let snapshot = spawn_local(async move { handle.snapshot().await });
        pass(Duration::from_millis(10)).await;
        hand.let_go();
        until("the node ends", || !puppet.status().running).await;
        let fatal = puppet.status().fatal.unwrap_or_default();
        assert!(fatal.contains("apply side ended"), "{fatal:?}");
        assert_eq!(snapshot.await.unwrap(), Err(SnapshotError::Fatal));
        let local = puppet.handle().read(quorate::node::Consistency::Local, |s| s.len()).await;
        assert_eq!(local, Err(ReadError::Fatal));
        puppet.shutdown().await;
    });
}

/// A20, B12: "take a snapshot" comes in the line of entries, at its place.
#[test]
fn a_request_for_a_snapshot_stands_in_line_with_the_entries() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = Puppet::start_by_hand(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        assert_eq!(hand.apply_entries(1).await, history.id(5));
        until("applied", || puppet.status().raft.applied == 5).await;
        let handle = puppet.handle();
        let snapshot = spawn_local(async move { handle.snapshot().await });
        pass(Duration::from_millis(10)).await;
        puppet.append(LEADER, 1, &history, 5, 9, 9).await;
        assert!(matches!(hand.pull().await, ApplyWork::TakeSnapshot));
        hand.link().snapshot(history.view(5));
        assert_eq!(snapshot.await.unwrap(), Ok(history.id(5)));
        assert_eq!(hand.apply_entries(6).await, history.id(9));
        puppet.shutdown().await;
    });
}

/// B20: what the apply side hands out is refused, for it covers more than was applied. It is asked
/// again, with pauses that grow, for as long as the service waits.
#[test]
fn an_apply_side_whose_snapshots_are_refused_is_not_asked_again_at_once() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = Puppet::start_by_hand(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.append(LEADER, 1, &history, 0, 5, 5).await;
        assert_eq!(hand.apply_entries(1).await, history.id(5));
        until("applied", || puppet.status().raft.applied == 5).await;
        let handle = puppet.handle();
        let snapshot = spawn_local(async move { handle.snapshot().await });
        let mut asked_at = Vec::new();
        for _ in 0..5 {
            assert!(matches!(hand.pull().await, ApplyWork::TakeSnapshot));
            asked_at.push(Instant::now());
            hand.link().snapshot(history.view(9));
        }
        let pauses: Vec<u64> =
            asked_at.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8]);
        assert!(matches!(hand.pull().await, ApplyWork::TakeSnapshot));
        hand.link().snapshot(history.view(5));
        assert_eq!(snapshot.await.unwrap(), Ok(history.id(5)));
        puppet.shutdown().await;
    });
}

/// PS10, SN17, PS25: an older snapshot's record becomes durable when a newer one's file is there already and its record is
/// on the way. The newer file stays: soon the log names it.
#[test]
fn a_file_that_waits_for_its_record_survives_an_older_ones_record() {
    story(async {
        let history = History::of(&[(1, 20)]);
        let (puppet, hand) = Puppet::start_by_hand(small()).await;
        puppet.keep_alive(LEADER, 1);
        puppet.append(LEADER, 1, &history, 0, 9, 9).await;
        assert_eq!(hand.apply_entries(1).await, history.id(9));
        until("applied", || puppet.status().raft.applied == 9).await;
        puppet.delays.set_fsync(Duration::from_secs(2));
        hand.link().snapshot(history.view(5));
        until("the first is taken", || puppet.status().raft.snapshot == history.id(5)).await;
        hand.link().snapshot(history.view(9));
        until("the second is taken", || puppet.status().raft.snapshot == history.id(9)).await;
        assert_eq!(counters(&puppet).snapshots_taken, 0, "both records are on their way");
        until("both are recorded", || counters(&puppet).snapshots_taken == 2).await;
        pass(Duration::from_secs(1)).await;
        puppet.crash().await;
        let hand = puppet.restart_by_hand().await;
        match hand.next().await {
            ApplyMessage::Restored { log_id, .. } => assert_eq!(log_id, history.id(9)),
            other => panic!("told {other:?} first"),
        }
        puppet.shutdown().await;
    });
}
