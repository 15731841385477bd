//! What the protocol wants done: one [`Ready`] after any number of inputs.
//!
//! The fields may be carried out in any order and in parallel, with two exceptions that are built
//! into the types: what may leave only after an fsync stands *inside* the persist request
//! ([`Persist::then_send`]), and the lists that say so are in order.

use bytes::Bytes;

use super::entries::Entries;
use super::message::Envelope;
use super::types::{HardState, Index, KnownPeers, Life, LogId, NodeId, SnapshotMeta, Term};

/// Everything to be done after some inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ready {
    /// Messages that may leave at once, in this order.
    pub messages: Vec<Envelope>,
    /// One durable step. Steps are carried out in the order of their `seq`, and each is answered by
    /// [`Raft::persisted`](super::Raft::persisted).
    pub persist: Option<Box<Persist>>,
    /// Entries wanted back from the log, each answered by [`Raft::log_read`](super::Raft::log_read).
    pub reads: Vec<LogRead>,
    /// For the apply queue, in this order behind what it holds.
    pub apply: Vec<ApplyItem>,
    /// For the snapshotter, in this order.
    pub snapshots: Vec<SnapshotJob>,
    /// Pieces of a snapshot wanted for sending, each answered by [`Raft::chunk_read`](super::Raft::chunk_read).
    pub chunk_reads: Vec<ChunkRead>,
    /// Answers to the state machine's CondInstallSnapshot.
    pub decisions: Vec<InstallDecision>,
    /// Linearizable reads that may run once the state machine has applied their index, in order.
    pub reads_confirmed: Vec<ReadConfirmed>,
    /// Linearizable reads that can't be confirmed any more.
    pub reads_failed: Vec<ReadTicket>,
    /// What happened, for those who wait and those who watch, in order.
    pub events: Vec<Event>,
}

impl Ready {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Ready::default()
    }
}

/// One durable step: all of it, in the order of the fields, or (after a crash) a prefix of the steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Persist {
    /// Counts steps from 1; the completion names it. Steps complete in this order.
    pub seq: u64,
    /// What is to be made durable. Empty if `then_send` only waits for its turn.
    pub change: LogChange,
    /// Messages that may leave once the step (and all before it) is durable, in this order.
    pub then_send: Vec<Envelope>,
}

/// A change of what is on stable storage, applied as a whole in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogChange {
    /// What this member lost, or that it has caught up.
    pub life: Option<Life>,
    /// What is newly remembered of other members.
    pub known_peers: KnownPeers,
    /// New term and vote.
    pub hard_state: Option<HardState>,
    /// An installed snapshot becomes current and the log is cut to match it.
    pub install: Option<Install>,
    /// A snapshot made here becomes current (its record is written).
    pub snapshot: Option<SnapshotMeta>,
    /// Entries from this index on are removed.
    pub truncate_from: Option<Index>,
    /// Entries appended behind the log's end (after the truncation): contiguous.
    pub append: Entries,
    /// Entries up to this one are no longer needed. Never beyond the current snapshot.
    pub purge_through: Option<LogId>,
}

impl LogChange {
    /// Whether nothing is to be made durable.
    pub fn is_empty(&self) -> bool {
        let LogChange {
            life,
            known_peers,
            hard_state,
            install,
            snapshot,
            truncate_from,
            append,
            purge_through,
        } = self;
        life.is_none()
            && known_peers.is_empty()
            && hard_state.is_none()
            && install.is_none()
            && snapshot.is_none()
            && truncate_from.is_none()
            && append.is_empty()
            && purge_through.is_none()
    }
}

/// The durable step of an accepted install (MECHANISMS A56, B6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Install {
    /// The snapshot, already published by the snapshot store under its log id.
    pub meta: SnapshotMeta,
    /// `true`: the log held the snapshot's (index, term), entries behind it stay (A59).
    /// `false`: the log is dropped whole (A58, SN03).
    pub keep_suffix: bool,
}

/// Who waits for a log read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadPurpose {
    /// Entries to be sent to this member.
    Member(NodeId),
    /// Entries to be applied here.
    Apply,
}

/// Entries wanted back from storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogRead {
    /// The answer names it.
    pub id: u64,
    /// First index wanted.
    pub first: Index,
    /// Last index wanted.
    pub last: Index,
    /// Stop before the sum of [`Entry::size_bytes`](super::Entry::size_bytes) exceeds this; the first entry always comes.
    pub max_bytes: usize,
    /// Who waits.
    pub purpose: ReadPurpose,
}

/// What a log read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogReadOutcome {
    /// Contiguous entries from the first wanted: at least one.
    Entries(Entries),
    /// The first wanted entry has been purged meanwhile.
    Compacted,
}

