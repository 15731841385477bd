//! Entries in order, shared instead of copied.
//!
//! ```text
//! block  [e e e e e e]  [e e e]  [e]     made once: by proposals, or by a received message
//!            ▲     ▲      ▲ ▲    ▲
//! list       └─────┘──────┘─┘────┘       a range of each block: in the log's tail, a message, a
//!                                        durable step, a batch to apply
//! ```
//! An entry is in a leader's log, in messages to each member, in a durable step and in a batch for
//! the state machine; with all members in one process also in each member's log. All of them share
//! the same blocks. The work for each entry is done once; everything else costs as much as there
//! are blocks. A block lives as long as a list holds one of its entries.
//!
//! *What it does not do:* it does not check that log ids ascend; that is up to the code that makes
//! a list.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter::FlatMap;
use std::ops::{Index, Range};
use std::slice;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::paged_queue::{self, PagedQueue};
use crate::raft::types::Entry;

/// The maximum number of entries in a block made by `push`: one entry keeps its whole block in
/// memory.
const PUSHED_MAX: usize = 512;
/// The number of newest blocks that are tried before a binary search of all.
const NEWEST: usize = 4;

/// Entries in order. A clone or a range shares the entries.
#[derive(Clone, Default)]
pub struct Entries {
    blocks: PagedQueue<Block>,
}

/// A range of shared entries; never empty.
#[derive(Clone)]
struct Block {
    shared: Arc<Vec<Entry>>,
    from: usize,
    to: usize,
    /// The number of entries before this block in the list, plus those dropped at the list's front.
    before: u64,
}

impl Block {
    fn entries(&self) -> &[Entry] {
        &self.shared[self.from..self.to]
    }

    fn iter(&self) -> slice::Iter<'_, Entry> {
        self.entries().iter()
    }

    fn len(&self) -> usize {
        self.to - self.from
    }

    /// The position behind the block's last entry, counted as `before` is.
    fn end(&self) -> u64 {
        self.before + self.len() as u64
    }
}

