//! Who holds the state machine, as the rest of the node sees it.

use std::io::Read;

use actix::Recipient;

use crate::machine::CodecError;
use crate::messages::{ApplyMessage, BoxedState};

/// Decodes a snapshot's content into a state, on the snapshotter's thread. A state that knows which entry it is the state
/// behind says so ([`BoxedState::state_behind`]): then a snapshot that holds another one counts as not decodable.
pub type DecodeState = Box<dyn FnMut(&mut dyn Read) -> Result<BoxedState, CodecError> + Send>;

/// An apply side: where its messages go, and how its states are decoded.
pub struct ApplySide {
    /// Gets [`ApplyMessage`]s.
    pub recipient: Recipient<ApplyMessage>,
    /// Makes the states of [`ApplyMessage::Restored`] and of offers.
    pub decode: DecodeState,
}
