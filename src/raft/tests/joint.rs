//! A leader and one member that commit by themselves: only if the two are a quorum of both halves
//! of a joint configuration (MB03, decision 008).

use super::hand::*;
use super::world::MILLISECOND;
use crate::raft::*;

/// Every pair of configurations of up to five of the members 0 to 4; the second one may be empty.
fn configurations() -> impl Iterator<Item = Membership> {
    let of = |bits: u64| (0..5).filter(move |node| bits & (1 << node) != 0).collect();
    (1..32u64).flat_map(move |incoming| {
        (0..32u64).map(move |outgoing| Membership {
            voters: of(incoming),
            voters_outgoing: of(outgoing),
            learners: Default::default(),
        })
    })
}

/// Whether 0 and 1 are more than half of each configuration that is not empty.
fn is_quorum_of_both(members: &Membership) -> bool {
    [&members.voters, &members.voters_outgoing].iter().all(|voters| {
        let both = voters.iter().filter(|&&node| node <= 1).count();
        voters.is_empty() || 2 * both > voters.len()
    })
}

#[test]
fn mb03_a_member_commits_with_its_leader_only_if_the_two_are_a_quorum_of_both_halves() {
    let mut committed = 0;
    for members in configurations().filter(|members| members.contains(0) && members.contains(1)) {
        let mut hand = Setup::of(1).members(members.clone()).start();
        let Request::Append(append) = append(LogId::BASE, &[1], 0) else { unreachable!() };
        let durable = Append { leader_last: 1, leader_durable: 1, ..append };
        hand.hear(1, 1, Request::Append(durable));
        hand.disk();
        let expected = u64::from(is_quorum_of_both(&members));
        assert_eq!(hand.status().commit, expected, "{members:?}");
        committed += expected;
    }
    assert!(committed > 20, "{committed} cases in which the two commit");
}

/// A member that can commit by itself is not notified of a commit; every other member is.
#[test]
fn mb03_a_leader_tells_of_a_commit_whom_it_is_no_quorum_with_in_both_halves() {
    let mut told = 0;
    for members in configurations().filter(|members| members.contains(0) && members.contains(1)) {
        let notices = |config: &mut RaftConfig| {
            config.commit_notice = Some(5 * MILLISECOND);
            config.batch_delay = 2 * MILLISECOND;
        };
        let mut hand = Setup::of(1).members(members.clone()).with(notices).lead();
        let nodes: Vec<NodeId> = members.all().into_iter().filter(|&node| node != 0).collect();
        nodes.iter().for_each(|&node| hand.accept_all(node));
        hand.propose_many(1);
        // The entry is durable at the leader when it is sent, and the message says so.
        hand.after(2);
        nodes.iter().for_each(|&node| hand.accept_all(node));
        assert_eq!(hand.status().commit, 2);
        hand.sent.clear();
        hand.after(5);
        let is_told = !hand.appends(1).is_empty();
        assert_eq!(is_told, !is_quorum_of_both(&members), "{members:?}");
        told += u64::from(is_told);
    }
    assert!(told > 20, "{told} cases in which the member is told");
}
