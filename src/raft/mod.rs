//! The protocol, pure.

mod config;
mod message;
mod ready;
mod types;

pub use config::RaftConfig;
pub use message::*;
pub use ready::*;
pub use types::*;

/// One peer's protocol state.
#[derive(Clone, Debug)]
pub struct Raft;
#[allow(missing_docs, unused_variables)]
impl Raft {
    pub fn new(config: RaftConfig, recovered: Recovered, now: Micros) -> Raft {
        todo!()
    }
    /// A message from another member.
    pub fn step(&mut self, now: Micros, envelope: Envelope) {
        todo!()
    }
    /// Time has passed.
    pub fn tick(&mut self, now: Micros) {
        todo!()
    }
    /// Appends a command if this node leads and has room.
    pub fn propose(
        &mut self,
        now: Micros,
        stamp_ms: u64,
        data: bytes::Bytes,
    ) -> Result<LogId, Refusal> {
        todo!()
    }
    /// Begins a linearizable read; its ticket comes back in `Ready::reads_confirmed` or `Ready::reads_failed`.
    pub fn read_index(&mut self, now: Micros) -> Result<ReadTicket, Refusal> {
        todo!()
    }
    /// The durable step `seq` of this incarnation is complete (steps complete in order).
    pub fn persisted(&mut self, now: Micros, seq: u64) {
        todo!()
    }
    /// The state machine has applied everything through `index`.
    pub fn applied(&mut self, now: Micros, index: Index) {
        todo!()
    }
    pub fn log_read(&mut self, now: Micros, id: u64, outcome: LogReadOutcome) {
        todo!()
    }
    /// A snapshot is wanted, whatever the triggers say.
    pub fn request_snapshot(&mut self, now: Micros) {
        todo!()
    }
    /// A snapshot made here is published; or (unasked) made by the service.
    pub fn snapshot_taken(&mut self, now: Micros, meta: SnapshotMeta) {
        todo!()
    }
    /// The state machine declined to make the snapshot it was asked for.
    pub fn snapshot_declined(&mut self, now: Micros) {
        todo!()
    }
    pub fn chunk_read(
        &mut self,
        now: Micros,
        to: NodeId,
        transfer: u64,
        offset: u64,
        outcome: ChunkReadOutcome,
    ) {
        todo!()
    }
    pub fn chunk_written(&mut self, now: Micros, transfer: TransferKey, outcome: ChunkWritten) {
        todo!()
    }
    pub fn decode_begun(&mut self, now: Micros, log_id: LogId) {
        todo!()
    }
    /// `ok = false`: the snapshot does not decode; it is dropped.
    pub fn snapshot_decoded(&mut self, now: Micros, log_id: LogId, ok: bool) {
        todo!()
    }
    /// CondInstallSnapshot: the state machine has reached an offered snapshot and asks whether to switch.
    /// Answered in `Ready::decisions`, exactly once.
    pub fn cond_install(&mut self, now: Micros, log_id: LogId) {
        todo!()
    }
    /// A request could not be delivered, as far as the transport knows.
    pub fn undelivered(&mut self, now: Micros, to: NodeId, id: RequestId) {
        todo!()
    }
    /// What is to be done now. Everything handed out once.
    pub fn ready(&mut self) -> Ready {
        todo!()
    }
    pub fn status(&self) -> RaftStatus {
        todo!()
    }
}

/// Why a proposal or read was not taken. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This node does not lead; perhaps that one does.
    NotLeader(Option<NodeId>),
    /// A limit is reached (uncommitted bytes, log bytes), or the leader has not committed in its term yet.
    Busy,
}

/// A peer's protocol state as others may see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftStatus {
    /// The role.
    pub role: Role,
    /// The term.
    pub term: Term,
    /// The leader of the term, if known.
    pub leader: Option<NodeId>,
    /// The log's last entry.
    pub last: LogId,
    /// Last durable index of the own log.
    pub persisted: Index,
    /// Last committed index.
    pub commit: Index,
    /// Last index handed to the apply queue.
    pub handed: Index,
    /// Last applied index.
    pub applied: Index,
    /// The current snapshot's last index.
    pub snapshot: LogId,
    /// The id before the first entry the log still holds.
    pub log_start: LogId,
    /// Bytes in the log.
    pub log_bytes: u64,
    /// What this node is doing with a received snapshot.
    pub install: Option<InstallStatus>,
    /// Set while the node catches up after damage and does not count.
    pub recovering: bool,
    /// Who takes part.
    pub membership: Membership,
    /// What has happened since the node started.
    pub counters: Counters,
}

/// Counts since the start of this incarnation.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Counters {
    /// Elections this node won.
    pub elections_won: u64,
    /// Pre-vote rounds this node began.
    pub campaigns: u64,
    /// Snapshots made here that became current.
    pub snapshots_taken: u64,
    /// Snapshot transfers to a member that reached their end.
    pub snapshots_sent: u64,
    /// Received snapshots accepted for installing (the pending slot was filled).
    pub installs_offered: u64,
    /// Offers granted at CondInstallSnapshot.
    pub installs_granted: u64,
    /// Offers that ended without an install because the node had committed past them.
    pub installs_refused: u64,
    /// Of those: refused before the state machine asked.
    pub installs_withdrawn: u64,
    /// Offers replaced by a newer one before decoding.
    pub installs_superseded: u64,
    /// Snapshots made unnecessary because the log held their last entry (A51).
    pub fast_forwards: u64,
    /// Entries removed from the front of the log behind snapshots.
    pub entries_compacted: u64,
    /// Times own entries were removed because a leader's log differed.
    pub truncations: u64,
    /// The most bytes the log has held.
    pub max_log_bytes: u64,
    /// Messages ignored because they made no sense here.
    pub ignored_messages: u64,
    /// Things that a correct cluster never shows. Anything above 0 is a reason to stop and look.
    pub safety_alarms: u64,
}
