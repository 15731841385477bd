//! Power failures: at every file call of every workload, in the middle of writes, and during
//! recovery.
//!
//! A workload runs once. Its images are made from the record of its calls (see
//! [`recording`](super::recording)): before each call, and within each write, with unsynced data
//! kept, lost, reordered and torn. Images that are identical, after the same acknowledgements, are
//! opened once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::actions::random_workload;
use super::model::*;
use super::recording::{Call, Recorded, State};
use super::sim_disk::{SimDisk, Unsynced};
use super::workload::{Expected, Progress, Workload, in_context, storage};
use super::workloads;
use crate::raft::Random;
use crate::storage::Storage;
use crate::storage::file::{FileOptions, FileStorage};

/// Minimum number of images to recover.
const IMAGES: usize = 200_000;
/// Number of random workloads in addition to the fixed ones.
const RANDOM: u64 = 130;
/// Number of seeds that decide about unsynced data before a call.
const SEEDS_BEFORE: u64 = 90;
/// Number of seeds that decide about it within a write.
const SEEDS_WITHIN: u64 = 24;
/// Number of images for each workload whose recovery is interrupted at every call.
const INTERRUPTED: usize = 1_000;
/// Number of random workloads that restart a process before the power fails.
const RANDOM_RESTARTS: u64 = 30;
/// Number of seeds that decide about unsynced data of an interrupted recovery.
const SEEDS_INTERRUPTED: u64 = 10;

/// Counts of the images.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Images created.
    made: usize,
    /// Images opened: distinct ones, or with distinct acknowledgements.
    recovered: usize,
    /// Distinct ones of those.
    distinct: usize,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.made += other.made;
        self.recovered += other.recovered;
        self.distinct += other.distinct;
    }
}

/// The images of a workload's states.
struct Images<'a> {
    workload: &'a Workload,
    models: Vec<Model>,
    past: &'a [Progress],
    record: &'a [Recorded],
    seen: BTreeSet<(u64, usize)>,
    distinct: BTreeSet<u64>,
    count: Count,
}

impl Images<'_> {
    fn every(&mut self) -> Count {
        let mut state = State::default();
        for at in 0..=self.record.len() {
            let mark = self.record.get(at).map_or(self.past.len() - 1, |recorded| recorded.mark);
            self.at(&state, at, "before", mark, SEEDS_BEFORE);
            let Some(Recorded { call, .. }) = self.record.get(at) else { break };
            if let Call::Write { file, offset, bytes } = call {
                let mut random = Random::new(at as u64);
                for _ in 0..SEEDS_WITHIN / 4 {
                    let mut within = state.clone();
                    let bytes = bytes.slice(..random.below(bytes.len() as u64 + 1) as usize);
                    within.apply(&Call::Write { file: *file, offset: *offset, bytes });
                    self.at(&within, at, "within", mark, 4);
                }
            }
            state.apply(call);
        }
        self.count.distinct = self.distinct.len();
        self.count
    }

    fn at(&mut self, state: &State, at: usize, place: &str, mark: usize, seeds: u64) {
        let kinds = [Unsynced::Kept, Unsynced::Lost, Unsynced::NamesLost, Unsynced::BytesLost];
        let seeded = (0..seeds).map(|seed| Unsynced::Torn(seed << 32 | at as u64));
        let kinds = kinds.into_iter().chain(seeded);
        for unsynced in kinds.take(if state.is_settled() { 1 } else { usize::MAX }) {
            let image = state.after_crash(unsynced);
            self.count.made += 1;
            let progress = &self.past[mark];
            let fingerprint = image.fingerprint();
            if !self.seen.insert((fingerprint, mark)) {
                continue;
            }
            self.distinct.insert(fingerprint);
            self.count.recovered += 1;
            let expected = Expected { workload: self.workload, models: &self.models, progress };
            in_context(
                || {
                    format!(
                        "{:?}, {place} call {at} of {}, un-synced {unsynced:?}",
                        self.workload.name,
                        self.record.len()
                    )
                },
                || {
                    expected.check(&SimDisk::of(image));
                },
            );
        }
    }
}

fn images_of(workload: &Workload) -> Count {
    let disk = SimDisk::default();
    let run = workload.run(&disk);
    let models = workload.models();
    assert!(run.error.is_none(), "{:?}: {:?}", workload.name, run.error);
    assert_eq!(run.progress().acknowledged, models.len() - 1, "{:?}", workload.name);
    let record = disk.record();
    Images {
        workload,
        models,
        past: &run.past,
        record: &record,
        seen: BTreeSet::new(),
        distinct: BTreeSet::new(),
        count: Count::default(),
    }
    .every()
}

/// Distributes the workloads over two threads.
pub(crate) fn on_two_threads<T: Send>(
    workloads: &[Workload],
    work: impl Fn(&Workload) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        while let Some(workload) = workloads.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(in_context(|| format!("{workload:?}"), || work(workload)));
        }
        done
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(take);
        let mut done = take();
        done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        done
    })
}

/// PS05, PS08, PS09, PS10, PS13, PS14, PS25, B10, B11: for every operation in progress.
#[test]
fn a_crash_at_any_file_call_loses_nothing_acknowledged() {
    let workloads = workloads::all(RANDOM);
    let begun = tokio::time::Instant::now();
    let mut total = Count::default();
    on_two_threads(&workloads, images_of).into_iter().for_each(|count| total.add(count));
    println!("{} workloads, {total:?}, {:?}", workloads.len(), begun.elapsed());
    assert!(total.recovered >= IMAGES, "{total:?}");
    assert!(total.distinct >= IMAGES, "{total:?}");
}

