//! States of a chosen size: a key-value database of many small values, or of few large ones.
//!
//! The same number makes the same key in each run, so that clients can write to keys that are there. A state's size is
//! counted in bytes of keys and values; what a map takes beside them is not in it.
//!
//! Not here: how a state is changed by commands. It is there before the first one.

use quorate::machine::{ApplyContext, KeyValue, KeyValueCommand, Machine};

use quorate::raft::Random;

/// Of each key.
const KEY_BYTES: usize = 16;

/// What a state consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Values of 256 bytes.
    Small,
    /// Values of a MiB.
    Large,
}

impl Shape {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Small => "values of 256 bytes",
            Shape::Large => "values of 1 MiB",
        }
    }

    /// Of each value.
    pub fn value_bytes(self) -> usize {
        match self {
            Shape::Small => 256,
            Shape::Large => 1 << 20,
        }
    }

    /// How many keys a state of so many bytes has.
    pub fn keys(self, bytes: u64) -> u64 {
        (bytes / (KEY_BYTES + self.value_bytes()) as u64).max(1)
    }

    /// A state of about so many bytes.
    pub fn filled(self, bytes: u64) -> KeyValue {
        let pool = Random::new(3).bytes(2 * self.value_bytes());
        let mut state = KeyValue::default();
        for number in 0..self.keys(bytes) {
            let at = number as usize % self.value_bytes();
            let value = pool[at..at + self.value_bytes()].to_vec();
            let put = KeyValueCommand::Put { key: key(number), value };
            state.apply(put, &ApplyContext::new(1, 1, 0, 0));
        }
        state
    }
}

/// The key of this number, somewhere in the order of all keys.
pub fn key(number: u64) -> Vec<u8> {
    Random::new(number).bytes(KEY_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_the_size_that_was_asked_for() {
        for (shape, bytes) in [(Shape::Small, 100_000), (Shape::Large, 5 << 20)] {
            let state = shape.filled(bytes);
            let there: usize = state.iter().map(|(key, value, _)| key.len() + value.len()).sum();
            assert!((there as u64) <= bytes && (there as u64) > bytes * 3 / 4, "{there}");
            assert!(state.get(&key(shape.keys(bytes) - 1)).is_some());
        }
    }
}
