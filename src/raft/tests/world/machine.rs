//! A state machine that records what it has applied.

use bytes::Bytes;

use crate::raft::{Entry, LogId};

/// The state machine: a running digest of what was applied, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub applied: LogId,
    pub digest: u64,
}

impl Machine {
    pub(super) fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.log_id.index, self.applied.index + 1, "applied out of order");
        self.applied = entry.log_id;
        for byte in entry.data.iter() {
            self.digest = self.digest.wrapping_mul(0x100_0000_01b3) ^ u64::from(*byte);
        }
        self.digest = self.digest.wrapping_mul(31).wrapping_add(entry.log_id.index);
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        for number in [self.applied.term, self.applied.index, self.digest] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.resize(100, 7);
        bytes.into()
    }

    pub(super) fn decode(bytes: &Bytes) -> Machine {
        let number = |at: usize| {
            bytes[at..at + 8].iter().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte))
        };
        Machine { applied: LogId::new(number(0), number(8)), digest: number(16) }
    }
}
