//! Elections and terms, by the catalogue's ids EL01–EL28: directed tests of one peer at a time.

use super::hand::*;
use super::world::{self, MILLISECOND, World};
use crate::raft::state::terms::TERM_LEAP_MAX;
use crate::raft::*;

fn granted(granted: bool) -> Answer {
    Answer::Vote { granted, held: None }
}

#[test]
fn el01_a_repeated_vote_counts_once() {
    let mut hand = Setup::of(5).start();
    hand.campaign();
    let requests = std::mem::take(&mut hand.sent);
    for _ in 0..3 {
        hand.reply(&requests[0], Answer::PreVote { campaign_term: 1, granted: true });
    }
    assert_eq!(hand.role(), Role::PreCandidate);
    hand.reply(&requests[1], Answer::PreVote { campaign_term: 1, granted: true });
    // Members that were asked for a pre-vote since are not part of this test.
    hand.sent.clear();
    hand.disk();
    let requests = std::mem::take(&mut hand.sent);
    for _ in 0..3 {
        hand.reply(&requests[0], granted(true));
    }
    assert_eq!(hand.role(), Role::Candidate);
    hand.reply(&requests[1], granted(true));
    assert_eq!(hand.role(), Role::Leader);
}

#[test]
fn el02_a_vote_of_an_earlier_term_does_not_count() {
    let mut hand = Setup::of(3).start();
    hand.campaign_for_votes();
    hand.disk();
    let earlier = hand.sent.remove(0);
    hand.sent.clear();
    hand.campaign_for_votes();
    hand.disk();
    assert_eq!((hand.role(), hand.term()), (Role::Candidate, 2));
    hand.reply(&earlier, granted(true));
    assert_eq!(hand.role(), Role::Candidate);
    // Sent in the new term, for a request of the old one: the request's id decides.
    let late = hand.answer_of(&earlier, 2, granted(true));
    hand.step(late);
    assert_eq!(hand.role(), Role::Candidate);
}

/// The vote survives every change of role within its term, and a restart.
#[test]
fn el03_one_vote_a_term_whatever_the_role() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, Request::Vote { last: LogId::BASE });
    hand.disk();
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    hand.after(700);
    assert_eq!(hand.role(), Role::PreCandidate);
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    hand.after(301);
    hand.sent.clear();
    hand.hear(2, 1, Request::Vote { last: id(9, 1) });
    assert!(!hand.vote());
    let mut restarted = Setup::of(3).term(1, Some(1)).incarnation(2).start();
    restarted.hear(2, 1, Request::Vote { last: id(9, 1) });
    assert!(!restarted.vote());
    restarted.hear(1, 1, Request::Vote { last: id(9, 1) });
    assert!(restarted.vote(), "durable before the restart");
}

/// A follower accepts entries of its term's leader, whichever candidate it voted for.
#[test]
fn el06_the_leader_of_the_term_is_followed_whoever_got_the_vote() {
    let mut hand = Setup::of(3).term(2, Some(1)).start();
    hand.hear(2, 2, append(LogId::BASE, &[2], 0));
    hand.disk();
    assert_eq!(hand.append_answer().outcome, AppendOutcome::Accepted);
    assert_eq!(hand.status().vote, Some(1));
}

/// Adjacent nodes, and restarts of one node, draw different timeouts from one seed.
#[test]
fn el08_timeouts_differ_between_nodes_and_restarts() {
    let due = |node, incarnation| {
        let mut setup = Setup::of(3).with(|config| config.node = node).incarnation(incarnation);
        setup.recovered.base = Membership::of_voters(0..10);
        let raft = Raft::new(setup.config, setup.recovered, 0);
        let mut raft = raft;
        let first = raft.timer.ends_at();
        assert!(first <= 300_000, "who starts waits for nobody");
        raft.reset_election_timer();
        assert!((300_000..=600_000).contains(&raft.timer.ends_at()));
        (first, raft.timer.ends_at())
    };
    let of_nodes: std::collections::BTreeSet<_> = (0..10).map(|node| due(node, 1)).collect();
    let of_restarts: std::collections::BTreeSet<_> = (1..11).map(|start| due(0, start)).collect();
    assert_eq!((of_nodes.len(), of_restarts.len()), (10, 10));
}

