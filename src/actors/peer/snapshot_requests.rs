//! Pending requests for a snapshot.
//!
//! A request is met by the first snapshot that covers the entries that were applied when it
//! arrived, whether made here or installed, and not before the snapshot's record is durable (SN17).
//! A build that began earlier does not count; when it is done the snapshot is requested again.
//! After a refused build it is requested again later.

use crate::messages::{SnapshotError, SnapshotReply};
use crate::raft::{Index, LogId, Micros, Raft};

#[derive(Default)]
pub(crate) struct SnapshotRequests {
    /// Each request with the index that must be covered.
    waiting: Vec<(Index, SnapshotReply)>,
}

impl SnapshotRequests {
    pub(crate) fn add(&mut self, raft: &mut Raft, now: Micros, reply: SnapshotReply) {
        let (applied, durable) = (raft.status().applied, raft.durable_snapshot());
        if applied == 0 {
            return answer(reply, Err(SnapshotError::NothingApplied));
        }
        if durable.index >= applied {
            return answer(reply, Ok(durable));
        }
        // Requests whose caller has given up are removed, so repeated requests do not accumulate.
        self.waiting.retain(|(_, reply)| !reply.is_closed());
        self.waiting.push((applied, reply));
        raft.request_snapshot(now);
    }

    /// The snapshot of `log_id` is durably current.
    pub(crate) fn current(&mut self, raft: &mut Raft, now: Micros, log_id: LogId) {
        self.answer_met(log_id);
        if !self.waiting.is_empty() {
            raft.request_snapshot(now);
        }
    }

    /// A build was refused, or a snapshot that covers at least as much exists: requests that need a
    /// newer one still wait. The apply side may give the same answer again, so the next request is
    /// delayed.
    pub(crate) fn passed(&mut self, raft: &mut Raft, now: Micros) {
        self.answer_met(raft.durable_snapshot());
        self.waiting.retain(|(_, reply)| !reply.is_closed());
        if !self.waiting.is_empty() {
            raft.request_snapshot_again(now);
        }
    }

    fn answer_met(&mut self, current: LogId) {
        let (met, unmet) = self.waiting.drain(..).partition(|(index, _)| *index <= current.index);
        self.waiting = unmet;
        let met: Vec<(Index, SnapshotReply)> = met;
        met.into_iter().for_each(|(_, reply)| answer(reply, Ok(current)));
    }

    /// The apply side declined to make a snapshot.
    pub(crate) fn declined(&mut self) {
        for (_, reply) in self.waiting.drain(..) {
            answer(reply, Err(SnapshotError::Declined));
        }
    }

    pub(crate) fn fail_all(&mut self) {
        for (_, reply) in self.waiting.drain(..) {
            answer(reply, Err(SnapshotError::Fatal));
        }
    }
}

/// Answers a caller or the apply side.
pub(super) fn answer(reply: SnapshotReply, outcome: Result<LogId, SnapshotError>) {
    // A closed receiver means that it has stopped waiting.
    let _ = reply.send(outcome);
}
