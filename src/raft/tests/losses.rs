//! PS20: members that lost data. How the loss is noticed, what they do until they count again, and
//! what the others do meanwhile.

use super::hand::*;
use super::world::{MILLISECOND, World, config};
use crate::raft::*;

// ---- until it counts again ----------------------------------------------------------

#[test]
fn ps20_a_damaged_node_neither_votes_nor_campaigns() {
    let mut hand = Setup::of(3).damaged().start();
    assert!(hand.status().recovering);
    hand.hear(1, 1, pre_vote(2, id(1, 1)));
    hand.disk();
    assert_eq!(hand.answer(), Answer::PreVote { campaign_term: 2, granted: false });
    hand.hear(1, 1, Request::Vote { last: id(9, 1) });
    hand.disk();
    assert_eq!((hand.vote(), hand.status().vote), (false, None));
    hand.after(5_000);
    hand.campaign();
    assert_eq!((hand.role(), hand.status().counters.campaigns), (Role::Follower, 0));
}

/// It counts again when it durably holds all that its leader has by the leader's own message; until
/// then it reports the recovery.
#[test]
fn ps20_a_damaged_node_counts_again_when_caught_up() {
    let mut hand = Setup::of(3).damaged().start();
    hand.hear(1, 1, append(LogId::BASE, &[1, 1], 2));
    hand.disk();
    let asked = recovery_queries(&mut hand);
    assert_eq!(asked.iter().map(|request| request.to).collect::<Vec<_>>(), [1], "its leader");
    assert!(hand.append_answer().report.recovering);
    hand.reply(&asked[0], Answer::RecoveryQuery { last: 4, leads: true });
    assert!(hand.status().recovering);
    hand.hear(1, 1, append(id(2, 1), &[1, 1, 1], 5));
    assert!(hand.status().recovering, "not durable yet");
    hand.disk();
    assert!(!hand.status().recovering);
    assert_eq!(hand.raft.life, Life { incarnation: 1, ..Life::default() });
    hand.sent.clear();
    hand.now += 400 * MILLISECOND;
    hand.hear(2, 2, Request::Vote { last: id(5, 1) });
    assert_eq!(hand.steps.back().and_then(|step| step.change.hard_state?.vote), Some(2));
}

/// A leader of a later term may have a shorter log: the message of the present leader, in its term,
/// counts (PS20).
#[test]
fn ps20_another_leader_sets_another_mark() {
    let mut hand = Setup::of(3).damaged().start();
    hand.hear(1, 1, append(LogId::BASE, &[1], 0));
    hand.disk();
    let asked = recovery_queries(&mut hand).remove(0);
    hand.reply(&asked, Answer::RecoveryQuery { last: 100, leads: true });
    assert!(hand.status().recovering);
    hand.hear(2, 2, append(LogId::BASE, &[1, 2], 0));
    hand.disk();
    assert!(hand.status().recovering, "the first leader's word says nothing of the second's log");
    let asked = recovery_queries(&mut hand).remove(0);
    assert_eq!((asked.to, asked.term), (2, 2));
    hand.reply(&asked, Answer::RecoveryQuery { last: 2, leads: true });
    assert!(!hand.status().recovering);
}

/// A request sent before the loss that arrives after it names too little; an answer to an earlier
/// incarnation does not count.
#[test]
fn ps20_what_was_sent_before_the_loss_is_no_mark() {
    let mut hand = Setup::of(3).incarnation(2).damaged().start();
    hand.hear(1, 1, append(LogId::BASE, &[1], 0));
    hand.disk();
    assert!(hand.status().recovering, "all that an old request names is there");
    let asked = recovery_queries(&mut hand).remove(0);
    hand.reply(
        &Envelope { incarnation: 1, ..asked.clone() },
        Answer::RecoveryQuery { last: 1, leads: true },
    );
    assert!(hand.status().recovering);
    hand.reply(&asked, Answer::RecoveryQuery { last: 1, leads: true });
    assert!(!hand.status().recovering);
}

