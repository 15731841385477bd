//! What one copy of the state would do: the specification that histories are held against.
//!
//! A model is written from what clients were promised, not from the machine under test: a model that calls the machine
//! would agree with its mistakes.
//!
//! *What it does not do:* it offers no choice between several next states. Two things look as if they needed one and
//! do not. An unknown operation that may have been refused: being refused is the same as never having happened, which
//! the checker tries anyway. And answers the specification leaves open (a version number that is only known to grow):
//! a state can say "above 7" and learn the number from a later answer. Such a state stands for all it allows, and must
//! be *monotone*: whatever is possible in a state is possible in one that allows more.

use std::fmt::Debug;
use std::hash::Hash;

/// A sequential specification, for [`Checker`](super::Checker).
pub trait Model {
    /// What clients ask for. Equal ones are interchangeable: nothing tells them apart but their moments.
    type Operation: PartialEq + Debug;
    /// What they are told.
    type Outcome: Debug;
    /// What an operation touches. Keys are judged apart from each other.
    type Key: Ord + Clone + Debug;
    /// The state of one key. Equal states must have equal futures.
    type State: Clone + Eq + Hash + Debug;

    /// The key the operation touches. One value for all if operations touch several.
    fn key(&self, operation: &Self::Operation) -> Self::Key;

    /// The state of `key` before the first operation.
    fn initial(&self, key: &Self::Key) -> Self::State;

    /// The state after `operation` was executed and answered `outcome`; `None` if it can't have answered that here.
    ///
    /// Without an outcome nobody knows the answer: the state after the operation took effect, or `None` where it has
    /// none. It may have never happened, too: the checker sees to that.
    fn step(
        &self,
        state: &Self::State,
        operation: &Self::Operation,
        outcome: Option<&Self::Outcome>,
    ) -> Option<Self::State>;

    /// A hint for speed: an operation with this outcome changes no state, whatever the state; at most something is
    /// learned about it. True of reads and of refused commands; `false` is always right.
    ///
    /// Such an operation is placed as soon as it fits, and dropped if its outcome is unknown. If this is true of one
    /// that does change a state, verdicts are wrong.
    fn only_reads(&self, _operation: &Self::Operation, _outcome: Option<&Self::Outcome>) -> bool {
        false
    }

    /// A hint for speed: what an operation of *unknown* outcome did right before this one leaves no trace. Exactly: if
    /// it is possible after that one, it is possible without it, and then allows at least the same future. True of a
    /// blind write; not of an append, of a delete that tells what was deleted, or of a read. `false` is always right.
    ///
    /// With it operations of unknown outcome cost nothing while the key is written; else each is tried at each
    /// return. If this is true of one that does depend on the state, verdicts are wrong.
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
