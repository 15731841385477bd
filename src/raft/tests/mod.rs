//! Tests of the protocol alone: a world of peers in virtual time, and what is told about them.
//!
//! - `world.rs`: peers, disks, a network and state machines, event by event from one seed; checks after every event.
//! - `random.rs`: many seeds with every fault the world knows.
//! - `paper.rs`: one test a rule of the Raft paper's figures 2 and 13.
//! - `stories.rs`: scripted runs whose course is checked in, in `stories/`.

mod paper;
mod random;
mod single;
mod stories;
mod world;
