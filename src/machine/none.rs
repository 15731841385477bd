//! No machine: the type parameter of a node whose state is kept by the service, behind its own
//! apply side.
//!
//! The type has no values, so no command can be applied to it, and it has no commands either.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use super::{ApplyContext, CodecError, Machine};

/// The machine of a node without one: see
/// [`NodeBuilder::with_apply_side`](crate::node::NodeBuilder::with_apply_side).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum NoMachine {}

impl Machine for NoMachine {
    type Command = NoMachine;
    type Reply = NoMachine;
    type View = NoMachine;

    fn apply(&mut self, _: NoMachine, _: &ApplyContext) -> NoMachine {
        match *self {}
    }

    fn view(&self) -> NoMachine {
        match *self {}
    }

    fn encode(view: &NoMachine, _: &mut dyn Write) -> Result<(), CodecError> {
        match *view {}
    }

    fn decode(_: &mut dyn Read) -> Result<NoMachine, CodecError> {
        Err(CodecError::invalid("a state", "a node without a machine has none".to_string()))
    }
}
