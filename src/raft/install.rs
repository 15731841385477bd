//! Receiving a snapshot and installing it only by agreement with the state machine (A46–A59, B1–B9
//! in `docs/mechanisms.md`).
//!
//! ```text
//!    first chunk       complete      decode begun    state staged    CondInstall       durable
//! None ─────▶ Receiving ─────▶ Received ─────▶ Decoding ─────▶ Offered ─────▶ Granting ─────▶ None
//!   ▲             │ silence        │ newer         │              │
//!   └─────────────┴────────────────┴───────────────┴──────────────┘
//!                 withdrawn: commit ≥ i, or the log gained (i, t)
//! ```
//! The staged state is the snapshot's decoded state, beside the current one. The state machine asks
//! CondInstall when it reaches the offer in its queue; the answer is no if commit ≥ i by then.
//!
//! There is one slot. In every state the same question is asked again: is the snapshot stale
//! (i ≤ commit), or is its last entry in the log anyway (fast-forward)? Only the grant changes this
//! node, in a single handler; all later inputs are checked against the new state. Not here: bytes,
//! files and states, which belong to the snapshotter and the state machine.

use super::core::Raft;
use super::message::{
    Answer, ChunkOutcome, Envelope, FollowerReport, InstallStatus, RequestId, SnapshotAnswer,
    SnapshotChunk,
};
use super::ready::{
    ApplyItem, ChunkWritten, Event, Install, InstallDecision, SnapshotJob, TransferKey,
};
use super::types::{
    COUNT_MAX, Incarnation, Index, LogId, Membership, Micros, NodeId, SnapshotMeta,
};

/// The only slot for an incoming snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum InstallSlot {
    None,
    Receiving(Receiving),
    Received(SnapshotMeta),
    Decoding(SnapshotMeta),
    Offered(SnapshotMeta),
    Granting(SnapshotMeta),
}

/// An incoming transfer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Receiving {
    key: TransferKey,
    meta: SnapshotMeta,
    received_bytes: u64,
    /// The request whose chunk is being stored: it is answered once that is done.
    storing: Option<Storing>,
    pub(super) heard_at: Micros,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Storing {
    from: NodeId,
    incarnation: Incarnation,
    id: RequestId,
    round: u64,
}

impl InstallSlot {
    /// The last index of a complete snapshot that waits for the state machine.
    pub(super) fn pending_index(&self) -> Option<Index> {
        self.pending().map(|meta| meta.log_id.index)
    }

    fn pending(&self) -> Option<&SnapshotMeta> {
        match self {
            InstallSlot::None | InstallSlot::Receiving(_) => None,
            InstallSlot::Received(meta)
            | InstallSlot::Decoding(meta)
            | InstallSlot::Offered(meta)
            | InstallSlot::Granting(meta) => Some(meta),
        }
    }

    /// A complete snapshot that can still be withdrawn.
    fn withdrawable(&self) -> Option<&SnapshotMeta> {
        self.pending().filter(|_| !matches!(self, InstallSlot::Granting(_)))
    }
}

impl Raft {
    pub(super) fn install_status(&self) -> InstallStatus {
        if let (InstallSlot::None, Some(LogId { index, .. })) =
            (&self.install, self.needed_and_undecodable())
        {
            return InstallStatus::Undecodable { index };
        }
        match (&self.install, self.refused_at_commit) {
            (InstallSlot::Receiving(receiving), _) => InstallStatus::Receiving {
                index: receiving.meta.log_id.index,
                bytes: receiving.received_bytes,
            },
            (InstallSlot::None, Some(commit)) => InstallStatus::Refused { commit },
            (InstallSlot::None, None) => InstallStatus::None,
            (slot, _) => InstallStatus::Pending { index: slot.pending_index().unwrap_or_default() },
        }
    }

    /// The last snapshot that this build could not decode, until the entries it covers are
    /// committed here.
    pub(super) fn needed_and_undecodable(&self) -> Option<LogId> {
        self.undecodable.filter(|log_id| log_id.index > self.log.commit())
    }

    // ---- receiving -----------------------------------------------------------------------

