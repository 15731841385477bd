//! The follower's half of replication, by the catalogue's ids LR02–LR27: what is accepted, refused
//! and committed.

use super::hand::*;
use super::world::MILLISECOND;
use crate::raft::*;

fn rejected_with(refused: Index, hint: LogId) -> AppendOutcome {
    AppendOutcome::Rejected { refused, hint }
}

/// A late AppendEntries with fewer entries removes nothing that a later one appended.
#[test]
fn lr02_a_late_request_removes_nothing() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, append(LogId::BASE, &[1, 1, 1], 0));
    hand.hear(1, 1, append(LogId::BASE, &[1], 0));
    hand.hear(1, 1, heartbeat(id(1, 1), 0));
    assert_eq!(hand.terms(), [1, 1, 1]);
    assert_eq!(hand.status().counters.truncations, 0);
}

/// An empty request covers the log only up to its previous entry: a tail of another leader is
/// neither committed nor acknowledged.
#[test]
fn lr03_a_divergent_tail_is_neither_committed_nor_acknowledged() {
    let mut hand = Setup::of(3).log(&[1, 1, 2, 2]).start();
    hand.hear(1, 3, heartbeat(id(2, 1), 2));
    hand.disk();
    assert_eq!(hand.append_answer().report.matched, 2);
    assert_eq!(hand.status().commit, 2);
}

/// The answer names what the request covered, not the log's end (LR04).
#[test]
fn lr04_an_answer_acknowledges_what_was_verified() {
    let mut hand = Setup::of(3).log(&[1, 1, 1, 1]).start();
    hand.hear(1, 2, append(id(1, 1), &[1], 0));
    hand.disk();
    assert_eq!(hand.append_answer().report.matched, 2);
    hand.hear(1, 2, append(id(2, 1), &[2, 2], 0));
    hand.disk();
    assert_eq!(hand.append_answer().report.matched, 4);
}

/// The log's end is not acknowledged either if what the request covered is there and not durable
/// yet.
#[test]
fn lr04_a_late_acknowledgement_covers_what_was_verified() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, append(LogId::BASE, &[1, 1, 1], 0));
    hand.hear(2, 2, append(LogId::BASE, &[1], 0));
    hand.disk_one();
    hand.sent.clear();
    hand.disk();
    assert_eq!(hand.append_answer().report.matched, 1);
}

/// What matched with one leader does not count for the next (LR05).
#[test]
fn lr05_a_new_term_verifies_anew() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, append(LogId::BASE, &[1, 1, 1], 1));
    hand.disk();
    assert_eq!(hand.append_answer().report.matched, 3);
    hand.hear(2, 2, heartbeat(id(1, 1), 1));
    hand.disk();
    assert_eq!(hand.append_answer().report.matched, 1);
}

/// Requests that no leader can have sent are ignored as a whole (LR09).
#[test]
fn lr09_malformed_requests_are_ignored() {
    let good = Append {
        prev: id(1, 1),
        entries: entries(2, &[1, 2]),
        commit: 0,
        leader_last: 0,
        leader_durable: 0,
        round: 0,
    };
    let malformed = [
        ("a gap behind prev", Append { entries: entries(3, &[1]), ..good.clone() }),
        ("a repeat of prev", Append { entries: entries(1, &[1]), ..good.clone() }),
        ("a falling term", Append { entries: entries(2, &[2, 1]), ..good.clone() }),
        (
            "a term below prev's",
            Append { prev: id(1, 2), entries: entries(2, &[1]), ..good.clone() },
        ),
        (
            "an entry of term 0",
            Append { prev: LogId::BASE, entries: entries(1, &[0]), ..good.clone() },
        ),
        ("a term above the leader's", Append { entries: entries(2, &[3]), ..good.clone() }),
        (
            "a prev above the leader's term",
            Append { prev: id(1, 3), entries: entries(2, &[]), ..good.clone() },
        ),
        ("commit beyond the entries", Append { commit: 4, leader_last: 4, ..good.clone() }),
        ("commit beyond the leader's", Append { commit: 2, leader_last: 1, ..good.clone() }),
    ];
    for (why, request) in malformed {
        let mut hand = Setup::of(3).term(2, None).log(&[1]).start();
        hand.hear(1, 2, Request::Append(request));
        assert_eq!((hand.terms(), hand.status().commit), (vec![1], 0), "{why}");
        assert_eq!(hand.status().counters.ignored_messages, 1, "{why}");
        assert_eq!((hand.status().leader, hand.is_silent()), (None, true), "{why}");
    }
    let mut hand = Setup::of(3).term(2, None).log(&[1]).start();
    hand.hear(1, 2, Request::Append(good));
    assert_eq!(hand.terms(), [1, 1, 2]);
}

