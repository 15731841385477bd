//! What is counted, and how it is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::handshake::Refusal;

/// What has happened on a transport, and how much of everything is there now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpCounters {
    /// Attempts to connect to a member.
    pub calls: u64,
    /// Those that got through the handshake.
    pub calls_accepted: u64,
    /// Connections that came in, from whomever.
    pub callers: u64,
    /// Those that got through the handshake.
    pub callers_accepted: u64,
    /// Those that were dropped before it, because newer ones came.
    pub callers_evicted: u64,
    /// What was refused here, by reason: hellos and frames.
    pub refused: BTreeMap<Refusal, u64>,
    /// What other members refused, by reason.
    pub refused_by_others: BTreeMap<Refusal, u64>,
    /// Connections that ended in the middle of a frame.
    pub cut_frames: u64,

    /// Frames written, and ..
    pub frames_sent: u64,
    /// .. their bytes, with what is around them.
    pub bytes_sent: u64,
    /// Writes it took.
    pub writes: u64,
    /// Frames delivered, and ..
    pub frames_received: u64,
    /// .. all bytes read from members.
    pub bytes_received: u64,

    /// Envelopes that were not sent: nobody knows the member.
    pub dropped_unknown: u64,
    /// The outbox was full.
    pub dropped_full: u64,
    /// They waited too long, or the member can't be reached.
    pub dropped_late: u64,
    /// They make no frame that is allowed.
    pub dropped_unsendable: u64,

    /// Now: connections before the handshake.
    pub pending_connections: u64,
    /// Now: connections from members.
    pub incoming_connections: u64,
    /// Now: connections to members.
    pub outgoing_connections: u64,
    /// Now: envelopes in all outboxes, and ..
    pub queued_messages: u64,
    /// .. their bytes.
    pub queued_bytes: u64,
    /// Now: what was delivered and is not handled.
    pub unhandled_bytes: u64,
    /// Now: memory of all read buffers.
    pub buffer_bytes: u64,
}

/// The numbers behind [`TcpCounters`], as far as no other part holds them.
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

/// One number per reason.
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

/// A part of a sum that is there as long as this is.
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
