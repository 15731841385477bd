//! Storage in files, one directory for each node.
//!
//! | module | content |
//! |---|---|
//! | `directory` | file names, the owner, the creation of a directory |
//! | `segment`, `record` | the log's bytes |
//! | `end` | how far the log is durable, recorded in a file of its own |
//! | `chain`, `scanner`, `replay`, `recovery` | reading the log back, and detecting damage |
//! | `verdict` | the recovery plan: the state a node continues from |
//! | `log`, `index`, `reader` | one writer and concurrent readers |
//! | `spares` | the segment pool: files for future segments |
//! | `snapshots` | snapshots, published by a rename |
//! | [`inspection`] | read-only inspection of a directory |
//! | `env` | all file calls |
//! | `sim_disk`, `recording` | a disk for tests with durability, failures and crashes |
//!
//! Opening a directory takes the lock, checks the identity, replays the log and chooses the
//! snapshot; these steps only read. Then it writes the new incarnation and removes orphans. A
//! refused start has changed nothing.
//!
//! *What it does not do:* encrypt, compress, or keep two copies. `docs/formats.md` describes every
//! byte.

mod chain;
mod directory;
mod end;
pub(crate) mod env;
mod index;
pub mod inspection;
mod log;
mod reader;
mod record;
#[cfg(any(test, fuzzing, feature = "testing"))]
#[cfg_attr(not(any(test, fuzzing)), allow(dead_code, reason = "tests use all of it"))]
pub(crate) mod recording;
mod recovery;
mod replay;
mod scanner;
mod segment;
#[cfg(any(test, fuzzing, feature = "testing"))]
#[cfg_attr(not(any(test, fuzzing)), allow(dead_code, reason = "tests use all of it"))]
pub(crate) mod sim_disk;
mod snapshots;
mod spares;
mod verdict;

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use self::chain::Chain;
use self::directory::{Layout, refused};
use self::env::{Env, Files, Guard, RealEnv};
use self::log::{FileLog, Found};
use self::snapshots::FileSnapshots;
use super::snapshot_choice::DEFAULT_RETAINED;
use super::{Identity, OpenedStorage, Start, Storage, StorageError};
use crate::raft::Recovered;
use crate::settings::{Rules, SettingError};

/// A smaller segment would hold little more than its header.
const SEGMENT_BYTES_MIN: u64 = 512;
/// A segment is allocated to its full length before it is used.
const SEGMENT_BYTES_MAX: u64 = 1 << 40;
/// Spare segments take disk space that other files could use.
const SPARE_SEGMENTS_MAX: usize = 1024;

/// Options of a [`FileStorage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// Length of a log file in bytes; default 16 MiB. A full one is followed by the next. The log
    /// is removed file by file.
    pub segment_bytes: u64,
    /// How many log files that are no longer needed are kept for reuse; default 2. With 0 none is
    /// kept, and no file is allocated before it is written.
    pub spare_segments: usize,
    /// How many snapshots are kept, including the current one. With more than one there is an older
    /// one to fall back to.
    pub retained_snapshots: usize,
    /// A snapshot is synced after each this many bytes written, so that the log's syncs never wait
    /// for the whole snapshot; default 8 MiB. With 0 it is synced once, when it is complete.
    pub snapshot_sync_bytes: u64,
    /// How a start treats damage to durable data.
    pub on_damage: OnDamage,
}

/// How a start treats damage to durable data: a log that does not verify, or an unusable snapshot
/// without a substitute. Damage is always reported, and a damaged byte is never interpreted as
/// data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// The node continues from the intact data and catches up from the other members. Until it has
    /// caught up, it grants no vote that could contradict what it forgot, it does not count
    /// towards a majority, and the damaged files stay. In a cluster of one: as `Refuse`.
    #[default]
    CatchUp,
    /// The start fails with an error that says where the damage is; nothing is changed.
    Refuse,
}

impl Default for FileOptions {
    fn default() -> FileOptions {
        FileOptions {
            segment_bytes: 16 << 20,
            spare_segments: 2,
            retained_snapshots: DEFAULT_RETAINED,
            snapshot_sync_bytes: 8 << 20,
            on_damage: OnDamage::CatchUp,
        }
    }
}

impl FileOptions {
    /// Checks that every option is within its range.
    pub fn validate(&self) -> Result<(), SettingError> {
        let mut rules = Rules::default();
        rules
            .between("segment_bytes", self.segment_bytes, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
            .between("spare_segments", self.spare_segments, 0, SPARE_SEGMENTS_MAX)
            .at_least("retained_snapshots", self.retained_snapshots, 1);
        rules.result()
    }
}

/// A directory that holds one node's log and snapshots.
pub struct FileStorage {
    dir: PathBuf,
    options: FileOptions,
    env: Arc<dyn Env>,
}

impl FileStorage {
    /// Storage in the directory `dir`, which need not exist yet. Nothing happens before it is
    /// opened.
    pub fn new(dir: impl Into<PathBuf>) -> FileStorage {
        FileStorage::with_options(dir, FileOptions::default())
    }

    /// The same with the given options.
    pub fn with_options(dir: impl Into<PathBuf>, options: FileOptions) -> FileStorage {
        FileStorage { dir: dir.into(), options, env: Arc::<RealEnv>::default() }
    }

