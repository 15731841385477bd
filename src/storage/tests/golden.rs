//! The bytes on disk are a promise to every earlier and later version: they must not change by accident.
//! Whoever changes a format raises its version, writes `docs/formats.md`, and reads the old one.

use std::path::Path;

use super::model::*;
use super::sim_disk::SimDisk;
use crate::raft::LogId;
use crate::storage::file::{FileOptions, FileStorage};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file(disk: &SimDisk, path: &str) -> Vec<u8> {
    disk.files().remove(Path::new(path)).unwrap()
}

#[test]
fn the_formats_stay_as_they_are() {
    let disk = SimDisk::default();
    let mut opened = open(FileStorage::on(disk.clone(), "node", FileOptions::default())).unwrap();
    let meta = publish(&mut *opened.snapshots, LogId::new(2, 3)).unwrap();
    opened
        .log
        .write(&[vote(2, Some(3)), append(2, 1..=6), truncate(6), record(&meta), purge(2, 2)])
        .unwrap();
    opened.log.write(&[append(2, 6..=6), install(&meta_of(LogId::new(4, 50)), false)]).unwrap();
    opened.log.seal().unwrap();
    let identity = file(&disk, "node/identity");
    assert_eq!(hex(&identity), IDENTITY_HEX);
    let log = file(&disk, "node/log/00000000000000000001.wal");
    assert_eq!(hex(&log[..56]), SEGMENT_HEADER_HEX);
    assert_eq!(hex(&log[56..56 + 48]), FIRST_FRAME_HEAD_HEX);
    assert_eq!((log.len(), crc32c::crc32c(&log)), LOG);
    let snapshot = file(&disk, "node/snapshots/00000000000000000003-00000000000000000002.snap");
    assert_eq!((snapshot.len(), crc32c::crc32c(&snapshot)), SNAPSHOT);
}

const IDENTITY_HEX: &str = "5152544944454e0a01000000500000004d00000000000000000000000000000001000000000000000300000000000000000000000100000000000000020000000000000003000000000000000aee4ae2";
const SEGMENT_HEADER_HEX: &str = "51525457414c310a020000003800000001000000000000004d000000000000000100000000000000000000000000000000000000e667f095";
const FIRST_FRAME_HEAD_HEX: &str = "717246316d620e0444000000000000000100000000000000000000000000000000000000000000000000000000000000";
const LOG: (usize, u32) = (885, 1489146960);
const SNAPSHOT: (usize, u32) = (388, 2428729490);
