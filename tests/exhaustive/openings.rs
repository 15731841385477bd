//! How a cluster reaches the state where the exploration begins: by choices of the explorer,
//! scripted, with the same checks. So every initial state is reachable.

use quorate::raft::{NodeId, Role, SnapshotJob, Term};

use crate::model::{Action, Cluster, State};

/// Scripted choices.
pub struct Script<'a> {
    cluster: &'a Cluster,
    state: State,
}

impl<'a> Script<'a> {
    pub fn new(cluster: &'a Cluster) -> Script<'a> {
        let mut state = cluster.fresh();
        state.left = crate::bounds::Allowance::ample();
        Script { cluster, state }
    }

    fn act(&mut self, action: Action) {
        self.state = self.cluster.after(&self.state, &action);
        assert!(self.state.broken.is_none(), "{action:?} in the opening: {:?}", self.state);
    }

    /// Delivers and completes everything among `nodes` until nothing is left; messages to others
    /// stay under way.
    fn settle(&mut self, nodes: &[NodeId]) {
        loop {
            if let Some(message) = self.state.network.take_among(nodes) {
                self.act(Action::Deliver(message));
                continue;
            }
            let busy = |id: &&NodeId| !self.state.nodes[**id as usize].steps.is_empty();
            if let Some(&id) = nodes.iter().find(busy) {
                self.act(Action::Persist(id as usize));
                continue;
            }
            let applies = |id: &&NodeId| self.state.nodes[**id as usize].may_apply();
            let Some(&id) = nodes.iter().find(applies) else { return };
            self.act(Action::Apply(id as usize));
        }
    }

    /// `id` is elected by `nodes`, itself among them, to lead `expected`.
    fn elect(&mut self, id: usize, nodes: &[NodeId], expected: Term) {
        for _ in 0..5 {
            self.act(Action::Timeout(id));
            self.settle(nodes);
            let (role, term, _) = self.state.nodes[id].raft.role();
            if role == Role::Leader {
                assert_eq!(term, expected, "n{id} leads another term: {:?}", self.state);
                return;
            }
        }
        panic!("n{id} is not elected: {:?}", self.state);
    }

    /// Drops all messages under way.
    fn lose_all(&mut self) {
        self.state.network.clear();
    }

    /// n2 gets a tail that no other node has; n0 and n1 commit without it, and n0 takes a snapshot
    /// and purges its log.
    fn fall_behind(&mut self) {
        self.elect(2, &[0, 1, 2], 1);
        self.lose_all();
        for _ in 0..3 {
            self.act(Action::Propose(2));
            self.settle(&[2]);
        }
        self.lose_all();
        self.elect(0, &[0, 1], 2);
        self.act(Action::Propose(0));
        self.settle(&[0, 1]);
        self.act(Action::Snapshot(0));
        self.settle(&[0, 1]);
        self.lose_all();
    }

    /// `to` stores the whole snapshot of the leader `from`, and has not begun to decode it.
    fn receive_snapshot(&mut self, from: usize, to: usize) {
        for _ in 0..20 {
            self.settle(&[from as NodeId, to as NodeId]);
            if matches!(self.state.nodes[to].jobs.front(), Some(SnapshotJob::Decode(_))) {
                return;
            }
            self.act(Action::Work(to));
        }
        panic!("no snapshot arrives: {:?}", self.state);
    }

    fn done(mut self) -> State {
        self.state.left = self.cluster.bounds.allowed;
        self.state
    }
}

/// The initial state: nothing has happened.
pub fn fresh(script: Script) -> State {
    script.done()
}

/// n0 leads term 1, and all nodes know.
pub fn led(mut script: Script) -> State {
    let all: Vec<NodeId> = (0..script.cluster.bounds.nodes).collect();
    script.elect(0, &all, 1);
    script.act(Action::Tick(0));
    script.settle(&all);
    script.done()
}

/// The same, and n0 has committed an entry that it and n2 hold.
pub fn committed_by_two(mut script: Script) -> State {
    let all: Vec<NodeId> = (0..script.cluster.bounds.nodes).collect();
    script.elect(0, &all, 1);
    script.act(Action::Propose(0));
    script.settle(&[0, 2]);
    script.lose_all();
    script.done()
}

/// Raft figure 8 before (c): n0 led term 1 and n1 term 2, each with an entry that no other node
/// has.
pub fn figure_8(mut script: Script) -> State {
    script.elect(0, &[0, 1, 2], 1);
    script.lose_all();
    script.act(Action::Propose(0));
    script.settle(&[0]);
    script.lose_all();
    script.elect(1, &[1, 2], 2);
    script.act(Action::Propose(1));
    script.settle(&[1]);
    script.lose_all();
    script.done()
}

/// n2 led term 1 and has a tail that no other node has; n0 leads term 2, n1 follows it.
pub fn divergent(mut script: Script) -> State {
    script.elect(2, &[0, 1, 2], 1);
    script.lose_all();
    for _ in 0..2 {
        script.act(Action::Propose(2));
        script.settle(&[2]);
    }
    script.lose_all();
    script.elect(0, &[0, 1], 2);
    script.lose_all();
    script.done()
}

/// The same, and n0 and n1 have committed, and n0 has a snapshot and no log before it.
pub fn behind(mut script: Script) -> State {
    script.fall_behind();
    script.done()
}

/// The same, and n2 has received that snapshot, and n1 leads term 4 with a log that reaches back:
/// its entries make the snapshot obsolete, if they arrive first.
pub fn overtaken(mut script: Script) -> State {
    script.fall_behind();
    script.act(Action::Tick(0));
    script.receive_snapshot(0, 2);
    script.lose_all();
    script.act(Action::Timeout(0));
    // Its first campaign, for term 3, does not ask n0, the leader that it knew.
    script.elect(1, &[0, 1], 4);
    script.done()
}
