//! Ready models: one for each machine of the crate, and a register.

mod counter;
mod key_value;
mod register;

pub use counter::{Counter, CounterOperation};
pub use key_value::{KeyValueModel, KeyValueOperation, KeyValueOutcome, KeyValueState};
pub use register::{Register, RegisterOperation, RegisterOutcome};
