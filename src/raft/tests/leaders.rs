//! The leader's half of replication, by the catalogue's ids: how answers count, what is sent, what
//! is committed.

use super::hand::*;
use super::world::MILLISECOND;
use crate::raft::state::ProgressState;
use crate::raft::*;

/// What `node` has acknowledged, and the next index to send.
fn progress(hand: &Hand, node: NodeId) -> (Index, Index) {
    let progress = &hand.progress(node);
    (progress.matched, progress.next)
}

/// Figure 8 of the paper: an entry of an older term on a majority is not committed, and may still
/// be lost.
#[test]
fn lr01_old_entries_on_a_majority_are_not_committed() {
    let mut hand = Setup::of(5).log(&[1, 2]).with(|config| config.noop_on_election = false).lead();
    for node in [1, 2] {
        let request = hand.append(node);
        hand.reply(&request, accepted(2, 0));
    }
    assert_eq!(hand.status().commit, 0, "entry 2@2 is on three of five, in term 3");
    hand.propose_many(1);
    for node in [1, 2] {
        hand.accept_all(node);
    }
    assert_eq!(hand.status().commit, 3);
}

/// An answer counts for what its request covered, however much has been appended since (LR04).
#[test]
fn lr04_an_answer_counts_for_its_request() {
    let mut hand = Setup::of(3).lead();
    let first = hand.append(1);
    hand.propose_many(5);
    hand.accept(&first);
    assert_eq!((progress(&hand, 1).0, hand.status().commit), (1, 1));
}

/// An answer that claims more than the leader has, or a round that has not begun, is ignored
/// (LR05).
#[test]
fn lr05_an_answer_that_claims_too_much_is_ignored() {
    let mut hand = Setup::of(3).lead();
    let request = hand.append(1);
    for answer in [accepted(2, 0), accepted(1, 7)] {
        hand.reply(&request, answer);
    }
    assert_eq!((progress(&hand, 1).0, hand.status().counters.ignored_messages), (0, 2));
    hand.reply(&request, accepted(1, 0));
    assert_eq!(progress(&hand, 1).0, 1);
}

#[test]
fn lr07_commit_needs_a_majority_whoever_is_first() {
    let mut hand = Setup::of(5).lead();
    hand.propose_many(2);
    hand.accept_all(4);
    assert_eq!(hand.status().commit, 0);
    let request = hand.appends(2).remove(0);
    hand.accept(&request);
    assert_eq!(hand.status().commit, 1);
    hand.accept_all(1);
    assert_eq!(hand.status().commit, 3);
}

/// In a joint configuration commits and elections need both majorities (MB03); a leader outside of
/// them does not count itself (MB17).
#[test]
fn mb03_mb17_two_configurations_agree() {
    let members = Membership {
        voters: [0, 1, 2].into(),
        voters_outgoing: [2, 3, 4].into(),
        learners: Default::default(),
    };
    let mut hand = Setup::of(1).members(members).lead();
    hand.accept_all(1);
    assert_eq!(hand.status().commit, 0, "a majority of the incoming alone");
    hand.accept_all(3);
    assert_eq!(hand.status().commit, 0, "one of three of the outgoing");
    hand.accept_all(4);
    assert_eq!(hand.status().commit, 1);
    // Node 0 is only in the outgoing configuration.
    let members = Membership {
        voters: [1, 2, 3].into(),
        voters_outgoing: [0].into(),
        learners: Default::default(),
    };
    let mut hand = Setup::of(1).members(members).lead();
    hand.accept_all(1);
    assert_eq!(hand.status().commit, 0, "one of three");
    hand.accept_all(2);
    assert_eq!(hand.status().commit, 1);
}

/// Learners receive the log and do not count for commits (LR22).
#[test]
fn lr22_learners_commit_nothing() {
    let mut members = Membership::of_voters(0..3);
    members.learners.extend([3, 4]);
    let mut hand = Setup::of(1).members(members).lead();
    hand.accept_all(3);
    hand.accept_all(4);
    assert_eq!(hand.status().commit, 0);
    hand.accept_all(1);
    assert_eq!(hand.status().commit, 1);
}

