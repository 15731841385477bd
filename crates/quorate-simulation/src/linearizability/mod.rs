//! The linearizability checker: whether one copy of the state could have shown what clients saw.
//!
//! ```text
//! client 1   ├── put x=1 ───────────┤
//! client 2        ├── put x=2 ──?            no answer: takes effect any time from here, or never
//! client 3             ├─ read x: 2 ─┤  ├─ read x: 1 ─┤
//!                             2  1            an order that explains it: put 2, read, put 1, read
//! ```
//! A history is linearizable if every operation can be given one moment between its invocation and
//! its return so that the model, run in the order of these moments, gives the answers that were
//! seen (Herlihy & Wing 1990).
//!
//! | file | content |
//! |---|---|
//! | `history.rs` | operations of clients: client, operation, moments, outcome |
//! | `model.rs` | the trait of models: what one copy would do |
//! | `models/` | models ready to use: a database, a counter, a register with compare-and-set |
//! | `checker.rs` | receives operations as they happen; has a verdict at any time |
//! | `partition.rs` | the operations of one key, in order of time |
//! | `search.rs` | the search for possible orders, and its pruning |
//! | `nodes.rs`, `slots.rs` | visited nodes; sets of operations |
//! | `verdict.rs` | the verdict, readable |
//!
//! While the simulation runs, feed a [`Checker`]; it forgets what it has decided, so a history may
//! be arbitrarily long. A [`History`] keeps everything and is checked afterwards by [`check`]: the
//! same search, the same verdict.
//!
//! *What it does not do:* it knows no weaker guarantees (a stale read is a violation, even if it
//! was allowed), and checks each key by itself: linearizability of the keys implies that of the
//! whole only if no operation touches two keys (Herlihy & Wing's locality). A model with such
//! operations has one key for all.

mod checker;
mod history;
mod model;
pub mod models;
mod nodes;
mod partition;
mod search;
mod slots;
#[cfg(test)]
mod tests;
mod verdict;

pub use checker::{Checker, DEFAULT_STEPS, check};
pub use history::{ClientId, Fate, History, Moment, OperationId, Record};
pub use model::Model;
pub use verdict::{Verdict, Violation};
