//! Majorities, over one or two configurations.
//!
//! During a joint change both configurations must agree (Raft §6): a quorum is a majority of each.
//! An empty configuration is skipped. With `voters` empty there is no quorum, and such a node never
//! campaigns, so it never leads.

use std::collections::BTreeSet;

use crate::raft::types::{Index, Membership, NodeId};

/// The state of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::raft) enum VoteResult {
    Won,
    Lost,
    Open,
}

/// Up to this many voters are counted without an allocation.
const FEW_VOTERS: usize = 9;

/// The majority of `size` voters (LR08).
fn majority(size: usize) -> usize {
    size / 2 + 1
}

fn configurations(membership: &Membership) -> impl Iterator<Item = &BTreeSet<NodeId>> {
    [&membership.voters, &membership.voters_outgoing]
        .into_iter()
        .filter(|voters| !voters.is_empty())
}

/// Whether the members for which `agrees` holds are a quorum.
pub(in crate::raft) fn is_quorum(membership: &Membership, agrees: impl Fn(NodeId) -> bool) -> bool {
    !membership.voters.is_empty()
        && configurations(membership).all(|voters| {
            voters.iter().filter(|&&node| agrees(node)).count() >= majority(voters.len())
        })
}

/// Whether these two members alone are a quorum.
pub(in crate::raft) fn is_quorum_of_two(
    membership: &Membership,
    one: NodeId,
    other: NodeId,
) -> bool {
    is_quorum(membership, |node| node == one || node == other)
}

/// The highest index that a quorum has reached; `reached` returns the index of each member.
pub(in crate::raft) fn reached_by_quorum(
    membership: &Membership,
    reached: impl Fn(NodeId) -> Index,
) -> Index {
    configurations(membership)
        .map(|voters| reached_by_majority(voters, &reached))
        .min()
        .unwrap_or(0)
}

fn reached_by_majority(voters: &BTreeSet<NodeId>, reached: impl Fn(NodeId) -> Index) -> Index {
    // Called for every answer: up to FEW_VOTERS voters need no allocation.
    let (mut few, mut many) = ([0; FEW_VOTERS], Vec::new());
    let positions = match few.get_mut(..voters.len()) {
        Some(few) => few,
        None => {
            many.resize(voters.len(), 0);
            &mut many[..]
        }
    };
    positions.iter_mut().zip(voters).for_each(|(position, &node)| *position = reached(node));
    positions.sort_unstable_by(|a, b| b.cmp(a));
    positions[majority(positions.len()) - 1]
}

/// The state of an election, from `vote`: each member's answer, if it has answered.
pub(in crate::raft) fn vote_result(
    membership: &Membership,
    vote: impl Fn(NodeId) -> Option<bool>,
) -> VoteResult {
    if is_quorum(membership, |node| vote(node) == Some(true)) {
        return VoteResult::Won;
    }
    let winnable = is_quorum(membership, |node| vote(node) != Some(false));
    if winnable { VoteResult::Open } else { VoteResult::Lost }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joint(incoming: &[NodeId], outgoing: &[NodeId]) -> Membership {
        Membership {
            voters: incoming.iter().copied().collect(),
            voters_outgoing: outgoing.iter().copied().collect(),
            learners: BTreeSet::new(),
        }
    }

    #[test]
    fn lr08_even_sizes_need_more_than_half() {
        for size in 1..=7u64 {
            let members = Membership::of_voters(0..size);
            let needed = (1..=size).find(|&agreeing| is_quorum(&members, |node| node < agreeing));
            assert_eq!(needed, Some(size / 2 + 1), "of {size}");
        }
    }

    #[test]
    fn lr07_commit_is_the_median_whatever_the_order_of_members() {
        let members = Membership::of_voters(0..5);
        let matched = [9, 3, 7, 1, 5];
        assert_eq!(reached_by_quorum(&members, |node| matched[node as usize]), 5);
    }

    #[test]
    fn mb03_a_joint_configuration_needs_both_majorities() {
        let members = joint(&[1, 2, 3], &[3, 4, 5]);
        assert!(!is_quorum(&members, |node| [1, 2, 3].contains(&node)));
        assert!(is_quorum(&members, |node| [1, 3, 4].contains(&node)));
        let reached = |node| if [1, 2, 3].contains(&node) { 10 } else { 4 };
        assert_eq!(reached_by_quorum(&members, reached), 4);
    }

    #[test]
    fn lr22_learners_and_nobody_are_no_quorum() {
        let mut members = Membership::default();
        members.learners.extend([1, 2, 3]);
        assert!(!is_quorum(&members, |_| true));
        assert_eq!(reached_by_quorum(&members, |_| 7), 0);
    }

    #[test]
    fn votes_are_lost_once_no_majority_is_left() {
        let members = Membership::of_voters(1..=3);
        let votes = |given: &'static [(NodeId, bool)]| {
            vote_result(&members, |node| {
                given.iter().find(|vote| vote.0 == node).map(|vote| vote.1)
            })
        };
        assert_eq!(votes(&[(1, true)]), VoteResult::Open);
        assert_eq!(votes(&[(1, true), (2, false)]), VoteResult::Open);
        assert_eq!(votes(&[(1, true), (2, false), (3, false)]), VoteResult::Lost);
        assert_eq!(votes(&[(1, true), (3, true)]), VoteResult::Won);
    }
}
