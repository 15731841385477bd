//! A queue that grows without copying more than a page.
//!
//! ```text
//! oldest │ [ .. page ][ PAGE of them ][ PAGE of them ][ page .. ]
//! ```
//! A list in one piece is copied when it is full: doubling a list of a million numbers held up the
//! loop for 30 ms. This queue adds a page instead. Only the first page grows, so that a short list
//! is small. The oldest element is stored in the queue itself: many queues never have another one,
//! and those allocate nothing.
//!
//! *What it does not do:* it does not remove elements from the middle, or insert at the front.

use std::collections::{VecDeque, vec_deque};
use std::hash::{Hash, Hasher};
use std::iter::{Chain, FlatMap};
use std::ops::Range;
use std::option;

#[cfg(test)]
thread_local! {
    /// The number of elements that `look_at` has visited, for tests of what a turn costs.
    pub(in crate::raft) static SHOWN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// The number of elements in a full page.
const PAGE: usize = 2048;

/// A queue, oldest element first.
#[derive(Clone, Debug)]
pub(super) struct PagedQueue<T> {
    /// `None` if the queue is empty.
    oldest: Option<T>,
    /// All pages but the first and last are full; only a sole page may be empty.
    pages: VecDeque<VecDeque<T>>,
    /// The number of all elements. Stored, because a log needs it in nearly every step, and adding
    /// it up was measurable in the protocol's speed.
    len: usize,
}

impl<T> PagedQueue<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.oldest.is_none()
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.oldest.as_ref()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut T> {
        self.oldest.as_mut()
    }

    pub(super) fn back(&self) -> Option<&T> {
        self.pages.back().and_then(VecDeque::back).or(self.oldest.as_ref())
    }

    pub(super) fn back_mut(&mut self) -> Option<&mut T> {
        self.pages.back_mut().and_then(VecDeque::back_mut).or(self.oldest.as_mut())
    }

    pub(super) fn get(&self, position: usize) -> Option<&T> {
        if position == 0 {
            return self.oldest.as_ref();
        }
        let (page, at) = self.place(position - 1);
        self.pages.get(page)?.get(at)
    }

    pub(super) fn push_back(&mut self, value: T) {
        self.len += 1;
        if self.oldest.is_none() {
            self.oldest = Some(value);
            return;
        }
        match self.pages.back_mut() {
            Some(last) if last.len() < PAGE => last.push_back(value),
            full => {
                let room = if full.is_some() { PAGE } else { 0 };
                let mut page = VecDeque::with_capacity(room);
                page.push_back(value);
                self.pages.push_back(page);
            }
        }
    }

    pub(super) fn pop_back(&mut self) -> Option<T> {
        self.len = self.len.saturating_sub(1);
        let Some(value) = self.pages.back_mut().and_then(VecDeque::pop_back) else {
            return self.oldest.take();
        };
        if self.pages.len() > 1 && self.pages.back().is_some_and(VecDeque::is_empty) {
            self.pages.pop_back();
        }
        Some(value)
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        self.len = self.len.saturating_sub(1);
        let next = self.pages.front_mut().and_then(VecDeque::pop_front);
        if self.pages.len() > 1 && self.pages.front().is_some_and(VecDeque::is_empty) {
            self.pages.pop_front();
        }
        std::mem::replace(&mut self.oldest, next)
    }

    pub(super) fn clear(&mut self) {
        *self = PagedQueue::default();
    }

    pub(super) fn iter(&self) -> Iter<'_, T> {
        let in_page: fn(&VecDeque<T>) -> InPage<'_, T> = VecDeque::iter;
        self.oldest.iter().chain(self.pages.iter().flat_map(in_page))
    }

    /// Calls `look` for each element at `from..to`, in order, until it returns `false`.
    pub(super) fn look_at(
        &self,
        Range { start, end }: Range<usize>,
        mut look: impl FnMut(&T) -> bool,
    ) {
        let mut look = |value: &T| {
            #[cfg(test)]
            SHOWN.set(SHOWN.get() + 1);
            look(value)
        };
        if start == 0 && end > 0 && !self.oldest.as_ref().is_some_and(&mut look) {
            return;
        }
        let mut position = start.max(1);
        let (mut page, mut at) = self.place(position - 1);
        while position < end.min(self.len) {
            let in_page = &self.pages[page];
            let count = (in_page.len() - at).min(end - position);
            if !in_page.range(at..at + count).all(&mut look) {
                return;
            }
            position += count;
            (page, at) = (page + 1, 0);
        }
    }

    /// The number of elements at the front for which `is_before` holds; it must hold for none after
    /// them.
    pub(super) fn partition_point(&self, is_before: impl Fn(&T) -> bool) -> usize {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from + (to - from) / 2;
            match self.get(middle).is_some_and(&is_before) {
                true => from = middle + 1,
                false => to = middle,
            }
        }
        from
    }

    /// The page of the element at position `paged + 1`, and its place in the page.
    fn place(&self, paged: usize) -> (usize, usize) {
        let first = self.pages.front().map_or(0, VecDeque::len);
        match paged.checked_sub(first) {
            None => (0, paged),
            Some(further) => (1 + further / PAGE, further % PAGE),
        }
    }
}

