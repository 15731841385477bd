//! The protocol's numbers: every limit and time that a user may have an opinion on.

use super::types::{Micros, NodeId};

/// Settings of one peer's protocol. Times in microseconds, sizes in bytes of [`Entry::size_bytes`](super::Entry::size_bytes).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RaftConfig {
    /// This node.
    pub node: NodeId,
    /// The cluster's id; messages of another are ignored.
    pub cluster: u64,
    /// Seeds the randomised timeouts, mixed with `node` and the incarnation (EL08).
    pub seed: u64,
    /// A leader lets every member hear of it this often.
    pub heartbeat_interval: Micros,
    /// An election timeout is drawn from `election_timeout_min ..= election_timeout_max`.
    pub election_timeout_min: Micros,
    /// See `election_timeout_min`.
    pub election_timeout_max: Micros,
    /// A request unanswered for this long counts as lost.
    pub request_timeout: Micros,
    /// What is known not to have arrived, or was answered Busy, is tried again so much later.
    pub retry_interval: Micros,
    /// A leader that no quorum has answered for `election_timeout_min` steps down (EL18). Without
    /// this rule it keeps its role, confirms no reads, and refuses no candidate.
    pub check_quorum: bool,
    /// A proposal waits so long for others, to leave with them; 0: it leaves at once.
    pub batch_delay: Micros,
    /// AppendEntries with less than `append_bytes` leave for one member at least so far apart; 0: as they come.
    pub append_interval: Micros,
    /// A member that can't know of a commit is told so much later, unless something else tells it first; `None`: with
    /// the next entries or heartbeat.
    pub commit_notice: Option<Micros>,
    /// A new leader appends a blank entry, so that earlier terms' entries can commit (LR17). Turn off only if
    /// something else will be proposed.
    pub noop_on_election: bool,
    /// Entries per AppendEntries: at most so many bytes (one entry always goes) ..
    pub append_bytes: usize,
    /// .. and so many entries.
    pub append_entries: usize,
    /// AppendEntries with entries under way to one member: at most so many ..
    pub window_messages: usize,
    /// .. and so many bytes.
    pub window_bytes: usize,
    /// A leader refuses proposals while more than this is appended and not committed.
    pub uncommitted_bytes: usize,
    /// A member takes no further entries, and a leader no proposals, while more than this is appended and not durable.
    pub unpersisted_bytes: usize,
    /// Entries kept in memory behind the persisted and applied ones, to serve members and the state machine.
    pub log_cache_bytes: usize,
    /// Entries handed to the apply queue and not yet reported applied: at most so many bytes (one batch always goes).
    pub apply_queue_bytes: usize,
    /// A snapshot is taken when the log since the last one reaches 90 % of this; `None`: never by size (A16).
    pub snapshot_bytes: Option<usize>,
    /// A snapshot is taken when so many entries were applied since the last one; `None`: never by count (A17).
    pub snapshot_entries: Option<u64>,
    /// A snapshot that a trigger asked for and that was declined or refused is asked for again so
    /// much later; after each further failure the wait is twice as long, up to 64 times this.
    pub snapshot_retry_interval: Micros,
    /// Entries that stay behind a snapshot for members that are a little slow (A27): at most so many ..
    pub trailing_entries: u64,
    /// .. and so many bytes.
    pub trailing_bytes: usize,
    /// A snapshot transfer under way keeps the log behind it, up to so many bytes beyond the trailing ones (B16).
    pub pin_bytes: usize,
    /// Bytes of a snapshot per message. A link has to carry them within `election_timeout_max`.
    pub snapshot_chunk_bytes: usize,
    /// A member whose build can't decode a snapshot is sent the next one after a sixteenth of this, then after twice as long
    /// each time, up to this; at once after a restart of it.
    pub undecodable_retry_max: Micros,
    /// How long a member does not count because of a loss that one other member alone remembers,
    /// if that member is silent and no leader comes. Then the loss is dismissed.
    pub doubt_timeout: Micros,
}

impl RaftConfig {
    /// The most the log is meant to hold: trigger, trailing entries and pin together. `None` if no size triggers a snapshot.
    pub fn log_bytes_max(&self) -> Option<usize> {
        let kept = self.trailing_bytes.saturating_add(self.pin_bytes);
        self.snapshot_bytes.map(|trigger| trigger.saturating_add(kept))
    }

    /// How much *committed* log a node holds before it takes nothing more until it has compacted. Only committed bytes may
    /// count: those go by the node's own applying and compacting, whatever others do, while a limit on uncommitted
    /// ones can leave a quorum full of entries that nobody can commit any more. What is left below
    /// [`log_bytes_max`](Self::log_bytes_max) is for the uncommitted.
    pub fn committed_bytes_max(&self) -> Option<usize> {
        let pin = self.pin_bytes.saturating_sub(self.uncommitted_bytes);
        let kept = self.trailing_bytes.saturating_add(pin);
        self.snapshot_bytes.map(|trigger| trigger.saturating_add(kept))
    }

    /// With so much *committed* log a node is certain to compact, whatever others do: trailing entries are no more than they
    /// may be, so what is behind them reaches the trigger once it is applied.
    pub fn compacting_bytes_min(&self) -> Option<usize> {
        self.snapshot_bytes.map(|trigger| trigger.saturating_add(self.trailing_bytes))
    }
}
