//! A log in memory for those who bring none: entries one behind the other, by index.
//!
//! Not here: durability, and what an entry is. Whoever keeps one of these knows.

use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};

/// Entries without gaps, from an index that moves on as they are purged.
#[derive(Debug)]
pub struct MemoryLog<E> {
    first: u64,
    entries: VecDeque<E>,
}

impl<E> Default for MemoryLog<E> {
    fn default() -> MemoryLog<E> {
        MemoryLog { first: 0, entries: VecDeque::new() }
    }
}

impl<E: Clone> MemoryLog<E> {
    /// Appends what has the index `index`: the next one, or any if the log is empty.
    pub fn push(&mut self, index: u64, entry: E) {
        if self.entries.is_empty() {
            self.first = index;
        }
        assert_eq!(index, self.first + self.entries.len() as u64, "a log has no gaps");
        self.entries.push_back(entry);
    }

    /// The entry at `index`, if it is there.
    pub fn get(&self, index: u64) -> Option<&E> {
        self.entries.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// The last entry, if there is one.
    pub fn last(&self) -> Option<&E> {
        self.entries.back()
    }

    /// Those of the range that are there.
    pub fn range(&self, range: impl RangeBounds<u64>) -> Vec<E> {
        let from = match range.start_bound() {
            Bound::Included(&index) => self.place(index),
            Bound::Excluded(&index) => self.place(index.saturating_add(1)),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&index) => self.place(index.saturating_add(1)),
            Bound::Excluded(&index) => self.place(index),
            Bound::Unbounded => self.entries.len(),
        };
        self.entries.range(from..to.max(from)).cloned().collect()
    }

    /// Removes the entries from `index` on.
    pub fn truncate_from(&mut self, index: u64) {
        self.entries.truncate(self.place(index));
    }

    /// Removes the entries up to and with `index`.
    pub fn purge_through(&mut self, index: u64) {
        let purged = self.place(index.saturating_add(1));
        self.entries.drain(..purged);
        self.first += purged as u64;
    }

    /// How many entries are before `index`.
    fn place(&self, index: u64) -> usize {
        (index.saturating_sub(self.first) as usize).min(self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> MemoryLog<char> {
        let mut log = MemoryLog::default();
        ('a'..='e').zip(3..).for_each(|(entry, index)| log.push(index, entry));
        log
    }

    fn all(log: &MemoryLog<char>) -> String {
        log.range(..).into_iter().collect()
    }

    #[test]
    fn a_range_gives_what_is_there_of_it() {
        let log = log();
        assert_eq!((log.range(4..6), log.range(..=3)), (vec!['b', 'c'], vec!['a']));
        assert_eq!((log.range(0..3), log.range(7..100)), (vec![], vec!['e']));
        assert_eq!([2, 3, 7, 8].map(|index| log.get(index)), [None, Some(&'a'), Some(&'e'), None]);
    }

    #[test]
    fn both_ends_can_be_cut() {
        let mut log = log();
        log.purge_through(4);
        assert_eq!((all(&log).as_str(), log.range(5..6)), ("cde", vec!['c']));
        log.truncate_from(7);
        assert_eq!((all(&log).as_str(), log.last()), ("cd", Some(&'d')));
        log.purge_through(90);
        log.push(7, 'z');
        assert_eq!(log.range(7..), ['z']);
    }
}
