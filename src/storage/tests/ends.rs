//! The end of a file is lost: zeroed, overwritten, cut off, emptied, removed. On every file, for
//! every way the previous run ended.
//!
//! | the previous run | known end of the log | loss without a report |
//! |---|---|---|
//! | sealed (idle, stopped orderly) | both copies of the mark name it, durably | none |
//! | the process was killed | one copy names it, in the page cache | none |
//! | the power failed | the mark of the last seal, start or new segment | data behind that mark |

use std::path::{Path, PathBuf};

use super::corruption::{Corpus, Counts, Ended, NOTICED, Outcome, counted};
use super::model::*;
use super::sim_disk::{SimDisk, Unsynced};
use super::workload::{in_context, storage};
use crate::raft::Random;
use crate::storage::file::inspection::{Inspection, SegmentState, SnapshotState};
use crate::storage::file::{FileOptions, FileStorage, OnDamage};

/// The damage's name, and the file's new content. `None`: it is removed.
type Damage = (String, Option<Vec<u8>>);

/// All damages to the end of a file with this used part.
fn damages(bytes: &[u8], used: usize) -> Vec<Damage> {
    let mut damages: Vec<Damage> =
        vec![("removed".into(), None), ("emptied".into(), Some(Vec::new()))];
    let mut random = Random::new(bytes.len() as u64);
    for end in [used, bytes.len()] {
        for sector in [512, 4096] {
            let begin = (end.max(1) - 1) / sector * sector;
            let range = begin..bytes.len().min(begin + sector);
            let mut zeroed = bytes.to_vec();
            zeroed[range.clone()].fill(0);
            damages.push((format!("last sector of {sector} zeroed, of {end}"), Some(zeroed)));
            let mut overwritten = bytes.to_vec();
            overwritten[range].fill_with(|| random.next() as u8);
            damages.push((
                format!("last sector of {sector} overwritten, of {end}"),
                Some(overwritten),
            ));
        }
    }
    // From the last byte back to the first, in growing steps.
    let lengths = (0..).map(|step| step * step * 3 + 1).take_while(|&gone| gone < used);
    for gone in lengths {
        let (keep, mut zeroed) = (used - gone, bytes.to_vec());
        zeroed[keep..].fill(0);
        damages.push((format!("cut to {keep}"), Some(bytes[..keep].to_vec())));
        damages.push((format!("zeros from {keep} on"), Some(zeroed)));
    }
    damages.retain(|(_, damaged)| damaged.as_deref() != Some(bytes));
    damages
}

/// How much of a file a start relies on: every changed byte before this must be noticed.
fn needed(inspection: &Inspection, path: &Path, length: usize) -> usize {
    let name = path.display().to_string();
    let segment = inspection.segments.iter().find(|segment| segment.path == name);
    let snapshot = inspection.snapshots.iter().find(|snapshot| snapshot.path == name);
    match (segment, snapshot) {
        (Some(segment), _) => match segment.state {
            SegmentState::Newest | SegmentState::InUse => segment.used_bytes as usize,
            _ => 0,
        },
        (_, Some(snapshot)) if snapshot.state == SnapshotState::Current => length,
        (None, None) if path.ends_with("identity") || path.ends_with("end") => length,
        _ => 0,
    }
}

/// Offset of the first different byte.
fn first_change(before: &[u8], after: &[u8]) -> usize {
    let changed = before.iter().zip(after).position(|(before, after)| before != after);
    changed.unwrap_or(before.len().min(after.len()))
}

/// Damages the end of every file in every way, one at a time.
fn damage_every_end(ended: Ended) -> Counts {
    // In the first corpus the newest segment has a spare's length; in the second, which has only
    // one segment, it grows.
    let corpora =
        [Corpus::new(30 << 10, 8 << 10, 300, ended), Corpus::new(7 << 10, 64 << 10, 300, ended)];
    let mut total = Counts::new();
    for corpus in corpora {
        let sound = corpus.inspected();
        let mut jobs: Vec<(PathBuf, usize, Damage)> = Vec::new();
        for (path, length) in corpus.files() {
            let used = match needed(&sound, &path, length) {
                0 => length,
                used => used,
            };
            let damages = damages(corpus.bytes(&path).unwrap(), used);
            jobs.extend(damages.into_iter().map(|damage| (path.clone(), used, damage)));
        }
        let counts = counted(jobs.len(), |job, events| {
            let (path, _, (name, damaged)) = &jobs[job];
            let context = || format!("{ended:?}, {}: {name}", path.display());
            Some(in_context(context, || {
                let outcome = corpus.outcome(events, path, damaged.clone(), job % 8 == 0);
                let before = corpus.bytes(path).unwrap();
                let changed = first_change(before, damaged.as_deref().unwrap_or(&[]));
                let is_needed = changed < needed(&sound, path, before.len());
                if is_needed && ended != Ended::PowerLoss {
                    assert!(NOTICED.contains(&outcome), "{outcome:?} of a change at {changed}");
                }
                if is_needed && path.components().any(|part| part.as_os_str() == "log") {
                    let inspection = corpus.inspected_with(path, damaged.clone());
                    let is_told = !(inspection.findings.is_empty() && inspection.notes.is_empty());
                    assert!(
                        is_told || outcome == Outcome::CutUnsaid,
                        "an inspection finds nothing"
                    );
                }
                outcome
            }))
        });
        for (outcome, count) in counts {
            *total.entry(outcome).or_default() += count;
        }
    }
    println!("{ended:?}: {total:?}");
    total
}

