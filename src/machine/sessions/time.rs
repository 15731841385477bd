//! Log time: milliseconds since 1970, derived from the log and the same on every replica.
//!
//! A leader stamps its first command with its wall clock and each later one with its monotonic
//! clock from there ([`Raft::propose`](crate::raft::Raft::propose)), so the stamps of one term
//! advance at the rate of real time. Their error depends on that one reading of the wall clock.
//! With `step` = `SessionConfig::max_time_step_ms`, log time is
//!
//! ```text
//! max(previous, min(stamp, previous + step,
//!                   at the term's begin + step + 2 × (stamp - the term's first stamp)))
//! ```
//! So one leader, whatever its clock and the number of its commands, advances log time by one step
//! plus twice the time that has passed. The factor is two because after an outage of the whole
//! cluster log time is behind and has to catch up; with correct clocks it reaches the stamp after
//! the duration of the outage. The very first stamp is taken unchanged.

use crate::raft::Term;

/// The maximum rate of log time, relative to the leader's monotonic clock.
const CATCH_UP: u64 = 2;

/// Log time after one entry, with its bounds in the present term. All of it is replicated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LogTime {
    now_ms: u64,
    /// The term of the last command.
    term: Term,
    /// Log time before that term's first command.
    begin_ms: u64,
    /// The stamp of that term's first command.
    first_stamp_ms: u64,
}

impl LogTime {
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Advances log time by a command of `term` with this stamp.
    pub(super) fn advance(&mut self, term: Term, stamp_ms: u64, step_ms: u64) {
        if self.now_ms == 0 {
            *self =
                LogTime { now_ms: stamp_ms, term, begin_ms: stamp_ms, first_stamp_ms: stamp_ms };
            return;
        }
        if term != self.term {
            (self.term, self.begin_ms, self.first_stamp_ms) = (term, self.now_ms, stamp_ms);
        }
        let passed_ms = stamp_ms.saturating_sub(self.first_stamp_ms);
        let of_term = self.begin_ms.saturating_add(CATCH_UP.saturating_mul(passed_ms));
        let ceiling_ms = of_term.min(self.now_ms).saturating_add(step_ms);
        self.now_ms = self.now_ms.max(stamp_ms.min(ceiling_ms));
    }

    /// The fields in the order of a snapshot.
    pub(super) fn to_numbers(self) -> [u64; 4] {
        [self.now_ms, self.term, self.begin_ms, self.first_stamp_ms]
    }

    /// The log time with these fields; an error says which values are inconsistent.
    pub(super) fn from_numbers(numbers: [u64; 4]) -> Result<LogTime, String> {
        let [now_ms, term, begin_ms, first_stamp_ms] = numbers;
        if begin_ms > now_ms {
            return Err(format!(
                "log time {now_ms} ms is before {begin_ms} ms, when its term began"
            ));
        }
        Ok(LogTime { now_ms, term, begin_ms, first_stamp_ms })
    }
}