/// A member that forgot a vote asks every other voter, because one of them received it; it grants
/// none in the highest of their terms.
#[test]
fn ps20_a_forgotten_vote_is_given_to_nobody_else() {
    let mut setup = Setup::of(3);
    setup.recovered.life.loss = Some(Loss { forgot_vote: true, last: None });
    let mut hand = setup.start();
    assert_eq!(hand.status().waits_for, [1, 2].into());
    hand.hear(1, 3, append(LogId::BASE, &[3], 0));
    hand.disk();
    let asked = recovery_queries(&mut hand);
    let to = |node| asked.iter().rfind(|request| request.to == node).expect("asked").clone();
    hand.reply(&to(1), Answer::RecoveryQuery { last: 1, leads: true });
    assert!(hand.status().recovering, "member 2 may have the vote, in a later term");
    assert_eq!(hand.status().waits_for, [2].into());
    let later = hand.answer_of(&to(2), 7, Answer::RecoveryQuery { last: 0, leads: true });
    hand.step(later);
    assert!(hand.status().recovering && hand.term() == 7);
    hand.hear(1, 8, append(id(1, 3), &[8], 0));
    hand.disk();
    let asked = recovery_queries(&mut hand).remove(0);
    hand.reply(&asked, Answer::RecoveryQuery { last: 2, leads: true });
    hand.disk();
    assert_eq!((hand.status().recovering, hand.status().vote), (false, Some(1)));
    hand.sent.clear();
    hand.now += 400 * MILLISECOND;
    hand.hear(2, 8, Request::Vote { last: id(9, 8) });
    hand.disk();
    assert!(!hand.vote());
}

/// A member that knows which entries it lost goes on voting as if it had them.
#[test]
fn ps20_a_known_loss_votes_by_the_log_that_was() {
    let mut setup = Setup::of(3).log(&[1, 1]);
    setup.recovered.life.loss = Some(Loss { forgot_vote: false, last: Some(id(5, 1)) });
    let mut hand = setup.start();
    for (last, granted) in [(id(4, 1), false), (id(5, 1), true)] {
        hand.hear(1, 2, Request::Vote { last });
        hand.disk();
        hand.sent.retain(|sent| matches!(sent.body, Body::Answer { .. }));
        assert_eq!(hand.vote(), granted);
    }
    hand.after(5_000);
    assert_eq!(hand.status().counters.campaigns, 0, "it can't lead");
}

/// The leader that was heard has been restarted: it leads no more, and its log may have lost an end
/// that others hold.
#[test]
fn ps20_a_restarted_leader_sets_no_mark() {
    let mut setup = Setup::of(3).term(1, Some(1)).log(&[1, 1]);
    setup.recovered.life.loss = Some(Loss { forgot_vote: false, last: Some(id(5, 1)) });
    let mut hand = setup.start();
    // Late: member 1 sent it before it crashed with entries 3 to 5 on their way to its disk.
    hand.hear(1, 1, heartbeat(id(2, 1), 2));
    hand.disk();
    let asked = recovery_queries(&mut hand).remove(0);
    let answer = hand.answer_of(&asked, 1, Answer::RecoveryQuery { last: 2, leads: false });
    hand.step(Envelope { incarnation: 2, ..answer });
    hand.disk();
    assert!(
        hand.status().recovering,
        "it had acknowledged entries 3 to 5, and votes without them now"
    );
}

/// A vote granted before the loss was noticed may have been the second in its term, and survives
/// the recovery: so the term must end.
#[test]
fn ps20_a_vote_given_in_ignorance_is_not_given_again() {
    let (earlier, wiped) = (unborn(1) + 5, unborn(2) + 1);
    // Member 0 had voted for 1 in term 5, which leads; its directory was wiped.
    let mut hand = Setup::of(3).incarnation(wiped).start();
    // The other candidate of term 5 asks; it remembers member 0 and does not accept the vote.
    hand.hear(2, 5, Request::Vote { last: LogId::BASE });
    hand.disk();
    hand.hear(2, 5, peer_record(earlier, LogId::BASE));
    hand.disk();
    hand.hear(1, 5, append(LogId::BASE, &[5], 0));
    hand.disk();
    for _ in 0..3 {
        for asked in recovery_queries(&mut hand) {
            let last = if asked.to == 1 { 1 } else { 0 };
            let answer =
                hand.answer_of(&asked, 5, Answer::RecoveryQuery { last, leads: asked.to == 1 });
            hand.step(answer);
        }
        hand.disk();
        hand.after(100);
        hand.hear(1, 5, heartbeat(id(1, 5), 1));
    }
    hand.sent.clear();
    hand.now += 400 * MILLISECOND;
    // The candidate asks once more, in the same campaign.
    hand.hear(2, 5, Request::Vote { last: id(1, 5) });
    hand.disk();
    let answers: Vec<_> =
        hand.sent.iter().filter(|e| matches!(e.body, Body::Answer { .. })).collect();
    assert!(
        answers.iter().all(|e| !matches!(
            e.body,
            Body::Answer { answer: Answer::Vote { granted: true, .. }, .. }
        )),
        "a second vote in term 5: {answers:?}, {:?}",
        hand.status().vote
    );
}

