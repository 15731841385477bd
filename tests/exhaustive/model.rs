//! The cluster as a stateright model: states, the explorer's choices, and their effects.
//!
//! A choice is one message delivered (and kept, or lost), one timeout, one durable step, one item
//! applied, one piece of snapshot work, one proposal, one crash with its restart. A node that is
//! down receives nothing, which is the same as messages that arrive later or never: so crash and
//! restart are one choice.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use quorate::raft::*;
use stateright::{Model, Property};

use crate::bounds::{Allowance, Bounds};
use crate::coverage::{Coverage, Kind};
use crate::disk::Disk;
use crate::fingerprint::{Hashed, Seen, mix, of};
use crate::invariants::{Broken, Past, Rule, check_acknowledged};
use crate::network::{Message, Network};
use crate::node::{NOW, Node, TICK, TIMEOUT, Turn};
use crate::openings::Script;

/// The state of a cluster at one moment.
#[derive(Clone, PartialEq)]
pub struct State {
    pub nodes: Vec<Hashed<Node>>,
    pub network: Network,
    /// The choices that the explorer has left.
    pub left: Allowance,
    past: Hashed<Past>,
    pub broken: Option<Arc<Broken>>,
}

impl State {
    /// The fingerprint of everything except the explorer's allowance.
    fn cluster(&self) -> u64 {
        of(&(&self.nodes, &self.network, &self.past))
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.cluster(), of(&self.left), self.broken.is_some()).hash(state);
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            let state = node.raft.observe().state;
            let HardState { term, vote } = state.hard_state;
            write!(
                f,
                "\n    n{} {:?} term {term} vote {vote:?} log {}..{} persisted {} commit {} | disk {} \
                 {:?}, {} steps, machine {}",
                state.node,
                state.role,
                state.log_start,
                state.last,
                state.persisted,
                state.commit,
                node.disk.last(),
                node.disk.hard_state,
                node.steps.len(),
                node.machine.applied,
            )?;
        }
        match &self.broken {
            Some(broken) => write!(f, "\n    {broken}"),
            None => Ok(()),
        }
    }
}

/// One choice of the explorer.
#[derive(Clone, PartialEq)]
pub enum Action {
    Deliver(Message),
    /// It arrives, and will arrive again.
    Duplicate(Message),
    Lose(Message),
    /// A moment passes without input: heartbeats are due, requests under way are given up.
    Tick(usize),
    /// An election timeout passes: a follower campaigns, a leader without a quorum steps down.
    Timeout(usize),
    Propose(usize),
    /// The oldest durable step is done.
    Persist(usize),
    /// The state machine handles the oldest item of its queue.
    Apply(usize),
    /// The snapshotter continues its oldest job.
    Work(usize),
    /// A snapshot is requested.
    Snapshot(usize),
    /// The node crashes and restarts; of the steps given to the disk all were done, or none.
    Crash {
        node: usize,
        all_done: bool,
    },
    /// The same, and the disk has lost its last entry, and perhaps the vote.
    CrashWithLoss {
        node: usize,
        forgot_vote: bool,
    },
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tell = |what: &str, message: &Message| {
            let Envelope { from, to, term, id, .. } = **message;
            write!(f, "{what} n{from}->n{to} term {term} #{id} ")?;
            match &message.body {
                Body::Request(Request::Append(append)) => {
                    let ids: Vec<String> =
                        append.entries.iter().map(|entry| entry.log_id.to_string()).collect();
                    let Append { prev, commit, leader_durable, .. } = append;
                    write!(f, "Append {prev} + {ids:?} commit {commit} durable {leader_durable}")
                }
                Body::Request(Request::Snapshot(chunk)) => {
                    write!(f, "Snapshot {} from {}", chunk.meta.log_id, chunk.offset)
                }
                Body::Request(request) => write!(f, "{request:?}"),
                Body::Answer { answer, .. } => write!(f, "{answer:?}"),
            }
        };
        match self {
            Action::Deliver(message) => tell("deliver", message),
            Action::Duplicate(message) => tell("deliver and keep", message),
            Action::Lose(message) => tell("lose", message),
            Action::Tick(node) => write!(f, "n{node} ticks"),
            Action::Timeout(node) => write!(f, "n{node}'s election timeout passes"),
            Action::Propose(node) => write!(f, "a client proposes to n{node}"),
            Action::Persist(node) => write!(f, "n{node}'s disk finishes a step"),
            Action::Apply(node) => write!(f, "n{node}'s state machine goes on"),
            Action::Work(node) => write!(f, "n{node}'s snapshotter goes on"),
            Action::Snapshot(node) => write!(f, "n{node} is asked for a snapshot"),
            Action::Crash { node, all_done } => {
                write!(
                    f,
                    "n{node} crashes, {} its steps done",
                    if *all_done { "all" } else { "none of" }
                )
            }
            Action::CrashWithLoss { node, forgot_vote } => {
                let and = if *forgot_vote { " and forgets whom it voted for" } else { "" };
                write!(f, "n{node} crashes, loses its last entry{and}")
            }
        }
    }
}

