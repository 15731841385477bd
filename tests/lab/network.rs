//! The simulated network: requests with their replies, over links that are cut, slow or lossy, in virtual time.
//!
//! ```text
//! asker ── request ──▶ (delay, loss) ──▶ target's handler ── reply ──▶ (loss, held back) ──▶ asker
//!   ▲                                          │ checked every 100 ms, and at hand-over
//!   └───────────── undelivered ◀───────────────┘ link cut, or no longer the same two instances
//! ```
//! The library sends one-way envelopes: a request opens an RPC, and the answer that names it closes it. Each request is counted
//! once, with its bytes, whatever becomes of it; each answer with its bytes when it is handed over. What takes no time is done at
//! once, what takes some in a task of its own. All of it is decided by one seed.
//!
//! Bytes are those of the library's own encoding, and members get what was decoded from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate::raft::{Body, Envelope, NodeId, RequestId};
use quorate::transport::{Inbox, Transport, wire};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};

use crate::dice::Dice;
use crate::invariants::Watch;

/// How often a handler's link is looked at while it runs.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The network between all peers. Clones are the same.
#[derive(Clone)]
pub struct Network(Arc<Mutex<Net>>);

struct Net {
    members: Vec<Member>,
    open: BTreeMap<Call, Rpc>,
    dice: Dice,
    reliable: bool,
    long_reordering: bool,
    traffic: Traffic,
    watch: Watch,
}

/// What has been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests, lost ones too.
    pub rpcs: u64,
    /// Bytes of those, and of the answers that were handed over.
    pub bytes: u64,
}

#[derive(Default)]
struct Member {
    connected: bool,
    /// Counts the member's lives.
    instance: u64,
    /// `None`: dead.
    inbox: Option<Inbox>,
    /// Requests that reached the present instance.
    received: u64,
}

/// Whose request, in which of its lives, and which one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    asker: NodeId,
    incarnation: u64,
    id: RequestId,
}

#[derive(Clone, Copy)]
struct Rpc {
    call: Call,
    to: NodeId,
    asker_instance: u64,
    target_instance: u64,
    /// When the handler began.
    began: Option<Instant>,
}

impl Net {
    fn member(&self, node: NodeId) -> &Member {
        &self.members[node as usize]
    }

    fn works(&self, from: NodeId, to: NodeId) -> bool {
        self.member(from).connected && self.member(to).connected
    }

    /// Whether the same two instances still stand at the ends of a link that works.
    fn stands(&self, rpc: &Rpc) -> bool {
        let (asker, target) = (self.member(rpc.call.asker), self.member(rpc.to));
        self.works(rpc.call.asker, rpc.to)
            && asker.instance == rpc.asker_instance
            && target.instance == rpc.target_instance
            && target.inbox.is_some()
    }

    fn stands_or_is_over(&self, call: Call) -> bool {
        self.open.get(&call).is_none_or(|rpc| self.stands(rpc))
    }

    fn inbox_of_asker(&self, rpc: &Rpc) -> Option<Inbox> {
        let asker = self.member(rpc.call.asker);
        asker.inbox.clone().filter(|_| asker.instance == rpc.asker_instance)
    }

    /// Open RPCs whose handler runs and which no longer stand: when each is looked at next.
    fn doomed(&self, node: NodeId, now: Instant) -> Vec<(Call, Instant)> {
        let at_either_end = |rpc: &&Rpc| rpc.call.asker == node || rpc.to == node;
        let look = |rpc: &Rpc| Some((rpc.call, next_look(rpc.began?, now)));
        self.open.values().filter(at_either_end).filter_map(look).collect()
    }
}

/// The first multiple of [`LOOK_EVERY`] after `began` that is later than `now`.
fn next_look(began: Instant, now: Instant) -> Instant {
    let looks = (now - began).as_millis() / LOOK_EVERY.as_millis() + 1;
    began + LOOK_EVERY * looks as u32
}

impl Network {
    /// A network of `peers` peers, none of them there yet.
    pub fn new(peers: usize, reliable: bool, dice: Dice, watch: Watch) -> Network {
        Network(Arc::new(Mutex::new(Net {
            members: (0..peers).map(|_| Member::default()).collect(),
            open: BTreeMap::new(),
            dice,
            reliable,
            long_reordering: false,
            traffic: Traffic::default(),
            watch,
        })))
    }

    /// From now on nothing is delayed or lost, or some of it is.
    pub fn set_reliable(&self, reliable: bool) {
        self.0.lock().reliable = reliable;
    }

    /// From now on most replies are held back.
    pub fn set_long_reordering(&self) {
        self.0.lock().long_reordering = true;
    }

    /// Links to and from `peer` work, as far as the others' do.
    pub fn connect(&self, peer: usize) {
        self.0.lock().members[peer].connected = true;
    }

    /// Links to and from `peer` are cut.
    pub fn disconnect(&self, peer: usize) {
        self.0.lock().members[peer].connected = false;
        self.look_at_calls_of(peer as NodeId);
    }

    /// Whether `peer` is connected.
    pub fn is_connected(&self, peer: usize) -> bool {
        self.0.lock().members[peer].connected
    }

    /// What has been sent so far.
    pub fn traffic(&self) -> Traffic {
        self.0.lock().traffic
    }

    /// Requests that reached the present instances of all peers.
    pub fn received(&self) -> u64 {
        self.0.lock().members.iter().map(|member| member.received).sum()
    }

    // ---- a request -----------------------------------------------------------------------

