//! Everything that can be seen of a node from outside.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use serde::{Serialize, Serializer};

use crate::actors::context::NodeContext;
use crate::machine::SessionCounters;
use crate::raft::{Incarnation, NodeId, RaftStatus};
use crate::storage::file::inspection::StartReport;

/// A node's state and counts at some recent moment. Readable for as long as anybody holds a handle, after the node's
/// end too.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// Which start on which storage this is. Serialized in its two parts, `created_at_ms` and `number`:
    /// as one number it exceeds 2^53, and many readers of JSON round what does.
    #[serde(serialize_with = "in_parts")]
    pub incarnation: Incarnation,
    /// Whether it runs. A node that does not run takes nothing.
    pub running: bool,
    /// Why it stopped by itself, if it did.
    pub fatal: Option<String>,
    /// Set while the member needs a snapshot that its build can't decode: why it can't. It votes and keeps its log, but it
    /// does not get on before it is started with a newer build.
    pub needs_newer_build: Option<String>,
    /// The protocol: role, term, positions, counts.
    pub raft: RaftStatus,
    /// Sessions.
    pub sessions: SessionCounters,
    /// Proposals that wait for their reply.
    pub proposals_in_flight: usize,
    /// Reads under way.
    pub reads_in_flight: usize,
    /// Items in the apply queue.
    pub apply_queue_items: u64,
    /// Writes of the log: one fsync each.
    pub log_writes: u64,
    /// Durable steps in those writes; more than writes where several went into one.
    pub log_steps: u64,
    /// The longest time the consensus loop had work and did not get to it, or was busy with one turn, in milliseconds.
    pub max_loop_stall_ms: f64,
    /// The longest time from the order to decode a received snapshot to the decision on it, in milliseconds.
    pub max_install_ms: f64,
    /// The longest time from asking for a durable step to its completion, in milliseconds.
    pub max_persist_ms: f64,
}

impl NodeStatus {
    /// The status of a node as of now.
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
