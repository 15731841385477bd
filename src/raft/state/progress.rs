//! What a leader knows of one member, and how it replicates to it.
//!
//! ```text
//!            match found                          the log does not reach back
//!   Probe ─────────────────▶ Replicate      Probe ─────────────────────────▶ Snapshot
//!     ▲      reject, loss, restart  │         ▲  matched ≥ log start, Refused,     │
//!     └─────────────────────────────┘         └── or None for an election timeout ─┘
//! ```
//!
//! - **Probe**: one request at a time, until an entry is known at which the member's log matches.
//! - **Replicate**: a window of requests under way; `next` is ahead of what is acknowledged.
//! - **Snapshot**: no entries; chunks of a snapshot, one at a time, then the wait for the install.
//!
//! Heartbeats are sent in every state. Not here: what is sent; see `sending.rs` and `transfer.rs`.

use std::collections::VecDeque;

use crate::raft::message::{InstallStatus, RequestId};
use crate::raft::types::{Incarnation, Index, Micros, SnapshotMeta};

/// A chunk may be sent repeatedly: answers to this many of its latest requests count.
const COPIES_MAX: usize = 16;
/// A member whose build can't decode a snapshot is sent the next one after 1/16 of the longest wait
/// at first.
const UNDECODABLE_DOUBLINGS: u32 = 4;

/// One member's state at its leader.
///
/// Invariants: `matched < next`; `matched` never falls within one incarnation of the member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) struct Progress {
    /// The member's log matches the leader's, durably, up to here.
    pub matched: Index,
    /// The next entry to send.
    pub next: Index,
    pub state: ProgressState,
    /// The member's incarnation; 0 until it has answered.
    pub incarnation: Incarnation,
    /// The incarnation that acknowledged `matched`.
    pub matched_in: Option<Incarnation>,
    /// When the last request was sent.
    pub sent_at: Micros,
    /// The last request without entries: when it was sent, and its id.
    pub heartbeat: (Micros, RequestId),
    /// When the last request with entries was sent.
    pub entries_sent_at: Option<Micros>,
    /// When the next heartbeat is due, if another request is not sent before.
    pub next_heartbeat_at: Option<Micros>,
    /// The last request was not answered in time. Until the member answers, it is sent only
    /// heartbeats.
    pub unresponsive: bool,
    /// The log's last index when such a heartbeat was last made due.
    pub asked_at_last: Index,
    /// The highest commit index that a request to the member covered.
    pub sent_commit: Index,
    /// The leader's durable index that was last sent to the member.
    pub told_durable: Index,
    /// When the last answer came; the start of the term if none came yet.
    pub answered_at: Micros,
    /// Whether the member has answered this leader at all.
    pub has_answered: bool,
    /// The highest round that the member has confirmed.
    pub round: u64,
    /// The member's last report about a snapshot.
    pub install: InstallStatus,
    /// The member reports that it lost data it had acknowledged, and does not count in quorums.
    pub recovering: bool,
    /// The member is untrusted after a data loss, and does not count until it matches up to here.
    pub distrusted_until: Option<Index>,
    /// The read of old entries under way for the member: its id and first index.
    pub read: Option<(u64, Index)>,
    /// Only heartbeats are sent before this time: the member was busy, or could not be reached.
    pub retry_at: Micros,
    /// The number of failed snapshot transfers in a row (B16).
    pub failed_transfers: u32,
    /// The number of snapshots in a row that the member's build could not decode.
    pub undecodable_transfers: u32,
    /// The member is not sent another snapshot before `retry_at`, unless its report changes before.
    pub needs_newer_build: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) enum ProgressState {
    Probe { outstanding: Option<(RequestId, Micros)> },
    Replicate { inflight: VecDeque<Inflight> },
    Snapshot(Transfer),
}

/// An AppendEntries under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) struct Inflight {
    pub id: RequestId,
    pub last: Index,
    pub bytes: usize,
    pub sent_at: Micros,
}

/// A snapshot transfer to a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) struct Transfer {
    pub transfer: u64,
    pub meta: SnapshotMeta,
    /// The first byte that the member is missing.
    pub offset: u64,
    pub step: TransferStep,
    /// The latest requests that carried the chunk at `offset`, oldest first.
    pub asked: VecDeque<RequestId>,
    /// A chunk that is unanswered for this long counts as lost.
    pub patience: Micros,
    /// When the member's `offset` last increased.
    pub progressed_at: Micros,
    /// The wait after an answer before the member is asked for the state of its install again.
    pub poll: Micros,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::raft) enum TransferStep {
    /// Bytes from `offset` on are being read.
    Reading,
    /// They are under way.
    Sent { id: RequestId, at: Micros },
    /// They were lost, and are read again at `retry_at`.
    Lost,
    /// The member has all bytes, or another snapshot. The next step is that of its state machine.
    Installing,
}