/// Before the log's start no term is known, and an unknown term matches nothing, not even 0.
#[test]
fn lr10_an_unknown_term_matches_nothing() {
    let mut hand = Setup::of(3).snapshot(id(5, 2)).log(&[2, 2]).start();
    for prev in [id(8, 2), id(9, 0), id(7, 1), id(6, 0)] {
        hand.hear(1, 3, append(prev, &[3], 0));
        hand.disk();
        let answer = hand.append_answer();
        assert!(matches!(answer.outcome, AppendOutcome::Rejected { .. }), "{prev}: {answer:?}");
    }
    assert_eq!(hand.terms(), [2, 2]);
}

/// A request that begins before the own log's start, or below the commit index, is no conflict: its
/// part up to there is skipped, the rest accepted (LR11).
#[test]
fn lr11_what_is_committed_is_passed_over() {
    let mut hand = Setup::of(3).snapshot(id(5, 2)).log(&[2]).start();
    hand.hear(1, 2, append(id(2, 1), &[1, 2, 2, 2, 2], 7));
    hand.disk();
    assert_eq!((hand.terms(), hand.status().commit), (vec![2, 2], 7));
    assert_eq!(hand.append_answer().report.matched, 7);
    hand.hear(1, 2, append(id(1, 1), &[1, 1], 3));
    hand.disk();
    let answer = hand.append_answer();
    assert_eq!((answer.outcome, answer.report.matched), (AppendOutcome::Accepted, 7));
    hand.hear(1, 2, heartbeat(LogId::BASE, 0));
    assert_eq!(hand.append_answer().outcome, AppendOutcome::Accepted);
}

/// A leader that differs below the commit index indicates a broken cluster: an alarm, and nothing
/// is accepted.
#[test]
fn lr11_a_committed_entry_is_never_overwritten() {
    let mut hand = Setup::of(3).log(&[1, 1, 1]).start();
    hand.hear(1, 2, heartbeat(id(3, 1), 3));
    hand.disk();
    hand.sent.clear();
    hand.hear(1, 2, append(id(1, 1), &[2, 2, 2], 0));
    assert_eq!((hand.terms(), hand.status().counters.safety_alarms), (vec![1, 1, 1], 1));
    assert!(hand.is_silent());
}

/// One rejection skips all entries of a term: where terms alternate over 300 conflicting entries,
/// agreement takes one rejection for each term and no more (LR12, B21).
#[test]
fn lr12_long_divergent_tails_are_found_in_few_steps() {
    let log = |terms: [Term; 3]| {
        let mut log = vec![1; 10];
        terms.iter().for_each(|&term| log.extend(vec![term; 100]));
        log
    };
    let mut follower = Setup::of(3).log(&log([2, 4, 6])).start();
    let mut leader = Setup::of(3).log(&log([3, 5, 7])).lead();
    let (mut requests, mut rejects) = (0, 0);
    while leader.status().commit == 0 {
        for request in leader.appends(1) {
            requests += 1;
            assert!(requests < 40, "no agreement after {rejects} rejects");
            let Body::Request(body) = request.body.clone() else { unreachable!() };
            follower.hear(1, 8, body);
            follower.disk();
            let answer = follower.append_answer();
            rejects += u32::from(matches!(answer.outcome, AppendOutcome::Rejected { .. }));
            leader.reply(&request, Answer::Append(answer));
        }
    }
    assert_eq!(follower.terms(), leader.terms());
    assert!(rejects <= 4, "{rejects} rejects");
}

