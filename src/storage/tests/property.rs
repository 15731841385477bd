//! Random lives of a log against plain lists, and a reader beside a writer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::edited::Elsewhere;
use super::model::*;
use super::sim_disk::SimDisk;
use super::workload::storage;
use crate::raft::{LogChange, LogId};
use crate::storage::file::{FileOptions, FileStorage};
use crate::storage::memory::MemoryStorage;
use crate::storage::{LogReader, OpenedStorage, Storage};

/// What happens next; numbers pick a place within what is possible.
#[derive(Clone, Debug)]
enum Action {
    Append { count: u64, higher_term: bool },
    Conflict { back: u64, count: u64 },
    Truncate { back: u64 },
    Snapshot { back: u64, purge_back: u64 },
    Install { ahead: u64 },
    InstallInside { back: u64 },
    Vote,
    Reopen,
    Seal,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1..12u64, any::<bool>()).prop_map(|(count, higher_term)| Action::Append { count, higher_term }),
        2 => (1..9u64, 1..5u64).prop_map(|(back, count)| Action::Conflict { back, count }),
        1 => (1..9u64).prop_map(|back| Action::Truncate { back }),
        2 => (0..9u64, 0..5u64).prop_map(|(back, purge_back)| Action::Snapshot { back, purge_back }),
        1 => (1..50u64).prop_map(|ahead| Action::Install { ahead }),
        1 => (0..9u64).prop_map(|back| Action::InstallInside { back }),
        1 => Just(Action::Vote),
        1 => Just(Action::Reopen),
        1 => Just(Action::Seal),
    ]
}

/// The change that the action amounts to in this state, if it is possible at all.
fn change(model: &Model, action: &Action) -> Option<LogChange> {
    let covered = model.snapshot.as_ref().map_or(0, |meta| meta.log_id.index);
    let (last, term) = (model.last(), model.last_term().max(1));
    let cut = |back: u64| {
        last.checked_sub(back - 1).filter(|from| *from > covered.max(model.start.index))
    };
    let inside = |back: u64| last.checked_sub(back).filter(|index| *index > covered);
    Some(match *action {
        Action::Append { count, higher_term } => {
            append(term + u64::from(higher_term), last + 1..=last + count)
        }
        Action::Conflict { back, count } => {
            let from = cut(back)?;
            LogChange { truncate_from: Some(from), ..append(term + 1, from..=from + count - 1) }
        }
        Action::Truncate { back } => truncate(cut(back)?),
        Action::Snapshot { back, purge_back } => {
            let id = model.id_at(inside(back)?);
            let purged = id.index.saturating_sub(purge_back).max(model.start.index);
            LogChange { purge_through: Some(model.id_at(purged)), ..record(&meta_of(id)) }
        }
        Action::Install { ahead } => install(&meta_of(LogId::new(term + 1, last + ahead)), false),
        Action::InstallInside { back } => install(&meta_of(model.id_at(inside(back)?)), true),
        Action::Vote => vote(model.hard_state.term + 1, Some(last % 3 + 1)),
        Action::Reopen | Action::Seal => return None,
    })
}

/// Runs the actions; several changes go into each call, as the group commit does.
fn live(new_storage: &dyn Fn() -> Box<dyn Storage>, actions: &[Action]) {
    let start = || new_storage().open(IDENTITY, &bootstrap()).unwrap();
    let mut opened = start();
    let (mut durable, mut model) = (Model::default(), Model::default());
    let mut group = Vec::new();
    let mut reader = opened.log.reader();
    for (turn, action) in actions.iter().enumerate() {
        if let Some(change) = change(&model, action) {
            if let Some(meta) = named_snapshot(&change) {
                publish(&mut *opened.snapshots, meta.log_id).unwrap();
            }
            model.apply(&change);
            group.push(change);
        }
        if turn % 3 == 0 || matches!(action, Action::Reopen | Action::Seal) {
            opened.log.write(&group).unwrap();
            group.clear();
            durable = model.clone();
        }
        check_reads(&mut *reader, &durable, turn as u64);
        match action {
            Action::Seal => opened.log.seal().unwrap(),
            Action::Reopen => {
                drop(opened);
                opened = start();
                reader = opened.log.reader();
                assert_eq!(held(&opened), durable);
            }
            _ => {}
        }
    }
    drop(opened);
    assert_eq!(held(&start()), durable);
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
        let disk = SimDisk::default();
        live(&|| Box::new(storage(&disk)), &actions);
        let memory = MemoryStorage::new();
        live(&|| Box::new(memory.clone()), &actions);
        let elsewhere = Elsewhere::default();
        live(&|| Box::new(elsewhere.clone()), &actions);
    }
}

/// A log whose writer acts in the middle of a read: 1 to 20 of term 1, over several segments.
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
