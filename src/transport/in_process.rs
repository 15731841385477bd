//! A network inside one process: members hand each other envelopes, and tests break it as they like.
//!
//! Without faults an envelope goes from the sender's thread straight into the receiver's mailbox: one short read lock, no
//! task, no copy, and in the order it was sent. Each direction between two members is a link of its own and has its
//! own faults:
//!
//! | fault | what the members see |
//! |---|---|
//! | [`cut_one_way`](InProcessNetwork::cut_one_way), [`cut`](InProcessNetwork::cut), [`partition`](InProcessNetwork::partition), [`isolate`](InProcessNetwork::isolate) | silence; what was under way when the cut came is lost too |
//! | [`LinkFaults::drop_probability`] | an envelope is lost in silence |
//! | [`LinkFaults::duplicate_probability`] | an envelope comes twice, each copy with its own delay |
//! | [`LinkFaults::min_delay`] to [`max_delay`](LinkFaults::max_delay) | an envelope comes later, perhaps behind later ones |
//! | a member that is not attached | silence, and [`Inbox::undelivered`] at the sender of a request |
//!
//! Chance comes from [`NetworkOptions::seed`], from a stream per link: what happens on a link depends on the seed and on
//! what was sent over this link, on nothing else. Delays are tokio's time, so they work (and cost nothing) while it is
//! paused; all members then have to be on the runtime whose clock it is. Envelopes due at the same time arrive in the
//! order they were sent. A sender outside every tokio runtime has no clock: its envelopes are not delayed.
//!
//! With [`NetworkOptions::encode`] every envelope is turned into bytes and back as on a real wire.
//!
//! # What it does not do
//! No bandwidth and no queue limits: the protocol's own windows bound what is under way.

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

/// How an [`InProcessNetwork`] is set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// Where all chance comes from.
    pub seed: u64,
    /// Whether envelopes go as bytes through [`wire`], instead of as they are.
    pub encode: bool,
}

/// What has happened on a network. At every moment
/// `sent + duplicated = delivered + dropped + undelivered + in_flight`, unless a call is under way just then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounters {
    /// Envelopes that members sent.
    pub sent: u64,
    /// Copies made by the duplicate fault.
    pub duplicated: u64,
    /// Envelopes put into an inbox.
    pub delivered: u64,
    /// Envelopes lost in silence: by a cut, by chance, or sent by a member that was not attached.
    pub dropped: u64,
    /// Envelopes for members that were not attached.
    pub undelivered: u64,
    /// Envelopes that a delay holds now.
    pub in_flight: u64,
    /// Envelopes that were delayed, ever.
    pub delayed: u64,
    /// Bytes of all frames, with [`NetworkOptions::encode`].
    pub encoded_bytes: u64,
}

/// The network that the members of one process share. Clones are the same network.
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

    /// The network as one start of the member `node` sees it. Each start takes its own: once a newer endpoint of the same
    /// member is attached, this one neither sends nor receives. Nor does it before it is attached.
    pub fn endpoint(&self, node: NodeId) -> Endpoint {
        let mut routes = self.shared.routes.write();
        routes.endpoints += 1;
        Endpoint { shared: Arc::clone(&self.shared), node, number: routes.endpoints }
    }

    /// Sets the faults of all links, those that were set for one link too.
    pub fn set_faults(&self, faults: LinkFaults) {
        let mut routes = self.shared.routes.write();
        routes.faults = faults;
        routes.link_faults.clear();
    }

    /// Sets the faults on the way from `from` to `to`.
    pub fn set_link_faults(&self, from: NodeId, to: NodeId, faults: LinkFaults) {
        self.shared.routes.write().link_faults.insert((from, to), faults);
    }

    /// Nothing from `from` reaches `to` any more; the other direction is as it was.
    pub fn cut_one_way(&self, from: NodeId, to: NodeId) {
        self.shared.routes.write().cut.insert((from, to));
    }

    /// Nothing passes between `a` and `b` any more.
    pub fn cut(&self, a: NodeId, b: NodeId) {
        self.shared.routes.write().cut.extend([(a, b), (b, a)]);
    }

    /// Nothing passes between members of different groups any more. Members in no group keep all their links.
    pub fn partition(&self, groups: &[&[NodeId]]) {
        let mut routes = self.shared.routes.write();
        for (position, group) in groups.iter().enumerate() {
            for &a in *group {
                let others = groups[position + 1..].iter().copied().flatten();
                routes.cut.extend(others.flat_map(|&b| [(a, b), (b, a)]));
            }
        }
    }

    /// Nothing passes between `node` and anybody any more, whoever comes.
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

    /// Ends every fault: cuts, isolations, losses, duplicates, delays. What is under way still comes late.
    pub fn heal(&self) {
        let mut routes = self.shared.routes.write();
        routes.cut.clear();
        routes.isolated.clear();
        routes.faults = LinkFaults::NONE;
        routes.link_faults.clear();
    }

    /// What has happened so far.
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

/// One start of one member on an [`InProcessNetwork`]. Clones are the same endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    shared: Arc<Shared>,
    node: NodeId,
    /// Tells the endpoints of one member's starts apart.
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

    /// For another member than its own it does nothing.
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
        // A member that has been started again meanwhile must not lose its mail to the end of its former life.
        if node == self.node && routes.is_attached(node, self.number) {
            routes.attached.remove(&node);
        }
    }
}

#[derive(Debug)]
struct Shared {
    options: NetworkOptions,
    routes: RwLock<Routes>,
    /// Made when a link first needs chance. Locked only on links with faults.
    generators: Mutex<BTreeMap<Link, Generator>>,
    late: Mutex<Late>,
    counts: Counts,
}

/// Who is there and what is broken. No lock is held while an inbox is called: an inbox may do what it likes.
#[derive(Debug, Default)]
struct Routes {
    /// How many endpoints were made.
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

/// Delayed parcels by due time, then in the order they were sent.
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

/// An envelope under way.
#[derive(Clone, Debug)]
struct Parcel {
    link: Link,
    /// The id of a request: its sender hears of it if there is nobody to deliver to.
    request: Option<RequestId>,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Envelope(Envelope),
    Frame(Bytes),
}

/// What a parcel finds at the end of its link.
enum Arrival {
    Member(Arc<Inbox>),
    /// Nobody; the sender's inbox, if the sender is still there.
    Nobody(Option<Arc<Inbox>>),
    Cut,
}

/// What a parcel finds at the beginning of its link.
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
        // A task of the runtime, not of the sender's LocalSet: what is under way outlives a sender that crashes.
        runtime.spawn(async move {
            tokio::time::sleep_until(due).await;
            shared.deliver_due();
        });
    }

    /// Delivers all that is due, whichever task wakes first: timers that expire in the same millisecond wake in any order, and
    /// a parcel whose task died with its runtime must not stay.
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

    /// The end of every parcel's way. Called without a lock.
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
