//! What has happened, as one number and, if wanted, as lines.
//!
//! Two runs that did the same have the same [hash](Trace::hash), in every build and on every machine; so a difference shows that
//! something else than the seed had a say.

use crate::raft::{Micros, NodeId};

/// The trace of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    hash: u64,
    lines: Option<Vec<Line>>,
}

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    /// When, in virtual microseconds.
    pub at: Micros,
    /// To whom, if to a single member.
    pub node: Option<NodeId>,
    /// What.
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

    /// The number.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines.
    pub(super) fn into_lines(self) -> Vec<Line> {
        self.lines.unwrap_or_default()
    }
}
