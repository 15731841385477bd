//! The invariants of every state and every step, and the history needed to check them.
//!
//! | rule | says |
//! |---|---|
//! | `OneLeader` | a term has one leader (Raft figure 3: Election Safety) |
//! | `LogMatching` | logs with a common id agree on all before it, in memory and on disk |
//! | `LeaderCompleteness` | the newest leader holds all that was ever committed |
//! | `Committed` | what is committed is the same everywhere and never changes |
//! | `Quorum` | what is committed is durable on a quorum from then on |
//! | `Electable` | only nodes with all commits could be elected after a crash of all |
//! | `StateMachine` | equal applied indexes: equal states; none goes back, skips or repeats |
//! | `Order` | applied ≤ dispatched ≤ commit ≤ last; start ≤ snapshot ≤ dispatched |
//! | `Monotone` | term, vote, commit, snapshot and applied index never go back |
//! | `Promise` | sent terms, votes, acknowledgements are durable; acknowledged logs match |
//! | `Disk`, `Alarm`, `Panic` | no step contradicts the disk; the protocol raises no alarm |
//!
//! `Electable` is Raft §5.4.2 and figure 8. `Order` also compares `persisted` with the disk.
//! `Monotone` is checked within an incarnation; for durable values, always. `Promise`: the log that
//! a member acknowledges is its leader's. `Panic`: the protocol's own assertions hold.

use std::fmt;

use quorate::raft::*;

use crate::fingerprint::Hashed;
use crate::node::Node;

/// An invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    OneLeader,
    LogMatching,
    LeaderCompleteness,
    Committed,
    Quorum,
    Electable,
    StateMachine,
    Order,
    Monotone,
    Promise,
    Disk,
    Alarm,
    Panic,
}

/// A broken invariant, and the state instead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broken {
    rule: Rule,
    what: String,
}

impl Broken {
    pub fn new(rule: Rule, what: String) -> Broken {
        Broken { rule, what }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} broken: {}", self.rule, self.what)
    }
}

pub fn hold(rule: Rule, holds: bool, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken::new(rule, what())) }
}

/// The history, as far as invariants refer to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Past {
    /// The leader of each term.
    leaders: Vec<(Term, NodeId)>,
    /// Everything ever committed, from index 1 on.
    committed: Vec<LogId>,
    /// The state of a machine by applied index.
    states: Vec<u64>,
}

impl Past {
    pub fn committed(&self) -> usize {
        self.committed.len()
    }

    /// Checks node `id` after an action; `before` is its earlier state, if it is the same
    /// incarnation.
    pub fn look(
        &mut self,
        nodes: &[Hashed<Node>],
        id: usize,
        before: Option<&Node>,
    ) -> Result<(), Broken> {
        let node = &nodes[id];
        check_order(node)?;
        if let Some(before) = before {
            check_monotone(before, node)?;
        }
        self.look_at_commit(nodes, node)?;
        self.look_at_leader(node)?;
        self.look_at_machine(node)?;
        check_log_matching(nodes, id)?;
        if let Some(&last) = self.committed.last() {
            self.committed.iter().try_for_each(|&log_id| check_quorum(nodes, log_id))?;
            check_electable(nodes, last)?;
        }
        Ok(())
    }

    fn look_at_commit(&mut self, nodes: &[Hashed<Node>], node: &Node) -> Result<(), Broken> {
        let seen = node.raft.observe();
        let start = seen.state.log_start.index;
        for index in start.max(1)..=seen.state.commit {
            let own = seen.log.term_at(index).map(|term| LogId::new(term, index));
            let at = index as usize - 1;
            if at == self.committed.len() {
                let Some(log_id) = own else { break };
                check_quorum(nodes, log_id)?;
                self.committed.push(log_id);
            }
            hold(Rule::Committed, self.committed.get(at).copied() == own, || {
                let known = self.committed.get(at);
                format!("n{} has committed {own:?}, known is {known:?}", seen.state.node)
            })?;
        }
        let known = self.committed.len() as u64;
        hold(Rule::Committed, seen.state.commit <= known, || {
            format!("n{} has committed {}, known is {known}", seen.state.node, seen.state.commit)
        })
    }

