//! Bytes change on the disk: every byte of a small corpus, and many of a larger one.
//!
//! | outcome | meaning |
//! |---|---|
//! | refused | an error that names the file; nothing was changed |
//! | recovering | opened with a data loss, and with a prefix of the earlier content |
//! | fell back | an older snapshot replaces the current one, and it is reported |
//! | covered | entries that a snapshot covers are gone, and it is reported |
//! | cut | data behind the durable mark of the log's end is gone, and it is reported |
//! | cut unsaid | the same, not reported: the rest looks like an earlier segment in the same file |
//! | reported | everything is present, and it is reported |
//! | harmless | everything is present: padding, a stale byte, or a file that is not needed |
//!
//! Both kinds of cuts happen only after a power loss. A log that was sealed, or whose process died
//! while the machine continued, has a mark at its very end.
//!
//! Any other outcome fails the test: a panic, or data lost without a report.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::crash::on_two_threads;
use super::events::Events;
use super::model::*;
use super::recording::State;
use super::sim_disk::{SimDisk, Unsynced};
use super::workload::{Step, Workload, in_context};
use crate::raft::LogId;
use crate::raft::Random;
use crate::storage::file::inspection::{Holding, Inspection, Inspector, SegmentReport, Stretch};
use crate::storage::{OpenedStorage, StorageError};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Refused,
    Recovering,
    FellBack,
    Covered,
    Cut,
    CutUnsaid,
    Reported,
    Harmless,
}

pub(super) type Counts = BTreeMap<Outcome, usize>;

/// How the last run on a directory ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The log was sealed; then the power failed.
    Sealed,
    /// The process died; the machine continued.
    Killed,
    /// The power failed.
    PowerLoss,
}

/// A directory to be damaged.
pub(super) struct Corpus {
    workload: Workload,
    state: State,
    models: Vec<Model>,
    /// The expected content, unless damage is noticed.
    whole: Model,
    /// A log that ends before this one of the models has lost data.
    noted: usize,
}

impl Corpus {
    /// About `bytes` of log: entries, votes, conflicts, two snapshots, a purge of a few entries.
    pub(super) fn new(
        bytes: usize,
        segment_bytes: u64,
        entry_bytes: usize,
        ended: Ended,
    ) -> Corpus {
        Corpus::purged(bytes, segment_bytes, entry_bytes, ended, |groups| (groups / 2, 1))
    }

    /// The same. For the number of groups of three entries, `purge_at` returns after which group to
    /// purge, and how many groups.
    fn purged(
        bytes: usize,
        segment_bytes: u64,
        entry_bytes: usize,
        ended: Ended,
        purge_at: fn(u64) -> (u64, u64),
    ) -> Corpus {
        let groups = (bytes / (3 * entry_bytes)) as u64;
        let mut steps = Vec::new();
        for group in 0..groups {
            let (first, term) = (3 * group + 1, 1 + group / 4);
            let mut changes: Vec<_> =
                (first..first + 3).map(|index| append_big(term, index, entry_bytes)).collect();
            changes[0].truncate_from = (group > 0).then_some(first);
            changes[1].hard_state = vote(term, Some(group / 4 % 3)).hard_state;
            steps.push(Step::Write(changes));
            for (at, purged) in [(groups / 4, 0), purge_at(groups)] {
                if group == at {
                    let id = LogId::new(term, first);
                    steps.push(Step::Write(vec![record(&meta_of(id))]));
                    let purged_term = 1 + purged.saturating_sub(1) / 4;
                    steps.push(Step::Write(vec![purge(purged_term, 3 * purged)]));
                }
            }
        }
        if ended == Ended::Sealed {
            steps.push(Step::Seal);
        }
        let workload = Workload { name: "corpus".into(), segment_bytes, spare_segments: 2, steps };
        let disk = SimDisk::default();
        let run = workload.run(&disk);
        assert!(run.error.is_none(), "{:?}", run.error);
        drop(run);
        let state = disk.state().after_crash(match ended {
            Ended::Killed => Unsynced::Kept,
            Ended::Sealed | Ended::PowerLoss => Unsynced::Lost,
        });
        let models = workload.models();
        let whole = held(&open(workload.storage(&SimDisk::of(state.clone()))).unwrap());
        assert_eq!(whole, models[models.len() - 1]);
        let mark = inspected(&state).end.expect("a mark").last;
        let noted = models.iter().position(|then| then.last() == mark.index);
        let noted = if ended == Ended::PowerLoss { noted } else { Some(models.len() - 1) };
        Corpus { workload, state, models, whole, noted: noted.expect("it was written") }
    }

