//! A simulated disk with durability: file calls are counted and recorded, any can fail, and the
//! power can fail after any of them.
//!
//! A name and a file's bytes are *live* at once and *durable* with the fsync of the directory or
//! the file. At [`SimDisk::reboot`] the rest is lost, kept, or decided piece by piece, as described
//! in [`recording`](super::recording), which makes the same images from a record without running
//! anything again. For tests and simulations.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::env::{Env, Guard, Job, ReadFile, WriteFile, WriteMode};
pub use super::recording::Unsynced;
use super::recording::{Call, Recorded, State};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No effect; of a write the first half is stored.
    Broken,
    /// The same, because the disk is full.
    Full,
    /// The complete effect, but an error is returned.
    Late,
    /// No effect: the process has no file descriptor left.
    NoDescriptor,
}

/// Which call fails.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// The call with this number, from 0.
    Call(u64),
    /// The next call with this name on a file whose name has this ending.
    Next(&'static str, &'static str),
}

impl Due {
    fn is(self, number: u64, name: &str, path: &Path) -> bool {
        match self {
            Due::Call(due) => due == number,
            Due::Next(due, end) => due == name && path.to_string_lossy().ends_with(end),
        }
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Fault::Full => io::ErrorKind::StorageFull.into(),
            // EMFILE; 4 is its number on Windows.
            Fault::NoDescriptor => io::Error::from_raw_os_error(if cfg!(windows) { 4 } else { 24 }),
            Fault::Broken | Fault::Late => io::Error::other("a fault was injected"),
        }
    }
}

#[derive(Default)]
struct Inner {
    state: State,
    locks: BTreeSet<PathBuf>,
    calls: u64,
    changes: u64,
    syncs: u64,
    fault: Option<(Due, Fault)>,
    /// The fault to set after the current one has occurred.
    following: Option<(Due, Fault)>,
    /// A call that fails each time.
    lasting: Option<(&'static str, &'static str, Fault)>,
    failed: Option<String>,
    is_beside: bool,
    crash_after: Option<u64>,
    crash_at: Option<(&'static str, &'static str)>,
    record: Vec<Recorded>,
    mark: usize,
    /// Whether no record is kept.
    is_forgetful: bool,
    /// The process has no file descriptor left.
    is_starved: bool,
    /// Free space in bytes, if set.
    free_bytes: Option<u64>,
    last_log_write: Option<(PathBuf, u64)>,
    /// Number of segments begun in an empty file, and of spares begun.
    begun: (u64, u64),
}

impl Inner {
    fn change(&mut self, call: Call) {
        self.state.apply(&call);
        if !self.is_forgetful {
            self.record.push(Recorded { call, mark: self.mark });
        }
    }
}

type Hook = Box<dyn FnOnce() + Send>;

/// The disk. Clones share it.
#[derive(Clone, Default)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
    before_read: Arc<Mutex<Option<Hook>>>,
    before_open: Arc<Mutex<Option<Hook>>>,
}

impl SimDisk {
    /// A disk with this content; it is durable as far as the state says.
    pub fn of(state: State) -> SimDisk {
        let inner = Inner { state, ..Inner::default() };
        SimDisk { inner: Arc::new(Mutex::new(inner)), ..SimDisk::default() }
    }

    /// The same without a record of its calls, for long runs.
    pub fn forgetful(state: State) -> SimDisk {
        let inner = Inner { state, is_forgetful: true, ..Inner::default() };
        SimDisk { inner: Arc::new(Mutex::new(inner)), ..SimDisk::default() }
    }

    /// Cancels all faults that were set.
    pub fn spare(&self) {
        let mut inner = self.inner.lock();
        (inner.fault, inner.following) = (None, None);
        (inner.crash_after, inner.crash_at) = (None, None);
    }

    /// File and offset of the last write to a log file.
    pub fn last_log_write(&self) -> Option<(PathBuf, u64)> {
        self.inner.lock().last_log_write.clone()
    }

    /// Number of file calls so far, of any kind.
    pub fn calls(&self) -> u64 {
        self.inner.lock().calls
    }

    /// Number of file calls so far that change something.
    pub fn changes(&self) -> u64 {
        self.inner.lock().changes
    }

    /// Number of calls so far that made a file's bytes durable.
    pub fn syncs(&self) -> u64 {
        self.inner.lock().syncs
    }

    /// Sets the mark of calls recorded from now on.
    pub fn mark(&self, mark: usize) {
        self.inner.lock().mark = mark;
    }

    /// All calls that changed something since the disk was made.
    pub fn record(&self) -> Vec<Recorded> {
        self.inner.lock().record.clone()
    }

    /// Its content.
    pub fn state(&self) -> State {
        self.inner.lock().state.clone()
    }

