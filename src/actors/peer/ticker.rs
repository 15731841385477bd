//! The ticker: tells the peer that time passes.
//!
//! A tick is a message like any other, with the time it was due. It comes when a deadline of the protocol is due, and
//! otherwise every so often, for what needs no precision. At most one is outstanding, and missed ones are not repaid: after
//! a stall the peer sees one late tick, not a burst of elections (AC07).

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use actix::Recipient;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::messages::PeerMessage;
use crate::raft::Micros;
use crate::runtime::clock::Clock;
use crate::runtime::stop_signal::StopSignal;

/// Ticks are at least so far apart, whatever is due.
const TICK_MIN: Micros = 1000;

/// What the peer and its ticker agree on.
#[derive(Clone, Default)]
pub(crate) struct TickTimer(Arc<NodeContext>);

#[derive(Default)]
struct NodeContext {
    /// A tick is on its way to the peer.
    outstanding: AtomicBool,
    /// When the next is due, in the peer's time.
    deadline: AtomicU64,
    /// When the ticker looks again, in the peer's time.
    armed: AtomicU64,
    changed: Notify,
}

impl TickTimer {
    /// The peer has the tick.
    pub(crate) fn arrived(&self) {
        self.0.outstanding.store(false, Release);
    }

    /// The next tick is due at `deadline`. One that moved further away costs nothing here: the ticker finds out.
    pub(crate) fn set(&self, deadline: Micros) {
        self.0.deadline.store(deadline, Release);
        if deadline < self.0.armed.load(Acquire) {
            self.0.changed.notify_one();
        }
    }

    /// When the next tick is due, if the last was at `last`.
    fn due(&self, last: Micros, every: Micros) -> Micros {
        let deadline = self.0.deadline.load(Acquire).max(last + TICK_MIN.min(every));
        let due = if self.0.outstanding.load(Acquire) { last + every } else { deadline };
        let due = due.min(last + every);
        self.0.armed.store(due, Release);
        due
    }
}

/// Ticks until the node stops.
pub(crate) async fn tick(
    every: Duration,
    clock: Clock,
    alarm: TickTimer,
    peer: Recipient<PeerMessage>,
    stop_signal: Arc<StopSignal>,
) {
    let every = every.as_micros() as Micros;
    let mut last = clock.now();
    while stop_signal.is_running() {
        let due = alarm.due(last, every);
        if clock.now() < due {
            // Woken early or not: what is due now is asked again.
            let _ = timeout_at(clock.instant(due), alarm.0.changed.notified()).await;
            continue;
        }
        last = clock.now();
        if !alarm.0.outstanding.swap(true, AcqRel) {
            peer.do_send(PeerMessage::Tick { due });
        }
    }
}