    pub(super) fn on_chunk(&mut self, request: &Envelope, chunk: &SnapshotChunk) {
        if let Err(why) = plausible(chunk, request.term) {
            return self.ignore(request, why);
        }
        if let Err(why) = self.hear_leader(request.from) {
            return self.ignore(request, why);
        }
        if chunk.meta.membership != self.membership {
            self.alarm(format!(
                "snapshot {} of node {} has other members: {:?}",
                chunk.meta.log_id, request.from, chunk.meta.membership
            ));
            return self.answer_chunk(request, chunk, ChunkOutcome::Unwanted);
        }
        if self.has_no_use_for(&chunk.meta) {
            return self.answer_chunk(request, chunk, ChunkOutcome::Unwanted);
        }
        self.refused_at_commit = None;
        self.receive(request, chunk);
    }

    /// Whether the snapshot is stale (A48, A50) or its last entry is in the log already. In the
    /// second case the entries it covers are committed: the commit index moves there without an
    /// install (A51).
    fn has_no_use_for(&mut self, meta: &SnapshotMeta) -> bool {
        if meta.log_id.index <= self.log.commit() {
            self.compare_with_committed(meta.log_id);
            return true;
        }
        if !self.log.holds(meta.log_id) {
            return false;
        }
        self.counters.fast_forwards += 1;
        self.log.commit_to(meta.log_id.index);
        self.agreement.agree(meta.log_id.index, self.log.last_index());
        self.withdraw_overtaken();
        true
    }

    /// A snapshot and a committed entry at one index must have the same term (interleaving (c)).
    fn compare_with_committed(&mut self, log_id: LogId) {
        let own = self.log.term_at(log_id.index).map(|term| LogId::new(term, log_id.index));
        if let Some(own) = own.filter(|own| *own != log_id) {
            self.alarm(format!("a snapshot ends with {log_id}, and {own} is committed here"));
        }
    }

    fn receive(&mut self, request: &Envelope, chunk: &SnapshotChunk) {
        let key = TransferKey {
            from: request.from,
            incarnation: request.incarnation,
            transfer: chunk.transfer,
        };
        match &self.install {
            InstallSlot::Receiving(receiving) if receiving.key == key => {
                self.receive_more(request, chunk)
            }
            // A late chunk of an earlier transfer of the same incarnation of the same leader.
            InstallSlot::Receiving(Receiving { key: current, .. })
                if current.from == key.from
                    && current.incarnation == key.incarnation
                    && current.transfer > key.transfer =>
            {
                self.answer_chunk(request, chunk, ChunkOutcome::Unwanted);
            }
            InstallSlot::Receiving(_) | InstallSlot::None if chunk.offset != 0 => {
                self.answer_chunk(request, chunk, ChunkOutcome::Continue { offset: 0 });
            }
            InstallSlot::Receiving(receiving) => {
                let abandoned = receiving.key;
                self.abandon(abandoned);
                self.begin_receiving(request, chunk, key);
            }
            InstallSlot::None => self.begin_receiving(request, chunk, key),
            // Decoding has not begun: a newer snapshot replaces this one (B3).
            InstallSlot::Received(waiting)
                if chunk.offset == 0 && chunk.meta.log_id.index > waiting.log_id.index =>
            {
                self.out.snapshots.push(SnapshotJob::Discard(waiting.log_id));
                self.counters.installs_superseded += 1;
                self.begin_receiving(request, chunk, key);
            }
            // A snapshot that is being decoded is finished first. If newer ones could replace it,
            // decoding might never end (SN11).
            _ => self.answer_chunk(request, chunk, ChunkOutcome::Unwanted),
        }
    }

    fn begin_receiving(&mut self, request: &Envelope, chunk: &SnapshotChunk, key: TransferKey) {
        self.install = InstallSlot::Receiving(Receiving {
            key,
            meta: chunk.meta.clone(),
            received_bytes: 0,
            storing: None,
            heard_at: self.now,
        });
        self.receive_more(request, chunk);
    }

