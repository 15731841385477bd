//! The words of the protocol: who, when, where in the log, and what an entry is.
//!
//! Nothing here decides anything; these are the values that [`crate::raft`]'s rules are about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A member of the cluster. Any value is a valid id, 0 too: "nobody" is `None`, never a number.
pub type NodeId = u64;
/// A term: at most one leader each (Raft §5.1). The first election makes term 1.
pub type Term = u64;
/// A position in the log. The first entry ever has index 1; 0 is "before everything".
pub type Index = u64;
/// Microseconds on a monotone clock of this node, from any origin. The protocol only compares them.
pub type Micros = u64;
/// A start of a node: the birth of its directory, and the number of the start on it. Later starts have
/// higher ones. Answers to an earlier one never count.
pub type Incarnation = u64;

/// No term, index, round, transfer, size or offset is higher. A million elections or entries a second would take 146,000
/// years to get here, so what counts on from a number within the range never overflows. A message or a record with a higher
/// one is refused.
pub const COUNT_MAX: u64 = 1 << 62;

/// How many bits of an incarnation count starts.
const START_BITS: u32 = 22;

/// No start ever has a higher number: births are milliseconds, and 42 bits of them last until the year 2109.
const HIGHEST_INCARNATION: Incarnation = Incarnation::MAX - 1;

/// Whether a start can have this number. Others are neither written nor believed, so that counting on never overflows.
pub(crate) const fn is_possible_incarnation(incarnation: Incarnation) -> bool {
    incarnation <= HIGHEST_INCARNATION
}

/// Whether a directory can have come into being at `created_at_ms`, with room for its starts.
pub(crate) const fn is_possible_birth(created_at_ms: u64) -> bool {
    created_at_ms < Incarnation::MAX >> START_BITS
}

/// Whether a member may claim that a start has this number: a directory that is told so can still start again.
pub(crate) const fn is_credible_incarnation(incarnation: Incarnation) -> bool {
    is_possible_birth(created_at_ms(incarnation))
}

/// The incarnation before the first start on a directory that came into being at `created_at_ms`, in milliseconds since 1970.
pub const fn unborn(created_at_ms: u64) -> Incarnation {
    created_at_ms << START_BITS
}

/// Which directory an incarnation belongs to: two with different births never were the same node's lasting memory.
pub const fn created_at_ms(incarnation: Incarnation) -> u64 {
    incarnation >> START_BITS
}

/// The number of the start on its directory, from 1.
pub const fn start_number(incarnation: Incarnation) -> u64 {
    incarnation & ((1 << START_BITS) - 1)
}

/// An entry's identity: two logs that hold the same `LogId` agree on everything up to it (Raft §5.3).
///
/// The order is term first, then index: it is the "more up to date" order of Raft §5.4.1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogId {
    /// The term of the leader that made the entry; 0 only for the base (index 0).
    pub term: Term,
    /// The entry's position.
    pub index: Index,
}

impl LogId {
    /// The id before the first entry: term 0, index 0.
    pub const BASE: LogId = LogId { term: 0, index: 0 };

    /// The id made of `term` and `index`.
    pub const fn new(term: Term, index: Index) -> LogId {
        LogId { term, index }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// The entry a new leader appends so that it can commit what came before (Raft §8). Carries no data.
    Blank,
    /// A command for the state machine; the protocol never looks inside.
    Command,
}

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Where it stands and who made it.
    pub log_id: LogId,
    /// What it is for.
    pub kind: EntryKind,
    /// The leader's wall clock when it appended the entry, in milliseconds since 1970. Only a proposal:
    /// what state machines see as time is made monotone and step-limited when the entry is applied.
    pub stamp_ms: u64,
    /// The command's bytes; empty for [`EntryKind::Blank`].
    pub data: Bytes,
}

impl Entry {
    /// Bytes counted beside the data of each entry wherever a limit is in bytes: its ids, kind,
    /// stamp and length as they stand on disk.
    pub const OVERHEAD_BYTES: usize = 32;

    /// What this entry counts against every limit in bytes.
    pub fn size_bytes(&self) -> usize {
        self.data.len() + Self::OVERHEAD_BYTES
    }
}

/// What a node must never forget: the term it is in and whom it voted for there (Raft figure 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HardState {
    /// The highest term seen.
    pub term: Term,
    /// The candidate that got this node's vote in `term`.
    pub vote: Option<NodeId>,
}

