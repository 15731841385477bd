//! The rest of a damaged log or snapshot; nothing is discarded before the member has caught up from
//! the others.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::damage::damaged_alone;
use super::model::*;
use super::sim_disk::{SimDisk, Unsynced};
use crate::raft::{HardState, Incarnation, Life, LogChange, LogId, Loss, is_possible_incarnation};
use crate::storage::file::{FileOptions, FileStorage, OnDamage};
use crate::storage::{LogMirror, OpenedStorage, Storage, StoredLog};

fn options() -> FileOptions {
    FileOptions { segment_bytes: 1000, ..FileOptions::default() }
}

fn storage(disk: &SimDisk) -> FileStorage {
    FileStorage::on(disk.clone(), "node", options())
}

/// Thirty entries in several segments, followed by a vote.
fn long_log() -> SimDisk {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    opened.log.write(&[vote(1, None)]).unwrap();
    (1..=30).for_each(|index| opened.log.write(&[append(1, index..=index)]).unwrap());
    opened.log.write(&[vote(2, Some(3))]).unwrap();
    opened.log.seal().unwrap();
    disk
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "wal");
    disk.files().into_keys().filter(is_segment).collect()
}

/// The non-empty files.
fn kept(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = disk.files();
    files.retain(|path, _| path.extension().is_some_and(|end| end == "wal" || end == "snap"));
    files
}

fn flip(disk: &SimDisk, path: &PathBuf, at: usize) {
    let mut bytes = disk.files()[path].clone();
    bytes[at] ^= 1;
    disk.put(path, bytes);
}

fn finish_recovery(opened: &mut OpenedStorage) {
    let life = Some(Life { loss: None, ..opened.recovered.life });
    opened.log.write(&[LogChange { life, ..LogChange::default() }]).unwrap();
}

/// PS06, PS20: intact data stays; the vote and the entries held are known from the part behind the
/// damage; the damaged files stay until the data is recovered, across starts.
#[test]
fn ps06_a_log_goes_on_from_its_whole_beginning_and_keeps_the_rest_until_it_has_caught_up() {
    let disk = long_log();
    let all = segments(&disk);
    assert!(all.len() > 3, "{all:?}");
    flip(&disk, &all[1], 500);
    let before = kept(&disk);
    let mut opened = open(storage(&disk)).unwrap();
    let last = Some(LogId::new(1, 30));
    assert_eq!(opened.recovered.life.loss, Some(Loss { forgot_vote: false, last }));
    assert_eq!(opened.recovered.hard_state, HardState { term: 2, vote: Some(3) });
    let held_before = opened.recovered.log.last_index();
    assert!((1..30).contains(&held_before), "{held_before}");
    for (path, bytes) in &before {
        assert_eq!(disk.files().get(path), Some(bytes), "{path:?}");
    }
    opened.log.write(&[append(2, held_before + 1..=held_before + 2)]).unwrap();
    drop(opened);
    let mut again = open(storage(&disk.reboot(Unsynced::Lost))).unwrap();
    drop(again);
    again = open(storage(&disk)).unwrap();
    assert_eq!(again.recovered.life.loss, Some(Loss { forgot_vote: false, last }), "still");
    let expected =
        [entries(1, 1..=held_before), entries(2, held_before + 1..=held_before + 2)].concat();
    let mut reader = again.log.reader();
    assert_eq!(reader.read(1, held_before + 2, usize::MAX).unwrap(), Some(expected.clone()));
    assert!(all.iter().all(|path| disk.files().contains_key(path)));
    finish_recovery(&mut again);
    assert!(disk.files().contains_key(&all[1]), "its beginning is part of the log");
    assert!(!disk.files().contains_key(&all[2]), "what was set aside is gone");
    drop(again);
    let healthy = open(storage(&disk)).unwrap();
    assert_eq!(held(&healthy).entries, expected);
}

/// PS20: without an intact part behind the damage a vote may be forgotten.
#[test]
fn ps20_damage_in_the_newest_segment_may_hide_a_vote() {
    let disk = long_log();
    let newest = segments(&disk).pop().unwrap();
    flip(&disk, &newest, 60);
    let opened = open(storage(&disk)).unwrap();
    assert_eq!(opened.recovered.life.loss, Some(Loss { forgot_vote: true, last: None }));
    assert!(opened.recovered.log.last_index() > 20, "{:?}", opened.recovered.log);
    assert!(opened.recovered.life.incarnation > 1);
}

