//! Quorums, computed independently of the protocol: over one configuration, or over both halves of
//! a joint configuration.

use std::collections::BTreeSet;

use quorate::raft::{Membership, NodeId};

use super::random::Dice;

/// The voters of each configuration that has to agree.
#[derive(Clone, Debug, Default)]
pub(super) struct Quorums(Vec<BTreeSet<NodeId>>);

impl Quorums {
    /// The quorums of a membership.
    pub(super) fn of(members: &Membership) -> Quorums {
        let halves = [&members.voters, &members.voters_outgoing];
        Quorums(halves.into_iter().filter(|voters| !voters.is_empty()).cloned().collect())
    }

    /// Whether the members for which `agrees` holds are a majority of each configuration.
    pub(super) fn are(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        let is_majority = |voters: &BTreeSet<NodeId>| {
            2 * voters.iter().filter(|node| agrees(**node)).count() > voters.len()
        };
        self.0.iter().all(is_majority)
    }

    /// Whether `node` is the only voter.
    pub(super) fn is_alone(&self, node: NodeId) -> bool {
        self.0.iter().any(|voters| voters.len() == 1 && voters.contains(&node))
    }

    /// Whether the disk of `node` may be lost. Not if no other member can repair the loss, and not
    /// if the node is one of two voters of a joint configuration: the other one needs its vote to
    /// be elected, and it votes for none before it has caught up with a leader.
    pub(super) fn may_lose(&self, node: NodeId) -> bool {
        let least = if self.0.len() == 1 { 2 } else { 3 };
        self.0.iter().all(|voters| voters.len() >= least || !voters.contains(&node))
    }
}

/// The members of a new cluster of `nodes`: one configuration, or, in one cluster of four, two that
/// overlap. Each has at least two voters.
pub(super) fn founding(nodes: u64, dice: &mut Dice) -> Membership {
    let mut members = Membership::of_voters(0..nodes);
    if nodes < 3 || !dice.chance(250) {
        return members;
    }
    let mut shuffled: Vec<NodeId> = (0..nodes).collect();
    for place in (1..shuffled.len()).rev() {
        shuffled.swap(place, dice.below(place as u64 + 1) as usize);
    }
    // The second half has all members that the first lacks, and at least one of the first.
    let first = dice.between(2, nodes - 1) as usize;
    let second = dice.between(1, first as u64) as usize;
    members.voters = shuffled[..first].iter().copied().collect();
    members.voters_outgoing = shuffled[first - second..].iter().copied().collect();
    if dice.chance(500) {
        std::mem::swap(&mut members.voters, &mut members.voters_outgoing);
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_of_a_joint_configuration_have_to_agree() {
        let members = Membership {
            voters: [0, 1, 2].into(),
            voters_outgoing: [2, 3].into(),
            ..Membership::default()
        };
        let quorums = Quorums::of(&members);
        assert!(!quorums.are(|node| node < 3) && !quorums.are(|node| node > 0 && node < 3));
        assert!(quorums.are(|node| node > 0));
        assert!(quorums.may_lose(1) && !quorums.may_lose(2) && !quorums.may_lose(3));
        assert!(!quorums.is_alone(2) && Quorums::of(&Membership::of_voters([2])).is_alone(2));
    }

    #[test]
    fn one_cluster_in_four_begins_with_two_configurations() {
        let (mut joint, mut dice) = (0, Dice::new(1, 1));
        for nodes in (1..=7).cycle().take(700) {
            let members = founding(nodes, &mut dice);
            assert_eq!(members.all(), (0..nodes).collect(), "{members}");
            let halves = [&members.voters, &members.voters_outgoing];
            if halves.iter().all(|voters| !voters.is_empty()) {
                joint += 1;
                assert!(halves.iter().all(|voters| voters.len() > 1), "{members}");
            }
        }
        assert!((60..240).contains(&joint), "{joint} of 700");
    }
}
