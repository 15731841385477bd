//! The log and the snapshots if the disk is nearly full or no file can be opened: they work without
//! spares, or later.

use std::path::PathBuf;

use bytes::Bytes;

use super::model::*;
use super::sim_disk::{Fault, SimDisk, Unsynced};
use crate::raft::{Index, LogId};
use crate::storage::OpenedStorage;
use crate::storage::file::{FileOptions, FileStorage};

const SEGMENT_BYTES: u64 = 1000;

fn storage(disk: &SimDisk) -> FileStorage {
    let options = FileOptions { segment_bytes: SEGMENT_BYTES, ..FileOptions::default() };
    FileStorage::on(disk.clone(), "node", options)
}

fn files(disk: &SimDisk, end: &str) -> Vec<PathBuf> {
    let named = |path: &PathBuf| path.extension().is_some_and(|extension| extension == end);
    disk.files().into_keys().filter(named).collect()
}

fn write(opened: &mut OpenedStorage, indexes: std::ops::RangeInclusive<Index>) {
    indexes.for_each(|index| opened.log.write(&[append(1, index..=index)]).unwrap());
}

/// Checks that after a crash everything acknowledged through `last` is present.
fn assert_holds(disk: &SimDisk, last: Index) {
    for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(last)] {
        let opened = open(storage(&disk.reboot(unsynced))).unwrap();
        assert_eq!(held(&opened).entries, entries(1, 1..=last), "{unsynced:?}");
        assert_eq!(opened.recovered.life.loss, None);
    }
}

/// Each call that makes a spare fails in each way: the log needs no spare, and an incomplete one is
/// removed.
#[test]
fn a_spare_that_fails_is_removed_and_done_without() {
    for call in ["open_write", "write_at", "sync"] {
        for fault in [Fault::Full, Fault::Broken, Fault::Late, Fault::NoDescriptor] {
            let disk = SimDisk::default();
            let mut opened = open(storage(&disk)).unwrap();
            let mut last = 0;
            for round in 1..=5 {
                disk.fail_next(call, ".spare", fault);
                let failed = disk.failed();
                while disk.failed() == failed && last < round * 30 {
                    last += 1;
                    write(&mut opened, last..=last);
                }
                assert!(disk.failed() != failed, "{call} {fault:?}: no spare was made");
                assert_eq!(files(&disk, "spare"), Vec::<PathBuf>::new(), "{call} {fault:?}");
            }
            disk.spare();
            let made = (last + 1..=last + 30).filter(|&index| {
                write(&mut opened, index..=index);
                !files(&disk, "spare").is_empty()
            });
            assert!(made.count() > 0, "{call} {fault:?}: none since");
            drop(opened);
            assert_holds(&disk, last + 30);
        }
    }
}

/// A spare that can be neither completed nor removed takes the space of one spare, not of one more
/// for each segment.
#[test]
fn a_spare_that_can_not_be_removed_stays_alone() {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    disk.fail_next("write_at", ".spare", Fault::Full);
    disk.then_fail("remove", ".spare", Fault::Broken);
    let mut last = 0;
    while disk.failed().is_none() {
        last += 1;
        write(&mut opened, last..=last);
    }
    assert_eq!(files(&disk, "spare").len(), 1);
    write(&mut opened, last + 1..=last + 100);
    assert_eq!(files(&disk, "spare").len(), 1, "the unfinished one went before the next was made");
    drop(opened);
    assert_holds(&disk, last + 100);
}

/// A spare never takes the space that the log needs next.
#[test]
fn no_spare_is_made_where_the_disk_is_nearly_full() {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    disk.leave_room(Some(2 * SEGMENT_BYTES - 1));
    for index in 1..=50 {
        write(&mut opened, index..=index);
        assert_eq!(files(&disk, "spare"), Vec::<PathBuf>::new());
    }
    assert!(files(&disk, "wal").len() > 2);
    disk.leave_room(Some(2 * SEGMENT_BYTES));
    let made = (51..=100).filter(|&index| {
        write(&mut opened, index..=index);
        !files(&disk, "spare").is_empty()
    });
    assert!(made.count() > 0);
    drop(opened);
    assert_holds(&disk, 100);
}

