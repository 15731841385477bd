//! The transport's counters and gauges, and how they are read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::handshake::Refusal;

/// Counters of events since the transport started, and gauges of its state now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpCounters {
    /// Attempts to connect to a member.
    pub calls: u64,
    /// Attempts that completed the handshake.
    pub calls_accepted: u64,
    /// Inbound connections, from any peer.
    pub callers: u64,
    /// Inbound connections that completed the handshake.
    pub callers_accepted: u64,
    /// Inbound connections dropped before the handshake to make room for newer ones.
    pub callers_evicted: u64,
    /// Hellos and frames refused here, by reason.
    pub refused: BTreeMap<Refusal, u64>,
    /// Hellos and frames refused by other members, by reason.
    pub refused_by_others: BTreeMap<Refusal, u64>,
    /// Connections that ended in the middle of a frame.
    pub cut_frames: u64,

    /// Frames written.
    pub frames_sent: u64,
    /// Bytes written: frames with their lengths, and keep-alives.
    pub bytes_sent: u64,
    /// Write calls.
    pub writes: u64,
    /// Frames delivered.
    pub frames_received: u64,
    /// All bytes read from members.
    pub bytes_received: u64,

    /// Envelopes dropped because the receiver is unknown.
    pub dropped_unknown: u64,
    /// Envelopes dropped because the outbox was full.
    pub dropped_full: u64,
    /// Envelopes dropped because they waited too long, or the member can't be reached.
    pub dropped_late: u64,
    /// Envelopes dropped because they can't be encoded as a valid frame.
    pub dropped_unsendable: u64,

    /// Gauge: connections before the handshake.
    pub pending_connections: u64,
    /// Gauge: connections from members.
    pub incoming_connections: u64,
    /// Gauge: connections to members.
    pub outgoing_connections: u64,
    /// Gauge: envelopes in all outboxes.
    pub queued_messages: u64,
    /// Gauge: bytes of the envelopes in all outboxes.
    pub queued_bytes: u64,
    /// Gauge: bytes of frames delivered and not handled, plus 256 per frame.
    pub unhandled_bytes: u64,
    /// Gauge: memory of all read buffers, in bytes.
    pub buffer_bytes: u64,
}

/// The numbers of [`TcpCounters`] that no other component holds.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) calls: AtomicU64,
    pub(crate) calls_accepted: AtomicU64,
    pub(crate) callers: AtomicU64,
    pub(crate) callers_accepted: AtomicU64,
    pub(crate) callers_evicted: AtomicU64,
    pub(crate) refused: ByReason,
    pub(crate) refused_by_others: ByReason,
    pub(crate) cut_frames: AtomicU64,
    pub(crate) frames_sent: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) frames_received: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) dropped_unknown: AtomicU64,
    pub(crate) dropped_full: AtomicU64,
    pub(crate) dropped_late: AtomicU64,
    pub(crate) dropped_unsendable: AtomicU64,
    pub(crate) outgoing_connections: Arc<AtomicU64>,
    pub(crate) buffer_bytes: Arc<AtomicU64>,
}

impl Counts {
    pub(crate) fn read(&self) -> TcpCounters {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TcpCounters {
            calls: read(&self.calls),
            calls_accepted: read(&self.calls_accepted),
            callers: read(&self.callers),
            callers_accepted: read(&self.callers_accepted),
            callers_evicted: read(&self.callers_evicted),
            refused: self.refused.read(),
            refused_by_others: self.refused_by_others.read(),
            cut_frames: read(&self.cut_frames),
            frames_sent: read(&self.frames_sent),
            bytes_sent: read(&self.bytes_sent),
            writes: read(&self.writes),
            frames_received: read(&self.frames_received),
            bytes_received: read(&self.bytes_received),
            dropped_unknown: read(&self.dropped_unknown),
            dropped_full: read(&self.dropped_full),
            dropped_late: read(&self.dropped_late),
            dropped_unsendable: read(&self.dropped_unsendable),
            outgoing_connections: read(&self.outgoing_connections),
            buffer_bytes: read(&self.buffer_bytes),
            ..TcpCounters::default()
        }
    }
}

/// One counter per reason.
#[derive(Debug, Default)]
pub(crate) struct ByReason([AtomicU64; Refusal::ALL.len()]);

impl ByReason {
    pub(crate) fn add(&self, why: Refusal) {
        add(&self.0[usize::from(why.code()) - 1], 1);
    }

    fn read(&self) -> BTreeMap<Refusal, u64> {
        let counts = Refusal::ALL.into_iter().zip(&self.0);
        let counts = counts.map(|(why, count)| (why, count.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

pub(crate) fn add(count: &AtomicU64, by: u64) {
    count.fetch_add(by, Ordering::Relaxed);
}

/// A contribution to a gauge, subtracted when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    sum: Arc<AtomicU64>,
    part: u64,
}

impl Share {
    pub(crate) fn new(sum: &Arc<AtomicU64>, part: u64) -> Share {
        add(sum, part);
        Share { sum: Arc::clone(sum), part }
    }

    pub(crate) fn set(&mut self, part: u64) {
        if part != self.part {
            add(&self.sum, part.wrapping_sub(self.part));
            self.part = part;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}
