//! Carries out the `Ready` after a node's input, as the actors would.

use bytes::Bytes;

use quorate::raft::{
    ApplyItem, Body, ChunkRead, ChunkReadOutcome, Entry, Event, InstallDecision, LogId, LogRead,
    NodeId, Persist, RaftConfig, Ready, Request, SnapshotJob, SnapshotMeta,
};

use super::machine::Machine;
use super::world::{Own, World};

/// A job for the snapshotter.
#[derive(Debug)]
pub(super) enum Job {
    /// Requested by the protocol.
    Asked(SnapshotJob),
    /// A state of this node is to be saved.
    Encode(SnapshotMeta, Bytes),
}

impl World {
    /// A state machine that delays its install request sends it in the turn in which entries
    /// arrive.
    pub(super) fn asks_with(&mut self, id: NodeId, body: &Body) -> Option<LogId> {
        let brings = matches!(body, Body::Request(Request::Append(a)) if !a.entries.is_empty());
        let node = &mut self.nodes[id as usize];
        let asks = brings && std::mem::take(&mut node.asks_late);
        self.sights.asked_beside += u64::from(asks);
        node.asking.filter(|_| asks)
    }

    pub(super) fn carry_out(&mut self, id: NodeId) {
        let node = &mut self.nodes[id as usize];
        node.turn_is_open = false;
        let Some(raft) = &mut node.raft else { return };
        let ready = raft.ready();
        self.invariants.turn(&raft.observe());
        let outlived = ready.events.contains(&Event::StaleDirectory);
        self.hand_out(id, ready);
        if outlived {
            // The node's operator restarts it.
            self.crash(id, usize::MAX);
            self.start(id);
        }
        self.arm(id);
    }

    fn hand_out(&mut self, id: NodeId, ready: Ready) {
        self.heed(id, &ready.events);
        for envelope in ready.messages {
            self.send(envelope);
        }
        if let Some(step) = ready.persist {
            self.persist(id, *step);
        }
        for read in ready.reads {
            let delay = self.streams.disks.between(1, self.pace.sync);
            self.plan(id, delay, Own::LogRead(read));
        }
        for read in ready.chunk_reads {
            let delay = self.streams.disks.between(1, self.pace.piece);
            self.plan(id, delay, Own::ChunkRead(read));
        }
        for confirmed in &ready.reads_confirmed {
            self.read_confirmed(id, confirmed.ticket, confirmed.index);
        }
        for ticket in &ready.reads_failed {
            self.read_failed(id, *ticket);
        }
        let handed = !ready.apply.is_empty();
        let node = self.node(id);
        node.jobs.extend(ready.snapshots.into_iter().map(Job::Asked));
        for item in ready.apply {
            match item {
                ApplyItem::Withdraw(log_id) => node.queue.retain(
                    |queued| !matches!(queued, ApplyItem::Offer(meta) if meta.log_id == log_id),
                ),
                item => node.queue.push_back(item),
            }
        }
        if handed {
            self.check_queue(id);
        }
        for decision in ready.decisions {
            self.decide(id, decision);
        }
        self.go_on_applying(id);
        self.go_on_working(id);
    }

    /// The apply queue holds at most its limit, and one batch that is always allowed. Entries
    /// covered by an install are about to leave.
    fn check_queue(&mut self, id: NodeId) {
        let node = &self.nodes[id as usize];
        let covered = node.raft.as_ref().map_or(0, |raft| raft.observe().state.snapshot.index);
        let batch_bytes = |item: &ApplyItem| match item {
            ApplyItem::Entries(entries) => {
                let counted = entries.iter().filter(|entry| entry.log_id.index > covered);
                counted.map(Entry::size_bytes).sum()
            }
            _ => 0,
        };
        let queue = &node.queue;
        let last = queue.iter().rev().map(batch_bytes).find(|bytes| *bytes > 0).unwrap_or(0);
        let before: usize = queue.iter().map(batch_bytes).sum::<usize>() - last;
        if before > self.config.apply_queue_bytes {
            let what = format!("n{id}: {before} bytes before the last batch");
            self.invariants.report_breach("bounded queues", what);
        }
    }

    // ---- the disk ------------------------------------------------------------------------

