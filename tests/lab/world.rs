//! A cluster in virtual time: peers that crash and start, their disks, their services, and the network between them.
//!
//! A peer is a whole node of the library with all its actors, on a disk in memory that outlives it, and with the test's own
//! [service](crate::service) as its apply side. Scenarios say what happens to peers; time passes only where they wait.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use quorate::actors::{Delays, Observer};
use quorate::machine::NoMachine;
use quorate::node::{Config, Handle, Node, NodeBuilder, Proposal};
use quorate::raft::{Counters, LogId, Membership, NodeId, Role, Term};
use quorate::runtime::Placement;
use quorate::storage::Start;
use tokio::time::Instant;

use crate::command::Command;
use crate::dice::Dice;
use crate::disk::Disk;
use crate::invariants::Watch;
use crate::ledger::Ledger;
use crate::network::Network;
use crate::service::ServiceParts;

/// The one configuration of all scenarios: the services take snapshots by themselves.
pub fn config() -> Config {
    Config::sparing()
}

/// What kind of world a scenario wants.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How many peers.
    pub peers: usize,
    /// Whether the network is reliable, to begin with.
    pub reliable: bool,
    /// Whether services take snapshots.
    pub snapshots: bool,
    /// Whether disks and snapshots take time, and how much; each life of a peer has times of its own.
    pub slow: Option<Slowness>,
}

/// What slow work takes at most, in milliseconds. In every other life it takes no time.
#[derive(Clone, Copy, Debug)]
pub struct Slowness {
    /// A write or read of a disk.
    pub disk_ms: u64,
    /// Encoding or decoding a snapshot.
    pub snapshot_ms: u64,
}

/// The world. Clones are the same one; see [`World::aside`].
#[derive(Clone)]
pub struct World {
    shared: Rc<Shared>,
    /// Whether this one's waiting is the scenario's main line.
    main_line: bool,
}

struct Shared {
    terms: Terms,
    config: Config,
    placement: Placement,
    network: Network,
    ledger: Ledger,
    watch: Watch,
    peers: Vec<Slot>,
    dice: RefCell<Dice>,
    began: Instant,
    waited: Cell<Duration>,
    /// Counts of ended lives.
    former: Cell<Counters>,
}

struct Slot {
    disk: Disk,
    node: RefCell<Option<Node<NoMachine>>>,
    handle: RefCell<Option<Handle<NoMachine>>>,
}

impl World {
    /// All peers started and connected.
    pub async fn start_all(terms: Terms, seed: u64) -> World {
        World::start_with(config(), terms, seed).await
    }

    /// The same with another configuration.
    pub async fn start_with(config: Config, terms: Terms, seed: u64) -> World {
        let watch = Watch::new(terms.peers);
        let network = Network::new(terms.peers, terms.reliable, Dice::new(seed, 1), watch.clone());
        let slot = |peer| Slot {
            disk: Disk::new(peer, watch.clone()),
            node: RefCell::default(),
            handle: RefCell::default(),
        };
        let shared = Shared {
            config: Config { seed, ..config },
            placement: Placement::virtual_time(),
            network,
            ledger: Ledger::new(terms.peers, watch.clone()),
            peers: (0..terms.peers).map(slot).collect(),
            watch,
            dice: RefCell::new(Dice::new(seed, 2)),
            began: Instant::now(),
            waited: Cell::default(),
            former: Cell::default(),
            terms,
        };
        let world = World { shared: Rc::new(shared), main_line: true };
        for peer in world.all() {
            world.start(peer).await;
            world.connect(peer);
        }
        world
    }

    /// The same world for something that runs beside the scenario: its waits are not the scenario's.
    pub fn aside(&self) -> World {
        World { main_line: false, ..self.clone() }
    }

    // ---- peers ---------------------------------------------------------------------------

    /// How many peers there are.
    pub fn size(&self) -> usize {
        self.shared.peers.len()
    }

    /// All of them.
    pub fn all(&self) -> std::ops::Range<usize> {
        0..self.size()
    }

    /// The peer so many places behind `peer`.
    pub fn after(&self, peer: usize, places: usize) -> usize {
        (peer + places) % self.size()
    }

