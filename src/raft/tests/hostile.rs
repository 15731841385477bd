//! Malformed messages: whatever one member sends, the others stay up and make progress (EL25, PS20,
//! decision 019).

use std::collections::BTreeMap;

use super::hand::*;
use super::world::{MILLISECOND, World, config};
use crate::raft::state::terms::{TERM_LEAP_MAX, TERM_STEP};
use crate::raft::testing::malformed;
use crate::raft::types::COUNT_MAX;
use crate::raft::*;

/// The member that sends them.
pub(super) const LIAR: NodeId = 1;

pub(super) fn peer_record(incarnation: Incarnation, acknowledged: LogId) -> Request {
    Request::Identify(PeerRecord { incarnation, acknowledged })
}

pub(super) fn alarms(hand: &Hand) -> u64 {
    hand.status().counters.safety_alarms
}

// ---- every message, every number ---------------------------------------------------------

/// The ends of the ranges, and the neighbours of the honest value.
fn values(honest: u64) -> [u64; 9] {
    [
        0,
        1,
        u64::MAX - 1,
        u64::MAX,
        COUNT_MAX,
        COUNT_MAX + 1,
        1 << 63,
        honest.wrapping_add(1),
        honest.wrapping_sub(1),
    ]
}

/// `envelope` with each of its numbers set to each of the values, and the name of what was changed.
fn variants(envelope: &Envelope) -> Vec<(String, Envelope)> {
    let mut copy = envelope.clone();
    let honest: Vec<(&str, u64)> =
        malformed::numbers(&mut copy).into_iter().map(|(name, number)| (name, *number)).collect();
    let mut variants = Vec::new();
    for (at, (name, honest)) in honest.into_iter().enumerate() {
        for value in values(honest) {
            let mut lie = envelope.clone();
            *malformed::numbers(&mut lie)[at].1 = value;
            variants.push((format!("{name} {value} in {:?}", envelope.body), lie));
        }
    }
    for value in values(envelope.term) {
        for term in [true, false] {
            let lie = malformed::with_entry(envelope, term, value);
            variants.extend(lie.map(|lie| (format!("entry {value} (term: {term})"), lie)));
        }
    }
    variants
}

/// All kinds of requests that a member that knows `status` could send, and answers to all that has
/// been `asked` of it.
fn messages(status: &RaftStatus, asked: &[Envelope]) -> Vec<Body> {
    let RaftStatus { term, last, commit, .. } = *status;
    let meta = meta(id(last.index + 5, term.max(1)), &status.membership);
    // The chunks never make a whole snapshot: its contents would be the state machine's concern.
    let chunk = |offset: u64, bytes: usize| SnapshotChunk {
        meta: meta.clone(),
        transfer: 1 + offset,
        offset,
        data: vec![0; bytes].into(),
        crc: 0,
        round: 1,
    };
    let requests = [
        pre_vote(term + 1, last),
        Request::Vote { last },
        heartbeat(last, commit),
        append(last, &[term.max(1), term.max(1)], commit),
        Request::Snapshot(chunk(0, 40)),
        Request::Snapshot(chunk(40, 60)),
        peer_record(1, id(commit, status.log_start.term)),
        Request::RecoveryQuery,
    ];
    let mut bodies: Vec<Body> = requests.into_iter().map(Body::Request).collect();
    let held = report(commit, 0);
    let installing = FollowerReport {
        install: InstallStatus::Receiving { index: last.index, bytes: 40 },
        ..held
    };
    let pending = FollowerReport { install: InstallStatus::Pending { index: last.index }, ..held };
    let continued = ChunkOutcome::Continue { offset: 40 };
    let answers = [
        Answer::PreVote { campaign_term: term + 1, granted: false },
        Answer::Vote { granted: false, held: Some(last.index) },
        accepted(commit, 0),
        rejected(commit, last.index, last),
        Answer::Append(AppendAnswer { report: installing, outcome: AppendOutcome::Busy }),
        Answer::Append(AppendAnswer { report: pending, outcome: AppendOutcome::Stale }),
        Answer::Snapshot(SnapshotAnswer { report: held, transfer: 1, outcome: continued }),
        Answer::Identify { predecessor: 0 },
        Answer::RecoveryQuery { last: last.index, leads: true },
    ];
    for answer in answers {
        for request in asked {
            let asker_incarnation = request.incarnation;
            bodies.push(Body::Answer { asker_incarnation, answer: answer.clone() });
        }
    }
    bodies
}