    /// The non-empty files with their lengths.
    pub(super) fn files(&self) -> Vec<(PathBuf, usize)> {
        let length = |path: &Path| Some((path.to_owned(), self.bytes(path)?.len()));
        self.state.paths().filter_map(length).filter(|(_, length)| *length > 0).collect()
    }

    pub(super) fn bytes(&self, path: &Path) -> Option<&[u8]> {
        Some(self.state.bytes(self.state.file(path)?))
    }

    /// The inspection of the undamaged directory.
    pub(super) fn inspected(&self) -> Inspection {
        inspected(&self.state)
    }

    /// The same with these bytes in that file, or without the file.
    pub(super) fn inspected_with(&self, path: &Path, bytes: Option<Vec<u8>>) -> Inspection {
        inspected(&self.damaged(path, bytes))
    }

    fn damaged(&self, path: &Path, bytes: Option<Vec<u8>>) -> State {
        let mut damaged = self.state.clone();
        match bytes {
            Some(bytes) => damaged.put(path, bytes),
            None => damaged.take(path),
        }
        damaged
    }

    /// A reused file that holds frames of another segment, with the end of the log's part.
    fn used_again(&self) -> Option<(PathBuf, usize)> {
        let disk = Arc::new(SimDisk::of(self.state.clone()));
        let inspector = Inspector::on(disk, "node".into(), Arc::new(|_| {})).unwrap();
        let is_used_again = |segment: &SegmentReport| {
            let mut stretches = inspector.stretches(segment, 0).unwrap().map(Result::unwrap);
            stretches.any(|stretch| {
                matches!(stretch, Stretch::Gap(gap) if gap.holds == Holding::EarlierSegment)
            })
        };
        let found = inspector.inspect().unwrap().segments.into_iter().find(is_used_again)?;
        Some((found.path.into(), found.used_bytes as usize))
    }

    /// Flips one bit of each byte in the parts `from..to` of the files, one byte at a time.
    fn flip_each(&self, parts: &[(PathBuf, Range<usize>)]) -> Counts {
        let total: usize = parts.iter().map(|(_, part)| part.len()).sum();
        counted(total, |job, events| {
            let mut before = job;
            let (path, part) = parts.iter().find(|(_, part)| {
                let is_here = before < part.len();
                before -= if is_here { 0 } else { part.len() };
                is_here
            })?;
            let at = part.start + before;
            let mut bytes = self.bytes(path)?.to_vec();
            bytes[at] ^= 1 << (job % 8);
            let twice = job % 4 == 0;
            Some(in_context(
                || format!("{} byte {at}", path.display()),
                || self.outcome(events, path, Some(bytes), twice),
            ))
        })
    }

    /// The outcome with these bytes in that file, or without the file.
    pub(super) fn outcome(
        &self,
        events: &Events,
        path: &Path,
        bytes: Option<Vec<u8>>,
        twice: bool,
    ) -> Outcome {
        let damaged = self.damaged(path, bytes);
        let disk = SimDisk::of(damaged.clone());
        events.take();
        let outcome = match open(self.workload.storage(&disk)) {
            Err(error) => {
                self.check_refusal(&error);
                assert!(disk.state().same_files(&damaged), "a refused start changed something");
                return Outcome::Refused;
            }
            Ok(mut opened) => {
                check_snapshot(&mut opened);
                self.classify(&held(&opened), &events.take())
            }
        };
        if twice {
            let first = held(&open(self.workload.storage(&disk)).unwrap());
            let second = held(&open(self.workload.storage(&disk)).unwrap());
            assert_eq!(first, second, "the second start");
        }
        outcome
    }

    fn check_refusal(&self, error: &StorageError) {
        let message = error.to_string();
        assert!(message.contains("node"), "{message}");
        assert!(!matches!(error, StorageError::Io { .. }), "{message}");
    }