    /// Whether a peer has an instance.
    pub fn lives(&self, peer: usize) -> bool {
        self.shared.peers[peer].node.borrow().is_some()
    }

    /// Ends a peer as the death of its process would. What it saved before stays.
    pub async fn crash(&self, peer: usize) {
        self.disconnect(peer);
        let slot = &self.shared.peers[peer];
        let handle = slot.handle.borrow_mut().take();
        if let Some(handle) = handle {
            self.inspect(&handle);
            let mut former = self.shared.former.get();
            former.add(&handle.status().raft.counters);
            self.shared.former.set(former);
        }
        let node = slot.node.borrow_mut().take();
        if let Some(node) = node {
            node.crash().await;
        }
    }

    /// A node that has stopped by itself is a breach, whatever the scenario sees of it.
    fn inspect(&self, handle: &Handle<NoMachine>) {
        let status = handle.status();
        if let Some(why) = status.fatal {
            self.shared.watch.breach(format!("node {} has stopped: {why}", status.node));
        }
        if status.raft.counters.safety_alarms > 0 {
            self.shared.watch.breach(format!("node {} has raised an alarm", status.node));
        }
    }

    /// A new instance on the peer's disk; it is not connected. One that lives is crashed before.
    pub async fn start(&self, peer: usize) {
        self.crash(peer).await;
        let Shared { terms, config, placement, network, ledger, watch, peers, .. } = &*self.shared;
        let life = ledger.begin(peer);
        let (ledger, watching) = (ledger.clone(), watch.clone());
        let service =
            ServiceParts { peer, life, ledger, watch: watch.clone(), snapshots: terms.snapshots };
        let delays = self.delays();
        let members = Membership::of_voters((0..self.size()).map(|peer| peer as NodeId));
        let builder = NodeBuilder::with_apply_side(peer as NodeId, move |link| service.start(link))
            .config(config.clone())
            .storage(peers[peer].disk.delayed(&delays))
            .transport(network.clone())
            .start_mode(Start::Bootstrap(members))
            .placement(placement.clone())
            .delays(delays)
            .observer(Observer::new(move |observation| watching.observed(observation)));
        let node = builder.start().await.expect("a node starts on its own disk");
        *peers[peer].handle.borrow_mut() = Some(node.handle());
        *peers[peer].node.borrow_mut() = Some(node);
    }

    /// Of one life of a peer.
    fn delays(&self) -> Delays {
        let delays = Delays::default();
        if let Some(Slowness { disk_ms, snapshot_ms }) = self.shared.terms.slow {
            let up_to = |most| Duration::from_millis(self.between(0, 1) * self.between(0, most));
            delays.set_fsync(up_to(disk_ms));
            delays.set_read(up_to(disk_ms));
            delays.set_decode(up_to(snapshot_ms));
            delays.set_encode(up_to(snapshot_ms));
        }
        delays
    }

    /// A peer's process stands still for so long: what comes for it waits.
    pub fn pause(&self, peer: usize, millis: u64) {
        let node = self.shared.peers[peer].node.borrow();
        node.iter().for_each(|node| node.pause(Duration::from_millis(millis)));
    }

    /// Links of a peer work again.
    pub fn connect(&self, peer: usize) {
        self.shared.network.connect(peer);
    }

    /// Links of a peer are cut.
    pub fn disconnect(&self, peer: usize) {
        self.shared.network.disconnect(peer);
    }

    /// Whether a peer is connected.
    pub fn is_connected(&self, peer: usize) -> bool {
        self.shared.network.is_connected(peer)
    }

    /// Those that are connected.
    pub fn connected(&self) -> Vec<usize> {
        self.all().filter(|peer| self.is_connected(*peer)).collect()
    }

    // ---- asking a peer -------------------------------------------------------------------

    /// Term, and whether it leads. Nothing of a dead one.
    pub fn state(&self, peer: usize) -> Option<(Term, bool)> {
        let raft = self.handle(peer)?.status().raft;
        Some((raft.term, raft.role == Role::Leader))
    }

    /// `Start(command)` at a peer: where it is in the peer's log now, if the peer leads.
    pub async fn start_at(&self, peer: usize, command: impl Into<Command>) -> Option<LogId> {
        let mut proposal = self.submit(peer, &command.into())?;
        proposal.appended().await
    }