/// A heartbeat names what the member is known to hold and commits no more, even if next is further
/// (LR13, A82).
#[test]
fn lr13_a82_a_heartbeat_names_what_is_known() {
    let mut hand = Setup::of(3).log(&[1, 1]).lead();
    hand.accept_all(1);
    hand.propose_many(2);
    hand.appends(1);
    hand.accept_all(2);
    assert_eq!(hand.status().commit, 5);
    hand.now += 101 * MILLISECOND;
    hand.after(0);
    let beat = hand.appends(1).remove(0);
    let beat = append_of(&beat);
    assert_eq!((beat.prev, beat.entries.len(), beat.commit), (id(3, 2), 0, 3));
    let mut fresh = Setup::of(3).log(&[1, 1]).lead();
    fresh.appends(1);
    fresh.after(100);
    let beat = fresh.append(1);
    assert_eq!((append_of(&beat).prev, append_of(&beat).commit), (LogId::BASE, 0));
}

/// Late and repeated answers, and those to abandoned requests, count for what they say, and undo no
/// progress (LR14).
#[test]
fn lr14_late_answers_turn_nothing_back() {
    let mut hand = Setup::of(3).log(&[1, 1]).lead();
    let probe = hand.append(1);
    hand.reply(&probe, rejected(0, 2, LogId::BASE));
    hand.accept_all(1);
    hand.propose_many(2);
    hand.accept_all(1);
    assert_eq!(progress(&hand, 1), (5, 6));
    hand.reply(&probe, rejected(0, 2, LogId::BASE));
    hand.reply(&probe, accepted(1, 0));
    assert_eq!(progress(&hand, 1), (5, 6));
    // A rejection above what is acknowledged, of a request that is not under way any more.
    hand.propose_many(1);
    let request = hand.append(1);
    hand.after(150);
    let question = hand.append(1);
    assert_eq!((last_of(&question), progress(&hand, 1)), (6, (5, 7)), "given up: does it hold 6?");
    hand.reply(&question, rejected(5, 6, id(5, 2)));
    let again = hand.append(1);
    assert_eq!((last_of(&again), progress(&hand, 1)), (6, (5, 6)), "no, and it is sent it again");
    hand.reply(&request, rejected(5, 5, LogId::BASE));
    assert!(hand.appends(1).is_empty(), "the answer to the lost one changes nothing");
    hand.accept(&again);
    hand.propose_many(2);
    hand.appends(1);
    hand.reply(&request, rejected(0, 7, id(2, 1)));
    assert_eq!(progress(&hand, 1), (6, 9), "nor does one of a request that is not under way");
    assert_eq!(hand.status().counters.safety_alarms, 0);
}

/// A rejection below what the member has acknowledged meanwhile moves next back to there and no
/// further (LR14).
#[test]
fn lr14_a_reject_never_rewinds_below_the_match() {
    let mut hand = Setup::of(3).log(&[1; 9]).lead();
    let probe = hand.append(1);
    hand.after(100);
    let beat = hand.append(1);
    hand.reply(&beat, accepted(5, 0));
    hand.reply(&probe, rejected(5, 9, LogId::BASE));
    assert_eq!(progress(&hand, 1), (5, 6));
    assert_eq!(append_of(&hand.append(1)).prev, id(5, 1));
}

/// An answer of an earlier term of the same leader does not count in this one (LR14, LR24).
#[test]
fn lr14_answers_of_an_earlier_term_do_not_count() {
    let mut hand = Setup::of(3).lead();
    let request = hand.append(1);
    hand.after(601);
    assert_eq!(hand.role(), Role::Follower);
    hand.sent.clear();
    hand.win();
    assert_eq!(hand.term(), 2);
    hand.reply(&request, accepted(1, 0));
    assert_eq!((progress(&hand, 1).0, hand.status().counters.ignored_messages), (0, 1));
}

/// A deposed leader appends no entry of its own, in any term (LR15).
#[test]
fn lr15_a_deposed_leader_appends_nothing() {
    let mut hand = Setup::of(3).lead();
    hand.after(601);
    assert_eq!(hand.propose(b"x"), Err(Refusal::NotLeader(None)));
    hand.hear(1, 2, heartbeat(LogId::BASE, 0));
    assert_eq!(hand.propose(b"x"), Err(Refusal::NotLeader(Some(1))));
    assert_eq!(hand.terms(), [1]);
}