    fn look_at_leader(&mut self, node: &Node) -> Result<(), Broken> {
        let seen = node.raft.observe();
        let ObservedState { node: id, role, hard_state: HardState { term, .. }, .. } = seen.state;
        if role != Role::Leader {
            return Ok(());
        }
        match self.leaders.iter().find(|(known, _)| *known == term) {
            Some(&(_, leader)) => hold(Rule::OneLeader, leader == id, || {
                format!("n{leader} and n{id} lead in term {term}")
            })?,
            None => {
                self.leaders.push((term, id));
                self.leaders.sort_unstable();
            }
        }
        if self.leaders.last().is_some_and(|(newest, _)| *newest > term) {
            return Ok(());
        }
        let start = seen.state.log_start.index;
        let lacking = self.committed.iter().find(|log_id| {
            log_id.index >= start && seen.log.term_at(log_id.index) != Some(log_id.term)
        });
        hold(Rule::LeaderCompleteness, lacking.is_none(), || {
            format!("n{id} leads in term {term} without {lacking:?}")
        })
    }

    fn look_at_machine(&mut self, node: &Node) -> Result<(), Broken> {
        let state = node.raft.observe().state;
        let (applied, digest) = (node.machine.applied, node.machine.digest);
        if applied == LogId::BASE {
            return Ok(());
        }
        let at = applied.index as usize - 1;
        hold(Rule::StateMachine, self.committed.get(at) == Some(&applied), || {
            format!("n{} has applied {applied}, which is not committed", state.node)
        })?;
        // Machines that skip states (several entries in one step) leave them for others to fill in.
        if self.states.len() <= at {
            self.states.resize(at + 1, 0);
        }
        if self.states[at] == 0 {
            self.states[at] = digest;
        }
        hold(Rule::StateMachine, self.states[at] == digest, || {
            format!("n{} is in another state at {applied}", state.node)
        })
    }
}

fn check_order(node: &Node) -> Result<(), Broken> {
    let state = node.raft.observe().state;
    let machine = node.machine.applied.index;
    let ordered = state.log_start.index <= state.snapshot.index
        && state.snapshot.index <= state.dispatched
        && state.applied <= state.dispatched
        && state.dispatched <= state.commit
        && state.commit <= state.last.index
        && machine <= state.dispatched
        && state.durable.term <= state.hard_state.term;
    hold(Rule::Order, ordered, || format!("{state:?}, the machine at {machine}"))?;
    let disk = &node.disk;
    let durable = state.durable.term <= disk.hard_state.term && state.persisted <= reach(node);
    hold(Rule::Order, durable, || {
        format!("{state:?}, on disk {:?} and {}", disk.hard_state, disk.last())
    })
}

/// The index up to which the disk holds the peer's log. Truncations by steps under way do not lower
/// it, because `persisted` refers to what stays.
fn reach(node: &Node) -> Index {
    node.disk.last().index
}

fn check_monotone(before: &Node, after: &Node) -> Result<(), Broken> {
    let (old, new) = (before.raft.observe().state, after.raft.observe().state);
    if old.incarnation != new.incarnation {
        let kept = before.disk.hard_state.term <= new.hard_state.term;
        let lossy = after.disk.life.loss.is_some();
        return hold(Rule::Monotone, kept || lossy, || {
            format!("restarted in term {} from {:?}", new.hard_state.term, before.disk.hard_state)
        });
    }
    let revoted = old.hard_state.term == new.hard_state.term
        && old.hard_state.vote.is_some()
        && old.hard_state.vote != new.hard_state.vote;
    let rises = old.hard_state.term <= new.hard_state.term
        && !revoted
        && old.commit <= new.commit
        && old.dispatched <= new.dispatched
        && old.applied <= new.applied
        && old.snapshot.index <= new.snapshot.index
        && before.machine.applied.index <= after.machine.applied.index;
    hold(Rule::Monotone, rises, || format!("from {old:?} to {new:?}"))
}