/// PS06: also damage after which the start finds no remains, because the last write ended the log.
#[test]
fn ps06_every_damaged_end_of_a_sealed_directory_is_noticed() {
    let counts = damage_every_end(Ended::Sealed);
    assert!(counts[&Outcome::Recovering] > 100, "{counts:?}");
    assert!(!counts.contains_key(&Outcome::Cut), "{counts:?}");
    assert!(!counts.contains_key(&Outcome::CutUnsaid), "{counts:?}");
}

/// The mark is in the page cache before anything is acknowledged: it needs no seal while the
/// machine continues.
#[test]
fn ps06_every_damaged_end_of_a_directory_whose_process_was_killed_is_noticed() {
    let counts = damage_every_end(Ended::Killed);
    assert!(counts[&Outcome::Recovering] > 100, "{counts:?}");
    assert!(!counts.contains_key(&Outcome::Cut), "{counts:?}");
    assert!(!counts.contains_key(&Outcome::CutUnsaid), "{counts:?}");
}

/// `classify` checks that nothing before the durable mark is lost.
#[test]
fn ps06_damage_after_a_power_loss_takes_nothing_before_the_durable_mark() {
    let counts = damage_every_end(Ended::PowerLoss);
    assert!(counts[&Outcome::Recovering] > 100, "{counts:?}");
}

fn newest(disk: &SimDisk) -> PathBuf {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "wal");
    disk.files().into_keys().filter(is_segment).max().unwrap()
}

/// An existing seal does not prevent another one.
#[test]
fn ps06_each_seal_of_many_protects_the_write_before_it() {
    let options = FileOptions { on_damage: OnDamage::Refuse, ..FileOptions::default() };
    let at = |disk: &SimDisk| FileStorage::on(disk.clone(), "node", options.clone());
    let disk = SimDisk::default();
    let mut opened = open(at(&disk)).unwrap();
    for turn in 1..=4 {
        opened.log.write(&[append(1, turn..=turn)]).unwrap();
        opened.log.seal().unwrap();
        let sealed = disk.reboot(Unsynced::Lost);
        assert_eq!(held(&open(at(&sealed.reboot(Unsynced::Lost))).unwrap()).last(), turn);
        let path = newest(&sealed);
        let mut bytes = sealed.files()[&path].clone();
        let last = bytes.iter().rposition(|&byte| byte != 0).unwrap();
        bytes[last] ^= 1;
        sealed.put(&path, bytes);
        let error = open(at(&sealed)).err().unwrap_or_else(|| panic!("seal {turn} is none"));
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}

/// A mark read from a cache after a failed fsync, or a torn one, is replaced. A crash meanwhile
/// does not turn an intact log into a damaged one.
#[test]
fn one_copy_of_the_mark_is_enough_and_the_next_start_writes_the_other_one_again() {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    opened.log.write(&[append(1, 1..=3)]).unwrap();
    opened.log.seal().unwrap();
    drop(opened);
    let path = Path::new("node/end");
    let sound = disk.files()[path].clone();
    for copy in [0, 4096] {
        let disk = disk.reboot(Unsynced::Lost);
        let mut bytes = sound.clone();
        bytes[copy + 40] ^= 1;
        disk.put(path, bytes);
        assert_eq!(held(&open(storage(&disk)).unwrap()).loss, None);
        let mut bytes = disk.files()[path].clone();
        assert_eq!(bytes[copy..copy + 84], bytes[4096 - copy..4096 - copy + 84], "written again");
        bytes[4096 - copy] ^= 1;
        disk.put(path, bytes);
        assert_eq!(held(&open(storage(&disk)).unwrap()).loss, None, "the other one is enough");
    }
}

/// A segment that the mark names was used, whatever remains of it: its number is not reused.
#[test]
fn the_number_of_a_lost_segment_is_not_used_again() {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    (1..=20).for_each(|index| opened.log.write(&[append(1, index..=index)]).unwrap());
    opened.log.seal().unwrap();
    drop(opened);
    let lost = newest(&disk);
    for emptied in [false, true] {
        let disk = disk.reboot(Unsynced::Lost);
        match emptied {
            true => disk.put(&lost, Vec::new()),
            false => disk.take(&lost),
        }
        let opened = open(storage(&disk)).unwrap();
        assert!(opened.recovered.life.loss.is_some(), "emptied: {emptied}");
        drop(opened);
        assert!(newest(&disk) > lost, "emptied: {emptied}");
        assert_eq!(disk.files().contains_key(&lost), emptied, "what is left of it stays");
        let again = open(storage(&disk.reboot(Unsynced::Lost))).unwrap();
        assert!(again.recovered.life.loss.is_some(), "still");
    }
}

/// Without the file the end of the log is unknown; a crash before the loss is recorded does not
/// change that.
#[test]
fn a_lost_mark_is_a_loss_until_that_is_written_down() {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    opened.log.write(&[append(1, 1..=9)]).unwrap();
    opened.log.seal().unwrap();
    drop(opened);
    disk.take(Path::new("node/end"));
    let whole = disk.reboot(Unsynced::Lost);
    drop(open(storage(&whole)).unwrap());
    for changes in 0..whole.changes() {
        for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(changes)] {
            let disk = disk.reboot(Unsynced::Lost);
            disk.crash_after(changes);
            drop(open(storage(&disk)));
            let disk = disk.reboot(unsynced);
            let opened = open(storage(&disk)).unwrap();
            assert!(opened.recovered.life.loss.is_some(), "{changes} changes, {unsynced:?}");
            assert_eq!(held(&opened).last(), 9);
        }
    }
}
