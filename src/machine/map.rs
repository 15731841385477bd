//! The persistent hash map used by the provided machines and the sessions.
//!
//! A clone is O(1) and shares everything; later changes copy single tree nodes, and without an
//! outstanding clone they are made in place. It is a hash map because the ordered map of the same
//! crate is three to four times slower per update (360 ns against 100 ns at 10 000 keys). Order is
//! needed only when a view is encoded, outside the hot path, so the entries are sorted there.
//!
//! The hash keys are fixed, so that runs are reproducible. *What it does not do:* it does not
//! defend against keys chosen to have equal hashes; they would share one bucket and make it slow.

use std::hash::{BuildHasherDefault, DefaultHasher, Hash};

/// A map whose clone is O(1) and may be read on another thread.
pub(super) type Map<K, V> = rpds::HashTrieMapSync<K, V, BuildHasherDefault<DefaultHasher>>;

/// An empty map.
pub(super) fn new_map<K: Eq + Hash, V>() -> Map<K, V> {
    Map::new_with_hasher_and_ptr_kind(BuildHasherDefault::default())
}

/// Keys that are mostly distinguished by their first eight bytes, as a number.
pub(super) trait Leading: Ord {
    /// Monotonic in the order of the keys.
    fn leading(&self) -> u64;
}

impl Leading for u64 {
    fn leading(&self) -> u64 {
        *self
    }
}

impl Leading for Box<[u8]> {
    fn leading(&self) -> u64 {
        let (mut first, length) = ([0; 8], self.len().min(8));
        first[..length].copy_from_slice(&self[..length]);
        u64::from_be_bytes(first)
    }
}

/// The entries in the order of their keys, which is the same on all replicas. Temporarily takes 24
/// bytes per entry: with the leading bytes in the array, a comparison accesses the keys themselves,
/// which are scattered in memory, only where those bytes are equal.
pub(super) fn sorted<K: Eq + Hash + Leading, V>(map: &Map<K, V>) -> impl Iterator<Item = (&K, &V)> {
    let mut entries: Vec<_> = map.iter().map(|(key, value)| (key.leading(), key, value)).collect();
    entries.sort_unstable_by_key(|&(leading, key, _)| (leading, key));
    entries.into_iter().map(|(_, key, value)| (key, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_come_in_the_order_of_their_keys(
            keys in proptest::collection::btree_set(proptest::collection::vec(0..3u8, 0..12), 0..40)
        ) {
            let mut map = new_map();
            keys.iter().rev().for_each(|key| map.insert_mut(key.clone().into_boxed_slice(), ()));
            let found: Vec<_> = sorted(&map).map(|(key, ())| key.to_vec()).collect();
            prop_assert_eq!(found, keys.into_iter().collect::<Vec<_>>());
        }
    }
}
