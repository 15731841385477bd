//! The log's single writer: one write and one `fdatasync` for each call.
//!
//! ```text
//! write(changes): check and encode all ─▶ write ─▶ fdatasync ─▶ mark the end ─▶ update the index
//! ─▶ retire purged segments       (if the segment is full, the next one begins in the same buffer;
//! its name and the mark are made durable too)
//! ```
//! Nothing is visible to readers, and nothing is removed, before it is durable. A call that fails
//! or panics closes the log permanently (PS04): only a restart can determine what the disk holds
//! then.
//!
//! Writes overwrite zeros or an old segment, and are padded with zeros to the end of a page: whole
//! pages are never read before they are written, and the log's end is recognizable.
//!
//! *What it does not do:* provide the next file ([`spares`](super::spares) does), or encode the
//! mark ([`end`](super::end) does).

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::log_state::{LogState, assert_fits};
use super::super::{LogReader, LogStore, StorageError};
use super::Opened;
use super::directory::refused;
use super::end::{EndFile, EndMark, StoredMarks};
use super::env::{OutFile, WriteMode};
use super::index::{LogIndex, Stage};
use super::reader::FileLogReader;
use super::record;
use super::replay::Replay;
use super::segment::{self, FRAME_HEAD_BYTES, FrameStart, Position};
use super::spares::Spares;
use super::verdict::{Onwards, Verdict};
use crate::raft::{LogChange, LogId};

/// Maximum capacity of the buffer kept between two calls.
const KEPT_BUFFER_BYTES: usize = 4 << 20;
/// The page size of the operating system's cache.
const PAGE_BYTES: u64 = 4096;
/// Minimum number of zeros behind the log's end; no frame begins with zeros.
const END_BYTES: u64 = 8;

/// The log of an opened directory.
pub(crate) struct FileLog {
    opened: Arc<Opened>,
    segment_bytes: u64,
    /// The log's state including everything encoded so far; durable whenever no call is running.
    state: LogState,
    stage: Stage,
    index: Arc<Mutex<LogIndex>>,
    /// The newest segment: the file and its length.
    file: OutFile,
    file_bytes: u64,
    /// Position of the next frame. Everything before it is durable whenever no call is running.
    end: Position,
    /// The log's segments, oldest first.
    segments: VecDeque<u64>,
    /// Segments that no longer belong to the log; they are kept until the lost data is recovered.
    set_aside: Vec<u64>,
    spares: Spares,
    end_file: EndFile,
    /// The newest segment is longer than configured, because there was no file descriptor for the
    /// next one.
    is_overlong: bool,
    buffer: Vec<u8>,
}

/// The files of a directory when its log continues.
pub(crate) struct Found {
    /// Segments that do not belong to the log, ascending.
    pub set_aside: Vec<u64>,
    /// The highest segment number.
    pub highest: u64,
}

impl FileLog {
    /// Makes the new incarnation durable, and the changes of the recovery plan.
    pub(crate) fn resume(
        opened: Arc<Opened>,
        verdict: Verdict,
        found: Found,
        marks: &StoredMarks,
    ) -> Result<FileLog, StorageError> {
        let Verdict { log, onwards, .. } = verdict;
        let (segment_bytes, kept) = (opened.options.segment_bytes, opened.options.spare_segments);
        let mut spares = Spares::new(opened.clone(), segment_bytes, kept);
        let path = opened.layout.segment(log.end.segment);
        let (buffer, at, (file, file_bytes)) = match onwards {
            Onwards::Here { .. } => {
                let (tail, tail_at) = read_tail(&opened, &path, &log)?;
                (tail, tail_at, reopen(&opened, &path)?)
            }
            Onwards::Elsewhere => (Vec::new(), 0, spares.take(found.highest + 1)?),
        };
        let Replay { state, stage, end, segments, .. } = log;
        let mut resumed = FileLog {
            segment_bytes,
            state,
            stage,
            index: Arc::default(),
            file,
            file_bytes,
            end,
            segments,
            set_aside: found.set_aside,
            spares,
            end_file: EndFile::open(&opened.files, &opened.layout, opened.identity, marks)?,
            is_overlong: false,
            buffer,
            opened,
        };
        match onwards {
            Onwards::Here { fell_back, purged } => resumed.begin_here(at, fell_back, purged)?,
            Onwards::Elsewhere => resumed.begin_elsewhere(found.highest + 1)?,
        }
        let mark = resumed.mark();
        resumed.end_file.resume(&resumed.opened.files, &resumed.opened.layout, marks, mark)?;
        resumed.retire();
        Ok(resumed)
    }