/// A member in the term below the campaign's grants a pre-vote, and its answer counts despite the
/// lower term (EL09).
#[test]
fn el09_answers_to_a_pre_vote_from_a_lower_term_count() {
    let mut hand = Setup::of(3).term(5, None).start();
    hand.campaign();
    let request = hand.sent.remove(0);
    let answer = Answer::PreVote { campaign_term: 6, granted: true };
    let answer = hand.answer_of(&request, 3, answer);
    hand.step(answer);
    assert_eq!((hand.role(), hand.term()), (Role::Candidate, 6));
}

/// With pre-vote and check-quorum, a node that campaigns forgets its old leader and old answers
/// (EL10).
#[test]
fn el10_a_campaign_begins_without_leader_and_votes() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    hand.after(700);
    assert_eq!(hand.raft.role(), (Role::PreCandidate, 1, None));
    hand.disk();
    hand.sent.clear();
    hand.hear(2, 1, pre_vote(2, LogId::BASE));
    assert_eq!(hand.answer(), Answer::PreVote { campaign_term: 2, granted: true });
    let refusal = || Answer::PreVote { campaign_term: 2, granted: false };
    hand.campaign();
    let probe = hand.sent.remove(0);
    hand.reply(&probe, refusal());
    let earlier = hand.sent.remove(0);
    hand.campaign();
    hand.reply(&earlier, refusal());
    assert_eq!(hand.role(), Role::PreCandidate, "one refusal of this round, one of the last");
}

/// A member that has had no leader for long enough grants the pre-vote to any member (EL11).
#[test]
fn el11_a_pre_vote_is_granted_to_every_up_to_date_member() {
    for from in [1, 2] {
        let mut hand = Setup::of(3).log(&[1]).start();
        hand.hear(from, 1, pre_vote(2, id(1, 1)));
        assert_eq!(hand.answer(), Answer::PreVote { campaign_term: 2, granted: true });
    }
}

/// The refusal of a pre-vote carries a higher term; otherwise a lagging member would ask in vain
/// for ever.
#[test]
fn el12_a_refused_pre_vote_teaches_the_higher_term() {
    let mut hand = Setup::of(3).term(2, None).start();
    hand.campaign();
    let request = hand.sent.remove(0);
    let answer = hand.answer_of(&request, 7, Answer::PreVote { campaign_term: 3, granted: false });
    hand.step(answer);
    assert_eq!((hand.role(), hand.term()), (Role::Follower, 7));
}

/// A grant counts in any round since the leader fell silent, however late it is; an answer from
/// before does not.
#[test]
fn el13_answers_to_an_earlier_pre_vote_start_nothing() {
    let mut hand = Setup::of(5).start();
    hand.campaign();
    let earlier = std::mem::take(&mut hand.sent);
    let answer = |campaign_term, granted| Answer::PreVote { campaign_term, granted };
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    hand.disk();
    hand.campaign();
    let later = std::mem::take(&mut hand.sent);
    hand.campaign();
    hand.sent.clear();
    earlier.iter().for_each(|request| hand.reply(request, answer(1, true)));
    assert_eq!(hand.raft.role.vote_of(1), None, "from before the leader was heard");
    assert_eq!(hand.raft.role.vote_of(2), None, "from before the leader was heard");
    hand.reply(&later[0], answer(2, false));
    assert_eq!(hand.raft.role.vote_of(later[0].to), None, "a refusal of the round before");
    later.iter().for_each(|request| hand.reply(request, answer(2, true)));
    assert_eq!(hand.role(), Role::Candidate, "a yes of the round before");
    let mut leader = Setup::of(5).start();
    leader.campaign();
    let earlier = leader.sent[0].clone();
    leader.win();
    for to in 1..5 {
        leader.reply(&Envelope { to, ..earlier.clone() }, answer(1, true));
    }
    assert_eq!((leader.role(), leader.term()), (Role::Leader, 1), "as many as are a quorum");
}