/// All malformed messages that the liar can send to this member now.
fn lies_to(hand: &Hand, asked: &[Envelope]) -> Vec<(String, Envelope)> {
    let status = hand.status();
    let envelope = |id, body| Envelope {
        cluster: hand.config.cluster,
        group: 0,
        from: LIAR,
        to: 0,
        incarnation: 1,
        term: status.term,
        id,
        body,
    };
    // An answer is only accepted with the id of a request.
    let mut ids = asked.iter().map(|request| request.id).cycle();
    let lies = messages(&status, asked).into_iter().flat_map(|body| {
        let id = match &body {
            Body::Answer { .. } => ids.next().unwrap_or_default(),
            Body::Request(_) => 7,
        };
        variants(&envelope(id, body))
    });
    lies.collect()
}

/// Members in every role, with the last request of each kind that they sent to the liar.
fn every_role() -> Vec<(&'static str, Hand, Vec<Envelope>)> {
    let log = || Setup::of(3).log(&[1, 1, 1]);
    let mut roles = vec![("a member that starts", log().start())];
    for leader in [LIAR, 2] {
        let mut hand = log().start();
        hand.hear(leader, 1, heartbeat(id(3, 1), 3));
        roles.push(("a follower", hand));
    }
    let mut hand = log().start();
    hand.campaign();
    roles.push(("a pre-candidate", hand));
    let mut hand = log().start();
    hand.campaign_for_votes();
    roles.push(("a candidate", hand));
    let mut hand = log().lead();
    hand.after(150);
    roles.push(("a leader", hand));
    let mut hand = log().lead();
    let request = hand.appends(LIAR).pop();
    hand.after(150);
    let request = request.or_else(|| hand.appends(LIAR).pop()).expect("asked");
    hand.reply(&request, rejected(0, last_of(&request).min(3), LogId::BASE));
    hand.after(150);
    roles.push(("a leader that probes", hand));
    let mut hand = Setup::of(3).snapshot(id(4, 1)).log(&[1, 1]).lead();
    for _ in 0..3 {
        for request in hand.appends(LIAR) {
            let refused = append_of(&request).prev.index;
            hand.reply(&request, rejected(0, refused, LogId::BASE));
        }
        hand.after(150);
    }
    roles.push(("a leader that sends a snapshot", hand));
    let mut hand = log().damaged().start();
    hand.hear(2, 1, heartbeat(id(3, 1), 3));
    roles.push(("a member that lost something", hand));
    let mut hand = Setup::of(3).start();
    let whole = meta(id(9, 1), &Membership::of_voters(0..3));
    let data = vec![0; 40].into();
    let chunk = SnapshotChunk { meta: whole, transfer: 1, offset: 0, data, crc: 0, round: 0 };
    hand.hear(LIAR, 1, Request::Snapshot(chunk));
    roles.push(("a member that is sent a snapshot", hand));
    roles
        .into_iter()
        .map(|(name, mut hand)| {
            hand.disk();
            let mut asked = BTreeMap::new();
            for envelope in hand.sent.iter().filter(|envelope| envelope.to == LIAR) {
                if let Body::Request(request) = &envelope.body {
                    asked.insert(request.kind() as u8, envelope.clone());
                }
            }
            (name, hand, asked.into_values().collect())
        })
        .collect()
}

/// The member after a message, with its disk steps done. If the message stops it, the claim must be
/// in doubt: then it can't stop the next start.
fn after(raft: &Raft, what: &str, envelope: &Envelope) -> Raft {
    let mut raft = raft.clone();
    let now = raft.now;
    raft.step(now, envelope.clone());
    let mut outlived = false;
    for _ in 0..4 {
        let ready = raft.ready();
        outlived |= ready.events.contains(&Event::StaleDirectory);
        if let Some(step) = ready.persist {
            raft.persisted(now, step.seq);
        }
    }
    assert!(!outlived || raft.life.doubted_by == Some(LIAR), "{what} ends {:?}", raft.role.kind());
    raft.tick(now + MILLISECOND);
    raft.ready();
    raft.next_deadline();
    raft.counters = Counters::default();
    raft
}

