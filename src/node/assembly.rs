//! Connects a node's actors: each gets the addresses of the others before any of them exists.
//!
//! This file makes no decisions. [`Component`] defines where each actor runs, [`Shutdown`] the
//! order in which they end.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::Arc;

use actix::Recipient;

use crate::actors::applier::Applier;
use crate::actors::apply_queue::ApplyQueue;
use crate::actors::context::NodeContext;
use crate::actors::fenced_sender::FencedSender;
use crate::actors::peer::ticker::{self, TickTimer};
use crate::actors::peer::{PeerLinks, RaftPeer, Times};
use crate::actors::persister::{Group, Persister, PersisterLinks};
use crate::actors::postponed::{Pause, Postponed};
use crate::actors::reader::Reader;
use crate::actors::shutdown::{Activities, Shutdown};
use crate::actors::snapshotter::Snapshotter;
use crate::actors::{ApplySide, DecodeState, Delays, Observer, Receiving};
use crate::machine::{Machine, Replica, check_command, decode_replica};
use crate::messages::{
    AppliedMark, ApplyGuard, ApplyLink, ApplyMessage, ApplyQueueAddress, BoxedState, Deliver,
    PeerAddress, PersisterAddress, Proposals, ProposalsEnd, ReaderAddress, RestoreState,
    RetryReads, RetrySnapshotJobs, SnapshotterAddress, Undelivered,
};
use crate::raft::{LogId, Membership, Micros, Raft, Recovered};
use crate::runtime::clock::Clock;
use crate::runtime::shell::{Behaviour, UnstartedActor};
use crate::runtime::stop_signal::StopSignal;
use crate::runtime::{Component, Executor, Executors, JoinHandles};
use crate::storage::{Identity, LogReader, LogStore, OpenedStorage, SnapshotReader, SnapshotStore};
use crate::transport::{Inbox, Transport};

use super::builder::{Applying, Node};
use super::config::{Config, micros};
use super::handle::{CommandCheck, Handle, Limits};

/// A log without requests for this many heartbeat intervals is idle and is sealed. The time is long
/// enough that few writes are followed by a seal each.
const IDLE_HEARTBEATS: Micros = 10;

/// The parts of a node whose storage is open.
pub(super) struct Parts<M> {
    pub(super) identity: Identity,
    pub(super) applying: Applying<M>,
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) delays: Delays,
    pub(super) observer: Observer,
    pub(super) executors: Executors,
}

impl<M: Machine> Parts<M> {
    /// Starts all actors.
    pub(super) fn assemble(self, opened: OpenedStorage, ends: JoinHandles) -> Node<M> {
        let Parts { identity, applying, config, clock, transport, delays, observer, executors } =
            self;
        let OpenedStorage { recovered, log, snapshots } = opened;
        let origin = Origin::of(&recovered);
        let incarnation = recovered.life.incarnation;
        let raft = Raft::new(config.raft(identity.cluster, identity.node), recovered, clock.now());
        let members = &raft.status().membership;
        if !members.contains(identity.node) {
            let node = identity.node;
            tracing::warn!(node, %members, "this node is no member of its cluster: it follows, and never leads or votes");
        }

        let (stop_signal, stops) = StopSignal::new();
        let shared = NodeContext::new(
            identity.node,
            incarnation,
            Arc::new(stop_signal),
            raft.status(),
            config.proposals_in_flight,
            config.reads_in_flight,
        );
        let site = Site {
            identity,
            config,
            clock,
            executors,
            delays,
            transport,
            shared: Arc::new(shared),
            activities: Activities::default(),
        };
        let slots = Slots::new();
        let addresses = slots.addresses();
        let link = addresses.apply_link(origin.snapshot.is_some(), &site);
        let (side, understands) = match applying {
            Applying::Own(make) => (make(link), None),
            Applying::Machine(machine) => {
                let understands: CommandCheck = check_command::<M>;
                (site.start_applier(machine, link, &observer), Some(understands))
            }
        };
        let ApplySide { recipient: apply_side, decode } = side;
        let (proposals, proposed) = Proposals::new(addresses.peer.clone());
        let handle = site.handle(&addresses, proposals, &apply_side, understands);
        let shutdown = site.shutdown(&addresses, &apply_side);

        site.start_reader(slots.reader, &addresses, log.reader(), snapshots.reader());
        site.start_snapshotter(
            slots.snapshotter,
            &addresses,
            &apply_side,
            snapshots,
            (decode, std::any::type_name::<M>()),
            origin,
        );
        site.start_persister(slots.persister, &addresses, log);
        site.start_queue(slots.queue, &addresses, &apply_side);
        site.start_peer(slots.peer, &addresses, apply_side, raft, proposed, observer);
        let inbox = inbox(addresses.peer).of_incarnation(incarnation);
        site.transport.attach(identity.node, inbox);
        site.executors.of(Component::Peer).run(move || Box::pin(shutdown.run(stops)));
        Node {
            handle,
            transport: site.transport,
            #[cfg(feature = "testing")]
            executors: site.executors,
            ends: Some(ends),
        }
    }
}

