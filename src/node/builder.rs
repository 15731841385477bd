//! From a machine, a storage and a transport to a running node.

use std::sync::Arc;

use crate::actors::{ApplySide, Delays, Observer};
use crate::machine::{Machine, NoMachine};
use crate::messages::ApplyLink;
use crate::raft::NodeId;
use crate::runtime::{Component, Executors, JoinHandles, Placement};
use crate::storage::{Identity, OpenedStorage, Start, Storage, StorageError};
use crate::transport::Transport;

use super::assembly::Parts;
use super::config::Config;
use super::errors::StartError;
use super::handle::Handle;

/// Who applies what is committed.
pub(super) enum Applying<M> {
    /// The usual applier, on this machine.
    Machine(M),
    /// An actor of the service.
    Own(Box<dyn FnOnce(ApplyLink) -> ApplySide + Send>),
}

/// Collects what a node is made of.
pub struct NodeBuilder<M> {
    node: NodeId,
    cluster: u64,
    applying: Applying<M>,
    config: Config,
    storage: Option<Box<dyn Storage>>,
    transport: Option<Arc<dyn Transport>>,
    start: Start,
    placement: Placement,
    delays: Delays,
    observer: Observer,
}

impl NodeBuilder<NoMachine> {
    /// The node `node`, which has no state machine of its own: its state is behind the actor that `make` starts. Commands
    /// go through [`Handle::submit_data`]; what stands in them the node doesn't check, see the rules of
    /// [`ApplyMessage`](crate::messages::ApplyMessage).
    pub fn with_apply_side(
        node: NodeId,
        make: impl FnOnce(ApplyLink) -> ApplySide + Send + 'static,
    ) -> NodeBuilder<NoMachine> {
        NodeBuilder::of(node, Applying::Own(Box::new(make)))
    }
}

impl<M: Machine> NodeBuilder<M> {
    /// The node `node`, whose state machine begins as `machine` when there is no snapshot to begin with.
    pub fn new(node: NodeId, machine: M) -> NodeBuilder<M> {
        NodeBuilder::of(node, Applying::Machine(machine))
    }

    fn of(node: NodeId, applying: Applying<M>) -> NodeBuilder<M> {
        NodeBuilder {
            node,
            cluster: 0,
            applying,
            config: Config::default(),
            storage: None,
            transport: None,
            start: Start::Open,
            placement: Placement::default(),
            delays: Delays::default(),
            observer: Observer::default(),
        }
    }

    /// The cluster's id: stored, and checked with every message. 0 unless set.
    #[must_use]
    pub fn cluster(mut self, cluster: u64) -> NodeBuilder<M> {
        self.cluster = cluster;
        self
    }

    /// Limits and times.
    #[must_use]
    pub fn config(mut self, config: Config) -> NodeBuilder<M> {
        self.config = config;
        self
    }

    /// Where the log and the snapshots are kept. Needed.
    #[must_use]
    pub fn storage(self, storage: impl Storage) -> NodeBuilder<M> {
        self.boxed_storage(Box::new(storage))
    }

    pub(crate) fn boxed_storage(mut self, storage: Box<dyn Storage>) -> NodeBuilder<M> {
        self.storage = Some(storage);
        self
    }

    /// How other members are reached. Needed.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport) -> NodeBuilder<M> {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// Whether a cluster begins here, or an existing one goes on; [`Start::Open`] unless set.
    #[must_use]
    pub fn start_mode(mut self, start: Start) -> NodeBuilder<M> {
        self.start = start;
        self
    }

    /// Which threads the node's parts run on; one each unless set.
    #[must_use]
    pub fn placement(mut self, placement: Placement) -> NodeBuilder<M> {
        self.placement = placement;
        self
    }

