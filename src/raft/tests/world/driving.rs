//! Helpers for tests: find the leader, propose, and check that a world without faults recovers.

use bytes::Bytes;

use crate::raft::*;

use super::{Faults, MILLISECOND, Node, World};

impl World {
    /// The leader of the highest term among the running nodes, if any.
    pub(in crate::raft::tests) fn leader(&self) -> Option<NodeId> {
        let leads = |(&id, node): (&NodeId, &Node)| {
            let (role, term, _) = node.raft.as_ref()?.role();
            (role == Role::Leader).then_some((term, id))
        };
        self.nodes.iter().filter_map(leads).max().map(|(_, id)| id)
    }

    pub(in crate::raft::tests) fn elect(&mut self) -> NodeId {
        let elected = self.run_until(20_000 * MILLISECOND, |world| {
            world.leader().is_some_and(|id| world.status(id).commit >= world.status(id).last.index)
        });
        assert!(
            elected,
            "no leader within 20 s at {} ms: {:#?}",
            self.now / MILLISECOND,
            self.positions()
        );
        self.leader().expect("just elected")
    }

    pub(in crate::raft::tests) fn propose(
        &mut self,
        id: NodeId,
        data: &[u8],
    ) -> Result<LogId, Refusal> {
        let (now, data) = (self.now, Bytes::copy_from_slice(data));
        let result = self.raft(id).propose(now, now / MILLISECOND, data);
        self.carry_out(id);
        self.check(id);
        result
    }

    /// Proposes until two more entries are committed, which takes less than `limit`.
    pub(in crate::raft::tests) fn commits_within(&mut self, limit: Micros) {
        const PAUSE: Micros = 100 * MILLISECOND;
        let before = self.history.len();
        let mut waited = 0;
        while self.history.len() <= before + 1 {
            if let Some(leader) = self.leader() {
                let _ = self.propose(leader, b"after");
            }
            self.run_for(PAUSE);
            waited += PAUSE;
            assert!(waited < limit, "nothing for {limit} us: {:#?}", self.positions());
        }
    }

    /// Runs `input` on a peer and carries out its output.
    pub(in crate::raft::tests) fn with<R>(
        &mut self,
        id: NodeId,
        input: impl FnOnce(&mut Raft, Micros) -> R,
    ) -> R {
        let now = self.now;
        let result = input(self.raft(id), now);
        self.carry_out(id);
        self.check(id);
        result
    }

    /// A member sends malformed messages: alarms are expected.
    pub(in crate::raft::tests) fn expect_alarms(&mut self) {
        self.lossy = true;
    }

    /// Elects `id`: its election timeout fires until it leads.
    pub(in crate::raft::tests) fn elect_node(&mut self, id: NodeId) {
        for _ in 0..50 {
            if self.leader() == Some(id) && self.status(id).commit == self.status(id).last.index {
                return;
            }
            if self.leader() != Some(id) {
                let quiet = self.config.election_timeout_max;
                if let Some(other) = self.leader() {
                    self.isolate(other);
                    self.run_for(quiet);
                    self.heal();
                }
                self.with(id, |raft, now| raft.expire_election(now));
            }
            self.run_for(50 * MILLISECOND);
        }
        panic!("n{id} is not elected: {:#?}", self.positions());
    }

    /// Proposes `count` commands to the leader `id`, as fast as it accepts them; all nodes that
    /// receive them apply them.
    pub(in crate::raft::tests) fn load(&mut self, id: NodeId, count: u64) {
        for number in 0..count {
            let mut tries = 0;
            while self.propose(id, &number.to_be_bytes()).is_err() {
                tries += 1;
                assert!(tries < 1_000, "not taken: {:#?}", self.positions());
                self.run_for(5 * MILLISECOND);
            }
        }
        self.run_for(300 * MILLISECOND);
    }

    /// Ends all faults and starts all nodes: one leader, equal logs and states within a bound;
    /// returns the time it took.
    pub(in crate::raft::tests) fn heal_and_converge(&mut self) -> Micros {
        let begun = self.now;
        self.faults = Faults::none();
        self.heal();
        let down: Vec<NodeId> = self.nodes.keys().copied().filter(|&id| !self.lives(id)).collect();
        down.into_iter().for_each(|id| self.start(id));
        self.elect();
        let mut tries = 0;
        while self.leader().is_none_or(|leader| self.propose(leader, b"last").is_err()) {
            tries += 1;
            assert!(tries < 1_000, "nothing accepted for 10 s: {:#?}", self.positions());
            self.run_for(10 * MILLISECOND);
        }
        let converged = self.run_until(30_000 * MILLISECOND, |world| {
            let Some(leader) = world.leader() else { return false };
            let goal = world.status(leader).last.index;
            world.nodes.values().all(|node| node.machine.applied.index == goal)
        });
        assert!(converged, "not converged after 30 s: {:#?}", self.positions());
        self.now - begun
    }

    pub(in crate::raft::tests) fn positions(&self) -> Vec<String> {
        let line = |(id, node): (&NodeId, &Node)| {
            let status = node.raft.as_ref().map(Raft::status);
            status.map_or(format!("n{id} down"), |status| {
                format!(
                    "n{id} {:?} term {} log {}..{} ({} bytes) snapshot {} persisted {} commit {} applied {} {:?} {:?} {:?} {:?}",
                    status.role,
                    status.term,
                    status.log_start,
                    status.last,
                    status.log_bytes,
                    status.snapshot,
                    status.persisted,
                    status.commit,
                    node.machine.applied,
                    status.install,
                    (node.disk.life, node.unnoticed, status.waits_for),
                    node.raft.as_ref().map(|raft| &raft.building),
                    node.queue,
                )
            })
        };
        self.nodes.iter().map(line).collect()
    }

    /// The counters of all incarnations of all nodes.
    pub(in crate::raft::tests) fn totals(&self) -> Counters {
        let mut totals = Counters::default();
        for node in self.nodes.values() {
            totals.add(&node.counters);
            if let Some(raft) = &node.raft {
                totals.add(raft.counters());
            }
        }
        totals
    }
}
