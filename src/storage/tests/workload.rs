//! Small lives of a node's storage, to be interrupted everywhere.

use super::model::*;
use super::sim_disk::SimDisk;
use crate::raft::{LogChange, LogId, SnapshotMeta};
use crate::storage::file::{FileOptions, FileStorage};
use crate::storage::memory::MemoryStorage;
use crate::storage::{OpenedStorage, SnapshotStore, StorageError};

/// One thing done with the storage.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// One call; snapshots that it names and that are not there are published first.
    Write(Vec<LogChange>),
    /// The same with a snapshot that was received.
    Received(Vec<LogChange>),
    /// Older snapshots go.
    Retain(LogId),
    /// The log is sealed.
    Seal,
    /// The node stops and starts.
    Reopen,
}

use Step::{Received, Reopen, Retain, Seal, Write};

/// The workloads, by name.
pub(crate) fn all() -> Vec<(&'static str, Vec<Step>)> {
    let [three, eight, twenty] =
        [LogId::new(1, 3), LogId::new(1, 8), LogId::new(4, 20)].map(meta_of);
    let single = |term, index| Write(vec![append(term, index..=index)]);
    vec![
        (
            "appends and votes",
            vec![
                Write(vec![vote(1, Some(1)), append(1, 1..=2)]),
                single(1, 3),
                Write(vec![vote(2, None)]),
                Write(vec![append(2, 4..=4), vote(3, Some(2)), append(3, 5..=6)]),
                Seal,
                single(3, 7),
            ],
        ),
        (
            "conflicting tails",
            vec![
                Write(vec![append(1, 1..=9)]),
                Write(vec![LogChange { truncate_from: Some(4), ..append(2, 4..=6) }]),
                Write(vec![
                    LogChange { truncate_from: Some(6), ..append(3, 6..=8) },
                    truncate(7),
                    append(4, 7..=9),
                ]),
                Reopen,
                Write(vec![LogChange { truncate_from: Some(1), ..append(5, 1..=2) }]),
            ],
        ),
        ("segments roll", (1..=14).map(|index| single(1, index)).collect()),
        (
            "snapshots and purges",
            vec![
                Write(vec![append(1, 1..=5)]),
                Write(vec![append(1, 6..=12)]),
                Write(vec![record(&three)]),
                Write(vec![purge(1, 3), append(1, 13..=16)]),
                Write(vec![append(1, 17..=19)]),
                Write(vec![record(&eight), purge(1, 8)]),
                Retain(eight.log_id),
                Write(vec![vote(2, Some(3)), truncate(15)]),
            ],
        ),
        (
            "an install drops the log",
            vec![
                Write(vec![append(1, 1..=5)]),
                Write(vec![append(1, 6..=10), record(&three)]),
                Received(vec![vote(4, None), install(&twenty, false)]),
                Retain(twenty.log_id),
                Write(vec![append(4, 21..=30)]),
                Reopen,
                Write(vec![append(4, 31..=33)]),
            ],
        ),
        (
            "an install keeps the suffix",
            vec![
                Write(vec![append(1, 1..=5)]),
                Write(vec![append(1, 6..=10)]),
                Received(vec![install(&eight, true), append(1, 11..=12)]),
                Seal,
                Reopen,
                Write(vec![append(1, 13..=14)]),
            ],
        ),
        (
            "one call of many frames",
            vec![
                Write((1..=30).map(|index| append(1, index..=index)).collect()),
                Write((0..3).map(|turn| append(2, 31 + 9 * turn..=39 + 9 * turn)).collect()),
                Reopen,
                Write((0..3).map(|turn| append(3, 58 + 9 * turn..=66 + 9 * turn)).collect()),
            ],
        ),
    ]
}

/// The state after each number of changes.
pub(crate) fn models(steps: &[Step]) -> Vec<Model> {
    let mut models = vec![Model::default()];
    for change in steps.iter().flat_map(changes) {
        let mut next = models[models.len() - 1].clone();
        next.apply(change);
        models.push(next);
    }
    models
}