/// EL25, PS20: every message, with every number at the ends of its range and next to the honest
/// value, to a member in every role, followed by any such message: nothing panics, and no member
/// stops for good.
#[test]
fn no_two_messages_of_one_member_stop_another() {
    for (role, hand, asked) in every_role() {
        let lies = lies_to(&hand, &asked);
        assert!(lies.len() > 500, "{} lies to {role}", lies.len());
        let mut states: Vec<(String, Raft)> = Vec::new();
        for (what, lie) in &lies {
            let raft = after(&hand.raft, what, lie);
            if states.iter().all(|(_, known)| *known != raft) {
                states.push((what.clone(), raft));
            }
        }
        assert!(states.len() > 3, "{} states of {role}", states.len());
        // Enough of each kind; all of them would take minutes.
        let stride = (states.len() / 12).max(1);
        for (first, raft) in states.iter().step_by(stride) {
            for (second, lie) in &lies {
                after(raft, &format!("{first}, then {second}"), lie);
            }
        }
    }
}

/// The same messages to both honest members of three, in a running cluster: they go on electing,
/// committing and agreeing. The liar's own process may go unheard meanwhile: no other member needs
/// it.
#[test]
fn no_message_of_one_member_keeps_the_others_from_agreeing() {
    let mut world = World::new(3, 5, config());
    world.expect_alarms();
    let leader = world.elect();
    world.load(leader, 5);
    // The present leader is honest.
    let liar = (leader + 1) % 3;
    let honest = [leader, (leader + 2) % 3];
    let kinds = messages(&world.status(leader), &[]).len() + 9;
    for kind in 0..kinds {
        let told = tell_all(&mut world, liar, honest, kind);
        let before = world.history.len();
        let mut tries = 0;
        loop {
            if let Some(leader) = world.leader() {
                let _ = world.propose(leader, b"after");
            }
            world.run_for(50 * MILLISECOND);
            let reached = |id: NodeId| world.nodes[&id].machine.applied.index as usize;
            if honest.iter().all(|&id| reached(id) > before) {
                break;
            }
            tries += 1;
            assert!(
                tries < 400,
                "nothing committed for 20 s after {told} lies of kind {kind}: {:#?}",
                world.positions()
            );
        }
    }
    assert!(world.totals().ignored_messages > 1_000);
}

/// Sends all variants of one kind of message to both honest members, with the present ids and
/// numbers.
fn tell_all(world: &mut World, liar: NodeId, honest: [NodeId; 2], kind: usize) -> usize {
    let mut told = 0;
    for to in honest {
        let status = world.status(to);
        let incarnation = world.nodes[&to].disk.life.incarnation;
        let liar_incarnation = world.nodes[&liar].disk.life.incarnation;
        let asked = Envelope {
            cluster: world.config.cluster,
            group: 0,
            from: to,
            to: liar,
            incarnation,
            term: status.term,
            id: 0,
            body: Body::Request(Request::RecoveryQuery),
        };
        let Some(body) = messages(&status, std::slice::from_ref(&asked)).into_iter().nth(kind)
        else {
            continue;
        };
        let raft = world.raft(to);
        let place = raft.numbers.next_request() - 1;
        let id = match &body {
            // As if this had just been asked.
            Body::Answer { answer, .. } => place << 16 | raft.tag(place, liar, answer.kind()),
            Body::Request(_) => 7,
        };
        let incarnation = liar_incarnation;
        let envelope = Envelope { from: liar, to, incarnation, id, body, ..asked };
        for (number, (_, lie)) in variants(&envelope).into_iter().enumerate() {
            world.with(to, |raft, now| raft.step(now, lie));
            told += 1;
            if number.is_multiple_of(5) {
                world.run_for(5 * MILLISECOND);
            }
        }
    }
    told
}

// ---- terms -------------------------------------------------------------------------------