/// Of two voters the other one holds all that is committed, so it gets the vote of one that lost
/// anything: otherwise there could be no leader. Of three, another member may hold more.
#[test]
fn ps20_one_of_two_voters_votes_for_the_other_whatever_it_lost() {
    let known = Loss { forgot_vote: false, last: Some(id(9, 1)) };
    let unknown = Loss { forgot_vote: true, last: None };
    for (size, loss, granted) in [(2, known, true), (2, unknown, true), (3, unknown, false)] {
        let mut setup = Setup::of(size).log(&[1, 1]);
        setup.recovered.life.loss = Some(loss);
        let mut hand = setup.start();
        hand.hear(1, 2, Request::Vote { last: id(1, 1) });
        hand.disk();
        recovery_queries(&mut hand);
        assert_eq!(hand.vote(), granted, "{size} voters, {loss:?}");
    }
}

/// Two members, one of them wiped, and both running: they recover.
#[test]
fn ps20_two_members_get_well() {
    let mut world = World::new(2, 1, config());
    let leader = world.elect();
    world.load(leader, 5);
    let victim = 1 - leader;
    for _ in 0..2 {
        world.crash(victim);
        world.start(victim);
        world.heal_and_converge();
    }
    world.run_for(3_000 * MILLISECOND);
    world.crash(victim);
    world.run_for(2_000 * MILLISECOND);
    world.wipe(victim);
    world.start(victim);
    world.heal_and_converge();
}

/// A snapshot granted in the turn in which a loss is noticed removes no part of the loss from the
/// durable step.
#[test]
fn ps20_a_granted_snapshot_does_not_forget_a_loss() {
    let mut hand = Setup::of(3).incarnation(unborn(2) + 1).start();
    let snapshot = meta(id(5, 1), &Membership::of_voters(0..3));
    let chunk = SnapshotChunk {
        meta: snapshot.clone(),
        transfer: 1,
        offset: 0,
        data: vec![0; 100].into(),
        crc: 0,
        round: 0,
    };
    hand.hear(1, 1, Request::Snapshot(chunk));
    hand.disk();
    let key = TransferKey { from: 1, incarnation: 1, transfer: 1 };
    hand.does(|raft, now| raft.chunk_written(now, key, ChunkWritten::Complete));
    hand.does(|raft, now| raft.decode_begun(now, id(5, 1)));
    assert!(hand.does(|raft, now| raft.snapshot_decoded(now, id(5, 1), true)));
    hand.disk();
    let told = hand.request(2, 1, peer_record(unborn(1) + 7, LogId::BASE));
    // Both are handled in one turn, before one `ready`.
    hand.raft.step(hand.now, told);
    hand.does(|raft, now| raft.cond_install(now, id(5, 1)));
    let step = hand.steps.back().expect("a step");
    assert!(step.change.install.is_some());
    assert!(
        step.then_send
            .iter()
            .any(|e| matches!(e.body, Body::Answer { answer: Answer::Identify { .. }, .. }))
    );
    assert!(
        step.change.life.is_some(),
        "it answers that it accounts for its loss, and the disk does not know"
    );
}

// ---- what others remember ------------------------------------------------------------------

fn peer_record(incarnation: Incarnation, acknowledged: LogId) -> Request {
    Request::Identify(PeerRecord { incarnation, acknowledged })
}

/// Takes the recovery queries from what was sent.
fn recovery_queries(hand: &mut Hand) -> Vec<Envelope> {
    hand.sent.extract_if(.., |e| matches!(e.body, Body::Request(Request::RecoveryQuery))).collect()
}