    /// The same in another environment of file calls.
    #[cfg(any(test, fuzzing, feature = "testing"))]
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
        options
            .validate()
            .map_err(|error| refused(&dir, format!("these file options do not work: {error}")))?;
        let (files, layout) = (Files::new(env), Layout::new(dir));
        let (guard, founding) = directory::enter(&files, &layout, identity, start)?;
        let mut recovery = recovery::recover(&files, &layout, identity)?;
        let others = founding.base.voters.iter().any(|&voter| voter != identity.node);
        let may_lose = others && options.on_damage == OnDamage::CatchUp;
        let mut verdict =
            snapshots::examine(&files, &layout, identity.cluster, |snapshots, path| {
                verdict::reach(&mut recovery, snapshots, path, identity, may_lose)
            })?;
        if let Some(damage) = &recovery.unfinished {
            tracing::warn!(
                path = damage.path,
                offset = damage.offset,
                flaw = damage.what,
                "an unfinished write at the end of the log is cut off: nothing of it was acknowledged"
            );
        }
        if let Some(damage) = recovery.marks.flaw() {
            tracing::warn!(
                path = damage.path,
                offset = damage.offset,
                flaw = damage.what,
                "one of two copies of the log's end does not verify: the other one counts, and this one is written again"
            );
        }
        verdict.warn();
        let outline = verdict.log.outline();
        let opened = Arc::new(Opened {
            files,
            layout,
            identity,
            options,
            failed: Mutex::default(),
            _guard: guard,
        });
        // File names in this directory are synced later, when there may be no file descriptor left.
        opened.files.keep_dir(&opened.layout.snapshots())?;
        let found = tidy(&opened, recovery.chain, &verdict.log.segments)?;
        let log = FileLog::resume(opened.clone(), verdict, found, &recovery.marks)?;
        let state = log.state();
        if state.life.loss.is_none() {
            let current = state.snapshot.as_ref().map(|meta| meta.log_id);
            snapshots::sweep(&opened, current)?;
        }
        let recovered = Recovered {
            life: state.life,
            hard_state: state.hard_state,
            base: founding.base,
            snapshot: state.snapshot.clone(),
            log: outline,
            known_peers: state.known_peers.clone(),
        };
        let snapshots = FileSnapshots::new(opened);
        Ok(OpenedStorage { recovered, log: Box::new(log), snapshots: Box::new(snapshots) })
    }
}

/// Durably removes unused files, so that a crash cannot bring them back as part of the log: the
/// segment that was created and never used, and spare files.
fn tidy(
    opened: &Opened,
    chain: Chain,
    used: &std::collections::VecDeque<u64>,
) -> Result<Found, StorageError> {
    let Opened { files, layout, .. } = opened;
    if let Some(number) = chain.unused {
        let path = layout.segment(number);
        tracing::warn!(path = %path.display(), "a segment that was begun and never used is removed");
    }
    let names = files.list(&layout.log())?;
    let spares = names.iter().filter(|name| Layout::is_spare(name));
    let useless: Vec<PathBuf> = spares
        .map(|name| layout.log().join(name))
        .chain(chain.unused.map(|number| layout.segment(number)))
        .collect();
    useless.iter().try_for_each(|path| files.remove(path))?;
    if !useless.is_empty() {
        files.sync_dir(&layout.log())?;
    }
    let highest = chain.highest;
    let linked = chain.links.iter().map(|link| link.segment);
    let mut set_aside: Vec<u64> =
        linked.chain(chain.left_over).filter(|segment| !used.contains(segment)).collect();
    set_aside.sort_unstable();
    Ok(Found { set_aside, highest })
}

/// State shared by the log and the snapshots of one opening. The lock is released with the last of
/// them; readers do not hold it.
struct Opened {
    files: Files,
    layout: Layout,
    identity: Identity,
    options: FileOptions,
    /// The first failure.
    failed: Mutex<Option<String>>,
    _guard: Guard,
}

impl Opened {
    /// Runs work that changes files. If it fails or panics, nothing is ever retried (PS04): only a
    /// restart can determine what the disk holds after a failed call.
    fn latched<T>(
        &self,
        work: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        if let Some(cause) = &*self.failed.lock() {
            let what = format!("is closed since {cause}. Restart the node once the cause is gone");
            return Err(refused(self.layout.root(), what));
        }
        let mut latch = Latch { opened: self, cause: Some("a call panicked".into()) };
        let outcome = work();
        latch.cause = outcome.as_ref().err().map(|error| format!("a call failed ({error})"));
        outcome
    }

    /// The same for work that opens the files it needs before it changes anything. If no file
    /// descriptor is available for that, the storage stays open, and the work may be retried.
    fn latched_once_open<T>(
        &self,
        work: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.latched(|| match work() {
            Err(error) if error.is_out_of_descriptors() => Ok(Err(error)),
            outcome => outcome.map(Ok),
        })?
    }
}

/// Closes the storage when dropped, unless the work succeeded.
struct Latch<'a> {
    opened: &'a Opened,
    cause: Option<String>,
}

impl Drop for Latch<'_> {
    fn drop(&mut self) {
        if let Some(cause) = self.cause.take() {
            self.opened.failed.lock().get_or_insert(cause);
        }
    }
}
