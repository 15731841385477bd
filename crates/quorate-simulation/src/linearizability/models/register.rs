//! Numbered registers with compare-and-set: a small model that covers all kinds of operations.

use crate::linearizability::Model;

/// Registers that are initially empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// The operations. The first number is the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOperation {
    /// Returns [`RegisterOutcome::Value`].
    Read(u64),
    /// Writes the second number. Returns [`RegisterOutcome::Done`].
    Write(u64, u64),
    /// Writes the third number if the register holds the second. Returns `Done` or
    /// [`RegisterOutcome::Refused`].
    CompareAndSet(u64, u64, u64),
}

/// The outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOutcome {
    /// The value of the register, if any.
    Value(Option<u64>),
    /// The value was written.
    Done,
    /// The register held another value.
    Refused,
}

impl Model for Register {
    type Operation = RegisterOperation;
    type Outcome = RegisterOutcome;
    type Key = u64;
    type State = Option<u64>;

    fn key(&self, operation: &RegisterOperation) -> u64 {
        match *operation {
            RegisterOperation::Read(register)
            | RegisterOperation::Write(register, _)
            | RegisterOperation::CompareAndSet(register, _, _) => register,
        }
    }

    fn initial(&self, _register: &u64) -> Option<u64> {
        None
    }

    fn step(
        &self,
        state: &Option<u64>,
        operation: &RegisterOperation,
        outcome: Option<&RegisterOutcome>,
    ) -> Option<Option<u64>> {
        use RegisterOutcome::{Done, Refused, Value};
        match (*operation, outcome) {
            (RegisterOperation::Read(_), Some(Value(value))) => (value == state).then_some(*state),
            (RegisterOperation::Read(_), None) => Some(*state),
            (RegisterOperation::Write(_, new), Some(Done) | None) => Some(Some(new)),
            (RegisterOperation::CompareAndSet(_, old, new), Some(Done) | None) => {
                (*state == Some(old)).then_some(Some(new))
            }
            (RegisterOperation::CompareAndSet(_, old, _), Some(Refused)) => {
                (*state != Some(old)).then_some(*state)
            }
            _ => None,
        }
    }

    fn only_reads(&self, operation: &RegisterOperation, outcome: Option<&RegisterOutcome>) -> bool {
        let is_refused = outcome == Some(&RegisterOutcome::Refused);
        is_refused || matches!(operation, RegisterOperation::Read(_))
    }

    fn overwrites(
        &self,
        operation: &RegisterOperation,
        _outcome: Option<&RegisterOutcome>,
    ) -> bool {
        matches!(operation, RegisterOperation::Write(..))
    }
}
