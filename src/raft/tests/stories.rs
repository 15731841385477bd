//! Scripted runs.

use crate::raft::*;

/// A message in a few words.
pub(super) fn tell(envelope: &Envelope) -> String {
    format!("t{} {:?}", envelope.term, envelope.body)
}