/// A wiped directory is a new incarnation. A member that remembers the earlier one ignores its
/// messages, and informs it; the wiped member records its loss, durably, before it answers.
#[test]
fn ps20_a_wiped_member_is_not_listened_to_before_it_accounts_for_its_earlier_life() {
    let (earlier, wiped) = (unborn(1) + 5, unborn(2) + 1);
    let mut setup = Setup::of(3);
    let known = PeerRecord { incarnation: earlier, acknowledged: id(3, 1) };
    setup.recovered.known_peers.insert(1, known);
    let mut hand = setup.start();
    hand.campaign_for_votes();
    hand.disk();
    let asked =
        hand.sent_to(1).into_iter().find(|e| matches!(e.body, Body::Request(Request::Vote { .. })));
    let vote =
        hand.answer_of(&asked.expect("asked"), 1, Answer::Vote { granted: true, held: None });
    hand.step(Envelope { incarnation: wiped, ..vote });
    assert_eq!(hand.role(), Role::Candidate, "a forgetful vote");
    let reminded = hand.sent_to(1).pop().expect("told");
    assert_eq!(reminded.body, Body::Request(Request::Identify(known)));

    let mut member = Setup::of(3).incarnation(wiped).start();
    member.hear(1, 1, peer_record(earlier, id(3, 1)));
    assert!(member.status().recovering && member.sent.is_empty());
    let loss = Some(Loss { forgot_vote: true, last: None });
    let life = Life { incarnation: wiped, predecessor: earlier, loss, doubted_by: Some(1) };
    assert_eq!(member.steps.back().expect("a step").change.life, Some(life));
    member.disk();
    recovery_queries(&mut member);
    assert_eq!(member.answer(), Answer::Identify { predecessor: earlier });
    member.hear(2, 1, peer_record(earlier - 1, LogId::BASE));
    member.disk();
    assert!(member.steps.is_empty(), "accounted for");

    let word = hand.answer_of(&reminded, 1, Answer::Identify { predecessor: earlier });
    hand.step(Envelope { incarnation: wiped, ..word });
    assert_eq!(hand.raft.peers.get(1).expect("a record").incarnation, wiped);
}

/// A restart is no loss, and a message from before it is only late.
#[test]
fn ps20_a_restart_is_no_loss() {
    let mut hand = Setup::of(3).incarnation(7).start();
    hand.hear(1, 1, peer_record(6, LogId::BASE));
    hand.hear(2, 1, peer_record(7, LogId::BASE));
    hand.disk();
    assert!(!hand.status().recovering);
}

/// The directory is an earlier copy of itself: another start raises its incarnation above what
/// others remember.
#[test]
fn ps20_an_older_copy_has_to_start_again() {
    let mut hand = Setup::of(3).incarnation(4).start();
    hand.hear(1, 1, peer_record(9, LogId::BASE));
    let change = &hand.steps.back().expect("a step").change;
    assert_eq!(change.life.map(|life| (life.incarnation, life.predecessor)), Some((9, 9)));
    assert!(!hand.out.events.contains(&Event::StaleDirectory), "not durable yet");
    hand.disk();
    assert!(hand.out.events.contains(&Event::StaleDirectory));
    recovery_queries(&mut hand);
    assert_eq!(hand.sent, [], "nobody would listen");
}

/// A leader remembers across terms and restarts what members acknowledged; a member that returns
/// with less is informed.
#[test]
fn ps20_what_was_acknowledged_is_remembered() {
    let mut hand = Setup::of(3).lead();
    hand.accept_all(1);
    for _ in 0..4 {
        hand.after(200);
        hand.accept_all(1);
    }
    hand.propose_many(1);
    hand.disk();
    let written = hand.raft.peers.get(1).expect("a record");
    assert_eq!(written.acknowledged, id(1, 1));
    let mut setup = Setup::of(3).log(&[1, 1]);
    setup.recovered.known_peers.insert(1, written);
    let mut later = setup.start();
    later.hear(1, 2, Request::PreVote { campaign_term: 2, last: LogId::BASE });
    let told = |e: &Envelope| e.body == Body::Request(Request::Identify(written));
    assert!(later.sent.iter().any(told), "{:?}", later.sent);

    let mut member = Setup::of(3).start();
    member.hear(1, 1, peer_record(1, id(1, 1)));
    assert!(member.status().recovering, "the same life, and less");
    member.disk();
    let accounts = Answer::Identify { predecessor: 0 };
    let told = |e: &Envelope| matches!(&e.body, Body::Answer { answer, .. } if *answer == accounts);
    assert!(member.sent.iter().any(told), "{:?}", member.sent);
}

