//! The power goes after every single file call; any single file call fails.

use super::model::*;
use super::sim_disk::{SimDisk, Unsynced};
use super::workload::{self, Run, check_recovery, models, run, storage};
use crate::storage::Storage;
use crate::storage::file::{FileOptions, FileStorage};

/// How often a start after a crash is interrupted at the same call.
const SEEDS: u64 = 12;
/// How often the same crash is torn, each time otherwise.
const TORN: u64 = 20;

fn outcomes() -> impl Iterator<Item = Unsynced> {
    [Unsynced::Lost, Unsynced::Kept].into_iter().chain((0..TORN).map(Unsynced::Torn))
}

/// PS05, PS08, PS09, PS10, PS13, PS14, PS25, B10, B11: whatever was under way.
#[test]
fn a_crash_after_any_file_call_loses_nothing_acknowledged() {
    for (name, steps) in workload::all() {
        let models = models(&steps);
        let whole = SimDisk::default();
        let finished = run(&whole, &steps);
        assert!(finished.error.is_none(), "{name}: {:?}", finished.error);
        assert_eq!(held_now(finished, &whole), models[models.len() - 1], "{name}");
        for point in 0..whole.changes() {
            let disk = SimDisk::default();
            disk.crash_after(point);
            let run = run(&disk, &steps);
            for unsynced in outcomes() {
                let rebooted = disk.reboot(unsynced);
                in_context(name, point, unsynced, || check_recovery(&rebooted, &run, &models));
            }
        }
    }
}

fn held_now(run: Run, disk: &SimDisk) -> Model {
    drop(run);
    held(&open(storage(disk)).unwrap())
}

/// Says where a panic inside came from.
fn in_context(name: &str, point: u64, outcome: impl std::fmt::Debug, check: impl FnOnce()) {
    struct Where<F: Fn()>(F);
    impl<F: Fn()> Drop for Where<F> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                (self.0)();
            }
        }
    }
    let _say =
        Where(|| eprintln!("in the workload \"{name}\", call {point}, un-synced {outcome:?}"));
    check();
}

/// The repairs of a start can be interrupted like anything else.
#[test]
fn a_crash_during_the_recovery_from_a_crash_changes_nothing() {
    for (name, steps) in workload::all() {
        let models = models(&steps);
        let whole = SimDisk::default();
        drop(run(&whole, &steps));
        for point in whole.changes() / 4..whole.changes() {
            let disk = SimDisk::default();
            disk.crash_after(point);
            let run = run(&disk, &steps);
            for during in 4..10 {
                for seed in 0..SEEDS {
                    let rebooted = disk.reboot(Unsynced::Torn(seed));
                    rebooted.crash_after(during);
                    drop(open(storage(&rebooted)));
                    let again = rebooted.reboot(Unsynced::Torn(seed + 99));
                    in_context(name, point, (during, seed), || {
                        check_recovery(&again, &run, &models)
                    });
                }
            }
        }
    }
}

/// PS04: an error, a store that refuses everything from then on, and nothing acknowledged that is not there.
#[test]
fn ps04_a_failing_file_call_closes_the_store_and_loses_nothing_acknowledged() {
    for (name, steps) in workload::all() {
        let models = models(&steps);
        let whole = SimDisk::default();
        drop(run(&whole, &steps));
        for call in 0..whole.calls() {
            let disk = SimDisk::default();
            disk.fail_at(call);
            let mut run = run(&disk, &steps);
            in_context(name, call, "failed", || {
                assert_eq!(
                    run.error.is_none(),
                    run.acknowledged == models.len() - 1,
                    "{:?}",
                    run.error
                );
                if let Some(opened) = run.opened.take() {
                    assert_closed_after(opened, run.error.is_some());
                }
                check_recovery(&disk.reboot(Unsynced::Lost), &run, &models);
                // The process alone restarts: the cache shows what a failed fsync did not write.
                check_recovery(&disk, &run, &models);
            });
        }
    }
}

fn assert_closed_after(mut opened: crate::storage::OpenedStorage, failed: bool) {
    if failed {
        let message = opened.log.write(&[vote(99, None)]).unwrap_err().to_string();
        assert!(message.contains("closed"), "{message}");
        assert!(opened.log.seal().is_err());
        assert!(publish(&mut *opened.snapshots, crate::raft::LogId::new(9, 99)).is_err());
    }
}

/// PS19: neither too often nor too seldom.
#[test]
fn ps19_a_call_is_one_fsync_however_many_changes() {
    let disk = SimDisk::default();
    let options = FileOptions { segment_bytes: 900, spare_segments: 0, ..FileOptions::default() };
    let mut opened = open(FileStorage::on(disk.clone(), "node", options)).unwrap();
    let before = disk.syncs();
    opened.log.write(&[vote(1, Some(1)), append(1, 1..=3), append(1, 4..=9)]).unwrap();
    assert_eq!(disk.syncs() - before, 1);
    opened.log.write(&[append(1, 10..=20)]).unwrap();
    assert_eq!(disk.syncs() - before, 2, "a new segment costs one of the directory, none of files");
    opened.log.write(&[]).unwrap();
    opened.log.write(&[crate::raft::LogChange::default()]).unwrap();
    assert_eq!(disk.syncs() - before, 2, "nothing to be made durable");
    opened.log.seal().unwrap();
    opened.log.seal().unwrap();
    assert_eq!(disk.syncs() - before, 3, "sealed once");
}

/// A refused start changes nothing.
#[test]
fn ps20_foreign_directories_are_refused_untouched() {
    let disk = SimDisk::default();
    disk.put("node/notes.txt".as_ref(), b"somebody's".to_vec());
    crate::storage::file::env::Env::create_dir(&disk, "node".as_ref()).unwrap();
    let before = disk.files();
    let error = open(storage(&disk)).err().unwrap().to_string();
    assert!(error.contains("notes.txt"), "{error}");
    assert_eq!(disk.files(), before);
    let nothing = SimDisk::default();
    assert!(Box::new(storage(&nothing)).open(IDENTITY, &crate::storage::Start::Open).is_err());
    assert_eq!(nothing.changes(), 0, "not even the directory was made");
}
