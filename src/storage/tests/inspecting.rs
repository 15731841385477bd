//! An inspection reports what a start then does, and changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::damage::damaged_alone;
use super::model::*;
use super::sim_disk::{Fault, SimDisk, Unsynced};
use super::workload::storage;
use super::workloads;
use crate::raft::{Life, LogChange, LogId, Loss};
use crate::storage::file::inspection::{
    Holding, Inspection, Inspector, Outcome, RecordReport, SegmentState, SnapshotState, Stretch,
};
use crate::storage::{Storage, StorageError};

fn inspector(disk: &SimDisk) -> Inspector {
    Inspector::on(Arc::new(disk.clone()), "node".into(), Arc::new(|_| {})).unwrap()
}

/// Inspects, and checks that nothing is changed.
fn inspect(disk: &SimDisk) -> Inspection {
    let (files, changes) = (disk.files(), disk.changes());
    let inspection = inspector(disk).inspect().unwrap();
    assert_eq!(disk.changes(), changes);
    assert_eq!(disk.files(), files);
    inspection
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "wal");
    disk.files().into_keys().filter(is_segment).collect()
}

fn flip(disk: &SimDisk, path: &Path, at: usize) {
    let mut bytes = disk.files()[path].clone();
    bytes[at] ^= 1;
    disk.put(path, bytes);
}

/// Thirty entries in several segments, and a snapshot that covers most; purged through `purged`.
fn long_log(purged: u64) -> SimDisk {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    opened.log.write(&[vote(1, None)]).unwrap();
    (1..=30).for_each(|index| opened.log.write(&[append(1, index..=index)]).unwrap());
    let meta = publish(&mut *opened.snapshots, LogId::new(1, 20)).unwrap();
    opened.log.write(&[record(&meta), purge(1, purged), vote(2, Some(3))]).unwrap();
    opened.log.seal().unwrap();
    disk
}

/// Opens the directory and compares the result with the reported outcome.
fn assert_foretold(disk: &SimDisk, inspection: &Inspection, context: &str) {
    let opened = open(storage(disk));
    let context = format!("{context}: {:?}", inspection.outcome);
    let opened = match (&inspection.outcome, opened) {
        (Outcome::Refused { why }, Err(error)) => {
            assert_eq!(*why, error.to_string(), "{context}");
            return;
        }
        (Outcome::Refused { .. }, Ok(_)) => panic!("{context}: it opened"),
        (_, opened) => opened.unwrap_or_else(|error| panic!("{context}: {error}")),
    };
    let recovered = &opened.recovered;
    let log = inspection.log.as_ref();
    let named = log.and_then(|log| log.state.snapshot.clone());
    match &inspection.outcome {
        Outcome::Sound | Outcome::Covered => {
            let log = log.unwrap();
            assert_eq!(recovered.life.loss, None, "{context}");
            assert_eq!(recovered.log.last_index(), log.state.last, "{context}");
            assert_eq!(recovered.hard_state.vote, log.state.vote, "{context}");
            assert_eq!(recovered.snapshot, named, "{context}");
            let is_sound = inspection.outcome == Outcome::Sound;
            if is_sound {
                assert_eq!(recovered.log.sizes_bytes.len() as u64, log.entries, "{context}");
            }
            assert!(!is_sound || inspection.findings.is_empty(), "{context}");
        }
        Outcome::Recovering => {
            let log = log.unwrap();
            assert!(recovered.life.loss.is_some(), "{context}");
            assert_eq!(recovered.life.loss, log.state.life.loss, "{context}");
            assert_eq!(recovered.log.last_index(), log.state.last, "{context}");
            assert_eq!(recovered.snapshot, named, "{context}");
        }
        Outcome::FallsBack { older } => {
            let meta = recovered.snapshot.as_ref();
            assert_eq!(meta.map_or(LogId::BASE, |meta| meta.log_id), *older, "{context}");
        }
        Outcome::CatchesUp { last, loss } => {
            assert_eq!(recovered.life.loss, Some(*loss), "{context}");
            assert_eq!(recovered.log.last_index(), *last, "{context}");
        }
        other => panic!("{context}: {other:?}"),
    }
}

