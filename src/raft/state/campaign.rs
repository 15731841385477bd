//! Which members a campaign asks, and when it asks them again.
//!
//! ```text
//!   leader silent ─▶ just enough members, not that leader ── no answer ─▶ probe: one member a round ─┐
//!                              │ an answer                                    ▲            │         │
//!                              ▼                                              └── round ───┼─────────┘
//!                     all other members, and the silent ones again ◀── an answer ──────────┘
//! ```
//! A live leader sends heartbeats, so the first round does not ask the leader that has just fallen
//! silent if the other members suffice. If a round gets no answer, the next rounds *probe*: each
//! asks one member, in turn. A member that is cut off therefore sends one message an election
//! timeout, and still notices when it is connected again. A member that answers is asked in every
//! round until it has missed [`MISSED_MAX`] of them. When a member answers that did not before, all
//! members are asked, and those that do not answer are asked again (Raft §5.1).
//!
//! An answer may come in a later round: a granted vote still counts then. Votes are requested from
//! all members that did not refuse the pre-vote.
//!
//! Not here: the requests, and what their answers mean (`election.rs`).

use std::collections::{BTreeMap, BTreeSet};

use crate::raft::types::{Micros, NodeId};

/// A member that has not answered in so many rounds in a row is not asked in every round any more.
const MISSED_MAX: u32 = 4;

/// The rounds since a leader was last heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::raft) struct Campaign {
    rounds: u64,
    /// The place of the first round's first request: answers to earlier requests are stale (EL13).
    pub first_request: u64,
    /// The members that can be asked in this round.
    others: BTreeSet<NodeId>,
    /// The members that have been asked in this round.
    pub asked: BTreeSet<NodeId>,
    answered: BTreeSet<NodeId>,
    /// Members that answer, each with the number of rounds in a row that it has missed.
    reachable: BTreeMap<NodeId, u32>,
    /// The members that are asked again, and when.
    pub(in crate::raft) again: BTreeMap<NodeId, Micros>,
}

impl Campaign {
    /// A leader is heard, or this member leads: the next campaign starts anew.
    pub(in crate::raft) fn reset(&mut self) {
        *self = Campaign::default();
    }

    /// Begins a round and returns the members to ask, of `others`. `silent` is the leader that has
    /// just fallen silent. `suffice` says whether these members and this one are a quorum.
    pub(in crate::raft) fn begin(
        &mut self,
        others: BTreeSet<NodeId>,
        silent: Option<NodeId>,
        first_request: u64,
        suffice: impl Fn(&BTreeSet<NodeId>) -> bool,
    ) -> BTreeSet<NodeId> {
        self.end_round();
        if self.rounds == 0 {
            self.first_request = first_request;
            self.others = others;
            self.others.retain(|&node| Some(node) != silent);
            if !suffice(&self.others) {
                self.others.extend(silent);
            }
            self.asked = self.just_enough(suffice);
        } else {
            self.others = others;
            self.asked = self.probe();
        }
        self.rounds += 1;
        self.asked.clone()
    }

    fn end_round(&mut self) {
        for node in &self.asked {
            if !self.answered.contains(node)
                && let Some(missed) = self.reachable.get_mut(node)
            {
                *missed += 1;
            }
        }
        self.reachable.retain(|_, missed| *missed < MISSED_MAX);
        self.answered.clear();
        self.again.clear();
    }

    /// As many members as suffice for a quorum, from a position in the circle of members that
    /// differs between candidates.
    fn just_enough(&self, suffice: impl Fn(&BTreeSet<NodeId>) -> bool) -> BTreeSet<NodeId> {
        let start = self.first_request as usize % self.others.len().max(1);
        let mut whom = BTreeSet::new();
        for &node in self.others.iter().cycle().skip(start).take(self.others.len()) {
            if suffice(&whom) {
                break;
            }
            whom.insert(node);
        }
        whom
    }

    fn probe(&self) -> BTreeSet<NodeId> {
        let mut whom: BTreeSet<NodeId> =
            self.others.iter().copied().filter(|node| self.reachable.contains_key(node)).collect();
        let silent: Vec<NodeId> = self.others.difference(&whom).copied().collect();
        if !silent.is_empty() {
            whom.insert(silent[(self.rounds % silent.len() as u64) as usize]);
        }
        whom
    }

