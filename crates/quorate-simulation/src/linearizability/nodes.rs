//! The nodes that the search has reached: each once, and none that is dominated by another (Lowe
//! 2017).
//!
//! Two nodes with equal states have the same future if the same operations have been placed. A node
//! that has also placed operations of unknown outcome can do nothing that the other can't: the
//! other may place them later, or never. So it is dropped.

use std::hash::{Hash, Hasher};

use super::slots::Slots;

/// How many of the operations placed last a node remembers, for reports.
pub(super) const TRAIL: usize = 8;
/// Up to this number nodes are compared one by one.
const FEW: usize = 8;
const VACANT: u32 = u32::MAX;

/// A node of the search.
#[derive(Clone, Debug)]
pub(super) struct Node<State> {
    pub(super) state: State,
    /// The operations under way that have already been placed.
    pub(super) placed: Slots,
    /// Whether the operation placed last has an unknown outcome, and no later operation has seen
    /// its effect.
    pub(super) is_guess: bool,
    /// The numbers of the operations placed last, the latest at the end; 0: none.
    pub(super) trail: [u32; TRAIL],
}

impl<State> Node<State> {
    pub(super) fn new(state: State) -> Node<State> {
        Node { state, placed: Slots::default(), is_guess: false, trail: [0; TRAIL] }
    }
}

/// `trail` with one number appended.
pub(super) fn longer(mut trail: [u32; TRAIL], number: u32) -> [u32; TRAIL] {
    trail.rotate_left(1);
    trail[TRAIL - 1] = number;
    trail
}

/// Nodes in the order in which they were reached; none is dominated by an earlier one.
#[derive(Debug)]
pub(super) struct Nodes<State> {
    list: Vec<Node<State>>,
    /// Positions in `list` by hash, probed linearly; empty while there are few.
    table: Vec<u32>,
    hashes: Vec<u64>,
}

impl<State> Default for Nodes<State> {
    fn default() -> Self {
        Nodes { list: Vec::new(), table: Vec::new(), hashes: Vec::new() }
    }
}

impl<State: Clone + Eq + Hash> Nodes<State> {
    pub(super) fn as_slice(&self) -> &[Node<State>] {
        &self.list
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.table.clear();
        self.hashes.clear();
    }

    /// The node, if there is exactly one.
    pub(super) fn only(&mut self) -> Option<&mut Node<State>> {
        if self.list.len() == 1 { self.list.first_mut() } else { None }
    }

    /// Adds the node, unless one dominates it. `optional`: slots of unknown outcome.
    pub(super) fn insert(&mut self, node: Node<State>, optional: &Slots) {
        if self.list.len() < FEW {
            if !self.list.iter().any(|old| is_as_good(old, &node, optional)) {
                self.list.push(node);
            }
            return;
        }
        if self.list.len() * 2 >= self.table.len() {
            self.grow(optional);
        }
        let hash = hash_of(&node, optional);
        let Some(vacant) = self.look_up(&node, hash, optional) else { return };
        self.table[vacant] = self.list.len() as u32;
        self.hashes.push(hash);
        self.list.push(node);
    }

    /// The position for the node; `None` if another one dominates it.
    fn look_up(&self, node: &Node<State>, hash: u64, optional: &Slots) -> Option<usize> {
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        while self.table[at] != VACANT {
            let old = self.table[at] as usize;
            if self.hashes[old] == hash && is_as_good(&self.list[old], node, optional) {
                return None;
            }
            at = (at + 1) & mask;
        }
        Some(at)
    }

    fn grow(&mut self, optional: &Slots) {
        let unhashed = &self.list[self.hashes.len()..];
        self.hashes.extend(unhashed.iter().map(|node| hash_of(node, optional)));
        let size = (self.list.len() * 4).next_power_of_two();
        self.table.clear();
        self.table.resize(size, VACANT);
        for (position, hash) in (0..).zip(&self.hashes) {
            let mut at = *hash as usize & (size - 1);
            while self.table[at] != VACANT {
                at = (at + 1) & (size - 1);
            }
            self.table[at] = position;
        }
    }
}

fn is_as_good<State: Eq>(old: &Node<State>, new: &Node<State>, optional: &Slots) -> bool {
    old.placed.lacks_only(&new.placed, optional) && old.state == new.state
}

/// Equal for nodes one of which could dominate the other.
fn hash_of<State: Hash>(node: &Node<State>, optional: &Slots) -> u64 {
    let mut hasher = Mixer(0);
    node.state.hash(&mut hasher);
    node.placed.hash_without(optional, &mut hasher);
    hasher.finish()
}

/// A hasher that is fast and gives the same hashes in every run. Not for keys from untrusted
/// sources.
struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_is_kept_once_among_many() {
        let optional = Slots::default().with(70);
        let mut nodes = Nodes::default();
        for _ in 0..2 {
            for state in 0..1000_u64 {
                for extra in [1, 70, 3] {
                    let placed = Slots::default().with(extra);
                    nodes.insert(Node { placed, ..Node::new(state) }, &optional);
                }
            }
        }
        assert_eq!(nodes.len(), 3000);
        nodes.insert(Node::new(1000), &optional);
        nodes.insert(Node { placed: Slots::default().with(70), ..Node::new(1000) }, &optional);
        assert_eq!(nodes.len(), 3001, "with an unknown operation used up it is no better");
        nodes.clear();
        nodes.insert(Node::new(5), &optional);
        assert!(nodes.only().is_some());
    }
}
