//! Reads old entries concurrently with the writer.
//!
//! The reader looks up the entry in the index, releases the lock, and scans the block's frames
//! through its own file handle; every frame is verified again. Concurrent changes are detected
//! afterwards: a purge may have removed the file (then the entries are gone), and a truncation may
//! have superseded what was read (then it is read again).
//!
//! *What it does not do:* cache. The protocol keeps the recent entries.

use std::sync::Arc;

use parking_lot::Mutex;

use super::super::{LogReader, StorageError};
use super::directory::Layout;
use super::env::Files;
use super::index::{Block, LogIndex, Lookup};
use super::record::{EntryView, Record, Records};
use super::scanner::Scanner;
use crate::raft::{Entry, Index};

/// The log reader of an opened directory.
pub(crate) struct FileLogReader {
    files: Files,
    layout: Layout,
    index: Arc<Mutex<LogIndex>>,
    /// The last segment read; it stays open.
    scanner: Option<Scanner>,
}

/// Entries collected for the caller.
struct Collected {
    entries: Vec<Entry>,
    next: Index,
    last: Index,
    max_bytes: usize,
    size_bytes: usize,
    is_full: bool,
}

impl Collected {
    fn wants_more(&self) -> bool {
        !self.is_full && self.next <= self.last
    }

    fn add(&mut self, entry: EntryView<'_>) {
        self.size_bytes += entry.size_bytes();
        if !self.entries.is_empty() && self.size_bytes > self.max_bytes {
            self.is_full = true;
            return;
        }
        self.entries.push(entry.to_entry());
        self.next += 1;
    }
}

impl FileLogReader {
    pub(crate) fn new(files: Files, layout: Layout, index: Arc<Mutex<LogIndex>>) -> FileLogReader {
        FileLogReader { files, layout, index, scanner: None }
    }

    /// One attempt. Its result is valid only if nothing was truncated meanwhile.
    fn attempt(
        &mut self,
        first: Index,
        last: Index,
        max_bytes: usize,
    ) -> Result<Option<Vec<Entry>>, StorageError> {
        let mut collected = Collected {
            entries: Vec::new(),
            next: first,
            last,
            max_bytes,
            size_bytes: 0,
            is_full: false,
        };
        while collected.wants_more() {
            let looked_up = self.index.lock().look_up(collected.next);
            match looked_up {
                Lookup::Purged if collected.entries.is_empty() => return Ok(None),
                Lookup::Purged | Lookup::Beyond => break,
                Lookup::Found { block, through } => {
                    match self.read_block(block, through, &mut collected) {
                        Err(_) if self.index.lock().look_up(collected.next) == Lookup::Purged => {}
                        outcome => outcome?,
                    }
                }
            }
        }
        Ok(Some(collected.entries))
    }

    fn read_block(
        &mut self,
        block: Block,
        through: Index,
        collected: &mut Collected,
    ) -> Result<(), StorageError> {
        let scanner =
            open_segment(&mut self.scanner, &self.files, &self.layout, block.frame.segment)?;
        let mut offset = block.frame.offset;
        let mut record_at = block.record as usize;
        let mut index = block.first;
        while collected.wants_more() && index <= through {
            let walked = match scanner.frame_now(offset)? {
                Ok((head, payload)) => {
                    take_entries(payload, record_at, &mut index, through, collected).map(|()| head)
                }
                Err(flaw) => Err(flaw.what().to_owned()),
            };
            let head = walked.map_err(|flaw| StorageError::Damaged {
                path: scanner.path(),
                offset,
                what: format!("the log {flaw}, entry {index} can't be read: restart this node to have it checked"),
            })?;
            offset = head.end();
            record_at = 0;
        }
        Ok(())
    }
}

/// Iterates a frame's entries, the first of which must be `index`, and collects the requested ones.
fn take_entries(
    payload: &[u8],
    from: usize,
    index: &mut Index,
    through: Index,
    collected: &mut Collected,
) -> Result<(), String> {
    let mut records = Records::from(payload, from);
    while let Some((_, record)) = records.next().map_err(|flaw| flaw.0.to_owned())? {
        let Record::Entry(entry) = record else { continue };
        if *index > through || !collected.wants_more() {
            break;
        }
        if entry.log_id.index != *index {
            return Err(format!("holds entry {} instead", entry.log_id));
        }
        if *index >= collected.next {
            collected.add(entry);
        }
        *index += 1;
    }
    Ok(())
}

fn open_segment<'a>(
    slot: &'a mut Option<Scanner>,
    files: &Files,
    layout: &Layout,
    segment: u64,
) -> Result<&'a mut Scanner, StorageError> {
    let scanner = match slot.take() {
        Some(open) if open.segment() == segment => open,
        _ => Scanner::new(files.open_read(&layout.segment(segment))?, segment),
    };
    Ok(slot.insert(scanner))
}

impl LogReader for FileLogReader {
    fn read(
        &mut self,
        first: Index,
        last: Index,
        max_bytes: usize,
    ) -> Result<Option<Vec<Entry>>, StorageError> {
        loop {
            let epoch = self.index.lock().epoch();
            let outcome = self.attempt(first, last, max_bytes);
            if self.index.lock().epoch() == epoch {
                return outcome;
            }
        }
    }
}
