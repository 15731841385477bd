//! The ticker: tells the peer that time passes.
//!
//! A tick is a message like any other, with the time it was due. At most one is outstanding, and missed ones are
//! not repaid: after a stall the peer sees one late tick, not a burst of elections (AC07).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::time::Duration;

use actix::Recipient;
use tokio::time::{MissedTickBehavior, interval};

use crate::messages::PeerMessage;

use super::clock::Clock;
use super::lifeline::Lifeline;

/// Whether a tick is on its way to the peer.
#[derive(Clone, Default)]
pub(crate) struct Outstanding(Arc<AtomicBool>);

impl Outstanding {
    /// The peer has the tick.
    pub(crate) fn arrived(&self) {
        self.0.store(false, Release);
    }
}

/// Ticks until the node stops.
pub(crate) async fn tick(
    every: Duration,
    clock: Clock,
    outstanding: Outstanding,
    peer: Recipient<PeerMessage>,
    lifeline: Arc<Lifeline>,
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while lifeline.is_running() {
        let due = clock.at(ticks.tick().await);
        if !outstanding.0.swap(true, AcqRel) {
            peer.do_send(PeerMessage::Tick { due });
        }
    }
}