    /// Several one after the other. `Start` is over before anything is sent, so they are in the peer's mailbox together.
    pub async fn start_many(&self, peer: usize, commands: &[Command]) -> Vec<Option<LogId>> {
        let proposals: Vec<_> = commands.iter().map(|command| self.submit(peer, command)).collect();
        let mut appended = Vec::new();
        for proposal in proposals {
            appended.push(match proposal {
                Some(mut proposal) => proposal.appended().await,
                None => None,
            });
        }
        appended
    }

    fn submit(&self, peer: usize, command: &Command) -> Option<Proposal<NoMachine>> {
        self.handle(peer)?.submit_data(command.encode()).ok()
    }

    fn handle(&self, peer: usize) -> Option<Handle<NoMachine>> {
        self.shared.peers[peer].handle.borrow().clone()
    }

    /// How many peers have applied `index`, and the command.
    pub fn committed(&self, index: u64) -> (usize, Option<Command>) {
        self.shared.ledger.committed(index)
    }

    /// Bytes of the largest saved state.
    pub fn largest_state_bytes(&self) -> usize {
        self.shared.watch.largest_state_bytes()
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.shared.network
    }

    // ---- chance and time -----------------------------------------------------------------

    /// A number from `first` to `last`.
    pub fn between(&self, first: u64, last: u64) -> u64 {
        self.shared.dice.borrow_mut().between(first, last)
    }

    /// True so often in a hundred.
    pub fn percent(&self, share: u64) -> bool {
        self.shared.dice.borrow_mut().percent(share)
    }

    /// Any peer.
    pub fn any_peer(&self) -> usize {
        self.between(0, self.size() as u64 - 1) as usize
    }

    /// A random command, as wide as a Go `int`.
    pub fn any_command(&self) -> Command {
        Command::Number(self.shared.dice.borrow_mut().roll() >> 1)
    }

    /// Waits as the script says, whatever the peers do.
    pub async fn sleep(&self, millis: u64) {
        let time = Duration::from_millis(millis);
        if self.main_line {
            self.shared.waited.set(self.shared.waited.get() + time);
        }
        self.wait_more(millis).await;
    }

    /// Waits because the peers are not yet where the script wants them.
    pub async fn wait_more(&self, millis: u64) {
        self.check();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        self.check();
    }

    /// The scenario ends here if anything was wrong.
    pub fn check(&self) {
        if let Some(breach) = self.shared.watch.first_breach() {
            panic!("{breach}");
        }
    }

    // ---- the end -------------------------------------------------------------------------

    /// The scenario is over, well or not: whatever is wrong with a peer comes before what the script says of it.
    pub fn inspect_all(&self) {
        self.all().filter_map(|peer| self.handle(peer)).for_each(|handle| self.inspect(&handle));
        self.check();
    }

    /// Ends all peers; what the run has cost.
    pub async fn finish(&self) -> Figures {
        let took = self.shared.began.elapsed();
        let traffic = self.shared.network.traffic();
        for peer in self.all() {
            self.crash(peer).await;
        }
        self.check();
        let counters = self.shared.former.get();
        Figures {
            seconds: took.as_secs_f64(),
            waits: self.shared.waited.get().as_secs_f64(),
            rpcs: traffic.rpcs,
            bytes: traffic.bytes,
            commands: self.shared.ledger.highest(),
            transfers: counters.snapshots_sent,
            installs: counters.installs_granted,
            refusals: counters.installs_refused,
            elections: counters.elections_won,
        }
    }
}

/// What a run has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Virtual time.
    pub seconds: f64,
    /// The part of it that the script waits whatever the peers do.
    pub waits: f64,
    /// Requests.
    pub rpcs: u64,
    /// Bytes of requests and handed-over answers.
    pub bytes: u64,
    /// The highest index applied.
    pub commands: u64,
    /// Snapshots sent to their end.
    pub transfers: u64,
    /// Offered snapshots that were taken.
    pub installs: u64,
    /// Offered snapshots that were refused or withdrawn: the peer had committed past them.
    pub refusals: u64,
    /// Elections won.
    pub elections: u64,
}
