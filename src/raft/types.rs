//! The vocabulary of the protocol: members, terms, log positions, entries, memberships, snapshots,
//! and the records that a member keeps of itself and of its peers.
//!
//! These are plain values; the rules of [`crate::raft`] use them and make all decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The id of a member of the cluster. Any value is valid, 0 too: no member is `None`, never a
/// number.
pub type NodeId = u64;
/// A term. It has at most one leader (Raft §5.1). The first election makes term 1.
pub type Term = u64;
/// A position in the log. The first entry has index 1; 0 is the position before it.
pub type Index = u64;
/// Microseconds on a monotonic clock of this node, from any origin. The protocol only compares
/// them.
pub type Micros = u64;
/// One start of a node: the creation time of its directory, and the number of the start on that
/// directory. Later starts have higher numbers. An answer to an earlier incarnation never counts.
pub type Incarnation = u64;

/// The highest possible term, index, round, transfer, size or offset. At a million elections or
/// entries a second it is reached after 146,000 years, so counting on from a number within the
/// range never overflows. A message or a record with a higher number is refused.
pub const COUNT_MAX: u64 = 1 << 62;

/// The number of bits of an incarnation that count starts.
const START_BITS: u32 = 22;

/// The highest incarnation. Creation times are in milliseconds, and their 42 bits last until the
/// year 2109.
const HIGHEST_INCARNATION: Incarnation = Incarnation::MAX - 1;

/// Whether a start can have this number. Other numbers are neither written nor accepted, so that
/// counting on never overflows.
pub(crate) const fn is_possible_incarnation(incarnation: Incarnation) -> bool {
    incarnation <= HIGHEST_INCARNATION
}

/// Whether a directory can have been created at `created_at_ms` with room for its starts.
pub(crate) const fn is_possible_creation(created_at_ms: u64) -> bool {
    created_at_ms < Incarnation::MAX >> START_BITS
}

/// Whether another member's claim of this incarnation is accepted: a directory that learns of it
/// can still start again.
pub(crate) const fn is_credible_incarnation(incarnation: Incarnation) -> bool {
    is_possible_creation(created_at_ms(incarnation))
}

/// The incarnation before the first start on a directory created at `created_at_ms`, in
/// milliseconds since 1970.
pub const fn unborn(created_at_ms: u64) -> Incarnation {
    created_at_ms << START_BITS
}

/// The creation time of an incarnation's directory, in milliseconds since 1970. Incarnations with
/// different creation times never shared a directory.
pub const fn created_at_ms(incarnation: Incarnation) -> u64 {
    incarnation >> START_BITS
}

/// The number of the start on its directory, from 1.
pub const fn start_number(incarnation: Incarnation) -> u64 {
    incarnation & ((1 << START_BITS) - 1)
}

/// An entry's identity: two logs that hold the same `LogId` are equal up to it (Raft §5.3).
///
/// Ordered by term, then index: the "more up to date" order of Raft §5.4.1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogId {
    /// The term of the leader that made the entry; 0 only for [`LogId::BASE`].
    pub term: Term,
    /// The entry's position.
    pub index: Index,
}

impl LogId {
    /// The id before the first entry: term 0, index 0.
    pub const BASE: LogId = LogId { term: 0, index: 0 };

    /// The id with this `term` and `index`.
    pub const fn new(term: Term, index: Index) -> LogId {
        LogId { term, index }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// The entry that a new leader appends so that it can commit earlier entries (Raft §8). It has
    /// no data.
    Blank,
    /// A command for the state machine. The protocol does not interpret it.
    Command,
}

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Its position, and the term of the leader that made it.
    pub log_id: LogId,
    /// Its kind.
    pub kind: EntryKind,
    /// The leader's wall clock when it appended the entry, in milliseconds since 1970. Only a
    /// proposal: the time that state machines see is made monotonic and limited in its steps when
    /// the entry is applied.
    pub stamp_ms: u64,
    /// The command's bytes; empty for [`EntryKind::Blank`].
    pub data: Bytes,
}

impl Entry {
    /// Bytes counted for each entry in addition to its data, wherever a limit is in bytes: its ids,
    /// kind, stamp and length as stored on disk.
    pub const OVERHEAD_BYTES: usize = 32;

    /// The bytes that this entry counts against every limit in bytes.
    pub fn size_bytes(&self) -> usize {
        self.data.len() + Self::OVERHEAD_BYTES
    }
}

/// The durable state that a node must never lose: its term, and its vote in that term
/// (Raft figure 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HardState {
    /// The highest term seen.
    pub term: Term,
    /// The candidate that got this node's vote in `term`.
    pub vote: Option<NodeId>,
}

impl HardState {
    /// Whether this may follow `earlier`: a term never falls, and a vote never changes within a
    /// term.
    pub(crate) fn follows(self, earlier: HardState) -> bool {
        let keeps_vote = earlier.vote.is_none() || self.vote == earlier.vote;
        self.term > earlier.term || self.term == earlier.term && keeps_vote
    }
}

