//! The queue of proposals to the peer: one mailbox message for many commands.
//!
//! ```text
//! handle ──put──▶ [command+reply][command+reply].. ──take──▶ peer
//!        └─ the first put sends a notification: ProposalsQueued
//! ```
//! A mailbox message costs more than the protocol's work for a small command. So commands wait in a
//! queue of their own, in the order of their arrival, and the peer gets one message for all
//! commands that are queued when it handles it. It takes at most [`PIECE`] commands at a time; for
//! the rest it gets another message, behind the other messages in its mailbox.
//!
//! When the peer is dropped the queue is closed: commands in it, or added later, are dropped, and a
//! dropped [`Reply`] answers.
//!
//! *What it does not do:* it has no bound; the admission at the handle limits the number of
//! proposals.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{PeerAddress, ProposalsQueued, Reply};

/// The maximum number of proposals taken at a time: small enough that the end of a batch is checked
/// in between.
const PIECE: usize = 512;

/// A command and its reply.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) data: Bytes,
    pub(crate) reply: Reply,
}

#[derive(Default)]
struct Line {
    waiting: Vec<Proposal>,
    /// A notification is in the peer's mailbox.
    knocked: bool,
    closed: bool,
}

/// The handles' end of the queue. All clones lead to the same peer.
#[derive(Clone)]
pub(crate) struct Proposals {
    line: Arc<Mutex<Line>>,
    peer: PeerAddress,
}

impl Proposals {
    /// A queue to `peer`, and the receiving end, which the peer holds.
    pub(crate) fn new(peer: PeerAddress) -> (Proposals, ProposalsEnd) {
        let proposals = Proposals { line: Arc::default(), peer };
        (proposals.clone(), ProposalsEnd(proposals))
    }

    pub(crate) fn put(&self, proposal: Proposal) {
        let mut line = self.line.lock();
        if line.closed {
            // Dropped after the lock is released: the reply answers when it is dropped.
            drop(line);
            return drop(proposal);
        }
        line.waiting.push(proposal);
        let first = !std::mem::replace(&mut line.knocked, true);
        drop(line);
        if first {
            self.peer.send(ProposalsQueued);
        }
    }
}

/// The peer's end of the queue. Dropping it closes the queue.
pub(crate) struct ProposalsEnd(Proposals);

impl ProposalsEnd {
    /// Moves the oldest proposals into `piece`, which must be empty. Called once for each
    /// notification.
    pub(crate) fn take(&self, piece: &mut Vec<Proposal>) {
        let mut line = self.0.line.lock();
        if line.waiting.len() <= PIECE {
            std::mem::swap(&mut line.waiting, piece);
            line.knocked = false;
            return;
        }
        piece.extend(line.waiting.drain(..PIECE));
        drop(line);
        self.0.peer.send(ProposalsQueued);
    }
}

impl Drop for ProposalsEnd {
    fn drop(&mut self) {
        let mut line = self.0.line.lock();
        line.closed = true;
        let left = std::mem::take(&mut line.waiting);
        drop(line);
        drop(left);
    }
}
