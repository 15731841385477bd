//! A disk that knows what is durable: file calls are counted, any can fail, and after any the power can go.
//!
//! A name and a file's bytes are *live* at once and *durable* with the fsync of the directory or the file. After
//! [`SimDisk::reboot`] what was not durable is lost, kept, or torn: then every 64 bytes and every name
//! decide for themselves. A failed fsync forgets what was to be written (the pages look clean from then on).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::storage::file::env::{Env, Guard, Job, ReadFile, WriteFile, WriteMode};

/// The granularity at which un-synced bytes persist; smaller than a real sector, so that small frames tear.
const SECTOR_BYTES: usize = 64;

/// What becomes of what was not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsynced {
    Lost,
    Kept,
    /// Decided by this seed.
    Torn(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

#[derive(Clone, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty: Vec<Range<usize>>,
}

#[derive(Default)]
struct Inner {
    inodes: Vec<Inode>,
    live: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    locks: BTreeSet<PathBuf>,
    calls: u64,
    changes: u64,
    syncs: u64,
    fail_at: Option<u64>,
    crash_after: Option<u64>,
}

type Hook = Box<dyn FnOnce() + Send>;

/// The disk; clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct SimDisk {
    inner: Arc<Mutex<Inner>>,
    before_read: Arc<Mutex<Option<Hook>>>,
    before_open: Arc<Mutex<Option<Hook>>>,
}

impl SimDisk {
    /// File calls so far, of any kind.
    pub(crate) fn calls(&self) -> u64 {
        self.inner.lock().calls
    }

    /// File calls so far that change something.
    pub(crate) fn changes(&self) -> u64 {
        self.inner.lock().changes
    }

    /// Calls so far that made a file's bytes durable.
    pub(crate) fn syncs(&self) -> u64 {
        self.inner.lock().syncs
    }

    /// The call of this number (from 0) fails, once.
    pub(crate) fn fail_at(&self, call: u64) {
        self.inner.lock().fail_at = Some(call);
    }

    /// After so many changing calls the power is gone: every further call fails.
    pub(crate) fn crash_after(&self, changes: u64) {
        self.inner.lock().crash_after = Some(changes);
    }

    /// Runs `hook` when a file's bytes are read the next time, before they are.
    pub(crate) fn before_read(&self, hook: impl FnOnce() + Send + 'static) {
        *self.before_read.lock() = Some(Box::new(hook));
    }

    /// Runs `hook` when a file is opened for reading the next time, before it is.
    pub(crate) fn before_open(&self, hook: impl FnOnce() + Send + 'static) {
        *self.before_open.lock() = Some(Box::new(hook));
    }

    /// The disk after the power came back.
    pub(crate) fn reboot(&self, unsynced: Unsynced) -> SimDisk {
        let inner = self.inner.lock();
        let mut random = Random(match unsynced {
            Unsynced::Torn(seed) => seed,
            _ => 0,
        });
        let mut next = Inner::default();
        let paths: BTreeSet<&PathBuf> = inner.live.keys().chain(inner.durable.keys()).collect();
        for path in paths {
            let (live, durable) = (inner.live.get(path), inner.durable.get(path));
            let node = if pick_live(unsynced, &mut random) { live } else { durable };
            let parent_there =
                path.parent().is_none_or(|dir| dir == Path::new("") || next.live.contains_key(dir));
            if let Some(&node) = node.filter(|_| parent_there) {
                next.live.insert(path.clone(), node);
            }
        }
        next.durable = next.live.clone();
        next.inodes =
            inner.inodes.iter().map(|inode| after_crash(inode, unsynced, &mut random)).collect();
        SimDisk { inner: Arc::new(Mutex::new(next)), ..SimDisk::default() }
    }

    /// All files with their bytes.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let inner = self.inner.lock();
        let file = |(path, node): (&PathBuf, &Node)| match node {
            Node::File(number) => Some((path.clone(), inner.inodes[*number].live.clone())),
            Node::Dir => None,
        };
        inner.live.iter().filter_map(file).collect()
    }

    /// Replaces a file's bytes, durably; the file need not be there.
    pub(crate) fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut inner = self.inner.lock();
        let number = inner.inodes.len();
        inner.inodes.push(Inode { live: bytes.clone(), durable: bytes, dirty: Vec::new() });
        inner.live.insert(path.to_owned(), Node::File(number));
        inner.durable.insert(path.to_owned(), Node::File(number));
    }

    /// Removes a file, durably.
    pub(crate) fn take(&self, path: &Path) {
        let mut inner = self.inner.lock();
        inner.live.remove(path);
        inner.durable.remove(path);
    }

    fn call<T>(
        &self,
        changes: bool,
        work: impl FnOnce(&mut Inner, bool) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut inner = self.inner.lock();
        if inner.crash_after.is_some_and(|after| inner.changes >= after) {
            return Err(io::Error::other("the power is gone"));
        }
        let fails = inner.fail_at == Some(inner.calls);
        inner.calls += 1;
        inner.changes += u64::from(changes);
        let outcome = work(&mut inner, fails);
        if fails { Err(io::Error::other("a fault was injected")) } else { outcome }
    }
}