    fn classify(&self, model: &Model, events: &[String]) -> Outcome {
        let Model { snapshot, entries, start, .. } = self.whole.clone();
        let is_reported = events.iter().any(|event| event.contains("node/"));
        let says = |words: &str| events.iter().any(|event| event.contains(words));
        if model.loss.is_some() {
            assert!(is_reported, "a loss without a word: {events:?}");
            self.check_prefix(model);
            return Outcome::Recovering;
        }
        if *model == self.whole {
            return if events.is_empty() { Outcome::Harmless } else { Outcome::Reported };
        }
        if (Model { snapshot, ..model.clone() }) == self.whole {
            assert!(says("stands in"), "fell back without a word: {events:?}");
            return Outcome::FellBack;
        }
        let is_whole_behind = model.last() == self.whole.last();
        if is_whole_behind && (Model { entries, start, ..model.clone() }) == self.whole {
            assert!(is_reported, "entries are gone without a word: {events:?}");
            let covered = self.whole.snapshot.as_ref().map_or(0, |meta| meta.log_id.index);
            assert!(model.start.index <= covered, "{} is not covered", model.start);
            self.check_prefix(model);
            return Outcome::Covered;
        }
        // Data that no frame and no mark confirms looks as if it had never been written.
        let is_prefix = self.models[self.noted..].iter().any(|allowed| allowed == model);
        assert!(is_prefix, "gone: {} to {}", model.last(), self.whole.last());
        let is_said = is_reported && says("cut");
        if is_said { Outcome::Cut } else { Outcome::CutUnsaid }
    }

    /// Checks that the rest is the log at some earlier time, perhaps without entries that a
    /// snapshot covers.
    fn check_prefix(&self, model: &Model) {
        let is_prefix = |then: &Model| {
            then.last() == model.last()
                && then.start.index <= model.start.index
                && then.entries[(model.start.index - then.start.index) as usize..] == model.entries
        };
        let then = self.models.iter().rev().filter(|then| then.last() == model.last()).take(9);
        let mut fitting = then.filter(|then| is_prefix(then)).peekable();
        // An empty log is also a prefix.
        let is_empty = *model == Model { loss: model.loss, ..Model::default() };
        assert!(is_empty || fitting.peek().is_some(), "{} to {}", model.start, model.last());
        let Some(loss) = model.loss else {
            assert!(fitting.any(|then| then.hard_state == model.hard_state));
            return;
        };
        // Terms and votes may be known from the part behind the damage; if the last one is not, the
        // node must record that.
        assert!(loss.forgot_vote || model.hard_state == self.whole.hard_state);
        assert!(self.models.iter().any(|then| then.hard_state == model.hard_state));
        if let Some(last) = loss.last {
            assert!(last.index >= self.whole.last(), "it held {}, not {last}", self.whole.last());
        }
    }
}

fn inspected(state: &State) -> Inspection {
    let disk = Arc::new(SimDisk::of(state.clone()));
    Inspector::on(disk, "node".into(), Arc::new(|_| {})).unwrap().inspect().unwrap()
}

/// Runs `jobs` on two threads, each with its own collector of log events.
pub(super) fn counted(
    jobs: usize,
    work: impl Fn(usize, &Events) -> Option<Outcome> + Sync,
) -> Counts {
    let (next, counts) = (AtomicUsize::new(0), Mutex::new(Counts::new()));
    let both = [Workload::default(), Workload::default()];
    on_two_threads(&both, |_| {
        let events = Events::listen();
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= jobs {
                return;
            }
            if let Some(outcome) = in_context(|| format!("damage {job}"), || work(job, &events)) {
                *counts.lock().entry(outcome).or_default() += 1;
            }
        }
    });
    counts.into_inner()
}

fn share(counts: &Counts, outcomes: &[Outcome]) -> f64 {
    let of = |outcomes: &[Outcome]| -> usize {
        outcomes.iter().filter_map(|outcome| counts.get(outcome)).sum()
    };
    of(outcomes) as f64 / counts.values().sum::<usize>() as f64
}

pub(super) const NOTICED: [Outcome; 5] =
    [Outcome::Refused, Outcome::Recovering, Outcome::FellBack, Outcome::Covered, Outcome::Reported];

