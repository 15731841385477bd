//! The model of the registers, for the check of linearizability.

use super::super::linearizability::Model;

/// The model: each register is a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registers;

/// A client's operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Reads the value.
    Read {
        /// The register.
        register: u64,
    },
    /// Writes a new value.
    Put {
        /// The register.
        register: u64,
        /// The new value; no two writes have the same.
        value: u64,
    },
    /// Writes a new value, and returns the earlier one.
    Swap {
        /// The register.
        register: u64,
        /// The new value; no two writes have the same.
        value: u64,
    },
}

/// The outcome of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The value that was read, or that was there before.
    Value(u64),
    /// The value was written.
    Done,
}

impl Model for Registers {
    type Operation = Asked;
    type Outcome = Told;
    type Key = u64;
    type State = u64;

    fn key(&self, operation: &Asked) -> u64 {
        match *operation {
            Asked::Read { register }
            | Asked::Put { register, .. }
            | Asked::Swap { register, .. } => register,
        }
    }

    fn initial(&self, _register: &u64) -> u64 {
        0
    }

    fn step(&self, state: &u64, operation: &Asked, outcome: Option<&Told>) -> Option<u64> {
        let there = match outcome {
            Some(Told::Value(value)) => value == state,
            Some(Told::Done) | None => true,
        };
        let after = match *operation {
            Asked::Read { .. } => *state,
            Asked::Put { value, .. } | Asked::Swap { value, .. } => value,
        };
        there.then_some(after)
    }

    fn only_reads(&self, operation: &Asked, _outcome: Option<&Told>) -> bool {
        matches!(operation, Asked::Read { .. })
    }

    fn overwrites(&self, operation: &Asked, outcome: Option<&Told>) -> bool {
        matches!(operation, Asked::Put { .. })
            || matches!(operation, Asked::Swap { .. }) && outcome.is_none()
    }
}