/// PS20: only the owner of the directory is known.
#[test]
fn ps20_a_lost_log_is_a_loss() {
    let disk = long_log();
    segments(&disk).iter().for_each(|path| disk.take(path));
    let mut opened = open(storage(&disk)).unwrap();
    assert_eq!(opened.recovered.life.loss, Some(Loss { forgot_vote: true, last: None }));
    assert_eq!(opened.recovered.log.last_index(), 0);
    opened.log.write(&[append(3, 1..=2)]).unwrap();
    drop(opened);
    let again = open(storage(&disk)).unwrap();
    assert_eq!(again.recovered.log.last_index(), 2);
    assert!(again.recovered.life.loss.is_some());
}

/// A snapshot at 25, the log purged through `purged`.
fn compacted(purged: u64) -> SimDisk {
    let disk = long_log();
    let mut opened = open(storage(&disk)).unwrap();
    let meta = publish(&mut *opened.snapshots, LogId::new(1, 25)).unwrap();
    opened.log.write(&[record(&meta), purge(1, purged)]).unwrap();
    opened.log.seal().unwrap();
    drop(opened);
    // There are so many starts that the newest segment's checkpoint has the snapshot.
    let mut opened = open(storage(&disk)).unwrap();
    (31..=60).for_each(|index| opened.log.write(&[append(2, index..=index)]).unwrap());
    opened.log.seal().unwrap();
    drop(opened);
    disk
}

/// Damage that a snapshot covers loses nothing.
#[test]
fn damage_before_what_a_snapshot_covers_loses_nothing() {
    let disk = compacted(10);
    let first = &segments(&disk)[0];
    flip(&disk, first, 400);
    let opened = open(storage(&disk)).unwrap();
    assert_eq!(opened.recovered.life.loss, None);
    assert_eq!(opened.recovered.snapshot, Some(meta_of(LogId::new(1, 25))));
    let log = &opened.recovered.log;
    assert!(log.start.index > 10 && log.start.index <= 25, "{:?}", log.start);
    let expected: Vec<_> = [entries(1, log.start.index + 1..=30), entries(2, 31..=60)].concat();
    let state = held(&opened);
    assert_eq!(state.entries, expected);
    drop(opened);
    assert!(!disk.files().contains_key(first), "nobody needs it");
    assert_eq!(held(&open(storage(&disk)).unwrap()), state);
}

/// A72, A76: neither the snapshot nor the entries before it exist. The node starts from nothing,
/// and knows its vote and the entries it held.
#[test]
fn a_damaged_snapshot_that_nothing_stands_in_for_is_a_loss() {
    let disk = compacted(20);
    let is_snapshot = |path: &PathBuf| path.extension().is_some_and(|end| end == "snap");
    let snapshot = disk.files().into_keys().find(is_snapshot).unwrap();
    flip(&disk, &snapshot, 150);
    let before = kept(&disk);
    let mut opened = open(storage(&disk)).unwrap();
    let last = Some(LogId::new(2, 60));
    assert_eq!(opened.recovered.life.loss, Some(Loss { forgot_vote: false, last }));
    assert_eq!((opened.recovered.snapshot.clone(), opened.recovered.log.last_index()), (None, 0));
    assert!(before.iter().all(|(path, bytes)| disk.files().get(path) == Some(bytes)));
    let meta = publish(&mut *opened.snapshots, LogId::new(2, 70)).unwrap();
    opened.log.write(&[install(&meta, false), append(2, 71..=72)]).unwrap();
    finish_recovery(&mut opened);
    drop(opened);
    let opened = open(storage(&disk)).unwrap();
    assert_eq!((opened.recovered.life.loss, opened.recovered.snapshot.clone()), (None, Some(meta)));
    assert_eq!(held(&opened).entries, entries(2, 71..=72));
    assert!(kept(&disk).len() < before.len(), "what was set aside is gone");
}

/// No other member could restore the data.
#[test]
fn ps06_a_cluster_of_one_and_whoever_asks_for_it_are_refused_instead() {
    let (alone, start) = damaged_alone();
    let error = Box::new(storage(&alone)).open(IDENTITY, &start).err().unwrap().to_string();
    assert!(error.contains("00000000000000000001.wal at byte"), "{error}");
    let refusing = long_log();
    flip(&refusing, &segments(&refusing)[0], 200);
    let options = FileOptions { on_damage: OnDamage::Refuse, ..options() };
    let before = refusing.files();
    assert!(open(FileStorage::on(refusing.clone(), "node", options)).is_err());
    assert_eq!(refusing.files(), before);
}

