//! The end of a node, in order.
//!
//! It waits for a reason to stop (asked for, or a failure) and then ends one actor after the other, each only when what it
//! could still be given has been given. An actor that is gone already counts as ended: its acknowledgement is dropped
//! with its mailbox. One that does not end in time, because it hangs in code of the service or in a
//! call to the system, is reported and left behind with its executor: the others still end in order.
//!
//! | step | why then |
//! |---|---|
//! | admission is closed | before anybody hears of the stop; see [`crate::runtime::stop_signal`] |
//! | transport | nothing new arrives |
//! | peer | its loop ends; what waits there hears the truth |
//! | apply queue | after the peer's loop (A70): hands over what is committed |
//! | apply side | applies and answers that |
//! | snapshotter, reader | nobody asks them any more |
//! | persister | everything asked for is on disk; seals the log |

use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::actors::context::NodeContext;
use crate::messages::{
    ApplyMessage, ApplyQueueMessage, PeerMessage, PersisterMessage, ReaderMessage,
    SnapshotterMessage, StopAck,
};
use crate::raft::NodeId;
use crate::runtime::shell::{Activity, caught};
use crate::runtime::stop_signal::StopSignal;
use crate::runtime::{Component, Executors};
use crate::transport::Transport;

/// What a node's actors are doing, and on which executor each runs.
pub(crate) type Activities = Arc<Mutex<Vec<(Component, Activity)>>>;

/// All that has to be ended.
pub(crate) struct Shutdown {
    pub(crate) node: NodeId,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) stop_signal: Arc<StopSignal>,
    pub(crate) peer: Recipient<PeerMessage>,
    pub(crate) queue: Recipient<ApplyQueueMessage>,
    pub(crate) apply_side: Recipient<ApplyMessage>,
    pub(crate) snapshotter: Recipient<SnapshotterMessage>,
    pub(crate) reader: Recipient<ReaderMessage>,
    pub(crate) persister: Recipient<PersisterMessage>,
    pub(crate) executors: Executors,
    pub(crate) shared: Arc<NodeContext>,
    /// Each actor gets so long to end.
    pub(crate) patience: Duration,
    pub(crate) activities: Activities,
}

impl Shutdown {
    /// Waits for the first reason to stop, then stops everything.
    pub(crate) async fn run(self, mut stops: mpsc::UnboundedReceiver<()>) {
        // A closed channel means that nobody is left who could want the node.
        let _ = stops.recv().await;
        // It is the service's own: whatever it does, the rest still ends.
        if let Err(panic) = caught(|| self.transport.detach(self.node)) {
            self.stop_signal.fail(format!("the transport panicked: {panic}"));
        }
        self.end(Component::Peer, "peer", |ack| self.peer.do_send(PeerMessage::Stop(ack))).await;
        self.end(Component::Applier, "apply queue", |ack| {
            self.queue.do_send(ApplyQueueMessage::Stop(ack));
        })
        .await;
        self.end(Component::Applier, "apply side", |ack| {
            self.apply_side.do_send(ApplyMessage::Stop(ack));
        })
        .await;
        self.end(Component::Snapshotter, "snapshotter", |ack| {
            self.snapshotter.do_send(SnapshotterMessage::Stop(ack));
        })
        .await;
        self.end(Component::Reader, "reader", |ack| self.reader.do_send(ReaderMessage::Stop(ack)))
            .await;
        self.end(Component::Persister, "persister", |ack| {
            self.persister.do_send(PersisterMessage::Stop(ack));
        })
        .await;
        // Reads in the mailbox of an actor that hangs: nothing else answers them.
        self.shared.reads.fail_all();
        self.executors.idle().await;
        self.executors.exit();
    }

    /// Ends the actor `name` on the executor of `part`. Where something hangs already nothing is
    /// waited for.
    async fn end(&self, part: Component, name: &str, stop: impl FnOnce(StopAck)) {
        let (ack, acked) = StopAck::new();
        stop(ack);
        let given_up = self.executors.of(part).given_up();
        // The acknowledgement is given by being dropped: an error is the expected end.
        if !given_up.is_set() && timeout(self.patience, acked).await.is_err() {
            given_up.set();
            self.report(part, name);
        }
    }

    /// Whatever is at work on the executor is in the way of the actor that was asked to end.
    fn report(&self, part: Component, asked: &str) {
        let executor = self.executors.of(part).given_up();
        let activities = self.activities.lock();
        let at_work: Vec<&str> = activities
            .iter()
            .filter(|(part, activity)| {
                activity.is_at_work()
                    && self.executors.of(*part).given_up().is_of_same_place(executor)
            })
            .map(|(_, activity)| activity.name())
            .collect();
        let hangs = if at_work.is_empty() { asked.to_owned() } else { at_work.join(" and the ") };
        let reason = format!(
            "the {hangs} hangs: it did not end within {:?} (Config::shutdown_timeout), the node ends without it",
            self.patience
        );
        tracing::error!(node = self.node, reason, "a node could not end in order");
        self.stop_signal.fail(reason);
    }
}
