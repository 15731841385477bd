//! What a leader knows of one member, and how it treats it.
//!
//! ```text
//!            match agrees                         the log does not reach back
//!   Probe ─────────────────▶ Replicate      Probe ─────────────────────────▶ Snapshot
//!     ▲      reject, loss, restart  │         ▲  matched ≥ log start, Refused,     │
//!     └─────────────────────────────┘         └── or None for an election timeout ─┘
//! ```
//!
//! - **Probe**: one request at a time until the member's log is known to agree somewhere.
//! - **Replicate**: a window of requests under way; `next` runs ahead of what is acknowledged.
//! - **Snapshot**: no entries; pieces of a snapshot, one at a time, then waiting for the install.
//!
//! Heartbeats go on in every state. Not here: what is sent; see `leader.rs` and `transfer.rs`.

use std::collections::VecDeque;

use super::message::{InstallStatus, RequestId};
use super::types::{Incarnation, Index, Micros, SnapshotMeta};

/// One member, as its leader sees it.
///
/// Invariants: `matched < next`; `matched` never falls within one incarnation of the member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    /// The member's log agrees with the leader's, durably, up to here.
    pub matched: Index,
    /// The next entry to send.
    pub next: Index,
    pub state: ProgressState,
    /// The member's incarnation, 0 until it has answered.
    pub incarnation: Incarnation,
    /// The incarnation that acknowledged `matched`.
    pub matched_in: Option<Incarnation>,
    /// When the last request left.
    pub sent_at: Micros,
    /// When the last answer came; at the start of the term, the term's beginning.
    pub answered_at: Micros,
    /// Whether the member has answered this leader at all.
    pub has_answered: bool,
    /// The highest round that the member has confirmed.
    pub round: u64,
    /// What the member last said about a snapshot.
    pub install: InstallStatus,
    /// It lost something it had acknowledged and does not count: by its own word, or until it has caught up to this index.
    pub recovering: bool,
    pub distrusted_until: Option<Index>,
    /// A read of old entries for it is under way: its id and first index.
    pub read: Option<(u64, Index)>,
    /// Nothing but heartbeats before this moment: the member was busy, or could not be reached.
    pub retry_at: Micros,
    /// Snapshot transfers that came to nothing, in a row (B16).
    pub failed_transfers: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ProgressState {
    Probe { outstanding: Option<(RequestId, Micros)> },
    Replicate { inflight: VecDeque<Inflight> },
    Snapshot(Transfer),
}

/// An AppendEntries under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inflight {
    pub id: RequestId,
    pub last: Index,
    pub bytes: usize,
    pub sent_at: Micros,
}

/// A snapshot on its way to a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Transfer {
    pub transfer: u64,
    pub meta: SnapshotMeta,
    /// First byte the member still misses.
    pub offset: u64,
    pub step: TransferStep,
    /// When the member last got further.
    pub progressed_at: Micros,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TransferStep {
    /// Bytes from the offset on are being read.
    Reading,
    /// They are under way.
    Sent { id: RequestId, at: Micros },
    /// They were lost and are read again at `retry_at`.
    Lost,
    /// The member has them all, or has another snapshot: it is up to its state machine.
    Installing,
}

impl Progress {
    /// A member at the beginning of a term: probed at the log's end.
    pub(super) fn new(next: Index, now: Micros) -> Progress {
        Progress {
            matched: 0,
            next,
            state: ProgressState::Probe { outstanding: None },
            incarnation: 0,
            matched_in: None,
            sent_at: 0,
            answered_at: now,
            has_answered: false,
            round: 0,
            install: InstallStatus::None,
            recovering: false,
            distrusted_until: None,
            read: None,
            retry_at: 0,
            failed_transfers: 0,
        }
    }

    /// What the member counts for in a quorum.
    pub(super) fn counted(&self) -> Index {
        if self.recovering || self.distrusted_until.is_some() { 0 } else { self.matched }
    }

    /// Back to one request at a time, from what is acknowledged.
    pub(super) fn become_probe(&mut self) {
        self.become_probe_at(self.matched + 1);
    }

    /// Back to one request at a time, from `next`.
    pub(super) fn become_probe_at(&mut self, next: Index) {
        self.next = next.max(self.matched + 1);
        self.read = None;
        self.state = ProgressState::Probe { outstanding: None };
    }

