//! What may be sent, counted or dispatched only once it is durable: PS01–PS03, LR06, LR25, gray
//! failures.

use super::hand::*;
use crate::raft::*;

#[test]
fn ps01_a_vote_leaves_after_it_is_durable() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, Request::Vote { last: LogId::BASE });
    assert!(hand.sent.is_empty());
    assert_eq!(hand.steps[0].change.hard_state, Some(HardState { term: 1, vote: Some(1) }));
    hand.disk();
    assert!(hand.vote());
}

/// In a term that is already durable, the vote still waits for its own step; a repeated vote does
/// not overtake it.
#[test]
fn ps01_a_vote_in_a_known_term_waits_for_its_step() {
    let mut hand = Setup::of(3).term(1, None).start();
    for _ in 0..2 {
        hand.hear(1, 1, Request::Vote { last: LogId::BASE });
        assert!(hand.sent.is_empty(), "{:?}", hand.sent);
    }
    hand.disk();
    assert_eq!(hand.sent.len(), 2);
}

/// The own vote counts when it is durable, and the requests to others are sent then.
#[test]
fn ps01_the_own_vote_counts_when_durable() {
    let mut hand = Setup::of(3).start();
    hand.campaign_for_votes();
    assert!(hand.sent.iter().all(|e| !matches!(e.body, Body::Request(Request::Vote { .. }))));
    let mut single = Setup::of(1).start();
    single.campaign();
    assert_eq!(single.role(), Role::Candidate);
    single.disk_one();
    assert_eq!(single.role(), Role::Leader);
}

/// No message carries a term that is not durable: a refusal with a higher term waits for the term's
/// step.
#[test]
fn ps01_no_message_carries_a_term_that_is_not_durable() {
    let mut hand = Setup::of(3).log(&[1]).start();
    hand.hear(1, 5, Request::Vote { last: LogId::BASE });
    hand.hear(1, 5, append(id(7, 5), &[5], 0));
    hand.hear(2, 1, pre_vote(9));
    assert!(hand.sent.is_empty(), "{:?}", hand.sent);
    hand.disk();
    assert_eq!(hand.sent.iter().map(|e| e.term).collect::<Vec<_>>(), [5, 5, 5]);
}

fn pre_vote(campaign_term: Term) -> Request {
    Request::PreVote { campaign_term, last: id(1, 1) }
}

#[test]
fn ps02_entries_are_acknowledged_when_durable() {
    let mut hand = Setup::of(3).term(1, None).start();
    hand.hear(1, 1, append(LogId::BASE, &[1, 1], 0));
    assert!(hand.sent.is_empty());
    // A heartbeat is answered at once, with what is durable.
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    assert_eq!(hand.append_answer().report.matched, 0);
    // The same request once more is answered no sooner.
    hand.hear(1, 1, append(LogId::BASE, &[1, 1], 0));
    assert!(hand.sent.is_empty());
    hand.disk_one();
    assert_eq!(hand.append_answer().report.matched, 2);
    hand.disk();
    assert_eq!(hand.append_answer().report.matched, 2);
}

#[test]
fn ps03_a_leader_counts_its_own_entries_when_durable() {
    let mut hand = Setup::of(3).lead();
    hand.propose(b"x").expect("room");
    hand.accept_all(1);
    assert_eq!(hand.status().commit, 1, "entry 2 is durable at member 1 alone");
    hand.disk();
    assert_eq!(hand.status().commit, 2);
}

/// Entries dispatched to the state machine are durable here too, though others have committed them.
#[test]
fn ps03_entries_are_applied_when_durable_here() {
    let mut hand = Setup::of(3).term(1, None).start();
    hand.hear(1, 1, append(LogId::BASE, &[1, 1], 2));
    assert_eq!((hand.status().commit, hand.dispatched()), (2, vec![]));
    hand.disk();
    assert_eq!(hand.dispatched(), [id(1, 1), id(2, 1)]);
}

/// A node that was informed twice of one completion would promise twice: steps complete in order.
#[test]
#[should_panic(expected = "reported durable")]
fn ps17_steps_complete_in_order() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, append(LogId::BASE, &[1], 0));
    hand.hear(1, 1, append(id(1, 1), &[1], 0));
    let second = hand.steps[1].seq;
    hand.raft.persisted(hand.now, second);
}

/// A truncation lowers the durable index: replacements of removed entries count when they are
/// durable themselves.
#[test]
fn lr06_truncation_lowers_what_is_durable() {
    let mut hand = Setup::of(3).log(&[1, 1, 1]).start();
    hand.hear(1, 2, append(id(1, 1), &[2, 2], 0));
    assert_eq!(hand.status().persisted, 1);
    hand.hear(1, 2, heartbeat(id(3, 2), 3));
    assert_eq!((hand.status().commit, hand.dispatched()), (3, vec![id(1, 1)]));
    hand.disk();
    assert_eq!((hand.status().persisted, hand.dispatched().len()), (3, 2));
}

