//! Models: the sequential specification that histories are checked against.
//!
//! A model is written from what clients were promised, not from the machine under test: a model
//! that calls the machine would repeat its mistakes.
//!
//! *What it does not do:* it offers no choice between several next states. Two cases seem to need
//! one and do not. An unknown operation that may have been refused: a refusal is the same as never
//! having happened, which the checker tries anyway. And answers that the specification leaves open
//! (a version number that is only known to grow): a state can say "above 7" and learn the number
//! from a later answer. Such a state represents all that it allows, and must be *monotone*:
//! whatever is possible in a state is possible in one that allows more.

use std::fmt::Debug;
use std::hash::Hash;

/// A sequential specification, for [`Checker`](super::Checker).
pub trait Model {
    /// The operations. Equal ones are interchangeable: only their moments distinguish them.
    type Operation: PartialEq + Debug;
    /// The outcomes that clients receive.
    type Outcome: Debug;
    /// The part of the state that an operation touches. Keys are checked separately.
    type Key: Ord + Clone + Debug;
    /// The state of one key. Equal states must have equal futures.
    type State: Clone + Eq + Hash + Debug;

    /// The key that the operation touches. The same for all if operations touch several.
    fn key(&self, operation: &Self::Operation) -> Self::Key;

    /// The state of `key` before the first operation.
    fn initial(&self, key: &Self::Key) -> Self::State;

    /// The state after `operation` was executed with this `outcome`; `None` if that outcome is
    /// impossible here.
    ///
    /// Without an outcome the answer is unknown: the state after the operation took effect, or
    /// `None` if it has no effect. The case that it never happened is handled by the checker.
    fn step(
        &self,
        state: &Self::State,
        operation: &Self::Operation,
        outcome: Option<&Self::Outcome>,
    ) -> Option<Self::State>;

    /// A hint for speed: an operation with this outcome changes no state, whatever the state is; at
    /// most, information about the state is gained. True for reads and for refused commands;
    /// `false` is always correct.
    ///
    /// Such an operation is placed as soon as it fits, and dropped if its outcome is unknown. If
    /// this returns true for an operation that does change a state, verdicts are wrong.
    fn only_reads(&self, _operation: &Self::Operation, _outcome: Option<&Self::Outcome>) -> bool {
        false
    }

    /// A hint for speed: an operation of *unknown* outcome right before this one leaves no trace.
    /// Precisely: if this one is possible after the other, it is possible without it, and then
    /// allows at least the same future. True for a blind write; not for an append, a delete that
    /// returns what was deleted, or a read. `false` is always correct.
    ///
    /// With this hint operations of unknown outcome cost nothing while the key is written;
    /// otherwise each is tried at each return. If this returns true for an operation that does
    /// depend on the state, verdicts are wrong.
    fn overwrites(&self, _operation: &Self::Operation, _outcome: Option<&Self::Outcome>) -> bool {
        false
    }

    /// The operation and its outcome in a few words, for reports.
    fn describe(&self, operation: &Self::Operation, outcome: Option<&Self::Outcome>) -> String {
        match outcome {
            Some(outcome) => format!("{operation:?}, answered {outcome:?}"),
            None => format!("{operation:?}"),
        }
    }
}
