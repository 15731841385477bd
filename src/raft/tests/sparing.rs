//! What saves messages, and what it must not cost: batches, minimum distances, commit notices,
//! members that count with their leader, campaigns that probe, deadlines.

use super::hand::*;
use super::world::MILLISECOND;
use crate::raft::*;

fn sparing(config: &mut RaftConfig) {
    config.batch_delay = 2 * MILLISECOND;
    config.append_interval = 10 * MILLISECOND;
    config.commit_notice = Some(5 * MILLISECOND);
    config.retry_interval = 20 * MILLISECOND;
    config.noop_on_election = false;
}

/// A leader of `size` members, all of which have answered it once.
fn settled(size: u64) -> Hand {
    let mut hand = Setup::of(size).with(sparing).lead();
    (1..size).for_each(|node| hand.accept_all(node));
    hand
}

fn count(hand: &mut Hand, node: NodeId) -> Vec<usize> {
    hand.appends(node).iter().map(|request| append_of(request).entries.len()).collect()
}

// ---- batches and distances -------------------------------------------------------------------

/// Proposals of one moment are sent together; the next batch begins with later ones.
#[test]
fn a_batch_waits_for_company() {
    let mut hand = settled(3);
    hand.propose_many(1);
    hand.after(1);
    hand.propose_many(2);
    assert_eq!(count(&mut hand, 1), [] as [usize; 0]);
    hand.after(1);
    assert_eq!(count(&mut hand, 1), [3]);
    hand.propose_many(1);
    hand.after(1);
    assert_eq!(count(&mut hand, 1), [] as [usize; 0], "the next batch waits again");
}

/// Small messages to one member keep a minimum distance; a full one does not wait.
#[test]
fn small_messages_keep_their_distance() {
    let mut hand = settled(3);
    hand.propose_many(1);
    hand.after(2);
    hand.propose_many(1);
    hand.after(9);
    assert_eq!(count(&mut hand, 1), [1]);
    hand.after(1);
    assert_eq!(count(&mut hand, 1), [1]);
    hand.propose_many(100);
    hand.after(2);
    assert_eq!(count(&mut hand, 1), [60], "2,000 bytes are full");
    hand.after(10);
    assert_eq!(count(&mut hand, 1), [40], "the rest is not");
}

#[test]
fn a_message_that_is_just_full_does_not_wait() {
    let mut hand = Setup::of(3).with(sparing).with(|config| config.append_bytes = 66).lead();
    (1..3).for_each(|node| hand.accept_all(node));
    for together in [1, 2] {
        hand.propose_many(together);
        hand.after(2);
        assert_eq!(count(&mut hand, 1), [together as usize], "33 bytes each");
    }
}

/// Entries that waited for the disk are sent with the information that the leader's copy is
/// durable.
#[test]
fn entries_leave_with_what_is_durable_at_the_leader() {
    let mut hand = settled(3);
    hand.propose_many(1);
    hand.disk();
    hand.after(2);
    assert_eq!(append_of(&hand.append(1)).leader_durable, 1);
    hand.propose(b"late").expect("leading");
    hand.after(12);
    assert_eq!(append_of(&hand.append(1)).leader_durable, 1, "2 is on its way to the disk");
}

// ---- commit without a notice ------------------------------------------------------------------

fn with_durable(request: Request, leader_durable: Index) -> Request {
    match request {
        Request::Append(append) => {
            Request::Append(Append { leader_durable, leader_last: 9, ..append })
        }
        other => other,
    }
}

/// Two of three are a quorum: what is durable at the leader is committed once it is durable here.
#[test]
fn a_member_of_three_counts_its_leader_and_itself() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 2, with_durable(append(LogId::BASE, &[2, 2, 2], 0), 2));
    assert_eq!(hand.status().commit, 0, "nothing is durable here yet");
    hand.disk();
    assert_eq!(hand.status().commit, 2, "3 is not durable at the leader");
    hand.hear(1, 2, with_durable(heartbeat(id(3, 2), 0), 3));
    assert_eq!(hand.status().commit, 3);
}

