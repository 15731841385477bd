//! Random operations on a log compared with plain lists, and a reader concurrent with a writer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::actions::Action;
use super::edited::Elsewhere;
use super::model::*;
use super::sim_disk::{SimDisk, Unsynced};
use super::workload::{in_this_life, storage};
use crate::raft::{LogChange, LogId};
use crate::storage::file::{FileOptions, FileStorage};
use crate::storage::memory::MemoryStorage;
use crate::storage::{LogReader, OpenedStorage, Storage};

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1..12u64, any::<bool>()).prop_map(|(count, higher_term)| Action::Append { count, higher_term }),
        2 => (1..9u64, 1..5u64).prop_map(|(back, count)| Action::Conflict { back, count }),
        1 => (1..9u64).prop_map(|back| Action::Truncate { back }),
        2 => (0..9u64, 0..5u64).prop_map(|(back, purge_back)| Action::Snapshot { back, purge_back }),
        1 => (1..50u64).prop_map(|ahead| Action::Install { ahead }),
        1 => (0..9u64).prop_map(|back| Action::InstallInside { back }),
        1 => Just(Action::Vote),
        1 => (0..2000usize).prop_map(|bytes| Action::AppendBig { bytes }),
        1 => (1..5u64).prop_map(|node| Action::Remember { node }),
        1 => Just(Action::Lose),
        1 => Just(Action::Recover),
        1 => Just(Action::Reopen),
        2 => (0..6u64, any::<u64>()).prop_map(|(after, seed)| Action::Crash { after, seed }),
        1 => Just(Action::Seal),
    ]
}

/// The storage under test.
trait Place {
    fn storage(&self) -> Box<dyn Storage>;

    /// The power fails after this many more changing calls, if the storage simulates that.
    fn crash_after(&self, _after: u64) {}

    /// The power is restored.
    fn reboot(&mut self, _seed: u64) {}

    fn open(&self) -> OpenedStorage {
        self.storage().open(IDENTITY, &bootstrap()).unwrap()
    }
}

impl Place for SimDisk {
    fn storage(&self) -> Box<dyn Storage> {
        Box::new(storage(self))
    }

    fn crash_after(&self, after: u64) {
        SimDisk::crash_after(self, self.changes() + after);
    }

    fn reboot(&mut self, seed: u64) {
        *self = SimDisk::reboot(self, Unsynced::Torn(seed));
    }
}

impl Place for MemoryStorage {
    fn storage(&self) -> Box<dyn Storage> {
        Box::new(self.clone())
    }
}

impl Place for Elsewhere {
    fn storage(&self) -> Box<dyn Storage> {
        Box::new(self.clone())
    }
}

/// Runs the actions; several changes go into each call, as in a group commit.
fn live(mut place: impl Place, actions: &[Action]) {
    let mut opened = place.open();
    // The durable state, followed by the state after each change of the group.
    let mut models = vec![Model::default()];
    let mut group = Vec::new();
    let mut reader = opened.log.reader();
    for (turn, action) in actions.iter().enumerate() {
        let mut model = models[models.len() - 1].clone();
        if let Some(change) = action.change(&model) {
            if let Some(meta) = named_snapshot(&change) {
                publish(&mut *opened.snapshots, meta.log_id).unwrap();
            }
            model.apply(&change);
            models.push(model);
            group.push(in_this_life(change, opened.recovered.life.incarnation));
        }
        if let Action::Crash { after, seed } = *action {
            place.crash_after(after);
            let outcome = opened.log.write(&group);
            group.clear();
            drop(opened);
            place.reboot(seed);
            opened = place.open();
            reader = opened.log.reader();
            let left = held(&opened);
            let whole = models.len() - 1;
            let allowed = if outcome.is_ok() { &models[whole..] } else { &models[..] };
            assert!(allowed.contains(&left), "{left:?} is none of {allowed:?}");
            models = vec![left];
            continue;
        }
        if turn % 3 == 0 || matches!(action, Action::Reopen | Action::Seal) {
            opened.log.write(&group).unwrap();
            group.clear();
            models.drain(..models.len() - 1);
        }
        check_reads(&mut *reader, &models[0], turn as u64);
        match action {
            Action::Seal => opened.log.seal().unwrap(),
            Action::Reopen => {
                drop(opened);
                opened = place.open();
                reader = opened.log.reader();
                assert_eq!(held(&opened), models[0]);
            }
            _ => {}
        }
    }
    drop(opened);
    assert_eq!(held(&place.open()), models[0]);
}

