//! Bit rot, missing files, newer formats: detected, reported, and nothing changed.

use std::path::{Path, PathBuf};

use super::model::*;
use super::sim_disk::SimDisk;
use super::workload;
use crate::raft::{COUNT_MAX, Install, LogChange, LogId, Membership};
use crate::storage::file::{FileOptions, FileStorage, OnDamage};
use crate::storage::{Start, Storage, StorageError};

/// A storage that refuses damage.
fn storage(disk: &SimDisk) -> FileStorage {
    let on_damage = OnDamage::Refuse;
    let options = FileOptions { segment_bytes: 600, on_damage, ..FileOptions::default() };
    FileStorage::on(disk.clone(), "node", options)
}

/// A sealed log of one segment.
fn sealed() -> SimDisk {
    let disk = SimDisk::default();
    let options = FileOptions::default();
    let mut opened = open(FileStorage::on(disk.clone(), "node", options)).unwrap();
    opened.log.write(&[vote(2, Some(1)), append(2, 1..=4)]).unwrap();
    opened.log.write(&[append(2, 5..=6), truncate(6)]).unwrap();
    opened.log.seal().unwrap();
    disk
}

/// A log of several segments, all of which are needed.
fn unpurged() -> SimDisk {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    (1..=30).for_each(|index| opened.log.write(&[append(1, index..=index)]).unwrap());
    opened.log.seal().unwrap();
    disk
}

/// A log of several segments with a snapshot.
fn rolled() -> SimDisk {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    (1..=30).for_each(|index| opened.log.write(&[append(1, index..=index)]).unwrap());
    let meta = publish(&mut *opened.snapshots, LogId::new(1, 25)).unwrap();
    opened.log.write(&[record(&meta), purge(1, 20)]).unwrap();
    opened.log.seal().unwrap();
    disk
}

/// A damaged directory of a sole member, with the way it was started.
pub(super) fn damaged_alone() -> (SimDisk, Start) {
    let disk = SimDisk::default();
    let start = Start::Bootstrap(Membership::of_voters([1]));
    let mut opened = Box::new(workload::storage(&disk)).open(IDENTITY, &start).unwrap();
    (1..=30).for_each(|index| opened.log.write(&[append(1, index..=index)]).unwrap());
    drop(opened);
    let first = &segments(&disk)[0];
    (flipped(&disk, first, 200), start)
}

fn copy(disk: &SimDisk) -> SimDisk {
    disk.reboot(super::sim_disk::Unsynced::Kept)
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files()
        .into_keys()
        .filter(|path| path.extension().is_some_and(|end| end == "wal"))
        .collect()
}

fn flipped(disk: &SimDisk, path: &Path, at: usize) -> SimDisk {
    let disk = copy(disk);
    let mut bytes = disk.files()[path].clone();
    bytes[at] ^= 1 << (at % 8);
    disk.put(path, bytes);
    disk
}

/// Opening must say where the damage is, and leave every file unchanged.
fn assert_refused_untouched(disk: &SimDisk, file: &Path) {
    let before = disk.files();
    match open(storage(disk)) {
        Err(error) => assert!(error.to_string().contains(&*file.to_string_lossy()), "{error}"),
        Ok(opened) => panic!("opened with {:?}", opened.recovered),
    }
    assert_eq!(disk.files(), before);
}

#[test]
fn ps06_no_flipped_bit_of_a_sealed_log_is_taken_for_its_end() {
    let disk = sealed();
    let segment = &segments(&disk)[0];
    for at in 0..used_bytes(&disk.files()[segment]) {
        assert_refused_untouched(&flipped(&disk, segment, at), segment);
    }
}

fn used_bytes(segment: &[u8]) -> usize {
    segment.iter().rposition(|&byte| byte != 0).unwrap() + 1
}

