//! The positions of entries, for the reader.
//!
//! A *block* is a part of one segment with consecutive entries. The index keeps only the block's
//! start, so it costs at most 32 bytes for each 16 KiB of log: half a byte for each entry of 256
//! bytes. To find an entry, the reader scans the frames of its block.
//!
//! ```text
//! block 1        block 2          block 3 (a truncation begins a new one)
//! │ 1 2 3 4 5 6  │ 7 8 9 10 11 ✗✗ │ 11 12 13
//! ```
//! The writer stages blocks while it encodes and enters them once they are durable. The lock is
//! held only to enter or look up, never during a file call.
//!
//! *What it does not do:* hold terms and sizes of entries. The protocol keeps those.

use std::collections::VecDeque;

use crate::raft::Index;

use super::segment::Position;

/// A block ends with the frame in which it reaches this size.
const BLOCK_BYTES: u64 = if cfg!(test) { 300 } else { 16 * 1024 };

/// The start of a run of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Its first entry.
    pub first: Index,
    /// Position of the frame with that entry.
    pub frame: Position,
    /// Offset of the entry's record in the frame's payload.
    pub record: u32,
}

/// A change of the index that is applied once the log is durable.
#[derive(Clone, Copy, Debug)]
enum Staged {
    Block(Block),
    Cut(Index),
}

/// Collects changes of the index, and decides where blocks begin.
#[derive(Default)]
pub(crate) struct Stage {
    staged: Vec<Staged>,
    open: Option<Position>,
}

impl Stage {
    /// Stages an entry appended at this position.
    pub(crate) fn entry(&mut self, index: Index, frame: Position, record: usize) {
        let fits = |open: Position| {
            open.segment == frame.segment && frame.offset - open.offset < BLOCK_BYTES
        };
        if !self.open.is_some_and(fits) {
            self.open = Some(frame);
            self.staged.push(Staged::Block(Block { first: index, frame, record: record as u32 }));
        }
    }

    /// Stages the removal of the entries from `from` on.
    pub(crate) fn cut(&mut self, from: Index) {
        self.open = None;
        self.staged.push(Staged::Cut(from));
    }

    /// Applies the staged changes; the log now holds the entries after `start` up to `last`.
    pub(crate) fn enter(&mut self, index: &mut LogIndex, start: Index, last: Index) {
        for staged in self.staged.drain(..) {
            match staged {
                Staged::Block(block) => index.blocks.push_back(block),
                Staged::Cut(from) => index.cut(from),
            }
        }
        index.start = start;
        index.last = last;
        index.drop_purged();
        if index.blocks.is_empty() {
            self.open = None;
        }
    }
}

/// The index itself.
#[derive(Debug, Default)]
pub(crate) struct LogIndex {
    start: Index,
    last: Index,
    blocks: VecDeque<Block>,
    epoch: u64,
}

/// Result of a lookup.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The entry has been purged.
    Purged,
    /// The log ends before the entry.
    Beyond,
    /// The entry is in this block, whose entries up to `through` are valid.
    Found {
        /// The block.
        block: Block,
        /// The last valid entry of the block.
        through: Index,
    },
}

impl LogIndex {
    /// Looks up the block of `index`.
    pub(crate) fn look_up(&self, index: Index) -> Lookup {
        if index <= self.start {
            return Lookup::Purged;
        }
        if index > self.last {
            return Lookup::Beyond;
        }
        let behind = self.blocks.partition_point(|block| block.first <= index);
        let block = behind.checked_sub(1).and_then(|at| self.blocks.get(at));
        let Some(&block) = block else { panic!("entry {index} is in no block: {self:?}") };
        let through = self.blocks.get(behind).map_or(self.last, |next| next.first - 1);
        Lookup::Found { block, through }
    }

    /// Changes with every truncation: an earlier lookup may then be superseded.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The oldest segment that holds an entry of the log.
    pub(crate) fn oldest_segment(&self) -> Option<u64> {
        self.blocks.front().map(|block| block.frame.segment)
    }

    fn cut(&mut self, from: Index) {
        let keep = self.blocks.partition_point(|block| block.first < from);
        self.blocks.truncate(keep);
        self.epoch += 1;
    }

    fn drop_purged(&mut self) {
        while self.blocks.get(1).is_some_and(|second| second.first <= self.start + 1) {
            self.blocks.pop_front();
        }
        if self.start == self.last {
            self.blocks.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u64, offset: u64) -> Position {
        Position { segment, offset }
    }

    fn found(index: &LogIndex, entry: Index) -> (Index, Index) {
        match index.look_up(entry) {
            Lookup::Found { block, through } => (block.first, through),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn blocks_are_few_and_never_cross_a_cut_or_a_segment() {
        let (mut stage, mut index) = (Stage::default(), LogIndex::default());
        (1..=8).for_each(|entry| stage.entry(entry, at(1, entry * 100), 0));
        stage.cut(6);
        stage.entry(6, at(1, 900), 0);
        stage.entry(7, at(2, 0), 0);
        stage.enter(&mut index, 0, 7);
        assert_eq!(index.blocks.len(), 4);
        assert_eq!((found(&index, 3), found(&index, 5)), ((1, 3), (4, 5)));
        assert_eq!((found(&index, 6), found(&index, 7)), ((6, 6), (7, 7)));
        assert_eq!(index.look_up(8), Lookup::Beyond);
        stage.enter(&mut index, 3, 7);
        assert_eq!((index.look_up(3), index.blocks.len()), (Lookup::Purged, 3));
        stage.enter(&mut index, 7, 7);
        assert_eq!(index.oldest_segment(), None);
    }
}