fn pick_live(unsynced: Unsynced, random: &mut Random) -> bool {
    match unsynced {
        Unsynced::Lost => false,
        Unsynced::Kept => true,
        Unsynced::Torn(_) => random.coin(),
    }
}

fn after_crash(inode: &Inode, unsynced: Unsynced, random: &mut Random) -> Inode {
    let longer = pick_live(unsynced, random);
    let length = if longer { inode.live.len() } else { inode.durable.len() };
    let mut bytes = vec![0; length];
    for at in (0..length).step_by(SECTOR_BYTES) {
        let dirty =
            inode.dirty.iter().any(|range| range.start < at + SECTOR_BYTES && range.end > at);
        let from = if dirty && pick_live(unsynced, random) { &inode.live } else { &inode.durable };
        let end = length.min(at + SECTOR_BYTES).min(from.len());
        if at < end {
            bytes[at..end].copy_from_slice(&from[at..end]);
        }
    }
    Inode { live: bytes.clone(), durable: bytes, dirty: Vec::new() }
}

/// A small generator: what is torn comes from a seed.
struct Random(u64);

impl Random {
    fn coin(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 63 == 1
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
        self.call(true, |inner, fails| {
            if !fails {
                inner.live.insert(dir.to_owned(), Node::Dir);
            }
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.call(false, |inner, _| {
            if inner.live.get(dir) != Some(&Node::Dir) {
                return Err(not_found());
            }
            let inside = inner.live.keys().filter(|path| path.parent() == Some(dir));
            Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Guard>> {
        self.call(true, |inner, fails| {
            if fails || !inner.locks.insert(path.to_owned()) {
                return Ok(None);
            }
            if !inner.live.contains_key(path) {
                let number = inner.inodes.len();
                inner.inodes.push(Inode::default());
                inner.live.insert(path.to_owned(), Node::File(number));
            }
            Ok(Some(Box::new(Unlock { disk: self.clone(), path: path.to_owned() }) as Guard))
        })
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        run(&self.before_open);
        self.call(false, |inner, _| match inner.live.get(path) {
            Some(Node::File(number)) => {
                Ok(Box::new(SimFile { disk: self.clone(), number: *number }) as _)
            }
            _ => Err(not_found()),
        })
    }

    fn open_write(&self, path: &Path, mode: WriteMode) -> io::Result<Box<dyn WriteFile>> {
        self.call(mode != WriteMode::Existing, |inner, fails| {
            if fails {
                return Err(not_found());
            }
            let known = match inner.live.get(path) {
                Some(Node::File(number)) => Some(*number),
                _ => None,
            };
            let number = match (mode, known) {
                (WriteMode::Existing, None) => return Err(not_found()),
                (WriteMode::New, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
                (WriteMode::Existing, Some(number)) => number,
                _ => {
                    let number = inner.inodes.len();
                    inner.inodes.push(Inode::default());
                    inner.live.insert(path.to_owned(), Node::File(number));
                    number
                }
            };
            Ok(Box::new(SimFile { disk: self.clone(), number }) as _)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(true, |inner, fails| {
            if !fails {
                let node = inner.live.remove(from).ok_or_else(not_found)?;
                inner.live.insert(to.to_owned(), node);
            }
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(true, |inner, fails| {
            if !fails {
                inner.live.remove(path).ok_or_else(not_found)?;
            }
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(true, |inner, fails| {
            if !fails {
                let dir = dir.strip_prefix(".").unwrap_or(dir);
                let inside = |path: &Path| path.parent() == Some(dir);
                let Inner { live, durable, .. } = inner;
                durable.retain(|path, _| !inside(path));
                durable.extend(
                    live.iter()
                        .filter(|(path, _)| inside(path))
                        .map(|(path, node)| (path.clone(), *node)),
                );
            }
            Ok(())
        })
    }

    fn background(&self, work: Box<dyn FnOnce() + Send>) -> Job {
        work();
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
    number: usize,
}

impl ReadFile for SimFile {
    fn len(&mut self) -> io::Result<u64> {
        self.disk.call(false, |inner, _| Ok(inner.inodes[self.number].live.len() as u64))
    }

    fn read_at(&mut self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        run(&self.disk.before_read);
        self.disk.call(false, |inner, _| {
            let live = &inner.inodes[self.number].live;
            let rest = live.get(offset as usize..).unwrap_or(&[]);
            let read = out.len().min(rest.len());
            out[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        })
    }
}

impl WriteFile for SimFile {
    /// A failing write stores the first half.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.call(true, |inner, fails| {
            let bytes = if fails { &bytes[..bytes.len() / 2] } else { bytes };
            let inode = &mut inner.inodes[self.number];
            let range = offset as usize..offset as usize + bytes.len();
            if inode.live.len() < range.end {
                inode.live.resize(range.end, 0);
            }
            inode.live[range.clone()].copy_from_slice(bytes);
            inode.dirty.push(range);
            Ok(())
        })
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.disk.call(true, |inner, fails| {
            inner.syncs += 1;
            let Inode { live, durable, dirty } = &mut inner.inodes[self.number];
            if !fails {
                durable.resize(live.len(), 0);
            }
            for range in dirty.drain(..).filter(|_| !fails) {
                let end = range.end.min(live.len());
                if range.start < end {
                    durable[range.start..end].copy_from_slice(&live[range.start..end]);
                }
            }
            Ok(())
        })
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
