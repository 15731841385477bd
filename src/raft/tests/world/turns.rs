//! Carries out the `Ready` after a peer's input, as the actors would.

use crate::raft::*;

use super::machine::Machine;
use super::{Happening, MILLISECOND, World};

impl World {
    pub(super) fn carry_out(&mut self, id: NodeId) {
        let ready = self.raft(id).ready();
        for envelope in ready.messages {
            self.send(envelope);
        }
        if let Some(step) = ready.persist {
            let earlier = self.nodes[&id].disk.steps.len() as u64;
            self.node(id).disk.steps.push_back(*step);
            let delay = self.random.between(1, self.faults.persist_max) + earlier;
            self.plan(id, delay, Happening::DiskDone);
        }
        for read in ready.reads {
            let delay = self.random.between(1, MILLISECOND);
            self.plan(id, delay, Happening::LogRead(read));
        }
        for read in ready.chunk_reads {
            let delay = self.random.between(1, MILLISECOND);
            self.plan(id, delay, Happening::ChunkRead(read));
        }
        for event in &ready.events {
            if *event == Event::StaleDirectory {
                self.node(id).outlived = true;
            }
            let alarm = matches!(event, Event::Alarm(_)) && !self.lossy;
            assert!(!alarm, "n{id}: {event:?}");
        }
        let node = self.node(id);
        node.events.extend(ready.events);
        node.confirmed.extend(ready.reads_confirmed);
        node.jobs.extend(ready.snapshots);
        for item in ready.apply {
            match item {
                ApplyItem::Withdraw(log_id) => node.queue.retain(
                    |queued| !matches!(queued, ApplyItem::Offer(meta) if meta.log_id == log_id),
                ),
                item => node.queue.push_back(item),
            }
        }
        for decision in ready.decisions {
            self.decide(id, decision);
        }
        self.go_on_applying(id);
        self.go_on_working(id);
        if self.exact {
            self.set_deadline(id);
        }
    }

    pub(super) fn set_deadline(&mut self, id: NodeId) {
        let deadline = self.raft(id).next_deadline().max(self.now + MILLISECOND);
        if self.nodes[&id].armed.is_none_or(|armed| deadline < armed) {
            self.node(id).armed = Some(deadline);
            self.plan(id, deadline - self.now, Happening::Deadline);
        }
    }

    pub(super) fn send(&mut self, envelope: Envelope) {
        assert!(
            self.nodes[&envelope.from].disk.hard_state.term >= envelope.term,
            "n{} speaks of term {} before it is durable",
            envelope.from,
            envelope.term
        );
        if matches!(envelope.body, Body::Request(_)) {
            self.requests += 1;
        }
        self.check_promise(&envelope);
        if self.cut.contains(&(envelope.from, envelope.to)) {
            return;
        }
        let copies = if self.chance(self.faults.drop) {
            0
        } else {
            1 + u64::from(self.chance(self.faults.duplicate))
        };
        if copies == 0 && self.exact && self.chance(700) {
            let delay = self.random.between(1, self.faults.delay_max);
            let lost = Happening::Undelivered { to: envelope.to, id: envelope.id };
            self.plan(envelope.from, delay, lost);
        }
        for _ in 0..copies {
            let delay = self.random.between(1, self.faults.delay_max);
            self.plan(envelope.to, delay, Happening::Deliver(Box::new(envelope.clone())));
        }
    }

    pub(super) fn go_on_applying(&mut self, id: NodeId) {
        let node = self.node(id);
        if node.applying || node.asking.is_some() || node.queue.is_empty() {
            return;
        }
        node.applying = true;
        let delay = self.random.between(1, self.faults.apply_max);
        self.plan(id, delay, Happening::ApplyDone);
    }

    pub(super) fn apply_one(&mut self, id: NodeId) {
        let (now, members) = (self.now, self.members.clone());
        let node = self.node(id);
        node.applying = false;
        let Some(item) = node.queue.pop_front() else { return };
        match item {
            ApplyItem::Entries(entries) => {
                for entry in &entries {
                    if entry.log_id.index > self.node(id).machine.applied.index {
                        self.node(id).machine.apply(entry);
                        self.remember_applied(id);
                    }
                }
                let applied = self.node(id).machine.applied.index;
                self.raft(id).applied(now, applied);
            }
            ApplyItem::TakeSnapshot => {
                let state = node.machine.encode();
                let meta = SnapshotMeta {
                    log_id: node.machine.applied,
                    membership: members,
                    size_bytes: state.len() as u64,
                };
                node.disk.publish(meta.log_id, state);
                self.raft(id).snapshot_taken(now, meta);
            }
            ApplyItem::Offer(meta) => {
                node.asking = Some(meta.log_id);
                self.raft(id).cond_install(now, meta.log_id);
            }
            ApplyItem::Withdraw(_) => unreachable!("never queued"),
        }
    }

    pub(super) fn decide(&mut self, id: NodeId, decision: InstallDecision) {
        let now = self.now;
        let node = self.node(id);
        assert_eq!(node.asking.take(), Some(decision.log_id), "an answer nobody waits for");
        if decision.granted {
            let installed = Machine::decode(&node.disk.files[&decision.log_id]);
            assert!(
                installed.applied.index > node.machine.applied.index,
                "the state machine goes back"
            );
            assert_eq!(installed.applied, decision.log_id, "the snapshot is of another state");
            node.machine = installed;
            self.remember_applied(id);
            self.raft(id).applied(now, decision.log_id.index);
        }
    }

    pub(super) fn go_on_working(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node(id);
        if node.working {
            return;
        }
        let Some(job) = node.jobs.front().cloned() else { return };
        node.working = true;
        let mut longest = MILLISECOND;
        if let SnapshotJob::Decode(meta) = &job {
            longest = self.faults.decode_max;
            self.raft(id).decode_begun(now, meta.log_id);
        }
        let delay = self.random.between(1, longest);
        self.plan(id, delay, Happening::JobDone);
    }

    pub(super) fn job_done(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node(id);
        node.working = false;
        let Some(job) = node.jobs.pop_front() else { return };
        match job {
            SnapshotJob::WriteChunk { transfer, meta, offset, data, .. } => {
                let outcome = node.disk.store(transfer, &meta, offset, &data);
                self.raft(id).chunk_written(now, transfer, outcome);
            }
            SnapshotJob::AbortTransfer(key) => node.disk.abort(key),
            SnapshotJob::Decode(meta) => {
                let ok = node.disk.files.contains_key(&meta.log_id);
                self.raft(id).snapshot_decoded(now, meta.log_id, ok);
            }
            SnapshotJob::Discard(log_id) => node.disk.discard(log_id),
            SnapshotJob::Current(log_id) => {
                let install = self.status(id).install;
                self.node(id).disk.keep_from(log_id, install, 0);
            }
        }
    }

    pub(super) fn log_read(&mut self, id: NodeId, read: LogRead) {
        let now = self.now;
        let outcome = self.nodes[&id].disk.read(&read);
        self.raft(id).log_read(now, read.id, outcome);
    }

    pub(super) fn chunk_read(&mut self, id: NodeId, read: ChunkRead) {
        let now = self.now;
        let outcome = self.nodes[&id].disk.read_chunk(&read);
        self.raft(id).chunk_read(now, read.to, read.transfer, read.offset, outcome);
    }
}
