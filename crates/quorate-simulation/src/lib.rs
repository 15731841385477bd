//! Simulates whole clusters in virtual time from one seed, under every fault, and checks them.
//!
//! | file | content |
//! |---|---|
//! | `faults`, `schedule`, `conditions` | kinds of faults; their times; their combined effect |
//! | `acting` | the state of a schedule during a run |
//! | `lies` | malformed messages: numbers at the ends of their ranges |
//! | `remembered` | which losses of a disk other members would notice |
//! | `invariants` | the invariant checker: what must hold at every moment |
//! | `quorums` | quorums of a membership; the bootstrap membership of a cluster |
//! | `linearizability` | the checker of client histories |
//! | `protocol` | tier 1: the pure protocol, for many seeds |
//! | `cluster` | tier 2: whole nodes, for realism |
//! | `healing` | how long recovery may take after the faults |
//! | `kit`, `request` | the test-kit: runs a service's own machine in tier 2 |
//! | `shrink` | finds the shortest schedule that still fails |
//! | `sights`, `outcome` | coverage counters of a run; the result of a run |
//! | `trace`, `tally` | a run as a hash and as lines; the summary of many runs |
//! | `random` | random numbers from a seed |

mod acting;
pub mod cluster;
mod conditions;
mod faults;
mod healing;
mod invariants;
mod kit;
pub(crate) mod lies;
pub mod linearizability;
mod outcome;
pub mod protocol;
mod quorums;
mod random;
mod remembered;
mod request;
mod schedule;
mod shrink;
mod sights;
mod tally;
mod trace;

use quorate::raft::Micros;

pub use faults::{FaultKind, Faults, UnknownFault};
pub use kit::{Failure, NoModel, ReadySimulation, Simulation, SimulationOf};
pub use outcome::{Breach, Outcome, Settings};
pub use random::Dice;
pub use request::{Request, Turn};
pub use schedule::{Act, Schedule};
pub use shrink::shrink;
pub use tally::{Report, Summary, Tally};
pub use trace::Line;

/// Virtual time is counted in microseconds.
pub(crate) const MILLISECOND: Micros = 1_000;
const SECOND: Micros = 1_000 * MILLISECOND;

#[cfg(test)]
mod tests;