/// Raft §5.4.2 (LR01): entries of earlier terms are not counted, whichever members hold them.
#[test]
fn lr01_a_member_counts_only_entries_of_the_leaders_own_term() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 3, with_durable(append(LogId::BASE, &[1, 2], 0), 2));
    hand.disk();
    assert_eq!(hand.status().commit, 0);
    hand.hear(1, 3, with_durable(append(id(2, 2), &[3], 0), 3));
    hand.disk();
    assert_eq!(hand.status().commit, 3, "one of its own term takes them along");
}

/// Not counted: two of five; a learner; a damaged member, as it or its leader reports.
#[test]
fn who_does_not_count_commits_nothing_by_itself() {
    let request = || with_durable(append(LogId::BASE, &[2], 0), 1);
    let mut learner = Membership::of_voters(1..4);
    learner.learners.insert(0);
    let setups = [Setup::of(5), Setup::of(3).members(learner), Setup::of(3).damaged()];
    for setup in setups {
        let mut hand = setup.start();
        hand.hear(1, 2, request());
        hand.disk();
        assert_eq!((hand.status().last.index, hand.status().commit), (1, 0));
    }
    let mut hand = settled(3);
    hand.raft.role.progress_mut(1).expect("a member").recovering = true;
    hand.propose_many(1);
    hand.disk();
    hand.after(2);
    assert_eq!(append_of(&hand.append(1)).leader_durable, 0);
    assert_eq!(append_of(&hand.append(2)).leader_durable, 1);
}

/// The durable index of an earlier leader does not count for its successor.
#[test]
fn a_new_leader_says_anew_what_is_durable() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 2, with_durable(append(LogId::BASE, &[2], 0), 9));
    hand.hear(2, 3, append(id(1, 2), &[3], 0));
    hand.disk();
    assert_eq!((hand.status().last, hand.status().commit), (id(2, 3), 0));
}

// ---- notices ---------------------------------------------------------------------------------

/// Members that can't know of a commit are notified a little later, once, if nothing else does it.
#[test]
fn a_commit_is_told_a_little_later() {
    let mut hand = settled(5);
    hand.propose_many(1);
    hand.disk();
    hand.after(2);
    (1..=3).for_each(|node| hand.accept_all(node));
    assert_eq!(hand.status().commit, 1);
    hand.after(4);
    assert_eq!(count(&mut hand, 1), [] as [usize; 0]);
    hand.after(1);
    let told = hand.append(1);
    assert_eq!((append_of(&told).entries.len(), append_of(&told).commit), (0, 1));
    assert_eq!(count(&mut hand, 4), [1], "it does not hold the entry yet");
    hand.accept(&told);
    hand.after(50);
    assert_eq!(count(&mut hand, 1), [] as [usize; 0], "once");
    hand.propose_many(1);
    hand.disk();
    hand.after(2);
    (2..=3).for_each(|node| hand.accept_all(node));
    hand.propose_many(1);
    hand.after(10);
    hand.accept_all(1);
    assert_eq!(hand.status().commit, 2);
}

/// Of three, a member knows by itself, and is sent nothing.
#[test]
fn who_knows_of_a_commit_is_not_told() {
    let mut hand = settled(3);
    hand.propose_many(1);
    hand.disk();
    hand.after(2);
    (1..=2).for_each(|node| hand.accept_all(node));
    assert_eq!(hand.status().commit, 1);
    hand.after(90);
    assert_eq!(count(&mut hand, 1), [] as [usize; 0]);
    hand.after(10);
    assert_eq!(count(&mut hand, 1), [0], "until the next heartbeat");
}

// ---- members that do not answer --------------------------------------------------------------

/// A silent member is sent no entries, however much is proposed; once it answers, it gets them all.
#[test]
fn a_silent_member_is_asked_and_sent_nothing() {
    let mut hand = settled(3);
    hand.propose_many(1);
    hand.after(2);
    assert_eq!(count(&mut hand, 1), [1]);
    hand.after(150);
    assert_eq!(count(&mut hand, 1), [0], "given up: is it there?");
    hand.propose_many(1);
    hand.after(5);
    assert_eq!(count(&mut hand, 1), [] as [usize; 0], "it was asked just now");
    hand.after(95);
    hand.sent_to(1);
    hand.accept_all(2);
    hand.propose_many(1);
    hand.after(150);
    let question = hand.append(1);
    assert_eq!((append_of(&question).entries.len(), last_of(&question)), (0, 1), "does it hold 1?");
    hand.accept(&question);
    assert_eq!(count(&mut hand, 1), [2], "it does: the other two");
}

