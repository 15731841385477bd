//! The log as its one writer sees it: changes in, one write and one `fdatasync` for each call.
//!
//! ```text
//! write(changes): check and encode all ─▶ write ─▶ fdatasync ─▶ enter into the index ─▶ remove purged segments
//!                 (a full segment: the next one is begun in the same buffer, and its name is made durable too)
//! ```
//! Nothing is visible to readers and nothing is removed before it is durable. A call that fails, or panics,
//! leaves the log closed for good (PS04): what the disk holds is then known only after a restart.
//!
//! Not here: preallocation. Segments grow; the frames would allow them to be recycled.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::log_state::{LogState, assert_fits};
use super::super::{LogReader, LogStore, StorageError};
use super::Opened;
use super::directory::refused;
use super::env::{OutFile, WriteMode};
use super::index::{LogIndex, Stage};
use super::reader::FileLogReader;
use super::record;
use super::recovery::Replayed;
use super::segment::{self, FrameStart, Position};
use crate::raft::LogChange;

/// What the buffer may keep allocated between two calls.
const KEPT_BUFFER_BYTES: usize = 4 << 20;

/// The log of an opened directory.
pub(crate) struct FileLog {
    opened: Arc<Opened>,
    segment_bytes: u64,
    /// What the log amounts to with everything encoded so far; durable whenever no call is running.
    state: LogState,
    stage: Stage,
    index: Arc<Mutex<LogIndex>>,
    file: OutFile,
    /// Where the next frame goes. Everything before it is durable whenever no call is running.
    end: Position,
    batch: u64,
    oldest_segment: u64,
    /// The last frame is an empty one, which it would do no harm to lose.
    is_sealed: bool,
    buffer: Vec<u8>,
}

impl FileLog {
    /// Repairs what the replay found, then makes the new incarnation durable. `fell_back`: the state's snapshot
    /// is not the one that the log names.
    pub(crate) fn resume(
        opened: Arc<Opened>,
        segment_bytes: u64,
        replayed: Replayed,
        fell_back: bool,
    ) -> Result<FileLog, StorageError> {
        repair(&opened, &replayed)?;
        let path = opened.layout.segment(replayed.end.segment);
        let tail_at = unvouched(&replayed);
        let tail = read_tail(&opened, &path, tail_at, replayed.end.offset)?;
        let mut log = FileLog {
            file: opened.files.open_write(&path, WriteMode::Existing)?,
            opened,
            segment_bytes,
            state: replayed.state,
            stage: replayed.stage,
            index: Arc::default(),
            end: replayed.end,
            batch: replayed.batch,
            oldest_segment: replayed.oldest,
            is_sealed: false,
            buffer: tail,
        };
        log.begin_incarnation(tail_at, fell_back)?;
        Ok(log)
    }

    /// The state with the new incarnation.
    pub(crate) fn state(&self) -> &LogState {
        &self.state
    }

    /// The buffer holds the log's last bytes, for which no later `fdatasync` vouches: after a failed one the cache
    /// may show what the disk does not hold, so they are written again with the new incarnation's frame.
    fn begin_incarnation(&mut self, tail_at: u64, fell_back: bool) -> Result<(), StorageError> {
        let life = self.state.next_life();
        let outcome = self.state.set_life(life);
        assert!(outcome.is_ok(), "{outcome:?}");
        let frame = FrameStart::begin(&mut self.buffer, self.end);
        if fell_back {
            record::put_fall_back(&mut self.buffer, self.state.snapshot.as_ref());
        }
        record::put_life(&mut self.buffer, life);
        let synced = Position { segment: self.end.segment, offset: tail_at };
        self.end_frame(frame, synced);
        self.file.write_at(&self.buffer, tail_at)?;
        self.file.sync_data()?;
        self.opened.files.sync_dir(&self.opened.layout.log())?;
        self.enter();
        Ok(())
    }

    fn end_frame(&mut self, frame: FrameStart, synced: Position) {
        self.batch += 1;
        self.end = frame.end(&mut self.buffer, self.batch, synced);
    }

    fn write_frames(&mut self, changes: &[LogChange]) -> Result<(), StorageError> {
        let synced = self.end;
        let new_segment =
            (self.end.offset >= self.segment_bytes).then(|| self.encode_segment_start(synced));
        let written_at = if new_segment.is_some() { 0 } else { synced.offset };
        self.encode(changes, synced);
        if let Some(number) = new_segment {
            self.file = self
                .opened
                .files
                .open_write(&self.opened.layout.segment(number), WriteMode::New)?;
        }
        self.file.write_at(&self.buffer, written_at)?;
        self.file.sync_data()?;
        if new_segment.is_some() {
            self.opened.files.sync_dir(&self.opened.layout.log())?;
        }
        self.enter();
        self.remove_purged_segments()
    }

    fn encode_segment_start(&mut self, synced: Position) -> u64 {
        let number = synced.segment + 1;
        segment::encode_header(&mut self.buffer, self.opened.identity, number);
        self.end = Position { segment: number, offset: self.buffer.len() as u64 };
        let frame = FrameStart::begin(&mut self.buffer, self.end);
        record::put_checkpoint(&mut self.buffer, &self.state);
        self.end_frame(frame, synced);
        number
    }

    /// Frames for all changes; for none, one empty frame.
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

    /// What was encoded is durable: readers may see it.
    fn enter(&mut self) {
        self.stage.enter(&mut self.index.lock(), self.state.start.index, self.state.last);
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
    }

    /// Whole segments before the oldest entry go. The newest one's checkpoint holds all else that they held.
    fn remove_purged_segments(&mut self) -> Result<(), StorageError> {
        let needed = self.index.lock().oldest_segment().unwrap_or(self.end.segment);
        while self.oldest_segment < needed {
            self.opened.files.remove(&self.opened.layout.segment(self.oldest_segment))?;
            self.oldest_segment += 1;
        }
        Ok(())
    }
}

impl LogStore for FileLog {
    fn write(&mut self, changes: &[LogChange]) -> Result<(), StorageError> {
        let opened = self.opened.clone();
        opened.latched(|| {
            if changes.iter().all(LogChange::is_empty) {
                return Ok(());
            }
            self.is_sealed = false;
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
            if !self.is_sealed {
                self.write_frames(&[])?;
                self.is_sealed = true;
            }
            Ok(())
        })
    }
}

/// Removes segments of no use and the bytes of an unfinished write, durably, before anything is written behind
/// them: otherwise they might come back as if they followed it.
fn repair(opened: &Opened, replayed: &Replayed) -> Result<(), StorageError> {
    let Opened { files, layout, .. } = opened;
    for &number in &replayed.useless {
        files.remove(&layout.segment(number))?;
    }
    if !replayed.useless.is_empty() {
        files.sync_dir(&layout.log())?;
    }
    if replayed.torn_bytes > 0 {
        let mut file =
            files.open_write(&layout.segment(replayed.end.segment), WriteMode::Existing)?;
        file.set_len(replayed.end.offset)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Where in the newest segment the bytes begin that no later frame vouches for.
fn unvouched(replayed: &Replayed) -> u64 {
    if replayed.synced.segment == replayed.end.segment { replayed.synced.offset } else { 0 }
}

fn read_tail(opened: &Opened, path: &Path, from: u64, to: u64) -> Result<Vec<u8>, StorageError> {
    let mut tail = vec![0; (to - from) as usize];
    let read = opened.files.open_read(path)?.read_at(&mut tail, from)?;
    if read < tail.len() {
        return Err(refused(
            path,
            "became shorter while it was read: something else writes to this directory",
        ));
    }
    Ok(tail)
}