impl Entries {
    /// An empty list.
    pub fn new() -> Entries {
        Entries::default()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        (self.end() - self.origin()) as usize
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The oldest entry.
    pub fn first(&self) -> Option<&Entry> {
        self.blocks.front().and_then(|block| block.entries().first())
    }

    /// The newest entry.
    pub fn last(&self) -> Option<&Entry> {
        self.blocks.back().and_then(|block| block.entries().last())
    }

    /// The entry at a position, from 0.
    pub fn get(&self, position: usize) -> Option<&Entry> {
        let at = self.origin() + position as u64;
        let block = self.blocks.get(self.block_at(at))?;
        block.entries().get((at - block.before) as usize)
    }

    /// All entries, oldest first.
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.blocks.iter().flat_map(Block::iter as fn(&Block) -> slice::Iter<'_, Entry>))
    }

    /// Appends one entry. It is added to the last block unless that is shared or has reached a
    /// limit.
    pub fn push(&mut self, entry: Entry) {
        if let Some(block) = self.blocks.back_mut()
            && block.to == block.shared.len()
            && block.to < PUSHED_MAX
            && let Some(shared) = Arc::get_mut(&mut block.shared)
        {
            shared.push(entry);
            block.to += 1;
        } else {
            self.push_block(Arc::new(vec![entry]), 0..1);
        }
    }

    /// Appends the entries of `more`.
    pub fn append(&mut self, more: &Entries) {
        for block in more.blocks.iter() {
            self.push_block(block.shared.clone(), block.from..block.to);
        }
    }

    /// Calls `look` for each entry from a position on, in order, until it returns `false`.
    pub(crate) fn look_at(&self, from: usize, mut look: impl FnMut(&Entry) -> bool) {
        let first = self.origin() + from as u64;
        self.blocks.look_at(self.block_at(first)..self.blocks.len(), |block| {
            let passed = first.saturating_sub(block.before) as usize;
            block.entries()[passed..].iter().all(&mut look)
        });
    }

    /// The entries at these positions, which must be within the list.
    pub fn range(&self, positions: Range<usize>) -> Entries {
        let (count, Range { start, end }) = (self.len(), positions);
        assert!(start <= end && end <= count, "entries {start}..{end} wanted of {count}");
        let (first, end) = (self.origin() + start as u64, self.origin() + end as u64);
        let mut range = Entries::new();
        let blocks = self.block_at(first)..self.blocks.len();
        self.blocks.look_at(blocks, |block| {
            if block.before >= end {
                return false;
            }
            let from = block.from + first.saturating_sub(block.before) as usize;
            let to = block.to - block.end().saturating_sub(end) as usize;
            if from < to {
                range.push_block(block.shared.clone(), from..to);
            }
            true
        });
        range
    }

    /// Keeps the oldest `count` entries.
    pub fn truncate(&mut self, count: usize) {
        let end = self.origin() + count as u64;
        while let Some(block) = self.blocks.back_mut()
            && block.end() > end
        {
            if block.before < end {
                block.to = block.from + (end - block.before) as usize;
            } else {
                self.blocks.pop_back();
            }
        }
    }

    /// Whether `next` starts at the index after the last entry. Also `true` if either list is
    /// empty.
    pub fn goes_on_with(&self, next: &Entries) -> bool {
        match (self.last(), next.first()) {
            (Some(last), Some(first)) => last.log_id.index + 1 == first.log_id.index,
            _ => true,
        }
    }

    /// Drops the oldest `count` entries, or all if there are fewer.
    pub fn drop_front(&mut self, count: usize) {
        self.take_front(count, |_, _| {});
    }

    /// Moves the oldest `count` entries, or all if there are fewer, to the end of `to`. Frees no
    /// entry.
    pub fn move_front(&mut self, count: usize, to: &mut Entries) {
        self.take_front(count, |shared, range| to.push_block(shared.clone(), range));
    }

    /// Removes the oldest `count` entries, and calls `leave` with each block's part of them.
    fn take_front(&mut self, count: usize, mut leave: impl FnMut(&Arc<Vec<Entry>>, Range<usize>)) {
        let origin = self.origin() + count as u64;
        while let Some(block) = self.blocks.front_mut()
            && block.before < origin
        {
            if block.end() > origin {
                let from = block.from + (origin - block.before) as usize;
                leave(&block.shared, block.from..from);
                (block.from, block.before) = (from, origin);
            } else {
                leave(&block.shared, block.from..block.to);
                self.blocks.pop_front();
            }
        }
    }

    /// Drops all entries.
    pub fn clear(&mut self) {
        self.blocks.clear();
    }

    fn push_block(
        &mut self,
        shared: Arc<Vec<Entry>>,
        Range { start: from, end: to }: Range<usize>,
    ) {
        self.blocks.push_back(Block { shared, from, to, before: self.end() });
    }

    fn origin(&self) -> u64 {
        self.blocks.front().map_or(0, |block| block.before)
    }

    fn end(&self) -> u64 {
        self.blocks.back().map_or(0, Block::end)
    }

    /// The number of the block that holds the entry at `at`, counted as `before` is; the number of
    /// blocks if there is none.
    fn block_at(&self, at: u64) -> usize {
        // Mostly the newest entries are wanted. With one proposal at a time each is a block of its
        // own.
        let count = self.blocks.len();
        for number in (count.saturating_sub(NEWEST)..count).rev() {
            if let Some(block) = self.blocks.get(number).filter(|block| at >= block.before) {
                return number + usize::from(at >= block.end());
            }
        }
        self.blocks.partition_point(|block| block.end() <= at)
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(entries: Vec<Entry>) -> Entries {
        let (mut list, count) = (Entries::new(), entries.len());
        if count > 0 {
            list.push_block(Arc::new(entries), 0..count);
        }
        list
    }
}

impl<const N: usize> From<[Entry; N]> for Entries {
    fn from(entries: [Entry; N]) -> Entries {
        Entries::from(Vec::from(entries))
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Entries {
        Entries::from(Vec::from_iter(entries))
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

type OfBlocks<'a> = FlatMap<
    paged_queue::Iter<'a, Block>,
    slice::Iter<'a, Entry>,
    fn(&'a Block) -> slice::Iter<'a, Entry>,
>;

/// The entries of a list, oldest first.
#[derive(Clone)]
pub struct Iter<'a>(OfBlocks<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Entry;

    fn next(&mut self) -> Option<&'a Entry> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }

    fn fold<B, F: FnMut(B, &'a Entry) -> B>(self, init: B, f: F) -> B {
        self.0.fold(init, f)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back()
    }
}

impl Index<usize> for Entries {
    type Output = Entry;

    fn index(&self, position: usize) -> &Entry {
        match self.get(position) {
            Some(entry) => entry,
            None => panic!("entry {position} wanted of {}", self.len()),
        }
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Entries) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Entries {}

impl Hash for Entries {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.len().hash(hasher);
        self.iter().for_each(|entry| entry.hash(hasher));
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().collect::<Vec<_>>())
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries, D::Error> {
        Vec::deserialize(deserializer).map(Entries::from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::raft::{EntryKind, LogId};

    fn entry(index: u64) -> Entry {
        let data = bytes::Bytes::new();
        Entry { log_id: LogId::new(1, index), kind: EntryKind::Command, stamp_ms: 0, data }
    }

    fn indexes(entries: &Entries) -> Vec<u64> {
        entries.iter().map(|entry| entry.log_id.index).collect()
    }

    /// One operation on a list.
    #[derive(Clone, Debug)]
    enum Act {
        Push(u64),
        Append(Vec<u64>),
        /// Another list shares this range from now on.
        Share(usize, usize),
        Truncate(usize),
        DropFront(usize),
        MoveFront(usize),
        /// The list is replaced by a range of itself.
        Become(usize, usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        let position = || 0..24usize;
        prop_oneof![
            4 => any::<u64>().prop_map(Act::Push),
            2 => proptest::collection::vec(any::<u64>(), 0..6).prop_map(Act::Append),
            2 => (position(), position()).prop_map(|(a, b)| Act::Share(a, b)),
            1 => position().prop_map(Act::Truncate),
            1 => (0..6usize).prop_map(Act::DropFront),
            1 => (0..6usize).prop_map(Act::MoveFront),
            1 => (position(), position()).prop_map(|(a, b)| Act::Become(a, b)),
        ]
    }

    fn within(a: usize, b: usize, count: usize) -> Range<usize> {
        let (a, b) = (a.min(count), b.min(count));
        a.min(b)..a.max(b)
    }

    proptest! {
        #[test]
        fn a_list_is_what_a_vector_would_be_and_so_is_what_was_shared_of_it(
            acts in proptest::collection::vec(act(), 1..40)
        ) {
            let (mut list, mut model) = (Entries::new(), Vec::<u64>::new());
            let mut shared = Vec::new();
            for act in acts {
                match act {
                    Act::Push(index) => {
                        list.push(entry(index));
                        model.push(index);
                    }
                    Act::Append(more) => {
                        list.append(&more.iter().copied().map(entry).collect());
                        model.extend(more);
                    }
                    Act::Share(a, b) => {
                        let range = within(a, b, model.len());
                        shared.push((list.range(range.clone()), model[range].to_vec()));
                    }
                    Act::Truncate(count) => {
                        list.truncate(count);
                        model.truncate(count);
                    }
                    Act::DropFront(count) => {
                        list.drop_front(count);
                        model.drain(..count.min(model.len()));
                    }
                    Act::MoveFront(count) => {
                        let mut front = Entries::new();
                        list.move_front(count, &mut front);
                        let wanted = model.drain(..count.min(model.len())).collect();
                        shared.push((front, wanted));
                    }
                    Act::Become(a, b) => {
                        let range = within(a, b, model.len());
                        list = list.range(range.clone());
                        model = model[range].to_vec();
                    }
                }
                prop_assert_eq!(indexes(&list), model.clone());
                prop_assert_eq!(list.len(), model.len());
                let ends = |list: &Entries| {
                    [list.first(), list.last()].map(|entry| entry.map(|entry| entry.log_id.index))
                };
                prop_assert_eq!(ends(&list), [model.first().copied(), model.last().copied()]);
                for position in 0..=model.len() {
                    let found = list.get(position).map(|entry| entry.log_id.index);
                    prop_assert_eq!(found, model.get(position).copied());
                    let mut seen = Vec::new();
                    list.look_at(position, |entry| {
                        seen.push(entry.log_id.index);
                        seen.len() < 5
                    });
                    let end = model.len().min(position + 5);
                    prop_assert_eq!(&seen[..], &model[position..end]);
                }
                prop_assert_eq!(&list, &model.iter().copied().map(entry).collect());
            }
            for (range, model) in shared {
                prop_assert_eq!(indexes(&range), model);
            }
        }
    }

    #[test]
    fn what_is_pushed_goes_into_one_block_until_somebody_refers_to_it() {
        let mut list = Entries::new();
        (1..=3).for_each(|index| list.push(entry(index)));
        assert_eq!(list.blocks.len(), 1);
        let seen = list.clone();
        list.push(entry(4));
        assert_eq!((list.blocks.len(), indexes(&seen)), (2, vec![1, 2, 3]));
    }

    #[test]
    fn lists_with_the_same_entries_are_equal_however_they_came_about() {
        let whole: Entries = (1..=4).map(entry).collect();
        let mut pieces = whole.range(0..2);
        pieces.append(&whole.range(2..4));
        let hashed = |entries: &Entries| {
            let mut hasher = std::hash::DefaultHasher::new();
            entries.hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!((&pieces, hashed(&pieces)), (&whole, hashed(&whole)));
        assert_ne!(whole.range(0..3), whole.range(1..4));
    }
}
