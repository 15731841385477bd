//! Looks at a node's directory: what is in it, whether all of it verifies, and what a start would make of it.
//!
//! ```text
//! recovery, verdict     what a start reads and decides ─┐
//! walk                  every frame of every segment    ├─▶ report
//! snapshots             each read through              ─┘
//! ```
//! It is the code of the start itself, in a file system that refuses every change: no lock is taken, no file made, nothing
//! repaired. A directory that a node has open is looked at, too. There the end of the log moves and files come and go, so what
//! looks wrong is looked at again, and counts if it is the same twice.
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
//! Not here: any way to print it. `quorate inspect` and `quorate verify` do.

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

/// How often a directory in use is looked at before the last look counts.
const MAX_LOOKS: u32 = 5;

/// Looks at one directory.
pub struct Inspector {
    files: Files,
    layout: Layout,
    founding: Founding,
}

impl Inspector {
    /// Reads whose directory it is. An error says what else it is, and what to do.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Inspector, StorageError> {
        Inspector::watched(dir, |_| {})
    }

    /// The same; `on_read` is told of each read, and how many bytes it was.
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

    /// How much an inspection reads, about: the log twice, once as a start does and once for what is in it.
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

    /// Reads everything through. Errors are failed calls alone: whatever is wrong with the bytes is in the report.
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

    /// What stands in a segment of an inspection; of entries the first `shown_bytes` of their data.
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

    /// `None`: there is no such file.
    fn file_bytes(&self, path: &Path) -> Result<Option<u64>, StorageError> {
        self.files.open_read_if_there(path)?.map(|mut file| file.len()).transpose()
    }
}

/// What is written just now looks like a write that was never finished.
fn in_use_now(look: Inspection) -> Inspection {
    Inspection { in_use: true, notes: Vec::new(), ..look }
}