    /// Makes the call with this number (from 0) fail once.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.inner.lock().fault = Some((Due::Call(call), fault));
    }

    /// Makes the next call with this name on a file whose name ends with `end` fail once.
    pub fn fail_next(&self, name: &'static str, end: &'static str, fault: Fault) {
        self.inner.lock().fault = Some((Due::Next(name, end), fault));
    }

    /// After the current fault has occurred, makes the next call with this name on such a file fail
    /// too.
    pub fn then_fail(&self, name: &'static str, end: &'static str, fault: Fault) {
        self.inner.lock().following = Some((Due::Next(name, end), fault));
    }

    /// Makes each call with this name on a file with this ending fail, until it is set again.
    pub fn fail_each(&self, lasting: Option<(&'static str, &'static str, Fault)>) {
        self.inner.lock().lasting = lasting;
    }

    /// Number of segments begun in an empty file and of spares begun since the last call.
    pub fn take_begun(&self) -> (u64, u64) {
        std::mem::take(&mut self.inner.lock().begun)
    }

    /// While set, no file can be opened and no directory listed: the process has no file descriptor
    /// left.
    pub fn starve(&self, is_starved: bool) {
        self.inner.lock().is_starved = is_starved;
    }

    /// Sets the free space that the disk reports.
    pub fn leave_room(&self, bytes: Option<u64>) {
        self.inner.lock().free_bytes = bytes;
    }

    /// The failed call: its name, its file, and whether it was made in the background.
    pub fn failed(&self) -> Option<String> {
        self.inner.lock().failed.clone()
    }

    /// Cuts the power after this many changing calls: every further call fails.
    pub fn crash_after(&self, changes: u64) {
        self.inner.lock().crash_after = Some(changes);
    }

    /// Cuts the power before the next call with this name on a path that ends with `end`.
    pub fn crash_at(&self, name: &'static str, end: &'static str) {
        self.inner.lock().crash_at = Some((name, end));
    }

    /// Runs `hook` before the next read of a file's bytes.
    pub fn before_read(&self, hook: impl FnOnce() + Send + 'static) {
        *self.before_read.lock() = Some(Box::new(hook));
    }

    /// Runs `hook` before the next file is opened for reading.
    pub fn before_open(&self, hook: impl FnOnce() + Send + 'static) {
        *self.before_open.lock() = Some(Box::new(hook));
    }

    /// The disk after the power is restored.
    pub fn reboot(&self, unsynced: Unsynced) -> SimDisk {
        SimDisk::of(self.inner.lock().state.after_crash(unsynced))
    }

    /// All files with their bytes.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let Inner { state, .. } = &*self.inner.lock();
        let bytes = |path: &Path| Some((path.to_owned(), state.bytes(state.file(path)?).to_vec()));
        state.paths().filter_map(bytes).collect()
    }

    /// Replaces a file's bytes durably; creates the file if needed.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        self.inner.lock().state.put(path, bytes);
    }

    /// Changes bytes of a file without a file call; open handles see the change. Returns whether
    /// the file exists.
    pub fn rot(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut inner = self.inner.lock();
        let Some(file) = inner.state.file(path) else { return false };
        let mut bytes = inner.state.bytes(file).to_vec();
        edit(&mut bytes);
        inner.change(Call::Rot { file, bytes });
        true
    }

    /// Removes a file durably.
    pub fn take(&self, path: &Path) {
        self.inner.lock().state.take(path);
    }

    fn call<T>(
        &self,
        name: &'static str,
        path: &Path,
        changes: bool,
        work: impl FnOnce(&mut Inner, Option<Fault>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut inner = self.inner.lock();
        if inner.crash_at.is_some_and(|(call, end)| call == name && path.ends_with(end)) {
            (inner.crash_at, inner.crash_after) = (None, Some(inner.changes));
        }
        if inner.crash_after.is_some_and(|after| inner.changes >= after) {
            return Err(io::Error::other("the power is gone"));
        }
        if inner.is_starved && ["open_read", "open_write", "list"].contains(&name) {
            return Err(Fault::NoDescriptor.error());
        }
        let number = inner.calls;
        let fault = inner.fault.take_if(|(due, _)| due.is(number, name, path));
        let fault = fault.map(|(_, fault)| fault);
        if fault.is_some() {
            inner.fault = inner.following.take();
        }
        let lasting = inner.lasting.filter(|(call, end, _)| Due::Next(call, end).is(0, name, path));
        let fault = fault.or(lasting.map(|(.., fault)| fault));
        inner.calls += 1;
        inner.changes += u64::from(changes);
        let outcome = work(&mut inner, fault.filter(|fault| *fault != Fault::Late));
        let Some(fault) = fault else { return outcome };
        let beside = if inner.is_beside { " beside the writer" } else { "" };
        inner.failed = Some(format!("{name} {}{beside}", path.display()));
        // A lock taken despite the error is released now, which locks the disk's state.
        drop(inner);
        drop(outcome);
        Err(fault.error())
    }
}

