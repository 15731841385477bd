//! Starts a node from a machine, a storage and a transport.

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

/// What applies committed entries.
pub(super) enum Applying<M> {
    /// The default applier, with this machine.
    Machine(M),
    /// An actor of the service.
    Own(Box<dyn FnOnce(ApplyLink) -> ApplySide + Send>),
}

/// The settings of a node before it is started.
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
    /// A builder of the node `node` without a state machine: the actor that `make` starts keeps the
    /// state. Commands are proposed with [`Handle::submit_data`]; the node does not check their
    /// content. The contract is on [`ApplyMessage`](crate::messages::ApplyMessage).
    pub fn with_apply_side(
        node: NodeId,
        make: impl FnOnce(ApplyLink) -> ApplySide + Send + 'static,
    ) -> NodeBuilder<NoMachine> {
        NodeBuilder::of(node, Applying::Own(Box::new(make)))
    }
}

impl<M: Machine> NodeBuilder<M> {
    /// A builder of the node `node`. Its state machine starts as `machine` if there is no snapshot
    /// to start from.
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

    /// Sets the cluster's id, which is stored and checked with every message. Default: 0.
    #[must_use]
    pub fn cluster(mut self, cluster: u64) -> NodeBuilder<M> {
        self.cluster = cluster;
        self
    }

    /// Sets the limits and times.
    #[must_use]
    pub fn config(mut self, config: Config) -> NodeBuilder<M> {
        self.config = config;
        self
    }

    /// Sets the storage of the log and the snapshots. Required.
    #[must_use]
    pub fn storage(self, storage: impl Storage) -> NodeBuilder<M> {
        self.boxed_storage(Box::new(storage))
    }

    pub(crate) fn boxed_storage(mut self, storage: Box<dyn Storage>) -> NodeBuilder<M> {
        self.storage = Some(storage);
        self
    }

    /// Sets the transport to the other members. Required.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport) -> NodeBuilder<M> {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// Sets whether to bootstrap a new cluster or to open existing storage. Default:
    /// [`Start::Open`].
    #[must_use]
    pub fn start_mode(mut self, start: Start) -> NodeBuilder<M> {
        self.start = start;
        self
    }

    /// Sets which threads the node's components run on. Default: one thread each.
    #[must_use]
    pub fn placement(mut self, placement: Placement) -> NodeBuilder<M> {
        self.placement = placement;
        self
    }

    /// Adds artificial delays to the node's slow operations. Keep a clone to change them at run
    /// time.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn delays(self, delays: Delays) -> NodeBuilder<M> {
        self.with_delays(delays)
    }

    /// Observes the node's protocol state after each batch of messages, for invariant checkers.
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

    /// Replaces the default applier with an actor of the service;
    /// [`ApplyMessage`](crate::messages::ApplyMessage) documents the contract. `make` receives the
    /// link to the node and returns the recipient of the work. The handle keeps the machine's
    /// types; for a node without a machine use [`NodeBuilder::with_apply_side`].
    #[must_use]
    pub fn apply_side(
        mut self,
        make: impl FnOnce(ApplyLink) -> ApplySide + Send + 'static,
    ) -> NodeBuilder<M> {
        self.applying = Applying::Own(Box::new(make));
        self
    }

    /// Opens the storage and starts the node. With [`Placement::threads`] this works in any runtime
    /// and in `main`; otherwise call it in the `LocalSet` that is to run the node.
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

/// Opens the storage on the persister's executor, because it may take long.
async fn open(
    executors: &Executors,
    storage: Box<dyn Storage>,
    identity: Identity,
    start: Start,
) -> Result<OpenedStorage, StartError> {
    let (to, opened) = tokio::sync::oneshot::channel();
    executors.of(Component::Persister).run(move || {
        Box::pin(async move {
            // The receiver is gone if the caller dropped the future of `start`.
            let _: Result<(), Result<OpenedStorage, StorageError>> =
                to.send(storage.open(identity, &start));
        })
    });
    let opened =
        opened.await.map_err(|_| StartError::Incomplete("opening the storage panicked"))?;
    Ok(opened?)
}

/// A running member. Dropping it starts an orderly shutdown without waiting for its end;
/// [`Node::shutdown`] waits.
pub struct Node<M: Machine> {
    pub(super) handle: Handle<M>,
    pub(super) transport: Arc<dyn Transport>,
    #[cfg(feature = "testing")]
    pub(super) executors: Executors,
    pub(super) ends: Option<JoinHandles>,
}

impl<M: Machine> Node<M> {
    /// A handle for sending requests to the node.
    pub fn handle(&self) -> Handle<M> {
        self.handle.clone()
    }

    /// Shuts the node down in order and waits until all of it has ended: all pending requests are
    /// answered, the durable log is sealed, the node's threads are joined (a shared thread by the
    /// last of its nodes), and the storage can be opened again.
    ///
    /// A hanging actor is waited for no longer than [`Config::shutdown_timeout`]. After that
    /// [`NodeStatus::fatal`](super::NodeStatus::fatal) names the actor. Its thread is left running,
    /// and a command that it was executing is never answered. This requires that the actor does not
    /// run on the peer's thread.
    pub async fn shutdown(mut self) {
        self.handle.shared.stop_signal.stop();
        self.join().await;
    }

    /// Ends the node like a crash of its process: from now on none of its work reaches the disk or
    /// another member, and nothing is completed or sealed. Returns when its storage can be opened
    /// again.
    #[cfg(feature = "testing")]
    pub async fn crash(mut self) {
        self.handle.shared.stop_signal.fence();
        self.transport.detach(self.handle.node());
        self.executors.exit();
        self.join().await;
    }

    /// Pauses the node like a paused process for `time`: incoming messages wait, work in progress
    /// ends later. Only in virtual time.
    #[cfg(feature = "testing")]
    pub fn pause(&self, time: std::time::Duration) {
        self.executors.pause(time);
    }

    /// The time at which all work in progress is done, if there is any. Only in virtual time.
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
