//! The way out to other members, shut by the fence.

use std::sync::Arc;

use crate::actors::context::NodeContext;
use crate::raft::Envelope;
use crate::transport::Transport;

/// Sends to other members as long as the node is not fenced off.
#[derive(Clone)]
pub(crate) struct FencedSender {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) shared: Arc<NodeContext>,
}

impl FencedSender {
    pub(crate) fn send(&self, envelope: Envelope) {
        if !self.shared.stop_signal.fenced() {
            self.transport.send(envelope);
        }
    }
}