    /// At most what may be appended and not durable waits for the disk, and one message more. What
    /// was replaced while it waited does not count. A disk that hangs gathers many steps, so all of
    /// them are checked only now and then.
    fn check_steps(&mut self, id: NodeId) {
        let steps = self.nodes[id as usize].disk.steps.len();
        if !steps.is_multiple_of(1 + steps / 8) {
            return;
        }
        let mut waiting: Vec<&Entry> = Vec::new();
        for step in &self.nodes[id as usize].disk.steps {
            if let Some(from) = step.change.truncate_from {
                waiting.retain(|entry| entry.log_id.index < from);
            }
            waiting.extend(&step.change.append);
        }
        let waiting: usize = waiting.into_iter().map(Entry::size_bytes).sum();
        let RaftConfig { unpersisted_bytes, uncommitted_bytes, append_bytes, .. } = self.config;
        let allowed = unpersisted_bytes.max(uncommitted_bytes) + append_bytes.max(1_000);
        if waiting > allowed {
            let what = format!("n{id}: {waiting} bytes wait for the disk, {allowed} may");
            self.invariants.report_breach("bounded queues", what);
        }
    }

    fn persist(&mut self, id: NodeId, step: Persist) {
        let earlier = self.nodes[id as usize].disk.steps.len() as u64;
        self.node(id).disk.steps.push_back(step);
        self.check_steps(id);
        let longest = self.pace.sync + self.conditions.member(id).sync;
        let delay = self.streams.disks.between(1, longest) + earlier;
        self.plan(id, delay, Own::DiskDone);
    }

    pub(super) fn disk_done(&mut self, id: NodeId) {
        let fails = self.nodes[id as usize].sync_fails || self.conditions.member(id).disk_is_full;
        if fails && !self.nodes[id as usize].disk.steps.is_empty() {
            return self.disk_fails(id);
        }
        let node = &mut self.nodes[id as usize];
        let Some(step) = node.disk.steps.pop_front() else { return };
        self.invariants.durable(id, &step.change);
        node.disk.apply(step.change);
        let envelopes = step.then_send;
        self.input(id, |raft, now| raft.persisted(now, step.seq));
        for envelope in envelopes {
            self.send(envelope);
        }
    }

    /// The node stops at once, for good (PS04). What the failed step left on disk is unknown.
    fn disk_fails(&mut self, id: NodeId) {
        let done = self.streams.disks.below(2) as usize;
        self.crash(id, done);
    }

    pub(super) fn log_read(&mut self, id: NodeId, read: LogRead) {
        let outcome = self.nodes[id as usize].disk.read(&read);
        self.input(id, |raft, now| raft.log_read(now, read.id, outcome));
    }

    pub(super) fn chunk_read(&mut self, id: NodeId, read: ChunkRead) {
        let outcome = self.nodes[id as usize].disk.read_chunk(&read);
        let ChunkRead { to, transfer, offset, .. } = read;
        if outcome == ChunkReadOutcome::Gone {
            self.invariants.transfer_is_void(id, to);
        }
        self.input(id, |raft, now| raft.chunk_read(now, to, transfer, offset, outcome));
        if self.streams.turns.chance(self.eager) {
            // Requests a newer snapshot while this one is being sent.
            self.input(id, |raft, now| raft.request_snapshot(now));
        }
    }

    // ---- the state machine ---------------------------------------------------------------

    fn go_on_applying(&mut self, id: NodeId) {
        let node = self.node(id);
        if node.applying || node.asking.is_some() || node.queue.is_empty() {
            return;
        }
        node.applying = true;
        let longest = self.pace.apply + self.conditions.member(id).apply;
        let delay = self.streams.work.between(1, longest);
        self.plan(id, delay, Own::ApplyDone);
    }

    pub(super) fn apply_one(&mut self, id: NodeId) {
        let node = self.node(id);
        node.applying = false;
        let Some(item) = node.queue.pop_front() else { return };
        match item {
            ApplyItem::Entries(entries) => {
                for entry in &entries {
                    let node = &mut self.nodes[id as usize];
                    if entry.log_id.index <= node.machine.applied.index {
                        continue;
                    }
                    let reply = node.machine.apply(entry);
                    self.invariants.applied(id, entry, node.machine.digest);
                    self.answer_waiter(id, entry.log_id, reply);
                }
                let applied = self.nodes[id as usize].machine.applied.index;
                self.answer_reads(id, applied);
                self.input(id, |raft, now| raft.applied(now, applied));
            }
            ApplyItem::TakeSnapshot => self.take_snapshot(id),
            ApplyItem::Offer(meta) => {
                (node.asking, node.asks_late) = (Some(meta.log_id), true);
                if self.asks_late == 0 || self.acting.is_calm() {
                    return self.ask_install(id);
                }
                let delay = self.streams.turns.between(1, self.asks_late);
                self.plan(id, delay, Own::AskInstall);
            }
            ApplyItem::Withdraw(log_id) => {
                panic!("the withdrawal of {log_id} was queued, and concerns what is queued")
            }
        }
    }

