//! A network inside one process, with fault injection for tests.
//!
//! Without faults an envelope goes from the sender's thread straight into the receiver's mailbox:
//! one short read lock, no task, no copy, and in sending order. Each direction between two members
//! is a separate link with its own faults:
//!
//! | fault | what the members see |
//! |---|---|
//! | [`cut_one_way`], [`cut`], [`partition`], [`isolate`] | silent loss, also of those in flight |
//! | [`LinkFaults::drop_probability`] | silent loss of an envelope |
//! | [`LinkFaults::duplicate_probability`] | an envelope twice, each copy with its own delay |
//! | [`LinkFaults::min_delay`] to [`LinkFaults::max_delay`] | a late envelope, maybe out of order |
//! | a member that is not attached | silent loss; a request's sender gets [`Inbox::undelivered`] |
//!
//! [`cut_one_way`]: InProcessNetwork::cut_one_way
//! [`cut`]: InProcessNetwork::cut
//! [`partition`]: InProcessNetwork::partition
//! [`isolate`]: InProcessNetwork::isolate
//!
//! Random decisions come from [`NetworkOptions::seed`], with one random stream per link: what
//! happens on a link depends only on the seed and on what was sent over this link. Delays use
//! tokio's time, so they work (and take no real time) while it is paused; all members must then be
//! on the runtime whose clock it is. Envelopes due at the same time arrive in sending order. A
//! sender outside every tokio runtime has no clock: its envelopes are not delayed.
//!
//! With [`NetworkOptions::encode`] every envelope is encoded and decoded as on a real wire.
//!
//! # What it does not do
//! No bandwidth and no queue limits: the protocol's own windows bound the messages in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::{Inbox, Transport, wire};
use crate::raft::{Body, Envelope, NodeId, RequestId};

mod faults;
#[cfg(test)]
mod tests;

pub use faults::LinkFaults;
use faults::{Fate, Generator, Link};

/// Settings of an [`InProcessNetwork`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// The seed of all random decisions.
    pub seed: u64,
    /// Whether envelopes are encoded and decoded by [`wire`], instead of passed as they are.
    pub encode: bool,
}

/// Counters of a network. `sent + duplicated = delivered + dropped + undelivered + in_flight`
/// always holds, except while a call is in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounters {
    /// Envelopes that members sent.
    pub sent: u64,
    /// Copies made by the duplicate fault.
    pub duplicated: u64,
    /// Envelopes put into an inbox.
    pub delivered: u64,
    /// Envelopes lost silently: by a cut, by chance, or sent by a member that was not attached.
    pub dropped: u64,
    /// Envelopes for members that were not attached.
    pub undelivered: u64,
    /// Envelopes that are delayed now.
    pub in_flight: u64,
    /// Envelopes that were delayed since the network was made.
    pub delayed: u64,
    /// Bytes of all frames, with [`NetworkOptions::encode`].
    pub encoded_bytes: u64,
}

/// A network shared by the members of one process. Clones are the same network.
#[derive(Clone, Debug)]
pub struct InProcessNetwork {
    shared: Arc<Shared>,
}

impl Default for InProcessNetwork {
    fn default() -> InProcessNetwork {
        InProcessNetwork::new(NetworkOptions::default())
    }
}

impl InProcessNetwork {
    /// A network without members and without faults.
    pub fn new(options: NetworkOptions) -> InProcessNetwork {
        let shared = Shared {
            options,
            routes: RwLock::default(),
            generators: Mutex::default(),
            late: Mutex::default(),
            counts: Counts::default(),
        };
        InProcessNetwork { shared: Arc::new(shared) }
    }

    /// The endpoint for one start of the member `node`. Each start needs its own: once a newer
    /// endpoint of the same member is attached, this one neither sends nor receives. The same holds
    /// before it is attached.
    pub fn endpoint(&self, node: NodeId) -> Endpoint {
        let mut routes = self.shared.routes.write();
        routes.endpoints += 1;
        Endpoint { shared: Arc::clone(&self.shared), node, number: routes.endpoints }
    }

