//! Messages between the actors of one node: one file per receiver.
//!
//! All messages are owned values, sent with `do_send`, in first-in-first-out order between two
//! actors. A request that needs an answer carries a [`Reply`], a [`ReadJob`] or another value that
//! answers when it is dropped, so every request is answered on every path.
//!
//! Messages between *members* are in [`crate::raft`].

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
