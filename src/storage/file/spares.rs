//! The segment pool: files for future segments, prepared in the background.
//!
//! Overwriting bytes that are on disk already syncs nearly twice as fast as appending, because the
//! file's length and its blocks stay the same. So a segment begins in a file that is long enough:
//! that of a purged segment, or a new one filled with zeros.
//!
//! ```text
//! <n>.wal, purged ─▶ <m>.spare ─▶ <newer>.wal
//! nothing ──────────▶ <m>.spare, zeros written and synced
//! ```
//! A spare is ready only once its name is durable, so that its old name as a segment cannot come
//! back. Spares left by an earlier opening are removed at the start.
//!
//! The log does not need spares. One is made only if the disk has room for it and for another
//! segment. If making one fails, it is removed, a warning is logged, and the next attempt comes
//! with the next segment.
//!
//! *What it does not do:* make the writer wait. The writer takes a spare if there is one; otherwise
//! it creates an empty file that grows.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::StorageError;
use super::Opened;
use super::env::{Job, OutFile, WriteMode};

/// Zeros are written and synced in pieces, so that the log's own syncs never wait for a whole file.
const PIECE_BYTES: usize = 1 << 20;

/// The spare files of an opened directory.
pub(crate) struct Spares {
    pool: Arc<Pool>,
    job: Option<Job>,
}

struct Pool {
    opened: Arc<Opened>,
    segment_bytes: u64,
    kept: usize,
    work: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    ready: VecDeque<Spare>,
    /// Segments that are no longer needed, oldest first.
    retired: Vec<u64>,
    is_one_wanted: bool,
    is_running: bool,
    is_closing: bool,
    last_number: u64,
    /// Making a spare failed; none is made before another segment has begun.
    has_given_up: bool,
    /// A spare that could be neither completed nor removed.
    unfinished: Option<u64>,
}

struct Spare {
    number: u64,
    length_bytes: u64,
}

/// Background work.
enum Task {
    Retire(Vec<u64>),
    Make,
}

impl Spares {
    /// Keeps at most `kept` files.
    pub(crate) fn new(opened: Arc<Opened>, segment_bytes: u64, kept: usize) -> Spares {
        let pool = Pool { opened, segment_bytes, kept, work: Mutex::default() };
        Spares { pool: Arc::new(pool), job: None }
    }

    /// A file for this segment and its length: a spare with old content, or an empty file. If there
    /// is no file descriptor for it, nothing has changed and the call may be repeated.
    pub(crate) fn take(&mut self, segment: u64) -> Result<(OutFile, u64), StorageError> {
        let spare = self.pool.work.lock().ready.pop_front();
        let taken = match spare {
            Some(spare) => self.take_spare(spare, segment)?,
            None => {
                let Opened { files, layout, .. } = &*self.pool.opened;
                (files.open_write(&layout.segment(segment), WriteMode::New)?, 0)
            }
        };
        self.pool.work.lock().has_given_up = false;
        Ok(taken)
    }