impl Transfer {
    /// The chunk at `offset` is sent now, perhaps repeatedly.
    pub(in crate::raft) fn on_sent(&mut self, id: RequestId, now: Micros) {
        if self.asked.len() == COPIES_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(id);
        self.step = TransferStep::Sent { id, at: now };
    }

    /// Whether `id` requested the chunk that is still missing, and was given up before its answer
    /// came.
    pub(in crate::raft) fn is_answered_late_by(&self, id: RequestId) -> bool {
        let current = matches!(self.step, TransferStep::Sent { id: sent, .. } if sent == id);
        self.step != TransferStep::Installing && !current && self.asked.contains(&id)
    }

    /// The member has all bytes up to `offset`.
    pub(in crate::raft) fn move_to(&mut self, offset: u64, now: Micros) {
        if offset > self.offset {
            self.progressed_at = now;
        }
        if offset != self.offset {
            self.asked.clear();
        }
        self.offset = offset;
    }
}

impl Progress {
    /// A member at the start of a term: probed at the log's end.
    pub(in crate::raft) fn new(next: Index, now: Micros) -> Progress {
        Progress {
            matched: 0,
            next,
            state: ProgressState::Probe { outstanding: None },
            incarnation: 0,
            matched_in: None,
            sent_at: 0,
            heartbeat: (0, 0),
            entries_sent_at: None,
            next_heartbeat_at: Some(now),
            unresponsive: false,
            asked_at_last: 0,
            sent_commit: 0,
            told_durable: 0,
            answered_at: now,
            has_answered: false,
            round: 0,
            install: InstallStatus::None,
            recovering: false,
            distrusted_until: None,
            read: None,
            retry_at: 0,
            failed_transfers: 0,
            undecodable_transfers: 0,
            needs_newer_build: false,
        }
    }

    /// Whether the member counts in quorums: what it acknowledged is not known to be lost.
    pub(in crate::raft) fn counts(&self) -> bool {
        !self.recovering && self.distrusted_until.is_none()
    }

    /// The index up to which the member counts in quorums.
    pub(in crate::raft) fn counted(&self) -> Index {
        if self.counts() { self.matched } else { 0 }
    }

    /// Whether the member has a snapshot under way, from any sender.
    pub(in crate::raft) fn installs(&self) -> bool {
        matches!(self.install, InstallStatus::Receiving { .. } | InstallStatus::Pending { .. })
    }

    /// The member's build could not decode the snapshot. The next one waits, twice as long each
    /// time, up to `wait_max`.
    pub(in crate::raft) fn on_undecodable(&mut self, now: Micros, wait_max: Micros) {
        let wait = (wait_max >> UNDECODABLE_DOUBLINGS) << self.undecodable_transfers;
        self.undecodable_transfers = (self.undecodable_transfers + 1).min(UNDECODABLE_DOUBLINGS);
        self.needs_newer_build = true;
        self.become_probe();
        self.retry_at = now + wait.max(1);
    }

    /// The member was restarted, perhaps with another build, or no longer reports that it can't
    /// decode a snapshot: the wait ends.
    pub(in crate::raft) fn forget_undecodable(&mut self, now: Micros) {
        if std::mem::take(&mut self.needs_newer_build) {
            self.retry_at = now;
        }
    }

    /// Changes to Probe, after the acknowledged entries.
    pub(in crate::raft) fn become_probe(&mut self) {
        self.become_probe_at(self.matched + 1);
    }

    /// Changes to Probe, at `next`.
    pub(in crate::raft) fn become_probe_at(&mut self, next: Index) {
        self.next = next.max(self.matched + 1);
        self.read = None;
        self.state = ProgressState::Probe { outstanding: None };
    }

    /// Changes to Replicate, at `next`: the member holds the entries before it, though perhaps not
    /// durably yet.
    fn become_replicate(&mut self) {
        self.next = self.next.max(self.matched + 1);
        self.read = None;
        self.state = ProgressState::Replicate { inflight: VecDeque::new() };
    }

