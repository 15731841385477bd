//! The log compared with a simple model: a list of entries and a few numbers.

use bytes::Bytes;
use proptest::prelude::*;

use crate::raft::log::RaftLog;
use crate::raft::*;

/// The model: all entries after `start`, in a `Vec`.
#[derive(Clone, Debug, Default)]
struct Model {
    start: LogId,
    entries: Vec<Entry>,
    persisted: Index,
    commit: Index,
    dispatched: Index,
    applied: Index,
}

impl Model {
    fn last(&self) -> LogId {
        self.entries.last().map_or(self.start, |entry| entry.log_id)
    }

    fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        self.entry(index).map(|entry| entry.log_id.term)
    }

    fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.log_id.index == index)
    }

    fn bytes_between(&self, after: Index, through: Index) -> u64 {
        let within = |entry: &&Entry| (after + 1..=through).contains(&entry.log_id.index);
        self.entries.iter().filter(within).map(|entry| entry.size_bytes() as u64).sum()
    }

    fn last_not_above(&self, index: Index, term: Term) -> LogId {
        let fits = |entry: &&Entry| entry.log_id.index <= index && entry.log_id.term <= term;
        self.entries.iter().rev().find(fits).map_or(self.start, |entry| entry.log_id)
    }
}

/// One operation on a log. Numbers are reduced to what is allowed at that point.
#[derive(Clone, Debug)]
enum Step {
    Append { terms_up: u64, size: usize },
    Truncate(u64),
    Persisted(u64),
    PersistedOther(u64),
    Commit(u64),
    HandAndApply(u64, u64),
    Purge(u64),
    Install { ahead: u64, terms_up: u64, held: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..20u64, 0..50usize).prop_map(|(up, size)| Step::Append { terms_up: up.saturating_sub(17), size }),
        2 => any::<u64>().prop_map(Step::Truncate),
        4 => any::<u64>().prop_map(Step::Persisted),
        1 => any::<u64>().prop_map(Step::PersistedOther),
        4 => any::<u64>().prop_map(Step::Commit),
        4 => (any::<u64>(), any::<u64>()).prop_map(|(a, b)| Step::HandAndApply(a, b)),
        2 => any::<u64>().prop_map(Step::Purge),
        1 => (1..9u64, 0..2u64, any::<bool>())
            .prop_map(|(ahead, terms_up, held)| Step::Install { ahead, terms_up, held }),
    ]
}

/// A number from `low..=high`; `None` if the range is empty.
fn pick(number: u64, low: Index, high: Index) -> Option<Index> {
    (low <= high).then(|| low + number % (high - low + 1))
}

fn take(log: &mut RaftLog, model: &mut Model, step: Step) {
    match step {
        Step::Append { terms_up, size } => append(log, model, terms_up, size),
        Step::Truncate(number) => {
            let Some(from) = pick(number, model.commit + 1, model.last().index) else { return };
            log.truncate_from(from);
            model.entries.retain(|entry| entry.log_id.index < from);
            model.persisted = model.persisted.min(from - 1);
        }
        Step::Persisted(number) => {
            let Some(index) = pick(number, model.start.index, model.last().index) else { return };
            log.persisted_to(LogId::new(model.term_at(index).unwrap_or_default(), index));
            model.persisted = model.persisted.max(index);
        }
        Step::PersistedOther(number) => {
            let Some(index) = pick(number, model.start.index, model.last().index + 3) else {
                return;
            };
            log.persisted_to(LogId::new(model.term_at(index).unwrap_or_default() + 1, index));
        }
        Step::Commit(number) => {
            let Some(index) = pick(number, 0, model.last().index) else { return };
            log.commit_to(index);
            model.commit = model.commit.max(index);
        }
        Step::HandAndApply(hand, apply) => hand_and_apply(log, model, hand, apply),
        Step::Purge(number) => {
            let high = model.applied.min(model.persisted);
            let Some(through) = pick(number, model.start.index, high) else { return };
            log.purge_through(through);
            purge(model, through);
        }
        Step::Install { ahead, terms_up, held } => install(log, model, ahead, terms_up, held),
    }
}

