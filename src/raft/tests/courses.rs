//! Common sequences of inputs: they lead a [`Hand`] to the state where a test begins.

use bytes::Bytes;

use super::hand::*;
use crate::raft::*;

impl Hand {
    /// Wins the election of the next term with every vote. Drops what was sent meanwhile; the blank
    /// entry is durable.
    pub(super) fn win(&mut self) {
        self.campaign_for_votes();
        self.disk();
        for request in std::mem::take(&mut self.sent) {
            if self.role() == Role::Candidate {
                self.reply(&request, Answer::Vote { granted: true, held: None });
            }
        }
        assert_eq!(self.role(), Role::Leader);
        self.disk();
    }

    /// Campaigns through the pre-vote, up to the step that makes the own vote durable.
    pub(super) fn campaign_for_votes(&mut self) {
        let campaign_term = self.term() + 1;
        self.campaign();
        for request in std::mem::take(&mut self.sent) {
            self.reply(&request, Answer::PreVote { campaign_term, granted: true });
        }
        assert_eq!(self.term(), campaign_term);
    }

    /// Takes the vote requests; drops everything else that was sent.
    pub(super) fn votes_asked(&mut self) -> Vec<Envelope> {
        let sent = std::mem::take(&mut self.sent);
        let is_vote = |e: &Envelope| matches!(e.body, Body::Request(Request::Vote { .. }));
        sent.into_iter().filter(is_vote).collect()
    }

    pub(super) fn propose(&mut self, data: &'static [u8]) -> Result<LogId, Refusal> {
        self.does(|raft, now| raft.propose(now, 0, Bytes::from_static(data)))
    }

    /// Proposes this many commands, which become durable here.
    pub(super) fn propose_many(&mut self, count: u64) {
        for _ in 0..count {
            self.propose(b"x").expect("room for a proposal");
        }
        self.disk();
    }

    /// Takes the ids of the entries that were dispatched to the apply queue, in order.
    pub(super) fn dispatched(&mut self) -> Vec<LogId> {
        let mut dispatched = Vec::new();
        for item in std::mem::take(&mut self.out.apply) {
            if let ApplyItem::Entries(entries) = item {
                dispatched.extend(entries.iter().map(|entry| entry.log_id));
            }
        }
        dispatched
    }

    /// The state machine has applied everything in its queue.
    pub(super) fn apply(&mut self) {
        while self.status().dispatched > self.status().applied {
            let dispatched = self.status().dispatched;
            self.does(|raft, now| raft.applied(now, dispatched));
        }
        self.out.apply.retain(|item| !matches!(item, ApplyItem::Entries(_)));
    }

    /// Builds a snapshot of what is applied and makes it durable.
    pub(super) fn take_snapshot(&mut self) -> LogId {
        let log_id = self.raft.log.id_at(self.status().applied);
        let meta = meta(log_id, &self.status().membership);
        self.does(|raft, now| raft.snapshot_taken(now, meta));
        self.disk();
        log_id
    }

    /// A whole snapshot from `from` arrives in one chunk and is stored: it waits to be decoded.
    pub(super) fn receive(&mut self, from: NodeId, term: Term, log_id: LogId) {
        let chunk = self.chunk(log_id, 1, 0, 100);
        self.hear(from, term, chunk);
        self.store(ChunkWritten::Complete);
    }

    /// The pending chunk write is done.
    pub(super) fn store(&mut self, outcome: ChunkWritten) {
        let position =
            self.out.snapshots.iter().position(|job| matches!(job, SnapshotJob::WriteChunk { .. }));
        let job = self.out.snapshots.remove(position.expect("a piece to be stored"));
        let SnapshotJob::WriteChunk { transfer, .. } = job else { unreachable!() };
        self.does(|raft, now| raft.chunk_written(now, transfer, outcome));
    }

    /// The received snapshot is decoded and offered to the state machine.
    pub(super) fn decode(&mut self, log_id: LogId) {
        self.does(|raft, now| raft.decode_begun(now, log_id));
        self.does(|raft, now| raft.snapshot_decoded(now, log_id, true));
    }

    /// Receives, decodes and offers a snapshot.
    pub(super) fn offer(&mut self, from: NodeId, term: Term, log_id: LogId) {
        self.receive(from, term, log_id);
        self.decode(log_id);
        let offered = self
            .out
            .apply
            .iter()
            .any(|item| matches!(item, ApplyItem::Offer(meta) if meta.log_id == log_id));
        assert!(offered, "{:?}", self.out.apply);
        self.sent.clear();
    }

    /// The state machine sends CondInstallSnapshot; returns the decision, if there is one already.
    pub(super) fn cond_install(&mut self, log_id: LogId) -> Option<bool> {
        self.does(|raft, now| raft.cond_install(now, log_id));
        self.decision(log_id)
    }

    /// Takes the one decision made since.
    pub(super) fn decision(&mut self, log_id: LogId) -> Option<bool> {
        let decisions = std::mem::take(&mut self.out.decisions);
        assert!(decisions.len() <= 1, "{decisions:?}");
        decisions.first().map(|decision| {
            assert_eq!(decision.log_id, log_id);
            decision.granted
        })
    }

    /// A chunk of a snapshot of 100 bytes.
    pub(super) fn chunk(
        &self,
        log_id: LogId,
        transfer: u64,
        offset: u64,
        length: usize,
    ) -> Request {
        Request::Snapshot(SnapshotChunk {
            meta: meta(log_id, &self.status().membership),
            transfer,
            offset,
            data: vec![7; length].into(),
            crc: 0,
            round: 0,
        })
    }

    /// Answers the pending read of a snapshot's chunk, and takes what is sent then.
    pub(super) fn send_piece(&mut self, length: usize) -> Envelope {
        assert_eq!(self.out.chunk_reads.len(), 1, "{:?}", self.out.chunk_reads);
        let read = self.out.chunk_reads.remove(0);
        let outcome = ChunkReadOutcome::Data { data: vec![7; length].into(), crc: 0 };
        self.does(|raft, now| raft.chunk_read(now, read.to, read.transfer, read.offset, outcome));
        let is_piece = |e: &Envelope| matches!(e.body, Body::Request(Request::Snapshot(_)));
        self.sent_to(read.to).into_iter().find(is_piece).expect("a piece of the snapshot")
    }

    /// The receiver of a chunk answers.
    pub(super) fn reply_piece(
        &mut self,
        piece: &Envelope,
        install: InstallStatus,
        outcome: ChunkOutcome,
    ) {
        let Body::Request(Request::Snapshot(chunk)) = &piece.body else { panic!("{piece:?}") };
        let report = FollowerReport { install, ..report(0, chunk.round) };
        let transfer = chunk.transfer;
        self.reply(piece, Answer::Snapshot(SnapshotAnswer { report, transfer, outcome }));
    }
}
