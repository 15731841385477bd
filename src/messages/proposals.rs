//! Proposals on their way to the peer: many commands, one message.
//!
//! ```text
//! handle ──put──▶ [command+reply][command+reply].. ──take──▶ peer
//!        └─ the first one put knocks: PeerMessage::Proposals
//! ```
//! A mailbox message costs more than the protocol's part of a small command. So commands stand in a line of their own, in the
//! order in which they came, and the peer gets one message for all that stand there when it looks. What is left beyond
//! a piece of [`PIECE`] comes with a further message, behind whatever else waits in the mailbox.
//!
//! The line ends with the peer: what stands there then, or comes later, is dropped, and a dropped [`Reply`] answers.
//!
//! *What it does not do:* it bounds nothing; the admission at the handle does.

use std::sync::Arc;

use actix::Recipient;
use bytes::Bytes;
use parking_lot::Mutex;

use super::{PeerMessage, Reply};

/// So many proposals are taken at a time: few enough that a turn's end is looked for in between.
const PIECE: usize = 512;

/// A command, and who waits for it.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) data: Bytes,
    pub(crate) reply: Reply,
}

#[derive(Default)]
struct Line {
    waiting: Vec<Proposal>,
    /// A knock is under way to the peer.
    knocked: bool,
    closed: bool,
}

/// Where handles put proposals. Clones lead to the same peer.
#[derive(Clone)]
pub(crate) struct Proposals {
    line: Arc<Mutex<Line>>,
    peer: Recipient<PeerMessage>,
}

impl Proposals {
    /// A line to `peer`, and its other end, for the peer to hold.
    pub(crate) fn new(peer: Recipient<PeerMessage>) -> (Proposals, ProposalsEnd) {
        let proposals = Proposals { line: Arc::default(), peer };
        (proposals.clone(), ProposalsEnd(proposals))
    }

    pub(crate) fn put(&self, proposal: Proposal) {
        let mut line = self.line.lock();
        if line.closed {
            // Its reply answers once the line is free again.
            drop(line);
            return drop(proposal);
        }
        line.waiting.push(proposal);
        let first = !std::mem::replace(&mut line.knocked, true);
        drop(line);
        if first {
            self.peer.do_send(PeerMessage::Proposals);
        }
    }
}

/// The peer's end of the line. Dropped with the peer, and the line with it.
pub(crate) struct ProposalsEnd(Proposals);

impl ProposalsEnd {
    /// Moves the oldest proposals into `piece`, which is empty. To be called once for each knock.
    pub(crate) fn take(&self, piece: &mut Vec<Proposal>) {
        let mut line = self.0.line.lock();
        if line.waiting.len() <= PIECE {
            std::mem::swap(&mut line.waiting, piece);
            line.knocked = false;
            return;
        }
        piece.extend(line.waiting.drain(..PIECE));
        drop(line);
        self.0.peer.do_send(PeerMessage::Proposals);
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
