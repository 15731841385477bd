//! Tier 1: the pure protocol, event by event, with a simulated log, network, clock and state machine, for volume.
//!
//! | file | idea |
//! |---|---|
//! | `world` | nodes, their lives, time and turns |
//! | `turns` | a `Ready`, carried out as the actors would |
//! | `agenda`, `clock` | what happens when; a node's own time, which may be wrong |
//! | `disk`, `machine` | a log and snapshots as values; registers with sessions |
//! | `network` | messages on their way |
//! | `clients`, `registers` | who asks, and what they were promised |
//! | `faulty` | what happens when an act begins and ends |
//! | `bare_quorum` | after the faults: a quorum does without the others |
//! | `lone_faults` | then: one fault by itself, in a cluster that is well |
//! | `run` | one seed, from the first event to the last check |
//!
//! *What it does not do:* no actor, no file, no byte on a wire takes part: that is tier 2's.

mod agenda;
mod bare_quorum;
mod clients;
mod clock;
mod disk;
mod faulty;
mod lone_faults;
mod machine;
mod network;
mod registers;
mod run;
mod turns;
mod world;

#[cfg(test)]
pub(crate) use disk::Disk;
pub use run::run;