/// If a loss is known only from a peer's report, that peer is known after the next start, from a
/// frame and from a checkpoint (PS20).
#[test]
fn ps20_the_member_that_a_loss_is_known_from_is_kept() {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    let loss = Some(Loss { forgot_vote: true, last: None });
    let life = Life { loss, doubted_by: Some(u64::MAX), ..opened.recovered.life };
    opened.log.write(&[LogChange { life: Some(life), ..append(1, 1..=3) }]).unwrap();
    for next in [4, 5, 6] {
        drop(opened);
        opened = open(storage(&disk)).unwrap();
        let found = opened.recovered.life;
        assert_eq!((found.loss, found.doubted_by), (loss, Some(u64::MAX)), "before {next}");
        opened.log.write(&[append_big(1, next, 900)]).unwrap();
    }
    let life = Some(Life { loss: None, doubted_by: None, ..opened.recovered.life });
    opened.log.write(&[LogChange { life, ..LogChange::default() }]).unwrap();
    drop(opened);
    let found = open(storage(&disk)).unwrap().recovered.life;
    assert_eq!((found.loss, found.doubted_by), (None, None));
}

/// The highest possible incarnation is valid; no start can follow it, and that is an error, not a
/// panic.
#[test]
fn the_last_start_there_can_be_is_followed_by_none() {
    let last = Incarnation::MAX - 1;
    assert!(is_possible_incarnation(last) && !is_possible_incarnation(last + 1));
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    let life = Life { incarnation: last - 1, ..opened.recovered.life };
    opened.log.write(&[LogChange { life: Some(life), ..append(1, 1..=3) }]).unwrap();
    drop(opened);
    let mut opened = open(storage(&disk)).unwrap();
    assert_eq!(opened.recovered.life.incarnation, last);
    // In frames and in a checkpoint.
    for written in [append(1, 4..=5), append_big(1, 6, 900)] {
        opened.log.write(&[written]).unwrap();
        let disk = disk.reboot(Unsynced::Lost);
        let before = disk.files();
        let error = open(storage(&disk)).err().unwrap().to_string();
        assert!(error.contains("which no start can follow"), "{error}");
        assert_eq!(disk.files(), before);
    }
    for (incarnation, refused) in [(last - 1, false), (last, true), (last + 1, true)] {
        let life = Life { incarnation, ..Life::default() };
        let restored = LogMirror::restore(StoredLog { life, ..StoredLog::default() });
        assert_eq!(restored.is_err(), refused, "{incarnation}");
    }
}

/// A second data loss before recovery from the first: the second intact beginning is the shorter
/// one.
#[test]
fn damage_on_damage_goes_on_from_what_is_still_whole() {
    let disk = long_log();
    let all = segments(&disk);
    flip(&disk, &all[2], 300);
    drop(open(storage(&disk)).unwrap());
    flip(&disk, &all[1], 300);
    let opened = open(storage(&disk)).unwrap();
    let last = Some(LogId::new(1, 30));
    assert_eq!(opened.recovered.life.loss, Some(Loss { forgot_vote: false, last }));
    let length = opened.recovered.log.last_index();
    let read = opened.log.reader().read(1, length, usize::MAX).unwrap();
    assert_eq!(read, Some(entries(1, 1..=length)));
}

/// The steady state: no zeros are written, no file is created, files are only renamed.
#[test]
fn purged_segments_become_the_next_ones() {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    let mut most = 0;
    for round in 1..=40u64 {
        let last = round * 10;
        (last - 9..=last).for_each(|index| opened.log.write(&[append(1, index..=index)]).unwrap());
        let meta = publish(&mut *opened.snapshots, LogId::new(1, last)).unwrap();
        opened.log.write(&[record(&meta), purge(1, last - 5)]).unwrap();
        opened.snapshots.retain(meta.log_id, None).unwrap();
        most = most.max(disk.files().len());
        let expected = entries(1, last - 4..=last);
        assert_eq!(opened.log.reader().read(last - 4, last, usize::MAX).unwrap(), Some(expected));
    }
    drop(opened);
    assert!(most < 12, "{most} files");
    let made = disk
        .files()
        .keys()
        .filter(|path| path.extension().is_some_and(|end| end == "spare"))
        .count();
    assert!(made > 0, "{:?}", disk.files().keys());
    for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(5)] {
        let reopened = disk.reboot(unsynced);
        let opened = open(storage(&reopened)).unwrap();
        assert_eq!(opened.recovered.log.start, LogId::new(1, 395));
        let is_spare = |path: &PathBuf| path.extension().is_some_and(|end| end == "spare");
        assert!(!reopened.files().keys().any(is_spare), "what is not known to be free is removed");
    }
}