/// A term far ahead is not stored, and is reported; the own term rises by at most one step in an
/// election timeout.
#[test]
fn a_term_beyond_all_elections_is_refused_before_it_is_stored() {
    for leap in [TERM_LEAP_MAX + 1, (1 << 32) - 8, 1 << 61] {
        let mut hand = Setup::of(3).start();
        for _ in 0..4 {
            hand.hear(LIAR, 1 + leap, heartbeat(LogId::BASE, 0));
            hand.disk();
        }
        assert_eq!((hand.term(), alarms(&hand)), (TERM_STEP, 1), "leap {leap}");
        assert_eq!(hand.raft.leader(), None);
        hand.now += 299 * MILLISECOND;
        hand.hear(LIAR, 1 + leap, heartbeat(LogId::BASE, 0));
        assert_eq!(hand.term(), TERM_STEP);
        hand.now += MILLISECOND;
        hand.hear(LIAR, 1 + leap, heartbeat(LogId::BASE, 0));
        // By the next window the nearest of them is within reach.
        let reached = if leap == TERM_LEAP_MAX + 1 { 1 + leap } else { 2 * TERM_STEP };
        assert_eq!(hand.term(), reached, "leap {leap}");
    }
    let mut hand = Setup::of(3).start();
    hand.hear(LIAR, COUNT_MAX + 1, heartbeat(LogId::BASE, 0));
    assert_eq!((hand.term(), hand.is_silent()), (0, true), "refused on sight");
    hand.hear(LIAR, TERM_LEAP_MAX, heartbeat(LogId::BASE, 0));
    assert_eq!(hand.term(), TERM_LEAP_MAX, "so many elections may have been");
}

/// Terms from a liar, two to four of them to one member or to both: the honest members lead and
/// commit within ten timeouts.
#[test]
fn terms_from_a_liar_do_not_set_members_apart() {
    for (frames, to_both) in [(2, false), (3, true), (4, false), (4, true)] {
        let mut world = World::new(3, 3, config());
        world.expect_alarms();
        let leader = world.elect();
        world.load(leader, 5);
        let (liar, other) = ((leader + 1) % 3, (leader + 2) % 3);
        world.crash(liar);
        for frame in 0..frames {
            for to in [other, leader].into_iter().take(1 + usize::from(to_both)) {
                let RaftStatus { term, last, commit, .. } = world.status(to);
                let envelope = Envelope {
                    cluster: world.config.cluster,
                    group: 0,
                    from: liar,
                    to,
                    incarnation: world.nodes[&liar].disk.life.incarnation,
                    term: term + (1 << 32) - 8,
                    id: frame,
                    body: Body::Request(heartbeat(last, commit)),
                };
                world.with(to, |raft, now| raft.step(now, envelope));
            }
            world.run_for(150 * MILLISECOND);
        }
        world.commits_within(6_000 * MILLISECOND);
    }
}

/// A member that was stopped for a month, in which the others held an election every 300 ms: it
/// rejoins in steps, within a time bounded by its absence, though its own clock restarted.
#[test]
fn a_member_that_was_away_for_a_month_of_elections_rejoins() {
    let month_elections: u64 = 30 * 24 * 3_600 * 1_000 / 300;
    for others in [1, 2] {
        let mut world = World::new(3, 9, config());
        world.expect_alarms();
        let leader = world.elect();
        world.load(leader, 5);
        for id in 0..3 {
            world.crash(id);
        }
        let away = (leader + 1) % 3;
        for id in (0..3).filter(|&id| id != away) {
            world.node(id).disk.hard_state = HardState {
                term: world.nodes[&id].disk.hard_state.term + month_elections,
                vote: None,
            };
        }
        // With one of the others it is needed for a quorum, with two it is not.
        let up = [away, (away + 1) % 3, (away + 2) % 3];
        for &id in &up[..1 + others] {
            world.start(id);
        }
        let steps = month_elections / TERM_STEP + 2;
        let bound = (steps + 20) * 600 * MILLISECOND;
        let rejoined = world.run_until(bound, |world| {
            world.leader().is_some_and(|leader| {
                let led = world.status(leader);
                let status = world.status(away);
                status.term == led.term && status.leader.is_some() && led.term > month_elections
            })
        });
        assert!(rejoined, "{others} others: {:#?}", world.positions());
    }
}

// ---- indexes and answers -----------------------------------------------------------------

