//! Who waits for a snapshot.
//!
//! A request is met by the first snapshot that covers what was applied when it came, be it made here or installed, and
//! not before its record is durable (SN17); a build that had begun before does not count, and the snapshot is asked
//! for again when it is done. After a build that was refused it is asked for again later.

use crate::messages::SnapshotError;
use crate::messages::SnapshotReply;
use crate::raft::{Index, LogId, Micros, Raft};

#[derive(Default)]
pub(crate) struct SnapshotRequests {
    /// With the index that has to be covered.
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
        // Who has given up is forgotten: asking again and again piles up nothing.
        self.waiting.retain(|(_, reply)| !reply.is_closed());
        self.waiting.push((applied, reply));
        raft.request_snapshot(now);
    }

    /// The snapshot of `log_id` is current, durably.
    pub(crate) fn current(&mut self, raft: &mut Raft, now: Micros, log_id: LogId) {
        self.answer_met(log_id);
        if !self.waiting.is_empty() {
            raft.request_snapshot(now);
        }
    }

    /// A build was refused, or a snapshot of as much or more is there: requests that need a newer
    /// one still wait. The apply side may answer the next one alike, so it is not asked at once.
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

    /// The apply side has no snapshot to make.
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

fn answer(reply: SnapshotReply, outcome: Result<LogId, SnapshotError>) {
    // A closed receiver is a caller that does not wait any more.
    let _ = reply.send(outcome);
}