    /// The state with the new incarnation.
    pub(crate) fn state(&self) -> &LogState {
        &self.state
    }

    /// Loads the log's last bytes, which no later `fdatasync` confirmed, into the buffer. After a
    /// failed `fdatasync` the page cache may show bytes that the disk does not hold, so they are
    /// written again, together with the new incarnation's frame.
    fn begin_here(
        &mut self,
        tail_at: u64,
        fell_back: bool,
        purged: bool,
    ) -> Result<(), StorageError> {
        let synced = Position { segment: self.end.segment, offset: tail_at };
        let frame = FrameStart::begin(&mut self.buffer, self.end);
        if fell_back {
            record::put_fall_back(&mut self.buffer, self.state.snapshot.as_ref());
        }
        if purged {
            let purge_through = Some(self.state.start);
            let change = LogChange { purge_through, ..LogChange::default() };
            record::put_behind_entries(&mut self.buffer, &change);
        }
        self.begin_life();
        record::put_life(&mut self.buffer, self.state.life);
        self.end_frame(frame, synced);
        self.flush(tail_at)?;
        self.opened.files.sync_dir(&self.opened.layout.log())?;
        self.enter();
        Ok(())
    }

    /// Begins a new segment; its checkpoint holds the remaining state of the log.
    fn begin_elsewhere(&mut self, number: u64) -> Result<(), StorageError> {
        self.begin_life();
        self.encode_segment_start(number);
        self.flush(0)?;
        self.opened.files.sync_dir(&self.opened.layout.log())?;
        self.enter();
        Ok(())
    }

    fn begin_life(&mut self) {
        let outcome = self.state.set_life(self.state.next_life());
        assert!(outcome.is_ok(), "{outcome:?}");
    }

    fn mark(&self) -> EndMark {
        let LogState { life, start, last, .. } = &self.state;
        let term = self.state.term_at(*last).unwrap_or(start.term);
        let last = LogId { term, index: *last };
        EndMark { through: self.end, incarnation: life.incarnation, last }
    }

    fn end_frame(&mut self, frame: FrameStart, synced: Position) {
        self.end = frame.end(&mut self.buffer, self.state.life.incarnation, synced);
    }

    fn write_frames(&mut self, changes: &[LogChange]) -> Result<(), StorageError> {
        let begins_segment = !self.has_room_for(changes) && self.open_next()?;
        let synced = self.end;
        let written_at = if begins_segment {
            self.encode_segment_start(self.end.segment + 1);
            0
        } else {
            self.end.offset
        };
        self.encode(changes, synced);
        self.flush(written_at)?;
        if begins_segment {
            self.opened.files.sync_dir(&self.opened.layout.log())?;
            self.end_file.settle(self.mark())?;
        } else {
            self.end_file.note(self.mark())?;
        }
        self.enter();
        self.retire();
        if self.end.offset > self.segment_bytes / 2 {
            self.spares.prepare();
        }
        Ok(())
    }

