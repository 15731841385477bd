//! Coverage of a run: a run that never reached what it is meant for proves nothing, and fails.
//!
//! Transitions are counted; stateright's "sometimes" properties are not used, because they keep a
//! path for every state with the property, and the events of interest are transitions.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use quorate::raft::Counters;

/// An event that a run should cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A leader of a term above 1.
    LeaderOfTermTwo,
    TwoCandidates,
    Committed,
    Truncated,
    SnapshotTaken,
    SnapshotInstalled,
    /// CondInstallSnapshot was refused, or the offer was withdrawn before.
    InstallRefused,
    FastForward,
    /// A node restarted after a crash ..
    CrashRecovered,
    /// .. that lost steps which were not done.
    StepsLost,
    Duplicated,
    /// A message was dropped, or pushed out of a full link.
    Lost,
    /// A leader's requests timed out.
    Retried,
    SteppedDown,
    /// A member that lost its log's tail counts again.
    CaughtUp,
}

const KINDS: [Kind; 15] = [
    Kind::LeaderOfTermTwo,
    Kind::TwoCandidates,
    Kind::Committed,
    Kind::Truncated,
    Kind::SnapshotTaken,
    Kind::SnapshotInstalled,
    Kind::InstallRefused,
    Kind::FastForward,
    Kind::CrashRecovered,
    Kind::StepsLost,
    Kind::Duplicated,
    Kind::Lost,
    Kind::Retried,
    Kind::SteppedDown,
    Kind::CaughtUp,
];

/// Counts of transitions by their effects.
#[derive(Debug, Default)]
pub struct Coverage([AtomicU64; KINDS.len()]);

impl Coverage {
    pub fn saw(&self, kind: Kind) {
        self.0[kind as usize].fetch_add(1, Relaxed);
    }

    fn saw_if(&self, kind: Kind, count: u64) {
        if count > 0 {
            self.saw(kind);
        }
    }

    /// Adds what a peer counted in one action.
    pub fn count(&self, counters: &Counters) {
        self.saw_if(Kind::Truncated, counters.truncations);
        self.saw_if(Kind::SnapshotTaken, counters.snapshots_taken);
        self.saw_if(Kind::SnapshotInstalled, counters.installs_granted);
        self.saw_if(Kind::InstallRefused, counters.installs_withdrawn);
        self.saw_if(Kind::FastForward, counters.fast_forwards);
    }

    /// Which of `wanted` never occurred.
    pub fn missing(&self, wanted: &[Kind]) -> Vec<Kind> {
        let never = |kind: &&Kind| self.0[**kind as usize].load(Relaxed) == 0;
        wanted.iter().filter(never).copied().collect()
    }

    /// The covered events, with counts.
    pub fn seen(&self) -> String {
        let counts = KINDS.iter().zip(&self.0).map(|(kind, count)| (kind, count.load(Relaxed)));
        let seen: Vec<String> = counts
            .filter(|(_, count)| *count > 0)
            .map(|(kind, count)| format!("{kind:?} {count}"))
            .collect();
        seen.join(", ")
    }
}
