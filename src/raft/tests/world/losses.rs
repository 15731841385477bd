//! Disks that lose data.

use crate::raft::*;

use super::{Disk, Node, World};

impl World {
    /// The disk of a node that is down loses up to `count` of its last entries.
    pub(in crate::raft::tests) fn lose_tail(&mut self, id: NodeId, count: u64) {
        self.node(id).disk.lose_tail(count);
        self.has_lost(id);
    }

    /// The same, and storage can't tell whether terms and votes were lost too.
    pub(in crate::raft::tests) fn lose_votes(&mut self, id: NodeId, count: u64) {
        let terms = self.random.between(0, 2);
        self.node(id).disk.lose_votes(count, terms);
        self.has_lost(id);
    }

    /// Whether all others would notice an earlier incarnation of `id` than its present one.
    pub(in crate::raft::tests) fn is_remembered(&self, id: NodeId, earlier: Incarnation) -> bool {
        let life = self.nodes[&id].disk.life.incarnation;
        let remembers = |node: &Node| {
            node.disk.known_peers.get(&id).is_some_and(|known| known.incarnation == life)
        };
        earlier + 1 < life && self.nodes.iter().all(|(&other, node)| other == id || remembers(node))
    }

    /// The directory of a node that is down is replaced by an empty one.
    pub(in crate::raft::tests) fn wipe(&mut self, id: NodeId) {
        let empty = self.nodes[&id].disk.wiped();
        self.replace(id, empty);
    }

    /// The directory of a node that is down is replaced by an earlier copy.
    pub(in crate::raft::tests) fn roll_back(&mut self, id: NodeId, copy: Disk) {
        self.replace(id, copy);
    }

    fn replace(&mut self, id: NodeId, disk: Disk) {
        let node = self.node(id);
        (node.disk, node.unnoticed) = (disk, true);
        self.has_lost(id);
    }

    fn has_lost(&mut self, id: NodeId) {
        self.node(id).damaged = true;
        self.lossy = true;
    }
}