impl<T> Default for PagedQueue<T> {
    fn default() -> PagedQueue<T> {
        PagedQueue { oldest: None, pages: VecDeque::new(), len: 0 }
    }
}

impl<T> FromIterator<T> for PagedQueue<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> PagedQueue<T> {
        let mut list = PagedQueue::default();
        values.into_iter().for_each(|value| list.push_back(value));
        list
    }
}

type InPage<'a, T> = vec_deque::Iter<'a, T>;
type InPages<'a, T> =
    FlatMap<vec_deque::Iter<'a, VecDeque<T>>, InPage<'a, T>, fn(&'a VecDeque<T>) -> InPage<'a, T>>;

/// All elements, oldest first.
pub(super) type Iter<'a, T> = Chain<option::Iter<'a, T>, InPages<'a, T>>;

/// Queues with the same elements are equal, whatever their pages.
impl<T: PartialEq> PartialEq for PagedQueue<T> {
    fn eq(&self, other: &PagedQueue<T>) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<T: Eq> Eq for PagedQueue<T> {}

impl<T: Hash> Hash for PagedQueue<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len().hash(state);
        self.iter().for_each(|value| value.hash(state));
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
        let many = || prop_oneof![0..4usize, 0..2 * PAGE + 2];
        prop_oneof![
            6 => many().prop_map(Act::Push),
            2 => many().prop_map(Act::PopBack),
            3 => many().prop_map(Act::PopFront),
            1 => Just(Act::Clear),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn it_is_a_list(acts in prop::collection::vec(act(), 1..12), at in 0.0..1.0f64) {
            let (mut list, mut model) = (PagedQueue::default(), VecDeque::new());
            let mut next = 0;
            for act in acts {
                match act {
                    Act::Push(count) => for _ in 0..count {
                        next += 1;
                        list.push_back(next);
                        model.push_back(next);
                    },
                    Act::PopBack(count) => for _ in 0..count {
                        prop_assert_eq!(list.pop_back(), model.pop_back());
                    },
                    Act::PopFront(count) => for _ in 0..count {
                        prop_assert_eq!(list.pop_front(), model.pop_front());
                    },
                    Act::Clear => {
                        list.clear();
                        model.clear();
                    }
                }
                prop_assert_eq!((list.len(), list.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!((list.front(), list.back()), (model.front(), model.back()));
                prop_assert_eq!(list.front_mut(), model.front_mut());
                prop_assert_eq!(list.back_mut(), model.back_mut());
                let from = (at * model.len() as f64) as usize;
                prop_assert_eq!(list.get(from), model.get(from));
                let to = from + (at * (model.len() - from) as f64) as usize;
                let mut seen = Vec::new();
                list.look_at(from..to, |&value| {
                    seen.push(value);
                    true
                });
                prop_assert!(seen.iter().eq(model.range(from..to)));
                let most = seen.len().min(3);
                seen.clear();
                list.look_at(from..to, |&value| {
                    seen.push(value);
                    seen.len() < 3
                });
                prop_assert!(seen.iter().eq(model.range(from..from + most)), "it ends when told");
                prop_assert!(list.pages.len() < 2 || list.pages.iter().all(|page| !page.is_empty()));
                prop_assert!(list.iter().rev().eq(model.iter().rev()));
                let before = model.get(from).copied().unwrap_or(next + 1);
                prop_assert_eq!(list.partition_point(|&value| value < before), from);
                prop_assert!(list == model.iter().copied().collect(), "other pages, the same list");
            }
        }
    }
}
