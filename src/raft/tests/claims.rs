//! A member's claims about what another member's directory held before: they are believed only as
//! far as a false claim does little harm (PS20, decision 019).

use super::hand::*;
use super::hostile::{LIAR, alarms, peer_record};
use super::world::{MILLISECOND, World, config};
use crate::raft::types::COUNT_MAX;
use crate::raft::*;

/// An incarnation so near the end of its range that later ones would soon run out is not believed,
/// whichever member remembers it.
#[test]
fn a_start_at_the_end_of_the_numbers_ends_nobody() {
    let own = unborn(1_000) + 4;
    let last_births = [unborn((1 << 42) - 1) - 1, unborn((1 << 42) - 1_024)];
    for claimed in last_births.into_iter().chain([u64::MAX - 1, u64::MAX]) {
        let mut hand = Setup::of(3).incarnation(own).start();
        for from in [LIAR, 2, LIAR] {
            hand.hear(from, 1, peer_record(claimed, LogId::BASE));
            hand.disk();
        }
        assert!(!hand.out.events.contains(&Event::StaleDirectory), "{claimed}");
        assert!(!hand.status().recovering, "{claimed}");
        hand.hear(2, 2, Request::Vote { last: LogId::BASE });
        hand.disk();
        hand.sent.retain(|envelope| matches!(envelope.body, Body::Answer { .. }));
        assert!(hand.vote(), "{claimed}");
    }
}

/// PS20: a single member's claim stops another member only once. The next start is in doubt; the
/// same claim does not stop it, not even after the doubt is dismissed.
#[test]
fn one_member_ends_another_once_and_not_at_every_start() {
    let own = unborn(1_000) + 4;
    for claimed in [own + 1, own + 5_000, unborn(2_000) + 1, unborn(1 << 41)] {
        let mut hand = Setup::of(3).incarnation(own).start();
        hand.hear(LIAR, 1, peer_record(claimed, LogId::BASE));
        hand.disk();
        assert!(hand.out.events.contains(&Event::StaleDirectory));
        let life = Life { incarnation: claimed + 1, ..hand.raft.life };
        assert_eq!(life.doubted_by, Some(LIAR));
        let mut setup = Setup::of(3);
        setup.recovered.life = life;
        let mut hand = setup.start();
        for more in 0..70 {
            hand.hear(LIAR, 1, peer_record(life.incarnation + 1 + more % 7, LogId::BASE));
            // The honest member knows its real creation time.
            hand.hear(2, 1, peer_record(own, LogId::BASE));
            hand.disk();
            hand.after(100);
            answer_recovery_queries(&mut hand);
        }
        assert!(!hand.out.events.contains(&Event::StaleDirectory), "{claimed}");
        assert!(!hand.status().recovering && alarms(&hand) > 0, "{claimed}");
        assert_eq!(hand.raft.life.doubted_by, None);
    }
}

/// Member 2 answers, and remembers nothing more than there is; the liar does not answer.
fn answer_recovery_queries(hand: &mut Hand) {
    hand.disk();
    for request in hand.sent_to(2) {
        if matches!(request.body, Body::Request(Request::RecoveryQuery)) {
            let answer =
                hand.answer_of(&request, 1, Answer::RecoveryQuery { last: 0, leads: false });
            hand.step(answer);
        }
    }
}

/// An incarnation that two members remember is believed, as far as both remember it: a liar
/// together with an honest member can't raise it far.
#[test]
fn a_later_start_is_believed_as_far_as_two_members_remember_it() {
    let own = unborn(1_000) + 4;
    let mut hand = Setup::of(3).incarnation(own).start();
    let claims = [(LIAR, unborn(1 << 41)), (2, own + 5)];
    for (from, claimed) in claims {
        let envelope = hand.request(from, 1, peer_record(claimed, LogId::BASE));
        hand.raft.claims.disbelieved.insert(LIAR);
        hand.step(envelope);
    }
    hand.disk();
    assert!(hand.out.events.contains(&Event::StaleDirectory));
    assert_eq!((hand.raft.life.incarnation, hand.raft.life.predecessor), (own + 5, own + 5));
    // Of two members the other one is the only witness.
    let mut hand = Setup::of(2).incarnation(own).start();
    hand.hear(LIAR, 1, peer_record(own + 5, LogId::BASE));
    hand.disk();
    assert!(hand.out.events.contains(&Event::StaleDirectory));
}