/// PS06: each byte of each file, one at a time.
#[test]
fn ps06_every_flipped_byte_of_a_sealed_directory_is_noticed_or_harmless() {
    let corpus = Corpus::new(56 << 10, 8 << 10, 300, Ended::Sealed);
    let files: Vec<_> =
        corpus.files().into_iter().map(|(path, length)| (path, 0..length)).collect();
    let total: usize = files.iter().map(|(_, part)| part.len()).sum();
    let counts = corpus.flip_each(&files);
    println!("{total} bytes of {} files, each flipped: {counts:?}", files.len());
    assert!(total >= 50 << 10 && counts.values().sum::<usize>() == total, "{total}: {counts:?}");
    assert!(share(&counts, &NOTICED) > 0.8, "{counts:?}");
    assert_eq!(share(&counts, &[Outcome::Cut, Outcome::CutUnsaid]), 0.0, "{counts:?}");
}

/// PS06: a reused file with frames of another segment behind the end.
#[test]
fn ps06_every_flipped_byte_of_a_file_used_again_is_noticed_or_harmless() {
    // A full segment holds nothing of an earlier one, so the file must be the newest segment, which
    // is not full.
    let late = |groups: u64| (groups * 3 / 4, groups * 3 / 4 - 2);
    let mut corpora =
        (50..80).map(|kib| Corpus::purged(kib << 10, 16 << 10, 300, Ended::Sealed, late));
    let used_again = |corpus: Corpus| Some((corpus.used_again()?, corpus));
    let ((path, end), corpus) = corpora.find_map(used_again).expect("one");
    let length = corpus.bytes(&path).map_or(0, <[u8]>::len);
    let log = corpus.flip_each(&[(path.clone(), 0..end)]);
    let behind = corpus.flip_each(&[(path, end..length)]);
    println!("a file used again, each byte flipped: {log:?}; behind the end: {behind:?}");
    assert!(share(&log, &NOTICED) > 0.9, "{log:?}");
    assert!(behind.values().sum::<usize>() > 4000, "{behind:?}");
    assert_eq!(share(&behind, &[Outcome::Harmless, Outcome::Reported]), 1.0, "{behind:?}");
}

/// Damages a range of bytes.
fn damage(random: &mut Random, corpus: &Corpus, bytes: &mut [u8], other: &Path) {
    let at = random.below(bytes.len() as u64) as usize;
    match random.below(4) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => {
            let end = bytes.len().min(at + 1 + random.below(4096) as usize);
            bytes[at..end].fill(0);
        }
        // A write to the wrong position.
        _ => {
            let source = corpus.bytes(other).expect("a file of the corpus");
            let from = (random.below(source.len() as u64) as usize / 512) * 512;
            let to = (at / 512) * 512;
            let length = 512.min(bytes.len() - to).min(source.len() - from);
            bytes[to..to + length].copy_from_slice(&source[from..from + length]);
        }
    }
}

fn random_damage(corpus: &Corpus, jobs: usize, only: Option<&Path>) -> Counts {
    let files = corpus.files();
    let total: usize = files.iter().map(|(_, length)| length).sum();
    counted(jobs, |job, events| {
        let mut random = Random::new(job as u64);
        loop {
            // Larger files more often; every tenth time any file with equal probability.
            let mut at = random.below(total as u64) as usize;
            let by_size = files.iter().find(|(_, length)| {
                let is_here = at < *length;
                at -= if is_here { 0 } else { *length };
                is_here
            });
            let any =
                |random: &mut Random| files[random.below(files.len() as u64) as usize].0.clone();
            let path = match (only, by_size) {
                (Some(path), _) => path.to_owned(),
                (None, Some((path, _))) if random.below(10) > 0 => path.clone(),
                _ => any(&mut random),
            };
            let other = any(&mut random);
            let before = corpus.bytes(&path)?;
            let mut bytes = before.to_vec();
            damage(&mut random, corpus, &mut bytes, &other);
            if bytes != before {
                let twice = job % 8 == 0;
                return Some(in_context(
                    || format!("damage to {}", path.display()),
                    || corpus.outcome(events, &path, Some(bytes), twice),
                ));
            }
        }
    })
}

