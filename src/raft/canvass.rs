//! Whom a campaign asks, and whom again.
//!
//! ```text
//!   leader silent ─▶ everybody but that leader ─ not enough answers ─▶ those who answered, and one of the silent
//!                                                                        │ the silent one answers
//!                                                                        ▼
//!                                                                   all the others too
//! ```
//! A leader that lives sends heartbeats, so the first round does not ask the one that has just fallen silent, where the
//! others suffice. A round that was not answered by enough is followed by *knocking*: of the members that did not answer
//! one is asked a round, in turn, and once it answers everybody is. So a member that is cut off sends one message an
//! election timeout, not one to each, and notices all the same when it is not cut off any more. A message that is
//! known to be lost is sent once more.
//!
//! Not here: what is asked, and what the answers mean (`election.rs`).

use std::collections::{BTreeMap, BTreeSet};

use super::message::RequestId;
use super::types::{Micros, NodeId};

/// The rounds of asking since a leader was last heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Canvass {
    rounds: u64,
    /// The round's first request: an answer to an earlier one belongs to an earlier round (EL13).
    pub first_request: RequestId,
    asked: BTreeSet<NodeId>,
    answered: BTreeSet<NodeId>,
    /// Who had answered the round before.
    answered_before: BTreeSet<NodeId>,
    /// What is to be asked again, and when. `None`: it has been.
    again: BTreeMap<NodeId, Option<Micros>>,
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
        first_request: RequestId,
        suffice: impl Fn(&BTreeSet<NodeId>) -> bool,
    ) -> BTreeSet<NodeId> {
        self.answered_before = std::mem::take(&mut self.answered);
        self.first_request = first_request;
        self.again.clear();
        self.asked = if self.rounds == 0 {
            let without: BTreeSet<NodeId> =
                others.iter().copied().filter(|&node| Some(node) != silent).collect();
            if suffice(&without) { without } else { others }
        } else {
            self.knock(&others)
        };
        self.rounds += 1;
        self.asked.clone()
    }

    fn knock(&self, others: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let mut whom: BTreeSet<NodeId> =
            others.intersection(&self.answered_before).copied().collect();
        let silent: Vec<NodeId> = others.difference(&whom).copied().collect();
        if !silent.is_empty() {
            whom.insert(silent[(self.rounds % silent.len() as u64) as usize]);
        }
        whom
    }

    /// `node` has answered: whom of `others` to ask now as well.
    pub(super) fn heard(&mut self, node: NodeId, others: BTreeSet<NodeId>) -> Vec<NodeId> {
        self.answered.insert(node);
        self.again.remove(&node);
        if self.answered_before.contains(&node) {
            return Vec::new();
        }
        let rest: Vec<NodeId> = others.difference(&self.asked).copied().collect();
        self.asked.extend(&rest);
        rest
    }

    /// What was asked of `node` has not arrived: it is asked once more at `at`.
    pub(super) fn lost(&mut self, node: NodeId, at: Micros) {
        self.again.entry(node).or_insert(Some(at));
    }

    /// Takes whom to ask again by `now`.
    pub(super) fn due(&mut self, now: Micros) -> Vec<NodeId> {
        let due = |at: &Option<Micros>| at.is_some_and(|at| at <= now);
        let nodes = self.again.iter_mut().filter(|(_, at)| due(at));
        nodes.map(|(&node, at)| (node, *at = None).0).collect()
    }

    /// When somebody is to be asked again.
    pub(super) fn deadline(&self) -> Option<Micros> {
        self.again.values().filter_map(|at| *at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[NodeId]) -> BTreeSet<NodeId> {
        ids.iter().copied().collect()
    }

    /// EL18: cut off, one message a round to each in turn; heard again, everybody.
    #[test]
    fn a_member_that_is_cut_off_knocks() {
        let mut canvass = Canvass::default();
        let others = nodes(&[1, 2, 3, 4]);
        let begin =
            |canvass: &mut Canvass| canvass.begin(nodes(&[1, 2, 3, 4]), Some(3), 0, |_| true);
        assert_eq!(begin(&mut canvass), nodes(&[1, 2, 4]), "not the leader that fell silent");
        let knocks: Vec<_> = (0..4).map(|_| begin(&mut canvass)).collect();
        assert!(knocks.iter().all(|asked| asked.len() == 1), "{knocks:?}");
        let all: BTreeSet<_> = knocks.into_iter().flatten().collect();
        assert_eq!(all, others, "everybody's turn comes");
        let knocked = *begin(&mut canvass).first().expect("one is asked");
        assert_eq!(canvass.heard(knocked, others.clone()).len(), 3, "now the others as well");
        let next = begin(&mut canvass);
        assert!(next.contains(&knocked) && next.len() == 2, "{next:?}: who answered, and one more");
        assert!(canvass.heard(knocked, others).is_empty(), "that it answers is no news");
    }

    #[test]
    fn where_the_others_do_not_suffice_the_silent_leader_is_asked() {
        let asked = Canvass::default().begin(nodes(&[1]), Some(1), 0, |nodes| !nodes.is_empty());
        assert_eq!(asked, nodes(&[1]));
    }

    #[test]
    fn what_is_lost_is_asked_once_more() {
        let mut canvass = Canvass::default();
        canvass.begin(nodes(&[1, 2]), None, 0, |_| true);
        canvass.lost(1, 10);
        canvass.lost(1, 5);
        assert_eq!((canvass.deadline(), canvass.due(9)), (Some(10), vec![]));
        assert_eq!(canvass.due(10), vec![1]);
        canvass.lost(1, 20);
        assert_eq!((canvass.deadline(), canvass.due(30)), (None, vec![]));
    }
}
