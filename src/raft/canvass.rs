//! Whom a campaign asks, and whom again.
//!
//! ```text
//!   leader silent ─▶ just enough, not that leader ──────────── nobody answers ─▶ one in turn ─┐ round
//!                              │ somebody answers                    ▲              │       │ by round
//!                              ▼                                     └──────────────┼───────┘
//!                     all the others too, the silent ones once more  ◀── it answers ┘
//! ```
//! A leader that lives sends heartbeats, so the first round does not ask the one that has just fallen silent, where the
//! others suffice. A round that nobody answers is followed by *knocking*: one member a round is asked, in turn. So a
//! member that is cut off sends one message an election timeout, and notices all the same when it is not cut off any
//! more. Whoever answers is asked in every round from then on, until it misses some; and once somebody does who did not
//! before, everybody is asked, and those who do not answer once more (Raft §5.1).
//!
//! A round's answers may come late, in a later round; that they say yes still counts then. Votes are asked of all who
//! did not refuse the pre-vote.
//!
//! Not here: what is asked, and what the answers mean (`election.rs`).

use std::collections::{BTreeMap, BTreeSet};

use super::types::{Micros, NodeId};

/// After so many rounds in a row without an answer a member is not asked every round any more.
const MISSED_MAX: u32 = 4;

/// The rounds of asking since a leader was last heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Canvass {
    rounds: u64,
    /// The place of the first round's first request: an answer to an earlier one says nothing of now (EL13).
    pub first_request: u64,
    /// Who can be asked in this round, and who has been.
    others: BTreeSet<NodeId>,
    pub asked: BTreeSet<NodeId>,
    answered: BTreeSet<NodeId>,
    /// Who answers at all, and how many rounds in a row it has not.
    reachable: BTreeMap<NodeId, u32>,
    /// Who is asked again, and when.
    pub(super) again: BTreeMap<NodeId, Micros>,
}

impl Canvass {
    /// A leader is heard, or this is one: the next campaign begins anew.
    pub(super) fn reset(&mut self) {
        *self = Canvass::default();
    }

    /// Begins a round: whom to ask of `others`. `silent` is the leader that has just fallen silent; `suffice` says whether
    /// these members together with this one could decide.
    pub(super) fn begin(
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
            self.asked = self.knock();
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

    /// So many that they could decide, from some place on in the circle of members: everybody begins at another.
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

    fn knock(&self) -> BTreeSet<NodeId> {
        let mut whom: BTreeSet<NodeId> =
            self.others.iter().copied().filter(|node| self.reachable.contains_key(node)).collect();
        let silent: Vec<NodeId> = self.others.difference(&whom).copied().collect();
        if !silent.is_empty() {
            whom.insert(silent[(self.rounds % silent.len() as u64) as usize]);
        }
        whom
    }

    /// `node` has answered; `true`: it is news that it does.
    pub(super) fn heard(&mut self, node: NodeId) -> bool {
        self.again.remove(&node);
        self.answered.insert(node);
        self.reachable.insert(node, 0).is_none()
    }

    /// Takes whom has not been asked in this round.
    pub(super) fn rest(&mut self) -> Vec<NodeId> {
        let rest: Vec<NodeId> = self.others.difference(&self.asked).copied().collect();
        self.asked.extend(&rest);
        rest
    }

    /// Somebody answers, so this member is not cut off: who does not answer is asked again at `at`, if not before.
    pub(super) fn insist(&mut self, silent: impl Iterator<Item = NodeId>, at: Micros) {
        silent.for_each(|node| _ = self.again.entry(node).or_insert(at));
    }

    /// What was asked of `node` has not arrived: it is asked again at `at`.
    pub(super) fn lost(&mut self, node: NodeId, at: Micros) {
        self.again.insert(node, at);
    }

    /// Takes whom to ask again by `now`.
    pub(super) fn due(&mut self, now: Micros) -> Vec<NodeId> {
        let due: Vec<NodeId> =
            self.again.iter().filter(|(_, at)| **at <= now).map(|(&node, _)| node).collect();
        due.iter().for_each(|node| _ = self.again.remove(node));
        due
    }

    /// The other half of a campaign begins: whom it asks is another matter.
    pub(super) fn forget_again(&mut self) {
        self.again.clear();
    }

    /// When somebody is to be asked again.
    pub(super) fn deadline(&self) -> Option<Micros> {
        self.again.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[NodeId]) -> BTreeSet<NodeId> {
        ids.iter().copied().collect()
    }

    fn five(canvass: &mut Canvass) -> BTreeSet<NodeId> {
        canvass.begin(nodes(&[1, 2, 3, 4]), Some(3), 0, |nodes| nodes.len() >= 2)
    }

    /// EL18: cut off, one message a round to each in turn; heard again, everybody.
    #[test]
    fn a_member_that_is_cut_off_knocks() {
        let mut canvass = Canvass::default();
        assert_eq!(
            five(&mut canvass),
            nodes(&[1, 2]),
            "just enough, not the leader that fell silent"
        );
        let knocks: Vec<_> = (0..4).map(|_| five(&mut canvass)).collect();
        assert!(knocks.iter().all(|asked| asked.len() == 1), "{knocks:?}");
        let all: BTreeSet<_> = knocks.into_iter().flatten().collect();
        assert_eq!(all, nodes(&[1, 2, 3, 4]), "everybody's turn comes");
        let knocked = *five(&mut canvass).first().expect("one is asked");
        assert!(canvass.heard(knocked), "that it answers is news");
        assert_eq!(canvass.rest().len(), 3, "now the others as well");
        let next = five(&mut canvass);
        assert!(next.contains(&knocked) && next.len() == 2, "{next:?}: who answered, and one more");
        assert!(!canvass.heard(knocked), "that it answers is no news any more");
    }

    #[test]
    fn the_first_round_begins_anywhere() {
        let begin =
            |first| Canvass::default().begin(nodes(&[1, 2, 3, 4]), None, first, |n| n.len() >= 2);
        assert_eq!(begin(2), nodes(&[3, 4]));
        assert_eq!(begin(7), nodes(&[4, 1]));
    }

    #[test]
    fn where_the_others_do_not_suffice_the_silent_leader_is_asked() {
        let asked = Canvass::default().begin(nodes(&[1]), Some(1), 0, |nodes| !nodes.is_empty());
        assert_eq!(asked, nodes(&[1]));
    }

    #[test]
    fn who_does_not_answer_is_asked_again() {
        let mut canvass = Canvass::default();
        canvass.begin(nodes(&[1, 2]), None, 0, |_| true);
        canvass.insist([1, 2].into_iter(), 10);
        canvass.insist([1, 2].into_iter(), 20);
        canvass.lost(2, 5);
        assert_eq!((canvass.deadline(), canvass.due(4)), (Some(5), vec![]));
        assert_eq!(canvass.due(7), vec![2]);
        assert_eq!(canvass.due(10), vec![1]);
        canvass.insist([1, 2].into_iter(), 20);
        canvass.heard(1);
        assert_eq!(canvass.due(30), vec![2]);
        assert_eq!(canvass.deadline(), None);
    }
}
