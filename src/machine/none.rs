//! No machine: what a node is built with whose state a service keeps itself, behind an own apply side.
//!
//! The type has no value, so there is nothing to apply a command to, and no command of it either.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use super::{ApplyContext, CodecError, Machine};

/// The machine of a node without one: see [`NodeBuilder::with_apply_side`](crate::node::NodeBuilder::with_apply_side).
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
