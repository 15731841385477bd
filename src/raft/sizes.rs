//! How many bytes each entry of the log has.
//!
//! ```text
//! [ .. skipped │ sizes ][ PIECE sizes ][ PIECE sizes ][ sizes ]
//! ```
//! They are kept in pieces, so that a long log grows without copying what it has: doubling one list of a million held up the loop
//! for 30 ms.
//!
//! *What it does not do:* it keeps no sums; those that are asked for often stand in [`super::log`].

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

/// So many sizes are together: 16 KiB.
const PIECE: usize = 4096;

/// A list of sizes in bytes, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Sizes {
    /// All full but the last, which is not empty.
    pieces: VecDeque<Vec<u32>>,
    /// So many of the first piece are gone.
    skipped: usize,
    len: usize,
}

impl Sizes {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn push_back(&mut self, size_bytes: u32) {
        match self.pieces.back_mut() {
            Some(last) if last.len() < PIECE => last.push(size_bytes),
            Some(_) => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(size_bytes);
                self.pieces.push_back(piece);
            }
            None => self.pieces.push_back(vec![size_bytes]),
        }
        self.len += 1;
    }

    pub(super) fn pop_back(&mut self) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        let last = self.pieces.back_mut()?;
        let size_bytes = last.pop();
        if last.is_empty() {
            self.pieces.pop_back();
        }
        self.one_less();
        size_bytes
    }

    pub(super) fn pop_front(&mut self) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        let size_bytes = self.pieces.front()?.get(self.skipped).copied();
        self.skipped += 1;
        if self.skipped == PIECE {
            self.pieces.pop_front();
            self.skipped = 0;
        }
        self.one_less();
        size_bytes
    }

    fn one_less(&mut self) {
        self.len -= 1;
        if self.len == 0 {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Sizes::default();
    }

    /// Those from the position `from` on, in order.
    pub(super) fn iter_from(&self, from: usize) -> impl Iterator<Item = u32> {
        self.slices(from, self.len).flatten().copied()
    }

    /// The sum of those at `from..to`.
    pub(super) fn sum(&self, from: usize, to: usize) -> u64 {
        self.slices(from, to).flatten().map(|&size_bytes| u64::from(size_bytes)).sum()
    }

    fn slices(&self, from: usize, to: usize) -> impl Iterator<Item = &[u32]> {
        let (from, to) = (self.skipped + from, self.skipped + to);
        (from / PIECE..to.div_ceil(PIECE)).map(move |number| {
            let before = number * PIECE;
            &self.pieces[number][from.max(before) - before..to.min(before + PIECE) - before]
        })
    }
}

impl From<Vec<u32>> for Sizes {
    fn from(sizes_bytes: Vec<u32>) -> Sizes {
        let pieces = sizes_bytes.chunks(PIECE).map(<[u32]>::to_vec).collect();
        Sizes { pieces, skipped: 0, len: sizes_bytes.len() }
    }
}

/// Equal are those with the same sizes, wherever their pieces end.
impl PartialEq for Sizes {
    fn eq(&self, other: &Sizes) -> bool {
        self.len == other.len && self.iter_from(0).eq(other.iter_from(0))
    }
}

impl Eq for Sizes {}

impl Hash for Sizes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len.hash(state);
        self.iter_from(0).for_each(|size_bytes| size_bytes.hash(state));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Push(usize),
        PopBack(usize),
        PopFront(usize),
        Clear,
    }

    fn act() -> impl Strategy<Value = Act> {
        let many = || 0..2 * PIECE + 2;
        prop_oneof![
            6 => many().prop_map(Act::Push),
            2 => many().prop_map(Act::PopBack),
            3 => many().prop_map(Act::PopFront),
            1 => Just(Act::Clear),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_a_list(acts in prop::collection::vec(act(), 1..12), at in 0.0..1.0f64, to in 0.0..1.0f64) {
            let (mut sizes, mut model) = (Sizes::default(), VecDeque::new());
            let mut next = 0;
            for act in acts {
                match act {
                    Act::Push(count) => for _ in 0..count {
                        next += 1;
                        sizes.push_back(next);
                        model.push_back(next);
                    },
                    Act::PopBack(count) => for _ in 0..count {
                        prop_assert_eq!(sizes.pop_back(), model.pop_back());
                    },
                    Act::PopFront(count) => for _ in 0..count {
                        prop_assert_eq!(sizes.pop_front(), model.pop_front());
                    },
                    Act::Clear => {
                        sizes.clear();
                        model.clear();
                    }
                }
                prop_assert_eq!((sizes.len(), sizes.is_empty()), (model.len(), model.is_empty()));
                let from = (at * model.len() as f64) as usize;
                let to = from + (to * (model.len() - from) as f64) as usize;
                prop_assert!(sizes.iter_from(from).eq(model.range(from..).copied()));
                let sum: u64 = model.range(from..to).map(|&size| u64::from(size)).sum();
                prop_assert_eq!(sizes.sum(from, to), sum);
                prop_assert!(sizes == Sizes::from(Vec::from(model.clone())), "other pieces, the same list");
            }
        }
    }
}
