//! The checker: receives operations as they happen; a verdict is available at any time.
//!
//! *What it does not do:* it keeps no history. To record one in addition, or to check one again
//! with a larger budget, there is [`History`].

use std::collections::BTreeMap;

use super::history::{ClientId, Fate, History, Moment, OperationId, Record, Sequence};
use super::model::Model;
use super::partition::Partition;
use super::search::{Limits, SETTLING_PER_RETURN};
use super::verdict::Verdict;

/// The default budget: some tenths of a second, and some hundred megabytes, for a key that uses all
/// of it.
pub const DEFAULT_STEPS: u64 = 1 << 20;

/// Checks operations while they happen, each key by itself.
///
/// ```
/// use quorate_simulation::linearizability::models::{Counter, CounterOperation};
/// use quorate_simulation::linearizability::Checker;
///
/// let word = b"tea".to_vec();
/// let mut checker = Checker::new(Counter);
/// let first = checker.invoke(1, CounterOperation::Increment { word: word.clone() }, 10);
/// let second = checker.invoke(2, CounterOperation::Increment { word: word.clone() }, 20);
/// checker.complete(first, 1, 30);
/// checker.abandon(second);
/// let read = checker.invoke(1, CounterOperation::Read { word }, 40);
/// checker.complete(read, 3, 50);
/// assert!(checker.finish().is_violation(), "somebody counted twice");
/// ```
pub struct Checker<M: Model> {
    model: M,
    limits: Limits,
    keys: BTreeMap<M::Key, u32>,
    partitions: Vec<Partition<M>>,
    sequence: Sequence,
    verdict: Verdict<M::Key>,
}

impl<M: Model> Checker<M> {
    /// A checker with the default budget, [`DEFAULT_STEPS`].
    pub fn new(model: M) -> Checker<M> {
        Checker::with_budget(model, DEFAULT_STEPS)
    }

    /// `steps`: how many steps of the model may be taken for one key at once before the search for
    /// an order is given up. Each return adds some steps, so a long history needs no larger budget
    /// than a short one.
    pub fn with_budget(model: M, steps: u64) -> Checker<M> {
        Checker::with_limits(model, Limits { steps, settling: SETTLING_PER_RETURN })
    }

    pub(super) fn with_limits(model: M, limits: Limits) -> Checker<M> {
        Checker {
            model,
            limits,
            keys: BTreeMap::new(),
            partitions: Vec::new(),
            sequence: Sequence::default(),
            verdict: Verdict::Linearizable,
        }
    }

    /// `client` invokes an operation at `now` (virtual microseconds, never decreasing).
    pub fn invoke(&mut self, client: ClientId, operation: M::Operation, now: u64) -> OperationId {
        let invoked = self.sequence.moment(now);
        self.invoke_at(client, operation, invoked)
    }

    /// The client received the outcome at `now`: the operation was executed, once.
    pub fn complete(&mut self, id: OperationId, outcome: M::Outcome, now: u64) {
        let at = self.sequence.moment(now);
        self.resolve(id, Fate::Answered { outcome, at });
    }

    /// The operation was certainly not executed and never will be.
    pub fn fail(&mut self, id: OperationId) {
        self.resolve(id, Fate::Failed);
    }

    /// The client will never learn the outcome: the operation takes effect once, at any time from
    /// its invocation on, or never.
    pub fn abandon(&mut self, id: OperationId) {
        self.resolve(id, Fate::Unknown);
    }

    /// The verdict so far. The first violation is kept, and precedes an unknown verdict.
    pub fn verdict(&self) -> &Verdict<M::Key> {
        &self.verdict
    }

    /// The final verdict; open operations are taken as abandoned.
    pub fn finish(mut self) -> Verdict<M::Key> {
        for partition in 0..self.partitions.len() {
            self.partitions[partition].abandon_all();
            self.advance(partition);
        }
        self.verdict
    }

    /// The number of operations that are still held.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.partitions.iter().map(Partition::remembered).sum()
    }

    fn invoke_at(
        &mut self,
        client: ClientId,
        operation: M::Operation,
        invoked: Moment,
    ) -> OperationId {
        let partition = self.partition(self.model.key(&operation));
        let record = Record { client, operation, invoked, fate: Fate::Open };
        let (place, number) = self.partitions[partition as usize].invoke(record);
        OperationId { partition, place, number: number.into() }
    }

    fn partition(&mut self, key: M::Key) -> u32 {
        if let Some(partition) = self.keys.get(&key) {
            return *partition;
        }
        let partition = self.partitions.len() as u32;
        let initial = self.model.initial(&key);
        self.keys.insert(key.clone(), partition);
        self.partitions.push(Partition::new(key, initial, self.limits));
        partition
    }

    fn resolve(&mut self, id: OperationId, fate: Fate<M::Outcome>) {
        let partition = id.partition as usize;
        self.partitions[partition].resolve(id.place, id.number as u32, fate);
        self.advance(partition);
    }

    fn advance(&mut self, partition: usize) {
        let Some(bad) = self.partitions[partition].advance(&self.model) else { return };
        if !self.verdict.is_violation() && (bad.is_violation() || self.verdict.is_linearizable()) {
            self.verdict = bad;
        }
    }
}

/// The verdict on a whole history, with at most `steps` steps for a key at once.
pub fn check<M: Model>(
    model: M,
    history: History<M::Operation, M::Outcome>,
    steps: u64,
) -> Verdict<M::Key> {
    replay(Checker::with_budget(model, steps), history).finish()
}

/// Feeds a whole history to a new checker.
pub(super) fn replay<M: Model>(
    mut checker: Checker<M>,
    history: History<M::Operation, M::Outcome>,
) -> Checker<M> {
    let mut returns: BTreeMap<Moment, (OperationId, M::Outcome)> = BTreeMap::new();
    for Record { client, operation, invoked, fate } in history.into_records() {
        while let Some(earliest) = returns.first_entry().filter(|entry| *entry.key() < invoked) {
            let (at, (id, outcome)) = earliest.remove_entry();
            checker.resolve(id, Fate::Answered { outcome, at });
        }
        let id = checker.invoke_at(client, operation, invoked);
        match fate {
            Fate::Answered { outcome, at } => drop(returns.insert(at, (id, outcome))),
            Fate::Failed => checker.fail(id),
            Fate::Open | Fate::Unknown => checker.abandon(id),
        }
    }
    for (at, (id, outcome)) in returns {
        checker.resolve(id, Fate::Answered { outcome, at });
    }
    checker
}
