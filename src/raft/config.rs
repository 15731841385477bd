//! Settings of the protocol: limits and times.

use super::types::{Micros, NodeId};

/// Settings of one peer's protocol. Times are in microseconds. Sizes of entries are in bytes, as
/// [`Entry::size_bytes`](super::Entry::size_bytes) counts them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RaftConfig {
    /// This node's id.
    pub node: NodeId,
    /// The cluster's id. Messages of another cluster are ignored.
    pub cluster: u64,
    /// The seed of the randomised timeouts, mixed with `node` and the incarnation.
    pub seed: u64,
    /// A leader sends each member a request at least this often; without entries it is a heartbeat.
    pub heartbeat_interval: Micros,
    /// An election timeout is random in `election_timeout_min ..= election_timeout_max`.
    pub election_timeout_min: Micros,
    /// See `election_timeout_min`.
    pub election_timeout_max: Micros,
    /// A request that is unanswered for this long counts as lost.
    pub request_timeout: Micros,
    /// The wait before a retry if a request was not delivered, or was answered
    /// [`Busy`](super::AppendOutcome::Busy).
    pub retry_interval: Micros,
    /// A leader that no quorum has answered for `election_timeout_min` steps down. Without this
    /// rule it keeps its role, confirms no reads, and refuses no candidate.
    pub check_quorum: bool,
    /// How long a proposal waits for others to be sent with it; 0: it is sent at once.
    pub batch_delay: Micros,
    /// The minimum time between two AppendEntries to one member that hold less than `append_bytes`;
    /// 0: there is none.
    pub append_interval: Micros,
    /// How long after a commit a leader informs a member that can't know of it otherwise, unless
    /// another message does so first. `None`: with the next entries or heartbeat.
    pub commit_notice: Option<Micros>,
    /// A new leader appends a blank entry, so that it can commit entries of earlier terms. Turn it
    /// off only if other entries will be proposed.
    pub noop_on_election: bool,
    /// The maximum bytes of entries in one AppendEntries; at least one entry is sent.
    pub append_bytes: usize,
    /// The maximum number of entries in one AppendEntries.
    pub append_entries: usize,
    /// The maximum number of AppendEntries with entries under way to one member.
    pub window_messages: usize,
    /// No AppendEntries with entries is sent to a member while this many bytes of entries are under
    /// way to it.
    pub window_bytes: usize,
    /// A leader refuses a proposal if more than this would be appended and not committed with it,
    /// unless all earlier entries are committed.
    pub uncommitted_bytes: usize,
    /// A member takes no entries, and a leader no proposal, if more than this would be appended and
    /// not durable with them, unless all earlier entries are durable.
    pub unpersisted_bytes: usize,
    /// The bytes of entries kept in memory, so that members and the state machine are served
    /// without a read. Entries that are not durable stay in memory in any case.
    pub log_cache_bytes: usize,
    /// The apply queue is passed no further entries while this many bytes are in it and not
    /// reported applied. At least one entry is passed at a time.
    pub apply_queue_bytes: usize,
    /// A snapshot is taken when the log since the last one reaches 90 % of this; `None`: never by
    /// size.
    pub snapshot_bytes: Option<usize>,
    /// A snapshot is taken when this many entries were applied since the last one; `None`: never by
    /// count.
    pub snapshot_entries: Option<u64>,
    /// The wait before a snapshot is requested again after one was declined or refused. It doubles
    /// with each further failure, up to 64 times this.
    pub snapshot_retry_interval: Micros,
    /// The maximum number of entries that stay behind a snapshot for members that are a little
    /// slow.
    pub trailing_entries: u64,
    /// The maximum bytes of entries that stay behind a snapshot for such members.
    pub trailing_bytes: usize,
    /// The maximum bytes of entries, beyond the trailing ones, that are retained for a running
    /// snapshot transfer.
    pub pin_bytes: usize,
    /// Bytes of a snapshot per message. A link must be able to carry them within
    /// `election_timeout_max`.
    pub snapshot_chunk_bytes: usize,
    /// The longest wait before a member whose build can't decode a snapshot is sent the next one.
    /// The first wait is a sixteenth of this, and each further one is twice as long. A restart of
    /// the member ends the wait.
    pub undecodable_retry_max: Micros,
    /// How long a member does not count in quorums because of a data loss that only one other
    /// member reports, if that member is silent and no leader comes. Then the loss is dismissed.
    pub doubt_timeout: Micros,
}

impl RaftConfig {
    /// The intended maximum of bytes in the log: the sum of trigger, trailing entries and retained
    /// entries. `None` if snapshots are not taken by size.
    pub fn log_bytes_max(&self) -> Option<usize> {
        let kept = self.trailing_bytes.saturating_add(self.pin_bytes);
        self.snapshot_bytes.map(|trigger| trigger.saturating_add(kept))
    }

    /// The bytes of *committed* log at which a node takes nothing more until it has compacted.
    ///
    /// Only committed bytes may count. They shrink by the node's own applying and compacting,
    /// whatever other members do. A limit on uncommitted bytes could leave a quorum full of entries
    /// that can't be committed any more. The bytes from here to
    /// [`log_bytes_max`](Self::log_bytes_max) are for uncommitted entries.
    pub fn committed_bytes_max(&self) -> Option<usize> {
        let pin = self.pin_bytes.saturating_sub(self.uncommitted_bytes);
        let kept = self.trailing_bytes.saturating_add(pin);
        self.snapshot_bytes.map(|trigger| trigger.saturating_add(kept))
    }

    /// The bytes of *committed* log with which a node certainly compacts, whatever other members
    /// do: trailing entries are within their limit, so the entries behind them reach the trigger
    /// once they are applied.
    pub fn compacting_bytes_min(&self) -> Option<usize> {
        self.snapshot_bytes.map(|trigger| trigger.saturating_add(self.trailing_bytes))
    }
}
