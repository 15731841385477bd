//! The operations of one key, passed to the search in order of time.
//!
//! The search needs an operation's outcome when it reaches the invocation, and the outcome is known
//! later. So events wait in a queue, which advances up to the first invocation that is still open:
//! an open operation delays the verdict on its key, not the simulation. A client that gives up
//! abandons the operation, and the queue advances.
//!
//! *What it does not do:* it bounds neither the queue nor the number of unknown operations; both
//! depend on how long clients wait, and how many give up.

use std::collections::VecDeque;

use super::history::{Fate, Record};
use super::model::Model;
use super::nodes::TRAIL;
use super::search::{Limits, Numbered, Progress, Search, at};
use super::verdict::{Verdict, Violation};

/// How many operations are kept for reports after the search has forgotten them.
const REMEMBERED: usize = 2 * TRAIL;
/// How many unplaced operations a report lists.
const NAMED: usize = 24;

#[derive(Clone, Copy, Debug)]
enum Event {
    Invoked(u32),
    Returned(u32),
}

/// One key.
pub(super) struct Partition<M: Model> {
    key: M::Key,
    records: Vec<Option<Numbered<M>>>,
    vacant: Vec<u32>,
    next_number: u32,
    events: VecDeque<Event>,
    forgotten: VecDeque<u32>,
    search: Search<M>,
    has_verdict: bool,
}

impl<M: Model> Partition<M> {
    pub(super) fn new(key: M::Key, initial: M::State, limits: Limits) -> Partition<M> {
        Partition {
            key,
            records: Vec::new(),
            vacant: Vec::new(),
            next_number: 1,
            events: VecDeque::new(),
            forgotten: VecDeque::new(),
            search: Search::new(initial, limits),
            has_verdict: false,
        }
    }

    /// The position of the record, and its number.
    pub(super) fn invoke(&mut self, record: Record<M::Operation, M::Outcome>) -> (u32, u32) {
        let number = self.next_number;
        self.next_number = number.checked_add(1).unwrap_or(1);
        let numbered = Some(Numbered { number, record });
        let place = match self.vacant.pop() {
            Some(place) => place,
            None => {
                self.records.push(None);
                self.records.len() as u32 - 1
            }
        };
        self.records[place as usize] = numbered;
        self.events.push_back(Event::Invoked(place));
        (place, number)
    }

    /// # Panics
    /// If there is no such operation, or it has been resolved.
    pub(super) fn resolve(&mut self, place: u32, number: u32, fate: Fate<M::Outcome>) {
        let numbered = self.records.get_mut(place as usize).and_then(Option::as_mut);
        let Some(numbered) = numbered.filter(|numbered| numbered.number == number) else {
            panic!("operation {number} at place {place} has ended long ago");
        };
        let returns = matches!(fate, Fate::Answered { .. });
        numbered.record.resolve(fate);
        if returns {
            self.events.push_back(Event::Returned(place));
        }
    }

    /// Abandons the open operations.
    pub(super) fn abandon_all(&mut self) {
        for numbered in self.records.iter_mut().flatten() {
            if matches!(numbered.record.fate, Fate::Open) {
                numbered.record.resolve(Fate::Unknown);
            }
        }
    }

    /// Searches as far as outcomes are known. Returns a verdict if it is not linearizable.
    pub(super) fn advance(&mut self, model: &M) -> Option<Verdict<M::Key>> {
        while let Some(&event) = self.events.front() {
            match event {
                Event::Invoked(_) if self.has_verdict => (),
                Event::Returned(place) if self.has_verdict => self.forget(place),
                Event::Invoked(place) => {
                    if !self.open(model, place) {
                        return None;
                    }
                }
                Event::Returned(place) => match self.close(model, place) {
                    Progress::Alive => (),
                    bad => return Some(self.conclude(model, bad)),
                },
            }
            self.events.pop_front();
        }
        None
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.records.iter().flatten().count()
    }

    /// Whether the operation's result is known.
    fn open(&mut self, model: &M, place: u32) -> bool {
        let record = &at(&self.records, place).record;
        match record.fate {
            Fate::Open => return false,
            Fate::Answered { .. } => self.search.open(model, &self.records, place),
            Fate::Unknown if !model.only_reads(&record.operation, None) => {
                self.search.open_unknown(model, &self.records, place);
            }
            Fate::Unknown | Fate::Failed => self.forget(place),
        }
        true
    }

    fn close(&mut self, model: &M, place: u32) -> Progress {
        let progress = self.search.close(model, &self.records, place, &mut self.forgotten);
        while self.forgotten.len() > REMEMBERED {
            let oldest = self.forgotten.pop_front();
            oldest.into_iter().for_each(|place| self.forget(place));
        }
        progress
    }

    fn forget(&mut self, place: u32) {
        self.records[place as usize] = None;
        self.vacant.push(place);
    }

    fn conclude(&mut self, model: &M, progress: Progress) -> Verdict<M::Key> {
        let verdict = match progress {
            Progress::Stuck => Verdict::Violation(Box::new(self.violation(model))),
            _ => Verdict::Unknown { key: self.key.clone(), steps: self.search.steps },
        };
        self.has_verdict = true;
        verdict
    }

    fn violation(&self, model: &M) -> Violation<M::Key> {
        let (node, places) = self.search.dead_end();
        let numbers = node.trail.iter().filter(|number| **number != 0);
        let prefix = numbers.filter_map(|number| self.numbered(*number));
        let mut unplaced: Vec<_> =
            places.iter().take(NAMED).map(|place| line(model, at(&self.records, *place))).collect();
        if places.len() > NAMED {
            unplaced.push(format!("and {} more", places.len() - NAMED));
        }
        Violation {
            key: self.key.clone(),
            explained: self.search.explained,
            prefix: prefix.map(|numbered| line(model, numbered)).collect(),
            state: format!("{:?}", node.state),
            unplaced,
        }
    }

    fn numbered(&self, number: u32) -> Option<&Numbered<M>> {
        self.records.iter().flatten().find(|numbered| numbered.number == number)
    }
}

/// A line with client, moments, operation and outcome.
fn line<M: Model>(model: &M, numbered: &Numbered<M>) -> String {
    let Record { client, operation, invoked, fate } = &numbered.record;
    let what = model.describe(operation, numbered.record.outcome());
    let from = format!("client {client}, {} µs (event {})", invoked.micros, invoked.sequence);
    match fate {
        Fate::Answered { at, .. } => {
            format!("{from} to {} µs (event {}): {what}", at.micros, at.sequence)
        }
        _ => format!("{from} to no answer: {what}"),
    }
}
