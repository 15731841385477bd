//! Flow control: bounds the bytes sent to a member that has not handled them yet.
//!
//! ```text
//!  sender                                    receiver
//!  Allowance: sent + cost ≤ limit ─frames─▶  Gate: unhandled += cost ──▶ mailbox ──▶ handled:
//!           ▲                                  │                              Receipt dropped
//!           └───────── limit ◀─────────────────┴── limit = received + window − unhandled ◀┘
//! ```
//! The cost of a frame is its length plus [`FRAME_COST`], for its overhead in memory. The limit
//! counts from the start of a connection and only grows. The [`Gate`] belongs to a member and a
//! lane, not to a connection: a member that reconnects repeatedly while the peer handles nothing
//! finds the window as full as it left it.
//!
//! Invariant: `unhandled` is at most the window, however often the sender connects, as long as it
//! respects its limit; a sender that does not is disconnected at the first frame beyond it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::transport::{Receipt, Taken};

/// The cost of a frame besides its length.
pub(crate) const FRAME_COST: usize = 256;

/// The cost of a frame of `frame_bytes`.
pub(crate) fn cost(frame_bytes: usize) -> usize {
    frame_bytes + FRAME_COST
}

/// The send window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    sent: u64,
    limit: u64,
}

impl Allowance {
    pub(crate) fn new(limit: u64) -> Allowance {
        Allowance { sent: 0, limit }
    }

    /// The cost that may be sent now.
    pub(crate) fn left(&self) -> usize {
        usize::try_from(self.limit.saturating_sub(self.sent)).unwrap_or(usize::MAX)
    }

    pub(crate) fn spend(&mut self, cost: usize) {
        self.sent += cost as u64;
        assert!(self.sent <= self.limit, "sent {} of at most {}", self.sent, self.limit);
    }

    /// Raises the limit. A limit never falls: an older message has no effect.
    pub(crate) fn raise(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }
}

/// The receive window: what one member has sent over one lane and the peer has not handled.
#[derive(Debug)]
pub(crate) struct Gate {
    window: u64,
    unhandled: AtomicU64,
    /// The cost handled since the last limit sent to the sender.
    unsaid: AtomicU64,
    /// Notified when a new limit is worth sending.
    moved: Notify,
}

impl Gate {
    pub(crate) fn new(window: usize) -> Gate {
        Gate {
            window: window as u64,
            unhandled: AtomicU64::new(0),
            unsaid: AtomicU64::new(0),
            moved: Notify::new(),
        }
    }

    /// The limit for a sender that has sent `received` on its connection so far.
    pub(crate) fn limit(&self, received: u64) -> u64 {
        self.unsaid.swap(0, Ordering::AcqRel);
        received + self.window.saturating_sub(self.unhandled())
    }

    /// Admits an envelope of `cost`; dropping the receipt returns the cost.
    pub(crate) fn admit(self: &Arc<Self>, cost: usize) -> Receipt {
        self.unhandled.fetch_add(cost as u64, Ordering::Relaxed);
        Receipt::new(Arc::clone(self) as Arc<dyn Taken>, cost)
    }

    pub(crate) fn unhandled(&self) -> u64 {
        self.unhandled.load(Ordering::Relaxed)
    }

    /// Waits until a quarter of the window has been handled since the last limit sent.
    pub(crate) async fn moved(&self) {
        self.moved.notified().await;
    }
}

impl Taken for Gate {
    fn taken(&self, cost: usize) {
        let cost = cost as u64;
        self.unhandled.fetch_sub(cost, Ordering::Relaxed);
        // A reader of this value also sees the reduced `unhandled`.
        let before = self.unsaid.fetch_add(cost, Ordering::AcqRel);
        let enough = self.window / 4;
        if before < enough && before + cost >= enough {
            self.moved.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_window_opens_again_as_things_are_handled() {
        let gate = Arc::new(Gate::new(1000));
        assert_eq!(gate.limit(0), 1000);
        let receipts: Vec<Receipt> = (0..4).map(|_| gate.admit(250)).collect();
        assert_eq!((gate.limit(1000), gate.unhandled()), (1000, 1000));
        drop(receipts);
        assert_eq!((gate.limit(1000), gate.unhandled()), (2000, 0));
    }

    #[test]
    fn a_new_connection_finds_what_the_old_one_left() {
        let gate = Arc::new(Gate::new(1000));
        let old = gate.admit(700);
        assert_eq!(gate.limit(0), 300, "the new connection has received nothing yet");
        drop(old);
        assert_eq!(gate.limit(0), 1000);
    }

    #[test]
    fn a_sender_stops_at_the_limit_and_a_late_word_does_not_lower_it() {
        let mut allowance = Allowance::new(500);
        allowance.spend(500);
        assert_eq!(allowance.left(), 0);
        allowance.raise(800);
        allowance.raise(600);
        assert_eq!(allowance.left(), 300);
    }
}
