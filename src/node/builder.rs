//! From a machine, a storage and a transport to a running node.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::actors::applier::Applier;
use crate::actors::apply_queue::ApplyQueue;
use crate::actors::clock::Clock;
use crate::actors::director::Director;
use crate::actors::lifeline::Lifeline;
use crate::actors::outlet::Outlet;
use crate::actors::peer::{Peer, PeerLinks, Times};
use crate::actors::persister::{Group, Persister};
use crate::actors::reader::Reader;
use crate::actors::shell::Slot;
use crate::actors::snapshotter::Snapshotter;
use crate::actors::ticker::{self, Outstanding};
use crate::actors::{
    ApplyGuard, ApplySide, DecodeState, Delays, Ends, Part, Placement, Places, Receiving,
};
use crate::machine::{Machine, Replica, decode_replica};
use crate::messages::{ApplyLink, Opaque, PeerMessage, SnapshotterMessage};
use crate::raft::{NodeId, Raft};
use crate::storage::{Identity, OpenedStorage, Start, Storage, StorageError};
use crate::transport::{Inbox, Transport};

use super::config::{Config, micros};
use super::errors::StartError;
use super::handle::{Handle, Limits};
use super::shared::Shared;

type MakeApplySide = Box<dyn FnOnce(ApplyLink) -> ApplySide + Send>;

/// Collects what a node is made of.
pub struct NodeBuilder<M> {
    node: NodeId,
    cluster: u64,
    machine: M,
    config: Config,
    storage: Option<Box<dyn Storage>>,
    transport: Option<Arc<dyn Transport>>,
    start: Start,
    placement: Placement,
    delays: Delays,
    apply_side: Option<MakeApplySide>,
}

