//! The answer, with what a person needs to see why.

use std::fmt::{Debug, Display, Formatter, Result};

/// What a checker says. Anything but [`Verdict::Linearizable`] is a failed run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<Key> {
    /// An order was found that explains everything seen so far.
    Linearizable,
    /// There is none, whatever happens later.
    Violation(Box<Violation<Key>>),
    /// The search was given up: not known, and never to be taken for yes.
    Unknown {
        /// Whose operations were too many for it.
        key: Key,
        /// How many steps of the model had been tried.
        steps: u64,
    },
}

impl<Key> Verdict<Key> {
    /// Whether an order was found.
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Verdict::Linearizable)
    }

    /// Whether there is certainly none.
    pub fn is_violation(&self) -> bool {
        matches!(self, Verdict::Violation(_))
    }
}

/// Why there is no order. Everything up to just before the first of `unplaced` returned can be explained, and
/// that return can't: the longest prefix that is linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation<Key> {
    /// Where.
    pub key: Key,
    /// How many operations of the key had returned, all explained.
    pub explained: u64,
    /// The end of the best order for them, oldest first; earlier ones are forgotten.
    pub prefix: Vec<String>,
    /// The state after them.
    pub state: String,
    /// What can't be placed after them: the operation whose return shows it, then others under way.
    pub unplaced: Vec<String>,
}

impl<Key: Debug> Display for Violation<Key> {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let Violation { key, explained, prefix, state, unplaced } = self;
        writeln!(out, "not linearizable at key {key:?}; {explained} operations are, the last:")?;
        prefix.iter().try_for_each(|line| writeln!(out, "    {line}"))?;
        writeln!(out, "  which leads to {state}, where this fits no more:")?;
        unplaced.iter().try_for_each(|line| writeln!(out, "    {line}"))
    }
}

impl<Key: Debug> Display for Verdict<Key> {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Verdict::Linearizable => write!(out, "linearizable"),
            Verdict::Violation(violation) => Display::fmt(violation, out),
            Verdict::Unknown { key, steps } => {
                write!(
                    out,
                    "not known whether linearizable: key {key:?}, given up after {steps} steps"
                )
            }
        }
    }
}
