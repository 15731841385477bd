//! A node: the real protocol, its disk, its state machine and the queues between them.
//!
//! ```text
//! input ──▶ Raft ──ready()──▶ messages ─────────────────────────────▶ network
//!            ▲                 steps ──▶ [explorer] ──▶ disk ─▶ then_send ─┘
//!            │                 apply ──▶ [explorer] ──▶ machine, CondInstallSnapshot
//!            └── completions ◀─ jobs  ──▶ [explorer] ──▶ snapshot files
//! ```
//! It does the work of the actors and of storage. What the bounds declare eager happens at once,
//! the rest when the explorer chooses it.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate::raft::*;

use crate::bounds::Bounds;
use crate::coverage::{Coverage, Kind};
use crate::disk::{Disk, Machine};
use crate::invariants::{Broken, Rule, hold};

/// The time of every input: the past is forgotten (`Raft::forget_history`).
pub const NOW: Micros = 1_000_000;
/// After this time heartbeats are due and requests are lost ..
pub const TICK: Micros = 10;
/// .. and after this time elections are due, transfers are given up, and a leader without answers
/// steps down.
pub const TIMEOUT: Micros = 250;

fn config(id: NodeId, bounds: &Bounds) -> RaftConfig {
    RaftConfig {
        node: id,
        cluster: 9,
        seed: 1,
        heartbeat_interval: TICK,
        election_timeout_min: 100,
        election_timeout_max: 200,
        request_timeout: TICK,
        retry_interval: TICK,
        check_quorum: true,
        batch_delay: 0,
        append_interval: 0,
        commit_notice: None,
        noop_on_election: bounds.blanks,
        append_bytes: 10_000,
        append_entries: bounds.append_entries,
        window_messages: bounds.window,
        window_bytes: 10_000,
        uncommitted_bytes: 10_000,
        unpersisted_bytes: 10_000,
        log_cache_bytes: bounds.cache_bytes,
        apply_queue_bytes: 10_000,
        snapshot_bytes: None,
        snapshot_entries: None,
        snapshot_retry_interval: TICK,
        trailing_entries: 0,
        trailing_bytes: 0,
        pin_bytes: 0,
        snapshot_chunk_bytes: bounds.chunk_bytes,
        undecodable_retry_max: 1_000_000,
        doubt_timeout: 2_000,
    }
}

/// One member with all its local state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub raft: Raft,
    pub disk: Arc<Disk>,
    /// Steps given to the disk that are not done.
    pub steps: VecDeque<Arc<Persist>>,
    pub machine: Machine,
    pub queue: VecDeque<ApplyItem>,
    /// The offer for which the state machine waits for the answer to CondInstallSnapshot.
    pub asking: Option<LogId>,
    pub jobs: VecDeque<SnapshotJob>,
    /// Whether the first job is a decoding that has begun.
    decoding: bool,
    transfer: Option<(TransferKey, Vec<u8>)>,
}

/// The effects of one action of a node.
pub struct Turn<'a> {
    pub bounds: &'a Bounds,
    pub coverage: &'a Coverage,
    pub sent: Vec<Envelope>,
}

impl Node {
    /// Starts from what is on the disk.
    pub fn start(id: NodeId, mut disk: Disk, bounds: &Bounds) -> Node {
        disk.life.incarnation += 1;
        let recovered = disk.recovered(&bounds.members());
        let current = disk.snapshot.as_ref().and_then(|meta| disk.files.get(&meta.log_id));
        let machine = current.and_then(|file| Machine::decode(file)).unwrap_or_default();
        let mut raft = Raft::new(config(id, bounds), recovered, NOW);
        raft.forget_history(NOW);
        Node {
            raft,
            disk: disk.into(),
            steps: VecDeque::new(),
            machine,
            queue: VecDeque::new(),
            asking: None,
            jobs: VecDeque::new(),
            decoding: false,
            transfer: None,
        }
    }

    /// Ends the process; of the steps given to the disk all were done, or none.
    pub fn crash(&self, all_done: bool) -> Result<Disk, Broken> {
        let mut disk = Disk::clone(&self.disk);
        for step in self.steps.iter().filter(|_| all_done) {
            disk.carry_out(&step.change)?;
        }
        Ok(disk)
    }

    /// Runs an input, and carries out its output.
    pub fn does(&mut self, turn: &mut Turn, input: impl FnOnce(&mut Raft)) -> Result<(), Broken> {
        input(&mut self.raft);
        self.carry_out(turn)
    }