/// A late rejection counts even if its request was given up and repeated: the network may be slow.
#[test]
fn a_late_reject_answers_the_question_that_is_open() {
    let mut hand = Setup::of(3).with(sparing).log(&[1, 1, 1]).lead();
    let first = hand.append(1);
    hand.after(150);
    let again = hand.append(1);
    assert_eq!(append_of(&again).prev, append_of(&first).prev);
    hand.reply(&first, rejected(0, 3, LogId::BASE));
    assert_eq!(count(&mut hand, 1), [3]);
    hand.reply(&again, rejected(0, 3, LogId::BASE));
    assert_eq!(count(&mut hand, 1), [] as [usize; 0], "and counts once");
}

/// A heartbeat reported lost is sent again soon, not an interval later.
#[test]
fn a_lost_heartbeat_goes_again() {
    let mut hand = settled(3);
    hand.after(100);
    let lost = hand.append(1);
    hand.does(|raft, now| raft.undelivered(now, 1, lost.id));
    hand.after(19);
    assert_eq!(count(&mut hand, 1), [] as [usize; 0]);
    hand.after(1);
    assert_eq!(count(&mut hand, 1), [0]);
}

/// A member with a slow disk reports what it has received, so that is not sent again.
#[test]
fn what_a_slow_disk_still_writes_is_not_sent_again() {
    let mut hand = settled(3);
    hand.propose_many(1);
    hand.after(2);
    let entries = hand.append(1);
    hand.after(150);
    let question = hand.append(1);
    hand.reply(&question, accepted(0, append_of(&question).round));
    assert_eq!(count(&mut hand, 1), [] as [usize; 0], "it holds 1, and writes it");
    hand.propose_many(1);
    hand.after(10);
    assert_eq!(append_of(&hand.append(1)).prev.index, 1);
    hand.accept(&entries);
    assert_eq!(hand.progress(1).matched, 1);
}

/// A silent member is probed no more often than heartbeats are due, even with short timeouts.
#[test]
fn a_silent_member_is_asked_as_often_as_a_heartbeat_is_due() {
    let few = |config: &mut RaftConfig| {
        sparing(config);
        config.request_timeout = 30 * MILLISECOND;
    };
    let mut hand = Setup::of(3).with(few).lead();
    (1..3).for_each(|node| hand.accept_all(node));
    hand.propose_many(1);
    hand.after(2);
    assert_eq!(count(&mut hand, 1), [1]);
    hand.accept_all(2);
    hand.after(30);
    assert_eq!(count(&mut hand, 1), [0], "given up: is it there?");
    hand.after(30);
    hand.accept_all(2);
    hand.after(30);
    assert_eq!(count(&mut hand, 1), [] as [usize; 0]);
    hand.accept_all(2);
    hand.after(40);
    assert_eq!(count(&mut hand, 1), [0], "a heartbeat's time");
}

/// New entries are a reason to probe earlier, a request timeout after the last probe.
#[test]
fn a_silent_member_is_asked_again_for_news() {
    let few = |config: &mut RaftConfig| {
        sparing(config);
        config.request_timeout = 30 * MILLISECOND;
    };
    let mut hand = Setup::of(3).with(few).lead();
    (1..3).for_each(|node| hand.accept_all(node));
    hand.propose_many(1);
    hand.after(2);
    hand.accept_all(2);
    assert_eq!(count(&mut hand, 1), [1]);
    hand.after(30);
    assert_eq!(count(&mut hand, 1), [0], "given up: is it there?");
    hand.propose_many(1);
    hand.after(29);
    hand.accept_all(2);
    assert_eq!(count(&mut hand, 1), [] as [usize; 0], "that question is still open");
    hand.after(1);
    assert_eq!(count(&mut hand, 1), [0]);
}

