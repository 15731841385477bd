//! What the actors of one node say to each other: one file per receiver.
//!
//! All messages are owned values sent with `do_send`, first in first out between two actors. Whoever waits for an
//! answer sends a [`Reply`], a [`ReadJob`] or another value that answers by itself when dropped, so
//! that no path leaves anybody waiting (CL04, AC15).
//!
//! What *members* say to each other is not here but in [`crate::raft`].

mod apply;
mod apply_queue;
mod errors;
mod peer;
mod persister;
mod proposals;
mod reader;
mod reads;
mod reply;
mod snapshotter;
mod trace;

pub use crate::runtime::StopAck;
pub(crate) use apply::{AppliedMark, ApplyGuard};
pub use apply::{
    ApplyLink, ApplyMessage, ApplyWork, BoxedState, CommittedBatch, OfferedSnapshot, SnapshotTaken,
    StateView,
};
pub(crate) use apply_queue::ApplyQueueMessage;
pub use errors::{ProposeError, ReadError, SnapshotError};
pub(crate) use peer::{DecodedSnapshot, PeerMessage, SnapshotReply};
pub(crate) use persister::PersisterMessage;
pub(crate) use proposals::{Proposal, Proposals, ProposalsEnd};
pub(crate) use reader::ReaderMessage;
pub use reads::ReadJob;
pub(crate) use reads::Reads;
pub(crate) use reply::Admission;
pub use reply::Reply;
pub(crate) use snapshotter::SnapshotterMessage;
pub(crate) use trace::Trace;