#[test]
fn what_an_inspection_says_of_any_crash_is_what_a_start_does() {
    for workload in workloads::all(0) {
        let whole = SimDisk::default();
        drop(workload.run(&whole));
        for point in 0..whole.changes() {
            let disk = SimDisk::default();
            disk.crash_after(point);
            drop(workload.run(&disk));
            for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(1), Unsynced::Torn(2)] {
                let disk = disk.reboot(unsynced);
                let identity = Path::new("node/identity");
                if !disk.files().contains_key(identity) {
                    continue;
                }
                let inspection = inspect(&disk);
                let context = format!("{}, call {point}, {unsynced:?}", workload.name);
                let is_sound = inspection.outcome == Outcome::Sound;
                assert_eq!(inspection.findings.is_empty(), is_sound, "{context}");
                assert_foretold(&disk, &inspection, &context);
            }
        }
    }
}

#[test]
fn what_an_inspection_says_of_any_damage_is_what_a_start_does() {
    for purged in [0, 10] {
        let disk = long_log(purged);
        let mut outcomes = Vec::new();
        for path in disk.files().keys().filter(|path| path.starts_with("node/log")) {
            for at in (0..disk.files()[path].len()).step_by(13) {
                let disk = disk.reboot(Unsynced::Kept);
                flip(&disk, path, at);
                let inspection = inspect(&disk);
                let context = format!("{} at {at}", path.display());
                assert_foretold(&disk, &inspection, &context);
                outcomes.push(inspection.outcome);
            }
        }
        let is = |wanted: fn(&Outcome) -> bool| outcomes.iter().any(wanted);
        assert!(is(|outcome| matches!(outcome, Outcome::CatchesUp { .. })));
        assert!(is(|outcome| *outcome == Outcome::Covered), "{purged}: {outcomes:?}");
        assert!(is(|outcome| *outcome == Outcome::Sound), "behind the end nothing matters");
    }
}

#[test]
fn the_place_of_each_damage_is_named_and_what_stands_behind_it_is_shown() {
    let disk = long_log(0);
    let all = segments(&disk);
    assert!(all.len() > 4, "{all:?}");
    flip(&disk, &all[1], 300);
    flip(&disk, &all[3], 400);
    let inspection = inspect(&disk);
    let places: Vec<_> = inspection.findings.iter().map(|found| found.path.clone()).collect();
    assert_eq!(places, [all[1].display().to_string(), all[3].display().to_string()]);
    let damaged = &inspection.segments[1];
    let offset = inspection.findings[0].offset;
    assert_eq!(damaged.gaps.iter().map(|gap| gap.offset).collect::<Vec<_>>(), [offset]);
    let stretches: Vec<Stretch> =
        inspector(&disk).stretches(damaged, 10).unwrap().map(Result::unwrap).collect();
    let behind = stretches.iter().filter(|stretch| match stretch {
        Stretch::Frame(frame) => frame.offset > offset && !frame.counts,
        Stretch::Gap(_) => false,
    });
    assert!(behind.count() > 0, "{stretches:?}");
    assert!(
        stretches.iter().any(|stretch| matches!(stretch, Stretch::Gap(gap) if gap.offset == offset
        && gap.holds == Holding::BrokenFrame))
    );
}

#[test]
fn records_are_shown_in_order_with_the_beginning_of_their_data() {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    let data = bytes::Bytes::from_static(b"a\n\xff and the rest");
    let entry = crate::raft::Entry { data, ..entry(1, 1) };
    opened
        .log
        .write(&[vote(1, Some(2)), LogChange { append: [entry].into(), ..LogChange::default() }])
        .unwrap();
    drop(opened);
    let inspection = inspect(&disk);
    let stretches = inspector(&disk).stretches(&inspection.segments[0], 3).unwrap();
    let records: Vec<RecordReport> = stretches
        .filter_map(|stretch| match stretch.unwrap() {
            Stretch::Frame(frame) => Some(frame.records),
            Stretch::Gap(_) => None,
        })
        .flatten()
        .collect();
    assert!(matches!(records[0], RecordReport::Checkpoint(_)));
    assert!(matches!(records[1], RecordReport::Life(_)));
    assert_eq!(records[2], RecordReport::HardState { term: 1, vote: Some(2) });
    let RecordReport::Entry { data, data_bytes, .. } = &records[3] else { panic!("{records:?}") };
    assert_eq!((data.as_str(), *data_bytes), ("a\\n\\xff", 16));
}

