//! Tests of the invariant checker itself.

use super::*;
use quorate::raft::{EntryKind, KnownPeers, LogId, PeerRecord};

fn change(truncate_from: Option<Index>, term: Term) -> LogChange {
    let log_id = LogId { term, index: 1 };
    let blank = Entry { log_id, kind: EntryKind::Blank, stamp_ms: 0, data: Bytes::new() };
    LogChange { truncate_from, append: [blank].into_iter().collect(), ..LogChange::default() }
}

/// Disks of three members hold entry 1 of term 1, which is committed; then this many of them
/// follow a truncation.
fn truncated_by(members: u64) -> Option<&'static str> {
    let mut invariants = InvariantChecker::new(&Membership::of_voters(0..3));
    (0..3).for_each(|member| invariants.durable(member, &change(None, 1)));
    invariants.history.push(Committed { term: 1, in_term: 3 });
    (0..3).for_each(|member| invariants.count_held(member));
    (0..members).for_each(|member| invariants.durable(member, &change(Some(1), 2)));
    invariants.breach().map(|breach| breach.rule)
}

/// A disk may take longer to truncate an entry than other members take to commit it.
#[test]
fn a_disk_may_lose_a_committed_entry_but_not_a_quorum_of_disks() {
    assert_eq!(truncated_by(1), None);
    assert_eq!(truncated_by(2), Some("committed on a quorum's disks"));
}

fn observed(term: Term, last: Index) -> ObservedState {
    let hard_state = HardState { term, vote: None };
    ObservedState {
        node: 0,
        incarnation: 1,
        role: quorate::raft::Role::Follower,
        hard_state,
        durable: hard_state,
        log_start: LogId::BASE,
        last: LogId { term: 1, index: last },
        uncommitted_bytes: 0,
        persisted: last,
        commit: 0,
        dispatched: 0,
        applied: 0,
        snapshot: LogId::BASE,
        recovering: false,
    }
}

/// A member that was paused follows a leader of term 2, while term 3 has committed an entry
/// with other members. The member may truncate its copy, until it is in term 3.
#[test]
fn what_a_later_term_committed_may_be_truncated() {
    for (term, breach) in [(2, None), (3, Some("committed entries stay"))] {
        let mut invariants = InvariantChecker::new(&Membership::of_voters(0..3));
        invariants.history.push(Committed { term: 1, in_term: 3 });
        invariants.known(0).logged = 1;
        invariants.known(0).seen = Some(observed(term, 0));
        invariants.truncates(observed(term, 0), 0);
        assert_eq!(invariants.breach().map(|breach| breach.rule), breach, "term {term}");
    }
}

/// A vote, and a later term in the same turn: one durable step.
#[test]
fn a_vote_that_was_overtaken_by_a_term_counts() {
    let mut invariants = InvariantChecker::new(&Membership::of_voters(0..3));
    let later = HardState { term: 31, vote: None };
    invariants.durable(1, &LogChange { hard_state: Some(later), ..LogChange::default() });
    let own = HardState { term: 30, vote: Some(2) };
    invariants.durable(2, &LogChange { hard_state: Some(own), ..LogChange::default() });
    let answer = Answer::Vote { granted: true, held: None };
    let body = Body::Answer { asker_incarnation: 1, answer };
    invariants.sent(&Envelope {
        cluster: 1,
        group: 0,
        from: 1,
        to: 2,
        incarnation: 1,
        term: 30,
        id: 1,
        body,
    });
    invariants.is_elected(ObservedState { node: 2, ..observed(30, 0) });
    assert_eq!(invariants.breach(), None);
}

/// A member learns that its disk was rolled back, can't write that down, and starts as the very
/// incarnation that others remember (PS20): nothing is checked from then on.
#[test]
fn ps20_a_loss_that_nobody_can_notice_ends_a_run() {
    let mut invariants = InvariantChecker::new(&Membership::of_voters(0..3));
    let remembers_6 = KnownPeers::from([(1, PeerRecord::new(6))]);
    let remembered = Remembered::of(1, &[remembers_6.clone(), remembers_6.clone(), remembers_6]);
    let life = |incarnation| Life { incarnation, ..Life::default() };
    invariants.begins(1, life(6), &remembered);
    assert!(!invariants.has_given_up(), "nothing is lost");
    invariants.lost(1, Durable::default(), false);
    invariants.begins(1, life(5), &remembered);
    assert!(!invariants.has_given_up(), "the others can tell life 5 from life 6");
    invariants.begins(1, life(6), &remembered);
    assert!(invariants.has_given_up() && invariants.is_over());
    invariants.report_breach("a rule", String::new());
    assert_eq!(invariants.breach(), None);
}
