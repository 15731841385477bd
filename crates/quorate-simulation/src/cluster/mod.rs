//! Tier 2: whole nodes with all their actors, on simulated disks, behind a network of bytes, in
//! virtual time on one thread, so that as much production code as possible is tested.
//!
//! ```text
//! clients ──▶ Client, Handle ──▶ nodes ──▶ Network: bytes, late, lost, twice ──▶ nodes
//!                │                 │ └───▶ WatchedStorage ──▶ FileStorage ──▶ SimDisk
//!                ▼                 ▼                 │
//!             Checker            Watch: invariants, trace, conditions ◀── acts of the schedule
//! ```
//! | file | content |
//! |---|---|
//! | `world` | members, their incarnations and surroundings |
//! | `watch` | receives all reports: invariants, trace, conditions |
//! | `disk`, `network` | a storage and a transport that report, and follow the conditions |
//! | `clients` | the clients |
//! | `acting` | what happens to a member when an act begins, and when it is over |
//! | `losses` | disks that lose data |
//! | `room` | disks with room for the log and none for its preallocated segments |
//! | `own_side`, `contract` | a service's own apply side, and the node's contract with it |
//! | `config` | limits drawn from the seed |
//! | `run`, `healing` | one seed, from the first event to the last check |
//!
//! *What it does not do:* real time, real threads and real files are not simulated; a pause of the
//! process pauses all executors of a member.

mod acting;
mod clients;
mod config;
mod contract;
mod disk;
mod healing;
mod losses;
mod network;
mod own_side;
mod room;
mod run;
#[cfg(test)]
mod tests;
mod watch;
mod world;

pub use run::run;
pub(super) use run::{Scenario, run_scenario};