/// A new leader's first request starts at the end of its old log, and its blank entry follows that
/// (LR16, LR17).
#[test]
fn lr16_lr17_a_new_leader_begins_with_a_blank_entry() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    hand.campaign_for_votes();
    hand.disk();
    let request = hand.sent.remove(0);
    hand.sent.clear();
    let answer = hand.answer_of(&request, 2, Answer::Vote { granted: true, held: None });
    hand.raft.step(hand.now, answer);
    hand.raft.propose(hand.now, 5, Default::default()).expect("a leader, from the vote on");
    hand.collect();
    let first = hand.append(1);
    let kinds: Vec<_> = append_of(&first).entries.iter().map(|e| (e.kind, e.log_id)).collect();
    assert_eq!(kinds, [(EntryKind::Blank, id(3, 2)), (EntryKind::Command, id(4, 2))]);
    assert_eq!(append_of(&first).prev, id(2, 1));
}

/// Members probed without new entries still learn of the leader, and the leader learns their
/// positions (LR17, LR23).
#[test]
fn lr23_a_member_is_probed_even_with_nothing_to_send() {
    let mut hand = Setup::of(3).log(&[1]).with(|config| config.noop_on_election = false).lead();
    let probe = hand.append(1);
    assert_eq!((append_of(&probe).prev, append_of(&probe).entries.len()), (id(1, 1), 0));
    hand.reply(&probe, rejected(0, 1, LogId::BASE));
    let entries = hand.append(1);
    assert_eq!((append_of(&entries).prev, last_of(&entries)), (LogId::BASE, 1));
}

/// The window bounds the requests and bytes under way to one member, and every way a request can
/// end frees its share (LR18).
#[test]
fn lr18_the_window_opens_again() {
    let setup = Setup::of(3).with(|config| {
        (config.window_messages, config.append_entries) = (3, 1);
    });
    let mut hand = setup.lead();
    hand.accept_all(1);
    hand.propose_many(10);
    let requests = hand.appends(1);
    assert_eq!(requests.len(), 3);
    hand.accept(&requests[0]);
    assert_eq!(hand.appends(1).len(), 1);
    hand.accept(&requests[2]);
    assert_eq!(hand.appends(1).len(), 2, "it covers the one before");
    hand.after(150);
    assert_eq!(hand.appends(1).len(), 1, "all lost: one at a time until it answers");
    let bytes = Setup::of(3).with(|config| {
        (config.window_bytes, config.append_entries) = (60, 1);
    });
    let mut hand = bytes.lead();
    hand.accept_all(1);
    hand.propose_many(10);
    assert_eq!(hand.appends(1).len(), 2, "33 bytes an entry");
}

/// Uncommitted bytes are released when entries commit, and when a successor removes them (LR18).
#[test]
fn lr18_uncommitted_bytes_are_given_back() {
    let mut hand = Setup::of(3).with(|config| config.uncommitted_bytes = 100).lead();
    hand.accept_all(1);
    let mut accepted = 0;
    while hand.propose(b"x").is_ok() {
        accepted += 1;
        assert!(accepted < 10);
    }
    assert_eq!((accepted, hand.propose(b"x")), (3, Err(Refusal::Busy)));
    hand.disk();
    hand.accept_all(1);
    assert!(hand.propose(b"x").is_ok());
    hand.disk();
    hand.hear(1, 2, append(id(4, 1), &[2], 5));
    hand.disk();
    hand.sent.clear();
    hand.now += 700 * MILLISECOND;
    hand.win();
    hand.accept_all(1);
    let big = hand.does(|raft, now| raft.propose(now, 0, vec![0; 500].into()));
    assert!(big.is_ok(), "with nothing uncommitted one always goes");
}

