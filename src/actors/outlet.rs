//! The way out to other members, shut by the fence.

use std::sync::Arc;

use crate::actors::context::NodeContext;
use crate::raft::Envelope;
use crate::transport::Transport;

/// Sends to other members as long as the node is not fenced off.
#[derive(Clone)]
pub(crate) struct Outlet {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) shared: Arc<NodeContext>,
}

impl Outlet {
    pub(crate) fn send(&self, envelope: Envelope) {
        if !self.shared.lifeline.fenced() {
            self.transport.send(envelope);
        }
    }
}
