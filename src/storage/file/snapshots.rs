//! Snapshots as files: written under a number, published by a rename, found by their log id.
//!
//! ```text
//! <number>.tmp ─▶ fsync ─▶ (received: verified) ─▶ rename to <index>-<term>.snap
//!                                               ─▶ fsync of the directory
//! ```
//! Only then is the snapshot reported as published (SN17). A number is used once in an opening, so
//! an abandoned writer and its successor never share a file. Files left by an earlier opening are
//! removed at the start.
//!
//! *What it does not do:* decide which snapshot is current. The log's record names it (B10).

use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::super::snapshot_choice::{superfluous, swept};
use super::super::snapshot_format::{
    Flaw, Header, SnapshotContent, SnapshotWriter, verify_received,
};
use super::super::{SnapshotReader, SnapshotReceiver, SnapshotSink, SnapshotStore, StorageError};
use super::Opened;
use super::directory::Layout;
use super::env::{Files, InFile, OutFile, WriteMode};
use super::recovery::Damage;
use super::verdict::{Examination, Examined};
use crate::raft::{LogId, Membership, SnapshotMeta};

/// Bytes of a snapshot per read call.
const READ_BYTES: usize = 256 * 1024;

/// The snapshots of an opened directory.
pub(crate) struct FileSnapshots {
    opened: Arc<Opened>,
    next_tmp: u64,
}

impl FileSnapshots {
    pub(crate) fn new(opened: Arc<Opened>) -> FileSnapshots {
        FileSnapshots { opened, next_tmp: 1 }
    }

    fn begin_file(&mut self) -> Result<TmpFile, StorageError> {
        let path = self.opened.layout.snapshot_tmp(self.next_tmp);
        self.next_tmp += 1;
        let file = self.opened.files.open_write(&path, WriteMode::Fresh)?;
        Ok(TmpFile {
            opened: self.opened.clone(),
            file,
            written_bytes: 0,
            synced_bytes: 0,
            is_published: false,
        })
    }
}

/// Passes the stored snapshots to `judge`, with their directory; changes no file.
pub(crate) fn examine<T>(
    files: &Files,
    layout: &Layout,
    cluster: u64,
    judge: impl FnOnce(&mut Examined<'_>, &Path) -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    let read = |id| {
        let path = layout.snapshot(id);
        match open_content(files, &path) {
            Ok(None) => Ok(Err(Damage::new(&path, 0, "is missing"))),
            Ok(Some(content)) if content.header().cluster != cluster => {
                Ok(Err(Damage::new(&path, 16, "belongs to another cluster")))
            }
            Ok(Some(content)) => {
                judged(content.verify_rest().map_err(|error| unreadable(&path, error)))
            }
            Err(error) => judged(Err(error)),
        }
    };
    let mut examined = Examined::new(stored(files, layout)?, &read);
    judge(&mut examined, &layout.snapshots())
}

/// Damage is a result about the snapshot; any other error is a failed call.
fn judged(outcome: Result<SnapshotMeta, StorageError>) -> Examination {
    match outcome {
        Ok(meta) => Ok(Ok(meta)),
        Err(StorageError::Damaged { path, offset, what }) => Ok(Err(Damage { path, offset, what })),
        Err(failed) => Err(failed),
    }
}

/// Removes files left by an earlier opening: unfinished ones, and snapshots that no record names or
/// that are obsolete.
pub(crate) fn sweep(opened: &Opened, current: Option<LogId>) -> Result<(), StorageError> {
    let Opened { files, layout, options, .. } = opened;
    for name in files.list(&layout.snapshots())?.iter().filter(|name| Layout::is_snapshot_tmp(name))
    {
        files.remove(&layout.snapshots().join(name))?;
    }
    let stored = stored(files, layout)?;
    let retained = options.retained_snapshots;
    let needless = current.map_or(stored.clone(), |current| swept(&stored, current, retained));
    needless.into_iter().try_for_each(|id| files.remove(&layout.snapshot(id)))
}

fn stored(files: &Files, layout: &Layout) -> Result<Vec<LogId>, StorageError> {
    Ok(files
        .list(&layout.snapshots())?
        .iter()
        .filter_map(|name| Layout::snapshot_id(name))
        .collect())
}

