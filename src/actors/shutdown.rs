//! The ordered shutdown of a node.
//!
//! It waits for a reason to stop (a request or a failure) and then ends one actor after the other,
//! each only after all actors that may still send it work. An actor that is gone already counts as
//! ended: its acknowledgement is dropped with its mailbox. If an actor does not end in time,
//! because it hangs in code of the service or in a system call, this is reported and its executor
//! is abandoned: the others still end in order.
//!
//! | step | why then |
//! |---|---|
//! | admission is closed | before any actor is stopped; see [`crate::runtime::stop_signal`] |
//! | transport | no new messages arrive |
//! | peer | its loop ends; pending requests are failed |
//! | apply queue | after the peer's loop (A70): passes on the committed entries |
//! | apply side | applies and answers these |
//! | snapshotter, reader | no actor sends them requests any more |
//! | persister | writes all requested steps; seals the log |

use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::actors::context::NodeContext;
use crate::messages::{
    ApplyMessage, ApplyQueueAddress, PeerAddress, PersisterAddress, ReaderAddress,
    SnapshotterAddress, Stop, StopAck,
};
use crate::raft::NodeId;
use crate::runtime::shell::{Activity, caught};
use crate::runtime::stop_signal::StopSignal;
use crate::runtime::{Component, Executors};
use crate::transport::Transport;

/// Which of a node's actors are working, and on which executor each runs.
pub(crate) type Activities = Arc<Mutex<Vec<(Component, Activity)>>>;

/// The actors and executors of a node, to be ended.
pub(crate) struct Shutdown {
    pub(crate) node: NodeId,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) stop_signal: Arc<StopSignal>,
    pub(crate) peer: PeerAddress,
    pub(crate) queue: ApplyQueueAddress,
    pub(crate) apply_side: Recipient<ApplyMessage>,
    pub(crate) snapshotter: SnapshotterAddress,
    pub(crate) reader: ReaderAddress,
    pub(crate) persister: PersisterAddress,
    pub(crate) executors: Executors,
    pub(crate) shared: Arc<NodeContext>,
    /// How long to wait for each actor to end.
    pub(crate) patience: Duration,
    pub(crate) activities: Activities,
}

impl Shutdown {
    /// Waits for the first reason to stop, then stops the node.
    pub(crate) async fn run(self, mut stops: mpsc::UnboundedReceiver<()>) {
        // A closed channel means that no reference to the node is left.
        let _ = stops.recv().await;
        // The transport may be the service's own: a panic in it must not prevent the other steps.
        if let Err(panic) = caught(|| self.transport.detach(self.node)) {
            self.stop_signal.fail(format!("the transport panicked: {panic}"));
        }
        self.end(Component::Peer, "peer", |ack| self.peer.send(Stop(ack))).await;
        self.end(Component::Applier, "apply queue", |ack| self.queue.send(Stop(ack))).await;
        self.end(Component::Applier, "apply side", |ack| {
            self.apply_side.do_send(ApplyMessage::Stop(ack));
        })
        .await;
        self.end(Component::Snapshotter, "snapshotter", |ack| self.snapshotter.send(Stop(ack)))
            .await;
        self.end(Component::Reader, "reader", |ack| self.reader.send(Stop(ack))).await;
        self.end(Component::Persister, "persister", |ack| self.persister.send(Stop(ack))).await;
        // Answers reads in the mailbox of an actor that hangs: no other step does.
        self.shared.reads.fail_all();
        self.executors.idle().await;
        self.executors.exit();
    }

    /// Ends the actor `name` on the executor of `part`. Does not wait if that executor was given
    /// up.
    async fn end(&self, part: Component, name: &str, stop: impl FnOnce(StopAck)) {
        let (ack, acked) = StopAck::new();
        stop(ack);
        let given_up = self.executors.of(part).given_up();
        // The acknowledgement is given by dropping it: an error is the expected result.
        if !given_up.is_set() && timeout(self.patience, acked).await.is_err() {
            given_up.set();
            self.report(part, name);
        }
    }

    /// Reports the actors that are working on the executor: they block the actor that was asked to
    /// end.
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
