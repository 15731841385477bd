//! Messages in flight: lost, duplicated, late, held back, or cut off.

use quorate::raft::{Body, Envelope, Micros, NodeId, Request};

use super::super::MILLISECOND;
use super::super::conditions::Link;
use super::super::lies;
use super::world::{Happening, Own, World};

/// The number of messages kept for floods.
const RECENT: usize = 64;

impl World {
    pub(super) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.conditions.link(from, to) == Link::Cut
    }

    pub(super) fn send(&mut self, envelope: Envelope) {
        self.invariants.sent(&envelope);
        self.perhaps_lie(&envelope);
        let (from, to) = (envelope.from, envelope.to);
        let link = self.conditions.link(from, to);
        let weak = is_leaders(&envelope.body) && self.conditions.hears_no_leader(to);
        let lost = self.streams.network.chance(self.conditions.drop) || link == Link::Cut || weak;
        if lost {
            return self.perhaps_tell(&envelope);
        }
        if self.conditions.has_floods() {
            self.recent.push_back(envelope.clone());
            let superfluous = self.recent.len().saturating_sub(RECENT);
            self.recent.drain(..superfluous);
        }
        if self.conditions.replay > 0 && self.streams.network.chance(self.conditions.replay) {
            self.kept.push_back(envelope.clone());
            let superfluous = self.kept.len().saturating_sub(RECENT);
            self.kept.drain(..superfluous);
        }
        if self.conditions.duplicate > 0 && self.streams.network.chance(self.conditions.duplicate) {
            let again = self.arrival(link) + self.streams.network.between(0, 500 * MILLISECOND);
            self.agenda.plan(again, Happening::Deliver(envelope.clone()));
        }
        let at = self.arrival(link);
        self.agenda.plan(at, Happening::Deliver(envelope));
    }

    /// Sends a malformed copy in addition to the message.
    fn perhaps_lie(&mut self, envelope: &Envelope) {
        let lies = self.conditions.member(envelope.from).lies;
        if lies > 0 && self.streams.lies.chance(lies) {
            let lie = lies::beside(envelope, &mut self.streams.lies);
            self.note(envelope.from, || format!("lies to n{}: {lie:?}", lie.to));
            self.invariants.alarms_may_come();
            self.sights.disturbed();
            let at = self.now + self.streams.lies.between(1, self.pace.latency);
            self.agenda.plan(at, Happening::Deliver(lie));
        }
    }

    fn arrival(&mut self, link: Link) -> Micros {
        let longest = self.pace.latency + self.conditions.jitter;
        let delay = self.conditions.delay + self.streams.network.between(1, longest);
        let at = self.now + delay;
        match link {
            Link::Clogged(until) => at.max(until),
            _ => at,
        }
    }

    /// The network reports some of the losses.
    fn perhaps_tell(&mut self, envelope: &Envelope) {
        let is_request = matches!(envelope.body, Body::Request(_));
        if is_request && self.streams.network.chance(300) {
            let delay = self.streams.network.between(1, 20 * MILLISECOND);
            self.plan(envelope.from, delay, Own::Undelivered(envelope.to, envelope.id));
        }
    }

    /// Another member leads: kept messages are delivered again, once or twice.
    pub(super) fn replay(&mut self) {
        for envelope in std::mem::take(&mut self.kept) {
            self.sights.replayed += 1;
            let at = self.now + self.streams.network.between(0, 300 * MILLISECOND);
            if self.streams.network.chance(300) {
                let again = at + self.streams.network.between(0, 3_000 * MILLISECOND);
                self.agenda.plan(again, Happening::Deliver(envelope.clone()));
            }
            self.agenda.plan(at, Happening::Deliver(envelope));
        }
    }

    /// One millisecond of a flood: old messages are delivered again.
    pub(super) fn flood(&mut self, id: NodeId) {
        let count = self.conditions.member(id).flood;
        if count == 0 {
            return;
        }
        let for_it: Vec<Envelope> =
            self.recent.iter().filter(|envelope| envelope.to == id).cloned().collect();
        for _ in 0..count.min(for_it.len() as u64 * 8) {
            let again = self.streams.network.pick(&for_it).clone();
            self.agenda.plan(self.now, Happening::Deliver(again));
        }
        self.agenda.plan(self.now + MILLISECOND, Happening::Flood(id));
    }
}

/// Whether only a leader sends this.
fn is_leaders(body: &Body) -> bool {
    matches!(body, Body::Request(Request::Append(_) | Request::Snapshot(_)))
}
