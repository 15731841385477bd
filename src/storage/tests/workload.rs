//! Workloads of a node's storage that are interrupted at every call: their steps, and the content
//! expected afterwards.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use super::model::*;
use super::sim_disk::{SimDisk, Unsynced};
use crate::raft::{Life, LogChange, LogId, SnapshotMeta};
use crate::storage::file::{FileOptions, FileStorage};
use crate::storage::memory::MemoryStorage;
use crate::storage::{OpenedStorage, SnapshotStore, StorageError};

/// One operation on the storage.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// One call; snapshots that it names are published before.
    Write(Vec<LogChange>),
    /// The same with a snapshot that was received.
    Received(Vec<LogChange>),
    /// A snapshot is published and its record is not written yet.
    Publish(LogId),
    /// Two snapshots written concurrently, in turns; the older one is published last.
    PublishBoth(LogId, LogId),
    /// One snapshot is begun here and another one received; both are dropped half-way.
    Abandon(LogId),
    /// A received snapshot does not verify.
    ReceiveBroken(LogId),
    /// Older snapshots are removed, except this one.
    Retain(LogId, Option<LogId>),
    /// One snapshot is removed.
    Remove(LogId),
    /// A snapshot's file is damaged; at the next start this one replaces it.
    Rot(LogId, Option<SnapshotMeta>),
    /// The log is sealed.
    Seal,
    /// The node stops and starts.
    Reopen,
}

use Step::{
    Abandon, Publish, PublishBoth, ReceiveBroken, Received, Remove, Reopen, Retain, Rot, Seal,
    Write,
};

/// A sequence of steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workload {
    pub name: String,
    pub segment_bytes: u64,
    pub spare_segments: usize,
    pub steps: Vec<Step>,
}

impl Workload {
    /// The storage it runs on.
    pub(crate) fn storage(&self, disk: &SimDisk) -> FileStorage {
        let Workload { segment_bytes, spare_segments, .. } = *self;
        let options = FileOptions {
            segment_bytes,
            spare_segments,
            // One sync within each snapshot of these tests, which have a few hundred bytes.
            snapshot_sync_bytes: 200,
            ..FileOptions::default()
        };
        FileStorage::on(disk.clone(), "node", options)
    }

    /// The state after each number of changes.
    pub(crate) fn models(&self) -> Vec<Model> {
        let mut models = vec![Model::default()];
        for step in &self.steps {
            let last = models[models.len() - 1].clone();
            if let Rot(_, older) = step {
                models.push(Model { snapshot: older.clone(), ..last });
                continue;
            }
            for change in changes(step) {
                let mut next = models[models.len() - 1].clone();
                next.apply(change);
                models.push(next);
            }
        }
        models
    }

    /// Runs it until a call fails.
    pub(crate) fn run(&self, disk: &SimDisk) -> Run {
        let mut run = Run { past: vec![Progress::default()], opened: None, error: None };
        run.error = self
            .start(disk, &mut run)
            .and_then(|()| self.steps.iter().try_for_each(|step| self.go(disk, &mut run, step)))
            .err();
        run
    }

    fn start(&self, disk: &SimDisk, run: &mut Run) -> Result<(), StorageError> {
        run.opened = None;
        // Snapshots that no record names are removed.
        run.note(disk, |progress| progress.published.clear());
        let opened = open(self.storage(disk))?;
        let incarnation = opened.recovered.life.incarnation;
        assert!(incarnation > run.progress().incarnation);
        run.note(disk, |progress| progress.incarnation = incarnation);
        run.opened = Some(opened);
        Ok(())
    }

    fn go(&self, disk: &SimDisk, run: &mut Run, step: &Step) -> Result<(), StorageError> {
        let Some(mut opened) = run.opened.take() else { return self.start(disk, run) };
        let outcome = self.step(disk, run, step, &mut opened);
        run.opened = Some(opened);
        match step {
            Reopen if outcome.is_ok() => self.start(disk, run),
            _ => outcome,
        }
    }