    /// Handles a chunk of the current transfer. Only the next one is stored. If it arrives again
    /// while it is being stored, the later request gets the final answer.
    fn receive_more(&mut self, request: &Envelope, chunk: &SnapshotChunk) {
        let now = self.now;
        let InstallSlot::Receiving(receiving) = &mut self.install else { return };
        if chunk.meta != receiving.meta {
            return self.ignore(request, "a piece of another snapshot in the same transfer");
        }
        receiving.heard_at = now;
        let offset = receiving.received_bytes;
        if chunk.offset != offset {
            return self.answer_chunk(request, chunk, ChunkOutcome::Continue { offset });
        }
        let storing = Storing {
            from: request.from,
            incarnation: request.incarnation,
            id: request.id,
            round: chunk.round,
        };
        let key = receiving.key;
        match receiving.storing.replace(storing) {
            Some(earlier) => {
                self.answer_stored(&earlier, key.transfer, ChunkOutcome::Continue { offset })
            }
            None => self.out.snapshots.push(SnapshotJob::WriteChunk {
                transfer: key,
                meta: chunk.meta.clone(),
                offset,
                data: chunk.data.clone(),
                crc: chunk.crc,
            }),
        }
    }

    /// A chunk of a [`SnapshotJob::WriteChunk`] has been stored, or does not verify.
    pub fn chunk_written(&mut self, now: Micros, transfer: TransferKey, outcome: ChunkWritten) {
        self.input(now, |raft| raft.on_chunk_written(transfer, outcome));
    }

    fn on_chunk_written(&mut self, transfer: TransferKey, outcome: ChunkWritten) {
        let InstallSlot::Receiving(receiving) = &mut self.install else {
            return self.discard_unexpected(transfer, outcome);
        };
        if receiving.key != transfer {
            return self.discard_unexpected(transfer, outcome);
        }
        let (storing, meta) = (receiving.storing.take(), receiving.meta.clone());
        receiving.heard_at = self.now;
        let answer = match outcome {
            ChunkWritten::Partial(offset) => {
                receiving.received_bytes = offset;
                ChunkOutcome::Continue { offset }
            }
            ChunkWritten::Corrupt => {
                self.install = InstallSlot::None;
                ChunkOutcome::Corrupt
            }
            ChunkWritten::Complete => {
                self.complete(&meta);
                ChunkOutcome::Continue { offset: meta.size_bytes }
            }
        };
        if let Some(storing) = storing {
            self.answer_stored(&storing, transfer.transfer, answer);
        }
    }

    /// A chunk of a transfer that was given up meanwhile was stored all the same.
    fn discard_unexpected(&mut self, transfer: TransferKey, outcome: ChunkWritten) {
        if outcome != ChunkWritten::Corrupt {
            self.out.snapshots.push(SnapshotJob::AbortTransfer(transfer));
        }
    }

    /// The whole snapshot is here, verified and published under its log id.
    fn complete(&mut self, meta: &SnapshotMeta) {
        self.install = InstallSlot::None;
        if self.has_no_use_for(meta) {
            self.discard_file(meta.log_id);
            return;
        }
        self.counters.installs_offered += 1;
        self.install = InstallSlot::Received(meta.clone());
        self.out.snapshots.push(SnapshotJob::Decode(meta.clone()));
    }

    /// A sender that has been silent for an election timeout loses the slot (SN14).
    pub(super) fn expire_receiving(&mut self) {
        let timeout = self.config.election_timeout_max;
        if let InstallSlot::Receiving(receiving) = &self.install
            && receiving.storing.is_none()
            && self.now.saturating_sub(receiving.heard_at) > timeout
        {
            let key = receiving.key;
            self.abandon(key);
        }
    }

    fn abandon(&mut self, key: TransferKey) {
        if let InstallSlot::Receiving(Receiving { storing: Some(storing), .. }) = &self.install {
            let storing = storing.clone();
            self.answer_stored(&storing, key.transfer, ChunkOutcome::Unwanted);
        }
        self.out.snapshots.push(SnapshotJob::AbortTransfer(key));
        self.install = InstallSlot::None;
    }

    fn answer_chunk(&mut self, request: &Envelope, chunk: &SnapshotChunk, outcome: ChunkOutcome) {
        let report = self.report(chunk.round);
        self.answer(
            request,
            Answer::Snapshot(SnapshotAnswer { report, transfer: chunk.transfer, outcome }),
        );
    }

