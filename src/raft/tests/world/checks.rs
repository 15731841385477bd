//! Invariants, checked after every event; a violation is a panic.

use crate::raft::*;

use super::{Disk, Node, World};

impl World {
    /// StateMachineSafety, without gaps or repeats: every machine passes through the same states.
    pub(super) fn remember_applied(&mut self, id: NodeId) {
        let machine = self.nodes[&id].machine.clone();
        let at = machine.applied.index as usize;
        match self.history.get(at.wrapping_sub(1)) {
            Some(known) => {
                assert_eq!(*known, (machine.applied, machine.digest), "n{id} differs at {at}")
            }
            None => {
                assert_eq!(
                    self.history.len() + 1,
                    at,
                    "n{id} applied {at} before anybody applied what is before"
                );
                self.history.push((machine.applied, machine.digest));
            }
        }
    }

    /// A granted vote and an acknowledgement are sent only after what they promise is durable
    /// (PS01, PS02).
    pub(super) fn check_promise(&self, envelope: &Envelope) {
        let Body::Answer { answer, .. } = &envelope.body else { return };
        let node = &self.nodes[&envelope.from];
        match answer {
            Answer::Vote { granted: true, .. } => {
                let promised = HardState { term: envelope.term, vote: Some(envelope.to) };
                let kept =
                    node.disk.hard_state == promised || node.disk.hard_state.term > envelope.term;
                assert!(
                    kept,
                    "n{} grants {promised:?}, durable is {:?}",
                    envelope.from, node.disk.hard_state
                );
            }
            Answer::Append(AppendAnswer { report, outcome: AppendOutcome::Accepted }) => {
                let durable = node.disk.last_index();
                assert!(
                    report.matched <= durable || node.disk.hard_state.term > envelope.term,
                    "n{} acknowledges {}, durable is {durable}",
                    envelope.from,
                    report.matched
                );
            }
            _ => {}
        }
    }

    pub(super) fn check(&mut self, id: NodeId) {
        let Some(raft) = &self.nodes[&id].raft else { return };
        let status = raft.status();
        let node = self.node(id);
        node.unnoticed &= !status.recovering;
        // After a crash before it is durable that the member counts again, the member recovers once
        // more.
        node.damaged = status.recovering || node.unnoticed || node.disk.life.loss.is_some();
        assert!(self.lossy || status.counters.safety_alarms == 0, "n{id} raised an alarm");
        if status.role == Role::Leader {
            let leader = *self.leaders.entry(status.term).or_insert(id);
            assert_eq!(leader, id, "two leaders in term {}", status.term);
            self.check_leader(id, &status);
        }
        let removed =
            self.nodes[&id].disk.steps.iter().filter_map(|step| step.change.truncate_from);
        if let Some(from) = removed.min().filter(|&from| from <= status.persisted) {
            panic!("n{id} takes {} for durable, a step removes {from}", status.persisted);
        }
        self.check_committed(id, &status);
        // The first member to commit it decides: it must be what the others take for committed.
        let first = (status.log_start.index + 1).max(status.commit.saturating_sub(64));
        for index in first..=status.commit {
            let raft = self.nodes[&id].raft.as_ref().expect("living");
            assert_eq!(
                raft.log.id_at(index),
                self.committed[index as usize - 1],
                "n{id} differs at {index}"
            );
        }
    }

    /// LeaderCompleteness.
    pub(super) fn check_leader(&mut self, id: NodeId, status: &RaftStatus) {
        let raft = self.nodes[&id].raft.as_ref().expect("living");
        let known = self.committed.len() as u64;
        let newest = self.leaders.last_key_value().map(|(term, _)| *term) == Some(status.term);
        if newest {
            assert!(raft.log.last_index() >= known, "leader n{id} lacks committed {known}");
            let first = (raft.log.start().index + 1).max(known.saturating_sub(8));
            for index in first..=known {
                assert_eq!(
                    raft.log.id_at(index),
                    self.committed[index as usize - 1],
                    "leader n{id} at {index}"
                );
            }
        }
    }

    /// CommittedOnQuorum, for durable entries: counted by a leader, or by a member that counts its
    /// leader and itself.
    pub(super) fn check_committed(&mut self, id: NodeId, status: &RaftStatus) {
        let known = self.committed.len() as u64;
        let raft = self.nodes[&id].raft.as_ref().expect("living");
        for index in known + 1..=status.commit {
            let log_id = raft.log.id_at(index);
            // A member that lost the entry counts with its earlier acknowledgement: it helps elect
            // no leader until it holds it again.
            let keeps = |node: &&Node| node.damaged || node.keeps(log_id);
            let keepers = self.nodes.values().filter(keeps).count();
            assert!(keepers > self.nodes.len() / 2, "n{id} commits {log_id}, durable on {keepers}");
            self.committed.push(log_id);
        }
    }
}

impl Node {
    /// Whether the entry, or a snapshot that covers it, is durable here.
    fn keeps(&self, log_id: LogId) -> bool {
        let Disk { snapshot, start, .. } = &self.disk;
        let covered = snapshot.as_ref().is_some_and(|meta| meta.log_id.index >= log_id.index);
        covered
            || log_id.index <= start.index
            || self.disk.entry(log_id.index).is_some_and(|entry| entry.log_id == log_id)
    }
}
