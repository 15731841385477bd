//! What is judged once, when a run is over: what clients saw, and how often leaders came.

use std::fmt::Debug;

use super::super::linearizability::Verdict;
use super::Judge;

/// Leaders that may come after one disturbance: one may soon follow another, a third has nothing to come for.
const LEADERS_MAX: u64 = 2;

impl Judge {
    /// Clients saw what one copy could have shown; not to know it is as bad.
    pub(in crate::simulation) fn clients_saw<Key: Debug>(&mut self, verdict: &Verdict<Key>) {
        match verdict {
            Verdict::Linearizable => {}
            Verdict::Unknown { .. } => self.accuse("unknown", verdict.to_string()),
            Verdict::Violation(_) => self.accuse("linearizability", verdict.to_string()),
        }
    }

    /// At most so many leaders came after one disturbance.
    pub(in crate::simulation) fn leaders_came(&mut self, per_disturbance: u64) {
        if per_disturbance > LEADERS_MAX {
            let what = format!("{per_disturbance} leaders came after one disturbance");
            self.accuse("calm elections", what);
        }
    }
}
