//! The peers of the demo: started, crashed, cut off and slowed down through what the library offers its users.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use quorate::actors::Delays;
use quorate::machine::WordCount;
use quorate::node::{Client, Cluster, Config, Consistency, NodeStatus};
use quorate::raft::{NodeId, Role};
use quorate::storage::file::FileStorage;
use quorate::storage::memory::MemoryStorage;

use super::Failure;
use super::acks::Counts;
use super::options::Options;

/// How one peer stands.
pub struct PeerView {
    pub id: NodeId,
    pub lives: bool,
    pub status: NodeStatus,
}

/// What happened to the peers by the demo's own hand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Harm {
    pub crashes: u64,
    pub restarts: u64,
    pub partitions: u64,
}

/// All peers of the run.
pub struct Members {
    cluster: tokio::sync::Mutex<()>,
    peers: Cluster<WordCount>,
    harm: Mutex<Harm>,
    note: Mutex<String>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
