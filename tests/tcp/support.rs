//! Three nodes on the loopback interface, and waiting for conditions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use quorate::machine::{Increment, WordCount};
use quorate::node::{
    Client, ClientOptions, Config, Consistency, Members, Node, NodeBuilder, NodeStatus,
};
use quorate::raft::{Membership, NodeId, Role};
use quorate::storage::Start;
use quorate::storage::memory::MemoryStorage;
use quorate::transport::{TcpOptions, TcpTransport};
use tokio::time::{Instant, sleep};

pub const CLUSTER: u64 = 42;

/// Short times, and limits that a few hundred commands reach.
pub fn quick() -> Config {
    Config {
        heartbeat_interval: Duration::from_millis(20),
        election_timeout_min: Duration::from_millis(150),
        election_timeout_max: Duration::from_millis(300),
        request_timeout: Duration::from_millis(150),
        tick_interval: Duration::from_millis(5),
        ..Config::default()
    }
    .with_snapshot_bytes(16 << 10)
}

/// The same, but for election timeouts: a busy machine alone deposes no leader.
pub fn patient() -> Config {
    Config {
        election_timeout_min: Duration::from_secs(3),
        election_timeout_max: Duration::from_secs(4),
        request_timeout: Duration::from_secs(2),
        ..quick()
    }
}

/// Times that a test can wait for, and a busy machine keeps.
pub fn options(node: NodeId) -> TcpOptions {
    TcpOptions {
        handshake_timeout: Duration::from_secs(2),
        frame_timeout: Duration::from_secs(2),
        alive_interval: Duration::from_millis(200),
        dead_after: Duration::from_secs(4),
        retry_max: Duration::from_millis(200),
        ..TcpOptions::new(node, CLUSTER, BTreeMap::new())
    }
}

/// A wire on which nothing passes for as long as the test wants is not taken for a dead one, and
/// what waits for it is not given up.
pub fn hold(options: &mut TcpOptions) {
    let long = Duration::from_secs(600);
    (options.frame_timeout, options.dead_after, options.outbox_age) = (long, long, long);
}

/// Waits until `done`, and says what it waited for if that takes too long.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// One place where a member can run, again and again, at one address.
pub struct Home {
    pub address: SocketAddr,
    disk: MemoryStorage,
    transport: Option<TcpTransport>,
    node: Option<Node<WordCount>>,
}

/// Members 1 to n.
pub struct World {
    pub homes: BTreeMap<NodeId, Home>,
    pub handles: Members<WordCount>,
    config: Config,
    change: fn(&mut TcpOptions),
}

impl World {
    /// Starts `size` members on free ports.
    pub async fn start(size: u64) -> World {
        World::start_with(size, quick(), |_| ()).await
    }

    pub async fn start_with(size: u64, config: Config, change: fn(&mut TcpOptions)) -> World {
        let mut world = World::unconnected(size, config, change);
        world.connect();
        for node in world.ids() {
            world.start_node(node).await;
        }
        world
    }

    /// Transports that listen and know nobody.
    pub fn unconnected(size: u64, config: Config, change: fn(&mut TcpOptions)) -> World {
        let homes = (1..=size).map(|node| {
            let mut options = options(node);
            change(&mut options);
            let transport = TcpTransport::bind(options).expect("a free port");
            let address = transport.local_addr();
            let disk = MemoryStorage::new();
            (node, Home { address, disk, transport: Some(transport), node: None })
        });
        World { homes: homes.collect(), handles: Members::default(), config, change }
    }

    /// Tells everybody everybody's address.
    pub fn connect(&self) {
        for home in self.homes.values() {
            for (&node, other) in &self.homes {
                home.transport().set_peer(node, other.address.to_string());
            }
        }
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.homes.keys().copied().collect()
    }

    pub fn transport(&self, node: NodeId) -> &TcpTransport {
        self.homes[&node].transport()
    }

    /// Starts a member, on its old port if its transport is gone too.
    pub async fn start_node(&mut self, node: NodeId) {
        let peers: BTreeMap<NodeId, String> =
            self.homes.iter().map(|(&node, home)| (node, home.address.to_string())).collect();
        let members = Membership::of_voters(self.ids());
        let home = self.homes.get_mut(&node).expect("a home");
        if home.transport.is_none() {
            let mut options = options(node);
            (options.listen, options.peers) = (home.address.to_string(), peers);
            (self.change)(&mut options);
            home.transport = Some(TcpTransport::bind(options).expect("the old port is free again"));
        }
        let builder = NodeBuilder::new(node, WordCount::default())
            .cluster(CLUSTER)
            .config(self.config.clone())
            .storage(home.disk.clone())
            .transport(home.transport().clone())
            .start_mode(Start::Bootstrap(members));
        let started = builder.start().await.expect("a node starts");
        self.handles.set(started.handle());
        home.node = Some(started);
    }

    /// Stops a member; its transport goes on and refuses callers.
    pub async fn stop_node(&mut self, node: NodeId) {
        let home = self.homes.get_mut(&node).expect("a home");
        home.node.take().expect("it runs").shutdown().await;
    }

    /// Stops a member and everything of it.
    pub async fn stop_all_of(&mut self, node: NodeId) {
        self.stop_node(node).await;
        let home = self.homes.get_mut(&node).expect("a home");
        home.transport.take().expect("it is there").shutdown().await;
    }

    pub fn client(&self) -> Client<WordCount> {
        Client::new(self.handles.clone(), ClientOptions::default())
    }

    pub fn status(&self, node: NodeId) -> NodeStatus {
        self.handles.get(node).expect("it was started").status()
    }

    pub fn leader_now(&self) -> Option<NodeId> {
        let running = self.homes.iter().filter(|(_, home)| home.node.is_some());
        let statuses = running.map(|(&node, _)| self.status(node));
        let leaders = statuses.filter(|status| status.raft.role == Role::Leader);
        leaders.max_by_key(|status| status.raft.term).map(|status| status.node)
    }

    pub async fn leader(&self) -> NodeId {
        until("somebody leads", || self.leader_now().is_some()).await;
        self.leader_now().expect("just found")
    }

    /// A running member that does not lead.
    pub async fn follower(&self) -> NodeId {
        let leader = self.leader().await;
        *self.homes.iter().find(|(id, home)| **id != leader && home.node.is_some()).expect("one").0
    }

    /// Waits until every running member has counted `word` so often.
    pub async fn all_have(&self, word: &str, times: u64) {
        for (&node, home) in &self.homes {
            while home.node.is_some() && self.counted(node, word).await < times {
                sleep(Duration::from_millis(1)).await;
            }
        }
    }

    async fn counted(&self, node: NodeId, word: &str) -> u64 {
        let word = word.as_bytes().to_vec();
        let handle = self.handles.get(node).expect("it was started");
        handle.read(Consistency::Local, move |state| state.get(&word)).await.expect("a local read")
    }

    /// Nobody saw what a correct cluster never shows; then everything ends.
    pub async fn end(mut self) {
        for node in self.ids() {
            if self.homes[&node].node.is_some() {
                let status = self.status(node);
                assert_eq!((status.fatal, status.raft.counters.safety_alarms), (None, 0), "{node}");
                self.stop_all_of(node).await;
            }
        }
    }
}

impl Home {
    fn transport(&self) -> &TcpTransport {
        self.transport.as_ref().expect("it is there")
    }
}

pub async fn count(client: &Client<WordCount>, word: &str, times: u64) {
    for _ in 0..times {
        client.execute(Increment { word: word.into() }).await.expect("counted");
    }
}
