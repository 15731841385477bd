//! A file system that refuses changes and reports how much was read.
//!
//! *What it does not do:* restrict what is read.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::env::{Env, Guard, Job, ReadFile, WriteFile, WriteMode};

/// Called after each read with its number of bytes.
pub(crate) type OnRead = Arc<dyn Fn(u64) + Send + Sync>;

/// Wraps a file system for reading only.
pub(crate) struct ReadOnly {
    pub env: Arc<dyn Env>,
    pub on_read: OnRead,
}

fn no<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Env for ReadOnly {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        no()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.env.list(dir)
    }

    /// Locking might create the lock's file.
    fn lock(&self, _: &Path) -> io::Result<Option<Guard>> {
        no()
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.env.is_locked(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        let file = self.env.open_read(path)?;
        Ok(Box::new(Watched { file, on_read: self.on_read.clone() }))
    }

    fn open_write(&self, _: &Path, _: WriteMode) -> io::Result<Box<dyn WriteFile>> {
        no()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        no()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        no()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        no()
    }

    fn background(&self, work: Box<dyn FnOnce() + Send>) -> Job {
        self.env.background(work)
    }
}

struct Watched {
    file: Box<dyn ReadFile>,
    on_read: OnRead,
}

impl ReadFile for Watched {
    fn len(&mut self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&mut self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(out, offset)?;
        (self.on_read)(read as u64);
        Ok(read)
    }
}