impl<M: Machine> NodeBuilder<M> {
    /// The node `node`, whose state machine begins as `machine` when there is no snapshot to begin with.
    pub fn new(node: NodeId, machine: M) -> NodeBuilder<M> {
        NodeBuilder {
            node,
            cluster: 0,
            machine,
            config: Config::default(),
            storage: None,
            transport: None,
            start: Start::Open,
            placement: Placement::default(),
            delays: Delays::default(),
            apply_side: None,
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

    pub(crate) fn with_delays(mut self, delays: Delays) -> NodeBuilder<M> {
        self.delays = delays;
        self
    }

    /// Puts an own actor where the usual applier stands: see [`ApplyMessage`](crate::messages::ApplyMessage) for the
    /// contract. `make` gets the link to the node and returns where work is sent.
    #[must_use]
    pub fn apply_side(
        mut self,
        make: impl FnOnce(ApplyLink) -> ApplySide + Send + 'static,
    ) -> NodeBuilder<M> {
        self.apply_side = Some(Box::new(make));
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
        let (places, ends) = self.placement.open(self.node)?;
        let identity = Identity { cluster: self.cluster, node: self.node };
        let opened = match open(&places, storage, identity, self.start).await {
            Ok(opened) => opened,
            Err(error) => {
                places.exit();
                ends.join().await;
                return Err(error);
            }
        };
        let parts = Parts {
            identity,
            machine: self.machine,
            config: self.config,
            clock: self.placement.clock(),
            transport,
            delays: self.delays,
            apply_side: self.apply_side,
            places,
        };
        Ok(parts.assemble(opened, ends))
    }
}

/// Opens the storage on the persister's place: it may take long.
async fn open(
    places: &Places,
    storage: Box<dyn Storage>,
    identity: Identity,
    start: Start,
) -> Result<OpenedStorage, StartError> {
    let (to, opened) = tokio::sync::oneshot::channel();
    places.of(Part::Persister).run(move || {
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

/// Everything a node is assembled from, once its storage is open.
struct Parts<M> {
    identity: Identity,
    machine: M,
    config: Config,
    clock: Clock,
    transport: Arc<dyn Transport>,
    delays: Delays,
    apply_side: Option<MakeApplySide>,
    places: Places,
}

impl<M: Machine> Parts<M> {
    fn assemble(self, opened: OpenedStorage, ends: Ends) -> Node<M> {
        let Parts { identity, machine, config, clock, transport, delays, apply_side, places } =
            self;
        let Identity { cluster, node } = identity;
        let OpenedStorage { recovered, log, snapshots } = opened;
        let membership = recovered
            .snapshot
            .as_ref()
            .map_or_else(|| recovered.base.clone(), |meta| meta.membership.clone());
        let current = recovered.snapshot.as_ref().map(|meta| meta.log_id);
        let incarnation = recovered.incarnation;
        let raft = Raft::new(config.raft(cluster, node), recovered, clock.now());

        let (lifeline, stops) = Lifeline::new();
        let lifeline = Arc::new(lifeline);
        let shared =
            Arc::new(Shared::new(node, incarnation, lifeline.clone(), raft.status(), &config));
        let outlet = Outlet { transport: transport.clone(), shared: shared.clone() };

        let peer = Slot::<Peer>::new();
        let persister = Slot::<Persister>::new();
        let reader = Slot::<Reader>::new();
        let queue = Slot::<ApplyQueue>::new();
        let snapshotter = Slot::<Snapshotter>::new();

        let link = ApplyLink {
            peer: peer.recipient(),
            queue: queue.recipient(),
            snapshotter: snapshotter.recipient(),
            restores: current.is_some(),
            _guard: Arc::new(ApplyGuard(lifeline.clone())),
        };
        let sessions = config.sessions;
        let side = match apply_side {
            Some(make) => make(link),
            None => {
                let applier = Slot::<Applier<M>>::new();
                let recipient = applier.recipient();
                let place = places.of(Part::Applier).clone();
                let (own_place, delays, shared) = (place.clone(), delays.clone(), shared.clone());
                applier.start(&place, clock, lifeline.clone(), move || {
                    Applier::new(
                        Replica::new(machine, sessions, cluster),
                        link,
                        own_place,
                        delays,
                        shared,
                    )
                });
                let decode: DecodeState = Box::new(move |input| {
                    decode_replica::<M>(input, sessions, cluster).map(Opaque::new)
                });
                ApplySide { recipient, decode }
            }
        };
        let ApplySide { recipient: apply_side, decode } = side;

        let director = Director {
            node,
            transport: transport.clone(),
            peer: peer.recipient(),
            queue: queue.recipient(),
            apply_side: apply_side.clone(),
            snapshotter: snapshotter.recipient(),
            reader: reader.recipient(),
            persister: persister.recipient(),
            places: places.clone(),
        };
        let handle = Handle {
            peer: peer.recipient(),
            apply_side: apply_side.clone(),
            shared: shared.clone(),
            limits: Limits {
                command_bytes: config.command_bytes,
                timeout: config.proposal_timeout,
            },
            machine: PhantomData,
        };

        let role = Reader {
            log: log.reader(),
            snapshots: snapshots.reader(),
            peer: peer.recipient(),
            place: places.of(Part::Reader).clone(),
            delays: delays.clone(),
            shared: shared.clone(),
        };
        reader.start(places.of(Part::Reader), clock, lifeline.clone(), move || role);

        let role = ApplyQueue::new(apply_side.clone(), snapshotter.recipient(), shared.clone());
        queue.start(places.of(Part::Peer), clock, lifeline.clone(), move || role);

        let links = PeerLinks {
            persister: persister.recipient(),
            reader: director.reader.clone(),
            queue: director.queue.clone(),
            apply_side: apply_side.clone(),
            snapshotter: snapshotter.recipient(),
            outlet: outlet.clone(),
        };
        let times = Times {
            tick: micros(config.tick_interval),
            proposal_timeout: micros(config.proposal_timeout),
            idle: micros(config.heartbeat_interval),
        };
        let outstanding = Outstanding::default();
        let (peer_shared, peer_outstanding) = (shared.clone(), outstanding.clone());
        let peer_recipient = peer.recipient();
        peer.start(places.of(Part::Peer), clock, lifeline.clone(), move || {
            Peer::new(raft, links, peer_shared, clock, times, peer_outstanding)
        });

        let role = Persister {
            log,
            peer: peer_recipient.clone(),
            outlet,
            place: places.of(Part::Persister).clone(),
            clock,
            delays: delays.clone(),
            shared: shared.clone(),
            group: Group::default(),
        };
        persister.start(places.of(Part::Persister), clock, lifeline.clone(), move || role);

        if let Some(log_id) = current {
            snapshotter.recipient().do_send(SnapshotterMessage::Restore(log_id));
        }
        let role = Snapshotter {
            store: snapshots,
            decode,
            membership,
            receiving: Receiving::default(),
            current,
            received: None,
            peer: peer_recipient.clone(),
            apply_side,
            place: places.of(Part::Snapshotter).clone(),
            delays,
            shared: shared.clone(),
        };
        snapshotter.start(places.of(Part::Snapshotter), clock, lifeline.clone(), move || role);

        transport.attach(node, inbox(&handle));
        let tick = config.tick_interval;
        let ticker_lifeline = lifeline.clone();
        places.of(Part::Peer).run(move || {
            Box::pin(ticker::tick(tick, clock, outstanding, peer_recipient, ticker_lifeline))
        });
        places.of(Part::Peer).run(move || Box::pin(director.direct(stops)));
        Node {
            handle,
            transport,
            #[cfg(feature = "testing")]
            places,
            ends: Some(ends),
        }
    }
}

fn inbox<M: Machine>(handle: &Handle<M>) -> Inbox {
    let (peer, same_peer) = (handle.peer.clone(), handle.peer.clone());
    Inbox::new(
        move |envelope| peer.do_send(PeerMessage::Envelope(envelope)),
        move |to, id| same_peer.do_send(PeerMessage::Undelivered { to, id }),
    )
}

/// A running member. Dropping it stops the member in order, without waiting for the end; [`Node::shutdown`] waits.
pub struct Node<M: Machine> {
    handle: Handle<M>,
    transport: Arc<dyn Transport>,
    #[cfg(feature = "testing")]
    places: Places,
    ends: Option<Ends>,
}

impl<M: Machine> Node<M> {
    /// Talks to the node.
    pub fn handle(&self) -> Handle<M> {
        self.handle.clone()
    }

    /// Stops the node in order and waits until nothing of it is left: every waiter is answered, what is durable is sealed,
    /// its threads are joined, its storage is free again.
    pub async fn shutdown(mut self) {
        self.handle.shared.lifeline.stop();
        self.join().await;
    }

    /// Ends the node as the death of its process would: from this moment nothing it still does reaches the disk or another
    /// member; nothing is finished or sealed. Returns when its storage is free again.
    #[cfg(feature = "testing")]
    pub async fn crash(mut self) {
        self.handle.shared.lifeline.fence();
        self.transport.detach(self.handle.node());
        self.places.exit();
        self.join().await;
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
            self.handle.shared.lifeline.stop();
        }
    }
}