    fn take_spare(&self, spare: Spare, segment: u64) -> Result<(OutFile, u64), StorageError> {
        let Opened { files, layout, .. } = &*self.pool.opened;
        let (from, to) = (layout.spare(spare.number), layout.segment(segment));
        files.rename(&from, &to)?;
        match files.open_write(&to, WriteMode::Existing) {
            Ok(file) => Ok((file, spare.length_bytes)),
            Err(error) if error.is_out_of_descriptors() => {
                files.rename(&to, &from)?;
                self.pool.work.lock().ready.push_front(spare);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Retires segments that are no longer needed, oldest first: they become spares or are removed.
    pub(crate) fn retire(&mut self, segments: Vec<u64>) {
        if !segments.is_empty() {
            self.pool.work.lock().retired.extend(segments);
            self.run();
        }
    }

    /// Makes a spare in the background if none is ready: a segment will be needed soon.
    pub(crate) fn prepare(&mut self) {
        let mut work = self.pool.work.lock();
        let is_due = work.ready.is_empty() && !work.is_one_wanted && !work.has_given_up;
        if self.pool.kept > 0 && is_due {
            work.is_one_wanted = true;
            drop(work);
            self.run();
        }
    }

    fn run(&mut self) {
        if !std::mem::replace(&mut self.pool.work.lock().is_running, true) {
            let pool = self.pool.clone();
            self.job = Some(self.pool.opened.files.background(Box::new(move || pool.work_off())));
        }
    }
}

impl Drop for Spares {
    /// Waits for the background work, so that the directory stays locked until its last file call.
    fn drop(&mut self) {
        self.pool.work.lock().is_closing = true;
        if let Some(job) = self.job.take() {
            job.join();
        }
    }
}

impl Pool {
    fn work_off(&self) {
        while let Some(task) = self.next_task() {
            let done = self.opened.latched(|| match task {
                Task::Retire(segments) => self.retire(segments),
                Task::Make => self.make(),
            });
            if let Err(error) = done {
                tracing::error!(%error, "files of the log can't be prepared or removed");
            }
        }
    }

    fn next_task(&self) -> Option<Task> {
        let mut work = self.work.lock();
        if !work.is_closing && !work.retired.is_empty() {
            return Some(Task::Retire(std::mem::take(&mut work.retired)));
        }
        let makes = std::mem::take(&mut work.is_one_wanted);
        if makes && !work.is_closing && work.ready.is_empty() {
            return Some(Task::Make);
        }
        work.is_running = false;
        None
    }

    fn number(&self) -> u64 {
        let mut work = self.work.lock();
        work.last_number += 1;
        work.last_number
    }

    fn retire(&self, segments: Vec<u64>) -> Result<(), StorageError> {
        let Opened { files, layout, .. } = &*self.opened;
        let mut room = self.kept.saturating_sub(self.work.lock().ready.len());
        let mut spares = Vec::new();
        for segment in segments {
            let path = layout.segment(segment);
            let length_bytes = match files.open_read(&path).and_then(|mut file| file.len()) {
                // A file whose length can't be read does not become a spare.
                Err(error) if error.is_out_of_descriptors() => 0,
                length => length?,
            };
            let fits = (self.segment_bytes..=2 * self.segment_bytes).contains(&length_bytes);
            if room > 0 && fits {
                room -= 1;
                let number = self.number();
                files.rename(&path, &layout.spare(number))?;
                spares.push(Spare { number, length_bytes });
            } else {
                files.remove(&path)?;
            }
        }
        if !spares.is_empty() {
            files.sync_dir(&layout.log())?;
            self.work.lock().ready.extend(spares);
        }
        Ok(())
    }

    /// Only a failure to make names durable closes the storage; any other failure costs only the
    /// spare.
    fn make(&self) -> Result<(), StorageError> {
        let Opened { files, layout, .. } = &*self.opened;
        let free_bytes = files.free_bytes(&layout.log());
        if free_bytes.is_some_and(|free| free < self.segment_bytes.saturating_mul(2)) {
            self.work.lock().has_given_up = true;
            tracing::warn!(
                free_bytes,
                "the disk is too full for a spare file of the log: none is made"
            );
            return Ok(());
        }
        let number = self.number();
        match self.remove_unfinished().and_then(|()| self.write_zeros(number)) {
            Ok(Some(length_bytes)) => {
                files.sync_dir(&layout.log())?;
                self.work.lock().ready.push_back(Spare { number, length_bytes });
            }
            Ok(None) => {}
            Err(error) => self.do_without(number, &error),
        }
        Ok(())
    }

    /// Returns the length of the file. `None`: the directory is being closed.
    fn write_zeros(&self, number: u64) -> Result<Option<u64>, StorageError> {
        let Opened { files, layout, .. } = &*self.opened;
        let mut file = files.open_write(&layout.spare(number), WriteMode::Fresh)?;
        let zeros = vec![0; PIECE_BYTES.min(self.segment_bytes as usize)];
        let mut length_bytes = 0;
        while length_bytes < self.segment_bytes {
            if self.work.lock().is_closing {
                return Ok(None);
            }
            file.write_at(&zeros, length_bytes)?;
            file.sync_all()?;
            length_bytes += zeros.len() as u64;
        }
        Ok(Some(length_bytes))
    }

    /// Removes an incomplete spare, because the log may need its disk space.
    fn do_without(&self, number: u64, error: &StorageError) {
        tracing::warn!(%error, "no spare file is made for the log, which goes on without");
        let mut work = self.work.lock();
        work.has_given_up = true;
        work.unfinished.get_or_insert(number);
        drop(work);
        if let Err(error) = self.remove_unfinished() {
            tracing::warn!(%error, "an unfinished spare file of the log stays for now");
        }
    }

    fn remove_unfinished(&self) -> Result<(), StorageError> {
        let unfinished = self.work.lock().unfinished;
        if let Some(number) = unfinished {
            self.opened.files.remove_if_there(&self.opened.layout.spare(number))?;
            self.work.lock().unfinished = None;
        }
        Ok(())
    }
}