/// The completion of a write says nothing about other entries at the same positions.
#[test]
fn lr25_a_completion_names_entries_not_positions() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, append(LogId::BASE, &[1, 1], 0));
    hand.hear(2, 2, append(LogId::BASE, &[2, 2], 0));
    hand.disk_one();
    assert_eq!(hand.status().persisted, 0, "entries of term 1 are durable, and gone");
    let told = |hand: &Hand| hand.out.events.iter().any(|e| matches!(e, Event::Persisted(_)));
    assert!(!told(&hand), "{:?}", hand.out.events);
    hand.disk_one();
    assert_eq!(hand.status().persisted, 2);
    assert!(hand.out.events.contains(&Event::Persisted(id(2, 2))));
}

/// The same entries, removed and appended again while the disk is slow: the completion of the first
/// write is not that of the last one.
#[test]
fn lr25_entries_that_came_back_are_durable_by_their_last_write() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, append(LogId::BASE, &[1, 1], 0));
    hand.hear(2, 2, append(LogId::BASE, &[2], 0));
    hand.hear(1, 3, append(LogId::BASE, &[1, 1], 0));
    hand.disk_one();
    hand.disk_one();
    assert_eq!(hand.status().persisted, 0, "the disk holds an entry of term 2");
    hand.hear(1, 3, heartbeat(id(2, 1), 0));
    hand.disk_one();
    assert_eq!(hand.status().persisted, 2);
}

/// Entries that count as durable are on the disk and stay there, whatever steps are under way: for
/// every position at which a truncation may begin, relative to the writes under way, and whether
/// the same entries are appended again or not.
#[test]
fn lr25_a_truncation_voids_the_confirmation_of_every_write_that_it_reaches() {
    for (first, second) in [(1, 0), (2, 0), (3, 0), (1, 1), (1, 3), (3, 1), (3, 3)] {
        for from in 1..=first + second {
            for again in [false, true] {
                let mut hand = Setup::of(3).start();
                let ones = |count: u64| vec![1; count as usize];
                let before = |index| if index == 0 { LogId::BASE } else { id(index, 1) };
                hand.hear(1, 1, append(LogId::BASE, &ones(first), 0));
                if second > 0 {
                    hand.hear(1, 1, append(id(first, 1), &ones(second), 0));
                }
                hand.hear(2, 2, append(before(from - 1), &[2], 0));
                if again {
                    hand.hear(1, 3, append(before(from - 1), &ones(first + second + 1 - from), 0));
                }
                let case = format!("{first} and {second} entries, from {from}, again: {again}");
                while !hand.steps.is_empty() {
                    hand.disk_one();
                    let (persisted, lasting) = (hand.status().persisted, hand.lasting());
                    assert!(persisted <= lasting, "{case}: {persisted} durable, {lasting} last");
                }
                assert_eq!(hand.status().persisted, hand.status().last.index, "{case}");
            }
        }
    }
}

/// A grant replaces what the turn did to the log before it, and later changes of the same turn
/// apply to the log that it leaves. However the changes are distributed over turns and steps, a
/// storage accepts each step.
#[test]
fn b11_a_grant_and_other_changes_of_one_turn_make_a_step_that_a_storage_takes() {
    const CHANGES: u32 = 5;
    for spread in 0..3u32.pow(CHANGES) {
        let mut hand = Setup::of(3).log(&[1, 1, 1, 1]).start();
        hand.hear(1, 2, heartbeat(id(1, 1), 1));
        hand.disk();
        hand.apply();
        hand.offer(1, 2, id(9, 2));
        let own = meta(id(1, 1), &hand.status().membership);
        for change in 0..CHANGES {
            let request = match change {
                0 => None,
                // A conflict before the snapshot's entry, and one after it.
                1 => Some((1, 2, append(id(2, 1), &[2], 0))),
                2 => None,
                3 => Some((1, 2, append(id(9, 2), &[2, 2], 9))),
                _ => Some((2, 3, append(id(10, 2), &[3], 9))),
            };
            match request {
                Some((from, term, request)) => {
                    let envelope = hand.request(from, term, request);
                    hand.raft.step(hand.now, envelope);
                }
                None if change == 0 => hand.raft.snapshot_taken(hand.now, own.clone()),
                None => hand.raft.cond_install(hand.now, id(9, 2)),
            }
            // Between this change and the next one: nothing, a turn, or a turn and the disk.
            match spread / 3u32.pow(change) % 3 {
                0 => {}
                1 => hand.collect(),
                _ => {
                    hand.collect();
                    hand.disk();
                }
            }
        }
        hand.collect();
        hand.disk();
        assert_eq!(hand.decision(id(9, 2)), Some(true), "spread {spread}");
        assert_eq!(hand.status().log_start, id(9, 2), "spread {spread}");
        assert_eq!((hand.terms(), hand.status().persisted), (vec![2, 3], 11), "spread {spread}");
    }
}

