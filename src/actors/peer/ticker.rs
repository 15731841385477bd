//! The ticker: sends ticks to the peer.
//!
//! A tick is an ordinary message that carries the time at which it was due. It is sent when a
//! deadline of the protocol is due, and otherwise periodically, for work that needs no precision.
//! At most one is outstanding, and missed ticks are not made up for: after a stall the peer sees
//! one late tick, not a burst of elections (AC07).

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::messages::{PeerAddress, Tick};
use crate::raft::Micros;
use crate::runtime::clock::Clock;
use crate::runtime::shell::{Receive, Turn};
use crate::runtime::stop_signal::StopSignal;

use super::RaftPeer;

/// The minimum time between two ticks, whatever is due, in microseconds.
const TICK_MIN: Micros = 1000;

/// State shared by the peer and its ticker.
#[derive(Clone, Default)]
pub(crate) struct TickTimer(Arc<TimerState>);

#[derive(Default)]
struct TimerState {
    /// A tick is in the peer's mailbox.
    outstanding: AtomicBool,
    /// When the next tick is due, in the peer's time.
    deadline: AtomicU64,
    /// When the ticker checks again, in the peer's time.
    armed: AtomicU64,
    changed: Notify,
}

impl TickTimer {
    /// The peer has received the tick.
    pub(crate) fn arrived(&self) {
        self.0.outstanding.store(false, Release);
    }

    /// Sets the deadline of the next tick. A later deadline does not wake the ticker: it reads the
    /// new one when the old one has passed.
    pub(crate) fn set(&self, deadline: Micros) {
        self.0.deadline.store(deadline, Release);
        if deadline < self.0.armed.load(Acquire) {
            self.0.changed.notify_one();
        }
    }

    /// When the next tick is due if the last was at `last`, which also becomes the time of the next
    /// check.
    fn due(&self, last: Micros, every: Micros) -> Micros {
        let deadline = self.0.deadline.load(Acquire).max(last + TICK_MIN.min(every));
        let due = if self.0.outstanding.load(Acquire) { last + every } else { deadline };
        let due = due.min(last + every);
        self.0.armed.store(due, Release);
        due
    }
}

/// Sends ticks until the node stops.
pub(crate) async fn tick(
    every: Duration,
    clock: Clock,
    tick_timer: TickTimer,
    peer: PeerAddress,
    stop_signal: Arc<StopSignal>,
) {
    let every = every.as_micros() as Micros;
    let mut last = clock.now();
    while stop_signal.is_running() {
        let due = tick_timer.due(last, every);
        if clock.now() < due {
            // In either case, woken early or timed out, the due time is computed again.
            let _ = timeout_at(clock.instant(due), tick_timer.0.changed.notified()).await;
            continue;
        }
        last = clock.now();
        if !tick_timer.0.outstanding.swap(true, AcqRel) {
            peer.send(Tick { due });
        }
    }
}

impl Receive<Tick> for RaftPeer {
    fn receive(&mut self, Tick { due }: Tick, turn: &mut Turn) {
        self.tick_timer.arrived();
        self.shared.metrics.loop_took(turn.now.saturating_sub(due));
        self.tick(turn.now);
        self.seal_if_idle(turn.now);
    }
}

impl RaftPeer {
    pub(super) fn tick(&mut self, now: Micros) {
        if now.saturating_sub(self.next_tick) >= self.times.stall {
            self.raft.stalled(now);
        }
        self.next_tick = now + self.times.tick;
        self.release_batch(now);
        self.raft.tick(now);
        self.waiters.expire(now);
        self.shared.reads.expire(now);
    }

    /// Sets the time of the next tick: the protocol's deadline, or that of held entries.
    pub(super) fn set_tick_timer(&mut self) {
        let deadline =
            self.raft.next_deadline().min(self.apply_batcher.due().unwrap_or(Micros::MAX));
        self.next_tick = self.next_tick.min(deadline);
        self.tick_timer.set(deadline);
    }
}
