//! Pending snapshots that the apply side supplied.
//!
//! ```text
//! supplied ─▶ encoding ─▶ published, checked ─▶ recording ─▶ the log's record is durable: Ok
//!                              │                    └─ a newer one is current first: Outdated
//!                              └─ refused: Outdated, Refused
//! ```
//! The snapshotter reports on each view once, in the order in which it received them.

use std::collections::VecDeque;

use super::snapshot_requests::answer;
use crate::messages::{SnapshotError, SnapshotReply};
use crate::raft::LogId;

#[derive(Default)]
pub(crate) struct PendingSnapshots {
    encoding: VecDeque<(LogId, SnapshotReply)>,
    /// Ascending: each was newer than the current snapshot when it was accepted.
    recording: VecDeque<(LogId, SnapshotReply)>,
}

impl PendingSnapshots {
    /// A view is sent to the snapshotter.
    pub(crate) fn encoding(&mut self, log_id: LogId, reply: SnapshotReply) {
        self.encoding.push_back((log_id, reply));
    }

    /// The snapshot of `log_id` is published; `judged` tells whether it was accepted, or why it was
    /// refused.
    pub(crate) fn published(&mut self, log_id: LogId, judged: Result<(), SnapshotError>) {
        let Some((encoded, reply)) = self.encoding.pop_front() else {
            panic!("a snapshot of {log_id}, and no view was handed out");
        };
        assert!(encoded == log_id, "a snapshot of {log_id}, the oldest view is of {encoded}");
        match judged {
            Ok(()) => self.recording.push_back((log_id, reply)),
            Err(error) => answer(reply, Err(error)),
        }
    }

    /// This snapshot is durably current.
    pub(crate) fn current(&mut self, current: LogId) {
        while self.recording.front().is_some_and(|(log_id, _)| log_id.index <= current.index) {
            if let Some((log_id, reply)) = self.recording.pop_front() {
                let own = log_id == current;
                answer(reply, if own { Ok(log_id) } else { Err(SnapshotError::Outdated) });
            }
        }
    }

    /// The peer makes no decisions any more.
    pub(crate) fn fail_all(&mut self) {
        for (_, reply) in self.encoding.drain(..).chain(self.recording.drain(..)) {
            answer(reply, Err(SnapshotError::Fatal));
        }
    }
}
