//! Tier 2: whole nodes with all their actors, on simulated disks, behind a network of bytes, in virtual time on one thread, for
//! truth.
//!
//! ```text
//! clients ──▶ Client, Handle ──▶ nodes ──▶ Network: bytes, late, lost, twice ──▶ nodes
//!                │                 │ └───▶ WatchedStorage ──▶ FileStorage ──▶ SimDisk
//!                ▼                 ▼                 │
//!             Checker            Watch: judge, trace, conditions ◀── acts of the schedule
//! ```
//! | file | idea |
//! |---|---|
//! | `world` | members, their lives and what they stand on |
//! | `watch` | what all parts report to: judge, trace, conditions |
//! | `disk`, `network` | a storage and a transport that report, and follow the conditions |
//! | `clients` | who asks |
//! | `acting` | what happens to a member when an act begins, and when it is over |
//! | `losses` | disks that come back with less |
//! | `room` | disks that have room for the log and none for its spare files |
//! | `own_side`, `contract` | a service's own apply side, and what it is promised |
//! | `config` | limits drawn from the seed |
//! | `run`, `healing` | one seed, from the first event to the last check |
//!
//! *What it does not do:* real time, real threads and real files stay outside; a pause of the whole process is a pause of all of
//! a member's places.

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
