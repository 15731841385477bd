//! Putting a node's actors together: each is given the others' addresses before any of them exists.
//!
//! Nothing is decided here. What is started where says [`Part`]; in which order things end says
//! [`Director`].

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::Arc;

use actix::Recipient;

use crate::actors::applier::Applier;
use crate::actors::apply_queue::ApplyQueue;
use crate::actors::context::NodeContext;
use crate::actors::director::{Activities, Director};
use crate::actors::outlet::Outlet;
use crate::actors::peer::ticker::{self, Alarm};
use crate::actors::peer::{Peer, PeerLinks, Times};
use crate::actors::persister::{Group, Persister, PersisterLinks};
use crate::actors::postponed::{Pause, Postponed};
use crate::actors::reader::Reader;
use crate::actors::snapshotter::Snapshotter;
use crate::actors::{ApplySide, DecodeState, Delays, Observer, Receiving};
use crate::machine::{Machine, Replica, check_command, decode_replica};
use crate::messages::ApplyGuard;
use crate::messages::{
    AppliedMark, ApplyLink, ApplyMessage, ApplyQueueMessage, Opaque, PeerMessage, PersisterMessage,
    Proposals, ProposalsEnd, ReaderMessage, SnapshotterMessage,
};
use crate::raft::{LogId, Membership, Micros, Raft, Recovered};
use crate::runtime::clock::Clock;
use crate::runtime::lifeline::Lifeline;
use crate::runtime::shell::{Role, Slot};
use crate::runtime::{Ends, Part, Place, Places};
use crate::storage::{Identity, LogReader, LogStore, OpenedStorage, SnapshotReader, SnapshotStore};
use crate::transport::{Inbox, Transport};

use super::builder::{Applying, Node};
use super::config::{Config, micros};
use super::handle::{CommandCheck, Handle, Limits};

/// A log that nothing was asked of for so many heartbeat intervals is idle, and is sealed. Long
/// enough for few writes to be followed by a seal each.
const IDLE_HEARTBEATS: Micros = 10;

/// What a node is made of, once its storage is open.
pub(super) struct Parts<M> {
    pub(super) identity: Identity,
    pub(super) applying: Applying<M>,
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) delays: Delays,
    pub(super) observer: Observer,
    pub(super) places: Places,
}

impl<M: Machine> Parts<M> {
    /// Starts everything.
    pub(super) fn assemble(self, opened: OpenedStorage, ends: Ends) -> Node<M> {
        let Parts { identity, applying, config, clock, transport, delays, observer, places } = self;
        let OpenedStorage { recovered, log, snapshots } = opened;
        let origin = Origin::of(&recovered);
        let incarnation = recovered.life.incarnation;
        let raft = Raft::new(config.raft(identity.cluster, identity.node), recovered, clock.now());
        let members = &raft.status().membership;
        if !members.contains(identity.node) {
            let node = identity.node;
            tracing::warn!(node, %members, "this node is no member of its cluster: it follows, and never leads or votes");
        }

        let (lifeline, stops) = Lifeline::new();
        let shared = NodeContext::new(
            identity.node,
            incarnation,
            Arc::new(lifeline),
            raft.status(),
            config.proposals_in_flight,
            config.reads_in_flight,
        );
        let site = Site {
            identity,
            config,
            clock,
            places,
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
        let director = site.director(&addresses, &apply_side);

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
        site.places.of(Part::Peer).run(move || Box::pin(director.direct(stops)));
        Node {
            handle,
            transport: site.transport,
            #[cfg(feature = "testing")]
            places: site.places,
            ends: Some(ends),
        }
    }
}

/// The state that storage was opened with, as far as the snapshotter needs it.
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

/// Mailboxes of actors that do not exist yet.
struct Slots {
    peer: Slot<Peer>,
    persister: Slot<Persister>,
    reader: Slot<Reader>,
    queue: Slot<ApplyQueue>,
    snapshotter: Slot<Snapshotter>,
}

impl Slots {
    fn new() -> Slots {
        Slots {
            peer: Slot::new(),
            persister: Slot::new(),
            reader: Slot::new(),
            queue: Slot::new(),
            snapshotter: Slot::new(),
        }
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            peer: self.peer.recipient(),
            persister: self.persister.recipient(),
            reader: self.reader.recipient(),
            queue: self.queue.recipient(),
            snapshotter: self.snapshotter.recipient(),
            applied: AppliedMark::new(),
        }
    }
}

/// Where the node's actors are reached.
struct Addresses {
    peer: Recipient<PeerMessage>,
    persister: Recipient<PersisterMessage>,
    reader: Recipient<ReaderMessage>,
    queue: Recipient<ApplyQueueMessage>,
    snapshotter: Recipient<SnapshotterMessage>,
    /// How far the apply side is.
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
            _guard: Arc::new(ApplyGuard(site.shared.lifeline.clone())),
        }
    }
}

/// What all actors of the node have in common.
struct Site {
    identity: Identity,
    config: Config,
    clock: Clock,
    places: Places,
    delays: Delays,
    transport: Arc<dyn Transport>,
    shared: Arc<NodeContext>,
    /// What each actor is doing.
    activities: Activities,
}

impl Site {
    fn place(&self, part: Part) -> Place {
        self.places.of(part).clone()
    }

    fn outlet(&self) -> Outlet {
        Outlet { transport: self.transport.clone(), shared: self.shared.clone() }
    }

