//! Counters by word: the model of [`WordCount`](quorate::machine::WordCount).

use bytes::Bytes;

use crate::linearizability::Model;

/// Each word begins at 0; an increment returns the new count, a read the present one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter;

/// The operations; the outcome is a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CounterOperation {
    /// Increments the count; returns the new count.
    Increment {
        /// The word.
        word: Vec<u8>,
    },
    /// Returns the count.
    Read {
        /// The word.
        word: Vec<u8>,
    },
}

impl Model for Counter {
    type Operation = CounterOperation;
    type Outcome = u64;
    type Key = Bytes;
    type State = u64;

    fn key(&self, operation: &CounterOperation) -> Bytes {
        match operation {
            CounterOperation::Increment { word } | CounterOperation::Read { word } => {
                Bytes::copy_from_slice(word)
            }
        }
    }

    fn initial(&self, _key: &Bytes) -> u64 {
        0
    }

    fn step(&self, count: &u64, operation: &CounterOperation, told: Option<&u64>) -> Option<u64> {
        let after = match operation {
            CounterOperation::Increment { .. } => count + 1,
            CounterOperation::Read { .. } => *count,
        };
        told.is_none_or(|told| *told == after).then_some(after)
    }

    fn only_reads(&self, operation: &CounterOperation, _told: Option<&u64>) -> bool {
        matches!(operation, CounterOperation::Read { .. })
    }

    fn describe(&self, operation: &CounterOperation, told: Option<&u64>) -> String {
        let (name, word) = match operation {
            CounterOperation::Increment { word } => ("increment", word),
            CounterOperation::Read { word } => ("read", word),
        };
        let told = told.map(|count| format!(": {count}")).unwrap_or_default();
        format!("{name} {}{told}", word.escape_ascii())
    }
}
