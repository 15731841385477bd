//! The network: carries each message as bytes, and may lose, duplicate, delay, hold back or cut off
//! messages.
//!
//! One task delivers all messages in the order of their due times; messages sent at one moment for
//! one moment arrive in the order sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout_at};

use quorate::hooks::SkewedClock;
use quorate::raft::{Body, Envelope, Micros, NodeId, Request, RequestId};
use quorate::transport::{Inbox, Transport, wire};

use super::super::MILLISECOND;
use super::super::conditions::Link;
use super::super::random::Dice;
use super::watch::Watch;

/// The number of messages kept for floods.
const RECENT: usize = 64;
/// This many notices arrive at one moment ..
const BURST: u64 = 2_000;
/// .. this many milliseconds after a flood began.
const BURST_AT: u64 = 30;

/// The network between all members. Clones share it.
#[derive(Clone)]
pub(super) struct Network(Arc<Shared>);

struct Shared {
    watch: Watch,
    net: Mutex<Net>,
    sooner: Notify,
}

struct Net {
    members: Vec<Attached>,
    agenda: BTreeMap<(Micros, u64), Parcel>,
    sequence: u64,
    /// The time at which the driver checks next.
    armed: Micros,
    dice: Dice,
    recent: VecDeque<Parcel>,
    /// Messages that are delivered again when another member leads.
    kept: VecDeque<Parcel>,
    /// Messages arrive at multiples of this: a coarse grid makes them arrive together.
    grid: Micros,
}

#[derive(Default)]
struct Attached {
    /// Counts the member's incarnations.
    life: u64,
    inbox: Option<Inbox>,
}

#[derive(Clone)]
enum Parcel {
    Frame {
        from: NodeId,
        to: NodeId,
        request: Option<RequestId>,
        frame: Bytes,
    },
    /// The sender is informed.
    Undelivered {
        from: NodeId,
        to: NodeId,
        id: RequestId,
    },
}

impl Network {
    pub(super) fn new(nodes: u64, seed: u64, watch: Watch, grid: Micros) -> Network {
        let net = Net {
            members: (0..nodes).map(|_| Attached::default()).collect(),
            agenda: BTreeMap::new(),
            sequence: 0,
            armed: 0,
            dice: Dice::new(seed, 21),
            recent: VecDeque::new(),
            kept: VecDeque::new(),
            grid,
        };
        Network(Arc::new(Shared { watch, net: Mutex::new(net), sooner: Notify::new() }))
    }

    /// The network as seen by one incarnation of a member.
    pub(super) fn endpoint(&self, node: NodeId) -> Endpoint {
        let member = &mut self.0.net.lock().members[node as usize];
        member.life += 1;
        member.inbox = None;
        Endpoint { network: self.clone(), node, life: member.life }
    }

    /// Delivers messages until the run ends.
    pub(super) async fn drive(self) {
        let Shared { watch, net, sooner } = &*self.0;
        loop {
            let next = net.lock().agenda.keys().next().map(|(due, _)| *due);
            net.lock().armed = next.unwrap_or(Micros::MAX);
            match next {
                None => sooner.notified().await,
                Some(due) if due > watch.now() => {
                    // Whether woken early or not, the due time is read again.
                    let _ = timeout_at(watch.moment(due), sooner.notified()).await;
                }
                Some(_) => {
                    let parcel = net.lock().agenda.pop_first();
                    parcel.into_iter().for_each(|(_, parcel)| self.deliver(parcel));
                }
            }
        }
    }

    /// Delivers old messages again and again, for as long as the act lasts.
    pub(super) async fn flood(self, node: NodeId, warp: Arc<SkewedClock>, toil: Micros) {
        for turn in 0.. {
            let (count, now) = {
                let watched = self.0.watch.lock();
                (watched.conditions.member(node).flood, watched.now())
            };
            if count == 0 {
                return;
            }
            if turn == BURST_AT {
                self.burst(node, &warp, toil);
            }
            for _ in 0..count {
                let again = {
                    let mut net = self.0.net.lock();
                    let Net { dice, recent, .. } = &mut *net;
                    (!recent.is_empty()).then(|| {
                        let at = dice.below(recent.len() as u64) as usize;
                        recent[at].clone()
                    })
                };
                let for_it =
                    |parcel: &Parcel| matches!(parcel, Parcel::Frame { to, .. } if *to == node);
                again.filter(for_it).into_iter().for_each(|again| self.deliver(again));
            }
            sleep_until(self.0.watch.moment(now + MILLISECOND)).await;
            warp.toil(0);
        }
    }

    /// Delivers at one moment more than the member can take from its mailbox in time, and nothing
    /// that matters: notices about requests that ended long ago. Each read of its clock takes a
    /// while.
    fn burst(&self, node: NodeId, warp: &SkewedClock, toil: Micros) {
        let Some(inbox) = self.inbox(node) else { return };
        warp.toil(toil);
        let other = u64::from(node == 0);
        (0..BURST).for_each(|_| inbox.undelivered(other, 0));
    }

    /// Ends the network: no message arrives any more.
    pub(super) fn close(&self) {
        let mut net = self.0.net.lock();
        net.agenda.clear();
        net.recent.clear();
        net.kept.clear();
        let inboxes: Vec<_> = net.members.iter_mut().map(|member| member.inbox.take()).collect();
        drop(net);
        drop(inboxes);
    }

