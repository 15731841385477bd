//! The cluster of a script: peers, disks, state machines and a network in which nothing happens by
//! itself.
//!
//! Messages wait on the wire until the script delivers or drops them. Disk, state machine and
//! decoding work at once, unless the script holds them. Time passes only by command. What a peer
//! does with an input is reported in lines, in the order of its `Ready`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use quorate::raft::testing::Disk;
use quorate::raft::*;

use crate::narrate;

const MILLISECOND: Micros = 1_000;

/// Work that a node may be told to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Durable steps.
    Disk,
    /// The apply queue.
    Apply,
    /// Jobs on snapshots: storing chunks, decoding.
    Jobs,
    /// Reads of chunks for members.
    Chunks,
}

pub struct Node {
    pub config: RaftConfig,
    /// `None` while the node is down.
    pub raft: Option<Raft>,
    pub disk: Disk,
    /// The last entry that the state machine has applied, and the commands in its state.
    pub applied: LogId,
    pub state: Vec<String>,
    queue: VecDeque<ApplyItem>,
    /// The offer for which the state machine awaits the decision.
    asking: Option<LogId>,
    jobs: VecDeque<SnapshotJob>,
    chunk_reads: VecDeque<ChunkRead>,
    held: BTreeSet<Work>,
    commit: Index,
    ignored: u64,
}

pub struct Cluster {
    pub now: Micros,
    pub members: Membership,
    pub nodes: BTreeMap<NodeId, Node>,
    /// Messages under way, oldest first.
    pub wire: Vec<Envelope>,
    /// Directed links that lose everything.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Whether heartbeats and their answers are reported.
    pub is_verbose: bool,
    lines: Vec<String>,
}

impl Cluster {
    pub fn new(
        members: Membership,
        nodes: impl IntoIterator<Item = NodeId>,
        config: impl Fn(NodeId) -> RaftConfig,
    ) -> Cluster {
        let node = |id| Node {
            config: config(id),
            raft: None,
            disk: Disk::default(),
            applied: LogId::BASE,
            state: Vec::new(),
            queue: VecDeque::new(),
            asking: None,
            jobs: VecDeque::new(),
            chunk_reads: VecDeque::new(),
            held: BTreeSet::new(),
            commit: 0,
            ignored: 0,
        };
        Cluster {
            now: 0,
            members,
            nodes: nodes.into_iter().map(|id| (id, node(id))).collect(),
            wire: Vec::new(),
            cut: BTreeSet::new(),
            is_verbose: false,
            lines: Vec::new(),
        }
    }

    /// The lines since the last call.
    pub fn take_lines(&mut self) -> String {
        let lines = std::mem::take(&mut self.lines);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    pub fn tell(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    pub fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).unwrap_or_else(|| panic!("there is no node {id}"))
    }