fn append(log: &mut RaftLog, model: &mut Model, terms_up: u64, size: usize) {
    let last = model.last();
    let log_id = LogId::new(last.term.max(1) + terms_up, last.index + 1);
    let data = Bytes::from(vec![log_id.index as u8; size]);
    let entry = Entry { log_id, kind: EntryKind::Command, stamp_ms: 0, data };
    log.append(entry.clone());
    model.entries.push(entry);
}

fn hand_and_apply(log: &mut RaftLog, model: &mut Model, hand: u64, apply: u64) {
    if let Some(index) = pick(hand, model.dispatched + 1, model.commit.min(model.persisted)) {
        log.dispatched_to(index);
        model.dispatched = index;
    }
    if let Some(index) = pick(apply, 0, model.dispatched) {
        log.applied_to(index);
        model.applied = model.applied.max(index);
    }
}

fn purge(model: &mut Model, through: Index) {
    model.start = LogId::new(model.term_at(through).expect("known"), through);
    model.entries.retain(|entry| entry.log_id.index > through);
}

fn install(log: &mut RaftLog, model: &mut Model, ahead: u64, terms_up: u64, held: bool) {
    let index = model.commit + ahead;
    let known = model.term_at(index);
    let log_id = match known {
        Some(term) if held => LogId::new(term, index),
        _ => LogId::new(model.last().term.max(1) + terms_up, index),
    };
    let keeps = known == Some(log_id.term);
    log.install(log_id);
    if keeps {
        purge(model, index);
        (model.commit, model.dispatched, model.applied) = (index, index, index);
    } else {
        model.persisted = model.persisted.min(model.commit);
        (model.start, model.commit, model.dispatched) = (log_id, index, index);
        model.entries.clear();
    }
    // What follows an install waits until the install is durable.
    log.persisted_to(log_id);
    model.persisted = model.persisted.max(index);
    log.applied_to(index);
    model.applied = index;
}

fn compare(log: &RaftLog, model: &Model) {
    log.check();
    assert_eq!((log.start(), log.last()), (model.start, model.last()));
    let positions = (log.persisted(), log.commit(), log.dispatched(), log.applied());
    assert_eq!(positions, (model.persisted, model.commit, model.dispatched, model.applied));
    let (start, last) = (model.start.index, model.last().index);
    assert_eq!(log.bytes(), model.bytes_between(start, last));
    assert_eq!(log.uncommitted_bytes(), model.bytes_between(model.commit, last));
    assert_eq!(log.unpersisted_bytes(), model.bytes_between(model.persisted, last));
    for index in start.saturating_sub(2)..=last + 2 {
        assert_eq!(log.term_at(index), model.term_at(index), "term at {index}");
        let middle = start.midpoint(last);
        assert_eq!(log.bytes_between(middle, index), model.bytes_between(middle, index));
        for term in model.start.term.saturating_sub(1)..=model.last().term + 1 {
            let own = model.term_at(index) == Some(term);
            assert_eq!(log.holds(LogId::new(term, index)), own);
            let expected = model.last_not_above(index, term);
            assert_eq!(log.last_not_above(index, term), expected, "not above {index}@{term}");
        }
    }
    compare_cache(log, model);
}