/// Refusals that arrive after the leader was heard again do not depose it.
#[test]
fn el13_late_refusals_do_not_unseat_the_leader() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    hand.disk();
    hand.sent.clear();
    hand.campaign();
    let requests = std::mem::take(&mut hand.sent);
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    for request in &requests {
        hand.reply(request, Answer::PreVote { campaign_term: 2, granted: false });
    }
    assert_eq!(hand.raft.role(), (Role::Follower, 1, Some(1)));
}

#[test]
fn pre_vote_changes_nothing_el14() {
    let mut hand = Setup::of(3).log(&[1, 1]).start();
    let before = (hand.status().term, hand.status().vote, hand.raft.timer.ends_at());
    hand.hear(1, 1, pre_vote(2, id(2, 1)));
    hand.hear(1, 8, pre_vote(9, id(2, 1)));
    assert_eq!((hand.status().term, hand.status().vote, hand.raft.timer.ends_at()), before);
    assert!(hand.steps.is_empty());
    assert_eq!(hand.status().counters.ignored_messages, 0);
    hand.campaign();
    assert_eq!((hand.term(), hand.steps.len()), (1, 0), "nor at the one that asks");
}

/// A pre-vote is refused for the reasons for which a vote is: a log behind, an old term, an active
/// leader.
#[test]
fn pre_vote_is_refused_as_the_vote_would_be_el18() {
    let cases = [
        ("a log behind", 2, id(1, 1), false),
        ("the own term", 1, id(2, 1), false),
        ("good reason", 2, id(2, 1), true),
    ];
    for (why, campaign_term, last, granted) in cases {
        let mut hand = Setup::of(3).log(&[1, 1]).start();
        hand.hear(1, 0, pre_vote(campaign_term, last));
        assert_eq!(hand.answer(), Answer::PreVote { campaign_term, granted }, "{why}");
    }
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    hand.disk();
    for (milliseconds, granted) in [(299, false), (1, true)] {
        hand.now += milliseconds * MILLISECOND;
        hand.sent.clear();
        hand.hear(2, 1, pre_vote(2, LogId::BASE));
        assert_eq!(hand.answer(), Answer::PreVote { campaign_term: 2, granted });
    }
}

#[test]
fn el15_a_learner_never_campaigns() {
    let mut members = Membership::of_voters(1..4);
    members.learners.insert(0);
    let mut hand = Setup::of(1).members(members).start();
    for _ in 0..20 {
        hand.after(100);
    }
    assert_eq!((hand.role(), hand.status().counters.campaigns), (Role::Follower, 0));
    assert!(hand.is_silent());
}

/// The candidate decides which members are voters: a learner that may have become a voter grants
/// the vote.
#[test]
fn el16_a_learner_votes_when_asked() {
    let mut members = Membership::of_voters(1..4);
    members.learners.insert(0);
    let mut hand = Setup::of(1).members(members).start();
    hand.hear(1, 1, Request::Vote { last: LogId::BASE });
    hand.disk();
    assert!(hand.vote());
}

#[test]
fn el17_a_member_that_waits_for_a_snapshot_does_not_campaign() {
    let mut hand = Setup::of(3).log(&[1]).start();
    hand.receive(1, 1, id(10, 1));
    hand.disk();
    hand.sent.clear();
    hand.after(5_000);
    assert_eq!((hand.role(), hand.status().leader), (Role::Follower, None));
    assert!(hand.is_silent(), "{:?}", hand.sent);
    hand.hear(2, 2, Request::Vote { last: id(10, 1) });
    hand.disk();
    assert!(hand.vote(), "it votes all the while");
}

