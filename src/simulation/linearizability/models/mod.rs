//! Models ready to use, one for each machine that comes with the crate, and a register.

mod counter;
mod key_value;
mod register;

pub use counter::{Counter, CounterOperation};
pub use key_value::{KeyValueModel, KeyValueOperation, KeyValueOutcome, KeyValueState};
pub use register::{Register, RegisterOperation, RegisterOutcome};
