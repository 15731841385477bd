//! The sender to other members, blocked by the fence.

use std::sync::Arc;

use crate::actors::context::NodeContext;
use crate::raft::Envelope;
use crate::transport::Transport;

/// Sends to other members unless the node is fenced.
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