/// A loss that only one member claims is dismissed if no other confirms it and no leader is
/// elected: both for the start of another directory, and for an entry that the log never held. The
/// dismissal is stored and survives a restart.
#[test]
fn a_loss_that_one_member_alone_remembers_is_dismissed() {
    let own = unborn(1_000) + 4;
    let claims = [
        peer_record(unborn(900) + 2, LogId::BASE),
        peer_record(own, id(COUNT_MAX, 1)),
        peer_record(own, id(1 << 40, 1)),
    ];
    for claim in claims {
        let mut hand = Setup::of(3).incarnation(own).start();
        hand.hear(LIAR, 1, claim.clone());
        hand.disk();
        assert_eq!(hand.raft.life.doubted_by, Some(LIAR));
        for restarts in 0..2 {
            if restarts == 1 {
                let mut setup = Setup::of(3).incarnation(own + 1);
                let life = Life { incarnation: own + 1, ..hand.raft.life };
                setup.recovered.life = life;
                hand = setup.start();
            }
            // It asks all members; the liar does not answer.
            for _ in 0..70 {
                hand.after(100);
                answer_recovery_queries(&mut hand);
                if restarts == 0 && hand.now > 3_000 * MILLISECOND {
                    break;
                }
            }
            assert_eq!(hand.status().recovering, restarts == 0, "{claim:?}");
        }
        let told = alarms(&hand);
        assert!(told > 0);
        // The claim is not accepted again in this incarnation.
        hand.hear(LIAR, 1, peer_record(own + 1, id(COUNT_MAX, 1)));
        hand.disk();
        assert!(!hand.status().recovering, "{claim:?}");
    }
}

/// The second member that remembers the loss makes it certain: then every voter must answer.
#[test]
fn a_loss_that_two_members_remember_is_not_dismissed() {
    let own = unborn(1_000) + 1;
    let mut hand = Setup::of(3).incarnation(own).start();
    hand.hear(LIAR, 1, peer_record(unborn(900) + 2, LogId::BASE));
    hand.hear(2, 1, peer_record(unborn(900) + 2, LogId::BASE));
    hand.disk();
    assert_eq!(hand.raft.life.doubted_by, None);
    for _ in 0..100 {
        hand.after(100);
        answer_recovery_queries(&mut hand);
    }
    assert!(hand.status().recovering);
    assert_eq!(hand.status().waits_for, [LIAR].into());
}

/// One message to each honest member claims all losses that are possible: they elect, commit and
/// agree again within a bounded time, though the liar sends nothing more.
#[test]
fn claims_to_all_members_cost_a_bounded_time() {
    for claimed_start in [0, 3, 200, 5_000] {
        let mut world = World::new(3, 11 + claimed_start, config());
        world.expect_alarms();
        let leader = world.elect();
        world.load(leader, 5);
        let liar = (leader + 1) % 3;
        let terms = world.status(leader).term;
        for id in (0..3).filter(|&id| id != liar) {
            let mut known = PeerRecord::new(world.nodes[&id].disk.life.incarnation);
            match claimed_start {
                0 => known.acknowledged = LogId::new(terms, 1 << 50),
                more => known.incarnation += more,
            }
            let envelope = Envelope {
                cluster: world.config.cluster,
                group: 0,
                from: liar,
                to: id,
                incarnation: world.nodes[&liar].disk.life.incarnation,
                term: terms,
                id: 1,
                body: Body::Request(Request::Identify(known)),
            };
            world.with(id, |raft, now| raft.step(now, envelope));
        }
        world.crash(liar);
        // Ten timeouts of doubt, and an election.
        world.commits_within(10_000 * MILLISECOND);
    }
}