#[test]
fn a_loss_that_is_not_made_good_is_a_finding_and_what_is_set_aside_is_none() {
    let disk = long_log(0);
    let all = segments(&disk);
    flip(&disk, &all[all.len() - 2], 300);
    let mut opened = open(storage(&disk)).unwrap();
    let life = opened.recovered.life;
    let last = opened.recovered.log.last_index();
    opened.log.write(&[append(2, last + 1..=last + 3)]).unwrap();
    drop(opened);
    let inspection = inspect(&disk);
    assert_eq!(inspection.outcome, Outcome::Recovering);
    assert_eq!(inspection.findings.len(), 1, "{:?}", inspection.findings);
    assert!(inspection.findings[0].what.contains("lost something"));
    let states: Vec<_> = inspection.segments.iter().map(|segment| segment.state).collect();
    assert!(states[..all.len() - 1].iter().all(|state| *state == SegmentState::InUse));
    let expected = [SegmentState::SetAside, SegmentState::Newest];
    assert_eq!(states[all.len() - 1..], expected, "{states:?}");
    let mut opened = open(storage(&disk)).unwrap();
    let life = Some(Life { loss: None, incarnation: life.incarnation + 1, ..life });
    opened.log.write(&[LogChange { life, ..LogChange::default() }]).unwrap();
    drop(opened);
    let inspection = inspect(&disk);
    assert_eq!((inspection.outcome, inspection.findings), (Outcome::Sound, vec![]));
}

#[test]
fn a_damaged_snapshot_is_named_by_what_it_is_to_a_start() {
    let disk = long_log(0);
    let snapshot = |index| PathBuf::from(format!("node/snapshots/{index:020}-{:020}.snap", 1));
    flip(&disk, &snapshot(20), 150);
    let inspection = inspect(&disk);
    assert_eq!(inspection.outcome, Outcome::FallsBack { older: LogId::BASE });
    assert_eq!(inspection.findings[0].path, snapshot(20).display().to_string());
    assert_foretold(&disk, &inspection, "a damaged snapshot");

    let disk = long_log(15);
    disk.take(&snapshot(20));
    disk.put(&snapshot(25), b"not one".to_vec());
    disk.put("node/snapshots/00000000000000000007.tmp".as_ref(), b"half".to_vec());
    let inspection = inspect(&disk);
    let loss = Loss { forgot_vote: false, last: Some(LogId::new(1, 30)) };
    assert_eq!(inspection.outcome, Outcome::CatchesUp { last: 0, loss });
    assert_eq!(inspection.findings[0].what, "is missing");
    assert_eq!(inspection.notes[0].path, snapshot(25).display().to_string());
    let states: Vec<_> = inspection.snapshots.iter().map(|snapshot| snapshot.state).collect();
    let expected = [SnapshotState::Current, SnapshotState::Orphan, SnapshotState::Unfinished];
    assert_eq!(states, expected);
    assert_foretold(&disk, &inspection, "a missing snapshot");
}

#[test]
fn a_cluster_of_one_would_be_refused() {
    let (disk, start) = damaged_alone();
    let inspection = inspect(&disk);
    let error = Box::new(storage(&disk)).open(IDENTITY, &start).err().unwrap();
    assert_eq!(inspection.outcome, Outcome::Refused { why: error.to_string() });
    assert!(inspection.findings[0].advice.contains("no others"));
}

#[test]
fn what_is_not_a_log_at_all_is_named_and_the_rest_is_shown() {
    let disk = long_log(0);
    let other = SimDisk::default();
    let identity = crate::storage::Identity { node: 2, ..IDENTITY };
    drop(Box::new(storage(&other)).open(identity, &bootstrap()).unwrap());
    let all = segments(&disk);
    disk.put(&all[0], other.files()[&all[0]].clone());
    let inspection = inspect(&disk);
    assert_foretold(&disk, &inspection, "another node's segment");
    assert_eq!(inspection.findings[0].path, all[0].display().to_string());
    assert_eq!(inspection.segments.len(), all.len());
    assert!(inspection.segments.iter().all(|segment| segment.state == SegmentState::Unknown));
    all.iter().for_each(|path| disk.take(path));
    let inspection = inspect(&disk);
    assert_eq!((inspection.findings.len(), &inspection.log), (1, &None));
    assert_foretold(&disk, &inspection, "no log");
}