    pub fn carry_out(&mut self, turn: &mut Turn) -> Result<(), Broken> {
        loop {
            let ready = self.raft.ready();
            let idle = ready.is_empty();
            self.take(ready, turn)?;
            if idle && !self.go_on_eagerly(turn)? {
                break;
            }
        }
        let counters = *self.raft.counters();
        turn.coverage.count(&counters);
        hold(
            Rule::Alarm,
            counters.safety_alarms == 0 || turn.bounds.allowed.tail_losses > 0,
            || "a safety alarm was raised".into(),
        )?;
        self.raft.forget_history(NOW);
        Ok(())
    }

    fn take(&mut self, ready: Ready, turn: &mut Turn) -> Result<(), Broken> {
        for envelope in ready.messages {
            self.send(envelope, turn)?;
        }
        self.steps.extend(ready.persist.map(Arc::from));
        for read in ready.reads {
            let entries = (read.first..=read.last).map_while(|i| self.disk.entry(i).cloned());
            let entries: Vec<Entry> = entries.collect();
            let found = match entries.is_empty() {
                true => LogReadOutcome::Compacted,
                false => LogReadOutcome::Entries(entries.into()),
            };
            self.raft.log_read(NOW, read.id, found);
        }
        for read in ready.chunk_reads {
            let found = match self.disk.files.get(&read.snapshot) {
                Some(file) => {
                    let end = file.len().min(read.offset as usize + read.max_bytes);
                    let data = file.slice(read.offset as usize..end);
                    ChunkReadOutcome::Data { data, crc: 0 }
                }
                None => ChunkReadOutcome::Gone,
            };
            self.raft.chunk_read(NOW, read.to, read.transfer, read.offset, found);
        }
        self.jobs.extend(ready.snapshots);
        for item in ready.apply {
            match item {
                ApplyItem::Withdraw(log_id) => self.queue.retain(
                    |queued| !matches!(queued, ApplyItem::Offer(meta) if meta.log_id == log_id),
                ),
                item => self.queue.push_back(item),
            }
        }
        ready.decisions.into_iter().try_for_each(|decision| self.decide(decision, turn))
    }

