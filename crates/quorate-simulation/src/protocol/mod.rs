//! Tier 1: the pure protocol, event by event, with a simulated log, network, clock and state
//! machine, so that many seeds can be run.
//!
//! | file | content |
//! |---|---|
//! | `world` | nodes, their incarnations, time and turns |
//! | `turns` | carries out a `Ready` as the actors would |
//! | `agenda`, `clock` | the event queue; a node's own clock, which may be wrong |
//! | `disk`, `machine` | a log and snapshots as values; registers with sessions |
//! | `network` | messages in flight |
//! | `clients`, `registers` | the clients, and what the registers promise them |
//! | `faulty` | what happens when an act begins and ends |
//! | `bare_quorum` | after the faults: a minimal quorum works without the others |
//! | `lone_faults` | then: one fault by itself, in a healthy cluster |
//! | `run` | one seed, from the first event to the last check |
//!
//! *What it does not do:* no actor, no file and no byte on a wire takes part: that is tier 2.

mod agenda;
mod bare_quorum;
mod clients;
mod clock;
mod faulty;
mod lone_faults;
mod machine;
mod network;
mod registers;
mod run;
mod turns;
mod world;

pub use run::run;