/// The hint is an own entry that may still match: at or before the refused one and of no later term
/// (B21).
#[test]
fn b21_the_hint_is_the_last_entry_that_can_agree() {
    let cases = [
        (id(9, 4), id(6, 4)),
        (id(5, 3), id(4, 2)),
        (id(6, 1), id(2, 1)),
        (id(4, 3), id(4, 2)),
        (id(3, 1), id(2, 1)),
    ];
    for (prev, hint) in cases {
        let mut hand = Setup::of(3).log(&[1, 1, 2, 2, 4, 4]).start();
        hand.hear(1, 5, append(prev, &[5], 0));
        hand.disk();
        assert_eq!(hand.append_answer().outcome, rejected_with(prev.index, hint));
    }
}

/// Committed entries match every leader's: no hint is before them.
#[test]
fn b21_the_hint_is_never_below_the_commit_index() {
    let mut hand = Setup::of(3).log(&[1, 1, 2, 2, 4, 4]).start();
    hand.hear(1, 5, heartbeat(id(4, 2), 4));
    hand.disk();
    hand.sent.clear();
    hand.hear(1, 5, append(id(6, 1), &[5], 0));
    assert_eq!(hand.append_answer().outcome, rejected_with(6, id(4, 2)));
    let mut hand = Setup::of(3).snapshot(id(5, 2)).start();
    hand.hear(1, 5, append(id(9, 3), &[5], 0));
    hand.disk();
    assert_eq!(hand.append_answer().outcome, rejected_with(9, id(5, 2)));
}

/// Entries have terms up to the leader's; the follower's own term does not change them (LR15).
#[test]
fn lr15_entries_keep_the_term_they_were_made_in() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 5, append(LogId::BASE, &[1, 3, 5], 0));
    assert_eq!(hand.terms(), [1, 3, 5]);
}

/// Entries are dispatched to the state machine in pages, each continuing where the last one ended;
/// the commit index stays (LR19).
#[test]
fn lr19_handing_over_in_pages_forgets_nothing() {
    let mut hand = Setup::of(3).with(|config| config.apply_queue_bytes = 70).start();
    hand.hear(1, 1, append(LogId::BASE, &[1; 7], 7));
    hand.disk();
    let mut dispatched = Vec::new();
    while hand.status().applied < 7 {
        let page = hand.dispatched();
        assert!((1..=2).contains(&page.len()), "40 bytes an entry: {page:?}");
        dispatched.extend(page);
        assert_eq!(hand.status().commit, 7);
        let through = hand.status().dispatched;
        hand.does(|raft, now| raft.applied(now, through));
    }
    assert_eq!(dispatched, (1..=7).map(|index| id(index, 1)).collect::<Vec<_>>());
}

/// A page that exceeds the queue's limit is dispatched alone, and the next waits until it is
/// applied (B2).
#[test]
fn b2_the_apply_queue_is_bounded() {
    for limit in [0, 1] {
        let mut hand = Setup::of(3).with(|config| config.apply_queue_bytes = limit).start();
        hand.hear(1, 1, append(LogId::BASE, &[1; 3], 3));
        hand.disk();
        assert_eq!(hand.dispatched(), [id(1, 1)]);
        hand.hear(1, 1, heartbeat(id(3, 1), 3));
        assert!(hand.dispatched().is_empty());
        hand.does(|raft, now| raft.applied(now, 1));
        assert_eq!(hand.dispatched(), [id(2, 1)]);
    }
}

/// Every entry that has left the cache is read back, for members and for the state machine (LR20).
#[test]
fn lr20_without_a_cache_everything_is_read_back() {
    let mut hand = Setup::of(3).with(|config| config.log_cache_bytes = 0).log(&[1, 1, 1]).start();
    hand.hear(1, 2, append(id(3, 1), &[2, 2], 4));
    hand.disk();
    assert_eq!(hand.dispatched(), [id(1, 1), id(2, 1), id(3, 1), id(4, 2)]);
    let mut leader = Setup::of(3).with(|config| config.log_cache_bytes = 0).log(&[1, 1, 1]).lead();
    let request = leader.append(1);
    leader.reply(&request, rejected(0, 3, LogId::BASE));
    let again = leader.append(1);
    assert_eq!(append_of(&again).entries.range(0..3), entries(1, &[1, 1, 1]));
}

