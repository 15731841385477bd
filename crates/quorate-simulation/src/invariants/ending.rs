//! Checks at the end of a run: client histories, the number of leaders, sessions and log sizes.

use std::fmt::Debug;

use quorate::machine::SessionConfig;
use quorate::raft::{Entry, Micros, RaftConfig};

use super::super::linearizability::Verdict;
use super::InvariantChecker;

/// The most leaders that may be elected after one disturbance: one may soon follow another, a third
/// has no cause.
const LEADERS_MAX: u64 = 2;

impl InvariantChecker {
    /// Clients must have seen what one copy could have shown; an unknown verdict is a breach, too.
    /// If the checker has given up, the history up to then is checked.
    pub(crate) fn clients_saw<Key: Debug>(&mut self, verdict: &Verdict<Key>) {
        match verdict {
            Verdict::Linearizable => {}
            Verdict::Unknown { .. } => self.record_breach("unknown", verdict.to_string()),
            Verdict::Violation(_) => self.record_breach("linearizability", verdict.to_string()),
        }
    }

    /// At most `LEADERS_MAX` leaders were elected after one disturbance.
    pub(crate) fn leaders_came(&mut self, per_disturbance: u64) {
        if per_disturbance > LEADERS_MAX {
            let what = format!("{per_disturbance} leaders came after one disturbance");
            self.report_breach("calm elections", what);
        }
    }

    /// Sessions expire only if log time may have advanced by their timeout: by one step for each
    /// leader, and at twice the rate of the clocks, which have advanced by `passed`, or a fifth
    /// more. Wall clocks do not matter.
    pub(crate) fn sessions_lived(&mut self, sessions: &SessionConfig, passed: Micros, ended: u64) {
        let steps_ms = self.leaders.len() as u64 * sessions.max_time_step_ms;
        let moved_ms = steps_ms + passed * 12 / 5 / 1_000;
        if ended > 0 && moved_ms < sessions.session_timeout_ms {
            let SessionConfig { session_timeout_ms, .. } = sessions;
            let what = format!(
                "{ended} sessions ended as idle for {session_timeout_ms} ms, and {moved_ms} ms have passed at most"
            );
            self.report_breach("log time is bounded", what);
        }
    }

    /// The log of this member never exceeded its limits.
    pub(crate) fn log_was_bounded(&mut self, config: &RaftConfig, held: u64) {
        let allowed = self.log_bytes_allowed(config);
        if let Some(allowed) = allowed.filter(|allowed| held > *allowed) {
            let node = config.node;
            self.report_breach(
                "bounded log",
                format!("n{node}: {held} bytes, {allowed} are allowed"),
            );
        }
    }

    /// The most that the rules allow, if a size triggers snapshots:
    /// - a leader accepts commands up to `uncommitted_bytes`, or one, while less than
    ///   `committed_bytes_max` is committed;
    /// - a follower accepts what keeps the log below `log_bytes_max`;
    /// - or, if it could not compact, one message more, and what its leader did not know to be
    ///   committed: that is more than `uncommitted_bytes` if the leader has been restarted;
    /// - every leader appends a blank entry without a limit.
    fn log_bytes_allowed(&self, config: &RaftConfig) -> Option<u64> {
        let entry = self.entry_bytes_max;
        let led = config.committed_bytes_max()? + config.uncommitted_bytes.max(entry);
        let message = config.append_bytes.max(entry);
        let unable = config.compacting_bytes_min()? + message + self.led_uncommitted_bytes as usize;
        let terms = self.leaders.values().filter(|(node, _)| *node == config.node).count();
        let blanks = terms * Entry::OVERHEAD_BYTES;
        Some((config.log_bytes_max()?.max(led).max(unable) + blanks) as u64)
    }
}
