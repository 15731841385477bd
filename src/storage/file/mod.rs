//! Storage in files: a directory for each node.
//!
//! | part | idea |
//! |---|---|
//! | `directory` | what is where, whose it is, how it begins |
//! | `segment`, `record` | the log's bytes |
//! | `scanner`, `recovery` | reading them back, and what damage means |
//! | `log`, `index`, `reader` | one writer, readers beside it |
//! | `snapshots` | snapshots, published by a rename |
//! | `env` | every file call there is |
//!
//! Opening goes: lock, identity, replay of the log, choice of the snapshot; all of that only looks. Then repairs,
//! the new incarnation, and the sweep. A start that is refused has changed nothing.
//!
//! What it does not do: encrypt, compress, preallocate, or keep two copies. `docs/formats.md` has every byte.

mod directory;
pub(crate) mod env;
mod index;
mod log;
mod reader;
mod record;
mod recovery;
mod scanner;
mod segment;
mod snapshots;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::directory::{Layout, refused};
use self::env::{Env, Files, Guard, RealEnv};
use self::log::FileLog;
use self::snapshots::FileSnapshots;
use super::snapshot_choice::DEFAULT_RETAINED;
use super::{Identity, OpenedStorage, Start, Storage, StorageError};
use crate::raft::Recovered;

/// What can be chosen about a [`FileStorage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// A log file that has grown to this is ended and the next one begun; a log is removed file by file.
    pub segment_bytes: u64,
    /// How many snapshots stay, the current one included: more than one gives something to fall back to.
    pub retained_snapshots: usize,
}

impl Default for FileOptions {
    fn default() -> FileOptions {
        FileOptions { segment_bytes: 64 << 20, retained_snapshots: DEFAULT_RETAINED }
    }
}

/// A directory that holds one node's log and snapshots.
pub struct FileStorage {
    dir: PathBuf,
    options: FileOptions,
    env: Arc<dyn Env>,
}

impl FileStorage {
    /// The directory `dir`, which need not be there yet. Nothing happens before it is opened.
    pub fn new(dir: impl Into<PathBuf>) -> FileStorage {
        FileStorage::with_options(dir, FileOptions::default())
    }

    /// The same with chosen options.
    pub fn with_options(dir: impl Into<PathBuf>, options: FileOptions) -> FileStorage {
        FileStorage { dir: dir.into(), options, env: Arc::new(RealEnv) }
    }

    /// The same in another file system.
    #[cfg(test)]
    pub(crate) fn on(env: impl Env, dir: impl Into<PathBuf>, options: FileOptions) -> FileStorage {
        FileStorage { dir: dir.into(), options, env: Arc::new(env) }
    }
}

impl Storage for FileStorage {
    fn open(
        self: Box<Self>,
        identity: Identity,
        start: &Start,
    ) -> Result<OpenedStorage, StorageError> {
        let FileStorage { dir, options, env } = *self;
        let (files, layout) = (Files::new(env), Layout::new(dir));
        let (guard, founding) = directory::enter(&files, &layout, identity, start)?;
        let mut replayed = recovery::replay(&files, &layout, identity)?;
        let fell_back =
            snapshots::choose_current(&files, &layout, identity.cluster, &mut replayed.state)?;
        let outline = replayed.outline();
        let opened = Arc::new(Opened {
            files,
            layout,
            identity,
            failed: AtomicBool::new(false),
            _guard: guard,
        });
        let log = FileLog::resume(opened.clone(), options.segment_bytes, replayed, fell_back)?;
        let state = log.state();
        let current = state.snapshot.as_ref().map(|meta| meta.log_id);
        snapshots::sweep(&opened.files, &opened.layout, current, options.retained_snapshots)?;
        let recovered = Recovered {
            life: state.life,
            hard_state: state.hard_state,
            base: founding.base,
            snapshot: state.snapshot.clone(),
            log: outline,
            acquaintances: state.acquaintances.clone(),
        };
        let snapshots = FileSnapshots::new(opened, options.retained_snapshots);
        Ok(OpenedStorage { recovered, log: Box::new(log), snapshots: Box::new(snapshots) })
    }
}

/// What the log and the snapshots of one opening share. The lock goes with the last of them, readers apart.
struct Opened {
    files: Files,
    layout: Layout,
    identity: Identity,
    failed: AtomicBool,
    _guard: Guard,
}

impl Opened {
    /// Runs something that changes files. If it fails, or panics, nothing is ever tried again (PS04): what the disk
    /// holds after a failed call is known only after a restart.
    fn latched<T>(
        &self,
        work: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        if self.failed.load(Ordering::SeqCst) {
            let what =
                "is closed: a file call failed earlier. Restart the node once the cause is gone";
            return Err(refused(self.layout.root(), what));
        }
        let mut latch = Latch { failed: &self.failed, is_armed: true };
        let outcome = work();
        latch.is_armed = outcome.is_err();
        outcome
    }
}

/// Closes the storage when dropped, unless the work went well.
struct Latch<'a> {
    failed: &'a AtomicBool,
    is_armed: bool,
}

impl Drop for Latch<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            self.failed.store(true, Ordering::SeqCst);
        }
    }
}
