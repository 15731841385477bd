//! Finds the shortest schedule that still fails, within a bounded number of runs.
//!
//! Acts are removed in halves, quarters and so on (Zeller's delta debugging). If the run still
//! breaks the same invariant without them, they were not needed. Everything else of the run is
//! drawn from other streams of the same seed, so most of it does not change.

use super::outcome::{Outcome, Settings};
use super::schedule::Act;

/// Settings that break the same invariant with fewer acts, after at most `budget` runs; the given
/// settings if none were found.
pub fn shrink(
    settings: &Settings,
    rule: &'static str,
    budget: usize,
    mut run: impl FnMut(&Settings) -> Outcome,
) -> Settings {
    let mut shortest = settings.clone();
    let mut runs = 0;
    let mut part = shortest.schedule.acts.len().div_ceil(2);
    while part > 0 && runs < budget {
        let before = shortest.schedule.acts.len();
        let mut at = 0;
        while at < shortest.schedule.acts.len() && runs < budget {
            let fewer = without(&shortest, at, part);
            runs += 1;
            if run(&fewer).breach.is_some_and(|breach| breach.rule == rule) {
                shortest = fewer;
            } else {
                at += part;
            }
        }
        // Removing some acts may make others needless: repeat before trying smaller parts.
        let is_stuck = shortest.schedule.acts.len() == before;
        part = if !is_stuck && part == 1 { 1 } else { part / 2 };
    }
    shortest
}

/// The settings without `part` acts from `at` on.
fn without(settings: &Settings, at: usize, part: usize) -> Settings {
    let mut fewer = settings.clone();
    let acts = &mut fewer.schedule.acts;
    let end = acts.len().min(at + part);
    let _: Vec<Act> = acts.drain(at..end).collect();
    fewer
}

#[cfg(test)]
mod tests {
    use super::super::faults::{FaultKind, Faults};
    use super::super::invariants::Breach;
    use super::super::schedule::Schedule;
    use super::*;

    /// Fails if a crash precedes a torn write.
    fn run(settings: &Settings) -> Outcome {
        let place = |kind| settings.schedule.acts.iter().position(|act: &Act| act.kind == kind);
        let fails = match (place(FaultKind::Crash), place(FaultKind::TornWrite)) {
            (Some(crash), Some(torn)) => crash < torn,
            _ => false,
        };
        let breach = Breach { at: 0, rule: "a rule", what: String::new() };
        Outcome { breach: fails.then_some(breach), ..Outcome::default() }
    }

    #[test]
    fn what_is_not_needed_goes() {
        let time = 600_000_000;
        let draw = |seed| Settings {
            seed,
            nodes: 5,
            time,
            schedule: Schedule::draw(seed, Faults::all(), 5, time),
            with_lines: false,
        };
        let failing = (0..).map(draw).find(|settings| run(settings).breach.is_some()).unwrap();
        assert!(failing.schedule.acts.len() > 50);
        let shortest = shrink(&failing, "a rule", 1_000, run);
        assert_eq!(shortest.schedule.acts.len(), 2, "{:?}", shortest.schedule);
        assert!(run(&shortest).breach.is_some());
        let hardly = shrink(&failing, "a rule", 3, run);
        assert!(run(&hardly).breach.is_some(), "a budget that ends leaves something that fails");
        assert_eq!(shrink(&failing, "another rule", 100, run).schedule, failing.schedule);
    }
}
