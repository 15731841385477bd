//! Several members in one process, on one in-process network.
//!
//! For programs that need replicated state without a network, and for tests: members can be
//! stopped, crashed and restarted, and faults can be injected into the network between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::actors::Delays;
use crate::machine::Machine;
use crate::raft::{Membership, NodeId};
use crate::runtime::Placement;
use crate::storage::memory::MemoryStorage;
use crate::storage::{Start, Storage};
use crate::transport::{InProcessNetwork, NetworkOptions};

use super::builder::{Node, NodeBuilder};
use super::client::{Client, ClientOptions, Members};
use super::config::Config;
use super::errors::StartError;
use super::handle::Handle;
use super::status::NodeStatus;

type MakeMachine<M> = Arc<dyn Fn() -> M + Send + Sync>;
type MakeStorage = Arc<dyn Fn(NodeId) -> Box<dyn Storage> + Send + Sync>;

/// The settings of a cluster before it is started.
pub struct ClusterBuilder<M> {
    members: Vec<NodeId>,
    machine: MakeMachine<M>,
    storage: MakeStorage,
    config: Config,
    network: InProcessNetwork,
    placement: Placement,
}

impl<M: Machine> ClusterBuilder<M> {
    /// Sets the limits and times of every member.
    #[must_use]
    pub fn config(mut self, config: Config) -> ClusterBuilder<M> {
        self.config = config;
        self
    }

    /// Sets how to create the storage of a member; called at each of its starts. Default: in
    /// memory.
    #[must_use]
    pub fn storage<S: Storage>(
        mut self,
        storage: impl Fn(NodeId) -> S + Send + Sync + 'static,
    ) -> ClusterBuilder<M> {
        self.storage = Arc::new(move |node| Box::new(storage(node)));
        self
    }

    /// Sets the network between the members. Default: a network without faults.
    #[must_use]
    pub fn network(mut self, network: InProcessNetwork) -> ClusterBuilder<M> {
        self.network = network;
        self
    }

    /// Sets which threads the members' components run on. Default: [`Placement::peers_in_common`].
    #[must_use]
    pub fn placement(mut self, placement: Placement) -> ClusterBuilder<M> {
        self.placement = placement;
        self
    }

    /// Starts all members.
    pub async fn start(self) -> Result<Cluster<M>, StartError> {
        let delays = self.members.iter().map(|&node| (node, Delays::default())).collect();
        let cluster = Cluster {
            parts: self,
            nodes: tokio::sync::Mutex::default(),
            handles: Members::default(),
            delays,
        };
        for node in cluster.ids() {
            cluster.start_member(node).await?;
        }
        Ok(cluster)
    }
}

/// Several members in one process. All methods take `&self`: share it in an `Arc`.
pub struct Cluster<M: Machine> {
    parts: ClusterBuilder<M>,
    nodes: tokio::sync::Mutex<BTreeMap<NodeId, Node<M>>>,
    handles: Members<M>,
    delays: BTreeMap<NodeId, Delays>,
}

impl<M: Machine> Cluster<M> {
    /// A builder of a cluster of `size` members with ids from 0. `machine` makes each member's
    /// initial state machine.
    pub fn builder(
        size: u64,
        machine: impl Fn() -> M + Send + Sync + 'static,
    ) -> ClusterBuilder<M> {
        let disks: BTreeMap<NodeId, MemoryStorage> =
            (0..size).map(|node| (node, MemoryStorage::new())).collect();
        ClusterBuilder {
            members: (0..size).collect(),
            machine: Arc::new(machine),
            storage: Arc::new(move |node| Box::new(disks[&node].clone())),
            config: Config::default(),
            network: InProcessNetwork::new(NetworkOptions::default()),
            placement: Placement::peers_in_common(),
        }
    }

    /// The ids of all members, running or not, ascending.
    pub fn ids(&self) -> Vec<NodeId> {
        self.parts.members.clone()
    }

    /// Starts a stopped member. Does nothing if the member runs.
    pub async fn start_member(&self, node: NodeId) -> Result<(), StartError> {
        let mut nodes = self.nodes.lock().await;
        let Some(delays) = self.delays.get(&node) else {
            return Err(StartError::Incomplete("no such member in this cluster"));
        };
        if nodes.contains_key(&node) {
            return Ok(());
        }
        let parts = &self.parts;
        let builder = NodeBuilder::new(node, (parts.machine)())
            .config(parts.config.clone())
            .boxed_storage((parts.storage)(node))
            .transport(parts.network.endpoint(node))
            .start_mode(Start::Bootstrap(Membership::of_voters(parts.members.iter().copied())))
            .placement(parts.placement.clone())
            .with_delays(delays.clone());
        let started = builder.start().await?;
        self.handles.set(started.handle());
        nodes.insert(node, started);
        Ok(())
    }

    /// Stops a member in order. Does nothing if the member does not run.
    pub async fn stop_member(&self, node: NodeId) {
        let stopped = self.nodes.lock().await.remove(&node);
        if let Some(stopped) = stopped {
            stopped.shutdown().await;
        }
    }

    /// Ends a member like a crash of its process.
    #[cfg(feature = "testing")]
    pub async fn crash_member(&self, node: NodeId) {
        let crashed = self.nodes.lock().await.remove(&node);
        if let Some(crashed) = crashed {
            crashed.crash().await;
        }
    }

    /// A handle of the member's current start, or of its last one if it does not run.
    pub fn handle(&self, node: NodeId) -> Option<Handle<M>> {
        self.handles.get(node)
    }

    /// The member's status, or its last one if it does not run.
    pub fn status(&self, node: NodeId) -> Option<NodeStatus> {
        self.handle(node).map(|handle| handle.status())
    }

    /// Handles of all members; restarts update them.
    pub fn handles(&self) -> Members<M> {
        self.handles.clone()
    }

    /// A client with its own session.
    pub fn client(&self, options: ClientOptions) -> Client<M> {
        Client::new(self.handles.clone(), options)
    }

    /// The network between the members.
    pub fn network(&self) -> &InProcessNetwork {
        &self.parts.network
    }

    /// The artificial delays of a member's slow operations; restarts keep them.
    #[cfg(feature = "testing")]
    pub fn delays(&self, node: NodeId) -> Option<&Delays> {
        self.delays.get(&node)
    }

    /// Stops all members in order.
    pub async fn shutdown(&self) {
        for node in self.ids() {
            self.stop_member(node).await;
        }
    }
}
