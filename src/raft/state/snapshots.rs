//! The current snapshot: the newest one, and the newest one whose record is durable.
//!
//! Invariants: the durable one is never newer than the current one, and neither is ever replaced by
//! an older one. Both are asserted at every change.

use crate::raft::types::{LogId, SnapshotMeta};

/// The current snapshot, if any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::raft) struct Snapshots {
    /// The log's record names it, or will after the step under way.
    current: Option<SnapshotMeta>,
    /// Its record is durable. Only this one can be sent.
    durable: Option<SnapshotMeta>,
}

impl Snapshots {
    /// The state at a node's start.
    pub(in crate::raft) fn new(recovered: Option<SnapshotMeta>) -> Snapshots {
        Snapshots { current: recovered.clone(), durable: recovered }
    }

    /// The last entry of the current snapshot.
    pub(in crate::raft) fn current_id(&self) -> LogId {
        self.current.as_ref().map_or(LogId::BASE, |meta| meta.log_id)
    }

    /// The current snapshot as far as its record is durable.
    pub(in crate::raft) fn durable(&self) -> Option<&SnapshotMeta> {
        self.durable.as_ref()
    }

    /// The last entry of the current snapshot as far as its record is durable.
    pub(in crate::raft) fn durable_id(&self) -> LogId {
        self.durable.as_ref().map_or(LogId::BASE, |meta| meta.log_id)
    }

    /// A newer snapshot is current, once the step being built is durable.
    pub(in crate::raft) fn replace(&mut self, meta: SnapshotMeta) {
        let current = self.current_id();
        assert!(meta.log_id.index > current.index, "snapshot {} after {current}", meta.log_id);
        self.current = Some(meta);
    }

    /// The record that names this snapshot is durable.
    pub(in crate::raft) fn persisted(&mut self, meta: SnapshotMeta) {
        let (current, durable) = (self.current_id(), self.durable_id());
        assert!(
            durable.index < meta.log_id.index && meta.log_id.index <= current.index,
            "snapshot {} is durable after {durable}, with {current} as the current one",
            meta.log_id
        );
        self.durable = Some(meta);
    }
}
