//! Every single file call fails: without effect, half done, fully done, or because the disk is
//! full.

use std::collections::{BTreeMap, BTreeSet};

use super::crash::on_two_threads;
use super::model::*;
use super::sim_disk::{Fault, SimDisk, Unsynced};
use super::workload::{Expected, Run, Workload, in_context};
use super::workloads;
use crate::raft::LogId;
use crate::storage::{OpenedStorage, StorageError};

/// Number of random workloads.
const RANDOM: u64 = 8;

/// Calls whose failure may have no visible effect: an unfinished file that can't be removed is
/// removed at the next start; a snapshot that can't be read to check whether it exists is written
/// again; a failure in the background is detected with the next call, which may be a new start.
const MAY_PASS: [(&str, &str); 5] = [
    ("remove", ".tmp"),
    ("open_read", ".snap"),
    ("read_at", ".snap"),
    ("len", ".snap"),
    ("", "beside the writer"),
];

/// PS04, PS24: an error, a store that refuses every later call, and nothing acknowledged that was
/// lost.
#[test]
fn ps04_a_failing_file_call_closes_the_store_and_loses_nothing_acknowledged() {
    let counts = on_two_threads(&workloads::all(RANDOM), |workload| {
        let whole = SimDisk::default();
        drop(workload.run(&whole));
        let models = workload.models();
        let mut failed: BTreeMap<String, u64> = BTreeMap::new();
        for call in 0..whole.calls() {
            for fault in [Fault::Broken, Fault::Full, Fault::Late] {
                let name = in_context(
                    || format!("{:?}, call {call} of {}, {fault:?}", workload.name, whole.calls()),
                    || one_failing(workload, &models, call, fault),
                );
                *failed.entry(name).or_default() += 1;
            }
        }
        failed
    });
    let mut total: BTreeMap<String, u64> = BTreeMap::new();
    for (name, count) in counts.into_iter().flatten() {
        *total.entry(name).or_default() += count;
    }
    println!("failing calls: {total:?}");
    let names: BTreeSet<&str> = total.keys().map(String::as_str).collect();
    let all = [
        "create_dir",
        "list",
        "lock",
        "open_read",
        "open_write",
        "rename",
        "remove",
        "sync_dir",
        "len",
        "read_at",
        "write_at",
        "sync",
    ];
    assert!(all.iter().all(|name| names.contains(name)), "{names:?}");
    assert!(total.values().sum::<u64>() > 10_000, "{total:?}");
}

/// The name of the call that failed.
fn one_failing(workload: &Workload, models: &[Model], call: u64, fault: Fault) -> String {
    let disk = SimDisk::default();
    disk.fail_at(call, fault);
    let mut run = workload.run(&disk);
    let failed = disk.failed().expect("a run is the same up to the fault");
    check_stopped(&mut run, models.len() - 1, &failed, fault);
    let expected = Expected { workload, models, progress: run.progress() };
    in_context(
        || format!("{failed} failed: {:?}", run.error),
        || {
            expected.check(&disk.reboot(Unsynced::Lost));
            expected.check(&disk.reboot(Unsynced::Torn(call)));
            // Only the process restarts: the page cache shows data that a failed fsync did not
            // write.
            expected.check(&disk);
        },
    );
    failed.split(' ').next().unwrap_or_default().to_owned()
}

fn check_stopped(run: &mut Run, all: usize, failed: &str, fault: Fault) {
    let Some(error) = &run.error else {
        assert_eq!(run.progress().acknowledged, all);
        let passes =
            |&(call, end): &(&str, &str)| failed.starts_with(call) && failed.ends_with(end);
        assert!(MAY_PASS.iter().any(passes), "nobody noticed that {failed} failed");
        run.opened = None;
        return;
    };
    let message = error.to_string();
    match error {
        StorageError::Io { .. } => {
            let says_full = message.contains("the disk is full") && message.contains("make room");
            let reads = ["list", "open_read", "len", "read_at"];
            let wants_room = !reads.iter().any(|call| failed.starts_with(call));
            if wants_room {
                assert_eq!(says_full, fault == Fault::Full, "{failed}: {message}");
            }
        }
        // Detected in the background, or by the sink of a snapshot; the next call is refused.
        StorageError::Refused { .. } => assert!(message.contains("is closed"), "{message}"),
        StorageError::Damaged { .. } => panic!("a failed call is no damage: {message}"),
    }
    if let Some(opened) = run.opened.take() {
        assert_closed(opened);
    }
}