    /// Sets the faults of all links, including links that had their own.
    pub fn set_faults(&self, faults: LinkFaults) {
        let mut routes = self.shared.routes.write();
        routes.faults = faults;
        routes.link_faults.clear();
    }

    /// Sets the faults of the link from `from` to `to`.
    pub fn set_link_faults(&self, from: NodeId, to: NodeId, faults: LinkFaults) {
        self.shared.routes.write().link_faults.insert((from, to), faults);
    }

    /// Loses everything from `from` to `to`; the other direction is unchanged.
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        self.shared.routes.write().cut.insert((from, to));
    }

    /// Loses everything between `a` and `b`.
    pub fn cut(&self, a: NodeId, b: NodeId) {
        self.shared.routes.write().cut.extend([(a, b), (b, a)]);
    }

    /// Loses everything between members of different groups. Members in no group keep all their
    /// links.
    pub fn partition(&self, groups: &[&[NodeId]]) {
        let mut routes = self.shared.routes.write();
        for (position, group) in groups.iter().enumerate() {
            for &a in *group {
                let others = groups[position + 1..].iter().copied().flatten();
                routes.cut.extend(others.flat_map(|&b| [(a, b), (b, a)]));
            }
        }
    }

    /// Loses everything between `node` and all other members, including members that attach later.
    pub fn isolate(&self, node: NodeId) {
        self.shared.routes.write().isolated.insert(node);
    }

    /// Undoes [`cut`](Self::cut) and [`cut_one_way`](Self::cut_one_way) between `a` and `b`.
    pub fn reconnect(&self, a: NodeId, b: NodeId) {
        let mut routes = self.shared.routes.write();
        routes.cut.remove(&(a, b));
        routes.cut.remove(&(b, a));
    }

    /// Undoes [`isolate`](Self::isolate).
    pub fn rejoin(&self, node: NodeId) {
        self.shared.routes.write().isolated.remove(&node);
    }

    /// Ends every fault: cuts, isolations, losses, duplicates, delays. Envelopes already delayed
    /// still arrive late.
    pub fn heal(&self) {
        let mut routes = self.shared.routes.write();
        routes.cut.clear();
        routes.isolated.clear();
        routes.faults = LinkFaults::NONE;
        routes.link_faults.clear();
    }

    /// The counters now.
    pub fn counters(&self) -> NetworkCounters {
        let counts = &self.shared.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        NetworkCounters {
            sent: read(&counts.sent),
            duplicated: read(&counts.duplicated),
            delivered: read(&counts.delivered),
            dropped: read(&counts.dropped),
            undelivered: read(&counts.undelivered),
            in_flight: self.shared.late.lock().parcels.len() as u64,
            delayed: read(&counts.delayed),
            encoded_bytes: read(&counts.encoded_bytes),
        }
    }
}

/// The endpoint of one start of one member on an [`InProcessNetwork`]. Clones are the same
/// endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    shared: Arc<Shared>,
    node: NodeId,
    /// Distinguishes the endpoints of one member's starts.
    number: u64,
}

impl Endpoint {
    /// The member.
    pub fn node(&self) -> NodeId {
        self.node
    }
}

impl Transport for Endpoint {
    fn send(&self, envelope: Envelope) {
        self.shared.send(self.node, self.number, envelope);
    }

    fn member(&self) -> Option<NodeId> {
        Some(self.node)
    }

    /// Has no effect for a member other than its own.
    fn attach(&self, node: NodeId, inbox: Inbox) {
        if node != self.node {
            let endpoint = self.node;
            return tracing::error!(
                endpoint,
                node,
                "an endpoint receives for its own member alone"
            );
        }
        let attached = Attached { endpoint: self.number, inbox: Arc::new(inbox) };
        self.shared.routes.write().attached.insert(node, attached);
    }