/// The entries in memory are the last of the log, including all that are not durable.
fn compare_cache(log: &RaftLog, model: &Model) {
    let (start, last) = (model.start.index, model.last().index);
    for first in (start + 1..=last).rev() {
        let Some(cached) = log.cached(first, last, 120, 5) else {
            assert!(first <= model.persisted, "{first} is neither durable nor in memory");
            continue;
        };
        let mut bytes = 0;
        let expected: Entries = model
            .entries
            .iter()
            .filter(|entry| entry.log_id.index >= first)
            .take(5)
            .take_while(|entry| {
                bytes += entry.size_bytes();
                bytes <= 120 || entry.log_id.index == first
            })
            .cloned()
            .collect();
        assert!(log.agrees_with(first, &cached));
        assert!(!log.agrees_with(first + 1, &cached));
        assert_eq!(cached, expected, "from {first}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_a_list_of_entries(steps in prop::collection::vec(step(), 1..80), cache in prop_oneof![Just(0), Just(150), Just(10_000)]) {
        let mut log = RaftLog::new(LogOutline::default(), 0, cache);
        let mut model = Model::default();
        for step in steps {
            take(&mut log, &mut model, step);
            compare(&log, &model);
        }
    }

    /// A log that is stored and recovered is the same, with nothing in memory and only its snapshot
    /// committed.
    #[test]
    fn a_stored_log_is_found_again(steps in prop::collection::vec(step(), 1..60)) {
        let mut log = RaftLog::new(LogOutline::default(), 0, 500);
        let mut model = Model::default();
        for step in steps {
            take(&mut log, &mut model, step);
        }
        let outline = LogOutline::of(model.start, &model.entries);
        let start = model.start.index;
        let found = RaftLog::new(outline, start, 500);
        model.persisted = model.last().index;
        (model.commit, model.dispatched, model.applied) = (start, start, start);
        compare(&found, &model);
    }
}

fn three() -> RaftLog {
    let mut log = RaftLog::new(LogOutline::default(), 0, 1_000);
    for (index, term) in [(1, 1), (2, 1), (3, 2)] {
        log.append(super::hand::entry(LogId::new(term, index)));
    }
    log
}

/// Entries leave memory once they are durable and over the limit, oldest first (LR20).
#[test]
fn lr20_only_durable_entries_leave_memory() {
    let mut log = RaftLog::new(LogOutline::default(), 0, 50);
    for index in 1..=4 {
        log.append(super::hand::entry(LogId::new(1, index)));
    }
    assert!(log.cached(1, 4, 1_000, 9).is_some());
    log.persisted_to(LogId::new(1, 2));
    assert!(log.cached(2, 4, 1_000, 9).is_none());
    assert_eq!(log.cached(3, 4, 1_000, 9).map(|entries| entries.len()), Some(2));
    log.persisted_to(LogId::new(1, 4));
    assert_eq!(log.cached(4, 4, 1_000, 9).map(|entries| entries.len()), Some(1), "40 of 50 bytes");
    assert!(log.cached(3, 4, 1_000, 9).is_none());
}

/// The suffix is kept if the log holds the snapshot's index and term, and removed as a whole if not
/// (A58, A59, SN03, SN04).
#[test]
fn sn03_sn04_an_install_keeps_the_suffix_by_index_and_term() {
    let mut same = three();
    same.persisted_to(LogId::new(1, 1));
    same.install(LogId::new(1, 2));
    assert_eq!(
        (same.start(), same.last(), same.persisted()),
        (LogId::new(1, 2), LogId::new(2, 3), 1)
    );
    assert_eq!((same.commit(), same.dispatched()), (2, 2));
    let mut other = three();
    other.install(LogId::new(2, 2));
    assert_eq!((other.start(), other.last()), (LogId::new(2, 2), LogId::new(2, 2)));
    assert_eq!((other.bytes(), other.unpersisted_bytes()), (0, 0));
}

#[test]
#[should_panic(expected = "truncate from 2")]
fn lr11_a_committed_entry_is_never_removed() {
    let mut log = three();
    log.commit_to(2);
    log.truncate_from(2);
}

#[test]
#[should_panic(expected = "below the commit index")]
fn sn02_an_install_never_goes_back() {
    let mut log = three();
    log.commit_to(2);
    log.install(LogId::new(1, 2));
}

#[test]
#[should_panic(expected = "does not follow")]
fn lr09_an_entry_follows_the_last() {
    three().append(super::hand::entry(LogId::new(2, 5)));
}

#[test]
#[should_panic(expected = "does not follow")]
fn lr09_terms_never_fall() {
    three().append(super::hand::entry(LogId::new(1, 4)));
}

#[test]
#[should_panic(expected = "beyond the last entry")]
fn lr03_nothing_is_committed_that_is_not_there() {
    three().commit_to(4);
}

#[test]
#[should_panic(expected = "dispatch")]
fn sn01_nothing_is_handed_over_before_it_is_durable() {
    let mut log = three();
    log.commit_to(3);
    log.dispatched_to(1);
}

#[test]
#[should_panic(expected = "purge through")]
fn sn15_nothing_is_purged_before_it_is_applied() {
    let mut log = three();
    log.persisted_to(LogId::new(2, 3));
    log.commit_to(3);
    log.dispatched_to(2);
    log.purge_through(1);
}

#[test]
#[should_panic(expected = "does not reach its snapshot")]
fn ps10_a_log_that_ends_before_its_snapshot_stops_the_node() {
    RaftLog::new(LogOutline::default(), 5, 0);
}