    /// `node` has answered. Returns whether it did not answer before.
    pub(in crate::raft) fn heard(&mut self, node: NodeId) -> bool {
        self.again.remove(&node);
        self.answered.insert(node);
        self.reachable.insert(node, 0).is_none()
    }

    /// Takes the members that have not been asked in this round.
    pub(in crate::raft) fn rest(&mut self) -> Vec<NodeId> {
        let rest: Vec<NodeId> = self.others.difference(&self.asked).copied().collect();
        self.asked.extend(&rest);
        rest
    }

    /// A member has answered, so this one is not cut off: silent members are asked again at `at`,
    /// if not before.
    pub(in crate::raft) fn retry(&mut self, silent: impl Iterator<Item = NodeId>, at: Micros) {
        silent.for_each(|node| _ = self.again.entry(node).or_insert(at));
    }

    /// The request to `node` has not arrived: it is asked again at `at`.
    pub(in crate::raft) fn lost(&mut self, node: NodeId, at: Micros) {
        self.again.insert(node, at);
    }

    /// Takes the members to ask again by `now`.
    pub(in crate::raft) fn due(&mut self, now: Micros) -> Vec<NodeId> {
        let due: Vec<NodeId> =
            self.again.iter().filter(|(_, at)| **at <= now).map(|(&node, _)| node).collect();
        due.iter().for_each(|node| _ = self.again.remove(node));
        due
    }

    /// The other half of a campaign begins: whom it asks is another matter.
    pub(in crate::raft) fn forget_again(&mut self) {
        self.again.clear();
    }

    /// When somebody is to be asked again.
    pub(in crate::raft) fn deadline(&self) -> Option<Micros> {
        self.again.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[NodeId]) -> BTreeSet<NodeId> {
        ids.iter().copied().collect()
    }

    fn five(campaign: &mut Campaign) -> BTreeSet<NodeId> {
        campaign.begin(nodes(&[1, 2, 3, 4]), Some(3), 0, |nodes| nodes.len() >= 2)
    }

    /// EL18: cut off, one message a round to each in turn; heard again, everybody.
    #[test]
    fn a_member_that_is_cut_off_knocks() {
        let mut campaign = Campaign::default();
        assert_eq!(
            five(&mut campaign),
            nodes(&[1, 2]),
            "just enough, not the leader that fell silent"
        );
        let knocks: Vec<_> = (0..4).map(|_| five(&mut campaign)).collect();
        assert!(knocks.iter().all(|asked| asked.len() == 1), "{knocks:?}");
        let all: BTreeSet<_> = knocks.into_iter().flatten().collect();
        assert_eq!(all, nodes(&[1, 2, 3, 4]), "every member is asked in turn");
        let knocked = *five(&mut campaign).first().expect("one is asked");
        assert!(campaign.heard(knocked), "that it answers is news");
        assert_eq!(campaign.rest().len(), 3, "now the others as well");
        let next = five(&mut campaign);
        assert!(
            next.contains(&knocked) && next.len() == 2,
            "{next:?}: the one that answered, and one more"
        );
        assert!(!campaign.heard(knocked), "that it answers is no news any more");
    }

    #[test]
    fn the_first_round_begins_anywhere() {
        let begin =
            |first| Campaign::default().begin(nodes(&[1, 2, 3, 4]), None, first, |n| n.len() >= 2);
        assert_eq!(begin(2), nodes(&[3, 4]));
        assert_eq!(begin(7), nodes(&[4, 1]));
    }

    #[test]
    fn where_the_others_do_not_suffice_the_silent_leader_is_asked() {
        let asked = Campaign::default().begin(nodes(&[1]), Some(1), 0, |nodes| !nodes.is_empty());
        assert_eq!(asked, nodes(&[1]));
    }

    #[test]
    fn who_does_not_answer_is_asked_again() {
        let mut campaign = Campaign::default();
        campaign.begin(nodes(&[1, 2]), None, 0, |_| true);
        campaign.retry([1, 2].into_iter(), 10);
        campaign.retry([1, 2].into_iter(), 20);
        campaign.lost(2, 5);
        assert_eq!((campaign.deadline(), campaign.due(4)), (Some(5), vec![]));
        assert_eq!(campaign.due(7), vec![2]);
        assert_eq!(campaign.due(10), vec![1]);
        campaign.retry([1, 2].into_iter(), 20);
        campaign.heard(1);
        assert_eq!(campaign.due(30), vec![2]);
        assert_eq!(campaign.deadline(), None);
    }
}
