//! Tests of the protocol alone: clusters of peers in virtual time, and single peers driven by hand.
//! Stories with checked-in output are scripts, in `tests/raft`.
//!
//! - `world/`: peers, disks, a network and state machines, event by event from one seed; checks
//!   after every event.
//! - `random.rs`: many seeds with every fault of the world.
//! - `hand.rs`, `courses.rs`, `words.rs`: a scripted peer, common sequences of inputs, and short
//!   constructors.
//! - `paper.rs`: one test for each rule of the Raft paper's figures 2 and 13.
//! - `elections.rs`, `replication.rs`, `leaders.rs`, `sending.rs`, `snapshots.rs`, `installing.rs`,
//!   `interleavings.rs`, `compacting.rs`, `durability.rs`, `losses.rs`, `reads.rs`: rules and
//!   published bugs, one test each, by the ids of the catalogue.
//! - `hostile.rs`, `claims.rs`: malformed messages; claims about a member that no other member
//!   confirms.
//! - `rows.rs`: simple rules of log compaction that the other files do not cover.
//! - `single.rs`: clusters of one, two and four.
//! - `check_quorum.rs`: a leader that keeps its role without a quorum.
//! - `declined.rs`: requested snapshots that the apply side declines or that are refused.
//! - `joint.rs`: two members that commit by themselves, in joint configurations too.
//! - `costs.rs`: the cost of a turn does not depend on the length of the log.
//! - `log.rs`: the log compared with a simple model.
//! - `figures.rs`: counters and derived limits.
//! - `normalized.rs`: which states a model checker may treat as equal.

mod check_quorum;
mod claims;
mod compacting;
mod costs;
mod courses;
mod declined;
mod durability;
mod elections;
mod figures;
mod hand;
mod hostile;
mod installing;
mod interleavings;
mod joint;
mod leaders;
mod log;
mod losses;
#[cfg(feature = "testing")]
mod normalized;
mod paper;
mod pauses;
mod random;
mod reads;
mod replication;
mod rows;
mod sending;
mod single;
mod snapshots;
mod sparing;
mod words;
mod world;