/// Only durable entries are read back: the others are in memory, and not on disk yet (LR20).
#[test]
fn lr20_only_durable_entries_are_read_back() {
    let mut hand = Setup::of(3).with(|config| config.log_cache_bytes = 0).log(&[1, 1, 1]).lead();
    hand.propose(b"not durable").expect("room");
    let request = hand.append(1);
    let answer = hand.answer_of(&request, 2, rejected(0, 3, LogId::BASE));
    hand.raft.step(hand.now, answer);
    let read = hand.raft.ready().reads[0];
    assert_eq!((read.first, read.last), (1, 4));
}

/// The result of a late read is not sent if the log has changed since (LR20).
#[test]
fn lr20_a_read_of_entries_since_replaced_is_dropped() {
    let mut hand = Setup::of(3).log(&[1, 1, 1]).lead();
    let request = hand.append(1);
    let answer = hand.answer_of(&request, 2, rejected(0, 3, LogId::BASE));
    hand.raft.step(hand.now, answer);
    let ready = hand.raft.ready();
    let wrong = entries(1, &[1, 2]);
    hand.raft.log_read(hand.now, ready.reads[0].id, LogReadOutcome::Entries(wrong));
    let ready = hand.raft.ready();
    assert!(ready.messages.iter().all(|e| e.to != 1), "{:?}", ready.messages);
    assert_eq!(ready.reads.len(), 1, "it is read again");
}

/// The result of a read is not sent if the member has acknowledged more since: it would not precede
/// what is sent next (LR20).
#[test]
fn lr20_a_read_of_entries_since_acknowledged_is_dropped() {
    let small = |config: &mut RaftConfig| (config.log_cache_bytes, config.append_entries) = (0, 1);
    let mut hand = Setup::of(3).with(small).log(&[1, 1, 1]).lead();
    let probe = hand.append(1);
    hand.reply(&probe, rejected(0, 3, LogId::BASE));
    let first = hand.append(1);
    hand.accept(&first);
    let window = hand.appends(1);
    assert_eq!(window.iter().map(last_of).collect::<Vec<_>>(), [2, 3, 4]);
    hand.after(150);
    let question = hand.append(1);
    let answer = hand.answer_of(&question, 2, rejected(1, 4, id(1, 1)));
    hand.raft.step(hand.now, answer);
    let read = hand.raft.ready().reads[0];
    assert_eq!(read.first, 2);
    let late = hand.answer_of(&window[2], 2, accepted(4, 0));
    hand.raft.step(hand.now, late);
    let entries = entries(2, &[1]);
    hand.raft.log_read(hand.now, read.id, LogReadOutcome::Entries(entries));
    hand.collect();
    assert!(hand.appends(1).is_empty());
}

/// Ignored: messages of another cluster, for another member, from a non-member, or from an earlier
/// incarnation of the sender.
#[test]
fn lr21_lr26_ac16_strangers_are_ignored() {
    let mut hand = Setup::of(3).start();
    let good = hand.request(1, 1, Request::Vote { last: LogId::BASE });
    let strange = [
        ("another cluster", Envelope { cluster: 8, ..good.clone() }),
        ("another group", Envelope { group: 1, ..good.clone() }),
        ("another receiver", Envelope { to: 2, ..good.clone() }),
        ("a node that is no member", Envelope { from: 7, ..good.clone() }),
        ("itself", Envelope { from: 0, ..good.clone() }),
    ];
    for (why, envelope) in strange {
        hand.step(envelope);
        assert!(hand.is_silent() && hand.term() == 0, "{why}");
    }
    assert_eq!(hand.status().counters.ignored_messages, 5);
    hand.step(Envelope { incarnation: 4, ..good.clone() });
    hand.disk();
    hand.sent.clear();
    hand.step(good);
    let known = PeerRecord { incarnation: 4, acknowledged: LogId::BASE };
    let told = hand.sent.drain(..).map(|sent| sent.body).collect::<Vec<_>>();
    assert_eq!(told, [Body::Request(Request::Identify(known))], "an earlier life of member 1");
    assert_eq!((hand.status().vote, hand.steps.len()), (Some(1), 0));
    assert_eq!(hand.status().counters.ignored_messages, 6);
}