#[test]
fn a_directory_in_use_is_looked_at_without_touching_the_lock() {
    let disk = long_log(0);
    assert!(!inspect(&disk).in_use);
    let mut opened = open(storage(&disk)).unwrap();
    let inspection = inspect(&disk);
    assert!(inspection.in_use && inspection.findings.is_empty(), "{inspection:?}");
    opened.log.write(&[append(2, 31..=31)]).unwrap();
    assert_eq!(inspect(&disk).log.unwrap().state.last, 31);
    disk.take("node/LOCK".as_ref());
    assert!(!inspect(&disk).in_use, "and none is made");
}

/// A frame names its segment: if that number changes, the frame is valid for neither.
#[test]
fn a_frame_that_names_another_segment_is_told_from_an_earlier_segments() {
    let disk = long_log(0);
    flip(&disk, &segments(&disk)[1], 56 + 16);
    let what = inspect(&disk).findings[0].what.clone();
    assert_eq!(
        what,
        "has a frame whose head names another segment and whose checksum does not hold"
    );
}

/// Data that is read while it is written may look damaged once.
#[test]
fn what_looks_wrong_in_a_directory_in_use_is_looked_at_again() {
    let disk = long_log(0);
    let opened = open(storage(&disk)).unwrap();
    let (damaged, again) = (segments(&disk)[1].clone(), disk.clone());
    let inspector = inspector(&disk);
    flip(&disk, &damaged, 300);
    // Finding the chain opens each segment once, the newest twice; reading opens each once more.
    let opens = segments(&disk).len() * 2 + 1;
    restore_after(opens, &again, damaged.clone());
    let inspection = inspector.inspect().unwrap();
    assert_eq!((inspection.in_use, inspection.findings), (true, vec![]));
    flip(&disk, &damaged, 300);
    assert_eq!(inspector.inspect().unwrap().findings.len(), 1, "the same twice");
    drop(opened);
}

fn restore_after(opens: usize, disk: &SimDisk, path: PathBuf) {
    let here = disk.clone();
    disk.before_open(move || match opens {
        0 => flip(&here, &path, 300),
        _ => restore_after(opens - 1, &here.clone(), path),
    });
}

/// PS24: a failed call is never reported as the end of a log.
#[test]
fn ps24_no_failing_call_makes_an_inspection_say_that_all_is_well() {
    let disk = long_log(0);
    let before = disk.calls();
    drop(inspect(&disk));
    let calls = disk.calls() - before;
    assert!(calls > 20, "{calls}");
    for call in 0..calls {
        let disk = disk.reboot(Unsynced::Kept);
        disk.fail_at(call, Fault::Broken);
        let opened = Inspector::on(Arc::new(disk.clone()), "node".into(), Arc::new(|_| {}));
        match opened.and_then(|inspector| inspector.inspect()) {
            Ok(inspection) => assert!(!inspection.findings.is_empty(), "call {call}"),
            Err(error) => assert!(matches!(error, StorageError::Io { .. }), "call {call}: {error}"),
        }
    }
}

#[test]
fn what_is_no_nodes_directory_is_said_to_be_what_it_is() {
    let refusal = |disk: &SimDisk, dir: &str| {
        let opened = Inspector::on(Arc::new(disk.clone()), dir.into(), Arc::new(|_| {}));
        opened.err().unwrap().to_string()
    };
    let disk = long_log(0);
    assert!(refusal(&disk, "nowhere").contains("no such directory"));
    assert!(refusal(&disk, "node/snapshots").contains("no file identity"));
    disk.take("node/identity".as_ref());
    assert!(refusal(&disk, "node").contains("says whose they are"));
    let interrupted = SimDisk::default();
    interrupted.crash_after(8);
    drop(open(storage(&interrupted)));
    let interrupted = interrupted.reboot(Unsynced::Kept);
    assert!(refusal(&interrupted, "node").contains("never finished"));
}