fn run(hook: &Mutex<Option<Hook>>) {
    let hook = hook.lock().take();
    if let Some(hook) = hook {
        hook();
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Env for SimDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.call("create_dir", dir, true, |inner, fault| {
            if fault.is_none() && !inner.state.has_dir(dir) {
                inner.change(Call::MakeDir(dir.to_owned()));
            }
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.call("list", dir, false, |inner, _| {
            if !inner.state.has_dir(dir) {
                return Err(not_found());
            }
            let inside = inner.state.paths().filter(|path| path.parent() == Some(dir));
            Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Guard>> {
        self.call("lock", path, true, |inner, fault| {
            if fault.is_some() || !inner.locks.insert(path.to_owned()) {
                return Ok(None);
            }
            if inner.state.file(path).is_none() {
                inner.change(Call::Make(path.to_owned()));
            }
            Ok(Some(Box::new(Unlock { disk: self.clone(), path: path.to_owned() }) as Guard))
        })
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.call("is_locked", path, false, |inner, _| {
            let is_there = inner.state.file(path).is_some();
            if is_there { Ok(inner.locks.contains(path)) } else { Err(not_found()) }
        })
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        run(&self.before_open);
        self.call("open_read", path, false, |inner, _| {
            let file = inner.state.file(path).ok_or_else(not_found)?;
            Ok(Box::new(SimFile { disk: self.clone(), path: path.to_owned(), file }) as _)
        })
    }

    fn open_write(&self, path: &Path, mode: WriteMode) -> io::Result<Box<dyn WriteFile>> {
        self.call("open_write", path, mode != WriteMode::Existing, |inner, fault| {
            if fault.is_some() {
                return Err(not_found());
            }
            match path.extension().and_then(OsStr::to_str) {
                Some("wal") if mode == WriteMode::New => inner.begun.0 += 1,
                Some("spare") if mode == WriteMode::Fresh => inner.begun.1 += 1,
                _ => {}
            }
            let file = match (mode, inner.state.file(path)) {
                (WriteMode::Existing, None) => return Err(not_found()),
                (WriteMode::New, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
                (WriteMode::Existing, Some(file)) => file,
                (WriteMode::Fresh, Some(file)) => {
                    inner.change(Call::SetLen { file, length: 0 });
                    file
                }
                (WriteMode::New | WriteMode::Fresh, None) => {
                    inner.change(Call::Make(path.to_owned()));
                    inner.state.file(path).ok_or_else(not_found)?
                }
            };
            Ok(Box::new(SimFile { disk: self.clone(), path: path.to_owned(), file }) as _)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call("rename", from, true, |inner, fault| {
            if fault.is_none() {
                inner.state.file(from).ok_or_else(not_found)?;
                inner.change(Call::Rename { from: from.to_owned(), to: to.to_owned() });
            }
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call("remove", path, true, |inner, fault| {
            if fault.is_none() {
                inner.state.file(path).ok_or_else(not_found)?;
                inner.change(Call::Remove(path.to_owned()));
            }
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let same = dir.strip_prefix(".").unwrap_or(dir);
        self.call("sync_dir", dir, true, |inner, fault| {
            if fault.is_none() {
                inner.change(Call::SyncDir(same.to_owned()));
            }
            Ok(())
        })
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<Option<u64>> {
        Ok(self.inner.lock().free_bytes)
    }

    fn background(&self, work: Box<dyn FnOnce() + Send>) -> Job {
        self.inner.lock().is_beside = true;
        work();
        self.inner.lock().is_beside = false;
        Job::done()
    }
}

struct Unlock {
    disk: SimDisk,
    path: PathBuf,
}

impl Drop for Unlock {
    fn drop(&mut self) {
        self.disk.inner.lock().locks.remove(&self.path);
    }
}

struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    file: usize,
}

impl ReadFile for SimFile {
    fn len(&mut self) -> io::Result<u64> {
        self.disk.call("len", &self.path, false, |inner, _| {
            Ok(inner.state.bytes(self.file).len() as u64)
        })
    }

    fn read_at(&mut self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        run(&self.disk.before_read);
        self.disk.call("read_at", &self.path, false, |inner, _| {
            let bytes = inner.state.bytes(self.file);
            let rest = bytes.get(offset as usize..).unwrap_or(&[]);
            let read = out.len().min(rest.len());
            out[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        })
    }
}

impl WriteFile for SimFile {
    /// A failing write stores its first half.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.call("write_at", &self.path, true, |inner, fault| {
            let stored = if fault.is_some() { &bytes[..bytes.len() / 2] } else { bytes };
            let bytes = Bytes::copy_from_slice(stored);
            if self.path.extension().is_some_and(|end| end == "wal") && offset > 0 {
                inner.last_log_write = Some((self.path.clone(), offset));
            }
            inner.change(Call::Write { file: self.file, offset, bytes });
            Ok(())
        })
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.disk.call("sync", &self.path, true, |inner, fault| {
            inner.syncs += 1;
            inner.change(match fault {
                None => Call::Sync(self.file),
                Some(_) => Call::Forget(self.file),
            });
            Ok(())
        })
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