/// Others commit what a slow disk has not written here: the leader's limit for unwritten entries is
/// a follower's.
#[test]
fn a_leader_with_a_slow_disk_takes_no_more_than_its_disk_may_owe() {
    let mut hand = Setup::of(3).with(|config| config.unpersisted_bytes = 100).lead();
    hand.accept_all(1);
    hand.disk();
    let mut accepted = 0;
    while hand.propose(b"x").is_ok() {
        hand.accept_all(1);
        hand.accept_all(2);
        accepted += 1;
        assert!(accepted < 10, "{:?}", hand.status());
    }
    assert_eq!((accepted, hand.propose(b"x")), (3, Err(Refusal::Busy)));
    assert_eq!(hand.status().commit, hand.status().last.index, "committed by the others");
    hand.disk();
    assert!(hand.propose(b"x").is_ok());
}

/// The entries of a request are bounded in number and bytes (A43); members at the same position are
/// sent the same entries, not copies.
#[test]
fn a43_requests_are_limited_and_shared() {
    let limits = |config: &mut RaftConfig| (config.append_entries, config.append_bytes) = (3, 80);
    let mut hand = Setup::of(3).with(limits).lead();
    hand.accept_all(1);
    hand.accept_all(2);
    (0..4).for_each(|_| {
        hand.raft.propose(hand.now, 0, Default::default()).expect("room");
    });
    hand.collect();
    let lengths: Vec<_> = hand.appends(1).iter().map(|e| append_of(e).entries.len()).collect();
    assert_eq!(lengths, [2, 2], "32 bytes an entry");
    let mut hand = Setup::of(3).with(|config| config.append_entries = 3).lead();
    hand.accept_all(1);
    (0..4).for_each(|_| {
        hand.raft.propose(hand.now, 0, Default::default()).expect("room");
    });
    hand.collect();
    let lengths: Vec<_> = hand.appends(1).iter().map(|e| append_of(e).entries.len()).collect();
    assert_eq!(lengths, [3, 1]);
    let mut hand = Setup::of(3).lead();
    let (to_1, to_2) = (hand.append(1), hand.append(2));
    assert!(std::ptr::eq(&append_of(&to_1).entries[0], &append_of(&to_2).entries[0]));
}

/// Members at different positions are sent the entries that follow there.
#[test]
fn a43_members_at_different_places_get_different_entries() {
    let mut hand = Setup::of(3).lead();
    hand.accept_all(1);
    hand.propose_many(2);
    hand.accept_all(1);
    let late = hand.append(2);
    hand.accept(&late);
    let next = hand.appends(2);
    assert_eq!((append_of(&next[0]).prev, last_of(next.last().expect("entries"))), (id(1, 1), 3));
}

/// While a member is probed there is one request at a time, until its log is known to match
/// somewhere; only the probe's own answer ends it.
#[test]
fn a_probe_is_one_request_at_a_time() {
    let mut hand = Setup::of(3).log(&[1, 1]).lead();
    hand.propose_many(3);
    let probe = hand.append(1);
    hand.after(100);
    let beat = hand.append(1);
    assert!(append_of(&beat).entries.is_empty(), "a heartbeat goes all the same");
    hand.accept(&beat);
    assert!(hand.appends(1).is_empty(), "what a heartbeat shows is not what the probe asks");
    hand.after(50);
    let question = hand.append(1);
    assert!(
        append_of(&question).entries.is_empty(),
        "lost after the request timeout: is it there?"
    );
    hand.reply(&question, rejected(0, 6, LogId::BASE));
    assert_eq!(append_of(&hand.append(1)).entries.len(), 6, "it is, and has nothing");
    hand.accept(&probe);
    assert!(matches!(hand.progress(1).state, ProgressState::Replicate { .. }));
}

/// A busy member is left alone for a heartbeat interval; then the same entries are sent again.
#[test]
fn a_busy_member_is_asked_again_later() {
    let mut hand = Setup::of(3).lead();
    hand.accept_all(1);
    hand.propose_many(1);
    let request = hand.append(1);
    let busy = Answer::Append(AppendAnswer { report: report(1, 0), outcome: AppendOutcome::Busy });
    hand.reply(&request, busy);
    assert_eq!((hand.appends(1).len(), progress(&hand, 1)), (0, (1, 2)));
    hand.after(99);
    assert!(hand.appends(1).iter().all(|e| append_of(e).entries.is_empty()));
    hand.after(1);
    let again = hand.appends(1);
    assert!(again.iter().any(|e| last_of(e) == 2 && append_of(e).entries.len() == 1), "{again:?}");
}

