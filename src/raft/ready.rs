//! The work that the protocol asks for: one [`Ready`] after any number of inputs.
//!
//! The fields may be handled in any order and in parallel, with two exceptions that the types
//! express. A message that may be sent only after an fsync is *inside* the durable step
//! ([`Persist::then_send`]). A list that is documented as ordered must be handled in order.

use bytes::Bytes;

use super::log::Entries;
use super::message::Envelope;
use super::types::{HardState, Index, KnownPeers, Life, LogId, NodeId, SnapshotMeta, Term};

/// All work after some inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ready {
    /// Messages that may be sent at once, in this order.
    pub messages: Vec<Envelope>,
    /// One durable step. Steps are written in the order of their `seq`; report each by
    /// [`Raft::persisted`](super::Raft::persisted).
    pub persist: Option<Box<Persist>>,
    /// Entries to read from the log; answer each by [`Raft::log_read`](super::Raft::log_read).
    pub reads: Vec<LogRead>,
    /// Items for the apply queue, to be added behind its present ones in this order.
    pub apply: Vec<ApplyItem>,
    /// Jobs for the snapshotter, in this order.
    pub snapshots: Vec<SnapshotJob>,
    /// Chunks of a snapshot to read for sending; answer each by
    /// [`Raft::chunk_read`](super::Raft::chunk_read).
    pub chunk_reads: Vec<ChunkRead>,
    /// Answers to the state machine's CondInstallSnapshot.
    pub decisions: Vec<InstallDecision>,
    /// Linearizable reads that may run once the state machine has applied their index, in order.
    pub reads_confirmed: Vec<ReadConfirmed>,
    /// Linearizable reads that can't be confirmed any more.
    pub reads_failed: Vec<ReadTicket>,
    /// Events for pending requests and for observers, in order.
    pub events: Vec<Event>,
}

impl Ready {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Ready::default()
    }
}

/// One durable step. It is written as a whole, its fields in order; a crash leaves a prefix of the
/// steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Persist {
    /// The step's number, from 1; its completion carries it. Steps complete in this order.
    pub seq: u64,
    /// The change to make durable. Empty if `then_send` only waits for earlier steps.
    pub change: LogChange,
    /// Messages that may be sent, in this order, once this step and all before it are durable.
    pub then_send: Vec<Envelope>,
}

/// A change of the stable storage, applied as a whole in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogChange {
    /// A new incarnation record: this member lost data, or it has caught up.
    pub life: Option<Life>,
    /// New or changed records of peers.
    pub known_peers: KnownPeers,
    /// New term and vote.
    pub hard_state: Option<HardState>,
    /// An installed snapshot becomes current, and the log is cut to match it.
    pub install: Option<Install>,
    /// A snapshot made here becomes current: its record is written.
    pub snapshot: Option<SnapshotMeta>,
    /// Entries from this index on are removed.
    pub truncate_from: Option<Index>,
    /// Entries to append at the log's end (after the truncation), contiguous.
    pub append: Entries,
    /// Entries up to this one are not needed any more. Never beyond the current snapshot.
    pub purge_through: Option<LogId>,
}

impl LogChange {
    /// Whether there is nothing to make durable.
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

/// The durable step of an accepted install.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Install {
    /// The snapshot, which the snapshot store has already published under its log id.
    pub meta: SnapshotMeta,
    /// `true`: the log held the snapshot's last entry (index and term); the entries behind it stay.
    /// `false`: the whole log is dropped.
    pub keep_suffix: bool,
}

/// What a log read is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadPurpose {
    /// Entries to send to this member.
    Member(NodeId),
    /// Entries to apply here.
    Apply,
}

/// A request to read entries from storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogRead {
    /// The read's number; its answer carries it.
    pub id: u64,
    /// First index wanted.
    pub first: Index,
    /// Last index wanted.
    pub last: Index,
    /// The read ends before the sum of [`Entry::size_bytes`](super::Entry::size_bytes) exceeds
    /// this, but always returns the first entry.
    pub max_bytes: usize,
    /// What the read is for.
    pub purpose: ReadPurpose,
}

/// The result of a log read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogReadOutcome {
    /// Contiguous entries from the first requested one on: at least one.
    Entries(Entries),
    /// The first requested entry has been purged.
    Compacted,
}

/// One item for the apply queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ApplyItem {
    /// Committed entries, durable here, contiguous with the entries queued before.
    Entries(Entries),
    /// A received and decoded snapshot. When the state machine reaches it, it asks
    /// CondInstallSnapshot.
    Offer(SnapshotMeta),
    /// When the state machine reaches this, it returns a view of its state for a snapshot.
    TakeSnapshot,
    /// Withdraws the offer of this snapshot: drop it if the state machine has not reached it yet.
    Withdraw(LogId),
}