/// The part of the recovered state that the snapshotter needs.
struct Origin {
    snapshot: Option<LogId>,
    membership: Membership,
}

impl Origin {
    fn of(recovered: &Recovered) -> Origin {
        match &recovered.snapshot {
            Some(meta) => {
                Origin { snapshot: Some(meta.log_id), membership: meta.membership.clone() }
            }
            None => Origin { snapshot: None, membership: recovered.base.clone() },
        }
    }
}

/// The mailboxes of the actors that are not started yet.
struct Slots {
    peer: UnstartedActor<RaftPeer>,
    persister: UnstartedActor<Persister>,
    reader: UnstartedActor<Reader>,
    queue: UnstartedActor<ApplyQueue>,
    snapshotter: UnstartedActor<Snapshotter>,
}

impl Slots {
    fn new() -> Slots {
        Slots {
            peer: UnstartedActor::new(),
            persister: UnstartedActor::new(),
            reader: UnstartedActor::new(),
            queue: UnstartedActor::new(),
            snapshotter: UnstartedActor::new(),
        }
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            peer: Arc::new(self.peer.address()),
            persister: Arc::new(self.persister.address()),
            reader: Arc::new(self.reader.address()),
            queue: Arc::new(self.queue.address()),
            snapshotter: Arc::new(self.snapshotter.address()),
            applied: AppliedMark::new(),
        }
    }
}

/// The addresses of the node's actors.
struct Addresses {
    peer: PeerAddress,
    persister: PersisterAddress,
    reader: ReaderAddress,
    queue: ApplyQueueAddress,
    snapshotter: SnapshotterAddress,
    /// How far the apply side has applied.
    applied: Arc<AppliedMark>,
}

impl Addresses {
    fn apply_link(&self, restores: bool, site: &Site) -> ApplyLink {
        ApplyLink {
            peer: self.peer.clone(),
            queue: self.queue.clone(),
            snapshotter: self.snapshotter.clone(),
            restores,
            mark: self.applied.clone(),
            _guard: Arc::new(ApplyGuard(site.shared.stop_signal.clone())),
        }
    }
}

/// The context that all actors of the node share.
struct Site {
    identity: Identity,
    config: Config,
    clock: Clock,
    executors: Executors,
    delays: Delays,
    transport: Arc<dyn Transport>,
    shared: Arc<NodeContext>,
    /// The current activity of each actor.
    activities: Activities,
}

impl Site {
    fn executor(&self, part: Component) -> Executor {
        self.executors.of(part).clone()
    }

    fn sender(&self) -> FencedSender {
        FencedSender { transport: self.transport.clone(), shared: self.shared.clone() }
    }

    fn start<R: Behaviour>(
        &self,
        slot: UnstartedActor<R>,
        part: Component,
        make: impl FnOnce() -> R + Send + 'static,
    ) {
        self.activities.lock().push((part, slot.activity()));
        slot.start(
            self.executors.of(part),
            self.clock.clone(),
            self.shared.stop_signal.clone(),
            make,
        );
    }

    fn handle<M>(
        &self,
        addresses: &Addresses,
        proposals: Proposals,
        apply_side: &Recipient<ApplyMessage>,
        understands: Option<CommandCheck>,
    ) -> Handle<M> {
        Handle {
            peer: addresses.peer.clone(),
            proposals,
            apply_side: apply_side.clone(),
            shared: self.shared.clone(),
            limits: Limits {
                command_bytes: self.config.command_bytes,
                timeout: micros(self.config.proposal_timeout),
            },
            understands,
            clock: self.clock.clone(),
            machine: PhantomData,
        }
    }

    fn shutdown(&self, addresses: &Addresses, apply_side: &Recipient<ApplyMessage>) -> Shutdown {
        Shutdown {
            node: self.identity.node,
            transport: self.transport.clone(),
            stop_signal: self.shared.stop_signal.clone(),
            peer: addresses.peer.clone(),
            queue: addresses.queue.clone(),
            apply_side: apply_side.clone(),
            snapshotter: addresses.snapshotter.clone(),
            reader: addresses.reader.clone(),
            persister: addresses.persister.clone(),
            executors: self.executors.clone(),
            shared: self.shared.clone(),
            patience: self.config.shutdown_timeout,
            activities: self.activities.clone(),
        }
    }

    /// Starts the default apply side.
    fn start_applier<M: Machine>(
        &self,
        machine: M,
        link: ApplyLink,
        observer: &Observer,
    ) -> ApplySide {
        let observer = observer.clone();
        let (sessions, cluster) = (self.config.sessions, self.identity.cluster);
        let slot = UnstartedActor::<Applier<M>>::new();
        let recipient = slot.address().recipient();
        let (executor, delays, shared) =
            (self.executor(Component::Applier), self.delays.clone(), self.shared.clone());
        self.start(slot, Component::Applier, move || {
            let replica = Replica::new(machine, sessions, cluster);
            Applier::new(replica, link, executor, delays, shared, observer)
        });
        let decode: DecodeState = Box::new(move |input| {
            let replica = decode_replica::<M>(input, sessions, cluster)?;
            Ok(BoxedState::state_behind(replica.applied(), replica))
        });
        ApplySide { recipient, decode }
    }

