//! The end of a node, in order.
//!
//! It waits for a reason to stop (asked for, or a failure) and then ends one actor after the other, each only when what it
//! could still be given has been given. An actor that is gone already counts as ended: its acknowledgement is dropped
//! with its mailbox.
//!
//! | step | why then |
//! |---|---|
//! | admission is closed | before anybody hears of the stop; see [`super::lifeline`] |
//! | transport | nothing new arrives |
//! | peer | its loop ends; what waits there hears the truth |
//! | apply queue | after the peer's loop (A70): hands over what is committed |
//! | apply side | applies and answers that |
//! | snapshotter, reader | nobody asks them any more |
//! | persister | everything asked for is on disk; seals the log |

use std::sync::Arc;

use actix::Recipient;
use tokio::sync::{mpsc, oneshot};

use crate::messages::{
    ApplyMessage, ApplyQueueMessage, PeerMessage, PersisterMessage, ReaderMessage,
    SnapshotterMessage, StopAck,
};
use crate::raft::NodeId;
use crate::transport::Transport;

use super::lifeline::Lifeline;
use super::placement::Places;
use super::shell::caught;

/// All that has to be ended.
pub(crate) struct Director {
    pub(crate) node: NodeId,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) lifeline: Arc<Lifeline>,
    pub(crate) peer: Recipient<PeerMessage>,
    pub(crate) queue: Recipient<ApplyQueueMessage>,
    pub(crate) apply_side: Recipient<ApplyMessage>,
    pub(crate) snapshotter: Recipient<SnapshotterMessage>,
    pub(crate) reader: Recipient<ReaderMessage>,
    pub(crate) persister: Recipient<PersisterMessage>,
    pub(crate) places: Places,
}

impl Director {
    /// Waits for the first reason to stop, then stops everything.
    pub(crate) async fn direct(self, mut stops: mpsc::UnboundedReceiver<()>) {
        // A closed channel means that nobody is left who could want the node.
        let _ = stops.recv().await;
        // It is the service's own: whatever it does, the rest still ends.
        if let Err(panic) = caught(|| self.transport.detach(self.node)) {
            self.lifeline.fail(format!("the transport panicked: {panic}"));
        }
        ended(|ack| self.peer.do_send(PeerMessage::Stop(ack))).await;
        ended(|ack| self.queue.do_send(ApplyQueueMessage::Stop(ack))).await;
        ended(|ack| self.apply_side.do_send(ApplyMessage::Stop(ack))).await;
        ended(|ack| self.snapshotter.do_send(SnapshotterMessage::Stop(ack))).await;
        ended(|ack| self.reader.do_send(ReaderMessage::Stop(ack))).await;
        ended(|ack| self.persister.do_send(PersisterMessage::Stop(ack))).await;
        self.places.idle().await;
        self.places.exit();
    }
}

async fn ended(stop: impl FnOnce(StopAck)) {
    let (ack, acked) = StopAck::new();
    stop(ack);
    // The acknowledgement is given by being dropped: an error is the expected end.
    let _: Result<(), oneshot::error::RecvError> = acked.await;
}
