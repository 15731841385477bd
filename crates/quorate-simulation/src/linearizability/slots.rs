//! Sets of small numbers: which of the operations under way have been placed.
//!
//! An operation has a slot from its invocation to its return; then the slot is free for another
//! one. So the numbers are as small as the concurrency, and the first 64 need no allocation.

use std::hash::{Hash, Hasher};

/// A set of slots.
///
/// Invariant: `rest` does not end in an empty word, so equal sets have equal fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots {
    first: u64,
    rest: Vec<u64>,
}

impl Slots {
    pub(super) fn contains(&self, slot: u32) -> bool {
        self.word(slot as usize / 64) >> (slot % 64) & 1 == 1
    }

    pub(super) fn insert(&mut self, slot: u32) {
        let word = slot as usize / 64;
        if word > self.rest.len() {
            self.rest.resize(word, 0);
        }
        *self.word_mut(word) |= 1 << (slot % 64);
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let word = slot as usize / 64;
        if word <= self.rest.len() {
            *self.word_mut(word) &= !(1 << (slot % 64));
        }
        while self.rest.last() == Some(&0) {
            self.rest.pop();
        }
    }

    /// This set and `slot`.
    pub(super) fn with(&self, slot: u32) -> Slots {
        let mut more = self.clone();
        more.insert(slot);
        more
    }

    /// The lowest slot that is not in the set.
    pub(super) fn first_free(&self) -> u32 {
        let full = self.words().take_while(|bits| *bits == u64::MAX).count();
        full as u32 * 64 + self.word(full).trailing_ones()
    }

    /// How many slots are in the set.
    pub(super) fn len(&self) -> u32 {
        self.words().map(u64::count_ones).sum()
    }

    /// Whether `more` is this set and otherwise only slots of `optional`.
    pub(super) fn lacks_only(&self, more: &Slots, optional: &Slots) -> bool {
        let words = 0..=self.rest.len().max(more.rest.len());
        words.into_iter().all(|word| {
            let (mine, theirs) = (self.word(word), more.word(word));
            mine & !theirs == 0 && theirs & !mine & !optional.word(word) == 0
        })
    }

    /// Hashes the set without the slots of `optional`.
    pub(super) fn hash_without<H: Hasher>(&self, optional: &Slots, hasher: &mut H) {
        for (at, bits) in self.words().enumerate() {
            let bits = bits & !optional.word(at);
            if bits != 0 {
                (at as u64, bits).hash(hasher);
            }
        }
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }

    fn word(&self, at: usize) -> u64 {
        if at == 0 { self.first } else { self.rest.get(at - 1).copied().unwrap_or(0) }
    }

    fn word_mut(&mut self, at: usize) -> &mut u64 {
        if at == 0 { &mut self.first } else { &mut self.rest[at - 1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(members: &[u32]) -> Slots {
        members.iter().fold(Slots::default(), |set, &slot| set.with(slot))
    }

    #[test]
    fn a_set_is_its_members_however_it_was_made() {
        let mut set = slots(&[0, 63, 64, 200]);
        assert!([0, 63, 64, 200].iter().all(|&slot| set.contains(slot)));
        assert!([1, 65, 199, 201, 5000].iter().all(|&slot| !set.contains(slot)));
        assert_eq!((set.len(), set.first_free()), (4, 1));
        set.remove(200);
        set.remove(5000);
        assert_eq!(set, slots(&[64, 63, 0]));
        set.remove(64);
        assert_eq!(set, slots(&[63, 0]));
        assert_eq!(slots(&(0..130).collect::<Vec<_>>()).first_free(), 130);
    }

    #[test]
    fn lacks_only_compares_what_is_not_optional() {
        let optional = slots(&[2, 100]);
        assert!(slots(&[1]).lacks_only(&slots(&[1, 2, 100]), &optional));
        assert!(slots(&[1, 100]).lacks_only(&slots(&[1, 100]), &optional));
        assert!(!slots(&[1]).lacks_only(&slots(&[1, 3]), &optional), "3 must be placed");
        assert!(!slots(&[1, 2]).lacks_only(&slots(&[1]), &optional), "2 has been used up");
    }
}
