//! Tests of the protocol alone: a world of peers in virtual time, and what is told about them; and single peers that
//! are told everything.
//!
//! - `world/`: peers, disks, a network and state machines, event by event from one seed; checks after every event.
//! - `random.rs`: many seeds with every fault the world knows.
//! - `stories.rs`: scripted runs whose course is checked in, in `stories/`.
//! - `hand.rs`, `courses.rs`, `words.rs`: one peer in the hand of a test, what it is led through, and what it hears.
//! - `paper.rs`: one test a rule of the Raft paper's figures 2 and 13.
//! - `elections.rs`, `replication.rs`, `leaders.rs`, `sending.rs`, `snapshots.rs`, `installing.rs`, `interleavings.rs`, `compacting.rs`,
//!   `durability.rs`, `losses.rs`, `reads.rs`: rules and published bugs, one test each, by the ids of the catalogue.
//! - `hostile.rs`, `claims.rs`: messages with numbers that cannot be; claims about a member that no other one confirms.
//! - `rows.rs`: plain rules of log compaction that none of these is about.
//! - `single.rs`: clusters of one, two and four.
//! - `check_quorum.rs`: a leader that keeps its role without a quorum.
//! - `declined.rs`: snapshots that are asked for and do not come.
//! - `joint.rs`: a pair that commits by itself, in joint configurations too.
//! - `costs.rs`: what a turn costs, however much of the log there is.
//! - `log.rs`: the log against a plain model.
//! - `figures.rs`: counts and limits.
//! - `normalized.rs`: what an explorer of states may take for the same.

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
mod stories;
mod words;
mod world;