/// One item for the apply queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ApplyItem {
    /// Committed entries, durable here, contiguous with what was queued before.
    Entries(Entries),
    /// A received and decoded snapshot: when the state machine reaches it, it asks CondInstallSnapshot.
    Offer(SnapshotMeta),
    /// When the state machine reaches this, it hands out a view for a snapshot of its state then (B12).
    TakeSnapshot,
    /// The offer of this snapshot is withdrawn: drop it if it has not been reached yet.
    Withdraw(LogId),
}

/// Work for the snapshotter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotJob {
    /// Store a received piece; answered by [`Raft::chunk_written`](super::Raft::chunk_written). An offset of 0 begins a
    /// transfer and drops what an unfinished one had stored.
    WriteChunk {
        /// The receiver's number for the transfer.
        transfer: TransferKey,
        /// The snapshot.
        meta: SnapshotMeta,
        /// Where the piece begins.
        offset: u64,
        /// The piece.
        data: Bytes,
        /// CRC-32C of `data`.
        crc: u32,
    },
    /// Drop what an unfinished transfer has stored.
    AbortTransfer(TransferKey),
    /// Decode the received snapshot into a shadow state. Answered by
    /// [`Raft::decode_begun`](super::Raft::decode_begun) and [`Raft::snapshot_decoded`](super::Raft::snapshot_decoded).
    Decode(SnapshotMeta),
    /// The received snapshot is not wanted any more: drop its file, decode no further. Only what came in by
    /// a transfer: if a snapshot of the same log id was made here since, that file stays.
    Discard(LogId),
    /// This snapshot is current (its record is durable): older files beyond the retention may go.
    Current(LogId),
}

/// A transfer as its receiver knows it: unique while any answer can be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferKey {
    /// The sending member.
    pub from: NodeId,
    /// Its incarnation.
    pub incarnation: u64,
    /// Its number for the transfer.
    pub transfer: u64,
}

/// How storing a chunk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChunkWritten {
    /// Stored; the first byte still missing is at this offset.
    Partial(u64),
    /// The last byte is stored, the whole verified, durable and published under its log id.
    Complete,
    /// What arrived does not verify; nothing is kept of the transfer.
    Corrupt,
}

/// A piece of a stored snapshot wanted for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkRead {
    /// The member it is for.
    pub to: NodeId,
    /// The transfer.
    pub transfer: u64,
    /// The snapshot.
    pub snapshot: LogId,
    /// First byte wanted.
    pub offset: u64,
    /// At most so many bytes.
    pub max_bytes: usize,
}

/// What reading a chunk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkReadOutcome {
    /// Bytes from the offset on, and their CRC-32C; none exactly at the snapshot's end.
    Data {
        /// The bytes.
        data: Bytes,
        /// CRC-32C of them.
        crc: u32,
    },
    /// The snapshot is not there any more (a newer one replaced it): the transfer starts over with the current one.
    Gone,
}

/// The peer's answer to CondInstallSnapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstallDecision {
    /// The snapshot asked about.
    pub log_id: LogId,
    /// `true`: it is this node's own, durably; switch to it. `false`: nothing changed, go on as before.
    pub granted: bool,
}

/// A linearizable read's number.
pub type ReadTicket = u64;

/// A linearizable read that the cluster confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadConfirmed {
    /// The read.
    pub ticket: ReadTicket,
    /// It may run once this index is applied (RD07).
    pub index: Index,
}

/// What happened, as far as it concerns anybody outside the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The role, the term or the known leader changed.
    RoleChanged {
        /// The role now.
        role: Role,
        /// The term now.
        term: Term,
        /// The leader of `term`, if known.
        leader: Option<NodeId>,
    },
    /// A leader learned of a higher term: whatever waits for a reply here has an unknown outcome (CL02).
    Deposed,
    /// Own entries from this index on were removed from the log here; they may survive elsewhere.
    Truncated {
        /// First index removed.
        from: Index,
    },
    /// An install was accepted: entries up to this index are covered without having been applied one by one (B19).
    SnapshotInstalled {
        /// Last index covered.
        through: Index,
    },
    /// Entries up to this one are durable in the own log.
    Persisted(LogId),
    /// A snapshot, made here or installed, is current now: the record that names it is durable.
    SnapshotCurrent(LogId),
    /// A snapshot build was refused or is out of date (A9, A10): its file goes when the next one becomes current.
    SnapshotRefused(LogId),
    /// Others remember a later start of this node than its directory does, so nobody listens to this one. That it lost
    /// something is durable now: the node must be started again, to catch up.
    StaleDirectory,
    /// Something that a correct cluster never shows (counted in `safety_alarms`).
    Alarm(String),
}

/// What a node is in its term.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub enum Role {
    /// Follows a leader, or waits for one.
    #[default]
    Follower,
    /// Asks whether an election could be won, without touching any term.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}
