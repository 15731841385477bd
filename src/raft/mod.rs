//! The protocol: Raft with log compaction and conditional installs, as one pure, deterministic
//! state machine.
//!
//! ```text
//!   step(message)  tick  propose  read_index  persisted  applied  log_read  cond_install  ...
//!        └──────────┴───────┴─────────┴───┬───────┴─────────┴────────┴──────────┘
//!                                       Raft
//!                                         │ ready()
//!      messages · one durable step · reads · apply items · snapshot jobs · decisions · events
//! ```
//!
//! [`Raft`] takes inputs, each with its time, and returns the work they cause as a [`Ready`].
//! `ready()` may be called after any number of inputs; once per batch of inputs is cheapest. The
//! state machine has no clock, no IO and no threads, and its randomness comes from a seed: the same
//! inputs always give the same outputs. It is `Clone`, comparable and hashable, for model checking.
//!
//! | file | idea |
//! |---|---|
//! | `types`, `message` | positions and entries; messages between members |
//! | `ready`, `config` | the work that the protocol asks for; limits and times |
//! | `core`, `steps` | state, inputs, terms and roles; durable steps and their messages |
//! | `state` | the parts of the state, each with its invariants; none knows the rules |
//! | `random` | the random generator of the crate |
//! | `log` | outline and tail of the log, and shared entries |
//! | `election`, `terms` | pre-vote, vote, becoming leader; what the term of a message means |
//! | `known_peers` | records of peers, and peers that come back with less data |
//! | `recovering` | when a member counts again after a data loss |
//! | `leader`, `follower`, `sending` | both halves of replication; what a leader sends, and when |
//! | `deadline`, `stalls` | when the next timeout is due; a process that did not run for a while |
//! | `transfer`, `install` | sending a snapshot; receiving one, up to CondInstallSnapshot |
//! | `compaction` | local snapshots, purging |
//! | `reads`, `apply` | ReadIndex; passing committed entries to the state machine |
//! | `observation` | the state that an invariant checker reads |
//! | `testing` | with the feature `testing`: what tests and the simulation share |
//! | `normalized` | with the feature `testing`: a peer without its clock, for a model checker |
//!
//! It does not own the log: it keeps the tail and the terms, and requests older entries
//! ([`Ready::reads`]). It does not interpret commands or snapshots. It does not retry towards
//! clients, keep sessions or measure time.
//!
//! A violated invariant of the own state panics at once, in release builds too. An invalid message
//! is ignored, counted ([`Counters::ignored_messages`]) and logged. An event that is impossible in
//! a correct cluster is an alarm ([`Counters::safety_alarms`]).

mod apply;
mod compaction;
mod config;
mod core;
mod deadline;
mod election;
mod follower;
mod install;
mod known_peers;
mod leader;
mod log;
mod message;
#[cfg(feature = "testing")]
mod normalized;
mod observation;
#[doc(hidden)]
pub mod random;
mod reads;
mod ready;
mod recovering;
mod sending;
mod stalls;
mod state;
mod steps;
mod terms;
mod transfer;
mod types;

#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use config::RaftConfig;
pub use core::Raft;
pub use log::{Entries, EntriesIter};
pub use message::*;
pub use observation::{LogIds, Observation, ObservedState};
#[doc(hidden)]
pub use random::Random;
pub use ready::*;
pub use types::*;

/// Why a proposal or a read was refused. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This node is not the leader. The id is that of the leader, if known.
    NotLeader(Option<NodeId>),
    /// A limit is reached (uncommitted bytes, log bytes), or the leader has not committed an entry
    /// of its term yet. For a read also: no quorum answers the leader, and it does not step down
    /// (`check_quorum` is off).
    Busy,
}

/// A peer's protocol state at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RaftStatus {
    /// The role.
    pub role: Role,
    /// The term.
    pub term: Term,
    /// The candidate that got this node's vote in the term.
    pub vote: Option<NodeId>,
    /// The leader of the term, if known.
    pub leader: Option<NodeId>,
    /// The log's last entry.
    pub last: LogId,
    /// Last durable index of the own log.
    pub persisted: Index,
    /// Last committed index.
    pub commit: Index,
    /// Last index passed to the apply queue.
    pub dispatched: Index,
    /// Last applied index.
    pub applied: Index,
    /// The last entry that the current snapshot covers.
    pub snapshot: LogId,
    /// The id of the entry before the first one in the log.
    pub log_start: LogId,
    /// Bytes in the log.
    pub log_bytes: u64,
    /// The state of a received snapshot.
    pub install: InstallStatus,
    /// The last entry covered by a snapshot that this node needs and that its build can't decode.
    /// The node needs a newer build.
    pub undecodable: Option<LogId>,
    /// Whether the node catches up after a data loss and does not count in quorums.
    pub recovering: bool,
    /// Members whose answer a recovering node needs before it can count again.
    pub waits_for: BTreeSet<NodeId>,
    /// The members.
    pub membership: Membership,
    /// Counts since the node started.
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
    /// Snapshot transfers to a member that were completed.
    pub snapshots_sent: u64,
    /// Received snapshots accepted for installing, which fills the pending slot.
    pub installs_offered: u64,
    /// Offered snapshots that were installed (granted at CondInstallSnapshot).
    pub installs_granted: u64,
    /// Offered snapshots that were not installed because the node had committed past them.
    pub installs_refused: u64,
    /// Those of `installs_refused` that were refused before the state machine asked.
    pub installs_withdrawn: u64,
    /// Offered snapshots replaced by a newer one before decoding.
    pub installs_superseded: u64,
    /// Snapshots that were not needed because the log already held their last entry.
    pub fast_forwards: u64,
    /// Entries removed from the front of the log behind snapshots.
    pub entries_compacted: u64,
    /// Snapshots behind which entries were retained for a running transfer.
    pub purges_pinned: u64,
    /// Times that own entries were removed because a leader's log differed.
    pub truncations: u64,
    /// The highest number of bytes that the log has held.
    pub max_log_bytes: u64,
    /// Messages ignored because they were invalid in this state.
    pub ignored_messages: u64,
    /// Events that are impossible in a correct cluster. Investigate any value above 0.
    pub safety_alarms: u64,
}

impl Counters {
    /// Adds the counts of another incarnation or another node. Of maxima the larger one is kept.
    pub fn add(&mut self, other: &Counters) {
        self.elections_won += other.elections_won;
        self.campaigns += other.campaigns;
        self.snapshots_taken += other.snapshots_taken;
        self.snapshots_sent += other.snapshots_sent;
        self.installs_offered += other.installs_offered;
        self.installs_granted += other.installs_granted;
        self.installs_refused += other.installs_refused;
        self.installs_withdrawn += other.installs_withdrawn;
        self.installs_superseded += other.installs_superseded;
        self.fast_forwards += other.fast_forwards;
        self.entries_compacted += other.entries_compacted;
        self.purges_pinned += other.purges_pinned;
        self.truncations += other.truncations;
        self.max_log_bytes = self.max_log_bytes.max(other.max_log_bytes);
        self.ignored_messages += other.ignored_messages;
        self.safety_alarms += other.safety_alarms;
    }
}