/// PS06: bits, bytes, runs of zeros, misdirected sectors.
#[test]
fn ps06_random_damage_to_a_large_directory_is_noticed_or_harmless() {
    let corpus = Corpus::new(1 << 20, 64 << 10, 2000, Ended::Sealed);
    let jobs = 20_000;
    let counts = random_damage(&corpus, jobs, None);
    println!("{jobs} damages to 1 MiB: {counts:?}");
    assert_eq!(counts.values().sum::<usize>(), jobs);
    assert!(share(&counts, &NOTICED) > 0.8, "{counts:?}");
    assert_eq!(share(&counts, &[Outcome::Cut, Outcome::CutUnsaid]), 0.0, "{counts:?}");
}

/// PS05: after a power loss, data that no mark confirms may look like an unfinished write; then it
/// is reported.
#[test]
fn ps05_what_is_cut_from_a_log_without_a_seal_is_reported() {
    let corpus = Corpus::new(20 << 10, 8 << 10, 300, Ended::PowerLoss);
    let is_segment = |path: &&PathBuf| path.extension().is_some_and(|end| end == "wal");
    let files = corpus.files();
    let newest = files.iter().map(|(path, _)| path).filter(is_segment).max().expect("a segment");
    let counts = random_damage(&corpus, 5_000, Some(newest));
    println!("5000 damages to the newest segment of a log without a seal: {counts:?}");
    assert!(counts.contains_key(&Outcome::Cut), "{counts:?}");
    let noticed = [&NOTICED[..], &[Outcome::Cut]].concat();
    assert!(share(&counts, &noticed) > 0.2, "{counts:?}");
    assert!(share(&counts, &[Outcome::CutUnsaid]) < 0.02, "{counts:?}");
}

/// PS24: damage done while the node runs is an error for the reader.
#[test]
fn ps24_damage_to_a_running_node_is_an_error_to_whoever_reads_it() {
    let corpus = Corpus::new(56 << 10, 8 << 10, 300, Ended::Sealed);
    let disk = SimDisk::of(corpus.state.clone());
    let mut opened = open(corpus.workload.storage(&disk)).unwrap();
    let (mut noticed, mut harmless) = (0, 0);
    let mut random = Random::new(5);
    for turn in 0..4_000 {
        let files = corpus.files();
        let (path, _) = &files[random.below(files.len() as u64) as usize];
        // The current content of the disk: the start has written a little.
        let Some(file) = disk.state().file(path) else { continue };
        let before = disk.state().bytes(file).to_vec();
        let (other, _) = &files[random.below(files.len() as u64) as usize];
        disk.rot(path, |bytes| damage(&mut random, &corpus, bytes, other));
        let in_log = read_log(&opened, &corpus.whole);
        let in_snapshot = read_snapshot(&mut opened, &corpus.whole);
        if in_log && in_snapshot {
            harmless += 1
        } else {
            noticed += 1
        }
        disk.rot(path, |bytes| *bytes = before);
        assert!(read_log(&opened, &corpus.whole), "turn {turn}");
    }
    println!("damage while running: {noticed} noticed, {harmless} harmless");
    assert!(noticed > 1_000 && harmless > 0, "{noticed} noticed, {harmless} harmless");
}

/// Whether all entries are read unchanged; `false`: an error.
fn read_log(opened: &OpenedStorage, whole: &Model) -> bool {
    match opened.log.reader().read(whole.start.index + 1, whole.last(), usize::MAX) {
        Ok(entries) => {
            assert_eq!(entries.as_ref(), Some(&whole.entries), "wrong entries, or too few");
            true
        }
        Err(error) => {
            assert!(error.to_string().contains("node/log/"), "{error}");
            false
        }
    }
}

fn read_snapshot(opened: &mut OpenedStorage, whole: &Model) -> bool {
    let id = whole.snapshot.as_ref().expect("the corpus has one").log_id;
    let mut read = Vec::new();
    let Ok(mut reader) = opened.snapshots.open(id) else { return false };
    match reader.read_to_end(&mut read) {
        Ok(_) => {
            assert_eq!(read, content(id));
            true
        }
        Err(_) => false,
    }
}
