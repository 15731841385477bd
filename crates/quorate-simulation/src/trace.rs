//! The events of a run, as one hash and, optionally, as lines.
//!
//! Equal runs have equal [hashes](Trace::hash), in every build and on every machine. So a
//! difference shows that something other than the seed influenced the run.

use quorate::raft::{Micros, NodeId};

/// The trace of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    hash: u64,
    lines: Option<Vec<Line>>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    /// The time, in virtual microseconds.
    pub at: Micros,
    /// The member concerned, if it is a single one.
    pub node: Option<NodeId>,
    /// The description.
    pub what: String,
}

impl Trace {
    /// A trace that keeps its lines.
    pub(super) fn with_lines() -> Trace {
        Trace { hash: 0, lines: Some(Vec::new()) }
    }

    /// Mixes numbers into the hash.
    pub(super) fn mix(&mut self, numbers: [u64; 3]) {
        for number in numbers {
            let mixed = (self.hash ^ number).wrapping_mul(0x9fb2_1c65_1e98_df25);
            self.hash = mixed ^ (mixed >> 29);
        }
    }

    /// Keeps a line, if lines are kept.
    pub(super) fn line(&mut self, at: Micros, node: Option<NodeId>, what: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(Line { at, node, what: what() });
        }
    }

    /// The hash.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines.
    pub(super) fn into_lines(self) -> Vec<Line> {
        self.lines.unwrap_or_default()
    }
}
