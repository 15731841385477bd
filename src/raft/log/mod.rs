//! What a peer knows of its own log, and the entries that it holds in memory.
//!
//! | file | content |
//! |---|---|
//! | `raft_log` | the outline of the whole log, its tail, and the positions in it |
//! | `entries` | contiguous entries, in blocks that logs and messages share |
//! | `paged_queue` | a queue that grows and shrinks by a page |

mod entries;
pub(super) mod paged_queue;
mod raft_log;

pub use entries::{Entries, Iter as EntriesIter};
pub(super) use raft_log::RaftLog;