/// The members. Quorums are counted over `voters`, and over `voters_outgoing` as well while it is
/// not empty (joint consensus, Raft §6). Nothing changes the lists yet, but quorums, snapshots and
/// the base record support both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Membership {
    /// Members whose votes and acknowledgements count in quorums.
    pub voters: BTreeSet<NodeId>,
    /// The old configuration's voters during a joint change; empty otherwise.
    pub voters_outgoing: BTreeSet<NodeId>,
    /// Members that receive the log but do not count in quorums.
    pub learners: BTreeSet<NodeId>,
}

impl Membership {
    /// A membership of these voters, without learners.
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Membership {
        Membership { voters: voters.into_iter().collect(), ..Membership::default() }
    }

    /// Whether `node` is a voter in either configuration.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.voters_outgoing.contains(&node)
    }

    /// Whether `node` is a member.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// All members, ascending, each once.
    pub fn all(&self) -> BTreeSet<NodeId> {
        self.voters.iter().chain(&self.voters_outgoing).chain(&self.learners).copied().collect()
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "voters {:?}", self.voters)?;
        if !self.voters_outgoing.is_empty() {
            write!(f, ", outgoing voters {:?}", self.voters_outgoing)?;
        }
        if !self.learners.is_empty() {
            write!(f, ", learners {:?}", self.learners)?;
        }
        Ok(())
    }
}

/// The description of a snapshot: the last entry it covers, the members as of then, and its size.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// The last entry whose effect is in the snapshot. Its index is at least 1.
    pub log_id: LogId,
    /// The members as of that entry.
    pub membership: Membership,
    /// Length of the whole snapshot as stored and as sent, in bytes.
    pub size_bytes: u64,
}

/// The beginning of a run of entries with the same term. A log of any length has few of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TermRun {
    /// Index of the run's first entry.
    pub first: Index,
    /// The term of all its entries.
    pub term: Term,
}

/// The outline of a stored log: the terms and sizes of its entries, without the entries. The
/// protocol's decisions need no more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogOutline {
    /// The id just before the first stored entry: the last purged entry, or [`LogId::BASE`].
    pub start: LogId,
    /// Terms of the stored entries, ascending in both fields. The first run begins at
    /// `start.index + 1`. Empty exactly if there are no entries.
    pub runs: Vec<TermRun>,
    /// [`Entry::size_bytes`] of each stored entry, oldest first; its length is the number of
    /// entries.
    pub sizes_bytes: Vec<u32>,
}

impl LogOutline {
    /// The outline of contiguous entries stored after `start`.
    pub fn of<'a>(start: LogId, entries: impl IntoIterator<Item = &'a Entry>) -> LogOutline {
        let mut outline = LogOutline { start, ..LogOutline::default() };
        for entry in entries {
            let LogId { term, index } = entry.log_id;
            if outline.runs.last().is_none_or(|run| run.term != term) {
                outline.runs.push(TermRun { first: index, term });
            }
            outline.sizes_bytes.push(entry.size_bytes() as u32);
        }
        outline
    }

    /// Index of the last stored entry; `start.index` if there is none.
    pub fn last_index(&self) -> Index {
        self.start.index + self.sizes_bytes.len() as u64
    }
}

/// A member's incarnation record: its last start, and a data loss that peers know of. Durable, as
/// one record of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Life {
    /// The last start.
    pub incarnation: Incarnation,
    /// The highest earlier incarnation that peers reported and that this member has acknowledged:
    /// its directory does not hold what they remember of it. 0: none.
    pub predecessor: Incarnation,
    /// Set if something that the member may have acknowledged is lost. It neither campaigns nor
    /// counts in quorums until it has caught up.
    pub loss: Option<Loss>,
    /// The only peer that reported the loss, if no other one has confirmed it.
    pub doubted_by: Option<NodeId>,
}

/// What is known of a member's state before its data loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Loss {
    /// Whether its term and vote may be older than those that it has answered with.
    pub forgot_vote: bool,
    /// The last entry that its log held before the loss. `None`: not known.
    pub last: Option<LogId>,
}

/// A member's durable record of a peer. By it the member notices if the peer comes back with less
/// data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PeerRecord {
    /// The highest known incarnation of the peer.
    pub incarnation: Incarnation,
    /// The last entry that the peer is known to have acknowledged.
    pub acknowledged: LogId,
}

impl PeerRecord {
    /// The record of an incarnation that has acknowledged nothing yet.
    pub const fn new(incarnation: Incarnation) -> PeerRecord {
        PeerRecord { incarnation, acknowledged: LogId::BASE }
    }
}

/// A member's records of its peers.
pub type KnownPeers = BTreeMap<NodeId, PeerRecord>;

/// What storage recovered at start: everything that the protocol needs to continue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recovered {
    /// The incarnation record; the new incarnation is durable already.
    pub life: Life,
    /// Term and vote.
    pub hard_state: HardState,
    /// The members that the cluster began with (the base record: index 0, term 0).
    pub base: Membership,
    /// The current snapshot: the one that the log's record names.
    pub snapshot: Option<SnapshotMeta>,
    /// The stored log.
    pub log: LogOutline,
    /// The records of peers.
    pub known_peers: KnownPeers,
}