    fn request(&self, envelope: &Envelope, frame: Bytes) {
        let call =
            Call { asker: envelope.from, incarnation: envelope.incarnation, id: envelope.id };
        let mut net = self.0.lock();
        net.traffic.rpcs += 1;
        net.traffic.bytes += frame.len() as u64;
        let rpc = Rpc {
            call,
            to: envelope.to,
            asker_instance: net.member(call.asker).instance,
            target_instance: net.member(envelope.to).instance,
            began: None,
        };
        if !net.stands(&rpc) {
            let delay = net.dice.millis(0, 6999);
            drop(net);
            return self.later(delay, move |network| network.fail(&rpc));
        }
        net.open.insert(call, rpc);
        let delay = if net.reliable { Duration::ZERO } else { net.dice.millis(0, 26) };
        let lost = !net.reliable && net.dice.percent(10);
        drop(net);
        self.later(delay, move |network| match lost {
            true => network.give_up(call),
            false => network.handle(call, &frame),
        });
    }

    /// The request reaches the target's handler, if that is still the same one.
    fn handle(&self, call: Call, frame: &Bytes) {
        let mut net = self.0.lock();
        let Some(rpc) = net.open.get(&call).copied() else { return };
        let target = &mut net.members[rpc.to as usize];
        let Some(inbox) = target.inbox.clone().filter(|_| target.instance == rpc.target_instance)
        else {
            drop(net);
            return self.give_up(call);
        };
        target.received += 1;
        let now = Instant::now();
        net.open.insert(call, Rpc { began: Some(now), ..rpc });
        let stands = net.stands(&rpc);
        drop(net);
        inbox.deliver(decoded(frame));
        if !stands {
            self.look_at(call, now + LOOK_EVERY);
        }
    }

    // ---- a reply -------------------------------------------------------------------------

    fn reply(&self, envelope: &Envelope, asker_incarnation: u64, frame: Bytes) {
        let call = Call { asker: envelope.to, incarnation: asker_incarnation, id: envelope.id };
        let mut net = self.0.lock();
        // Failed meanwhile, or never asked.
        let Some(rpc) = net.open.remove(&call).filter(|rpc| rpc.to == envelope.from) else {
            return;
        };
        let lost = !net.reliable && net.dice.percent(10);
        if !net.stands(&rpc) || lost {
            drop(net);
            return self.fail(&rpc);
        }
        let held_back = net.long_reordering && net.dice.between(0, 2) < 2;
        let delay = if held_back { held_back_for(&mut net.dice) } else { Duration::ZERO };
        drop(net);
        self.later(delay, move |network| network.hand_over(&rpc, &frame));
    }

    fn hand_over(&self, rpc: &Rpc, frame: &Bytes) {
        let mut net = self.0.lock();
        let inbox = net.inbox_of_asker(rpc).filter(|_| net.stands(rpc));
        let Some(inbox) = inbox else {
            drop(net);
            return self.fail(rpc);
        };
        net.traffic.bytes += frame.len() as u64;
        drop(net);
        inbox.deliver(decoded(frame));
    }

    // ---- failure -------------------------------------------------------------------------

    /// The asker hears that there will be no reply.
    fn fail(&self, rpc: &Rpc) {
        let inbox = self.0.lock().inbox_of_asker(rpc);
        if let Some(inbox) = inbox {
            inbox.undelivered(rpc.to, rpc.call.id);
        }
    }

    fn give_up(&self, call: Call) {
        let rpc = self.0.lock().open.remove(&call);
        if let Some(rpc) = rpc {
            self.fail(&rpc);
        }
    }

    /// A link was cut or an instance ended: its calls fail when they are looked at next, unless the link works by then.
    fn look_at_calls_of(&self, node: NodeId) {
        let doomed = self.0.lock().doomed(node, Instant::now());
        for (call, at) in doomed {
            self.look_at(call, at);
        }
    }

    fn look_at(&self, call: Call, at: Instant) {
        let network = self.clone();
        spawn_local(async move {
            sleep_until(at).await;
            let stands = network.0.lock().stands_or_is_over(call);
            if !stands {
                network.give_up(call);
            }
        });
    }

    fn later(&self, delay: Duration, act: impl FnOnce(&Network) + 'static) {
        if delay.is_zero() {
            return act(self);
        }
        let network = self.clone();
        spawn_local(async move {
            sleep(delay).await;
            act(&network);
        });
    }
}

fn held_back_for(dice: &mut Dice) -> Duration {
    let most = dice.between(0, 1999);
    Duration::from_millis(200) + dice.millis(0, most)
}

fn decoded(frame: &Bytes) -> Envelope {
    wire::decode(frame).expect("what was encoded")
}

impl Transport for Network {
    fn send(&self, envelope: Envelope) {
        self.0.lock().watch.sent(&envelope);
        let frame = wire::encode(&envelope).expect("every message has a frame");
        match envelope.body {
            Body::Request(_) => self.request(&envelope, frame),
            Body::Answer { asker_incarnation, .. } => {
                self.reply(&envelope, asker_incarnation, frame)
            }
        }
    }

    fn attach(&self, node: NodeId, inbox: Inbox) {
        let member = &mut self.0.lock().members[node as usize];
        member.instance += 1;
        member.inbox = Some(inbox);
        member.received = 0;
    }

    fn detach(&self, node: NodeId) {
        self.0.lock().members[node as usize].inbox = None;
        self.look_at_calls_of(node);
    }
}