    /// Delays put into the node's slow work on purpose. Keep a clone to change them while it runs.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn delays(self, delays: Delays) -> NodeBuilder<M> {
        self.with_delays(delays)
    }

    /// Watches the node's protocol, turn by turn: for checkers of invariants.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn observer(mut self, observer: Observer) -> NodeBuilder<M> {
        self.observer = observer;
        self
    }

    pub(crate) fn with_delays(mut self, delays: Delays) -> NodeBuilder<M> {
        self.delays = delays;
        self
    }

    /// Puts an own actor where the usual applier stands: see [`ApplyMessage`](crate::messages::ApplyMessage) for the
    /// contract. `make` gets the link to the node and returns where work is sent. The handle keeps the machine's types;
    /// where there is none, [`NodeBuilder::with_apply_side`].
    #[must_use]
    pub fn apply_side(
        mut self,
        make: impl FnOnce(ApplyLink) -> ApplySide + Send + 'static,
    ) -> NodeBuilder<M> {
        self.applying = Applying::Own(Box::new(make));
        self
    }

    /// Opens the storage and starts the node. With [`Placement::threads`] from any runtime or `main`; otherwise from within
    /// the `LocalSet` that is to run it.
    pub async fn start(self) -> Result<Node<M>, StartError> {
        self.config.validate()?;
        let storage =
            self.storage.ok_or(StartError::Incomplete("NodeBuilder::storage is missing"))?;
        let transport =
            self.transport.ok_or(StartError::Incomplete("NodeBuilder::transport is missing"))?;
        self.config.fits_into(transport.max_message_bytes())?;
        if let Some(member) = transport.member().filter(|member| *member != self.node) {
            return Err(StartError::Transport { node: self.node, member });
        }
        let placement = self.placement.for_log(storage.waits());
        let (executors, ends) = placement.open(self.node)?;
        let identity = Identity {
            cluster: self.cluster,
            node: self.node,
            created_at_ms: placement.clock().wall_ms(),
        };
        let opened = match open(&executors, storage, identity, self.start).await {
            Ok(opened) => opened,
            Err(error) => {
                executors.exit();
                ends.join().await;
                return Err(error);
            }
        };
        let parts = Parts {
            identity,
            applying: self.applying,
            config: self.config,
            clock: placement.clock(),
            transport,
            delays: self.delays,
            observer: self.observer,
            executors,
        };
        Ok(parts.assemble(opened, ends))
    }
}

/// Opens the storage on the persister's executor: it may take long.
async fn open(
    executors: &Executors,
    storage: Box<dyn Storage>,
    identity: Identity,
    start: Start,
) -> Result<OpenedStorage, StartError> {
    let (to, opened) = tokio::sync::oneshot::channel();
    executors.of(Component::Persister).run(move || {
        Box::pin(async move {
            // Whoever started the node may have given up meanwhile.
            let _: Result<(), Result<OpenedStorage, StorageError>> =
                to.send(storage.open(identity, &start));
        })
    });
    let opened =
        opened.await.map_err(|_| StartError::Incomplete("opening the storage panicked"))?;
    Ok(opened?)
}

/// A running member. Dropping it stops the member in order, without waiting for the end; [`Node::shutdown`] waits.
pub struct Node<M: Machine> {
    pub(super) handle: Handle<M>,
    pub(super) transport: Arc<dyn Transport>,
    #[cfg(feature = "testing")]
    pub(super) executors: Executors,
    pub(super) ends: Option<JoinHandles>,
}

impl<M: Machine> Node<M> {
    /// Talks to the node.
    pub fn handle(&self) -> Handle<M> {
        self.handle.clone()
    }

    /// Stops the node in order and waits until nothing of it is left: every waiter is answered, what is durable is sealed,
    /// its threads are joined (one in common: by the last), its storage is free again.
    ///
    /// What hangs is not waited for longer than [`Config::shutdown_timeout`]. Then
    /// [`NodeStatus::fatal`](super::NodeStatus::fatal) tells which actor it was. Its thread is left
    /// behind, and so is whoever waits for a command that it was executing. That works where the
    /// actor has a thread that the peer does not run on.
    pub async fn shutdown(mut self) {
        self.handle.shared.stop_signal.stop();
        self.join().await;
    }

    /// Ends the node as the death of its process would: from this moment nothing it still does reaches the disk or another
    /// member; nothing is finished or sealed. Returns when its storage is free again.
    #[cfg(feature = "testing")]
    pub async fn crash(mut self) {
        self.handle.shared.stop_signal.fence();
        self.transport.detach(self.handle.node());
        self.executors.exit();
        self.join().await;
    }

    /// Its process stands still for `time`: what comes for it waits, what it was doing ends later. Only in virtual time.
    #[cfg(feature = "testing")]
    pub fn pause(&self, time: std::time::Duration) {
        self.executors.pause(time);
    }

    /// When all work that it has begun is done, if any is. Only in virtual time.
    #[cfg(feature = "testing")]
    pub(crate) fn busy_until(&self) -> Option<tokio::time::Instant> {
        self.executors.busy_until()
    }

    async fn join(&mut self) {
        if let Some(ends) = self.ends.take() {
            ends.join().await;
        }
    }
}

impl<M: Machine> Drop for Node<M> {
    fn drop(&mut self) {
        if self.ends.is_some() {
            self.transport.detach(self.handle.node());
            self.handle.shared.stop_signal.stop();
        }
    }
}
