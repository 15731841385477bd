//! What the machine gives when nothing is done but the calls.
//!
//! [`Batches`] writes so many bytes one behind the other into a file whose zeros were really written before, each time
//! followed by `fdatasync`. [`PlainFiles`] reads the files of another contestant.
//!
//! Not here: checksums, an index, or anything else that a log needs.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Append, ENTRY_BYTES, Stored};
use crate::measure::{Outcome, timed};
use crate::ring::Ring;
use crate::system::files;
use quorate::raft::Random;

/// What one call reads.
const PIECE_BYTES: usize = 1 << 20;

/// Batches of random bytes, written into a preallocated file.
pub struct Batches {
    ring: Ring,
    batch: Vec<u8>,
}

impl Batches {
    /// Of so many bytes each, in a file at `path`.
    pub fn new(path: &Path, file_bytes: u64, batch_bytes: u64) -> Outcome<Batches> {
        let batch = Random::new(2).bytes(batch_bytes as usize);
        Ok(Batches { ring: Ring::new(path, file_bytes)?, batch })
    }
}

impl Append for Batches {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn append(&mut self, _: usize) -> Outcome<Duration> {
        let (took, ()) = timed(|| {
            self.ring.write(&self.batch)?;
            Ok(self.ring.sync()?)
        })?;
        Ok(took)
    }

    fn tend(&mut self) -> Outcome<Option<Duration>> {
        Ok(None)
    }
}

/// The files of a log, read without understanding them.
pub struct PlainFiles {
    folder: PathBuf,
    log_bytes: u64,
    buffer: Vec<u8>,
    /// Whose single reads go to; files that are not full of log are the last.
    open: Vec<(File, u64)>,
}

impl PlainFiles {
    /// The first `log_bytes` of them, by name.
    pub fn new(folder: PathBuf, log_bytes: u64) -> PlainFiles {
        PlainFiles { folder, log_bytes, buffer: vec![0; PIECE_BYTES], open: Vec::new() }
    }

    fn read_through(&mut self) -> Outcome<()> {
        let mut left = self.log_bytes;
        for (path, _) in files(&self.folder)? {
            let mut file = File::open(path)?;
            while left > 0 {
                let read = file.read(&mut self.buffer)? as u64;
                if read == 0 {
                    break;
                }
                left = left.saturating_sub(read);
            }
        }
        Ok(())
    }
}

impl Stored for PlainFiles {
    fn name(&self) -> &'static str {
        "plain read"
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn log_bytes(&self) -> Outcome<u64> {
        Ok(self.log_bytes)
    }

    fn open(&mut self) -> Outcome<()> {
        self.read_through()
    }

    fn close(&mut self) {
        self.open.clear();
    }

    fn read_in_order(&mut self) -> Outcome<()> {
        self.read_through()
    }

    fn read_one(&mut self, chosen: u64) -> Outcome<()> {
        if self.open.is_empty() {
            let long = files(&self.folder)?.into_iter().filter(|(_, bytes)| *bytes > ENTRY_BYTES);
            for (path, bytes) in long {
                self.open.push((File::open(path)?, bytes));
            }
        }
        let mut at = chosen % self.log_bytes;
        for (file, bytes) in &self.open {
            if at < *bytes {
                let at = at.min(bytes - ENTRY_BYTES);
                return Ok(file.read_exact_at(&mut self.buffer[..ENTRY_BYTES as usize], at)?);
            }
            at -= bytes;
        }
        Err("the log is longer than its files".into())
    }
}