/// A step that both removes and adds entries gives the disk exactly the sum of the changes.
#[test]
fn lr06_changes_of_one_step_add_up() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    let requests = [
        (1, 2, append(id(2, 1), &[2, 2], 0)),
        (2, 3, append(id(3, 2), &[3], 0)),
        (1, 4, append(id(1, 1), &[4], 0)),
    ];
    for (from, term, request) in requests {
        let envelope = hand.request(from, term, request);
        hand.raft.step(hand.now, envelope);
    }
    hand.collect();
    let change = &hand.steps[0].change;
    assert_eq!((change.truncate_from, &change.append), (Some(2), &entries(2, &[4])));
    assert_eq!(change.hard_state, Some(HardState { term: 4, vote: None }));
}

/// Of two removals in one step the lower one counts.
#[test]
fn lr06_the_lower_removal_of_a_step_counts() {
    let mut hand = Setup::of(3).log(&[1, 1, 1, 1]).start();
    for (from, term, request) in
        [(1, 2, append(id(3, 1), &[2], 0)), (2, 3, append(id(1, 1), &[3], 0))]
    {
        let envelope = hand.request(from, term, request);
        hand.raft.step(hand.now, envelope);
    }
    hand.collect();
    let change = &hand.steps[0].change;
    assert_eq!((change.truncate_from, &change.append), (Some(2), &entries(2, &[3])));
}

/// Entries appended and removed within one step never reach the disk, and nothing is removed there.
#[test]
fn lr06_entries_that_never_left_need_no_removal() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    for (from, term, request) in
        [(1, 2, append(id(2, 1), &[2, 2], 0)), (2, 3, append(id(3, 2), &[3], 0))]
    {
        let envelope = hand.request(from, term, request);
        hand.raft.step(hand.now, envelope);
    }
    hand.collect();
    let change = &hand.steps[0].change;
    assert_eq!((change.truncate_from, change.append.len()), (None, 2));
}

// ---- gray failures -----------------------------------------------------------------------------

/// A leader whose disk hangs for two election timeouts steps down, and does not campaign either.
#[test]
fn a_leader_whose_disk_hangs_steps_down() {
    let mut hand = Setup::of(3).lead();
    hand.accept_all(1);
    hand.propose(b"x").expect("room");
    for _ in 0..12 {
        hand.after(100);
        hand.accept_all(1);
        assert_eq!(hand.role(), Role::Leader);
    }
    hand.after(1);
    assert_eq!(hand.role(), Role::Follower);
    let campaigns = hand.status().counters.campaigns;
    hand.after(5_000);
    assert_eq!(hand.status().counters.campaigns, campaigns);
    hand.disk();
    hand.after(601);
    assert_eq!(hand.status().counters.campaigns, campaigns + 1);
}

/// A follower with a slow disk accepts no more than its limit, and answers Busy; one entry is
/// always accepted.
#[test]
fn a_follower_takes_no_more_than_its_disk_can_hold() {
    let setup = Setup::of(3).term(1, None).with(|config| config.unpersisted_bytes = 90);
    let mut hand = setup.start();
    hand.hear(1, 1, append(LogId::BASE, &[1, 1, 1], 0));
    assert_eq!(hand.terms().len(), 3, "nothing was under way");
    hand.hear(1, 1, append(id(3, 1), &[1], 0));
    assert_eq!((hand.append_answer().outcome, hand.terms().len()), (AppendOutcome::Busy, 3));
    // The other information of the request counts all the same.
    hand.hear(1, 1, append(id(1, 1), &[1, 1, 1], 2));
    assert_eq!((hand.append_answer().outcome, hand.status().commit), (AppendOutcome::Busy, 2));
    hand.disk();
    hand.sent.clear();
    hand.hear(1, 1, append(id(3, 1), &[1], 0));
    hand.disk();
    assert_eq!(hand.append_answer().outcome, AppendOutcome::Accepted);
}

/// Of a request that is not accepted, only what is already here may be committed: the rest is
/// compared with a tail of another leader (LR03).
#[test]
fn lr03_a_busy_follower_commits_no_more_than_it_knows() {
    let busy = |config: &mut RaftConfig| config.unpersisted_bytes = 1;
    let mut hand = Setup::of(3).log(&[1, 1, 1, 1]).with(busy).start();
    hand.hear(1, 1, append(id(4, 1), &[1], 0));
    hand.hear(2, 2, append(id(1, 1), &[1, 2, 2], 4));
    assert_eq!((hand.status().commit, hand.terms()), (2, vec![1; 5]));
    hand.disk();
    hand.sent.retain(|envelope| envelope.to == 2);
    assert_eq!(hand.append_answer().outcome, AppendOutcome::Busy);
}

/// The disk is slow, not hung: a candidate waits for its own vote instead of starting a new
/// campaign (EL23).
#[test]
fn el23_a_candidate_waits_for_its_own_vote() {
    let mut hand = Setup::of(3).start();
    hand.campaign_for_votes();
    hand.after(601);
    let terms = hand.steps.iter().filter(|step| step.change.hard_state.is_some()).count();
    assert_eq!((hand.role(), hand.term(), terms), (Role::Candidate, 1, 1));
    hand.disk();
    hand.sent.retain(|e| matches!(e.body, Body::Request(Request::Vote { .. })));
    let request = hand.sent.remove(0);
    hand.reply(&request, Answer::Vote { granted: true, held: None });
    assert_eq!(hand.role(), Role::Leader);
}