/// With and without a ready spare: the newest segment grows, and the next one begins when a file
/// can be opened again.
#[test]
fn the_log_goes_on_while_no_file_can_be_opened() {
    for room in [None, Some(0)] {
        let disk = SimDisk::default();
        let mut opened = open(storage(&disk)).unwrap();
        disk.leave_room(room);
        write(&mut opened, 1..=40);
        assert_eq!(files(&disk, "spare").is_empty(), room.is_some());
        let segments = files(&disk, "wal").len();
        disk.starve(true);
        write(&mut opened, 41..=120);
        opened.log.seal().unwrap();
        assert_eq!(files(&disk, "wal").len(), segments);
        assert_holds(&disk, 120);
        disk.starve(false);
        write(&mut opened, 121..=160);
        assert!(files(&disk, "wal").len() > segments + 1);
        let read = opened.log.reader().read(1, 160, usize::MAX).unwrap();
        assert_eq!(read, Some(entries(1, 1..=160)));
        drop(opened);
        assert_holds(&disk, 160);
    }
}

/// Segments are removed although none can be opened.
#[test]
fn a_purge_while_no_file_can_be_opened_closes_nothing() {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    write(&mut opened, 1..=60);
    let meta = publish(&mut *opened.snapshots, LogId::new(1, 60)).unwrap();
    opened.log.write(&[record(&meta)]).unwrap();
    disk.starve(true);
    opened.log.write(&[purge(1, 60)]).unwrap();
    write(&mut opened, 61..=62);
    assert_eq!(files(&disk, "wal").len(), 1);
    disk.starve(false);
    write(&mut opened, 63..=70);
    assert_eq!(opened.log.reader().read(61, 70, usize::MAX).unwrap(), Some(entries(1, 61..=70)));
}

/// An operation that needs to open a file fails, changes nothing, and succeeds later; one with an
/// open file continues.
#[test]
fn a_snapshot_that_finds_no_descriptor_is_tried_again_later() {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    write(&mut opened, 1..=20);
    let (old, new) = (LogId::new(1, 5), LogId::new(1, 10));
    publish(&mut *opened.snapshots, old).unwrap();
    let bytes = opened.snapshots.reader().read_at(old, 0, usize::MAX).unwrap().unwrap();
    let received = meta_of(new);
    let mut building = opened.snapshots.create(LogId::new(1, 12), &members()).unwrap();
    let mut receiving = opened.snapshots.receive(&received).unwrap();
    disk.starve(true);
    let before = disk.files();
    assert!(opened.snapshots.create(new, &members()).is_err_and(|e| e.is_out_of_descriptors()));
    assert!(opened.snapshots.receive(&received).is_err_and(|e| e.is_out_of_descriptors()));
    assert!(opened.snapshots.open(old).is_err_and(|e| e.is_out_of_descriptors()));
    assert!(opened.snapshots.retain(old, None).is_err_and(|e| e.is_out_of_descriptors()));
    let mut reader = opened.snapshots.reader();
    assert!(reader.read_at(old, 0, 100).is_err_and(|e| e.is_out_of_descriptors()));
    assert!(opened.log.reader().read(1, 5, 100).is_err_and(|e| e.is_out_of_descriptors()));
    assert_eq!(disk.files(), before);
    // An operation with an open file completes.
    building.write_all(&content(LogId::new(1, 12))).unwrap();
    building.publish().unwrap();
    receiving.append(&snapshot_bytes(new)).unwrap();
    assert!(receiving.publish().unwrap());
    write(&mut opened, 21..=22);
    disk.starve(false);
    assert_eq!(reader.read_at(old, 0, usize::MAX).unwrap(), Some(bytes));
    opened.snapshots.retain(new, None).unwrap();
    publish(&mut *opened.snapshots, LogId::new(1, 20)).unwrap();
    drop(opened);
    assert_holds(&disk, 22);
}

/// The bytes of the test's snapshot of `id`, as a member sends them.
fn snapshot_bytes(id: LogId) -> Bytes {
    let mut opened = open(storage(&SimDisk::default())).unwrap();
    publish(&mut *opened.snapshots, id).unwrap();
    opened.snapshots.reader().read_at(id, 0, usize::MAX).unwrap().unwrap()
}