/// Delayed messages of a member's earlier start reach its leader. The member is sent its record
/// once, and its answers to heartbeats go on counting. An answer to a record voids the requests in
/// flight, so a record for each of these messages would cost the leader its quorum.
#[test]
fn lr26_late_messages_of_an_earlier_start_void_no_heartbeats() {
    let mut hand = Setup::of(3).lead();
    let restarted = |envelope| Envelope { incarnation: 4, ..envelope };
    let records = |hand: &mut Hand| {
        let is_record = |e: &Envelope| matches!(e.body, Body::Request(Request::Identify(_)));
        hand.sent_to(1).into_iter().filter(is_record).collect::<Vec<_>>()
    };
    let heartbeat_answered = |hand: &mut Hand, late: &[Envelope]| {
        hand.after(hand.config.heartbeat_interval / MILLISECOND);
        let heartbeat = hand.appends(1).pop().expect("a heartbeat");
        late.iter().for_each(|late| hand.step(late.clone()));
        let sent = records(hand);
        for record in &sent {
            let answer = hand.answer_of(record, 1, Answer::Identify { predecessor: 0 });
            hand.step(restarted(answer));
        }
        let answer = hand.answer_of(&heartbeat, 1, accepted(0, 0));
        hand.step(restarted(answer));
        (sent.len(), hand.progress(1).answered_at == hand.now)
    };
    let late = [(); 3].map(|()| hand.request(1, 1, Request::Vote { last: LogId::BASE }));
    assert_eq!(heartbeat_answered(&mut hand, &[]), (0, true));
    assert_eq!(heartbeat_answered(&mut hand, &late[..1]), (1, false), "it may have lost data");
    for _ in 0..3 {
        assert_eq!(heartbeat_answered(&mut hand, &late), (0, true), "it has just checked");
    }
    hand.now += hand.config.election_timeout_max;
    hand.step(late[0].clone());
    assert_eq!(records(&mut hand).len(), 1, "its directory may have been rolled back since");
}

/// An answer that names another incarnation of this node, or a request that was never sent, does
/// not count (LR14, AC16).
#[test]
fn lr14_ac16_answers_to_another_life_do_not_count() {
    let mut hand = Setup::of(3).incarnation(3).start();
    hand.campaign_for_votes();
    hand.disk();
    let request = hand.sent[0].clone();
    assert_eq!(request.incarnation, 3);
    let earlier = Envelope { incarnation: 2, ..request.clone() };
    hand.reply(&earlier, Answer::Vote { granted: true, held: None });
    let never = Envelope { id: 900, ..request.clone() };
    hand.reply(&never, Answer::Vote { granted: true, held: None });
    assert_eq!((hand.role(), hand.status().counters.ignored_messages), (Role::Candidate, 2));
    hand.reply(&request, Answer::Vote { granted: true, held: None });
    assert_eq!(hand.role(), Role::Leader);
}

/// Entries that are all there already are acknowledged like new ones; otherwise the leader would
/// send them for ever (LR27).
#[test]
fn lr27_entries_that_are_there_already_are_acknowledged() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.hear(1, 1, append(LogId::BASE, &[1, 1], 0));
    let answer = hand.append_answer();
    assert_eq!((answer.outcome, answer.report.matched), (AppendOutcome::Accepted, 2));
}

/// Two leaders in one term indicate a broken cluster: an alarm, and the second is not followed.
#[test]
fn a_second_leader_of_a_term_raises_an_alarm() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    hand.hear(2, 1, append(LogId::BASE, &[1], 0));
    assert_eq!((hand.status().counters.safety_alarms, hand.terms()), (1, vec![]));
    let mut leader = Setup::of(3).lead();
    leader.hear(2, 1, append(LogId::BASE, &[1, 1], 0));
    assert_eq!((leader.status().counters.safety_alarms, leader.role()), (1, Role::Leader));
}