    fn step(
        &self,
        disk: &SimDisk,
        run: &mut Run,
        step: &Step,
        opened: &mut OpenedStorage,
    ) -> Result<(), StorageError> {
        let OpenedStorage { log, snapshots, .. } = opened;
        let snapshots = &mut **snapshots;
        match step {
            Reopen => {}
            Seal => log.seal()?,
            Retain(current, keep) => {
                run.note(disk, |progress| progress.published.clear());
                snapshots.retain(*current, *keep)?;
            }
            Remove(id) => {
                run.note(disk, |progress| {
                    progress.published.retain(|path, _| *path != snapshot_path(*id))
                });
                snapshots.remove(*id)?;
            }
            Publish(id) => {
                publish(snapshots, *id)?;
                run.published(disk, *id);
            }
            PublishBoth(first, last) => {
                publish_both(snapshots, *first, *last)?;
                run.published(disk, *first);
                run.published(disk, *last);
            }
            Abandon(id) => abandon(snapshots, *id)?,
            ReceiveBroken(id) => assert!(!transfer(snapshots, &meta_of(*id), true)?),
            Rot(id, _) => {
                run.note(disk, |progress| {
                    progress.attempted += 1;
                    progress.published.clear();
                });
                disk.rot(&snapshot_path(*id), |bytes| bytes[70] ^= 1);
                run.note(disk, |progress| progress.acknowledged += 1);
            }
            Write(changes) | Received(changes) => {
                for meta in changes.iter().filter_map(named_snapshot) {
                    match step {
                        Received(_) => assert!(transfer(snapshots, meta, false)?),
                        _ => assert_eq!(publish(snapshots, meta.log_id)?, *meta),
                    }
                    run.published(disk, meta.log_id);
                }
                run.note(disk, |progress| progress.attempted += changes.len());
                let incarnation = run.progress().incarnation;
                let changes: Vec<LogChange> = changes
                    .iter()
                    .map(|change| in_this_life(change.clone(), incarnation))
                    .collect();
                log.write(&changes)?;
                run.note(disk, |progress| progress.acknowledged += changes.len());
            }
        }
        Ok(())
    }
}

fn changes(step: &Step) -> &[LogChange] {
    match step {
        Write(changes) | Received(changes) => changes,
        _ => &[],
    }
}

/// The change with this incarnation, if it contains an incarnation record.
pub(crate) fn in_this_life(change: LogChange, incarnation: u64) -> LogChange {
    LogChange { life: change.life.map(|life| Life { incarnation, ..life }), ..change }
}

/// The storage of most tests: segments of a few frames.
pub(crate) fn storage(disk: &SimDisk) -> FileStorage {
    storage_of(disk, 600)
}

pub(crate) fn storage_of(disk: &SimDisk, segment_bytes: u64) -> FileStorage {
    FileStorage::on(disk.clone(), "node", FileOptions { segment_bytes, ..FileOptions::default() })
}

fn snapshot_path(id: LogId) -> PathBuf {
    format!("node/snapshots/{:020}-{:020}.snap", id.index, id.term).into()
}

/// The progress of a workload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Number of changes whose call returned.
    pub acknowledged: usize,
    /// Number of changes passed to a call.
    pub attempted: usize,
    /// The incarnation of the last start that returned.
    pub incarnation: u64,
    /// Published snapshots that must not be removed.
    published: BTreeMap<PathBuf, u32>,
}

impl Progress {
    /// The progress after a start was begun: snapshots that no record names may be removed.
    pub(crate) fn without_publications(&self) -> Progress {
        Progress { published: BTreeMap::new(), ..self.clone() }
    }
}

/// The progress of a run, and its end.
pub(crate) struct Run {
    /// Each progress; the mark of a recorded call is an index into this.
    pub past: Vec<Progress>,
    /// The storage after the last step.
    pub opened: Option<OpenedStorage>,
    /// The error that ended the workload early.
    pub error: Option<StorageError>,
}

impl Run {
    /// The last progress.
    pub(crate) fn progress(&self) -> &Progress {
        &self.past[self.past.len() - 1]
    }

    fn note(&mut self, disk: &SimDisk, edit: impl FnOnce(&mut Progress)) {
        let mut progress = self.progress().clone();
        edit(&mut progress);
        self.past.push(progress);
        disk.mark(self.past.len() - 1);
    }

    fn published(&mut self, disk: &SimDisk, id: LogId) {
        let path = snapshot_path(id);
        let state = disk.state();
        let file = state.file(&path).expect("published, so it is there");
        let crc = crc32c::crc32c(state.bytes(file));
        self.note(disk, |progress| progress.published.extend([(path, crc)]));
    }
}

fn publish_both(
    snapshots: &mut dyn SnapshotStore,
    first: LogId,
    last: LogId,
) -> Result<(), StorageError> {
    let (mut one, mut other) =
        (snapshots.create(first, &members())?, snapshots.create(last, &members())?);
    let (one_content, other_content) = (content(first), content(last));
    let (one_half, other_half) = (one_content.len() / 2, other_content.len() / 2);
    // A failure here occurs again at the end.
    let _ = one.write_all(&one_content[..one_half]);
    let _ = other.write_all(&other_content[..other_half]);
    let _ = one.write_all(&one_content[one_half..]);
    let _ = other.write_all(&other_content[other_half..]);
    other.publish()?;
    one.publish()?;
    Ok(())
}