fn check_log_matching(nodes: &[Hashed<Node>], id: usize) -> Result<(), Broken> {
    let own = &nodes[id];
    for other in nodes.iter().enumerate().filter(|(at, _)| *at != id).map(|(_, other)| other) {
        let (ours, theirs) = (own.raft.observe(), other.raft.observe());
        let name = |node: &Node| node.raft.observe().state.node;
        let differ = || format!("the logs of n{} and n{}", name(own), name(other));
        let last = ours.state.last.index.min(theirs.state.last.index);
        let first = ours.state.log_start.index.max(theirs.state.log_start.index);
        let volatile = |index| (ours.log.term_at(index), theirs.log.term_at(index));
        hold(Rule::LogMatching, agree(first, last, volatile), differ)?;
        let (ours, theirs) = (&own.disk, &other.disk);
        let last = ours.last().index.min(theirs.last().index);
        let first = ours.start.index.max(theirs.start.index);
        let durable = |index| (ours.id_at(index), theirs.id_at(index));
        hold(Rule::LogMatching, agree(first, last, durable), differ)?;
        for entry in &ours.entries {
            let same = theirs.entry(entry.log_id.index).filter(|e| e.log_id == entry.log_id);
            hold(Rule::LogMatching, same.is_none_or(|same| same == entry), differ)?;
        }
    }
    Ok(())
}

/// Whether two logs that agree at an index agree before it.
fn agree<T: PartialEq>(first: Index, last: Index, at: impl Fn(Index) -> (T, T)) -> bool {
    let mut below_agrees = true;
    for index in first..=last {
        let (ours, theirs) = at(index);
        let agrees = ours == theirs;
        if agrees && !below_agrees {
            return false;
        }
        below_agrees = agrees;
    }
    true
}

/// A member that lost data reports it and does not count: its earlier acknowledgements are not
/// checked.
fn lost(node: &Node) -> bool {
    node.disk.life.loss.is_some()
}

fn check_quorum(nodes: &[Hashed<Node>], log_id: LogId) -> Result<(), Broken> {
    let keepers = nodes.iter().filter(|node| lost(node) || node.disk.keeps(log_id)).count();
    hold(Rule::Quorum, keepers > nodes.len() / 2, || {
        format!("{log_id} is committed and durable on {keepers} of {}", nodes.len())
    })
}

fn check_electable(nodes: &[Hashed<Node>], committed: LogId) -> Result<(), Broken> {
    for candidate in nodes.iter().filter(|node| !lost(node) && !node.disk.keeps(committed)) {
        let last = candidate.disk.last();
        let votes = nodes.iter().filter(|node| !lost(node) && node.disk.last() <= last).count();
        hold(Rule::Electable, votes <= nodes.len() / 2, || {
            let id = candidate.raft.observe().state.node;
            format!("n{id} with {last} could win without the committed {committed}")
        })?;
    }
    Ok(())
}

/// What a member acknowledges to the leader of its term is durable there *as the leader has it*
/// (LR03, LR05, LR06).
pub fn check_acknowledged(nodes: &[Hashed<Node>], envelope: &Envelope) -> Result<(), Broken> {
    let Body::Answer { asker_incarnation, answer } = &envelope.body else { return Ok(()) };
    let matched = match answer {
        Answer::Append(answer) => answer.report.matched,
        Answer::Snapshot(answer) => answer.report.matched,
        _ => return Ok(()),
    };
    let asker = nodes[envelope.to as usize].raft.observe();
    let follower = &nodes[envelope.from as usize];
    let current = asker.state.role == Role::Leader
        && asker.state.hard_state.term == envelope.term
        && asker.state.incarnation == *asker_incarnation
        && follower.disk.hard_state.term == envelope.term;
    if !current || matched == 0 {
        return Ok(());
    }
    let leaders = asker.log.term_at(matched).map(|term| LogId::new(term, matched));
    let durable = follower.disk.id_at(matched);
    let agree = leaders.is_none() || durable.is_none() || leaders == durable;
    hold(Rule::Promise, agree, || {
        format!("n{} acknowledges {durable:?}, the leader has {leaders:?}", envelope.from)
    })
}