/// A read asks silent members too: one that is back confirms it.
#[test]
fn rd03_a_read_asks_silent_members() {
    let mut hand = settled(3);
    hand.propose_many(1);
    hand.disk();
    hand.after(2);
    (1..3).for_each(|node| hand.accept_all(node));
    hand.propose_many(1);
    hand.after(12);
    hand.after(150);
    hand.sent.clear();
    hand.does(|raft, now| raft.read_index(now)).expect("leading");
    let question = hand.append(1);
    assert_eq!(append_of(&question).round, 1);
    hand.accept(&question);
    assert_eq!(hand.out.reads_confirmed.len(), 1);
}

/// No rejection, whatever it claims, stops a leader.
#[test]
fn a_reject_of_an_impossible_index_is_passed_over() {
    let mut hand = Setup::of(3).with(sparing).log(&[1, 1, 1]).lead();
    let probe = hand.append(1);
    hand.does(|raft, now| raft.undelivered(now, 1, probe.id));
    hand.reply(&probe, rejected(0, Index::MAX, LogId::BASE));
    assert_eq!(hand.progress(1).next, 4);
}

/// Without a blank entry a new leader repeats a lost first probe and finds the member's position.
#[test]
fn a_lost_first_probe_is_made_up_for() {
    let mut hand = Setup::of(3).with(sparing).log(&[1, 1, 1]).lead();
    assert_eq!(count(&mut hand, 1), [0]);
    hand.after(150);
    let question = hand.append(1);
    assert_eq!(append_of(&question).prev, id(3, 1), "does it hold what is here?");
    hand.reply(&question, rejected(0, 3, LogId::BASE));
    assert_eq!(count(&mut hand, 1), [3]);
}

/// A slow disk is not silence: while entries wait for it, heartbeats are sent and answered.
#[test]
fn el18_a_slow_disk_at_the_members_deposes_nobody() {
    let patient = |config: &mut RaftConfig| config.request_timeout = 5_000 * MILLISECOND;
    let mut hand = Setup::of(3).with(patient).lead();
    for _ in 0..40 {
        hand.propose_many(1);
        hand.after(50);
        let beats = hand.appends(1).into_iter().filter(|e| append_of(e).entries.is_empty());
        for beat in beats.collect::<Vec<_>>() {
            hand.reply(&beat, accepted(0, append_of(&beat).round));
        }
    }
    assert_eq!(hand.role(), Role::Leader);
}

// ---- campaigns -------------------------------------------------------------------------------

fn asked(hand: &mut Hand) -> Vec<NodeId> {
    let is_question = |e: &Envelope| matches!(e.body, Body::Request(Request::PreVote { .. }));
    std::mem::take(&mut hand.sent).iter().filter(|e| is_question(e)).map(|e| e.to).collect()
}

/// The silent leader is not asked; without an answer: one member a round; after an answer: all.
#[test]
fn el18_a_campaign_knocks() {
    let mut hand = Setup::of(5).start();
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    hand.disk();
    hand.sent.clear();
    hand.after(601);
    let first = asked(&mut hand);
    assert!(first.len() == 2 && !first.contains(&1), "{first:?}");
    hand.after(601);
    assert_eq!(asked(&mut hand).len(), 1);
    hand.campaign();
    let probe = hand.sent[0].clone();
    assert_eq!(asked(&mut hand).len(), 1);
    hand.reply(&probe, Answer::PreVote { campaign_term: 2, granted: true });
    assert_eq!(asked(&mut hand).len(), 3, "and the others too");
}

/// Votes are requested from all members but those that refused the pre-vote.
#[test]
fn votes_are_asked_of_the_willing() {
    let mut hand = Setup::of(5).start();
    hand.campaign();
    let first = std::mem::take(&mut hand.sent);
    assert_eq!(first.len(), 2, "just enough");
    hand.reply(&first[0], Answer::PreVote { campaign_term: 1, granted: false });
    let rest = std::mem::take(&mut hand.sent);
    assert_eq!(rest.len(), 2, "somebody is there: all the others");
    hand.reply(&rest[0], Answer::PreVote { campaign_term: 1, granted: true });
    hand.reply(&first[1], Answer::PreVote { campaign_term: 1, granted: true });
    hand.disk();
    let asked: Vec<_> = hand.votes_asked().iter().map(|e| e.to).collect();
    let mut willing = vec![first[1].to, rest[0].to, rest[1].to];
    willing.sort_unstable();
    assert_eq!(asked, willing);
}