type Content = SnapshotContent<BufReader<InFile>>;

/// `None`: the file does not exist.
fn open_content(files: &Files, path: &Path) -> Result<Option<Content>, StorageError> {
    let Some(file) = files.open_read_if_there(path)? else { return Ok(None) };
    SnapshotContent::open(BufReader::with_capacity(READ_BYTES, file))
        .map(Some)
        .map_err(|error| unreadable(path, error))
}

/// Converts a flaw of the bytes, or a failed read.
fn unreadable(path: &Path, error: io::Error) -> StorageError {
    let path = path.display().to_string();
    match Flaw::of(&error) {
        Some(Flaw { offset, what }) => {
            StorageError::Damaged { path, offset, what: format!("does not verify: {what}") }
        }
        None => StorageError::Io { operation: "read", path, source: error },
    }
}

impl SnapshotStore for FileSnapshots {
    fn create(
        &mut self,
        log_id: LogId,
        membership: &Membership,
    ) -> Result<Box<dyn SnapshotSink>, StorageError> {
        let opened = self.opened.clone();
        opened.latched_once_open(|| {
            let header =
                Header { cluster: opened.identity.cluster, log_id, membership: membership.clone() };
            let file = self.begin_file()?;
            let path = file.path();
            let writer = SnapshotWriter::new(file, &header).map_err(write_failed(path))?;
            Ok(Box::new(FileSink { log_id, membership: membership.clone(), writer })
                as Box<dyn SnapshotSink>)
        })
    }

    fn receive(&mut self, meta: &SnapshotMeta) -> Result<Box<dyn SnapshotReceiver>, StorageError> {
        let opened = self.opened.clone();
        opened.latched_once_open(|| {
            let file = self.begin_file()?;
            // Opened now, so that verifying the received bytes later needs no further file
            // descriptor.
            let written = opened.files.open_read(&file.path())?;
            Ok(Box::new(FileReceiver { meta: meta.clone(), file, written, excess_bytes: 0 })
                as Box<dyn SnapshotReceiver>)
        })
    }

    fn open(&mut self, log_id: LogId) -> Result<Box<dyn Read + Send>, StorageError> {
        let path = self.opened.layout.snapshot(log_id);
        match open_content(&self.opened.files, &path)? {
            Some(content) if content.header().log_id == log_id => Ok(Box::new(content)),
            Some(_) => Err(unreadable(&path, Flaw::error(0, "has another one's name"))),
            None => Err(unreadable(&path, io::ErrorKind::NotFound.into())),
        }
    }

    fn reader(&self) -> Box<dyn SnapshotReader> {
        let (files, layout) = (self.opened.files.clone(), self.opened.layout.clone());
        Box::new(FileSnapshotReader { files, layout, open: None })
    }

    fn remove(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let opened = self.opened.clone();
        opened.latched(|| opened.files.remove_if_there(&opened.layout.snapshot(log_id)))
    }

    fn retain(&mut self, current: LogId, keep: Option<LogId>) -> Result<(), StorageError> {
        let opened = self.opened.clone();
        opened.latched_once_open(|| {
            let stored = stored(&opened.files, &opened.layout)?;
            let needless = superfluous(&stored, current, keep, opened.options.retained_snapshots);
            needless.into_iter().try_for_each(|id| opened.files.remove(&opened.layout.snapshot(id)))
        })
    }
}

/// A temporary file, removed when dropped unless it was published.
struct TmpFile {
    opened: Arc<Opened>,
    file: OutFile,
    written_bytes: u64,
    /// How many of these bytes are synced.
    synced_bytes: u64,
    is_published: bool,
}

