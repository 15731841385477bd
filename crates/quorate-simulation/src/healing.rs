//! The time limits after the faults: for electing a leader, and for the members to become equal.
//! Used by both tiers.

use quorate::raft::Micros;

use super::SECOND;
use super::conditions::SLOWEST_DECODE;

/// The wait in election timeouts.
const TIMEOUTS: u64 = 12;

/// Waits for a leader that commits, for twelve election timeouts. Time in which no leader can
/// commit is not counted: a member that installs a snapshot acknowledges nothing, nor does one whose
/// log is full until it is compacted. If a quorum waits for that, decodes and encodes that began
/// while they were slow must end first. A member that was left
/// empty may begin its install only now, so the count may restart once.
#[derive(Debug)]
pub(super) struct LeaderWait {
    /// The longest election timeout.
    timeout: Micros,
    /// The longest time that a snapshot may take to decode.
    decode: Micros,
    since: Micros,
    counts: bool,
    began_again: bool,
}

impl LeaderWait {
    /// Begins `now`; `decode` is how long a snapshot takes to decode without slow faults.
    pub(super) fn begin(now: Micros, timeout: Micros, decode: Micros) -> LeaderWait {
        let decode = SLOWEST_DECODE + decode;
        LeaderWait { timeout, decode, since: now, counts: false, began_again: false }
    }

    /// The upper bound of the whole wait.
    pub(super) fn at_most(&self) -> Micros {
        2 * (self.decode + TIMEOUTS * self.timeout)
    }

    /// Checks whether there is a leader, and whether a quorum waits for no snapshot. `None`:
    /// undecided. `Some`: the time it took in thousandths of an election timeout, or that no leader
    /// came in time.
    pub(super) fn look(
        &mut self,
        now: Micros,
        is_led: bool,
        is_free: bool,
    ) -> Option<Result<u64, InVain>> {
        if !self.counts && (is_led || is_free || now - self.since >= self.decode) {
            (self.counts, self.since) = (true, now);
        }
        let counted = now - self.since;
        match self.counts {
            false => None,
            true if is_led => Some(Ok(counted * 1_000 / self.timeout)),
            true if counted < TIMEOUTS * self.timeout => None,
            true if is_free || self.began_again => Some(Err(InVain)),
            true => {
                (self.counts, self.since, self.began_again) = (false, now, true);
                None
            }
        }
    }
}

/// No leader came in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InVain;

/// The longest time that members may take to become equal.
const CONVERGENCE_MAX: Micros = 600 * SECOND;

/// Waits until the members are equal, for as long as they apply entries. A member with limits of
/// one may take minutes to catch up, which is no failure; making no progress is one.
#[derive(Debug)]
pub(super) struct ConvergenceWait {
    /// How long nothing may be applied.
    patience: Micros,
    /// The end of the wait, whatever is applied.
    end: Micros,
    advanced_at: Micros,
    /// The sum of the members' applied indexes.
    applied: u64,
}

impl ConvergenceWait {
    /// Begins `now`.
    pub(super) fn begin(now: Micros, patience: Micros) -> ConvergenceWait {
        ConvergenceWait { patience, end: now + CONVERGENCE_MAX, advanced_at: now, applied: 0 }
    }

    /// Whether the wait is over. `applied`: the applied index of each member.
    pub(super) fn is_over(&mut self, now: Micros, applied: impl Iterator<Item = u64>) -> bool {
        let applied = applied.sum();
        if applied > self.applied {
            (self.applied, self.advanced_at) = (applied, now);
        }
        now > self.end.min(self.advanced_at + self.patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Micros = 100;

    fn wait() -> LeaderWait {
        LeaderWait::begin(7, TIMEOUT, 0)
    }

    #[test]
    fn a_leader_has_twelve_election_timeouts() {
        let mut wait = wait();
        assert_eq!(wait.look(7, false, true), None);
        assert_eq!(wait.look(7 + 12 * TIMEOUT - 1, false, true), None);
        assert_eq!(wait.look(7 + 12 * TIMEOUT, false, true), Some(Err(InVain)));
        assert_eq!(wait.look(7 + 12 * TIMEOUT, true, true), Some(Ok(12_000)));
    }

    /// Time in which a quorum decodes is not counted, and the count restarts once if the decode
    /// begins only now.
    #[test]
    fn whoever_decodes_elects_nobody() {
        let mut wait = wait();
        assert_eq!(wait.look(7 + 30 * TIMEOUT, false, false), None);
        assert_eq!(wait.look(7 + 31 * TIMEOUT, false, true), None);
        assert_eq!(wait.look(7 + 43 * TIMEOUT, false, false), None);
        assert_eq!(wait.look(7 + 80 * TIMEOUT, true, true), Some(Ok(0)));
    }

    #[test]
    fn nobody_decodes_for_ever() {
        let mut wait = wait();
        let found: Vec<_> = (0..=wait.at_most())
            .step_by(100)
            .map(|after| wait.look(7 + after, false, false))
            .collect();
        assert_eq!(found.last(), Some(&Some(Err(InVain))));
        assert_eq!(found.iter().flatten().count(), 1);
    }

    /// Members that apply entries are waited for, but not without limit; members that apply nothing
    /// are not.
    #[test]
    fn members_have_time_while_they_apply() {
        let mut wait = ConvergenceWait::begin(7, SECOND);
        assert!(!wait.is_over(7 + SECOND, [3, 0].into_iter()));
        assert!(!wait.is_over(7 + 2 * SECOND, [3, 0].into_iter()));
        assert!(wait.is_over(8 + 2 * SECOND, [3, 0].into_iter()));
        let mut wait = ConvergenceWait::begin(7, SECOND);
        let mut looks = (0..).map(|second| wait.is_over(7 + second * SECOND, [second].into_iter()));
        assert_eq!(looks.position(|is_over| is_over), Some(601));
    }
}
