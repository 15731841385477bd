//! The event queue, ordered by time; events at one time keep the order in which they were planned.
//!
//! Only times and positions are sorted and the events stay in place: an envelope is large, and
//! sorting envelopes would take most of the time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use quorate::raft::Micros;

/// The queue.
#[derive(Clone, Debug)]
pub(super) struct Agenda<T> {
    /// Time, order of planning, and position of the event.
    times: BinaryHeap<Reverse<(Micros, u64, u32)>>,
    places: Vec<Option<T>>,
    free: Vec<u32>,
    planned: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Agenda<T> {
        Agenda { times: BinaryHeap::new(), places: Vec::new(), free: Vec::new(), planned: 0 }
    }
}

impl<T> Agenda<T> {
    /// Plans `what` for `at`.
    pub(super) fn plan(&mut self, at: Micros, what: T) {
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = Some(what);
                place
            }
            None => {
                self.places.push(Some(what));
                self.places.len() as u32 - 1
            }
        };
        self.planned += 1;
        self.times.push(Reverse((at, self.planned, place)));
    }

    /// Takes the next event, if its time is at most `until`.
    pub(super) fn next(&mut self, until: Micros) -> Option<(Micros, T)> {
        let Reverse((at, _, place)) = *self.times.peek().filter(|first| first.0.0 <= until)?;
        self.times.pop();
        self.free.push(place);
        self.places[place as usize].take().map(|what| (at, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_planned_comes_in_time_and_in_order() {
        let mut agenda = Agenda::default();
        for (at, what) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b'), (9, 'e')] {
            agenda.plan(at, what);
        }
        let mut came = Vec::new();
        while let Some((at, what)) = agenda.next(5) {
            came.push((at, what));
            if what == 'a' {
                agenda.plan(3, 'x');
            }
        }
        assert_eq!(came, [(3, 'a'), (3, 'b'), (3, 'x'), (5, 'c'), (5, 'd')]);
        assert_eq!(agenda.next(9), Some((9, 'e')));
    }
}