    /// Sends CondInstallSnapshot, unless it was sent already.
    pub(super) fn ask_install(&mut self, id: NodeId) {
        let node = self.node(id);
        let waits = std::mem::take(&mut node.asks_late);
        if let Some(log_id) = node.asking.filter(|_| waits) {
            self.input(id, |raft, now| raft.cond_install(now, log_id));
        }
    }

    fn take_snapshot(&mut self, id: NodeId) {
        let membership = self.members.clone();
        let node = self.node(id);
        let state = node.machine.encode();
        let log_id = node.machine.applied;
        let meta = SnapshotMeta { log_id, membership, size_bytes: state.len() as u64 };
        node.jobs.push_back(Job::Encode(meta, state));
        self.go_on_applying(id);
        self.go_on_working(id);
    }

    fn decide(&mut self, id: NodeId, InstallDecision { log_id, granted }: InstallDecision) {
        let node = &mut self.nodes[id as usize];
        assert_eq!(node.asking.take(), Some(log_id), "an answer that n{id} does not wait for");
        if !granted {
            return;
        }
        let installed = Machine::decode(&node.disk.files[&log_id]);
        assert_eq!(installed.applied, log_id, "the snapshot is of another state");
        node.duplicates += node.machine.duplicates;
        node.expired += node.machine.expired;
        node.machine = installed;
        self.invariants.installed(id, log_id, node.machine.digest);
        self.answer_reads(id, log_id.index);
        self.input(id, |raft, now| raft.applied(now, log_id.index));
    }

    // ---- snapshots -----------------------------------------------------------------------

    /// Whether a snapshot of its own is being encoded there.
    pub(super) fn is_building(&self, id: NodeId) -> bool {
        self.nodes[id as usize].jobs.iter().any(|job| matches!(job, Job::Encode(..)))
    }

    fn go_on_working(&mut self, id: NodeId) {
        let node = &mut self.nodes[id as usize];
        if node.working {
            return;
        }
        let Some(job) = node.jobs.front() else { return };
        node.working = true;
        let surroundings = self.conditions.member(id);
        let longest = match job {
            Job::Encode(..) => self.pace.encode + surroundings.encode,
            Job::Asked(SnapshotJob::Decode(meta)) => {
                let (log_id, now) = (meta.log_id, node.clock.at(self.now));
                node.raft.iter_mut().for_each(|raft| raft.decode_begun(now, log_id));
                self.pace.decode + surroundings.decode
            }
            Job::Asked(_) => self.pace.piece,
        };
        let delay = self.streams.work.between(1, longest);
        self.plan(id, delay, Own::JobDone);
    }

    pub(super) fn job_done(&mut self, id: NodeId) {
        let node = self.node(id);
        node.working = false;
        match node.jobs.pop_front() {
            Some(Job::Asked(job)) => self.asked_job_done(id, job),
            Some(Job::Encode(meta, state)) => {
                node.disk.publish(meta.log_id, state);
                self.input(id, |raft, now| raft.snapshot_taken(now, meta));
            }
            None => {}
        }
    }

    fn asked_job_done(&mut self, id: NodeId, job: SnapshotJob) {
        let retained = self.retained;
        let node = self.node(id);
        match job {
            SnapshotJob::WriteChunk { transfer, meta, offset, data, .. } => {
                let outcome = node.disk.store(transfer, &meta, offset, &data);
                self.input(id, |raft, now| raft.chunk_written(now, transfer, outcome));
            }
            SnapshotJob::AbortTransfer(key) => {
                node.disk.abort(key);
                self.end_turn(id);
            }
            SnapshotJob::Decode(meta) => {
                let state = node.disk.files.get(&meta.log_id);
                let there = state.is_some_and(|state| Machine::holds_state_of(state, meta.log_id));
                self.input(id, |raft, now| raft.snapshot_decoded(now, meta.log_id, there));
            }
            SnapshotJob::Discard(log_id) => {
                node.disk.discard(log_id);
                self.end_turn(id);
            }
            SnapshotJob::Current(log_id) => {
                if let Some(raft) = &node.raft {
                    node.disk.keep_from(log_id, raft.status().install, retained);
                }
                self.end_turn(id);
            }
        }
    }
}