/// A leader that hears no quorum for an election timeout steps down; one that hears a quorum does
/// not.
#[test]
fn el18_a_leader_without_a_quorum_steps_down() {
    let mut hand = Setup::of(5).lead();
    for _ in 0..20 {
        hand.after(100);
        assert_eq!(hand.role(), Role::Leader);
        for node in [1, 2] {
            hand.accept_all(node);
        }
    }
    hand.sent.clear();
    for _ in 0..2 {
        hand.after(100);
        hand.accept_all(1);
    }
    assert_eq!(hand.role(), Role::Leader);
    hand.after(101);
    assert_eq!((hand.role(), hand.term(), hand.status().leader), (Role::Follower, 1, None));
}

/// A vote is refused, and the term not entered, while the leader is active; a leader refuses every
/// candidate.
#[test]
fn el18_candidates_do_not_disturb_a_living_leader() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    hand.disk();
    hand.sent.clear();
    hand.now += 299 * MILLISECOND;
    hand.hear(2, 5, Request::Vote { last: id(9, 4) });
    assert!(!hand.vote());
    assert_eq!(hand.term(), 1);
    let mut leader = Setup::of(3).lead();
    leader.now += 10_000 * MILLISECOND;
    leader.sent.clear();
    leader.hear(2, 5, Request::Vote { last: id(9, 4) });
    assert_eq!((leader.role(), leader.term()), (Role::Leader, 1));
}

/// After the leader's silence votes are granted again: the lease ends (EL21).
#[test]
fn el21_a_member_votes_again_after_the_leaders_silence() {
    let mut hand = Setup::of(3).start();
    hand.hear(1, 1, heartbeat(LogId::BASE, 0));
    hand.disk();
    hand.sent.clear();
    hand.now += 300 * MILLISECOND;
    hand.hear(2, 5, Request::Vote { last: LogId::BASE });
    hand.disk();
    assert!(hand.vote());
}

/// A new term is entered with all its state in the handler that learns of it.
#[test]
fn el19_a_deposed_leader_takes_no_proposals() {
    let mut hand = Setup::of(3).lead();
    let request = hand.append(1);
    let answer = hand.answer_of(&request, 2, accepted(1, 0));
    hand.raft.step(hand.now, answer);
    assert_eq!(hand.propose(b"late"), Err(Refusal::NotLeader(None)));
    assert!(hand.out.events.contains(&Event::Deposed));
    assert_eq!(hand.status().last, id(1, 1));
}

/// A tick after the step-down uses a follower's deadlines, not the leader's (EL20, EL27).
#[test]
fn el20_el27_a_leader_that_stepped_down_waits_a_timeout_and_then_campaigns() {
    let mut hand = Setup::of(3).lead();
    hand.after(601);
    assert_eq!(hand.role(), Role::Follower);
    let before = hand.status().counters.campaigns;
    hand.sent.clear();
    hand.after(299);
    assert_eq!((hand.role(), hand.sent.len()), (Role::Follower, 0), "no heartbeat any more");
    hand.after(302);
    assert_eq!(hand.status().counters.campaigns, before + 1);
}

#[test]
fn el24_a_vote_learned_from_an_answer_is_not_the_own() {
    let mut hand = Setup::of(3).start();
    hand.campaign_for_votes();
    hand.disk();
    let request = hand.sent.remove(0);
    let answer = hand.answer_of(&request, 4, granted(true));
    hand.step(answer);
    assert_eq!((hand.term(), hand.status().vote), (4, None));
}

#[test]
fn el25_a_term_that_leaps_is_ignored() {
    let mut hand = Setup::of(3).term(3, None).start();
    for request in [heartbeat(LogId::BASE, 0), Request::Vote { last: LogId::BASE }] {
        hand.hear(1, Term::MAX, request.clone());
        hand.hear(1, (1 << 62) + 1, request);
    }
    assert_eq!((hand.term(), hand.status().counters.ignored_messages), (3, 4));
    assert!(hand.is_silent());
    hand.hear(1, 3 + TERM_LEAP_MAX, Request::Vote { last: LogId::BASE });
    assert_eq!(hand.term(), 3 + TERM_LEAP_MAX);
}

