//! Known histories, random histories compared with exhaustive search, and long histories.

use super::checker::replay;
use super::models::{Counter, CounterOperation, KeyValueModel, KeyValueOperation, KeyValueOutcome};
use super::models::{Register, RegisterOperation, RegisterOutcome};
use super::search::Limits;
use super::*;

mod known;
mod large;
mod random;

/// An operation of a test: its invocation, return and outcome; `None`: unknown.
#[derive(Clone, Debug)]
struct Interval<Operation, Outcome> {
    operation: Operation,
    from: u64,
    to: u64,
    outcome: Option<Outcome>,
}

/// The history of these operations. Returns precede invocations of the same moment.
fn history<O: Clone, R: Clone>(intervals: &[Interval<O, R>]) -> History<O, R> {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (at, interval) in intervals.iter().enumerate() {
        assert!(interval.from < interval.to);
        events.push((interval.from, true, at));
        if interval.outcome.is_some() {
            events.push((interval.to, false, at));
        }
    }
    events.sort();
    let mut history = History::new();
    let mut ids = vec![None; intervals.len()];
    for (now, is_invocation, at) in events {
        let Interval { operation, outcome, .. } = &intervals[at];
        match (is_invocation, ids[at], outcome) {
            (true, ..) => ids[at] = Some(history.invoke(at as u64, operation.clone(), now)),
            (false, Some(id), Some(outcome)) => history.complete(id, outcome.clone(), now),
            _ => unreachable!("returned before it was invoked"),
        }
    }
    history
}

/// A model without its hints: every order is tried.
struct Plain<M>(M);

impl<M: Model> Model for Plain<M> {
    type Operation = M::Operation;
    type Outcome = M::Outcome;
    type Key = M::Key;
    type State = M::State;

    fn key(&self, operation: &M::Operation) -> M::Key {
        self.0.key(operation)
    }

    fn initial(&self, key: &M::Key) -> M::State {
        self.0.initial(key)
    }

    fn step(
        &self,
        state: &M::State,
        operation: &M::Operation,
        outcome: Option<&M::Outcome>,
    ) -> Option<M::State> {
        self.0.step(state, operation, outcome)
    }
}

/// The verdict of a search that settles nothing before it has to: depth first only.
fn check_lazily<M: Model>(model: M, history: History<M::Operation, M::Outcome>) -> Verdict<M::Key> {
    let limits = Limits { steps: DEFAULT_STEPS, settling: 0 };
    replay(Checker::with_limits(model, limits), history).finish()
}

/// The verdict if every return is settled at once: breadth first.
fn check_eagerly<M: Model>(
    model: M,
    history: History<M::Operation, M::Outcome>,
) -> Verdict<M::Key> {
    let limits = Limits { steps: DEFAULT_STEPS, settling: u64::MAX / 256 };
    replay(Checker::with_limits(model, limits), history).finish()
}
