//! What a run has seen: so that a batch in which something never happened is known to have tested nothing of it.

use super::faults::FaultKind;

/// Counts of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Sights {
    /// Acts that took place, by kind.
    pub acts: [u64; FaultKind::ALL.len()],
    /// Disks replaced by an old copy.
    pub rolled_back: u64,
    /// Ends of logs that were damaged where the storage has to notice it.
    pub damaged_ends: u64,
    /// Inputs that were carried out together with an earlier one.
    pub grouped: u64,
    /// Messages that came again when another member led.
    pub replayed: u64,
    /// Snapshots asked of a member while it received another one.
    pub built_beside: u64,
    /// Logs that were truncated while a snapshot waited to be installed.
    pub truncated_beside: u64,
    /// Questions whether to install that came with entries, in one turn.
    pub asked_beside: u64,
    /// Sealed logs that were damaged on a copy.
    pub seals: u64,
    /// Entries that a service's own apply side was given and applied.
    pub applied_by_hand: u64,
    /// Snapshots that it switched to.
    pub switched_by_hand: u64,
    /// Segments that began in an empty file while there was no room for spares.
    pub without_spares: u64,
    /// Spares that were made after such a time.
    pub spares_again: u64,
    /// Leaders that came, all in all.
    pub leaders: u64,
    /// Time from the last disturbance of all to the leader, in thousandths of an election timeout.
    pub elected_after: u64,
    /// Leaders that came since something last went wrong, or ended to.
    leaders_since: u64,
    /// The most leaders that came while nothing was wrong, after one disturbance.
    pub leaders_per_disturbance: u64,
}

impl Sights {
    /// An act takes place.
    pub(super) fn begins(&mut self, kind: FaultKind) {
        self.acts[kind as usize] += 1;
    }

    /// Something went wrong, or ended to.
    pub(super) fn disturbed(&mut self) {
        self.leaders_since = 0;
    }

    /// A leader came, while nothing was wrong or in the middle of it.
    pub(super) fn led(&mut self, calm: bool) {
        self.leaders += 1;
        self.leaders_since += u64::from(calm);
        self.leaders_per_disturbance = self.leaders_per_disturbance.max(self.leaders_since);
    }
}