/// Raft §5.1: if others answer, a silent member is asked again, in either half of a campaign.
#[test]
fn who_does_not_answer_is_asked_again() {
    let mut hand = Setup::of(5).start();
    hand.campaign();
    let first = std::mem::take(&mut hand.sent);
    hand.after(150);
    assert!(hand.sent.is_empty(), "nobody answers: {:?}", hand.sent);
    hand.reply(&first[0], Answer::PreVote { campaign_term: 1, granted: true });
    hand.sent.clear();
    hand.after(149);
    assert!(hand.sent.is_empty(), "{:?}", hand.sent);
    hand.after(1);
    let again = std::mem::take(&mut hand.sent);
    assert_eq!(again.len(), 3, "{again:?}");
    hand.reply(&again[0], Answer::PreVote { campaign_term: 1, granted: true });
    hand.disk();
    let votes = hand.votes_asked();
    hand.reply(&votes[0], Answer::Vote { granted: true, held: None });
    hand.after(150);
    assert_eq!((hand.votes_asked().len(), hand.role()), (3, Role::Candidate));
}

/// An earlier grant does not outweigh the present refusal of the same member: its leader is active.
#[test]
fn el13_a_late_yes_does_not_outweigh_a_no() {
    let mut hand = Setup::of(3).start();
    hand.campaign();
    let mut asked = std::mem::take(&mut hand.sent);
    let first = asked.remove(0);
    let again = loop {
        hand.campaign();
        let sent = hand.sent_to(first.to);
        hand.sent.clear();
        if let Some(again) = sent.into_iter().next() {
            break again;
        }
    };
    hand.reply(&again, Answer::PreVote { campaign_term: 1, granted: false });
    hand.reply(&first, Answer::PreVote { campaign_term: 1, granted: true });
    assert_eq!((hand.role(), hand.term()), (Role::PreCandidate, 0));
}

/// While the own vote is being written no member is asked (again) (PS01): one request waits for
/// each.
#[test]
fn ps01_a_slow_disk_gathers_no_questions() {
    let mut hand = Setup::of(3).start();
    hand.campaign();
    let asked = std::mem::take(&mut hand.sent);
    hand.reply(&asked[0], Answer::PreVote { campaign_term: 1, granted: true });
    hand.sent.clear();
    hand.after(150);
    hand.after(100);
    assert!(hand.sent.is_empty() && hand.role() == Role::Candidate);
    hand.disk();
    assert_eq!(hand.votes_asked().len(), 2);
    hand.after(150);
    assert_eq!(hand.votes_asked().len(), 2, "now they are");
}

/// The leader was restarted and asks for votes: a member that followed it grants its vote at once.
#[test]
fn el18_a_leader_that_asks_for_votes_leads_no_longer() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    hand.disk();
    hand.sent.clear();
    hand.hear(2, 1, pre_vote(2, LogId::BASE));
    assert_eq!(hand.answer(), Answer::PreVote { campaign_term: 2, granted: false });
    hand.hear(1, 1, pre_vote(2, LogId::BASE));
    assert_eq!(hand.answer(), Answer::PreVote { campaign_term: 2, granted: true });
    hand.hear(1, 2, Request::Vote { last: LogId::BASE });
    hand.disk();
    assert!(hand.vote());
}

/// A request reported lost is sent once more, in either half of a campaign.
#[test]
fn a_lost_question_is_asked_again() {
    let mut hand = Setup::of(3).with(sparing).start();
    hand.campaign();
    let lost = hand.sent.remove(0);
    let to = lost.to;
    hand.does(|raft, now| raft.undelivered(now, to, lost.id));
    hand.after(20);
    let again = hand.sent_to(to);
    assert_eq!(again.len(), 1);
    hand.reply(&again[0], Answer::PreVote { campaign_term: 1, granted: true });
    hand.disk();
    let lost = hand.votes_asked().into_iter().find(|e| e.to == to).expect("asked for its vote");
    hand.does(|raft, now| raft.undelivered(now, to, lost.id));
    assert!(hand.sent_to(to).is_empty());
    hand.after(20);
    let vote = hand.sent_to(to).remove(0);
    assert!(matches!(vote.body, Body::Request(Request::Vote { .. })), "{vote:?}");
}