    fn detach(&self, node: NodeId) {
        let mut routes = self.shared.routes.write();
        // The end of a former start must not detach a member that has been started again meanwhile.
        if node == self.node && routes.is_attached(node, self.number) {
            routes.attached.remove(&node);
        }
    }
}

#[derive(Debug)]
struct Shared {
    options: NetworkOptions,
    routes: RwLock<Routes>,
    /// A generator is made when a link first needs one. Locked only on links with faults.
    generators: Mutex<BTreeMap<Link, Generator>>,
    late: Mutex<Late>,
    counts: Counts,
}

/// The attached members and the faults. No lock is held while an inbox is called: an inbox may call
/// anything.
#[derive(Debug, Default)]
struct Routes {
    /// The number of endpoints made so far.
    endpoints: u64,
    attached: BTreeMap<NodeId, Attached>,
    isolated: BTreeSet<NodeId>,
    cut: BTreeSet<Link>,
    faults: LinkFaults,
    link_faults: BTreeMap<Link, LinkFaults>,
}

#[derive(Debug)]
struct Attached {
    endpoint: u64,
    inbox: Arc<Inbox>,
}

/// Delayed messages by due time, then in sending order.
#[derive(Debug, Default)]
struct Late {
    sequence: u64,
    parcels: BTreeMap<(Instant, u64), Parcel>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    duplicated: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
    undelivered: AtomicU64,
    delayed: AtomicU64,
    encoded_bytes: AtomicU64,
}

/// An envelope in flight.
#[derive(Clone, Debug)]
struct Parcel {
    link: Link,
    /// The id of a request: its sender is informed if the receiver is not attached.
    request: Option<RequestId>,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Envelope(Envelope),
    Frame(Bytes),
}

/// The state of the receiving end when a message arrives.
enum Arrival {
    Member(Arc<Inbox>),
    /// The receiver is not attached; the sender's inbox, if the sender still is.
    Nobody(Option<Arc<Inbox>>),
    Cut,
}

/// The state of the sending end when a message is sent.
enum Departure {
    Passes(Arrival),
    Faulty(LinkFaults),
}

impl Routes {
    fn is_attached(&self, node: NodeId, endpoint: u64) -> bool {
        self.attached.get(&node).is_some_and(|attached| attached.endpoint == endpoint)
    }

    fn is_cut(&self, link: Link) -> bool {
        let (from, to) = link;
        self.cut.contains(&link) || self.isolated.contains(&from) || self.isolated.contains(&to)
    }

    fn inbox(&self, node: NodeId) -> Option<Arc<Inbox>> {
        self.attached.get(&node).map(|attached| Arc::clone(&attached.inbox))
    }

    fn departure(&self, link: Link, endpoint: u64) -> Departure {
        if !self.is_attached(link.0, endpoint) || self.is_cut(link) {
            return Departure::Passes(Arrival::Cut);
        }
        let faults = *self.link_faults.get(&link).unwrap_or(&self.faults);
        if faults.is_none() {
            Departure::Passes(self.arrival(link))
        } else {
            Departure::Faulty(faults)
        }
    }

    fn arrival(&self, link: Link) -> Arrival {
        if self.is_cut(link) {
            return Arrival::Cut;
        }
        match self.inbox(link.1) {
            Some(inbox) => Arrival::Member(inbox),
            None => Arrival::Nobody(self.inbox(link.0)),
        }
    }
}

impl Shared {
    fn send(self: &Arc<Self>, from: NodeId, endpoint: u64, envelope: Envelope) {
        count(&self.counts.sent, 1);
        let link = (from, envelope.to);
        let Some(parcel) = self.pack(link, envelope) else {
            return count(&self.counts.dropped, 1);
        };
        let departure = self.routes.read().departure(link, endpoint);
        match departure {
            Departure::Passes(arrival) => self.arrive(parcel, arrival),
            Departure::Faulty(faults) => self.send_with_faults(parcel, &faults),
        }
    }

