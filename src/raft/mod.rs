//! The protocol: Raft with log compaction and conditional installs, as one pure, deterministic state machine.
//!
//! ```text
//!   step(message)  tick  propose  read_index  persisted  applied  log_read  cond_install  ...
//!        └──────────┴───────┴─────────┴───┬───────┴─────────┴────────┴──────────┘
//!                                       Raft
//!                                         │ ready()
//!      messages · one durable step · reads · apply items · snapshot jobs · decisions · events
//! ```
//!
//! [`Raft`] takes inputs with the time they come at and answers with what is to be done: a [`Ready`], asked for as
//! often as one likes, best once per batch of inputs. It has no clock, no IO and no threads, and its randomness comes
//! from a seed, so that the same inputs give the same outputs wherever and whenever they are repeated. It is `Clone`,
//! comparable and hashable, for model checking.
//!
//! | file | idea |
//! |---|---|
//! | `types`, `message`, `ready`, `config` | the words: positions and entries, what members say, what is wanted done, the limits |
//! | `core`, `steps` | the state, its inputs, terms and roles; durable steps and the messages behind them |
//! | `log`, `entries`, `paged_queue` | the log's outline and tail; entries in shared blocks; a queue that grows in pages |
//! | `progress`, `quorum`, `random` | a leader's view of a member; majorities; the seed |
//! | `election`, `campaign` | pre-vote, vote, becoming leader; which members a campaign asks |
//! | `known_peers`, `recovering` | records of peers, and peers that come back with less; when a member counts again after a loss |
//! | `leader`, `follower`, `sending` | replication, both halves; what a leader sends, and when |
//! | `deadline`, `stalls` | when the protocol next has something to do by itself; a driver that stood still |
//! | `terms` | how far the word of others raises the own term |
//! | `transfer`, `install` | a snapshot on its way out, and on its way in up to CondInstallSnapshot |
//! | `compaction` | local snapshots, purging |
//! | `reads`, `apply` | ReadIndex; handing over what is committed |
//! | `observation` | what a checker of invariants sees |
//! | `normalized` | with the feature `testing`: a peer without its clock, for a model checker |
//!
//! It does not own the log: it keeps the tail and the terms, and asks for older entries ([`Ready::reads`]). It does not
//! know what a command or a snapshot contains. It does not retry towards clients, keep sessions or measure time.
//!
//! Its own broken invariants stop it at once, in release builds too. Anything odd from the wire is ignored, counted
//! ([`Counters::ignored_messages`]) and logged; what a correct cluster never shows is an alarm
//! ([`Counters::safety_alarms`]).

mod apply;
mod campaign;
mod compaction;
mod config;
mod core;
mod deadline;
mod election;
mod entries;
mod follower;
mod install;
mod known_peers;
mod leader;
mod log;
mod message;
#[cfg(feature = "testing")]
mod normalized;
mod observation;
mod paged_queue;
mod progress;
mod quorum;
mod random;
mod reads;
mod ready;
mod recovering;
mod sending;
mod stalls;
mod steps;
mod terms;
mod transfer;
mod types;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use config::RaftConfig;
pub use core::Raft;
pub use entries::{Entries, Iter as EntriesIter};
pub use message::*;
pub use observation::{LogIds, Observation, ObservedState};
pub use ready::*;
pub use types::*;

/// Why a proposal or read was not taken. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This node does not lead; perhaps that one does.
    NotLeader(Option<NodeId>),
    /// A limit is reached (uncommitted bytes, log bytes), or the leader has not committed in its
    /// term yet, or, of a read, no quorum answers it and it does not step down (`check_quorum` is
    /// off).
    Busy,
}

/// A peer's protocol state as others may see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RaftStatus {
    /// The role.
    pub role: Role,
    /// The term.
    pub term: Term,
    /// The member that has this node's vote in the term.
    pub vote: Option<NodeId>,
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
    pub install: InstallStatus,
    /// The last entry in a snapshot that this node needs and that its build can't decode. It needs a newer build.
    pub undecodable: Option<LogId>,
    /// Set while the node catches up after a loss and does not count.
    pub recovering: bool,
    /// Whose answer a recovering node waits for: it can't count again without (PS20).
    pub waits_for: BTreeSet<NodeId>,
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
    /// Snapshots behind which entries stayed for a transfer under way.
    pub purges_pinned: u64,
    /// Times own entries were removed because a leader's log differed.
    pub truncations: u64,
    /// The most bytes the log has held.
    pub max_log_bytes: u64,
    /// Messages ignored because they made no sense here.
    pub ignored_messages: u64,
    /// Things that a correct cluster never shows. Anything above 0 is a reason to stop and look.
    pub safety_alarms: u64,
}

impl Counters {
    /// Adds another incarnation's or another node's counts; of maxima the larger stays.
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