fn assert_closed(mut opened: OpenedStorage) {
    for _ in 0..2 {
        let message = opened.log.write(&[vote(99, None)]).unwrap_err().to_string();
        assert!(message.contains("closed"), "{message}");
        assert!(opened.log.seal().is_err());
        assert!(publish(&mut *opened.snapshots, LogId::new(9, 99)).is_err());
        assert!(opened.snapshots.receive(&meta_of(LogId::new(9, 99))).is_err());
        assert!(opened.snapshots.retain(LogId::new(9, 99), None).is_err());
    }
}

/// PS24: unreadable data is an error for the reader, neither the log's end nor a data loss.
#[test]
fn ps24_a_failing_read_is_an_error_and_nothing_else() {
    let disk = SimDisk::default();
    let workload = Workload { segment_bytes: 600, ..Workload::default() };
    let mut opened = open(workload.storage(&disk)).unwrap();
    (1..=20).for_each(|index| opened.log.write(&[append(1, index..=index)]).unwrap());
    let meta = publish(&mut *opened.snapshots, LogId::new(1, 9)).unwrap();
    opened.log.write(&[record(&meta)]).unwrap();
    let read = |opened: &OpenedStorage| opened.log.reader().read(1, 20, usize::MAX);
    let stored = |opened: &OpenedStorage| opened.snapshots.reader().read_at(meta.log_id, 0, 1000);
    let content_of = |opened: &mut OpenedStorage| -> Result<Vec<u8>, StorageError> {
        let mut read = Vec::new();
        match opened.snapshots.open(meta.log_id)?.read_to_end(&mut read) {
            Ok(_) => Ok(read),
            Err(source) => Err(StorageError::Io { operation: "read", path: String::new(), source }),
        }
    };
    let calls_of = |work: &mut dyn FnMut()| {
        let before = disk.calls();
        work();
        disk.calls() - before
    };
    for call in 0..calls_of(&mut || drop(read(&opened).unwrap())) {
        disk.fail_at(disk.calls() + call, Fault::Broken);
        assert!(matches!(read(&opened), Err(StorageError::Io { .. })), "call {call}");
    }
    for call in 0..calls_of(&mut || drop(stored(&opened).unwrap())) {
        disk.fail_at(disk.calls() + call, Fault::Broken);
        assert!(matches!(stored(&opened), Err(StorageError::Io { .. })), "call {call}");
    }
    for call in
        0..calls_of(&mut || assert_eq!(content_of(&mut opened).unwrap(), content(meta.log_id)))
    {
        disk.fail_at(disk.calls() + call, Fault::Broken);
        assert!(matches!(content_of(&mut opened), Err(StorageError::Io { .. })), "call {call}");
    }
    assert_eq!(read(&opened).unwrap(), Some(entries(1, 1..=20)), "and then it is there");
    drop(opened);
    let calls = calls_of(&mut || drop(open(workload.storage(&disk)).unwrap()));
    for call in 0..calls {
        let copy = disk.reboot(Unsynced::Lost);
        copy.fail_at(call, Fault::Broken);
        match open(workload.storage(&copy)) {
            Err(StorageError::Io { .. }) => {}
            Err(other) => panic!("call {call}, {:?}: {other}", copy.failed()),
            Ok(opened) => assert_eq!(held(&opened).entries, entries(1, 1..=20), "call {call}"),
        }
        let opened = open(workload.storage(&copy)).unwrap();
        assert_eq!((opened.recovered.life.loss, held(&opened).entries), (None, entries(1, 1..=20)));
    }
}