    /// `None` if the envelope can't be encoded, which a peer that keeps the protocol never causes.
    fn pack(&self, link: Link, envelope: Envelope) -> Option<Parcel> {
        let request = matches!(envelope.body, Body::Request(_)).then_some(envelope.id);
        if !self.options.encode {
            return Some(Parcel { link, request, content: Content::Envelope(envelope) });
        }
        match wire::encode(&envelope) {
            Ok(frame) => {
                count(&self.counts.encoded_bytes, frame.len() as u64);
                Some(Parcel { link, request, content: Content::Frame(frame) })
            }
            Err(error) => {
                tracing::error!(from = link.0, to = link.1, %error, "message not sent");
                None
            }
        }
    }

    fn send_with_faults(self: &Arc<Self>, parcel: Parcel, faults: &LinkFaults) {
        let fate = self.draw_fate(parcel.link, faults);
        match fate {
            Fate::Lost => count(&self.counts.dropped, 1),
            Fate::Once(delay) => self.deliver_after(delay, parcel),
            Fate::Twice(first, second) => {
                count(&self.counts.duplicated, 1);
                self.deliver_after(first, parcel.clone());
                self.deliver_after(second, parcel);
            }
        }
    }

    fn draw_fate(&self, link: Link, faults: &LinkFaults) -> Fate {
        let mut generators = self.generators.lock();
        let generator =
            generators.entry(link).or_insert_with(|| Generator::of_link(self.options.seed, link));
        faults.draw(generator)
    }

    fn deliver_after(self: &Arc<Self>, delay: Duration, parcel: Parcel) {
        let runtime = tokio::runtime::Handle::try_current();
        let (false, Ok(runtime)) = (delay.is_zero(), runtime) else {
            return self.deliver(parcel);
        };
        count(&self.counts.delayed, 1);
        let due = Instant::now() + delay;
        self.late.lock().push(due, parcel);
        let shared = Arc::clone(self);
        // A task of the runtime, not of the sender's LocalSet: messages in flight survive a crash
        // of their sender.
        runtime.spawn(async move {
            tokio::time::sleep_until(due).await;
            shared.deliver_due();
        });
    }

    /// Delivers all messages that are due, whichever task wakes first: timers that expire in the
    /// same millisecond wake in any order, and a message whose task was dropped with its runtime
    /// must not stay queued.
    fn deliver_due(&self) {
        let due = self.late.lock().take_due(Instant::now());
        for parcel in due {
            self.deliver(parcel);
        }
    }

    fn deliver(&self, parcel: Parcel) {
        let arrival = self.routes.read().arrival(parcel.link);
        self.arrive(parcel, arrival);
    }

    /// Completes a message in flight. Called without a lock.
    fn arrive(&self, parcel: Parcel, arrival: Arrival) {
        match arrival {
            Arrival::Member(inbox) => {
                count(&self.counts.delivered, 1);
                inbox.deliver(parcel.content.unpack());
            }
            Arrival::Nobody(sender) => {
                count(&self.counts.undelivered, 1);
                if let (Some(sender), Some(request)) = (sender, parcel.request) {
                    sender.undelivered(parcel.link.1, request);
                }
            }
            Arrival::Cut => count(&self.counts.dropped, 1),
        }
    }
}

impl Content {
    fn unpack(self) -> Envelope {
        match self {
            Content::Envelope(envelope) => envelope,
            Content::Frame(frame) => wire::decode(&frame).unwrap_or_else(|error| {
                panic!("our own frame does not decode: {error}; {frame:?}")
            }),
        }
    }
}

impl Late {
    fn push(&mut self, due: Instant, parcel: Parcel) {
        self.sequence += 1;
        self.parcels.insert((due, self.sequence), parcel);
    }

    fn take_due(&mut self, now: Instant) -> Vec<Parcel> {
        let mut due = Vec::new();
        while let Some(first) = self.parcels.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        due
    }
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