    fn become_replicate(&mut self) {
        self.next = self.matched + 1;
        self.read = None;
        self.state = ProgressState::Replicate { inflight: VecDeque::new() };
    }

    /// The member's log agrees, durably, up to `matched`: by the answer to `request`.
    pub(super) fn on_matched(&mut self, matched: Index, request: RequestId) {
        self.matched = self.matched.max(matched);
        if self.distrusted_until.is_some_and(|until| self.matched >= until) {
            self.distrusted_until = None;
        }
        match &mut self.state {
            ProgressState::Probe { outstanding } => {
                if outstanding.is_some_and(|(id, _)| id == request) || self.matched + 1 >= self.next
                {
                    self.become_replicate();
                }
            }
            ProgressState::Replicate { inflight } => {
                inflight.retain(|sent| sent.id != request && sent.last > self.matched);
                self.next = self.next.max(self.matched + 1);
            }
            ProgressState::Snapshot(_) => self.next = self.next.max(self.matched + 1),
        }
    }

    /// Whether a request sent at `sent_at` must be taken for lost.
    fn lost(sent_at: Micros, now: Micros, timeout: Micros) -> bool {
        now.saturating_sub(sent_at) >= timeout
    }

    /// Gives up on requests that were not answered in time.
    pub(super) fn expire(&mut self, now: Micros, timeout: Micros) {
        match &mut self.state {
            ProgressState::Probe { outstanding } => {
                if outstanding.is_some_and(|(_, at)| Self::lost(at, now, timeout)) {
                    *outstanding = None;
                }
            }
            ProgressState::Replicate { inflight } => {
                if inflight.front().is_some_and(|sent| Self::lost(sent.sent_at, now, timeout)) {
                    self.become_probe();
                }
            }
            ProgressState::Snapshot(transfer) => {
                if matches!(transfer.step, TransferStep::Sent { at, .. } if Self::lost(at, now, timeout))
                {
                    transfer.step = TransferStep::Lost;
                }
            }
        }
    }

    /// The transport knows that `request` did not arrive.
    pub(super) fn on_undelivered(&mut self, request: RequestId, retry_at: Micros) {
        match &mut self.state {
            ProgressState::Probe { outstanding } => {
                if outstanding.is_some_and(|(id, _)| id == request) {
                    *outstanding = None;
                    self.retry_at = retry_at;
                }
            }
            ProgressState::Replicate { inflight } => {
                if inflight.iter().any(|sent| sent.id == request) {
                    self.become_probe();
                    self.retry_at = retry_at;
                }
            }
            ProgressState::Snapshot(transfer) => {
                if matches!(transfer.step, TransferStep::Sent { id, .. } if id == request) {
                    transfer.step = TransferStep::Lost;
                    self.retry_at = retry_at;
                }
            }
        }
    }

    /// Whether another request with entries may leave.
    pub(super) fn window_open(&self, window_messages: usize, window_bytes: usize) -> bool {
        match &self.state {
            ProgressState::Probe { outstanding } => outstanding.is_none(),
            ProgressState::Replicate { inflight } => {
                inflight.len() < window_messages
                    && inflight.iter().map(|sent| sent.bytes).sum::<usize>() < window_bytes
            }
            ProgressState::Snapshot(_) => false,
        }
    }

    /// A request with entries up to `last` leaves now.
    pub(super) fn on_sent(&mut self, id: RequestId, last: Index, bytes: usize, now: Micros) {
        self.sent_at = now;
        match &mut self.state {
            ProgressState::Probe { outstanding } => *outstanding = Some((id, now)),
            ProgressState::Replicate { inflight } => {
                assert!(last >= self.next, "sent up to {last}, next was {}", self.next);
                self.next = last + 1;
                inflight.push_back(Inflight { id, last, bytes, sent_at: now });
            }
            ProgressState::Snapshot(_) => {
                unreachable!("entries sent to a member that gets a snapshot")
            }
        }
    }

    pub(super) fn transfer_mut(&mut self) -> Option<&mut Transfer> {
        match &mut self.state {
            ProgressState::Snapshot(transfer) => Some(transfer),
            _ => None,
        }
    }

    pub(super) fn transfer(&self) -> Option<&Transfer> {
        match &self.state {
            ProgressState::Snapshot(transfer) => Some(transfer),
            _ => None,
        }
    }
}