    fn answer_stored(&mut self, storing: &Storing, transfer: u64, outcome: ChunkOutcome) {
        let report: FollowerReport = self.report(storing.round);
        let answer = Answer::Snapshot(SnapshotAnswer { report, transfer, outcome });
        self.answer_to(storing.from, storing.incarnation, storing.id, answer);
    }

    // ---- decoding ------------------------------------------------------------------------

    /// The snapshotter has begun to decode the received snapshot. From now on no newer one replaces
    /// it.
    pub fn decode_begun(&mut self, now: Micros, log_id: LogId) {
        self.input(now, |raft| {
            if let InstallSlot::Received(meta) = &raft.install
                && meta.log_id == log_id
            {
                raft.install = InstallSlot::Decoding(meta.clone());
            }
        });
    }

    /// The received snapshot has been decoded into a staged state, or (`ok = false`) its content is
    /// not what its meta says, and it is dropped. Returns whether the staged state is offered to
    /// the state machine; if not, the caller drops it.
    pub fn snapshot_decoded(&mut self, now: Micros, log_id: LogId, ok: bool) -> bool {
        self.input(now, |raft| raft.on_snapshot_decoded(log_id, ok))
    }

    fn on_snapshot_decoded(&mut self, log_id: LogId, ok: bool) -> bool {
        let meta = match &self.install {
            InstallSlot::Received(meta) | InstallSlot::Decoding(meta) if meta.log_id == log_id => {
                meta.clone()
            }
            // Withdrawn in the meantime; its file has been discarded.
            _ => return false,
        };
        if ok {
            self.install = InstallSlot::Offered(meta.clone());
            self.out.apply.push(ApplyItem::Offer(meta));
        } else {
            self.install = InstallSlot::None;
            self.discard_file(log_id);
            self.alarm(format!("snapshot {log_id} passes its checks and holds another state"));
        }
        ok
    }

    /// The received snapshot is complete, but this build can't decode its content: another build
    /// made it. The cluster is not damaged. This node needs a newer build to continue; it reports
    /// so, and its leader sends it snapshots at increasing intervals.
    pub fn snapshot_undecodable(&mut self, now: Micros, log_id: LogId) {
        self.input(now, |raft| {
            if matches!(
                &raft.install,
                InstallSlot::Received(meta) | InstallSlot::Decoding(meta) if meta.log_id == log_id
            ) {
                raft.install = InstallSlot::None;
                raft.undecodable = Some(log_id);
                raft.discard_file(log_id);
            }
        });
    }

    // ---- the handshake -------------------------------------------------------------------

    /// CondInstallSnapshot: the state machine has reached an offered snapshot and asks whether to
    /// switch to it. Answered in `Ready::decisions`, exactly once.
    pub fn cond_install(&mut self, now: Micros, log_id: LogId) {
        self.input(now, |raft| raft.on_cond_install(log_id));
    }

    fn on_cond_install(&mut self, log_id: LogId) {
        let offered = match &self.install {
            InstallSlot::Offered(meta) if meta.log_id == log_id => Some(meta.clone()),
            _ => None,
        };
        match offered {
            Some(meta) if log_id.index > self.log.commit() => self.grant(meta),
            Some(_) => {
                self.counters.installs_refused += 1;
                self.forget_offer(log_id);
                self.out.decisions.push(InstallDecision { log_id, granted: false });
            }
            // Withdrawn earlier, and counted then.
            None => self.out.decisions.push(InstallDecision { log_id, granted: false }),
        }
    }

    /// Sets the current members.
    pub(super) fn set_membership(&mut self, membership: Membership) {
        let members = membership.all();
        self.others = members.len() - usize::from(members.contains(&self.config.node));
        self.membership = membership;
    }