/// The records are written when they change, not with every step.
#[test]
fn ps20_what_is_remembered_is_written_once() {
    let mut hand = Setup::of(3).lead();
    let mut written = 0;
    for _ in 0..8 {
        hand.after(200);
        for request in hand.appends(1) {
            hand.reply(&request, accepted(1, append_of(&request).round));
        }
        hand.propose(b"x").expect("leading");
        while !hand.steps.is_empty() {
            written += usize::from(!hand.disk_one().known_peers.is_empty());
        }
    }
    assert_eq!(hand.raft.peers.get(1).expect("a record").acknowledged, id(1, 1));
    assert_eq!(written, 1);
}

/// A member that reports its recovery does not count in any quorum: of commits, and of the rounds
/// that confirm reads.
#[test]
fn ps20_a_recovering_member_does_not_count() {
    let mut hand = Setup::of(3).lead();
    let recovering = |request: &Envelope| {
        let report = FollowerReport {
            recovering: true,
            ..report(last_of(request), append_of(request).round)
        };
        Answer::Append(AppendAnswer { report, outcome: AppendOutcome::Accepted })
    };
    for request in hand.appends(1) {
        hand.reply(&request, recovering(&request));
    }
    assert_eq!(hand.status().commit, 0);
    hand.accept_all(2);
    assert_eq!(hand.status().commit, 1);
    hand.does(|raft, now| raft.read_index(now)).expect("the leader has committed");
    for request in hand.appends(1) {
        hand.reply(&request, recovering(&request));
    }
    assert!(
        hand.out.reads_confirmed.is_empty(),
        "it may have voted for a newer leader and forgotten"
    );
    hand.accept_all(2);
    assert_eq!(hand.out.reads_confirmed.len(), 1);
}

/// A member that rejects, in a new incarnation, what it acknowledged in an earlier one has lost it:
/// an alarm, and it does not count until it has caught up with all that it may have promised.
#[test]
fn ps20_a_member_that_lost_what_it_acknowledged_is_distrusted() {
    let mut hand = Setup::of(3).lead();
    hand.accept_all(1);
    hand.propose_many(2);
    hand.accept_all(1);
    assert_eq!(hand.status().commit, 3);
    hand.propose_many(1);
    let request = hand.append(1);
    let answer = hand.answer_of(&request, 1, rejected(0, 3, LogId::BASE));
    hand.step(answer.clone());
    assert_eq!(hand.status().counters.safety_alarms, 0, "late, from the life that acknowledged");
    hand.step(Envelope { incarnation: 2, ..answer });
    assert_eq!(hand.status().counters.safety_alarms, 1);
    let counted = hand.progress(1).counted();
    assert_eq!((counted, hand.progress(1).distrusted_until), (0, Some(3)));
    let accept_in_new_life = |hand: &mut Hand, upto| {
        hand.after(150);
        let request = hand.appends(1).remove(0);
        let answer = hand.answer_of(&request, 1, accepted(upto, 0));
        hand.step(Envelope { incarnation: 2, ..answer });
        hand.progress(1).counted()
    };
    assert_eq!(accept_in_new_life(&mut hand, 2), 0);
    assert_eq!(accept_in_new_life(&mut hand, 4), 4, "it holds again what it had promised");
}

/// The member that lost what it acknowledged has the incarnation that is known here. What it sent
/// before it knew does not count.
#[test]
fn ps20_a_vote_from_before_the_loss_was_noticed_does_not_count() {
    let mut setup = Setup::of(3).log(&[1, 1, 1]);
    let known = PeerRecord { incarnation: 1, acknowledged: id(3, 1) };
    setup.recovered.known_peers.insert(1, known);
    let mut hand = setup.start();
    hand.campaign_for_votes();
    hand.disk();
    let asked: Vec<_> = hand
        .sent_to(1)
        .into_iter()
        .filter(|e| matches!(e.body, Body::Request(Request::Vote { .. })))
        .collect();
    let vote = hand.answer_of(&asked[0], 2, Answer::Vote { granted: true, held: None });
    // Member 1, an older copy started equally often, asks for itself and is informed.
    hand.hear(1, 2, Request::PreVote { campaign_term: 2, last: id(1, 1) });
    let reminded = hand
        .sent
        .iter()
        .find(|e| e.to == 1 && matches!(e.body, Body::Request(Request::Identify(_))))
        .cloned()
        .expect("told");
    // It records its loss and reports it.
    hand.reply(&reminded, Answer::Identify { predecessor: 0 });
    hand.step(vote);
    assert_eq!(hand.role(), Role::Candidate, "a forgetful vote, and its giver has said so");
}