/// A configuration under exploration.
pub struct Cluster {
    pub bounds: Bounds,
    pub coverage: Arc<Coverage>,
    /// Shuffles the order of choices, so that the depth-first search begins elsewhere.
    pub order: u64,
    /// The clusters that were explored, with any remaining allowance.
    pub seen: Arc<Seen>,
}

impl Cluster {
    /// Nodes that start for the first time.
    pub fn fresh(&self) -> State {
        let start = |id| Hashed::new(Node::start(id, Disk::default(), &self.bounds));
        State {
            nodes: (0..self.bounds.nodes).map(start).collect(),
            network: Network::default(),
            left: self.bounds.allowed,
            past: Hashed::new(Past::default()),
            broken: None,
        }
    }

    /// The state after a choice. A panic of the protocol is a broken invariant like others.
    pub fn after(&self, state: &State, action: &Action) -> State {
        let mut next = state.clone();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.act(&mut next, action)));
        let broken = match outcome {
            Ok(Ok(())) => return next,
            Ok(Err(broken)) => broken,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
                Broken::new(Rule::Panic, text.unwrap_or_default())
            }
        };
        State { broken: Some(broken.into()), ..next }
    }

    fn act(&self, state: &mut State, action: &Action) -> Result<(), Broken> {
        match action {
            Action::Deliver(message) => {
                state.network.remove(message);
                self.deliver(state, message)
            }
            Action::Duplicate(message) => {
                state.left.duplicates -= 1;
                self.coverage.saw(Kind::Duplicated);
                self.deliver(state, message)
            }
            Action::Lose(message) => {
                state.left.losses -= 1;
                self.coverage.saw(Kind::Lost);
                state.network.remove(message);
                Ok(())
            }
            &Action::Tick(id) => {
                state.left.ticks -= 1;
                self.coverage.saw(Kind::Retried);
                self.turn(state, id, |node, turn| node.does(turn, |raft| raft.tick(NOW + TICK)))
            }
            &Action::Timeout(id) => {
                state.left.timeouts -= 1;
                if state.nodes[id].raft.role().0 == Role::Leader {
                    self.coverage.saw(Kind::SteppedDown);
                }
                self.turn(state, id, |node, turn| node.does(turn, |raft| raft.tick(NOW + TIMEOUT)))
            }
            &Action::Propose(id) => {
                state.left.commands -= 1;
                let data = Bytes::from(vec![state.left.commands + 1]);
                self.turn(state, id, |node, turn| {
                    node.does(turn, |raft| _ = raft.propose(NOW, 0, data))
                })
            }
            &Action::Persist(id) => self.turn(state, id, |node, turn| {
                node.finish_step(turn)?;
                node.carry_out(turn)
            }),
            &Action::Apply(id) => self.turn(state, id, |node, turn| {
                node.finish_item(turn)?;
                node.carry_out(turn)
            }),
            &Action::Work(id) => self.turn(state, id, |node, turn| {
                node.finish_job();
                node.carry_out(turn)
            }),
            &Action::Snapshot(id) => {
                state.left.snapshots -= 1;
                self.turn(state, id, |node, turn| {
                    node.does(turn, |raft| raft.request_snapshot(NOW))
                })
            }
            &Action::Crash { node, all_done } => {
                state.left.crashes -= 1;
                let lost = !all_done && !state.nodes[node].steps.is_empty();
                if lost {
                    self.coverage.saw(Kind::StepsLost);
                }
                let disk = state.nodes[node].crash(all_done)?;
                self.restart(state, node, disk)
            }
            &Action::CrashWithLoss { node, forgot_vote } => {
                state.left.tail_losses -= 1;
                let mut disk = state.nodes[node].crash(false)?;
                disk.lose_tail(forgot_vote);
                self.restart(state, node, disk)
            }
        }
    }

    fn restart(&self, state: &mut State, id: usize, disk: Disk) -> Result<(), Broken> {
        self.coverage.saw(Kind::CrashRecovered);
        self.turn(state, id, |node, turn| {
            *node = Node::start(id as NodeId, disk, turn.bounds);
            node.carry_out(turn)
        })
    }

    fn deliver(&self, state: &mut State, message: &Message) -> Result<(), Broken> {
        let envelope = Envelope::clone(message);
        self.turn(state, message.to as usize, |node, turn| {
            node.does(turn, |raft| raft.step(NOW, envelope))
        })
    }

    /// Performs one action of a node, checks the node, and sends its messages.
    fn turn(
        &self,
        state: &mut State,
        id: usize,
        does: impl FnOnce(&mut Node, &mut Turn) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let before = state.nodes[id].clone();
        let mut node = Node::clone(&before);
        let mut turn = Turn { bounds: &self.bounds, coverage: &self.coverage, sent: Vec::new() };
        does(&mut node, &mut turn)?;
        state.nodes[id] = Hashed::new(node);
        self.look(state, id, &before)?;
        let mut at_once = Vec::new();
        for envelope in turn.sent {
            check_acknowledged(&state.nodes, &envelope)?;
            let message = Hashed::new(envelope);
            if self.bounds.eager.prevotes && is_prevote(&message) {
                at_once.push(message);
            } else if state.network.send(message, self.bounds.link) {
                self.coverage.saw(Kind::Lost);
            }
        }
        at_once.iter().try_for_each(|message| self.deliver(state, message))
    }

    fn look(&self, state: &mut State, id: usize, before: &Node) -> Result<(), Broken> {
        let mut past = Past::clone(&state.past);
        past.look(&state.nodes, id, Some(before))?;
        if past.committed() > state.past.committed() {
            self.coverage.saw(Kind::Committed);
        }
        if past != *state.past {
            state.past = Hashed::new(past);
        }
        let (was, is) = (&before.raft, &state.nodes[id].raft);
        let (role, term, _) = is.role();
        if role == Role::Leader && was.role().0 != role && term > 1 {
            self.coverage.saw(Kind::LeaderOfTermTwo);
        }
        let campaigns = |node: &&Hashed<Node>| node.raft.role().0 == Role::Candidate;
        if state.nodes.iter().filter(campaigns).count() > 1 {
            self.coverage.saw(Kind::TwoCandidates);
        }
        let recovers = |node: &Node| node.disk.life.loss.is_some();
        if recovers(before) && !recovers(&state.nodes[id]) {
            self.coverage.saw(Kind::CaughtUp);
        }
        Ok(())
    }

    fn node_actions(&self, state: &State, id: usize, actions: &mut Vec<Action>) {
        let (node, left, bounds) = (&state.nodes[id], &state.left, &self.bounds);
        let seen = node.raft.observe().state;
        let leads = seen.role == Role::Leader;
        if left.timeouts > 0 && seen.hard_state.term < bounds.max_term {
            actions.push(Action::Timeout(id));
        }
        if left.ticks > 0 && node.raft.next_deadline() <= NOW + TICK {
            actions.push(Action::Tick(id));
        }
        if left.commands > 0 && leads {
            actions.push(Action::Propose(id));
        }
        let snapshot = node.queue.contains(&ApplyItem::TakeSnapshot);
        if left.snapshots > 0 && seen.applied > seen.snapshot.index && !snapshot {
            actions.push(Action::Snapshot(id));
        }
        if left.crashes > 0 {
            actions.push(Action::Crash { node: id, all_done: false });
            if !node.steps.is_empty() {
                actions.push(Action::Crash { node: id, all_done: true });
            }
        }
        if left.tail_losses > 0 && !node.disk.entries.is_empty() {
            actions.push(Action::CrashWithLoss { node: id, forgot_vote: false });
            actions.push(Action::CrashWithLoss { node: id, forgot_vote: true });
        }
        if node.may_apply() {
            actions.push(Action::Apply(id));
        }
        if !node.jobs.is_empty() {
            actions.push(Action::Work(id));
        }
        if !node.steps.is_empty() {
            actions.push(Action::Persist(id));
        }
    }

    /// Shuffles the choices, in the same way whenever the state is reached.
    fn shuffle(&self, state: &State, actions: &mut [Action]) {
        let mut dice = self.order ^ of(state);
        for at in (1..actions.len()).rev() {
            dice = mix(dice);
            actions.swap(at, (dice % (at as u64 + 1)) as usize);
        }
    }
}

fn is_prevote(message: &Message) -> bool {
    matches!(
        message.body,
        Body::Request(Request::PreVote { .. })
            | Body::Answer { answer: Answer::PreVote { .. }, .. }
    )
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![(self.bounds.opening)(Script::new(self))]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.seen.insert(state.cluster());
        if state.broken.is_some() {
            return;
        }
        for message in state.network.distinct() {
            if state.left.losses > 0 {
                actions.push(Action::Lose(message.clone()));
            }
            if state.left.duplicates > 0 {
                actions.push(Action::Duplicate(message.clone()));
            }
            actions.push(Action::Deliver(message.clone()));
        }
        (0..state.nodes.len()).for_each(|id| self.node_actions(state, id, actions));
        self.shuffle(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.after(state, &action))
    }

    fn properties(&self) -> Vec<Property<Cluster>> {
        vec![Property::always("every invariant holds", |_, state: &State| state.broken.is_none())]
    }
}