    /// Log start, commit index and members change now (A56). The durable step follows, and the
    /// answer after it (B6).
    fn grant(&mut self, meta: SnapshotMeta) {
        let keep_suffix = self.log.holds(meta.log_id);
        let covered = meta.log_id.index.min(self.log.last_index());
        self.counters.entries_compacted += covered - self.log.start().index;
        self.log.install(meta.log_id);
        self.agreement.agree(meta.log_id.index, self.log.last_index());
        self.set_membership(meta.membership.clone());
        self.snapshots.replace(meta.clone());
        self.forget_dispatched();
        self.forget_built(meta.log_id);
        let change = self.steps.change();
        change.install = Some(Install { meta: meta.clone(), keep_suffix });
        // The snapshot replaces what this step was to do to the earlier log.
        (change.snapshot, change.truncate_from, change.purge_through) = (None, None, None);
        if !keep_suffix {
            self.steps.drop_appended();
        }
        self.out.events.push(Event::SnapshotInstalled { through: meta.log_id.index });
        self.install = InstallSlot::Granting(meta);
    }

    pub(super) fn on_install_durable(&mut self, meta: SnapshotMeta) {
        let log_id = meta.log_id;
        let granting =
            matches!(&self.install, InstallSlot::Granting(meta) if meta.log_id == log_id);
        assert!(granting, "install of {log_id} durable while {:?}", self.install);
        self.install = InstallSlot::None;
        self.counters.installs_granted += 1;
        self.make_current(meta);
        self.out.decisions.push(InstallDecision { log_id, granted: true });
    }

    // ---- withdrawal ----------------------------------------------------------------------

    /// If the commit index has reached a waiting snapshot, that is withdrawn at once, decoded or
    /// not (A55).
    pub(super) fn withdraw_overtaken(&mut self) {
        let commit = self.log.commit();
        if let Some(meta) = self.install.withdrawable()
            && meta.log_id.index <= commit
        {
            let log_id = meta.log_id;
            self.compare_with_committed(log_id);
            self.withdraw(log_id);
        }
        if let InstallSlot::Receiving(receiving) = &self.install
            && receiving.meta.log_id.index <= commit
        {
            let key = receiving.key;
            self.abandon(key);
        }
    }

    /// If the log has gained the waiting snapshot's last entry, the entries it covers are committed
    /// (A51).
    pub(super) fn fast_forward_if_reached(&mut self) {
        let reached = |meta: &&SnapshotMeta| {
            meta.log_id.index > self.log.commit() && self.log.holds(meta.log_id)
        };
        if let Some(meta) = self.install.withdrawable().filter(reached) {
            let meta = meta.clone();
            self.has_no_use_for(&meta);
        }
    }

    /// A leader needs no snapshot (EL17): its log holds all committed entries.
    pub(super) fn withdraw_install_as_leader(&mut self) {
        if let Some(meta) = self.install.withdrawable() {
            let log_id = meta.log_id;
            self.withdraw(log_id);
        }
        if let InstallSlot::Receiving(receiving) = &self.install {
            let key = receiving.key;
            self.abandon(key);
        }
    }

    fn withdraw(&mut self, log_id: LogId) {
        self.counters.installs_refused += 1;
        self.counters.installs_withdrawn += 1;
        if matches!(self.install, InstallSlot::Offered(_)) {
            self.out.apply.push(ApplyItem::Withdraw(log_id));
        }
        self.forget_offer(log_id);
    }

    fn forget_offer(&mut self, log_id: LogId) {
        self.install = InstallSlot::None;
        self.refused_at_commit = Some(self.log.commit());
        self.discard_file(log_id);
    }

    /// Drops a snapshot's file, unless the current snapshot has the same log id.
    fn discard_file(&mut self, log_id: LogId) {
        if self.snapshot_id() != log_id {
            self.out.snapshots.push(SnapshotJob::Discard(log_id));
        }
    }
}

fn plausible(chunk: &SnapshotChunk, term: u64) -> Result<(), &'static str> {
    let meta = &chunk.meta;
    if meta.log_id.index == 0 || meta.log_id.term == 0 || meta.log_id.term > term {
        return Err("a snapshot of nothing");
    }
    if meta.log_id.index > COUNT_MAX || meta.log_id.term > COUNT_MAX {
        return Err("a snapshot beyond all that a log can hold");
    }
    let end = chunk.offset.checked_add(chunk.data.len() as u64);
    if end.is_none_or(|end| end > meta.size_bytes) || chunk.data.is_empty() {
        return Err("a piece beyond its snapshot");
    }
    Ok(())
}
