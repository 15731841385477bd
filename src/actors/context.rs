//! State that all actors of one node share: status, metrics and admission.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use crate::machine::SessionCounters;
use crate::messages::{Admission, Reads};
use crate::raft::{Incarnation, Micros, NodeId, RaftStatus};
use crate::runtime::stop_signal::StopSignal;

/// Shared by a node's actors and its handles; still readable after the node has ended.
pub(crate) struct NodeContext {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) stop_signal: Arc<StopSignal>,
    /// The protocol's state as of its last batch.
    pub(crate) raft: Mutex<RaftStatus>,
    /// The session table's counters as of the last applied batch.
    pub(crate) sessions: Mutex<SessionCounters>,
    /// Why this build could not decode the last snapshot, if that has happened.
    pub(crate) needs_newer_build: Mutex<Option<String>>,
    pub(crate) metrics: Metrics,
    pub(crate) proposals: Arc<Admission>,
    pub(crate) reads: Arc<Reads>,
}

/// Counters and maxima of a running node.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) loop_stall_max: AtomicU64,
    pub(crate) install_max: AtomicU64,
    pub(crate) persist_max: AtomicU64,
    pub(crate) log_writes: AtomicU64,
    pub(crate) log_steps: AtomicU64,
    pub(crate) apply_queue_items: AtomicU64,
}

impl Metrics {
    /// Records how long the peer's loop took to get to its work, or how long one batch took.
    pub(crate) fn loop_took(&self, time: Micros) {
        self.loop_stall_max.fetch_max(time, Relaxed);
    }

    /// Records the time from the request to decode a received snapshot to its install decision.
    pub(crate) fn install_took(&self, time: Micros) {
        self.install_max.fetch_max(time, Relaxed);
    }

    /// Records the time from the request for a durable step to its completion.
    pub(crate) fn persist_took(&self, time: Micros) {
        self.persist_max.fetch_max(time, Relaxed);
    }
}

impl NodeContext {
    pub(crate) fn new(
        node: NodeId,
        incarnation: Incarnation,
        stop_signal: Arc<StopSignal>,
        raft: RaftStatus,
        proposals_in_flight: usize,
        reads_in_flight: usize,
    ) -> NodeContext {
        NodeContext {
            node,
            incarnation,
            stop_signal,
            raft: Mutex::new(raft),
            sessions: Mutex::new(SessionCounters::default()),
            needs_newer_build: Mutex::default(),
            metrics: Metrics::default(),
            proposals: Admission::new(proposals_in_flight),
            reads: Reads::new(reads_in_flight),
        }
    }
}