    fn start_reader(
        &self,
        slot: UnstartedActor<Reader>,
        addresses: &Addresses,
        log: Box<dyn LogReader>,
        snapshots: Box<dyn SnapshotReader>,
    ) {
        let own = addresses.reader.clone();
        let reader = Reader {
            log,
            snapshots,
            peer: addresses.peer.clone(),
            executor: self.executor(Component::Reader),
            delays: self.delays.clone(),
            shared: self.shared.clone(),
            wanted: self.postponed(Component::Reader, move || own.send(RetryReads)),
        };
        self.start(slot, Component::Reader, move || reader);
    }

    /// A retry of the actor's work for the case that no file can be opened.
    fn postponed<W>(
        &self,
        part: Component,
        end: impl Fn() + Send + Sync + 'static,
    ) -> Postponed<W> {
        let (lasts, executor) = (self.config.retry_interval, self.executor(part));
        Postponed::new(Pause { lasts, executor, end: Arc::new(end) })
    }

    /// Decodes the snapshot that the node starts from before anything else (A72, A74).
    fn start_snapshotter(
        &self,
        slot: UnstartedActor<Snapshotter>,
        addresses: &Addresses,
        apply_side: &Recipient<ApplyMessage>,
        store: Box<dyn SnapshotStore>,
        (decode, machine): (DecodeState, &'static str),
        origin: Origin,
    ) {
        if let Some(log_id) = origin.snapshot {
            addresses.snapshotter.send(RestoreState(log_id));
        }
        let own = addresses.snapshotter.clone();
        let snapshotter = Snapshotter {
            store,
            decode,
            machine,
            membership: origin.membership,
            receiving: Receiving::default(),
            current: origin.snapshot,
            made: BTreeSet::new(),
            received: None,
            peer: addresses.peer.clone(),
            apply_side: apply_side.clone(),
            executor: self.executor(Component::Snapshotter),
            delays: self.delays.clone(),
            shared: self.shared.clone(),
            asked: self.postponed(Component::Snapshotter, move || own.send(RetrySnapshotJobs)),
        };
        self.start(slot, Component::Snapshotter, move || snapshotter);
    }

    fn start_persister(
        &self,
        slot: UnstartedActor<Persister>,
        addresses: &Addresses,
        log: Box<dyn LogStore>,
    ) {
        let persister = Persister {
            log,
            links: PersisterLinks {
                peer: addresses.peer.clone(),
                sender: self.sender(),
                clock: self.clock.clone(),
                shared: self.shared.clone(),
            },
            executor: self.executor(Component::Persister),
            delays: self.delays.clone(),
            group: Group::default(),
            failed: false,
        };
        self.start(slot, Component::Persister, move || persister);
    }

    fn start_queue(
        &self,
        slot: UnstartedActor<ApplyQueue>,
        addresses: &Addresses,
        apply_side: &Recipient<ApplyMessage>,
    ) {
        let queue =
            ApplyQueue::new(apply_side.clone(), addresses.snapshotter.clone(), self.shared.clone());
        self.start(slot, Component::Applier, move || queue);
    }

    fn start_peer(
        &self,
        slot: UnstartedActor<RaftPeer>,
        addresses: &Addresses,
        apply_side: Recipient<ApplyMessage>,
        raft: Raft,
        proposals: ProposalsEnd,
        observer: Observer,
    ) {
        let links = PeerLinks {
            proposals,
            applied: addresses.applied.clone(),
            persister: addresses.persister.clone(),
            reader: addresses.reader.clone(),
            queue: addresses.queue.clone(),
            apply_side,
            snapshotter: addresses.snapshotter.clone(),
            sender: self.sender(),
        };
        let times = Times {
            tick: micros(self.config.tick_interval),
            stall: micros(self.config.heartbeat_interval) / 2,
            proposal_timeout: micros(self.config.proposal_timeout),
            idle: IDLE_HEARTBEATS * micros(self.config.heartbeat_interval),
        };
        let tick_timer = TickTimer::default();
        let (shared, clock, seen) = (self.shared.clone(), self.clock.clone(), tick_timer.clone());
        self.start(slot, Component::Peer, move || {
            RaftPeer::new(raft, links, shared, clock, observer, times, seen)
        });

        let (peer, stop_signal, every) =
            (addresses.peer.clone(), self.shared.stop_signal.clone(), self.config.tick_interval);
        let clock = self.clock.clone();
        self.executors
            .of(Component::Peer)
            .run(move || Box::pin(ticker::tick(every, clock, tick_timer, peer, stop_signal)));
    }
}

fn inbox(peer: PeerAddress) -> Inbox {
    let same_peer = peer.clone();
    Inbox::with_receipts(
        move |envelope, receipt| peer.send(Deliver { envelope, receipt }),
        move |to, id| same_peer.send(Undelivered { to, id }),
    )
}