impl TmpFile {
    fn path(&self) -> PathBuf {
        self.file.path.clone()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let opened = self.opened.clone();
        opened.latched(|| self.file.write_at(bytes, self.written_bytes))?;
        self.written_bytes += bytes.len() as u64;
        let sync_bytes = opened.options.snapshot_sync_bytes;
        if sync_bytes > 0 && self.written_bytes - self.synced_bytes >= sync_bytes {
            opened.latched(|| self.file.sync_data())?;
            self.synced_bytes = self.written_bytes;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.file.sync_all()
    }

    /// Publishes the file, which is durable already, and makes its name durable.
    fn publish(mut self, id: LogId) -> Result<(), StorageError> {
        let Opened { files, layout, .. } = &*self.opened;
        files.rename(&self.file.path, &layout.snapshot(id))?;
        self.is_published = true;
        files.sync_dir(&layout.snapshots())
    }
}

impl Write for TmpFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TmpFile {
    fn drop(&mut self) {
        if !self.is_published {
            // A file that can't be removed now is removed at the next start.
            let _ = self.opened.files.remove(&self.file.path);
        }
    }
}

/// Returns the storage error that was passed through `Write`, or converts another error.
fn write_failed(path: PathBuf) -> impl FnOnce(io::Error) -> StorageError {
    move |error| match error.downcast::<StorageError>() {
        Ok(failed) => failed,
        Err(source) => {
            StorageError::Io { operation: "write", path: path.display().to_string(), source }
        }
    }
}

struct FileSink {
    log_id: LogId,
    membership: Membership,
    writer: SnapshotWriter<TmpFile>,
}

impl Write for FileSink {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.writer.write(content)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl SnapshotSink for FileSink {
    fn publish(self: Box<Self>) -> Result<SnapshotMeta, StorageError> {
        let FileSink { log_id, membership, writer } = *self;
        let (mut file, size_bytes) = writer.finish().map_err(write_failed(PathBuf::new()))?;
        let opened = file.opened.clone();
        opened.latched(|| {
            let path = opened.layout.snapshot(log_id);
            // A snapshot of the same entry holds the same state. It must not be replaced while it
            // is being sent.
            if let Ok(Some(stored)) = open_content(&opened.files, &path)
                && let Ok(meta) = stored.verify_rest()
            {
                return Ok(meta);
            }
            file.sync()?;
            file.publish(log_id)?;
            Ok(SnapshotMeta { log_id, membership, size_bytes })
        })
    }
}

struct FileReceiver {
    meta: SnapshotMeta,
    file: TmpFile,
    /// The same file, for reading.
    written: InFile,
    /// Bytes beyond the announced length: counted, not stored.
    excess_bytes: u64,
}

impl SnapshotReceiver for FileReceiver {
    fn append(&mut self, data: &Bytes) -> Result<(), StorageError> {
        let room = self.meta.size_bytes - self.file.written_bytes;
        let kept = data.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.excess_bytes += (data.len() - kept) as u64;
        self.file.append(&data[..kept])
    }

    fn received_bytes(&self) -> u64 {
        self.file.written_bytes + self.excess_bytes
    }