/// A job for the snapshotter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotJob {
    /// Store a received chunk; answered by [`Raft::chunk_written`](super::Raft::chunk_written).
    /// Offset 0 begins a transfer and drops the stored part of an unfinished one.
    WriteChunk {
        /// The receiver's number for the transfer.
        transfer: TransferKey,
        /// The snapshot.
        meta: SnapshotMeta,
        /// The chunk's offset in the snapshot, in bytes.
        offset: u64,
        /// The chunk's bytes.
        data: Bytes,
        /// CRC-32C of `data`.
        crc: u32,
    },
    /// Drop the stored part of an unfinished transfer.
    AbortTransfer(TransferKey),
    /// Decode the received snapshot into a staged state. Answered by
    /// [`Raft::decode_begun`](super::Raft::decode_begun) and
    /// [`Raft::snapshot_decoded`](super::Raft::snapshot_decoded).
    Decode(SnapshotMeta),
    /// The received snapshot is not needed any more: stop decoding and drop its file. Only a file
    /// that a transfer brought is dropped: if a snapshot with the same log id was made here since,
    /// that file stays.
    Discard(LogId),
    /// This snapshot is current, and its record is durable: older files beyond the retention may be
    /// removed.
    Current(LogId),
}

/// The id of a transfer at its receiver: unique while any of its answers can be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferKey {
    /// The sending member.
    pub from: NodeId,
    /// The sending member's incarnation.
    pub incarnation: u64,
    /// The sending member's number for the transfer.
    pub transfer: u64,
}

/// The result of storing a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChunkWritten {
    /// Stored. The first missing byte is at this offset.
    Partial(u64),
    /// The last byte is stored; the whole snapshot is verified, durable and published under its log
    /// id.
    Complete,
    /// The received bytes failed verification; nothing of the transfer is kept.
    Corrupt,
}

/// A request to read a chunk of a stored snapshot, to send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChunkRead {
    /// The member that the chunk is for.
    pub to: NodeId,
    /// The transfer.
    pub transfer: u64,
    /// The snapshot.
    pub snapshot: LogId,
    /// The offset of the first byte to read.
    pub offset: u64,
    /// The maximum number of bytes.
    pub max_bytes: usize,
}

/// The result of reading a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkReadOutcome {
    /// Bytes from the offset on, and their CRC-32C. Empty exactly if the snapshot ends there.
    Data {
        /// The bytes.
        data: Bytes,
        /// CRC-32C of `data`.
        crc: u32,
    },
    /// The snapshot does not exist any more, as a newer one replaced it. The transfer starts over
    /// with the current one.
    Gone,
}

/// The peer's answer to CondInstallSnapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstallDecision {
    /// The snapshot that was offered.
    pub log_id: LogId,
    /// `true`: the snapshot is current and durable on this node; switch to its state. `false`:
    /// nothing changed; go on as before.
    pub granted: bool,
}

/// The number of a linearizable read.
pub type ReadTicket = u64;

/// A linearizable read that the cluster confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadConfirmed {
    /// The read.
    pub ticket: ReadTicket,
    /// The read may run once this index is applied.
    pub index: Index,
}

/// An event that other parts of the node need to know.
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
    /// A leader learned of a higher term: requests that wait for a reply here have an unknown
    /// outcome.
    Deposed,
    /// Own entries from this index on were removed from the log here. They may survive on other
    /// members.
    Truncated {
        /// First index removed.
        from: Index,
    },
    /// A snapshot was installed: entries up to this index are covered without having been applied
    /// one by one.
    SnapshotInstalled {
        /// Last index covered.
        through: Index,
    },
    /// Entries up to this one are durable in the own log.
    Persisted(LogId),
    /// A snapshot, made here or installed, is current now: its record is durable.
    SnapshotCurrent(LogId),
    /// A snapshot made here was refused, or is out of date. Its file is removed when the next
    /// snapshot becomes current.
    SnapshotRefused(LogId),
    /// Peers remember a later start of this node than its directory does, so they ignore this one.
    /// The data loss is recorded durably now: restart the node to let it catch up.
    StaleDirectory,
    /// An event that is impossible in a correct cluster. Also counted in `safety_alarms`.
    Alarm(String),
}

/// A node's role in its term.
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
    /// Asks whether it could win an election, without changing any term.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads the term.
    Leader,
}
