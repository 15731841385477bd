//! The apply queue: the only queue of changes to the state machine.
//!
//! ```text
//! peer ──Enqueue──▶ [entries+replies][offer+staged][take snapshot][entries ..] ──Work──▶ apply side
//!      ─Withdraw─▶                                                        ◀─Pull──
//! ```
//! Entries, offered snapshots and requests for a snapshot keep their order (A68, B12, SN01). The
//! apply side pulls one item at a time, so a slow apply side delays only its own callers (B2).
//! Adjacent small batches are joined.
//!
//! *What it does not do:* it has no bound of its own; the protocol dispatches at most
//! [`Config::apply_queue_bytes`](crate::node::Config) of entries that are not applied yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use actix::Recipient;

use crate::actors::context::NodeContext;
use crate::messages::{
    ApplyMessage, ApplyWork, CommittedBatch, DropState, Enqueue, OfferedSnapshot, Pull,
    SnapshotterAddress, Stop, WithdrawOffer,
};
use crate::runtime::shell::{Batch, Behaviour, Receive, Turn};

/// Batches are joined up to this size: large enough to save messages, small enough to answer
/// clients in between.
const JOINED_BYTES: usize = 256 << 10;

pub(crate) struct ApplyQueue {
    items: VecDeque<ApplyWork>,
    /// The apply side has pulled and not received an item yet.
    pulled: bool,
    /// The size of the last item in bytes, if it is a batch of entries; else 0.
    tail_bytes: usize,
    apply_side: Recipient<ApplyMessage>,
    snapshotter: SnapshotterAddress,
    shared: Arc<NodeContext>,
}

impl Behaviour for ApplyQueue {
    const NAME: &'static str = "apply queue";

    fn flush(&mut self, _batch: Batch) {
        self.shared.metrics.apply_queue_items.store(self.items.len() as u64, Relaxed);
    }
}

impl Receive<Enqueue> for ApplyQueue {
    fn receive(&mut self, Enqueue(work): Enqueue, _turn: &mut Turn) {
        self.push(work);
        self.serve();
    }
}

impl Receive<WithdrawOffer> for ApplyQueue {
    fn receive(&mut self, WithdrawOffer(log_id): WithdrawOffer, _turn: &mut Turn) {
        self.drop_offers(|offer| offer.meta.log_id == log_id);
        self.serve();
    }
}

impl Receive<Pull> for ApplyQueue {
    fn receive(&mut self, _pull: Pull, _turn: &mut Turn) {
        self.pulled = true;
        self.serve();
    }
}

/// The peer has ended (A70): the remaining entries are passed to the apply side.
impl Receive<Stop> for ApplyQueue {
    fn receive(&mut self, Stop(ack): Stop, turn: &mut Turn) {
        self.hand_over_the_rest();
        turn.stop(ack);
    }
}

impl ApplyQueue {
    pub(crate) fn new(
        apply_side: Recipient<ApplyMessage>,
        snapshotter: SnapshotterAddress,
        shared: Arc<NodeContext>,
    ) -> ApplyQueue {
        ApplyQueue {
            items: VecDeque::new(),
            pulled: false,
            tail_bytes: 0,
            apply_side,
            snapshotter,
            shared,
        }
    }

    fn push(&mut self, work: ApplyWork) {
        let work = match (work, self.items.back_mut()) {
            (ApplyWork::Entries(batch), Some(ApplyWork::Entries(tail)))
                if self.tail_bytes < JOINED_BYTES && tail.entries.goes_on_with(&batch.entries) =>
            {
                self.tail_bytes += batch.size_bytes();
                return join(tail, batch);
            }
            (work, _) => work,
        };
        self.tail_bytes = match &work {
            ApplyWork::Entries(batch) => batch.size_bytes(),
            _ => 0,
        };
        self.items.push_back(work);
    }

    fn serve(&mut self) {
        if !self.pulled {
            return;
        }
        if let Some(work) = self.items.pop_front() {
            self.pulled = false;
            self.apply_side.do_send(ApplyMessage::Work(work));
        }
    }

    fn drop_offers(&mut self, unwanted: impl Fn(&OfferedSnapshot) -> bool) {
        for item in std::mem::take(&mut self.items) {
            match item {
                ApplyWork::Offer(offer) if unwanted(&offer) => {
                    self.snapshotter.send(DropState(offer.shadow));
                }
                item => self.items.push_back(item),
            }
        }
    }

    /// The peer has ended: it decides no offer and makes no snapshot current any more. Committed
    /// entries are still applied and answered, except after a failure.
    fn hand_over_the_rest(&mut self) {
        self.drop_offers(|_| true);
        if self.shared.stop_signal.fatal().is_some() {
            return self.items.clear();
        }
        for work in self.items.drain(..).filter(|work| matches!(work, ApplyWork::Entries(_))) {
            self.apply_side.do_send(ApplyMessage::Work(work));
        }
    }
}

fn join(tail: &mut CommittedBatch, mut batch: CommittedBatch) {
    tail.entries.append(&batch.entries);
    tail.replies.append(&mut batch.replies);
}
