//! Numbered registers with compare-and-set: the smallest model in which everything can go wrong.

use crate::simulation::linearizability::Model;

/// Registers that begin empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// What clients ask for. The first number is the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOperation {
    /// Answered with [`RegisterOutcome::Value`].
    Read(u64),
    /// Writes the second number. Answered with [`RegisterOutcome::Done`].
    Write(u64, u64),
    /// Writes the third number if the second is there. Answered with `Done` or [`RegisterOutcome::Refused`].
    CompareAndSet(u64, u64, u64),
}

/// What they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOutcome {
    /// What the register holds, if anything.
    Value(Option<u64>),
    /// It was written.
    Done,
    /// Something else was there.
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
