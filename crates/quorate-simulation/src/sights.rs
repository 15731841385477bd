//! Coverage counters of a run: a batch in which an event never occurred has not tested it.

use super::faults::FaultKind;

/// The counters of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Sights {
    /// Acts that took place, by kind.
    pub acts: [u64; FaultKind::ALL.len()],
    /// Disks replaced by an old copy.
    pub rolled_back: u64,
    /// Ends of logs that were damaged in ways that the storage must notice.
    pub damaged_ends: u64,
    /// Inputs that were carried out together with an earlier one.
    pub grouped: u64,
    /// Messages that were delivered again when another member became leader.
    pub replayed: u64,
    /// Snapshots requested from a member while it received another one.
    pub built_beside: u64,
    /// Logs that were truncated while a snapshot waited for its install.
    pub truncated_beside: u64,
    /// Install requests that arrived together with entries, in one turn.
    pub asked_beside: u64,
    /// Sealed logs that were damaged on a copy.
    pub seals: u64,
    /// Entries that a service's own apply side applied.
    pub applied_by_hand: u64,
    /// Snapshots that it installed.
    pub switched_by_hand: u64,
    /// Segments that began in an empty file because there was no room for preallocated ones.
    pub without_spares: u64,
    /// Preallocated segments made after such a time.
    pub spares_again: u64,
    /// Leaders elected in total.
    pub leaders: u64,
    /// Time from the last disturbance to the leader, in thousandths of an election timeout.
    pub elected_after: u64,
    /// Leaders elected since a fault last began or ended.
    leaders_since: u64,
    /// The most leaders elected without faults after one disturbance.
    pub leaders_per_disturbance: u64,
}

impl Sights {
    /// An act takes place.
    pub(super) fn begins(&mut self, kind: FaultKind) {
        self.acts[kind as usize] += 1;
    }

    /// A fault began or ended.
    pub(super) fn disturbed(&mut self) {
        self.leaders_since = 0;
    }

    /// A leader was elected, during faults or not.
    pub(super) fn led(&mut self, calm: bool) {
        self.leaders += 1;
        self.leaders_since += u64::from(calm);
        self.leaders_per_disturbance = self.leaders_per_disturbance.max(self.leaders_since);
    }
}