/// A leader that is asked for a pre-vote sends the candidate a heartbeat at once.
#[test]
fn el18_a_leader_answers_a_campaign_with_a_heartbeat() {
    let mut hand = settled(3);
    hand.sent.clear();
    hand.hear(1, 1, pre_vote(2, LogId::BASE));
    assert_eq!(count(&mut hand, 1), [0]);
    assert!(hand.appends(2).is_empty());
}

// ---- deadlines -------------------------------------------------------------------------------

/// A driver that ticks only at deadlines misses nothing: each has an effect, and nothing is
/// earlier.
#[test]
fn ac07_deadlines_are_when_something_is_done() {
    let mut hand = settled(5);
    hand.propose_many(1);
    hand.disk();
    for what in ["the batch leaves", "the commit is told"] {
        let deadline = hand.raft.next_deadline();
        assert!(deadline > hand.now, "{what}: due at {deadline}, it is {}", hand.now);
        hand.now = deadline - 1;
        hand.does(|raft, now| raft.tick(now));
        assert!(hand.sent.is_empty(), "{what}, too early: {:?}", hand.sent);
        hand.now = deadline;
        hand.does(|raft, now| raft.tick(now));
        assert!(!hand.sent.is_empty(), "{what}, not at its deadline");
        (1..5).for_each(|node| hand.accept_all(node));
    }
    let beat = hand.raft.next_deadline();
    assert_eq!(beat, hand.now + 100 * MILLISECOND, "the next heartbeat");
    hand.now = beat;
    hand.does(|raft, now| raft.tick(now));
    assert_eq!(hand.raft.next_deadline(), beat + 100 * MILLISECOND);
    for _ in 0..2 {
        hand.now = hand.raft.next_deadline();
        hand.does(|raft, now| raft.tick(now));
    }
    assert_eq!(hand.now, beat + 200 * MILLISECOND);
    assert_eq!(hand.raft.next_deadline(), hand.now + 1, "nobody has answered: it steps down");
}

/// A request is given up at its time, not at the next heartbeat's.
#[test]
fn ac07_a_request_that_is_given_up_is_due() {
    let mut hand = Setup::of(3).with(sparing).with(|c| c.request_timeout = 30 * MILLISECOND).lead();
    (1..3).for_each(|node| hand.accept_all(node));
    hand.propose_many(1);
    hand.after(2);
    assert_eq!(hand.raft.next_deadline(), hand.now + 30 * MILLISECOND);
}

#[test]
fn a_followers_deadline_is_its_election() {
    let mut hand = Setup::of(3).start();
    let deadline = hand.raft.next_deadline();
    hand.now = deadline - 1;
    hand.does(|raft, now| raft.tick(now));
    assert_eq!(hand.role(), Role::Follower);
    hand.now = deadline;
    hand.does(|raft, now| raft.tick(now));
    assert_eq!(hand.role(), Role::PreCandidate);
    assert!(hand.raft.next_deadline() > deadline);
}

/// A leader without answers asks repeatedly before it steps down; answers may be slow.
#[test]
fn el18_a_leader_in_doubt_asks_again() {
    let few = |config: &mut RaftConfig| {
        sparing(config);
        config.request_timeout = 50 * MILLISECOND;
    };
    let mut hand = Setup::of(3).with(few).lead();
    (1..3).for_each(|node| hand.accept_all(node));
    hand.propose_many(1);
    hand.after(2);
    assert_eq!(count(&mut hand, 1), [1]);
    hand.after(50);
    assert_eq!(count(&mut hand, 1), [0], "given up: is it there?");
    hand.after(50);
    assert_eq!(hand.role(), Role::Leader);
    assert_eq!(count(&mut hand, 1), [0], "nobody answers: once more");
}