fn check_reads(reader: &mut dyn LogReader, model: &Model, turn: u64) {
    let (start, last) = (model.start.index, model.last());
    assert_eq!(reader.read(start, last + 1, usize::MAX).unwrap(), None, "purged");
    for first in [start + 1, start + 1 + turn % (last - start + 1), last] {
        if first > start && first <= last {
            let through = (first + turn % 5).min(last);
            let (from, to) = ((first - start - 1) as usize, (through - start) as usize);
            assert_eq!(
                reader.read(first, through, usize::MAX).unwrap().unwrap(),
                model.entries[from..to]
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// PS07, PS08, PS11, PS12.
    #[test]
    fn ps12_a_log_is_what_a_list_would_be(actions in prop::collection::vec(action(), 1..60)) {
        live(SimDisk::default(), &actions);
        live(MemoryStorage::new(), &actions);
        live(Elsewhere::default(), &actions);
    }
}

/// A log whose writer acts in the middle of a read: entries 1 to 20 of term 1, over several
/// segments.
fn interrupted(
    change: impl Fn(&mut OpenedStorage) + Send + 'static,
) -> Option<Vec<crate::raft::Entry>> {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    (1..=20).for_each(|index| opened.log.write(&[append(1, index..=index)]).unwrap());
    let mut reader = opened.log.reader();
    disk.before_read(move || change(&mut opened));
    reader.read(8, 20, usize::MAX).unwrap()
}

#[test]
fn a_truncation_during_a_read_is_seen_whole_or_not_at_all() {
    for from in 9..=20 {
        let read = interrupted(move |opened| {
            let conflict = LogChange { truncate_from: Some(from), ..append(2, from..=25) };
            opened.log.write(&[conflict]).unwrap();
        });
        assert_eq!(
            read,
            Some([entries(1, 8..=from - 1), entries(2, from..=20)].concat()),
            "from {from}"
        );
    }
}

#[test]
fn a_purge_during_a_read_is_no_error() {
    let purge_through = |index| {
        move |opened: &mut OpenedStorage| {
            let meta = publish(&mut *opened.snapshots, LogId::new(1, index)).unwrap();
            opened
                .log
                .write(&[LogChange { purge_through: Some(meta.log_id), ..record(&meta) }])
                .unwrap();
        }
    };
    let before = interrupted(purge_through(7)).unwrap();
    assert_eq!(before, entries(1, 8..=20), "what is still there comes whole");
    let within = interrupted(purge_through(19)).unwrap();
    assert_eq!(
        within,
        entries(1, 8..=within[within.len() - 1].log_id.index),
        "what was read already may come"
    );
}

#[test]
fn a_purge_that_took_the_file_away_is_no_error() {
    let disk = SimDisk::default();
    let mut opened = open(storage(&disk)).unwrap();
    (1..=20).for_each(|index| opened.log.write(&[append(1, index..=index)]).unwrap());
    let mut reader = opened.log.reader();
    disk.before_open(move || {
        let meta = publish(&mut *opened.snapshots, LogId::new(1, 19)).unwrap();
        opened
            .log
            .write(&[LogChange { purge_through: Some(meta.log_id), ..record(&meta) }])
            .unwrap();
    });
    assert_eq!(reader.read(2, 20, usize::MAX).unwrap(), None);
}

/// Turn t appends ten entries of term t; every fifth one replaces the three before them.
fn first_of(turn: u64) -> u64 {
    10 * (turn - 1) + 1 - if turn.is_multiple_of(5) { 3 } else { 0 }
}

#[test]
fn a_reader_beside_the_writer_sees_the_log_as_it_was_at_some_moment() {
    let dir = tempfile::tempdir().unwrap();
    let options = FileOptions { segment_bytes: 4000, ..FileOptions::default() };
    let OpenedStorage { mut log, mut snapshots, .. } =
        open(FileStorage::with_options(dir.path(), options)).unwrap();
    let (done, turns) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut reader = log.reader();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::SeqCst) || reads < 500 {
                let last = 10 * turns.load(Ordering::SeqCst);
                check_read(&mut *reader, last.saturating_sub(reads * 7 % 40).max(1));
                reads += 1;
            }
        });
        for turn in 1..=200u64 {
            let truncate_from = turn.is_multiple_of(5).then(|| first_of(turn));
            log.write(&[LogChange { truncate_from, ..append(turn, first_of(turn)..=10 * turn) }])
                .unwrap();
            turns.store(turn, Ordering::SeqCst);
            if turn % 20 == 0 {
                let meta = publish(&mut *snapshots, LogId::new(turn, 10 * turn - 5)).unwrap();
                log.write(&[LogChange { purge_through: Some(meta.log_id), ..record(&meta) }])
                    .unwrap();
            }
        }
        done.store(true, Ordering::SeqCst);
    });
}

fn check_read(reader: &mut dyn LogReader, first: u64) {
    let Some(entries) = reader.read(first, first + 30, 2000).unwrap() else { return };
    for (index, read) in (first..).zip(&entries) {
        assert_eq!(*read, entry(read.log_id.term, index));
    }
    for two in entries.windows(2) {
        let (term, next) = (two[0].log_id.term, two[1].log_id);
        assert!(
            next.term == term || first_of(next.term) == next.index,
            "two logs in one answer: {entries:?}"
        );
    }
}