impl HardState {
    /// Whether this can have come after `earlier`: the term never falls, and a vote is never changed within a term.
    pub(crate) fn follows(self, earlier: HardState) -> bool {
        let keeps_vote = earlier.vote.is_none() || self.vote == earlier.vote;
        self.term > earlier.term || self.term == earlier.term && keeps_vote
    }
}

/// Who takes part. Quorums are counted over `voters`, and over `voters_outgoing` as well while it
/// is not empty (joint consensus, Raft §6); nothing changes the lists yet, but every quorum, every
/// snapshot and the base record know both from the first day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Membership {
    /// Members whose votes and acknowledgements count.
    pub voters: BTreeSet<NodeId>,
    /// The old configuration's voters during a joint change; empty otherwise.
    pub voters_outgoing: BTreeSet<NodeId>,
    /// Members that get the log but do not count.
    pub learners: BTreeSet<NodeId>,
}

impl Membership {
    /// A membership of voters alone.
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Membership {
        Membership { voters: voters.into_iter().collect(), ..Membership::default() }
    }

    /// Whether `node` votes, in either configuration.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.voters_outgoing.contains(&node)
    }

    /// Whether `node` takes part at all.
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

/// What a snapshot says about itself (MECHANISMS A3, A24): the last entry it covers and the members then.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// The last entry whose effect is in the snapshot. Its index is at least 1.
    pub log_id: LogId,
    /// The members as of that entry.
    pub membership: Membership,
    /// Length of the whole snapshot as stored and as sent, in bytes.
    pub size_bytes: u64,
}

/// Where a run of entries with one term begins. A log's terms are a few of these, however long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TermRun {
    /// Index of the run's first entry.
    pub first: Index,
    /// The term of all its entries.
    pub term: Term,
}

/// The outline of a stored log: enough for every decision, without the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogOutline {
    /// The id just before the first stored entry: the last purged one, or the base.
    pub start: LogId,
    /// Terms of the stored entries, ascending in both fields; the first run begins at `start.index + 1`.
    /// Empty exactly if there are no entries.
    pub runs: Vec<TermRun>,
    /// [`Entry::size_bytes`] of each stored entry, oldest first; its length is the number of entries.
    pub sizes_bytes: Vec<u32>,
}

impl LogOutline {
    /// The outline of entries stored behind `start`, one after the other.
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

    /// Index of the last stored entry, or `start.index` without any.
    pub fn last_index(&self) -> Index {
        self.start.index + self.sizes_bytes.len() as u64
    }
}

/// Which life of a member this is, and what it lost since others knew it: durable, one record of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Life {
    /// The last start.
    pub incarnation: Incarnation,
    /// The highest incarnation of an earlier life that this member has been told of and accounts for: it knows that
    /// its directory is not the one that others remember (PS20). 0: none.
    pub predecessor: Incarnation,
    /// Something that it may have acknowledged is gone: it neither campaigns nor counts until it has caught up.
    pub loss: Option<Loss>,
    /// The only member that says so, if the loss is known from one member's word alone (decision 019).
    pub doubted_by: Option<NodeId>,
}

/// What a member that lost something still knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Loss {
    /// Its term and vote may be older than those it answered with.
    pub forgot_vote: bool,
    /// The last entry that its log held before. `None`: not known.
    pub last: Option<LogId>,
}

/// What a member remembers of another one, durably, so that it notices if the other comes back with less (PS20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PeerRecord {
    /// Its highest incarnation that was heard of.
    pub incarnation: Incarnation,
    /// The last entry that it is known to have acknowledged.
    pub acknowledged: LogId,
}

impl PeerRecord {
    /// What is remembered of a life that has acknowledged nothing yet.
    pub const fn new(incarnation: Incarnation) -> PeerRecord {
        PeerRecord { incarnation, acknowledged: LogId::BASE }
    }
}

/// What a member remembers of the others.
pub type KnownPeers = BTreeMap<NodeId, PeerRecord>;

/// What storage found at start: everything the protocol needs to go on (MECHANISMS A6, A72).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recovered {
    /// This life, its new incarnation already durable.
    pub life: Life,
    /// Term and vote.
    pub hard_state: HardState,
    /// The members the cluster began with (the base record: index 0, term 0).
    pub base: Membership,
    /// The current snapshot: the one that the log's record names.
    pub snapshot: Option<SnapshotMeta>,
    /// The stored log.
    pub log: LogOutline,
    /// What is remembered of the other members.
    pub known_peers: KnownPeers,
}