fn changes(step: &Step) -> &[LogChange] {
    match step {
        Write(changes) | Received(changes) => changes,
        _ => &[],
    }
}

pub(crate) fn storage(disk: &SimDisk) -> FileStorage {
    FileStorage::on(
        disk.clone(),
        "node",
        FileOptions { segment_bytes: 600, ..FileOptions::default() },
    )
}

/// How far a workload came.
#[derive(Default)]
pub(crate) struct Run {
    /// Changes whose call returned.
    pub acknowledged: usize,
    /// Changes that were handed in.
    pub attempted: usize,
    /// The last start that returned.
    pub incarnation: u64,
    /// The storage as the last step left it.
    pub opened: Option<OpenedStorage>,
    /// What ended the workload early.
    pub error: Option<StorageError>,
}

/// Goes through the workload until something fails.
pub(crate) fn run(disk: &SimDisk, steps: &[Step]) -> Run {
    let mut run = Run::default();
    run.error = start(disk, &mut run)
        .and_then(|()| steps.iter().try_for_each(|step| go(disk, &mut run, step)))
        .err();
    run
}

fn start(disk: &SimDisk, run: &mut Run) -> Result<(), StorageError> {
    run.opened = None;
    let opened = open(storage(disk))?;
    assert!(opened.recovered.life.incarnation > run.incarnation);
    run.incarnation = opened.recovered.life.incarnation;
    run.opened = Some(opened);
    Ok(())
}

fn go(disk: &SimDisk, run: &mut Run, step: &Step) -> Result<(), StorageError> {
    let Some(OpenedStorage { log, snapshots, .. }) = &mut run.opened else {
        return start(disk, run);
    };
    match step {
        Reopen => return start(disk, run),
        Seal => log.seal()?,
        Retain(current) => snapshots.retain(*current, None)?,
        Write(changes) => {
            for meta in changes.iter().filter_map(named_snapshot) {
                assert_eq!(publish(&mut **snapshots, meta.log_id)?, *meta);
            }
        }
        Received(changes) => {
            for meta in changes.iter().filter_map(named_snapshot) {
                assert!(transfer(&mut **snapshots, meta)?);
            }
        }
    }
    let changes = changes(step);
    run.attempted += changes.len();
    log.write(changes)?;
    run.acknowledged += changes.len();
    Ok(())
}

fn transfer(snapshots: &mut dyn SnapshotStore, meta: &SnapshotMeta) -> Result<bool, StorageError> {
    let mut source = open(MemoryStorage::new()).unwrap();
    publish(&mut *source.snapshots, meta.log_id).unwrap();
    let bytes = source.snapshots.reader().read_at(meta.log_id, 0, usize::MAX).unwrap().unwrap();
    let mut receiver = snapshots.receive(meta)?;
    for at in (0..bytes.len()).step_by(150) {
        receiver.append(&bytes.slice(at..bytes.len().min(at + 150)))?;
    }
    receiver.publish()
}

/// Opens what is left: all that was acknowledged, and of the rest a prefix of whole changes; the same at each
/// start; and it goes on from there.
pub(crate) fn check_recovery(disk: &SimDisk, run: &Run, models: &[Model]) {
    let mut opened = open(storage(disk)).unwrap();
    assert!(opened.recovered.life.incarnation > run.incarnation);
    let model = held(&opened);
    let allowed = &models[run.acknowledged..=run.attempted];
    assert!(allowed.contains(&model), "{model:#?} is none of {allowed:#?}");
    check_snapshot(&mut opened);
    let incarnation = opened.recovered.life.incarnation;
    drop(opened);
    let mut again = open(storage(disk)).unwrap();
    assert_eq!((again.recovered.life.incarnation, held(&again)), (incarnation + 1, model.clone()));
    let next = model.last() + 1;
    again.log.write(&[append(model.last_term().max(9), next..=next)]).unwrap();
    let rebooted = disk.reboot(super::sim_disk::Unsynced::Lost);
    let last = open(storage(&rebooted)).unwrap();
    assert_eq!((last.recovered.life.incarnation, held(&last).last()), (incarnation + 2, next));
}
