//! What the registers promise, for the check of linearizability.

use super::super::linearizability::Model;

/// The model: each register is a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registers;

/// What clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The value.
    Read {
        /// Of this one.
        register: u64,
    },
    /// A new value.
    Put {
        /// Of this one.
        register: u64,
        /// No two writes have the same.
        value: u64,
    },
    /// A new value, and what was there before.
    Swap {
        /// Of this one.
        register: u64,
        /// No two writes have the same.
        value: u64,
    },
}

/// What they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// What was read, or was there before.
    Value(u64),
    /// It is written.
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