/// Messages that the transport reports lost are sent again after an interval, without waiting for
/// the request's timeout.
#[test]
fn what_the_transport_lost_is_sent_again() {
    let mut hand = Setup::of(3).lead();
    let probe = hand.append(1);
    hand.does(|raft, now| raft.undelivered(now, 1, 77));
    hand.after(100);
    assert!(
        hand.appends(1).iter().all(|e| append_of(e).entries.is_empty()),
        "not a request of its"
    );
    hand.does(|raft, now| raft.undelivered(now, 1, probe.id));
    hand.after(100);
    let again = hand.appends(1);
    assert!(again.iter().any(|e| last_of(e) == 1 && append_of(e).entries.len() == 1), "{again:?}");
    again.iter().filter(|e| last_of(e) == 1).for_each(|e| hand.accept(e));
    hand.propose_many(2);
    let lost = hand.appends(1);
    hand.does(|raft, now| raft.undelivered(now, 1, 77));
    assert_eq!(progress(&hand, 1), (1, 4), "not a request of its");
    hand.does(|raft, now| raft.undelivered(now, 1, lost[0].id));
    assert!(hand.appends(1).is_empty());
    hand.after(100);
    assert!(hand.appends(1).iter().any(|e| last_of(e) == 3), "both in one");
}

/// A restarted member is probed anew: what was under way to its earlier incarnation is lost (LR24,
/// AC16).
#[test]
fn lr24_a_restarted_member_is_probed_from_what_it_acknowledged() {
    let mut hand = Setup::of(3).lead();
    hand.accept_all(1);
    hand.propose_many(3);
    assert_eq!(progress(&hand, 1), (1, 5));
    hand.appends(1);
    hand.after(100);
    let beat = hand.appends(1).remove(0);
    let answer = hand.answer_of(&beat, 1, accepted(1, 0));
    hand.step(Envelope { incarnation: 2, ..answer });
    let again = hand.append(1);
    assert_eq!((append_of(&again).prev, last_of(&again)), (id(1, 1), 4));
}

/// An answer that arrives at a node that does not lead is ignored (LR21).
#[test]
fn lr21_answers_for_a_leader_find_none() {
    let mut hand = Setup::of(3).lead();
    let request = hand.append(1);
    hand.after(601);
    assert_eq!((hand.role(), hand.term()), (Role::Follower, 1));
    hand.reply(&request, accepted(1, 0));
    assert_eq!((hand.status().counters.ignored_messages, hand.status().commit), (1, 0));
}

/// A stopped peer sends nothing more: messages are sent only through `ready` (A44).
#[test]
fn a44_nothing_leaves_but_by_ready() {
    let mut hand = Setup::of(3).lead();
    hand.sent.clear();
    hand.raft.propose(hand.now, 0, Default::default()).expect("room");
    hand.raft.tick(hand.now + 100 * MILLISECOND);
    let mut twin = hand.raft.clone();
    assert_eq!(twin.ready(), hand.raft.ready(), "and twice the same");
    assert!(hand.raft.ready().is_empty(), "each thing once");
}

/// From the first one on, a term's timestamps advance with the leader's monotonic clock, whatever
/// the wall clock shows.
#[test]
fn a_wall_clock_that_jumps_moves_no_stamp_before_another_leader_comes() {
    let mut hand = Setup::of(3).lead();
    let mut stamps = Vec::new();
    for (passed_ms, wall_ms) in [(0, 5_000), (7, u64::MAX), (100, 0), (0, 9_000_000_000)] {
        hand.now += passed_ms * MILLISECOND;
        let log_id = hand.raft.propose(hand.now, wall_ms, Default::default()).expect("a leader");
        hand.collect();
        let entries = hand.steps.back().map(|step| step.change.append.clone()).unwrap_or_default();
        stamps.extend(entries.iter().filter(|e| e.log_id == log_id).map(|e| e.stamp_ms));
        hand.disk();
    }
    assert_eq!(stamps, [5_000, 5_007, 5_107, 5_107]);
}
