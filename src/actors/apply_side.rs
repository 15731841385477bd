//! The apply side, as the rest of the node sees it.

use std::io::Read;

use actix::Recipient;

use crate::machine::CodecError;
use crate::messages::{ApplyMessage, BoxedState};

/// Decodes a snapshot's content into a state, on the snapshotter's thread. If the state knows its
/// last entry, return it with [`BoxedState::state_behind`]: a snapshot whose state belongs to
/// another entry then counts as not decodable.
pub type DecodeState = Box<dyn FnMut(&mut dyn Read) -> Result<BoxedState, CodecError> + Send>;

/// An apply side: the recipient of its messages, and its decoder of states.
pub struct ApplySide {
    /// Receives [`ApplyMessage`]s.
    pub recipient: Recipient<ApplyMessage>,
    /// Decodes the states of [`ApplyMessage::Restored`] and of offers.
    pub decode: DecodeState,
}
