//! What a fuzzer calls: each takes any bytes at all for what a disk holds, and panics only if a promise is broken.
//!
//! `fuzz/` has a target for each; the tests call the same functions with bytes of their own making. Checksums keep a fuzzer
//! from everything behind them, so they are made to hold here; `docs/formats.md` says where they stand.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::snapshot_format::SnapshotContent;
use super::tests::model::{
    Model, append, append_big, held, open, publish, purge, record, truncate, vote,
};
use super::tests::recording::State;
use super::tests::sim_disk::SimDisk;
use super::tests::workload::storage_of;
use super::{OpenedStorage, StorageError};
use crate::raft::{LogId, is_possible_incarnation};

const SEGMENT_BYTES: u64 = 900;
const HEADER_BYTES: usize = 56;
const FRAME_HEAD_BYTES: usize = 48;

/// A directory with several segments, two snapshots, and a file that is used again.
fn sound() -> &'static State {
    static SOUND: OnceLock<State> = OnceLock::new();
    SOUND.get_or_init(|| {
        let disk = SimDisk::default();
        let mut opened = open(storage_of(&disk, SEGMENT_BYTES)).expect("an empty disk");
        let OpenedStorage { log, snapshots, .. } = &mut opened;
        for index in 1..=24 {
            log.write(&[append(1, index..=index)]).expect("room");
            if index % 10 == 0 {
                let meta = publish(&mut **snapshots, LogId::new(1, index - 4)).expect("room");
                log.write(&[record(&meta), purge(1, index - 5)]).expect("room");
            }
        }
        log.write(&[vote(2, Some(3)), truncate(23), append_big(2, 23, 300)]).expect("room");
        drop(opened);
        disk.state()
    })
}

/// The newest segment with its bytes.
fn newest() -> (PathBuf, Vec<u8>) {
    let is_segment = |path: &&Path| path.extension().is_some_and(|end| end == "wal");
    let path = sound().paths().filter(is_segment).max().expect("a log");
    (path.to_owned(), bytes_of(path).to_vec())
}

fn bytes_of(path: &Path) -> &'static [u8] {
    sound().bytes(sound().file(path).expect("a file"))
}

/// Where the frames of a segment stand, as far as they can be followed, with their ends.
fn frames(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = HEADER_BYTES;
    while bytes.get(at..at + 4).is_some_and(|magic| magic == b"qrF1")
        && let Some(length) = bytes.get(at + 8..at + 12).and_then(|length| length.try_into().ok())
    {
        let end = at + FRAME_HEAD_BYTES + u32::from_le_bytes(length) as usize;
        if end > bytes.len() {
            break;
        }
        found.push((at, end));
        at = end;
    }
    found
}

/// Makes the checksums of a segment's frames hold.
fn mend(segment: u64, bytes: &mut [u8]) {
    for (at, end) in frames(bytes) {
        bytes[at + 16..at + 24].copy_from_slice(&segment.to_le_bytes());
        let crc = crc32c::crc32c(&segment.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &(at as u64).to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &bytes[at + 8..end]);
        bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    }
}

fn number_of(segment: &Path) -> u64 {
    let name = segment.file_stem().and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).expect("a segment's name")
}

/// A start is refused and changes nothing, or it finds the same as the next one.
fn open_twice(state: State) {
    let disk = SimDisk::of(state.clone());
    let start = || -> Result<(u64, Model), StorageError> {
        let opened = open(storage_of(&disk, SEGMENT_BYTES))?;
        Ok((opened.recovered.life.incarnation, held(&opened)))
    };
    let Ok((incarnation, first)) = start() else {
        assert!(disk.state().same_files(&state), "a refused start changed something");
        return;
    };
    if !is_possible_incarnation(incarnation + 1) {
        return;
    }
    let (later, second) = start().expect("what was opened once opens again");
    assert!(later > incarnation, "life {later} after {incarnation}");
    assert_eq!(first, second, "two starts differ");
}

fn open_with(path: &Path, bytes: Vec<u8>) {
    let mut state = sound().clone();
    state.put(path, bytes);
    open_twice(state);
}

/// A frame's payload behind a sound log, with a checksum that holds.
pub fn storage_frame(data: &[u8]) {
    let (path, mut bytes) = newest();
    let (last, end) = *frames(&bytes).last().expect("a checkpoint");
    let mut head = bytes[last..last + FRAME_HEAD_BYTES].to_vec();
    head[8..12].copy_from_slice(&(data.len() as u32).to_le_bytes());
    bytes.truncate(end);
    bytes.extend(head);
    bytes.extend(data);
    mend(number_of(&path), &mut bytes);
    open_with(&path, bytes);
}

/// All frames of the newest segment: as they come, and with checksums that hold.
pub fn storage_segment(data: &[u8]) {
    let (path, sound) = newest();
    let mut bytes = [&sound[..HEADER_BYTES], data].concat();
    open_with(&path, bytes.clone());
    mend(number_of(&path), &mut bytes);
    open_with(&path, bytes);
}

/// A snapshot from its header on: as it comes, and with the header's checksum made to hold.
pub fn snapshot_header(data: &[u8]) {
    let read = |bytes: &[u8]| {
        let Ok(content) = SnapshotContent::open(bytes) else { return };
        let header = content.header().clone();
        let Ok(meta) = content.verify_rest() else { return };
        assert_eq!((meta.log_id, &meta.membership), (header.log_id, &header.membership));
        assert_eq!(meta.size_bytes, bytes.len() as u64);
    };
    read(data);
    let mut bytes = data.to_vec();
    let length = data.get(12..16).and_then(|length| length.try_into().ok());
    let length = length.map_or(0, |length| u32::from_le_bytes(length) as usize);
    if (20..=bytes.len()).contains(&length) {
        let crc = crc32c::crc32c(&bytes[..length - 4]);
        bytes[length - 4..length].copy_from_slice(&crc.to_le_bytes());
        read(&bytes);
    }
}

/// Edits of a sound directory, each of eight bytes: which file, what, where, how much.
pub fn storage_directory(data: &[u8]) {
    let mut state = sound().clone();
    for edit in data.as_chunks::<8>().0 {
        let [file, kind, a, b, c, d, value, mended] = *edit;
        let files: Vec<PathBuf> =
            state.paths().filter(|path| state.file(path).is_some()).map(Path::to_owned).collect();
        let (Some(path), other) =
            (files.get(file as usize % files.len().max(1)), files.get(value as usize))
        else {
            break;
        };
        let at = usize::from(u16::from_le_bytes([a, b]));
        let length = usize::from(u16::from_le_bytes([c, d]));
        let content = |path: &Path| state.file(path).map(|file| state.bytes(file).to_vec());
        let mut bytes = content(path).unwrap_or_default();
        let end = bytes.len().min(at.saturating_add(length % 600));
        match kind % 6 {
            0 if at < bytes.len() => bytes[at] = value,
            1 if at < end => bytes[at..end].fill(value),
            2 => bytes.truncate(at),
            3 => bytes.resize(bytes.len() + length % 600, value),
            4 => {
                state.take(path);
                continue;
            }
            5 => bytes = other.and_then(|other| content(other)).unwrap_or(bytes),
            _ => {}
        }
        if mended % 2 == 1 && path.extension().is_some_and(|end| end == "wal") {
            mend(number_of(path), &mut bytes);
        }
        state.put(path, bytes);
    }
    open_twice(state);
}
