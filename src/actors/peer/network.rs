//! Messages from other members, and requests that did not reach them.

use crate::messages::{Deliver, Undelivered};
use crate::runtime::shell::{Receive, Turn};

use super::RaftPeer;

/// The receipt is dropped at the end: it tells the transport that the message is handled.
impl Receive<Deliver> for RaftPeer {
    fn receive(&mut self, Deliver { envelope, receipt: _receipt }: Deliver, turn: &mut Turn) {
        if !self.shared.stop_signal.fenced() {
            self.raft.step(turn.now, envelope);
        }
    }
}

impl Receive<Undelivered> for RaftPeer {
    fn receive(&mut self, Undelivered { to, id }: Undelivered, turn: &mut Turn) {
        self.raft.undelivered(turn.now, to, id);
    }
}