    pub fn is_up(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.raft.is_some())
    }

    pub fn running(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().filter(|&id| self.is_up(id)).collect()
    }

    // ---- starts and crashes --------------------------------------------------------------

    /// Starts a node with what its disk holds.
    pub fn start(&mut self, id: NodeId) {
        assert!(!self.is_up(id), "n{id} runs");
        let (now, members) = (self.now, self.members.clone());
        let node = self.node(id);
        node.disk.life.incarnation += 1;
        let recovered = node.disk.recovered(&members);
        (node.applied, node.state) = node.disk.snapshot.as_ref().map_or_else(
            || (LogId::BASE, Vec::new()),
            |meta| (meta.log_id, decode(&node.disk.files[&meta.log_id])),
        );
        node.commit = node.applied.index;
        node.ignored = 0;
        node.raft = Some(Raft::new(node.config.clone(), recovered, now));
        self.handle_ready(id);
    }

    /// Drops everything of a node that is not durable. Messages on the wire stay.
    pub fn crash(&mut self, id: NodeId) {
        let node = self.node(id);
        node.raft = None;
        node.disk.crash();
        node.queue.clear();
        node.asking = None;
        node.jobs.clear();
        node.chunk_reads.clear();
        node.held.clear();
    }

    // ---- inputs --------------------------------------------------------------------------

    /// Gives a node's peer an input and carries out what follows.
    pub fn input<R>(&mut self, id: NodeId, input: impl FnOnce(&mut Raft, Micros) -> R) -> R {
        let now = self.now;
        let raft = self.node(id).raft.as_mut().unwrap_or_else(|| panic!("n{id} is down"));
        let result = input(raft, now);
        self.handle_ready(id);
        result
    }

    /// Lets the time pass in steps: all nodes tick, and what they send is delivered if `deliver`.
    pub fn wait(&mut self, milliseconds: u64, deliver: bool) {
        let end = self.now + milliseconds * MILLISECOND;
        while self.now < end {
            self.now = end.min(self.now + 10 * MILLISECOND);
            for id in self.running() {
                self.input(id, |raft, now| raft.tick(now));
            }
            if deliver {
                self.settle();
            }
        }
    }

    // ---- the network ---------------------------------------------------------------------

    fn send(&mut self, envelope: Envelope) {
        let durable = self.nodes[&envelope.from].disk.hard_state.term;
        assert!(durable >= envelope.term, "sent in term {} before it is durable", envelope.term);
        self.wire.push(envelope);
    }

    /// Takes the messages on the wire for which `wanted` holds.
    pub fn take(&mut self, wanted: impl Fn(&Envelope) -> bool, at_most: usize) -> Vec<Envelope> {
        let mut taken = Vec::new();
        let mut kept = Vec::new();
        for message in std::mem::take(&mut self.wire) {
            let take = taken.len() < at_most && wanted(&message);
            if take { taken.push(message) } else { kept.push(message) }
        }
        self.wire = kept;
        taken
    }

    /// Delivers a message. It is lost if its link is cut or its receiver is down.
    pub fn deliver(&mut self, envelope: Envelope) {
        let (from, to) = (envelope.from, envelope.to);
        let told = narrate::message(&envelope);
        let is_quiet = !self.is_verbose && narrate::is_routine(&envelope);
        if self.cut.contains(&(from, to)) || !self.is_up(to) {
            if !is_quiet {
                self.tell(format!("n{to} <- n{from}  {told}  (lost)"));
            }
            return;
        }
        let before = self.lines.len();
        self.tell(format!("n{to} <- n{from}  {told}"));
        self.input(to, |raft, now| raft.step(now, envelope));
        if is_quiet && self.lines.len() == before + 1 {
            self.lines.pop();
        }
    }

    /// Delivers messages, oldest first, until none is left.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.wire.is_empty() {
                return;
            }
            let message = self.wire.remove(0);
            self.deliver(message);
        }
        panic!("the cluster does not settle");
    }

    // ---- the work of a Ready -------------------------------------------------------------

    pub fn hold(&mut self, id: NodeId, work: Work) {
        self.node(id).held.insert(work);
    }

    /// Does the work that was held, and holds none from now on.
    pub fn release(&mut self, id: NodeId, work: Work) {
        self.node(id).held.remove(&work);
        self.go_on(id);
    }

    /// Does one piece of work that is held.
    pub fn do_one(&mut self, id: NodeId, work: Work) -> bool {
        match work {
            Work::Disk => self.persist_one(id),
            Work::Apply => self.apply_one(id),
            Work::Jobs => self.work_one(id),
            Work::Chunks => self.read_chunk_one(id),
        }
    }

    fn may(&self, id: NodeId, work: Work) -> bool {
        self.is_up(id) && !self.nodes[&id].held.contains(&work)
    }

    fn go_on(&mut self, id: NodeId) {
        loop {
            let worked = (self.may(id, Work::Disk) && self.persist_one(id))
                || (self.may(id, Work::Apply) && self.apply_one(id))
                || (self.may(id, Work::Jobs) && self.work_one(id))
                || (self.may(id, Work::Chunks) && self.read_chunk_one(id));
            if !worked {
                return;
            }
        }
    }

    fn handle_ready(&mut self, id: NodeId) {
        let Some(raft) = &mut self.node(id).raft else { return };
        let ready = raft.ready();
        let (status, counters) = (raft.status(), *raft.counters());
        let ignored = counters.ignored_messages - self.nodes[&id].ignored;
        self.node(id).ignored = counters.ignored_messages;
        if ignored > 0 {
            self.tell(format!("  n{id} ignores it"));
        }
        for event in &ready.events {
            if let Some(told) = narrate::event(event) {
                self.tell(format!("  n{id} {told}"));
            }
        }
        if status.commit > self.nodes[&id].commit {
            self.node(id).commit = status.commit;
            self.tell(format!("  n{id} commits {}", status.commit));
        }
        ready.messages.into_iter().for_each(|envelope| self.send(envelope));
        if let Some(step) = ready.persist {
            let held = self.nodes[&id].held.contains(&Work::Disk);
            if let Some(told) = narrate::change(&step.change) {
                self.tell(format!("  n{id} {} {told}", if held { "will write" } else { "writes" }));
            }
            self.node(id).disk.steps.push_back(*step);
        }
        for read in ready.reads {
            let outcome = self.nodes[&id].disk.read(&read);
            self.input(id, |raft, now| raft.log_read(now, read.id, outcome));
        }
        let node = self.node(id);
        node.chunk_reads.extend(ready.chunk_reads);
        node.jobs.extend(ready.snapshots);
        for item in ready.apply {
            match item {
                ApplyItem::Withdraw(log_id) => {
                    self.node(id).queue.retain(
                        |item| !matches!(item, ApplyItem::Offer(meta) if meta.log_id == log_id),
                    );
                    self.tell(format!("  n{id} withdraws the offer of {log_id}"));
                }
                ApplyItem::Offer(meta) => {
                    self.tell(format!("  n{id} offers {} to its state machine", meta.log_id));
                    self.node(id).queue.push_back(ApplyItem::Offer(meta));
                }
                item => self.node(id).queue.push_back(item),
            }
        }
        ready.decisions.into_iter().for_each(|decision| self.decide(id, decision));
        for confirmed in ready.reads_confirmed {
            let ReadConfirmed { ticket, index } = confirmed;
            self.tell(format!("  n{id} confirms read {ticket} at {index}"));
        }
        for ticket in ready.reads_failed {
            self.tell(format!("  n{id} fails read {ticket}"));
        }
        self.go_on(id);
    }

    fn persist_one(&mut self, id: NodeId) -> bool {
        let node = self.node(id);
        let Some(step) = node.disk.steps.pop_front() else { return false };
        node.disk.apply(step.change);
        step.then_send.into_iter().for_each(|envelope| self.send(envelope));
        self.input(id, |raft, now| raft.persisted(now, step.seq));
        true
    }

    fn apply_one(&mut self, id: NodeId) -> bool {
        let members = self.members.clone();
        let node = self.node(id);
        if node.asking.is_some() {
            return false;
        }
        let Some(item) = node.queue.pop_front() else { return false };
        match item {
            ApplyItem::Entries(entries) => {
                let new: Vec<_> = entries
                    .iter()
                    .filter(|entry| entry.log_id.index > node.applied.index)
                    .cloned()
                    .collect();
                for entry in &new {
                    assert_eq!(entry.log_id.index, node.applied.index + 1, "applied out of order");
                    node.applied = entry.log_id;
                    if entry.kind == EntryKind::Command {
                        node.state.push(String::from_utf8_lossy(&entry.data).into_owned());
                    }
                }
                let applied = node.applied.index;
                if !new.is_empty() {
                    let told = narrate::entries(new.iter());
                    self.tell(format!("  n{id} applies {told}"));
                }
                self.input(id, |raft, now| raft.applied(now, applied));
            }
            ApplyItem::TakeSnapshot => {
                let (log_id, data) = (node.applied, encode(&node.state));
                let size_bytes = data.len() as u64;
                let meta = SnapshotMeta { log_id, membership: members, size_bytes };
                node.disk.publish(log_id, data);
                self.tell(format!("  n{id} takes a snapshot of {log_id}"));
                self.input(id, |raft, now| raft.snapshot_taken(now, meta));
            }
            ApplyItem::Offer(meta) => {
                node.asking = Some(meta.log_id);
                self.tell(format!("  n{id} asks: may I install {}?", meta.log_id));
                self.input(id, |raft, now| raft.cond_install(now, meta.log_id));
            }
            ApplyItem::Withdraw(_) => unreachable!("never queued"),
        }
        true
    }

    fn decide(&mut self, id: NodeId, decision: InstallDecision) {
        let InstallDecision { log_id, granted } = decision;
        let node = self.node(id);
        assert_eq!(node.asking.take(), Some(log_id), "a decision on what was not asked");
        if !granted {
            return self.tell(format!("  n{id} decides: {log_id} is not installed"));
        }
        assert!(log_id.index > node.applied.index, "the state machine goes back to {log_id}");
        (node.applied, node.state) = (log_id, decode(&node.disk.files[&log_id]));
        self.tell(format!("  n{id} decides: {log_id} is installed"));
        self.input(id, |raft, now| raft.applied(now, log_id.index));
    }

    fn work_one(&mut self, id: NodeId) -> bool {
        let node = self.node(id);
        let Some(job) = node.jobs.pop_front() else { return false };
        match job {
            SnapshotJob::WriteChunk { transfer, meta, offset, data, .. } => {
                let outcome = node.disk.store(transfer, &meta, offset, &data);
                let end = offset + data.len() as u64;
                self.tell(format!("  n{id} stores bytes {offset}..{end} of {}", meta.log_id));
                self.input(id, |raft, now| raft.chunk_written(now, transfer, outcome));
            }
            SnapshotJob::AbortTransfer(key) => {
                node.disk.abort(key);
                self.tell(format!("  n{id} drops the stored part of n{}'s transfer", key.from));
            }
            SnapshotJob::Decode(meta) => {
                let is_whole = node.disk.files.contains_key(&meta.log_id);
                self.tell(format!("  n{id} decodes {}", meta.log_id));
                self.input(id, |raft, now| raft.decode_begun(now, meta.log_id));
                self.input(id, |raft, now| raft.snapshot_decoded(now, meta.log_id, is_whole));
            }
            SnapshotJob::Discard(log_id) => {
                node.disk.discard(log_id);
                self.tell(format!("  n{id} discards {log_id}"));
            }
            SnapshotJob::Current(log_id) => {
                let install =
                    node.raft.as_ref().map_or(InstallStatus::None, |raft| raft.status().install);
                node.disk.keep_from(log_id, install, 0);
            }
        }
        true
    }

    fn read_chunk_one(&mut self, id: NodeId) -> bool {
        let node = self.node(id);
        let Some(read) = node.chunk_reads.pop_front() else { return false };
        let outcome = node.disk.read_chunk(&read);
        self.input(id, |raft, now| {
            raft.chunk_read(now, read.to, read.transfer, read.offset, outcome)
        });
        true
    }
}

/// A snapshot of the state machine: its commands, one a line.
fn encode(state: &[String]) -> Bytes {
    let mut text = state.join("\n");
    text.push('\n');
    text.into()
}

fn decode(bytes: &Bytes) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}
