//! All file calls of the storage.
//!
//! They are few and simple, so that a test can count them, make any of them fail, and crash after
//! any of them with unsynced data lost, kept or torn. [`Files`] adds the path and the call's name
//! to an error.
//!
//! *What it does not do:* retry. A failed call is reported, and its caller stops (PS04).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::super::StorageError;

/// Holds a directory's lock until it is dropped.
pub(crate) type Guard = Box<dyn Send + Sync>;

/// How a file is opened for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteMode {
    /// The file must not exist.
    New,
    /// The file must exist; its content stays.
    Existing,
    /// The file is created or emptied.
    Fresh,
}

/// The file system calls that the storage needs.
pub(crate) trait Env: Send + Sync + 'static {
    /// Creates a directory and its parents; an existing one is no error.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names in a directory, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Takes the lock that the file at `path` represents. `None`: another process holds the
    /// exclusive lock.
    fn lock(&self, path: &Path) -> io::Result<Option<Guard>>;
    /// Whether another process holds the exclusive lock at `path`. Creates nothing.
    fn is_locked(&self, path: &Path) -> io::Result<bool>;
    /// Opens a file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>>;
    /// Opens a file for writing.
    fn open_write(&self, path: &Path, mode: WriteMode) -> io::Result<Box<dyn WriteFile>>;
    /// Renames a file, replacing an existing one of the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Keeps a directory open for later syncs: [`Env::sync_dir`] then needs no file descriptor for
    /// it.
    fn keep_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    /// Free space for files in a directory in bytes, if known.
    fn free_bytes(&self, _dir: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }
    /// Runs work in the background; a simulated file system runs it at once.
    fn background(&self, work: Box<dyn FnOnce() + Send>) -> Job;
}

/// Background work.
pub(crate) struct Job(Option<thread::JoinHandle<()>>);

impl Job {
    /// Work that is done already.
    #[cfg(any(test, fuzzing, feature = "testing"))]
    pub(crate) fn done() -> Job {
        Job(None)
    }

    /// Waits until it is done. A panic in it has closed the storage and is reported there.
    pub(crate) fn join(self) {
        let _ = self.0.map(thread::JoinHandle::join);
    }
}

/// A file being read.
pub(crate) trait ReadFile: Send {
    /// Its current length.
    fn len(&mut self) -> io::Result<u64>;
    /// Bytes from `offset`; 0 only at the end.
    fn read_at(&mut self, out: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// A file being written.
pub(crate) trait WriteFile: Send {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the content durable, and the length if reading the content needs it.
    fn sync_data(&mut self) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync_all(&mut self) -> io::Result<()>;
}

/// Number of attempts to lock. Checking whether a lock is held takes it for a moment.
const LOCK_ATTEMPTS: u32 = 11;
/// Pause between two attempts; all of them take a quarter of a second.
const LOCK_PAUSE: Duration = Duration::from_millis(25);

fn patiently<T>(
    mut attempt: impl FnMut() -> io::Result<Option<T>>,
    mut pause: impl FnMut(Duration),
) -> io::Result<Option<T>> {
    for _ in 1..LOCK_ATTEMPTS {
        match attempt()? {
            None => pause(LOCK_PAUSE),
            taken => return Ok(taken),
        }
    }
    attempt()
}

fn try_lock(path: &Path) -> io::Result<Option<Guard>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Box::new(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The operating system's file system.
#[derive(Default)]
pub(crate) struct RealEnv {
    /// Opened directories, kept to sync them even if no further file can be opened.
    dirs: Mutex<BTreeMap<PathBuf, Arc<File>>>,
}

impl RealEnv {
    fn dir(&self, dir: &Path) -> io::Result<Arc<File>> {
        let mut dirs = self.dirs.lock();
        if let Some(open) = dirs.get(dir) {
            return Ok(open.clone());
        }
        let open = Arc::new(File::open(dir)?);
        dirs.insert(dir.to_owned(), open.clone());
        Ok(open)
    }
}

impl Env for RealEnv {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(dir)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the place that opens storage waits; a simulation has another file system"
    )]
    fn lock(&self, path: &Path) -> io::Result<Option<Guard>> {
        patiently(|| try_lock(path), thread::sleep)
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        match File::open(path)?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn open_write(&self, path: &Path, mode: WriteMode) -> io::Result<Box<dyn WriteFile>> {
        let mut options = OpenOptions::new();
        options.write(true);
        match mode {
            WriteMode::New => options.create_new(true),
            WriteMode::Existing => &mut options,
            WriteMode::Fresh => options.create(true).truncate(true),
        };
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Only on Unix can a directory be opened; elsewhere names are durable with the file.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if cfg!(unix) { self.dir(dir)?.sync_all() } else { Ok(()) }
    }

    fn keep_dir(&self, dir: &Path) -> io::Result<()> {
        if cfg!(unix) { self.dir(dir).map(drop) } else { Ok(()) }
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        free_bytes(dir)
    }

    /// If no thread can be started, the caller runs the work.
    fn background(&self, work: Box<dyn FnOnce() + Send>) -> Job {
        let work = Arc::new(Mutex::new(Some(work)));
        // The background work logs in the span of the member that requested it.
        let span = tracing::Span::current();
        let run = move || {
            let work = work.lock().take();
            span.in_scope(|| work.into_iter().for_each(|work| work()));
        };
        match thread::Builder::new().name("quorate-spares".into()).spawn(run.clone()) {
            Ok(handle) => Job(Some(handle)),
            Err(error) => {
                tracing::warn!(%error, "no thread for preparing files of the log");
                run();
                Job(None)
            }
        }
    }
}

impl ReadFile for File {
    fn len(&mut self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&mut self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        at_offset::read(self, out, offset)
    }
}

impl WriteFile for File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        at_offset::write_all(self, bytes, offset)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&mut self) -> io::Result<()> {
        File::sync_all(self)
    }
}

