//! Parts that the library's own tests and the simulation share.
//!
//! | file | content |
//! |---|---|
//! | `disk` | a simulated disk for one peer: durable steps, snapshots, losses |
//! | `malformed` | messages with numbers at the ends of their ranges |
//! | `small_config` | settings so small that a few entries reach the limits |

mod disk;
pub mod malformed;
mod small_config;

pub use disk::Disk;
pub use small_config::small_config;

use crate::raft::Micros;

/// A millisecond of virtual time, which is counted in microseconds.
pub const MILLISECOND: Micros = 1_000;
