//! Who waits for a snapshot that the apply side handed out.
//!
//! ```text
//! handed out ─▶ encoding ─▶ published, judged ─▶ recording ─▶ the log's record is durable: Ok
//!                              │                     └─ a newer one becomes current first: Outdated
//!                              └─ refused: Outdated, Refused
//! ```
//! The snapshotter tells of each view once, in the order in which it was given them.

use std::collections::VecDeque;

use crate::messages::SnapshotError;
use crate::messages::SnapshotReply;
use crate::raft::LogId;

#[derive(Default)]
pub(crate) struct PendingSnapshots {
    encoding: VecDeque<(LogId, SnapshotReply)>,
    /// Ascending: each was newer than the current one when it was accepted.
    recording: VecDeque<(LogId, SnapshotReply)>,
}

impl PendingSnapshots {
    /// A view goes to the snapshotter.
    pub(crate) fn encoding(&mut self, log_id: LogId, reply: SnapshotReply) {
        self.encoding.push_back((log_id, reply));
    }

    /// The snapshot of `log_id` is published, and was accepted, or refused for this reason.
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

    /// This snapshot is current, durably.
    pub(crate) fn current(&mut self, current: LogId) {
        while self.recording.front().is_some_and(|(log_id, _)| log_id.index <= current.index) {
            if let Some((log_id, reply)) = self.recording.pop_front() {
                let own = log_id == current;
                answer(reply, if own { Ok(log_id) } else { Err(SnapshotError::Outdated) });
            }
        }
    }

    /// Nothing is decided any more.
    pub(crate) fn fail_all(&mut self) {
        for (_, reply) in self.encoding.drain(..).chain(self.recording.drain(..)) {
            answer(reply, Err(SnapshotError::Fatal));
        }
    }
}

fn answer(reply: SnapshotReply, outcome: Result<LogId, SnapshotError>) {
    // A closed receiver is an apply side that does not want to know.
    let _ = reply.send(outcome);
}