#[cfg(unix)]
fn free_bytes(dir: &Path) -> io::Result<Option<u64>> {
    let space = rustix::fs::statvfs(dir)?;
    Ok(Some(space.f_bavail.saturating_mul(space.f_frsize)))
}

#[cfg(not(unix))]
fn free_bytes(_dir: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

/// Reads and writes at an offset, in one call where the system has one.
#[cfg(unix)]
mod at_offset {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    pub(super) fn read(file: &mut File, out: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(out, offset)
    }

    pub(super) fn write_all(file: &mut File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }
}

#[cfg(not(unix))]
mod at_offset {
    use std::fs::File;
    use std::io::{self, Read, Seek, SeekFrom, Write};

    pub(super) fn read(file: &mut File, out: &mut [u8], offset: u64) -> io::Result<usize> {
        file.seek(SeekFrom::Start(offset))?;
        file.read(out)
    }

    pub(super) fn write_all(file: &mut File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }
}

/// An error with the call and the path of the file.
pub(crate) fn failed(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> StorageError {
    move |source| StorageError::Io {
        operation,
        path: path.display().to_string(),
        source: with_remedy(source),
    }
}

/// Adds what to do about the error, if known.
fn with_remedy(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::StorageFull {
        return error;
    }
    let what = format!("the disk is full ({error}): make room, then start this node again");
    io::Error::new(io::ErrorKind::StorageFull, what)
}

/// The file system, with the call and the path in errors.
#[derive(Clone)]
pub(crate) struct Files {
    env: Arc<dyn Env>,
}

impl Files {
    pub(crate) fn new(env: Arc<dyn Env>) -> Files {
        Files { env }
    }

    pub(crate) fn create_dir(&self, dir: &Path) -> Result<(), StorageError> {
        self.env.create_dir(dir).map_err(failed("create directory", dir))
    }

    /// Sorted names in a directory; none if it does not exist.
    pub(crate) fn list(&self, dir: &Path) -> Result<Vec<String>, StorageError> {
        self.list_if_there(dir).map(Option::unwrap_or_default)
    }

    /// Sorted names in a directory. `None`: it does not exist.
    pub(crate) fn list_if_there(&self, dir: &Path) -> Result<Option<Vec<String>>, StorageError> {
        let mut names = match self.env.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            listed => listed.map_err(failed("list", dir))?,
        };
        names.sort();
        Ok(Some(names))
    }

    pub(crate) fn lock(&self, path: &Path) -> Result<Option<Guard>, StorageError> {
        self.env.lock(path).map_err(failed("lock", path))
    }

    /// Whether another process holds the lock; `false` if the file does not exist.
    pub(crate) fn is_locked(&self, path: &Path) -> Result<bool, StorageError> {
        match self.env.is_locked(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            locked => locked.map_err(failed("look at the lock", path)),
        }
    }

    pub(crate) fn open_read(&self, path: &Path) -> Result<InFile, StorageError> {
        let file = self.env.open_read(path).map_err(failed("open", path))?;
        Ok(InFile { path: path.to_owned(), file, position: 0 })
    }

    /// `None`: the file does not exist.
    pub(crate) fn open_read_if_there(&self, path: &Path) -> Result<Option<InFile>, StorageError> {
        match self.open_read(path) {
            Err(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            opened => opened.map(Some),
        }
    }

    pub(crate) fn open_write(&self, path: &Path, mode: WriteMode) -> Result<OutFile, StorageError> {
        let file = self.env.open_write(path, mode).map_err(failed("create", path))?;
        Ok(OutFile { path: path.to_owned(), file })
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.env.rename(from, to).map_err(failed("rename", from))
    }

    pub(crate) fn remove(&self, path: &Path) -> Result<(), StorageError> {
        self.env.remove(path).map_err(failed("remove", path))
    }

    pub(crate) fn remove_if_there(&self, path: &Path) -> Result<(), StorageError> {
        match self.env.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(failed("remove", path)),
        }
    }

    pub(crate) fn background(&self, work: Box<dyn FnOnce() + Send>) -> Job {
        self.env.background(work)
    }

    pub(crate) fn sync_dir(&self, dir: &Path) -> Result<(), StorageError> {
        self.env.sync_dir(dir).map_err(failed("fsync directory", dir))
    }

    /// Keeps this directory open: syncing it then needs no file descriptor.
    pub(crate) fn keep_dir(&self, dir: &Path) -> Result<(), StorageError> {
        self.env.keep_dir(dir).map_err(failed("open", dir))
    }

    /// Free space for files in a directory in bytes, if known.
    pub(crate) fn free_bytes(&self, dir: &Path) -> Option<u64> {
        self.env.free_bytes(dir).ok().flatten()
    }
}

/// A file being read, at any offset or from the beginning.
pub(crate) struct InFile {
    pub path: PathBuf,
    file: Box<dyn ReadFile>,
    position: u64,
}

impl InFile {
    pub(crate) fn len(&mut self) -> Result<u64, StorageError> {
        self.file.len().map_err(failed("stat", &self.path))
    }

    /// Fills `out` from `offset` as far as the file goes; returns the number of bytes.
    pub(crate) fn read_at(&mut self, out: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        let mut filled = 0;
        while filled < out.len() {
            match self.file.read_at(&mut out[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &self.path)(error)),
            }
        }
        Ok(filled)
    }
}