/// The same for a new random workload; `QUORATE_SEED` repeats one.
#[test]
fn a_crash_in_a_new_life_loses_nothing_acknowledged() {
    let seed = std::env::var("QUORATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(u64::from(std::process::id()) << 8);
    let workloads: Vec<Workload> = (seed..seed + 4).map(random_workload).collect();
    let counts = in_context(
        || format!("QUORATE_SEED={seed} cargo test --lib storage::tests::crash"),
        || on_two_threads(&workloads, images_of),
    );
    println!("QUORATE_SEED={seed}: {counts:?}");
}

/// The calls of a recovery can be interrupted like any others. Once it has returned, its result is
/// durable.
#[test]
fn a_crash_during_the_recovery_from_a_crash_loses_nothing_acknowledged() {
    let workloads = workloads::all(40);
    let counts = on_two_threads(&workloads, interrupted_recoveries_of);
    let total: usize = counts.into_iter().sum();
    println!("{total} images of interrupted recoveries");
    assert!(total > 20_000, "{total}");
}

fn interrupted_recoveries_of(workload: &Workload) -> usize {
    let disk = SimDisk::default();
    let run = workload.run(&disk);
    let (models, record) = (workload.models(), disk.record());
    let mut random = Random::new(record.len() as u64);
    let every = (record.len() / INTERRUPTED).max(1) as u64;
    let (mut state, mut count) = (State::default(), 0);
    for (at, Recorded { call, mark }) in record.iter().enumerate() {
        let is_sampled = !state.is_settled() && random.below(every) == 0;
        if is_sampled {
            let unsynced = Unsynced::Torn(random.next());
            let progress = run.past[*mark].without_publications();
            let expected = Expected { workload, models: &models, progress: &progress };
            in_context(
                || format!("{:?}, before call {at}, un-synced {unsynced:?}", workload.name),
                || count += interrupted_recoveries(&state.after_crash(unsynced), expected),
            );
        }
        state.apply(call);
    }
    count
}

fn interrupted_recoveries(image: &State, expected: Expected<'_>) -> usize {
    let disk = SimDisk::of(image.clone());
    let opened = open(expected.workload.storage(&disk)).unwrap();
    let (model, incarnation) = (held(&opened), opened.recovered.life.incarnation);
    let (mut state, mut seen) = (image.clone(), BTreeSet::new());
    for (at, Recorded { call, .. }) in disk.record().iter().enumerate() {
        let kinds = [Unsynced::Kept, Unsynced::Lost];
        for unsynced in kinds.into_iter().chain((0..SEEDS_INTERRUPTED).map(Unsynced::Torn)) {
            let image = state.after_crash(unsynced);
            if seen.insert(image.fingerprint()) {
                in_context(
                    || format!("the recovery, before its call {at}, un-synced {unsynced:?}"),
                    || expected.check(&SimDisk::of(image)),
                );
            }
        }
        state.apply(call);
    }
    let lost = SimDisk::of(state.after_crash(Unsynced::Lost));
    let again = open(expected.workload.storage(&lost)).unwrap();
    assert!(again.recovered.life.incarnation > incarnation, "a life twice");
    assert_eq!(held(&again), model, "a recovery that returned is durable");
    seen.len() + 1
}

/// PS05, B11: only the process dies, at any call; it restarts, acknowledges a write, and then the
/// power fails. Data that the first process had not synced, names in particular, must be durable by
/// then.
#[test]
fn a_power_loss_behind_the_restart_of_a_process_loses_nothing_acknowledged() {
    let workloads = workloads::all(RANDOM_RESTARTS);
    let counts = on_two_threads(&workloads, |workload| {
        let disk = SimDisk::default();
        let run = workload.run(&disk);
        let (models, mut state, mut count) = (workload.models(), State::default(), 0);
        let past = &run.past;
        for (at, Recorded { call, mark }) in disk.record().iter().enumerate() {
            if !state.is_settled() {
                let progress = past[*mark].without_publications();
                let expected = Expected { workload, models: &models, progress: &progress };
                in_context(
                    || format!("{:?}, the process dies before call {at}", workload.name),
                    || expected.check_power_loss_behind(&SimDisk::of(state.clone()), at as u64),
                );
                count += 1;
            }
            state.apply(call);
        }
        count
    });
    let total: usize = counts.into_iter().sum();
    println!("{total} restarts of a process, each with a power loss behind it");
    assert!(total > 2_000, "{total}");
}

/// PS19: no more fsyncs and no fewer.
#[test]
fn ps19_a_call_is_one_fsync_however_many_changes() {
    let disk = SimDisk::default();
    let options = FileOptions { segment_bytes: 900, spare_segments: 0, ..FileOptions::default() };
    let mut opened = open(FileStorage::on(disk.clone(), "node", options)).unwrap();
    let before = disk.syncs();
    opened.log.write(&[vote(1, Some(1)), append(1, 1..=3), append(1, 4..=9)]).unwrap();
    assert_eq!(disk.syncs() - before, 1);
    opened.log.write(&[append(1, 10..=20)]).unwrap();
    assert_eq!(
        disk.syncs() - before,
        4,
        "a new segment costs two of the mark, and the directory's"
    );
    opened.log.write(&[]).unwrap();
    opened.log.write(&[crate::raft::LogChange::default()]).unwrap();
    assert_eq!(disk.syncs() - before, 4, "nothing to be made durable");
    opened.log.seal().unwrap();
    assert_eq!(disk.syncs() - before, 4, "a new segment's mark is a seal");
    opened.log.write(&[append(1, 21..=21)]).unwrap();
    assert_eq!(disk.syncs() - before, 5, "one after a seal, too");
    opened.log.seal().unwrap();
    opened.log.seal().unwrap();
    assert_eq!(disk.syncs() - before, 7, "sealed once");
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
