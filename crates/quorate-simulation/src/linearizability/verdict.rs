//! The verdict, with the information needed to understand it.

use std::fmt::{Debug, Display, Formatter, Result};

/// The result of a check. Anything but [`Verdict::Linearizable`] is a failed run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<Key> {
    /// An order was found that explains everything seen so far.
    Linearizable,
    /// No order exists, whatever happens later.
    Violation(Box<Violation<Key>>),
    /// The search was given up: unknown, which must never be treated as success.
    Unknown {
        /// The key whose operations were too many.
        key: Key,
        /// The number of model steps that were tried.
        steps: u64,
    },
}

impl<Key> Verdict<Key> {
    /// Whether an order was found.
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Verdict::Linearizable)
    }

    /// Whether certainly no order exists.
    pub fn is_violation(&self) -> bool {
        matches!(self, Verdict::Violation(_))
    }
}

/// Why no order exists. Everything before the return of the first of `unplaced` can be explained,
/// and that return can't: the longest linearizable prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation<Key> {
    /// The key.
    pub key: Key,
    /// How many operations of the key had returned and were explained.
    pub explained: u64,
    /// The end of the best order of these operations, oldest first; earlier ones are forgotten.
    pub prefix: Vec<String>,
    /// The state after this order.
    pub state: String,
    /// What can't be placed after it: the operation whose return shows it, then others under way.
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
