//! What the simulation uses of the library beyond its public items. Hidden, and without any promise:
//! a service has no use for it. The list is to stay short.
//!
//! | items | use |
//! |---|---|
//! | `SkewedClock`, `skewed` | a node's clock that runs fast, jumps or stands still |
//! | `SimDisk` and its parts, `storage_on`, `inspector_on` | a disk below the real file storage |
//! | `Delays`, `StateWatch`, `Observer` | slow parts of a node; what its parts report to a checker |
//! | `with_raft_status`, `stop_signal`, `busy_until` | a node's state, as it publishes it itself |
//! | `Answers`, `apply_batch`, `decode_reply`, .. | what an apply side or a client has in common |

use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;

use crate::machine::Machine;
use crate::messages::{ApplyLink, BoxedState};
use crate::node::{Config, Handle, Node};
use crate::raft::{LogId, NodeId, RaftConfig, RaftStatus};
use crate::runtime::{Placement, StopSignal};
use crate::storage::StorageError;
use crate::storage::file::inspection::Inspector;
use crate::storage::file::{FileOptions, FileStorage};

pub use crate::actors::applier::{Answers, apply_batch};
pub use crate::actors::{Delays, Observer, StateWatch};
pub use crate::node::decode_reply;
pub use crate::runtime::SkewedClock;
pub use crate::storage::file::recording::State as RecordedState;
pub use crate::storage::file::sim_disk::{Fault, SimDisk, Unsynced};

/// Shows the peer's state as the node last published it.
pub fn with_raft_status<M: Machine, R>(
    handle: &Handle<M>,
    show: impl FnOnce(&RaftStatus) -> R,
) -> R {
    show(&handle.shared.raft.lock())
}

/// What ends the node of this handle.
pub fn stop_signal<M: Machine>(handle: &Handle<M>) -> &Arc<StopSignal> {
    &handle.shared.stop_signal
}

/// What ends the node of this apply side.
pub fn stop_signal_of_link(link: &ApplyLink) -> &Arc<StopSignal> {
    &link._guard.0
}

/// The time at which all work in progress is done, if there is any. Only in virtual time.
pub fn busy_until<M: Machine>(node: &Node<M>) -> Option<Instant> {
    node.busy_until()
}

/// Nodes with this placement have a clock that is skewed as `clock` is.
pub fn skewed(placement: Placement, clock: Arc<SkewedClock>) -> Placement {
    placement.warped(clock)
}

/// The settings of a peer in a node with these settings.
pub fn raft_config(config: &Config, cluster: u64, node: NodeId) -> RaftConfig {
    config.raft(cluster, node)
}

/// The last entry that a decoded state includes, if it was given.
pub fn log_id_of(state: &BoxedState) -> Option<LogId> {
    state.log_id()
}

/// The file storage on a simulated disk.
pub fn storage_on(disk: SimDisk, dir: impl Into<PathBuf>, options: FileOptions) -> FileStorage {
    FileStorage::on(disk, dir, options)
}

/// An inspector of a directory on a simulated disk.
///
/// # Errors
/// As [`Inspector::open`].
pub fn inspector_on(disk: SimDisk, dir: impl Into<PathBuf>) -> Result<Inspector, StorageError> {
    Inspector::on(Arc::new(disk), dir.into(), Arc::new(|_| {}))
}