    /// The answer to `request` reports that the member's log matches, durably, up to `matched`.
    pub(in crate::raft) fn on_matched(&mut self, matched: Index, request: RequestId) {
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

    /// Gives up on a request that was not answered in time. It may have arrived all the same, so
    /// probing continues at `next`. A heartbeat is due at once when the member becomes
    /// unresponsive; with `again` also if it was unresponsive before.
    pub(in crate::raft) fn expire(&mut self, now: Micros, timeout: Micros, again: bool) {
        if self.expires_at(timeout).is_none_or(|at| now < at) {
            return;
        }
        match &mut self.state {
            ProgressState::Snapshot(transfer) => transfer.step = TransferStep::Lost,
            ProgressState::Probe { .. } | ProgressState::Replicate { .. } => {
                self.become_probe_at(self.next);
                if !self.unresponsive || again {
                    self.unresponsive = true;
                    self.call(now);
                }
            }
        }
    }

    /// When the request under way counts as lost.
    pub(in crate::raft) fn expires_at(&self, timeout: Micros) -> Option<Micros> {
        match &self.state {
            ProgressState::Probe { outstanding } => outstanding.map(|(_, at)| at + timeout),
            ProgressState::Replicate { inflight } => {
                inflight.front().map(|sent| sent.sent_at + timeout)
            }
            ProgressState::Snapshot(transfer) => match transfer.step {
                TransferStep::Sent { at, .. } => Some(at + transfer.patience),
                _ => None,
            },
        }
    }

    /// The transport reports that `request` did not arrive.
    pub(in crate::raft) fn on_undelivered(&mut self, request: RequestId, retry_at: Micros) {
        if self.heartbeat.1 == request {
            self.call(retry_at);
        }
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

    /// Whether another request with entries may be sent.
    pub(in crate::raft) fn window_open(&self, window_messages: usize, window_bytes: usize) -> bool {
        match &self.state {
            ProgressState::Probe { outstanding } => outstanding.is_none(),
            ProgressState::Replicate { inflight } => {
                inflight.len() < window_messages
                    && inflight.iter().map(|sent| sent.bytes).sum::<usize>() < window_bytes
            }
            ProgressState::Snapshot(_) => false,
        }
    }

    /// Whether all entries that were sent to the member are acknowledged.
    pub(in crate::raft) fn is_idle(&self) -> bool {
        matches!(&self.state, ProgressState::Replicate { inflight } if inflight.is_empty())
    }

    /// Makes a heartbeat due at `at`, or earlier if one is due before.
    pub(in crate::raft) fn call(&mut self, at: Micros) {
        self.next_heartbeat_at = Some(self.next_heartbeat_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// When the next heartbeat is due. Any request serves as a heartbeat as long as it is answered
    /// (LR13). Answers to entries wait for a disk, and a member with a slow disk must not look
    /// dead. So a heartbeat is due an interval after the last request, or an interval after the
    /// latest answer or heartbeat, whichever is earlier.
    pub(in crate::raft) fn heartbeat_due_at(&self, interval: Micros) -> Micros {
        let quiet_since = self.sent_at.min(self.answered_at.max(self.heartbeat.0));
        let due_at = quiet_since + interval;
        self.next_heartbeat_at.map_or(due_at, |next_heartbeat_at| next_heartbeat_at.min(due_at))
    }

    /// A request without entries is sent now, as a heartbeat.
    pub(in crate::raft) fn on_heartbeat_sent(&mut self, id: RequestId, now: Micros) {
        self.sent_at = now;
        self.next_heartbeat_at = None;
        self.heartbeat = (now, id);
    }

    /// A request with entries up to `last` is sent now.
    pub(in crate::raft) fn on_sent(
        &mut self,
        id: RequestId,
        last: Index,
        bytes: usize,
        now: Micros,
    ) {
        self.sent_at = now;
        self.next_heartbeat_at = None;
        if bytes > 0 {
            self.entries_sent_at = Some(now);
        } else {
            self.heartbeat = (now, id);
        }
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

    pub(in crate::raft) fn transfer_mut(&mut self) -> Option<&mut Transfer> {
        match &mut self.state {
            ProgressState::Snapshot(transfer) => Some(transfer),
            _ => None,
        }
    }

    pub(in crate::raft) fn transfer(&self) -> Option<&Transfer> {
        match &self.state {
            ProgressState::Snapshot(transfer) => Some(transfer),
            _ => None,
        }
    }
}