    /// Whether the next segment's file is open. If there is no file descriptor for it, the newest
    /// segment grows instead.
    fn open_next(&mut self) -> Result<bool, StorageError> {
        match self.spares.take(self.end.segment + 1) {
            Ok((file, file_bytes)) => {
                (self.file, self.file_bytes, self.is_overlong) = (file, file_bytes, false);
                Ok(true)
            }
            Err(error) if error.is_out_of_descriptors() => {
                if !std::mem::replace(&mut self.is_overlong, true) {
                    tracing::warn!(%error, "the next file of the log can't be opened now: the last one grows");
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the newest segment has room for the changes. Only the entries are counted, so it may
    /// exceed the configured size by the other records.
    fn has_room_for(&self, changes: &[LogChange]) -> bool {
        let entries = changes.iter().flat_map(|change| &change.append);
        let entries_bytes: usize = entries.map(|entry| entry.size_bytes()).sum();
        let end = self.end.offset + (FRAME_HEAD_BYTES + entries_bytes) as u64;
        end <= self.segment_bytes
    }

    fn encode_segment_start(&mut self, number: u64) {
        let synced = self.end;
        segment::encode_header(&mut self.buffer, self.opened.identity, number);
        self.end = Position { segment: number, offset: self.buffer.len() as u64 };
        let frame = FrameStart::begin(&mut self.buffer, self.end);
        record::put_checkpoint(&mut self.buffer, &self.state);
        self.end_frame(frame, synced);
        self.segments.push_back(number);
    }

    /// Encodes frames for all changes.
    fn encode(&mut self, changes: &[LogChange], synced: Position) {
        let mut frame = FrameStart::begin(&mut self.buffer, self.end);
        for change in changes.iter().filter(|change| !change.is_empty()) {
            if frame.is_full(&self.buffer) {
                self.end_frame(frame, synced);
                frame = FrameStart::begin(&mut self.buffer, self.end);
            }
            assert_fits(self.state.apply(change), change);
            self.encode_change(change, &frame);
        }
        self.end_frame(frame, synced);
    }

    fn encode_change(&mut self, change: &LogChange, frame: &FrameStart) {
        record::put_before_entries(&mut self.buffer, change);
        if change.install.as_ref().is_some_and(|install| !install.keep_suffix) {
            self.stage.cut(0);
        }
        if let Some(from) = change.truncate_from {
            self.stage.cut(from);
        }
        for entry in &change.append {
            self.stage.entry(entry.log_id.index, frame.at, frame.payload_bytes(&self.buffer));
            record::put_entry(&mut self.buffer, entry);
        }
        record::put_behind_entries(&mut self.buffer, change);
    }

    /// Writes the buffer at `offset` of the newest segment, with zeros to the end of the page, and
    /// makes it durable.
    fn flush(&mut self, offset: u64) -> Result<(), StorageError> {
        let end = offset + self.buffer.len() as u64;
        let filled = (end + END_BYTES).next_multiple_of(PAGE_BYTES).min(self.file_bytes).max(end);
        self.buffer.resize((filled - offset) as usize, 0);
        self.file.write_at(&self.buffer, offset)?;
        self.file_bytes = self.file_bytes.max(filled);
        self.file.sync_data()
    }

    /// Makes the encoded changes visible to readers; they are durable now.
    fn enter(&mut self) {
        self.stage.enter(&mut self.index.lock(), self.state.start.index, self.state.last);
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
    }

    /// Retires whole segments before the oldest entry: the newest segment's checkpoint holds all
    /// their other records. Segments that were set aside are retired once no data loss is recorded.
    fn retire(&mut self) {
        let needed = self.index.lock().oldest_segment().unwrap_or(self.end.segment);
        let purged = self.segments.partition_point(|&segment| segment < needed);
        let mut retired: Vec<u64> = self.segments.drain(..purged).collect();
        if self.state.life.loss.is_none() {
            retired.append(&mut self.set_aside);
            retired.sort_unstable();
        }
        self.spares.retire(retired);
    }
}

impl LogStore for FileLog {
    fn write(&mut self, changes: &[LogChange]) -> Result<(), StorageError> {
        let opened = self.opened.clone();
        opened.latched(|| {
            if changes.iter().all(LogChange::is_empty) {
                return Ok(());
            }
            self.write_frames(changes)
        })
    }

    fn reader(&self) -> Box<dyn LogReader> {
        let (files, layout) = (self.opened.files.clone(), self.opened.layout.clone());
        Box::new(FileLogReader::new(files, layout, self.index.clone()))
    }

    fn seal(&mut self) -> Result<(), StorageError> {
        let opened = self.opened.clone();
        opened.latched(|| {
            if self.end_file.is_settled(self.end) {
                return Ok(());
            }
            self.end_file.settle(self.mark())
        })
    }
}

fn reopen(opened: &Opened, path: &Path) -> Result<(OutFile, u64), StorageError> {
    let length_bytes = opened.files.open_read(path)?.len()?;
    Ok((opened.files.open_write(path, WriteMode::Existing)?, length_bytes))
}

/// The bytes of the newest segment that no later frame confirms as durable, and their offset.
fn read_tail(opened: &Opened, path: &Path, log: &Replay) -> Result<(Vec<u8>, u64), StorageError> {
    let is_here = log.synced.segment == log.end.segment;
    let from = if is_here { log.synced.offset } else { 0 };
    let mut tail = vec![0; (log.end.offset - from) as usize];
    let read = opened.files.open_read(path)?.read_at(&mut tail, from)?;
    if read < tail.len() {
        return Err(refused(
            path,
            "became shorter while it was read: something else writes to this directory",
        ));
    }
    Ok((tail, from))
}
