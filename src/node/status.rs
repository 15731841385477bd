//! The observable state of a node.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use serde::{Serialize, Serializer};

use crate::actors::context::NodeContext;
use crate::machine::SessionCounters;
use crate::raft::{Incarnation, NodeId, RaftStatus};
use crate::storage::file::inspection::StartReport;

/// A node's state and counters at a recent moment. Available as long as a handle exists, also after
/// the node has stopped.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    /// The id of the node.
    pub node: NodeId,
    /// Identifies this start of the node on its storage. Serialized as two fields, `created_at_ms`
    /// and `number`, because as one number it exceeds 2^53, which many JSON readers round.
    #[serde(serialize_with = "in_parts")]
    pub incarnation: Incarnation,
    /// Whether the node runs. A stopped node accepts no requests.
    pub running: bool,
    /// The reason if the node stopped because of an error.
    pub fatal: Option<String>,
    /// Set while the member needs a snapshot that its build cannot decode: the decoding error. The
    /// member votes and keeps its log, but applies nothing further until it is started with a newer
    /// build.
    pub needs_newer_build: Option<String>,
    /// The protocol: role, term, positions and counters.
    pub raft: RaftStatus,
    /// Session counters.
    pub sessions: SessionCounters,
    /// Number of proposals that wait for their reply.
    pub proposals_in_flight: usize,
    /// Number of reads in progress.
    pub reads_in_flight: usize,
    /// Number of items in the apply queue.
    pub apply_queue_items: u64,
    /// Number of writes to the log; each has one fsync.
    pub log_writes: u64,
    /// Number of durable steps in those writes; higher than `log_writes` if writes contained
    /// several steps.
    pub log_steps: u64,
    /// The longest time that the consensus loop had pending work and did not run, or was busy with
    /// one batch, in milliseconds.
    pub max_loop_stall_ms: f64,
    /// The longest time from requesting the decoding of a received snapshot to deciding on it, in
    /// milliseconds.
    pub max_install_ms: f64,
    /// The longest time from requesting a durable step to its completion, in milliseconds.
    pub max_persist_ms: f64,
}

impl NodeStatus {
    /// The node's current status.
    pub(crate) fn of(node: &NodeContext) -> NodeStatus {
        let raft = node.raft.lock().clone();
        let reason = || node.needs_newer_build.lock().clone();
        let needs_newer_build = raft.undecodable.and_then(|_| reason());
        let millis = |cell: &AtomicU64| cell.load(Relaxed) as f64 / 1000.0;
        NodeStatus {
            node: node.node,
            incarnation: node.incarnation,
            running: node.stop_signal.is_running(),
            fatal: node.stop_signal.fatal(),
            needs_newer_build,
            raft,
            sessions: *node.sessions.lock(),
            proposals_in_flight: node.proposals.under_way(),
            reads_in_flight: node.reads.under_way(),
            apply_queue_items: node.metrics.apply_queue_items.load(Relaxed),
            log_writes: node.metrics.log_writes.load(Relaxed),
            log_steps: node.metrics.log_steps.load(Relaxed),
            max_loop_stall_ms: millis(&node.metrics.loop_stall_max),
            max_install_ms: millis(&node.metrics.install_max),
            max_persist_ms: millis(&node.metrics.persist_max),
        }
    }
}

fn in_parts<S: Serializer>(incarnation: &Incarnation, serializer: S) -> Result<S::Ok, S::Error> {
    StartReport::from(*incarnation).serialize(serializer)
}