fn abandon(snapshots: &mut dyn SnapshotStore, id: LogId) -> Result<(), StorageError> {
    let mut sink = snapshots.create(id, &members())?;
    let mut receiver = snapshots.receive(&meta_of(id))?;
    let written = sink.write_all(&content(id)).and_then(|()| sink.flush());
    receiver.append(&vec![7; 100].into())?;
    match written {
        Ok(()) => Ok(()),
        Err(error) => Err(error.downcast().expect("a storage error")),
    }
}

fn transfer(
    snapshots: &mut dyn SnapshotStore,
    meta: &SnapshotMeta,
    broken: bool,
) -> Result<bool, StorageError> {
    let mut source = open(MemoryStorage::new()).unwrap();
    publish(&mut *source.snapshots, meta.log_id).unwrap();
    let bytes = source.snapshots.reader().read_at(meta.log_id, 0, usize::MAX).unwrap().unwrap();
    let mut bytes = bytes.to_vec();
    bytes[80] ^= u8::from(broken);
    let mut receiver = snapshots.receive(meta)?;
    for piece in bytes.chunks(150) {
        receiver.append(&piece.to_vec().into())?;
    }
    receiver.publish()
}

/// The content that a workload's storage must hold after a crash.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub workload: &'a Workload,
    pub models: &'a [Model],
    pub progress: &'a Progress,
}

impl Expected<'_> {
    /// Opens the storage and checks that it holds everything acknowledged, and a prefix of whole
    /// changes of the rest. Returns its content.
    pub(crate) fn check_opening(&self, disk: &SimDisk) -> Model {
        let Expected { workload, models, progress } = *self;
        let state = disk.state();
        for (path, crc) in &progress.published {
            let file = state.file(path).unwrap_or_else(|| panic!("{path:?} was published"));
            assert_eq!(crc32c::crc32c(state.bytes(file)), *crc, "{path:?}");
        }
        let mut opened = open(workload.storage(disk)).unwrap();
        assert!(opened.recovered.life.incarnation > progress.incarnation);
        let model = held(&opened);
        let allowed = &models[progress.acknowledged..=progress.attempted];
        assert!(allowed.contains(&model), "{model:#?} is none of {allowed:#?}");
        check_snapshot(&mut opened);
        model
    }

    /// Checks that the next start has the same content, and that the storage can continue: entries,
    /// a snapshot, and a crash.
    pub(crate) fn check_going_on(&self, disk: &SimDisk, model: Model) {
        let mut again = open(self.workload.storage(disk)).unwrap();
        let incarnation = again.recovered.life.incarnation;
        assert_eq!(held(&again), model, "at the second start");
        let mut goal = model;
        let (term, next) = (goal.last_term().max(9), goal.last() + 1);
        let meta = publish(&mut *again.snapshots, LogId::new(term, next + 1)).unwrap();
        for change in
            [append(term, next..=next + 1), record(&meta), append(term, next + 2..=next + 2)]
        {
            again.log.write(std::slice::from_ref(&change)).unwrap();
            goal.apply(&change);
        }
        let rebooted = disk.reboot(Unsynced::Lost);
        drop(again);
        let mut last = open(self.workload.storage(&rebooted)).unwrap();
        assert_eq!(last.recovered.life.incarnation, incarnation + 1);
        assert_eq!(held(&last), goal, "after it went on");
        check_snapshot(&mut last);
    }

    /// Opens the storage of a dead process, acknowledges one more change, and cuts the power.
    pub(crate) fn check_power_loss_behind(&self, disk: &SimDisk, seed: u64) {
        let mut goal = self.check_opening(disk);
        // The opening above was dropped: its process died as well.
        let mut opened = open(self.workload.storage(disk)).unwrap();
        let change = append(goal.last_term().max(9), goal.last() + 1..=goal.last() + 1);
        opened.log.write(std::slice::from_ref(&change)).unwrap();
        goal.apply(&change);
        for unsynced in [Unsynced::Lost, Unsynced::NamesLost, Unsynced::Torn(seed)] {
            let opened = open(self.workload.storage(&disk.reboot(unsynced))).unwrap();
            assert_eq!(held(&opened), goal, "after a power loss, {unsynced:?}");
        }
    }

    /// Runs both checks.
    pub(crate) fn check(&self, disk: &SimDisk) {
        let model = self.check_opening(disk);
        self.check_going_on(disk, model);
    }
}

/// Adds the context to a panic inside.
pub(crate) fn in_context<T>(context: impl Fn() -> String, check: impl FnOnce() -> T) -> T {
    struct Where<F: Fn() -> String>(F);
    impl<F: Fn() -> String> Drop for Where<F> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("in {}", (self.0)());
            }
        }
    }
    let _say = Where(context);
    check()
}