    fn send(&self, endpoint: (NodeId, u64), envelope: Envelope) {
        let frame = match wire::encode(&envelope) {
            Ok(frame) => frame,
            Err(error) => {
                return self
                    .0
                    .watch
                    .report_breach("every message has a frame", format!("{error}: {envelope:?}"));
            }
        };
        let request = matches!(envelope.body, Body::Request(_)).then_some(envelope.id);
        let (from, to) = (envelope.from, envelope.to);
        let (now, drop, duplicate, longest, delay, link, flooded, replay) = {
            let mut watched = self.0.watch.lock();
            watched.invariants.sent(&envelope);
            let conditions = &watched.conditions;
            let longest = watched.pace.latency + conditions.jitter;
            let weak = is_leaders(&envelope.body) && conditions.hears_no_leader(to);
            let link = if weak { Link::Cut } else { conditions.link(from, to) };
            (
                watched.now(),
                conditions.drop,
                conditions.duplicate,
                longest,
                conditions.delay,
                link,
                conditions.has_floods(),
                conditions.replay,
            )
        };
        let mut net = self.0.net.lock();
        let member = &net.members[from as usize];
        if endpoint != (from, member.life) || member.inbox.is_none() {
            return;
        }
        let parcel = Parcel::Frame { from, to, request, frame };
        if link == Link::Cut || drop > 0 && net.dice.chance(drop) {
            // The network reports some of the losses.
            if let Some(id) = request.filter(|_| net.dice.chance(300)) {
                let at = now + net.dice.between(1, 20) * MILLISECOND;
                self.plan(&mut net, at, Parcel::Undelivered { from, to, id });
            }
            return;
        }
        if flooded {
            net.recent.push_back(parcel.clone());
            let superfluous = net.recent.len().saturating_sub(RECENT);
            net.recent.drain(..superfluous);
        }
        if replay > 0 && net.dice.chance(replay) {
            net.kept.push_back(parcel.clone());
            let superfluous = net.kept.len().saturating_sub(RECENT);
            net.kept.drain(..superfluous);
        }
        let arrival = |net: &mut Net| {
            let at = now + delay + net.dice.between(MILLISECOND, longest.max(MILLISECOND));
            match link {
                Link::Clogged(until) => at.max(until),
                _ => at,
            }
        };
        if duplicate > 0 && net.dice.chance(duplicate) {
            let again = arrival(&mut net) + net.dice.between(0, 500 * MILLISECOND);
            self.plan(&mut net, again, parcel.clone());
        }
        let at = arrival(&mut net);
        self.plan(&mut net, at, parcel);
    }

    /// Another member leads: kept messages are delivered again, once or twice. Returns how many.
    pub(super) fn replay(&self, now: Micros) -> u64 {
        let mut net = self.0.net.lock();
        let kept = std::mem::take(&mut net.kept);
        for parcel in &kept {
            let at = now + net.dice.between(1, 300) * MILLISECOND;
            if net.dice.chance(300) {
                let again = at + net.dice.between(0, 3_000) * MILLISECOND;
                self.plan(&mut net, again, parcel.clone());
            }
            self.plan(&mut net, at, parcel.clone());
        }
        kept.len() as u64
    }

    fn plan(&self, net: &mut Net, at: Micros, parcel: Parcel) {
        net.sequence += 1;
        // The resolution of timers is a millisecond.
        let at = at.next_multiple_of(net.grid.max(MILLISECOND));
        net.agenda.insert((at, net.sequence), parcel);
        if at < net.armed {
            net.armed = at;
            self.0.sooner.notify_one();
        }
    }

    fn inbox(&self, node: NodeId) -> Option<Inbox> {
        self.0.net.lock().members[node as usize].inbox.clone()
    }

    fn deliver(&self, parcel: Parcel) {
        match parcel {
            Parcel::Undelivered { from, to, id } => {
                self.inbox(from).into_iter().for_each(|inbox| inbox.undelivered(to, id));
            }
            Parcel::Frame { from, to, request, frame } => {
                if self.0.watch.lock().conditions.link(from, to) == Link::Cut {
                    return;
                }
                match self.inbox(to) {
                    Some(inbox) => self.hand_over(from, to, &inbox, &frame),
                    None => {
                        let asker = self.inbox(from).zip(request);
                        asker.into_iter().for_each(|(inbox, id)| inbox.undelivered(to, id));
                    }
                }
            }
        }
    }

    fn hand_over(&self, from: NodeId, to: NodeId, inbox: &Inbox, frame: &Bytes) {
        match wire::decode(frame) {
            Ok(envelope) => {
                let mut watched = self.0.watch.lock();
                watched.events += 1;
                let now = watched.now();
                watched.trace.mix([now, to, envelope.id ^ from << 48]);
                watched.trace.line(now, Some(to), || format!("<- n{from} {:?}", envelope.body));
                watched.invariants.delivered(&envelope);
                drop(watched);
                inbox.deliver(envelope);
            }
            Err(error) => {
                self.0.watch.report_breach("every frame has a message", error.to_string())
            }
        }
    }
}

/// The endpoint of one incarnation of a member.
pub(super) struct Endpoint {
    network: Network,
    node: NodeId,
    life: u64,
}

impl Transport for Endpoint {
    fn send(&self, envelope: Envelope) {
        self.network.send((self.node, self.life), envelope);
    }

    fn attach(&self, node: NodeId, inbox: Inbox) {
        let member = &mut self.network.0.net.lock().members[node as usize];
        if member.life == self.life {
            member.inbox = Some(inbox);
        }
    }

    fn detach(&self, node: NodeId) {
        let member = &mut self.network.0.net.lock().members[node as usize];
        let inbox = if member.life == self.life { member.inbox.take() } else { None };
        drop(inbox);
    }
}

/// Whether only a leader sends this.
fn is_leaders(body: &Body) -> bool {
    matches!(body, Body::Request(Request::Append(_) | Request::Snapshot(_)))
}