    fn start<R: Role>(&self, slot: Slot<R>, part: Part, make: impl FnOnce() -> R + Send + 'static) {
        self.activities.lock().push((part, slot.activity()));
        slot.start(self.places.of(part), self.clock.clone(), self.shared.lifeline.clone(), make);
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

    fn director(&self, addresses: &Addresses, apply_side: &Recipient<ApplyMessage>) -> Director {
        Director {
            node: self.identity.node,
            transport: self.transport.clone(),
            lifeline: self.shared.lifeline.clone(),
            peer: addresses.peer.clone(),
            queue: addresses.queue.clone(),
            apply_side: apply_side.clone(),
            snapshotter: addresses.snapshotter.clone(),
            reader: addresses.reader.clone(),
            persister: addresses.persister.clone(),
            places: self.places.clone(),
            shared: self.shared.clone(),
            patience: self.config.shutdown_timeout,
            activities: self.activities.clone(),
        }
    }

    /// The usual apply side.
    fn start_applier<M: Machine>(
        &self,
        machine: M,
        link: ApplyLink,
        observer: &Observer,
    ) -> ApplySide {
        let observer = observer.clone();
        let (sessions, cluster) = (self.config.sessions, self.identity.cluster);
        let slot = Slot::<Applier<M>>::new();
        let recipient = slot.recipient();
        let (place, delays, shared) =
            (self.place(Part::Applier), self.delays.clone(), self.shared.clone());
        self.start(slot, Part::Applier, move || {
            let replica = Replica::new(machine, sessions, cluster);
            Applier::new(replica, link, place, delays, shared, observer)
        });
        let decode: DecodeState = Box::new(move |input| {
            let replica = decode_replica::<M>(input, sessions, cluster)?;
            Ok(Opaque::state_behind(replica.applied(), replica))
        });
        ApplySide { recipient, decode }
    }

    fn start_reader(
        &self,
        slot: Slot<Reader>,
        addresses: &Addresses,
        log: Box<dyn LogReader>,
        snapshots: Box<dyn SnapshotReader>,
    ) {
        let role = Reader {
            log,
            snapshots,
            peer: addresses.peer.clone(),
            place: self.place(Part::Reader),
            delays: self.delays.clone(),
            shared: self.shared.clone(),
            wanted: self.postponed(Part::Reader, &addresses.reader, || ReaderMessage::Again),
        };
        self.start(slot, Part::Reader, move || role);
    }

    /// What an actor there does later if no file can be opened.
    fn postponed<M: actix::Message<Result = ()> + Send + 'static>(
        &self,
        part: Part,
        own: &Recipient<M>,
        over: fn() -> M,
    ) -> Postponed<M> {
        let (lasts, place) = (self.config.retry_interval, self.place(part));
        Postponed::new(Pause { lasts, place, own: own.clone(), over })
    }

    /// The snapshot that the node starts from is the first thing to be decoded (A72, A74).
    fn start_snapshotter(
        &self,
        slot: Slot<Snapshotter>,
        addresses: &Addresses,
        apply_side: &Recipient<ApplyMessage>,
        store: Box<dyn SnapshotStore>,
        (decode, machine): (DecodeState, &'static str),
        origin: Origin,
    ) {
        if let Some(log_id) = origin.snapshot {
            addresses.snapshotter.do_send(SnapshotterMessage::Restore(log_id));
        }
        let role = Snapshotter {
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
            place: self.place(Part::Snapshotter),
            delays: self.delays.clone(),
            shared: self.shared.clone(),
            asked: self
                .postponed(Part::Snapshotter, &addresses.snapshotter, || SnapshotterMessage::Again),
        };
        self.start(slot, Part::Snapshotter, move || role);
    }

    fn start_persister(
        &self,
        slot: Slot<Persister>,
        addresses: &Addresses,
        log: Box<dyn LogStore>,
    ) {
        let role = Persister {
            log,
            links: PersisterLinks {
                peer: addresses.peer.clone(),
                outlet: self.outlet(),
                clock: self.clock.clone(),
                shared: self.shared.clone(),
            },
            place: self.place(Part::Persister),
            delays: self.delays.clone(),
            group: Group::default(),
            failed: false,
        };
        self.start(slot, Part::Persister, move || role);
    }

    fn start_queue(
        &self,
        slot: Slot<ApplyQueue>,
        addresses: &Addresses,
        apply_side: &Recipient<ApplyMessage>,
    ) {
        let role =
            ApplyQueue::new(apply_side.clone(), addresses.snapshotter.clone(), self.shared.clone());
        self.start(slot, Part::Applier, move || role);
    }

    fn start_peer(
        &self,
        slot: Slot<Peer>,
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
            outlet: self.outlet(),
        };
        let times = Times {
            tick: micros(self.config.tick_interval),
            stall: micros(self.config.heartbeat_interval) / 2,
            proposal_timeout: micros(self.config.proposal_timeout),
            idle: IDLE_HEARTBEATS * micros(self.config.heartbeat_interval),
        };
        let alarm = Alarm::default();
        let (shared, clock, seen) = (self.shared.clone(), self.clock.clone(), alarm.clone());
        self.start(slot, Part::Peer, move || {
            Peer::new(raft, links, shared, clock, observer, times, seen)
        });

        let (peer, lifeline, every) =
            (addresses.peer.clone(), self.shared.lifeline.clone(), self.config.tick_interval);
        let clock = self.clock.clone();
        self.places
            .of(Part::Peer)
            .run(move || Box::pin(ticker::tick(every, clock, alarm, peer, lifeline)));
    }
}

fn inbox(peer: Recipient<PeerMessage>) -> Inbox {
    let same_peer = peer.clone();
    Inbox::with_receipts(
        move |envelope, receipt| peer.do_send(PeerMessage::Envelope(envelope, receipt)),
        move |to, id| same_peer.do_send(PeerMessage::Undelivered { to, id }),
    )
}