#[test]
fn ps06_an_earlier_segment_is_whole_or_damaged() {
    let disk = unpurged();
    let segments = segments(&disk);
    assert!(segments.len() > 2, "{segments:?}");
    let earlier = &segments[segments.len() - 2];
    // Behind its last frame there are zeros; changing them does no harm.
    let length = used_bytes(&disk.files()[earlier]);
    for cut in 0..length {
        let disk = copy(&disk);
        let bytes = disk.files()[earlier][..cut].to_vec();
        disk.put(earlier, bytes);
        assert!(matches!(open(storage(&disk)), Err(StorageError::Damaged { .. })), "cut to {cut}");
    }
    for at in (0..length).step_by(7) {
        assert_refused_untouched(&flipped(&disk, earlier, at), earlier);
    }
}

#[test]
fn a_missing_segment_is_damage_unless_it_was_purged() {
    let disk = unpurged();
    let all = segments(&disk);
    for missing in &all[..all.len() - 1] {
        let disk = copy(&disk);
        disk.take(missing);
        let error = open(storage(&disk)).err().unwrap().to_string();
        assert!(error.contains("lacks entries 1 to "), "{missing:?}: {error}");
    }
    let none = copy(&disk);
    all.iter().for_each(|path| none.take(path));
    assert!(matches!(open(storage(&none)), Err(StorageError::Damaged { .. })));
}

#[test]
fn a_segment_left_over_from_an_interrupted_purge_is_removed() {
    let disk = rolled();
    let expected = held(&open(storage(&copy(&disk))).unwrap());
    let before = segments(&disk);
    let left_over = Path::new("node/log/00000000000000000001.wal");
    assert!(!before.contains(&left_over.to_owned()), "purged");
    disk.put(left_over, disk.files()[&before[0]].clone());
    let opened = open(storage(&disk)).unwrap();
    assert_eq!(held(&opened), expected);
    assert!(!segments(&disk).contains(&left_over.to_owned()));
}

#[test]
fn another_nodes_segment_is_refused() {
    let disk = sealed();
    let other = SimDisk::default();
    let identity = crate::storage::Identity { node: 2, ..IDENTITY };
    drop(Box::new(storage(&other)).open(identity, &bootstrap()).unwrap());
    let segment = &segments(&disk)[0];
    disk.put(segment, other.files()[segment].clone());
    assert_refused_untouched(&disk, segment);
}