impl Read for InFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(out, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// A file being written.
pub(crate) struct OutFile {
    pub path: PathBuf,
    file: Box<dyn WriteFile>,
}

impl OutFile {
    pub(crate) fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), StorageError> {
        self.file.write_at(bytes, offset).map_err(failed("write", &self.path))
    }

    pub(crate) fn sync_data(&mut self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(failed("fdatasync", &self.path))
    }

    pub(crate) fn sync_all(&mut self) -> Result<(), StorageError> {
        self.file.sync_all().map_err(failed("fsync", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `quorate inspect` takes the lock for a moment; a start at that moment must not fail.
    #[test]
    fn a_lock_that_is_only_looked_at_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let mut looking = Some(File::create(&path).unwrap());
        assert!(looking.as_ref().unwrap().try_lock_shared().is_ok());
        assert!(try_lock(&path).unwrap().is_none());
        assert!(patiently(|| try_lock(&path), |_| drop(looking.take())).unwrap().is_some());
    }

    #[test]
    fn a_lock_that_is_held_is_waited_for_a_quarter_of_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let _held = RealEnv::default().lock(&path).unwrap().expect("nobody else");
        let mut waited = Duration::ZERO;
        let attempt = patiently(|| try_lock(&path), |pause| waited += pause);
        assert!(attempt.unwrap().is_none() && RealEnv::default().is_locked(&path).unwrap());
        assert_eq!(waited, Duration::from_millis(250));
    }
}
