//! The records of the other members: what each of them is known to have been and to hold.
//!
//! ```text
//!   message, acknowledgement ─▶ record ─▶ unwritten ── the next durable step ─▶ disk
//! ```
//! No message waits for a record to become durable, so records go to disk with the next step that
//! has another reason.

use std::collections::BTreeMap;

use crate::raft::types::{KnownPeers, Micros, NodeId, PeerRecord};

/// The records of the other members.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) struct PeerRecords {
    known: KnownPeers,
    /// Those that no durable step contains yet.
    unwritten: KnownPeers,
    /// By member: when it last checked the record of it.
    identified: BTreeMap<NodeId, Identified>,
    /// Before this time no further acknowledgements are recorded.
    acknowledgements_at: Micros,
}

/// When a member last checked the record of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Identified {
    /// The place of the first request to the member that it answers knowing of its data loss.
    counts_from: u64,
    /// When its answer arrived.
    at: Micros,
}

impl PeerRecords {
    /// The records that storage recovered.
    pub(in crate::raft) fn new(known: KnownPeers, now: Micros) -> PeerRecords {
        PeerRecords {
            known,
            unwritten: KnownPeers::new(),
            identified: BTreeMap::new(),
            acknowledgements_at: now,
        }
    }

    pub(in crate::raft) fn get(&self, node: NodeId) -> Option<PeerRecord> {
        self.known.get(&node).copied()
    }

    pub(in crate::raft) fn set(&mut self, node: NodeId, record: PeerRecord) {
        self.known.insert(node, record);
        self.unwritten.insert(node, record);
    }

    /// Takes the records that the next durable step contains.
    pub(in crate::raft) fn take_unwritten(&mut self) -> KnownPeers {
        std::mem::take(&mut self.unwritten)
    }

    /// `node` has checked the record of it. Requests from `next_request` on are answered by a
    /// member that knows of its data loss, if it has one.
    pub(in crate::raft) fn identified(&mut self, node: NodeId, next_request: u64, now: Micros) {
        self.identified.insert(node, Identified { counts_from: next_request, at: now });
    }

    /// Whether `node` may have answered the request at this place without knowing of its data loss.
    pub(in crate::raft) fn is_tainted(&self, node: NodeId, place: u64) -> bool {
        self.identified.get(&node).is_some_and(|identified| place < identified.counts_from)
    }

    /// When `node` last checked the record of it.
    pub(in crate::raft) fn identified_at(&self, node: NodeId) -> Option<Micros> {
        self.identified.get(&node).map(|identified| identified.at)
    }

    /// Whether acknowledgements are to be recorded now; then not again before an `interval`.
    pub(in crate::raft) fn are_acknowledgements_due(
        &mut self,
        now: Micros,
        interval: Micros,
    ) -> bool {
        let is_due = now >= self.acknowledgements_at;
        if is_due {
            self.acknowledgements_at = now + interval;
        }
        is_due
    }

    #[cfg(feature = "testing")]
    pub(in crate::raft) fn forget_history(
        &mut self,
        renew: impl Fn(Micros) -> Micros,
        now: Micros,
    ) {
        self.acknowledgements_at = renew(self.acknowledgements_at);
        self.identified.values_mut().for_each(|identified| identified.at = now);
    }
}
