//! Whole clusters in virtual time from one seed, under every fault, watched by checkers.
//!
//! | file | idea |
//! |---|---|
//! | `faults`, `schedule`, `conditions` | what can go wrong; when it does; what that amounts to at a moment |
//! | `acting` | a schedule under way |
//! | `lies` | messages with numbers at the ends of their ranges |
//! | `remembered` | which losses of a disk somebody will notice |
//! | `judge` | what must hold at every moment |
//! | `quorums` | which members are a quorum, and how a cluster is founded |
//! | `linearizability` | whether clients saw what one copy could have shown |
//! | `protocol` | tier 1: the pure protocol, for volume |
//! | `cluster` | tier 2: whole nodes, for truth |
//! | `healing` | how long a leader may take to come, afterwards |
//! | `kit`, `request` | the test-kit: a service's own machine in tier 2 |
//! | `shrink` | the shortest schedule that still fails |
//! | `sights`, `outcome` | what was seen in a run; what came of it |
//! | `trace`, `tally` | a run as a number and as lines; many runs summed up |
//! | `random` | chance from a seed |

mod acting;
pub mod cluster;
mod conditions;
mod faults;
mod healing;
mod judge;
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

use crate::raft::Micros;

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