#[test]
fn a_damaged_identity_stops_the_start() {
    let disk = sealed();
    let identity = Path::new("node/identity");
    for at in 0..disk.files()[identity].len() {
        assert_refused_untouched(&flipped(&disk, identity, at), identity);
    }
    // Without it the log has no owner: it is neither opened nor bootstrapped over.
    disk.take(identity);
    let before = disk.files();
    for start in [bootstrap(), Start::Open] {
        let error = Box::new(storage(&disk)).open(IDENTITY, &start).err().unwrap();
        assert!(matches!(error, StorageError::Refused { .. }), "{error}");
    }
    assert_eq!(disk.files(), before);
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let disk = sealed();
    for (path, crc_at) in [("node/identity", None), ("node/log/00000000000000000001.wal", Some(52))]
    {
        let disk = copy(&disk);
        let mut bytes = disk.files()[Path::new(path)].clone();
        bytes[8] += 1;
        let crc_at = crc_at.unwrap_or(bytes.len() - 4);
        mend(&mut bytes, crc_at);
        disk.put(Path::new(path), bytes);
        let error = open(storage(&disk)).err().unwrap();
        assert!(matches!(error, StorageError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("newer format"), "{error}");
    }
}

/// Corrects the checksum at `crc_at`.
fn mend(bytes: &mut [u8], crc_at: usize) {
    let crc = crc32c::crc32c(&bytes[..crc_at]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Every byte of a header is checked, including those that no reader needs.
#[test]
fn ps06_a_header_with_another_length_or_a_used_reserve_is_damage_though_its_checksum_holds() {
    let disk = sealed();
    let segment = &segments(&disk)[0];
    for (at, what) in [(12, "another length"), (48, "the field that is zero")] {
        for at in at..at + 4 {
            let disk = flipped(&disk, segment, at);
            let mut bytes = disk.files()[segment].clone();
            mend(&mut bytes, 52);
            disk.put(segment, bytes);
            let error = open(storage(&disk)).err().unwrap();
            assert!(matches!(error, StorageError::Damaged { offset: 0, .. }), "{error}");
            assert!(error.to_string().contains(what), "byte {at}: {error}");
            assert_refused_untouched(&disk, segment);
        }
    }
}

#[test]
fn a_damaged_current_snapshot_without_another_stops_the_start() {
    let disk = rolled();
    let snapshot = disk
        .files()
        .into_keys()
        .find(|path| path.extension().is_some_and(|end| end == "snap"))
        .unwrap();
    for at in (0..disk.files()[&snapshot].len()).step_by(5) {
        let disk = flipped(&disk, &snapshot, at);
        let before = disk.files();
        let error = open(storage(&disk)).err().unwrap().to_string();
        assert!(error.contains("25@1") && error.contains("starts after 20@1"), "{error}");
        assert_eq!(disk.files(), before);
    }
}

#[test]
fn a_snapshot_damaged_while_the_node_runs_is_an_error_to_whoever_decodes_it() {
    let disk = rolled();
    let mut opened = open(storage(&disk)).unwrap();
    let snapshot = disk
        .files()
        .into_keys()
        .find(|path| path.extension().is_some_and(|end| end == "snap"))
        .unwrap();
    let mut bytes = disk.files()[&snapshot].clone();
    let at = bytes.len() - 60;
    bytes[at] ^= 4;
    disk.put(&snapshot, bytes);
    let error =
        opened.snapshots.open(LogId::new(1, 25)).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn ps24_an_unreadable_entry_is_an_error_not_the_end() {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    opened.log.write(&[append(1, 1..=9)]).unwrap();
    let mut reader = opened.log.reader();
    let segment = &segments(&disk)[0];
    let mut bytes = disk.files()[segment].clone();
    let length = bytes.len();
    bytes[length - 1] ^= 1;
    disk.put(segment, bytes);
    let error = reader.read(9, 9, 1).unwrap_err();
    assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
}

#[test]
fn unfinished_snapshot_files_are_swept() {
    let disk = sealed();
    let tmp = Path::new("node/snapshots/00000000000000000007.tmp");
    let foreign = Path::new("node/snapshots/README");
    disk.put(tmp, b"half".to_vec());
    disk.put(foreign, b"mine".to_vec());
    drop(open(storage(&disk)).unwrap());
    assert!(!disk.files().contains_key(tmp));
    assert!(disk.files().contains_key(foreign), "what is not ours stays");
}

/// EL25: a term or an index that no log can reach is damage in any field, although every checksum
/// matches, and no arithmetic is done with it.
#[test]
fn el25_numbers_that_no_log_can_reach_are_damage() {
    for number in [COUNT_MAX + 1, 1 << 63, u64::MAX - 1, u64::MAX] {
        let install = |log_id| {
            let install = Install { meta: meta_of(log_id), keep_suffix: false };
            LogChange { install: Some(install), ..LogChange::default() }
        };
        let changes = [
            vote(number, None),
            remember(2, 3, LogId::new(1, number)),
            remember(2, 3, LogId::new(number, 1)),
            install(LogId::new(1, number)),
            install(LogId::new(number, 9)),
        ];
        for change in changes {
            let disk = SimDisk::default();
            let mut opened = open(storage(&disk)).unwrap();
            opened.log.write(&[append(1, 1..=3)]).unwrap();
            opened.log.write(&[change]).unwrap();
            opened.log.seal().unwrap();
            drop(opened);
            assert_refused_untouched(&disk, &segments(&disk)[0]);
        }
    }
    let highest = COUNT_MAX;
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    opened.log.write(&[vote(highest, None), remember(2, 3, LogId::new(1, highest))]).unwrap();
    opened.log.seal().unwrap();
    drop(opened);
    assert_eq!(open(storage(&disk)).unwrap().recovered.hard_state.term, highest);
}