    fn go_on_eagerly(&mut self, turn: &mut Turn) -> Result<bool, Broken> {
        let eager = turn.bounds.eager;
        if eager.disk && !self.steps.is_empty() {
            self.finish_step(turn)?;
        } else if eager.apply && self.may_apply() {
            self.finish_item(turn)?;
        } else if eager.snapshotter && !self.jobs.is_empty() {
            self.finish_job();
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    // ---- disk ----------------------------------------------------------------------------

    /// The disk does the oldest step.
    pub fn finish_step(&mut self, turn: &mut Turn) -> Result<(), Broken> {
        let Some(step) = self.steps.pop_front() else { return Ok(()) };
        Arc::make_mut(&mut self.disk).carry_out(&step.change)?;
        self.raft.persisted(NOW, step.seq);
        for envelope in &step.then_send {
            self.send(envelope.clone(), turn)?;
        }
        Ok(())
    }

    /// What is sent must be durable: the term, a vote, what is acknowledged (PS01, PS02).
    fn send(&self, envelope: Envelope, turn: &mut Turn) -> Result<(), Broken> {
        let durable = self.disk.hard_state;
        hold(Rule::Promise, durable.term >= envelope.term, || {
            format!("speaks of term {}, durable is {durable:?}", envelope.term)
        })?;
        if let Body::Answer { answer, .. } = &envelope.body {
            self.check_answer(&envelope, answer)?;
        }
        turn.sent.push(envelope);
        Ok(())
    }

    fn check_answer(&self, envelope: &Envelope, answer: &Answer) -> Result<(), Broken> {
        let durable = self.disk.hard_state;
        let overtaken = durable.term > envelope.term;
        match answer {
            Answer::Vote { granted: true, .. } => {
                let promised = HardState { term: envelope.term, vote: Some(envelope.to) };
                hold(Rule::Promise, durable == promised || overtaken, || {
                    format!("grants {promised:?}, durable is {durable:?}")
                })
            }
            Answer::Append(AppendAnswer { report, .. })
            | Answer::Snapshot(SnapshotAnswer { report, .. }) => {
                let last = self.disk.last().index;
                hold(Rule::Promise, report.matched <= last || overtaken, || {
                    format!("acknowledges {}, durable is {last}", report.matched)
                })
            }
            _ => Ok(()),
        }
    }

    // ---- state machine -------------------------------------------------------------------

    pub fn may_apply(&self) -> bool {
        self.asking.is_none() && !self.queue.is_empty()
    }

    /// The state machine handles the oldest item.
    pub fn finish_item(&mut self, turn: &mut Turn) -> Result<(), Broken> {
        let Some(item) = self.queue.pop_front() else { return Ok(()) };
        match item {
            ApplyItem::Entries(entries) => {
                let applied = self.machine.applied.index;
                let new = entries.iter().filter(|entry| entry.log_id.index > applied);
                new.into_iter().try_for_each(|entry| self.machine.apply(entry))?;
                self.raft.applied(NOW, self.machine.applied.index);
            }
            ApplyItem::TakeSnapshot => self.take_snapshot(turn.bounds),
            ApplyItem::Offer(meta) => {
                self.asking = Some(meta.log_id);
                self.raft.cond_install(NOW, meta.log_id);
            }
            ApplyItem::Withdraw(_) => {}
        }
        Ok(())
    }

    fn take_snapshot(&mut self, bounds: &Bounds) {
        let state = self.machine.encode();
        let (log_id, size_bytes) = (self.machine.applied, state.len() as u64);
        let disk = Arc::make_mut(&mut self.disk);
        disk.files.insert(log_id, state);
        disk.received.remove(&log_id);
        let meta = SnapshotMeta { log_id, membership: bounds.members(), size_bytes };
        self.raft.snapshot_taken(NOW, meta);
    }

    fn decide(&mut self, decision: InstallDecision, turn: &mut Turn) -> Result<(), Broken> {
        let InstallDecision { log_id, granted } = decision;
        hold(Rule::StateMachine, self.asking.take() == Some(log_id), || {
            format!("nobody waits for a decision on {log_id}")
        })?;
        if !granted {
            turn.coverage.saw(Kind::InstallRefused);
            return Ok(());
        }
        let current = self.disk.snapshot.as_ref().map(|meta| meta.log_id);
        hold(Rule::Promise, current == Some(log_id), || {
            format!("grants {log_id} while the record names {current:?}")
        })?;
        let file = self.disk.files.get(&log_id);
        let Some(installed) = file.and_then(|file| Machine::decode(file)) else {
            return Err(Broken::new(Rule::StateMachine, format!("{log_id} granted, not here")));
        };
        let rises = installed.applied == log_id && log_id.index > self.machine.applied.index;
        hold(Rule::StateMachine, rises, || {
            format!("from {:?} to {installed:?} by {log_id}", self.machine)
        })?;
        self.machine = installed;
        self.raft.applied(NOW, log_id.index);
        Ok(())
    }

    // ---- snapshotter ---------------------------------------------------------------------

    /// The snapshotter continues its oldest job. A decoding that is not eager takes two calls: it
    /// begins, and then ends.
    pub fn finish_job(&mut self) {
        if let (Some(SnapshotJob::Decode(meta)), false) = (self.jobs.front(), self.decoding) {
            self.raft.decode_begun(NOW, meta.log_id);
            self.decoding = true;
            return;
        }
        self.decoding = false;
        let Some(job) = self.jobs.pop_front() else { return };
        match job {
            SnapshotJob::WriteChunk { transfer, meta, offset, data, .. } => {
                let outcome = self.store(transfer, &meta, offset, &data);
                self.raft.chunk_written(NOW, transfer, outcome);
            }
            SnapshotJob::AbortTransfer(key) => {
                self.transfer.take_if(|(current, _)| *current == key);
            }
            SnapshotJob::Decode(meta) => {
                let ok = self.disk.files.contains_key(&meta.log_id);
                self.raft.snapshot_decoded(NOW, meta.log_id, ok);
            }
            SnapshotJob::Discard(log_id) => {
                let disk = Arc::make_mut(&mut self.disk);
                if disk.received.remove(&log_id) {
                    disk.files.remove(&log_id);
                }
            }
            SnapshotJob::Current(log_id) => {
                let pending = match self.raft.status().install {
                    InstallStatus::Pending { index } => Some(index),
                    _ => None,
                };
                let disk = Arc::make_mut(&mut self.disk);
                disk.files
                    .retain(|file, _| file.index >= log_id.index || Some(file.index) == pending);
            }
        }
    }

    fn store(
        &mut self,
        key: TransferKey,
        meta: &SnapshotMeta,
        offset: u64,
        data: &[u8],
    ) -> ChunkWritten {
        if offset == 0 {
            self.transfer = Some((key, Vec::new()));
        }
        let Some((current, bytes)) = &mut self.transfer else { return ChunkWritten::Corrupt };
        if (*current, bytes.len() as u64) != (key, offset) {
            return ChunkWritten::Corrupt;
        }
        bytes.extend_from_slice(data);
        if (bytes.len() as u64) < meta.size_bytes {
            return ChunkWritten::Partial(bytes.len() as u64);
        }
        let bytes = std::mem::take(bytes);
        self.transfer = None;
        let disk = Arc::make_mut(&mut self.disk);
        disk.files.insert(meta.log_id, bytes.into());
        disk.received.insert(meta.log_id);
        ChunkWritten::Complete
    }
}