    fn publish(self: Box<Self>) -> Result<bool, StorageError> {
        let FileReceiver { meta, mut file, written, .. } = *self;
        let opened = file.opened.clone();
        opened.latched(|| {
            file.sync()?;
            let stored = BufReader::with_capacity(READ_BYTES, written);
            match verify_received(stored, opened.identity.cluster, &meta) {
                Ok(()) => file.publish(meta.log_id).map(|()| true),
                Err(error) if Flaw::of(&error).is_some() => {
                    tracing::warn!(snapshot = %meta.log_id, %error, "a received snapshot does not verify");
                    Ok(false)
                }
                Err(error) => Err(unreadable(&file.path(), error)),
            }
        })
    }
}

struct FileSnapshotReader {
    files: Files,
    layout: Layout,
    /// The last snapshot read stays open, so that a transfer reads one file from the first byte to
    /// the last.
    open: Option<(LogId, InFile)>,
}

impl SnapshotReader for FileSnapshotReader {
    fn read_at(
        &mut self,
        log_id: LogId,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, StorageError> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != log_id) {
            let file = self.files.open_read_if_there(&self.layout.snapshot(log_id))?;
            self.open = file.map(|file| (log_id, file));
        }
        let Some((_, file)) = &mut self.open else { return Ok(None) };
        let available = usize::try_from(file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut piece = vec![0; available.min(max_bytes)];
        let read = file.read_at(&mut piece, offset)?;
        piece.truncate(read);
        Ok(Some(piece.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::file::sim_disk::SimDisk;
    use crate::storage::file::{FileOptions, FileStorage};
    use crate::storage::tests::model::{content, members, open, publish};

    /// Number of syncs while a snapshot of 2.5 MB with chunks of 256 KiB is written.
    fn syncs(snapshot_sync_bytes: u64) -> u64 {
        let (disk, options) =
            (SimDisk::default(), FileOptions { snapshot_sync_bytes, ..FileOptions::default() });
        let mut opened = open(FileStorage::on(disk.clone(), "node", options)).unwrap();
        let before = disk.syncs();
        let mut sink = opened.snapshots.create(LogId::new(1, 1), &members()).unwrap();
        (0..100).for_each(|page| sink.write_all(&[page; 25_000]).unwrap());
        assert!(sink.publish().unwrap().size_bytes > 2_500_000);
        disk.syncs() - before
    }

    /// A snapshot's bytes as a member sends them.
    fn bytes_of(id: LogId) -> (SnapshotMeta, Bytes) {
        let disk = SimDisk::default();
        let mut opened = open(FileStorage::on(disk, "other", FileOptions::default())).unwrap();
        let meta = publish(&mut *opened.snapshots, id).unwrap();
        (meta, opened.snapshots.reader().read_at(id, 0, usize::MAX).unwrap().unwrap())
    }

    /// SN09, SN17: two snapshots are built and two are received concurrently, chunk by chunk in
    /// turns, and one of each is dropped half-way. Each has its own file, and the other two are
    /// complete.
    #[test]
    fn snapshots_built_and_received_at_once_do_not_touch_each_others_files() {
        let disk = SimDisk::default();
        let mut opened =
            open(FileStorage::on(disk.clone(), "node", FileOptions::default())).unwrap();
        let store = &mut opened.snapshots;
        let ids = [1, 2, 3, 4].map(|index| LogId::new(1, index));
        let sent = [ids[2], ids[3]].map(bytes_of);
        let mut dropped_sink = store.create(ids[0], &members()).unwrap();
        let mut receivers =
            [store.receive(&sent[0].0).unwrap(), store.receive(&sent[0].0).unwrap()];
        let mut sinks =
            [store.create(ids[0], &members()).unwrap(), store.create(ids[1], &members()).unwrap()];
        receivers[1] = store.receive(&sent[1].0).unwrap();
        let tmp = |disk: &SimDisk| {
            let is_tmp = |path: &&PathBuf| path.extension().is_some_and(|end| end == "tmp");
            disk.files().keys().filter(is_tmp).count()
        };
        assert_eq!(tmp(&disk), 5, "a file for each that is under way");
        let longest = sent.iter().map(|(_, bytes)| bytes.len()).max().unwrap();
        for at in (0..longest.max(1_000)).step_by(50) {
            for (receiver, (_, bytes)) in receivers.iter_mut().zip(&sent) {
                let piece = bytes.slice(at.min(bytes.len())..(at + 50).min(bytes.len()));
                receiver.append(&piece).unwrap();
            }
            for (sink, id) in sinks.iter_mut().zip(ids) {
                let content = content(id);
                let piece = &content[at.min(content.len())..(at + 50).min(content.len())];
                sink.write_all(piece).unwrap();
            }
            if at < 200 {
                dropped_sink.write_all(&[9; 50]).unwrap();
            }
        }
        drop(dropped_sink);
        let [first, second] = sinks;
        let [third, fourth] = receivers;
        assert!(third.publish().unwrap() && fourth.publish().unwrap());
        first.publish().unwrap();
        second.publish().unwrap();
        for id in ids {
            let mut read = Vec::new();
            store.open(id).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, content(id), "{id}");
        }
        assert_eq!(tmp(&disk), 0);
    }

    #[test]
    fn a_snapshot_is_synced_in_pieces_as_large_as_chosen() {
        let once = syncs(0);
        assert_eq!(syncs(1 << 30), once, "no piece is full");
        let in_pieces = syncs(500_000);
        assert!((once + 3..=once + 5).contains(&in_pieces), "{in_pieces} syncs, {once} at the end");
    }
}