/// A snapshot whose last entry is beyond any possible log is refused at once, whichever way it
/// arrives.
#[test]
fn an_index_beyond_all_logs_is_refused_on_sight() {
    for index in [COUNT_MAX + 1, 1 << 63, u64::MAX - 1, u64::MAX] {
        let mut hand = Setup::of(3).start();
        let whole = meta(id(index, 1), &Membership::of_voters(0..3));
        let data = vec![0; 100].into();
        let chunk = SnapshotChunk { meta: whole, transfer: 1, offset: 0, data, crc: 0, round: 0 };
        hand.hear(LIAR, 1, Request::Snapshot(chunk));
        for (prev, terms) in [(index, &[][..]), (index - 1, &[1])] {
            let mut request = append(LogId::BASE, &[], 0);
            if let Request::Append(append) = &mut request {
                append.prev = id(prev, 1);
                append.entries = terms.iter().map(|&term| entry(id(index, term))).collect();
            }
            hand.hear(LIAR, 1, request);
        }
        assert!(hand.out.snapshots.is_empty() && hand.is_silent());
        assert_eq!(hand.status().counters.ignored_messages, 3);
    }
}

/// An answer counts only if the named request was sent to the answering member and asked this. A
/// non-member that answers in the name of a member commits nothing.
#[test]
fn an_answer_counts_only_for_a_request_to_its_sender() {
    let mut hand = Setup::of(5).lead();
    hand.propose_many(2);
    hand.disk();
    hand.after(100);
    let to = |hand: &Hand, node| {
        let to_node = |envelope: &&Envelope| envelope.to == node;
        hand.sent.iter().rfind(to_node).expect("asked").clone()
    };
    let mine = to(&hand, LIAR);
    for other in [2, 3, 4] {
        let forged = Envelope { to: other, ..mine.clone() };
        for place in 0..100 {
            // Ids counted from zero, as request ids once were.
            hand.reply(&Envelope { id: place, ..forged.clone() }, accepted(3, 0));
        }
        hand.reply(&forged, accepted(3, 0));
    }
    assert_eq!(hand.status().commit, 0);
    // An answer to a request of another kind does not count either.
    let append_to_two = to(&hand, 2);
    let vote = Answer::Vote { granted: true, held: None };
    let before = hand.status().counters.ignored_messages;
    hand.reply(&append_to_two, vote);
    assert_eq!(hand.status().counters.ignored_messages, before + 1);
    for node in [2, 3] {
        let asked = to(&hand, node);
        hand.reply(&asked, accepted(3, 0));
    }
    assert_eq!(hand.status().commit, 3, "the honest ones count");
}

// ---- the invariants ----------------------------------------------------------------------

/// Every input detects a broken invariant at once, and each of the listed invariants is checked.
#[test]
fn every_input_checks_every_invariant() {
    type Break = (&'static str, fn(&mut Raft));
    let breaks: [Break; 2] = [
        ("progress", |raft| raft.others += 1),
        ("matched", |raft| raft.agreement.agree(1_000, 1_000)),
    ];
    type Input = (&'static str, fn(&mut Raft, Micros));
    let inputs: [Input; 12] = [
        ("tick", |raft, now| raft.tick(now)),
        ("undelivered", |raft, now| raft.undelivered(now, 9, 0)),
        ("propose", |raft, now| _ = raft.propose(now, 0, Default::default())),
        ("read_index", |raft, now| _ = raft.read_index(now)),
        ("log_read", |raft, now| raft.log_read(now, 99, LogReadOutcome::Compacted)),
        ("chunk_read", |raft, now| raft.chunk_read(now, 9, 0, 0, ChunkReadOutcome::Gone)),
        ("request_snapshot", |raft, now| raft.request_snapshot(now)),
        ("snapshot_declined", |raft, now| raft.snapshot_declined(now)),
        ("applied", |raft, now| raft.applied(now, 0)),
        ("decode_begun", |raft, now| raft.decode_begun(now, id(1, 1))),
        ("snapshot_decoded", |raft, now| _ = raft.snapshot_decoded(now, id(1, 1), true)),
        ("cond_install", |raft, now| raft.cond_install(now, id(1, 1))),
    ];
    let hand = Setup::of(3).lead();
    for (what, break_it) in breaks {
        for (name, input) in inputs {
            if (what, name) == ("matched", "propose") {
                // A leader agrees with itself up to what it appends.
                continue;
            }
            let mut raft = hand.raft.clone();
            break_it(&mut raft);
            let now = hand.now;
            let run = std::panic::AssertUnwindSafe(|| input(&mut raft, now));
            assert!(std::panic::catch_unwind(run).is_err(), "{name} overlooks a broken {what}");
        }
    }
}
