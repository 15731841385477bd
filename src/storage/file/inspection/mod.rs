//! Read-only inspection of a node's directory: its content, whether all of it verifies, and what a
//! start would do with it.
//!
//! ```text
//! recovery, verdict     what a start reads and decides ─┐
//! walk                  every frame of every segment    ├─▶ report
//! snapshots             each read completely           ─┘
//! ```
//! It runs the code of a start on a file system that refuses every change: no lock is taken, no
//! file is created, nothing is repaired. It also works while a node has the directory open. Then
//! the end of the log moves and files appear and vanish, so a finding is checked again and reported
//! only if it is the same twice.
//!
//! ```no_run
//! use quorate::storage::file::inspection::Inspector;
//!
//! let inspection = Inspector::open("data/1")?.inspect()?;
//! for finding in &inspection.findings {
//!     println!("{} at byte {}: {}", finding.path, finding.offset, finding.what);
//! }
//! # Ok::<(), quorate::storage::StorageError>(())
//! ```
//!
//! *What it does not do:* print the report. `quorate inspect` and `quorate verify` do.

mod look;
mod read_only;
mod report;
mod walk;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::StorageError;
use super::super::founding::Founding;
use super::directory::{self, Layout};
use super::env::{Env, Files, RealEnv};
use super::scanner::Scanner;

use self::look::Look;
use self::read_only::{OnRead, ReadOnly};
use self::walk::Walk;

pub use self::report::{
    EndReport, Finding, FrameReport, GapReport, Holding, Inspection, LifeReport, LogReport,
    Outcome, PeerRecordReport, Position, RecordReport, SegmentReport, SegmentState, SnapshotReport,
    SnapshotState, SpareReport, StartReport, StateReport, Stretch,
};
pub use self::walk::Stretches;

/// Maximum number of times a directory in use is read; the last result counts.
const MAX_LOOKS: u32 = 5;

/// Inspects one directory.
pub struct Inspector {
    files: Files,
    layout: Layout,
    founding: Founding,
}

impl Inspector {
    /// Reads the owner of the directory. The error says what the directory is instead, and what to
    /// do.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Inspector, StorageError> {
        Inspector::watched(dir, |_| {})
    }

    /// The same; `on_read` is called after each read with its number of bytes.
    pub fn watched(
        dir: impl Into<PathBuf>,
        on_read: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Inspector, StorageError> {
        Inspector::on(Arc::<RealEnv>::default(), dir.into(), Arc::new(on_read))
    }

    pub(crate) fn on(
        env: Arc<dyn Env>,
        dir: PathBuf,
        on_read: OnRead,
    ) -> Result<Inspector, StorageError> {
        let files = Files::new(Arc::new(ReadOnly { env, on_read }));
        let layout = Layout::new(dir);
        let founding = directory::look(&files, &layout)?;
        Ok(Inspector { files, layout, founding })
    }

    /// Approximate number of bytes that an inspection reads: the log twice, once as a start does
    /// and once for its content, and the snapshots once.
    pub fn total_bytes(&self) -> Result<u64, StorageError> {
        let mut total_bytes = 0;
        for name in self.files.list(&self.layout.log())? {
            if let Some(number) = Layout::segment_number(&name) {
                total_bytes += 2 * self.file_bytes(&self.layout.segment(number))?.unwrap_or(0);
            }
        }
        for name in self.files.list(&self.layout.snapshots())? {
            if let Some(id) = Layout::snapshot_id(&name) {
                total_bytes += self.file_bytes(&self.layout.snapshot(id))?.unwrap_or(0);
            }
        }
        Ok(total_bytes)
    }

    /// Reads everything completely. Only failed calls are errors; flaws of the bytes are in the
    /// report.
    pub fn inspect(&self) -> Result<Inspection, StorageError> {
        let mut before: Option<Inspection> = None;
        for _ in 1..MAX_LOOKS {
            let was_in_use = self.is_in_use()?;
            let look = Look::at(self);
            let in_use = was_in_use || self.is_in_use()?;
            match look {
                Ok(look) if !in_use => return Ok(look),
                Ok(look) => {
                    let is_same =
                        before.as_ref().is_some_and(|before| before.findings == look.findings);
                    if look.findings.is_empty() || is_same {
                        return Ok(in_use_now(look));
                    }
                    before = Some(look);
                }
                Err(StorageError::Io { source, .. })
                    if in_use && source.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Look::at(self).map(in_use_now)
    }

    /// Iterates the frames and gaps of a reported segment; of entries with the first `shown_bytes`
    /// of their data.
    pub fn stretches(
        &self,
        of: &SegmentReport,
        shown_bytes: usize,
    ) -> Result<Stretches, StorageError> {
        Ok(Stretches::new(Walk::begin(self.scanner(of.number)?)?, of, shown_bytes))
    }

    fn is_in_use(&self) -> Result<bool, StorageError> {
        self.files.is_locked(&self.layout.lock())
    }

    fn scanner(&self, segment: u64) -> Result<Scanner, StorageError> {
        Ok(Scanner::new(self.files.open_read(&self.layout.segment(segment))?, segment))
    }

    /// `None`: the file does not exist.
    fn file_bytes(&self, path: &Path) -> Result<Option<u64>, StorageError> {
        self.files.open_read_if_there(path)?.map(|mut file| file.len()).transpose()
    }
}

/// Marks the report as in use and drops its notes: a write in progress looks like one that was
/// never finished.
fn in_use_now(look: Inspection) -> Inspection {
    Inspection { in_use: true, notes: Vec::new(), ..look }
}