/// Every incarnation that is believed must leave room for higher ones (AC16).
#[test]
fn ac16_the_highest_incarnation_is_ignored() {
    let mut hand = Setup::of(3).start();
    let highest = unborn((1 << 42) - 1) - 1;
    for (incarnation, ignored) in
        [(Incarnation::MAX, 1), (Incarnation::MAX - 1, 2), (highest + 1, 3), (highest, 3)]
    {
        let request = hand.request(1, 1, heartbeat(LogId::BASE, 0));
        hand.step(Envelope { incarnation, ..request });
        assert_eq!(hand.status().counters.ignored_messages, ignored, "after {incarnation}");
    }
    assert_eq!(hand.raft.peers.get(1).expect("a record").incarnation, highest);
}

/// Once a member is heard in a later incarnation, messages of an earlier one do not count.
#[test]
fn ac16_a_message_of_an_earlier_life_is_ignored() {
    let mut hand = Setup::of(3).start();
    for (incarnation, ignored) in [(2, 0), (4, 0), (3, 1)] {
        let request = hand.request(1, 1, heartbeat(LogId::BASE, 0));
        hand.step(Envelope { incarnation, ..request });
        assert_eq!(hand.status().counters.ignored_messages, ignored, "after life {incarnation}");
    }
}

/// A candidate's timeout begins when it asks for votes, however long the pre-vote took (EL07).
#[test]
fn el07_a_candidate_has_a_whole_timeout() {
    let mut hand = Setup::of(3).start();
    hand.campaign();
    let request = hand.sent.remove(0);
    hand.now += 290 * MILLISECOND;
    hand.reply(&request, Answer::PreVote { campaign_term: 1, granted: true });
    assert_eq!(hand.role(), Role::Candidate);
    assert!(hand.raft.timer.ends_at() >= hand.now + hand.config.election_timeout_min);
}

/// Node 0 is a member like any other: it votes, receives votes, leads.
#[test]
fn el26_node_0_is_a_candidate_like_any_other() {
    let mut hand = Setup::of(3).term(1, Some(0)).start();
    hand.hear(1, 1, Request::Vote { last: LogId::BASE });
    assert!(!hand.vote(), "the vote of term 1 is node 0's own");
    assert_eq!(Setup::of(3).lead().raft.role(), (Role::Leader, 1, Some(0)));
}

/// A restarted follower campaigns within one election timeout.
#[test]
fn el28_a_restarted_member_campaigns_within_a_timeout() {
    let mut hand = Setup::of(3).log(&[1, 2]).incarnation(7).start();
    hand.after(601);
    assert_eq!(hand.role(), Role::PreCandidate);
}

/// Members with the same seed elect a leader within a few timeouts, and keep it (EL08, EL05;
/// bounded number of elections).
#[test]
fn el08_a_leader_is_elected_soon_and_stays() {
    for seed in 0..10 {
        let mut world = World::new(5, seed, world::config());
        let elected = world.run_until(3_000 * MILLISECOND, |world| world.leader().is_some());
        assert!(elected, "seed {seed}: {:#?}", world.positions());
        world.elect();
        let term = world.nodes[&0].raft.as_ref().expect("lives").status().term;
        world.run_for(10_000 * MILLISECOND);
        assert_eq!(world.status(0).term, term, "seed {seed}: the leader was not kept");
    }
}

/// A member that hears none but is heard by others deposes no leader, and rejoins in the leader's
/// term.
#[test]
fn el18_a_member_cut_off_half_way_disturbs_nobody() {
    let mut world = World::new(5, 11, world::config());
    world.elect_node(0);
    (0..5).for_each(|other| {
        world.cut.insert((other, 3));
    });
    let term = world.status(0).term;
    world.run_for(10_000 * MILLISECOND);
    assert!(world.status(3).counters.campaigns > 5, "it tried");
    assert_eq!((world.leader(), world.status(0).term), (Some(0), term));
    world.heal();
    world.run_for(1_000 * MILLISECOND);
    assert_eq!((world.status(3).leader, world.status(3).term), (Some(0), term));
}