/// A vote names the log with which it was granted: if that log does not reach what the voter
/// acknowledged, the voter lost data. If the voter knows of its loss, it reports it.
#[test]
fn ps20_a_vote_by_less_than_was_acknowledged_does_not_count() {
    for (held, role) in [(Some(2), Role::Candidate), (Some(3), Role::Leader), (None, Role::Leader)]
    {
        let mut setup = Setup::of(3).log(&[1, 1, 1]);
        let known = PeerRecord { incarnation: 1, acknowledged: id(3, 1) };
        setup.recovered.known_peers.insert(1, known);
        let mut hand = setup.start();
        hand.campaign_for_votes();
        hand.disk();
        let asked = hand.sent_to(1).pop().expect("asked");
        hand.reply(&asked, Answer::Vote { granted: true, held });
        assert_eq!(hand.role(), role, "by a log up to {held:?}");
        let told = |e: &Envelope| e.body == Body::Request(Request::Identify(known));
        assert_eq!(hand.sent_to(1).iter().any(told), role == Role::Candidate);
    }
}

/// Storage noticed a loss, and others remember more than it reports: the vote may be lost too.
#[test]
fn ps20_more_is_lost_than_storage_knew() {
    let mut setup = Setup::of(3).log(&[1, 1]);
    setup.recovered.life.loss = Some(Loss { forgot_vote: false, last: Some(id(3, 1)) });
    let mut hand = setup.start();
    hand.hear(1, 2, peer_record(1, id(9, 1)));
    hand.disk();
    assert_eq!(hand.raft.life.loss, Some(Loss { forgot_vote: true, last: None }));
}

/// A member that lost entries in the very incarnation that acknowledged them, and knows it, is sent
/// them again.
#[test]
fn ps20_a_recovering_member_is_sent_what_it_lost() {
    let mut hand = Setup::of(3).lead();
    hand.accept_all(1);
    hand.propose_many(2);
    hand.disk();
    hand.accept_all(1);
    assert_eq!(hand.status().commit, 3);
    // It is now an older copy, started equally often: the same incarnation, and less data; it
    // knows.
    for _ in 0..50 {
        hand.after(100);
        for request in hand.appends(1) {
            let append = append_of(&request).clone();
            if append.prev.index == 0 {
                return;
            }
            let outcome = AppendOutcome::Rejected { refused: append.prev.index, hint: LogId::BASE };
            let report = FollowerReport { recovering: true, ..report(0, append.round) };
            hand.reply(&request, Answer::Append(AppendAnswer { report, outcome }));
        }
        hand.accept_all(2);
    }
    panic!("never probed lower: {:?}", hand.progress(1));
}

/// No member rejects the base; one that does is not asked for less than that.
#[test]
fn ps20_a_rejection_of_the_base_is_no_panic() {
    let mut hand = Setup::of(3).lead();
    let request = hand.append(1);
    hand.reply(&request, rejected(0, 0, LogId::BASE));
}

/// Creation times are distinct, and their members are heard, until the year 2109.
#[test]
fn births_last_until_2109() {
    let year_2109_ms = 4_391_000_000_000;
    let last_start = unborn(year_2109_ms) + (1 << 22) - 1;
    assert_eq!(created_at_ms(last_start), year_2109_ms);
    assert!(
        is_possible_creation(year_2109_ms) && !is_possible_creation(year_2109_ms + 10_000_000_000)
    );
    let mut hand = Setup::of(3).start();
    let request = hand.request(1, 1, Request::Vote { last: LogId::BASE });
    hand.step(Envelope { incarnation: last_start, ..request });
    hand.disk();
    assert!(hand.vote());
}
