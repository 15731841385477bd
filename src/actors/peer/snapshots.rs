//! Snapshots: those that are received and offered to the state machine, and those that this member
//! makes.
//!
//! ```text
//! received  ChunkStored .. ─▶ DecodeBegun ─▶ SnapshotDecoded ─▶ (offered) ─▶ CondInstallSnapshot
//! made      RequestSnapshot ─▶ (requested) ─▶ ViewSupplied ─▶ SnapshotPublished
//!                                         └─ SnapshotDeclined └─ SnapshotObsolete
//! sent      ChunkReadCompleted ..
//! ```

use crate::messages::{
    ChunkReadCompleted, ChunkStored, CondInstallSnapshot, DecodeBegun, DecodedSnapshot, DropState,
    EncodeView, RequestSnapshot, SnapshotDeclined, SnapshotDecoded, SnapshotError,
    SnapshotObsolete, SnapshotPublished, ViewSupplied,
};
use crate::runtime::shell::{Receive, Turn};

use super::RaftPeer;

impl Receive<ChunkReadCompleted> for RaftPeer {
    fn receive(&mut self, read: ChunkReadCompleted, turn: &mut Turn) {
        let ChunkReadCompleted { to, transfer, offset, outcome } = read;
        self.raft.chunk_read(turn.now, to, transfer, offset, outcome);
    }
}

impl Receive<ChunkStored> for RaftPeer {
    fn receive(&mut self, ChunkStored { transfer, outcome }: ChunkStored, turn: &mut Turn) {
        self.raft.chunk_written(turn.now, transfer, outcome);
    }
}

impl Receive<DecodeBegun> for RaftPeer {
    fn receive(&mut self, DecodeBegun(log_id): DecodeBegun, turn: &mut Turn) {
        self.raft.decode_begun(turn.now, log_id);
    }
}

impl Receive<SnapshotDecoded> for RaftPeer {
    fn receive(&mut self, SnapshotDecoded { log_id, decoded }: SnapshotDecoded, turn: &mut Turn) {
        let shadow = match decoded {
            DecodedSnapshot::State(shadow) => shadow,
            DecodedSnapshot::Undecodable => {
                return self.raft.snapshot_undecodable(turn.now, log_id);
            }
            DecodedSnapshot::Broken => {
                self.raft.snapshot_decoded(turn.now, log_id, false);
                return;
            }
        };
        if self.raft.snapshot_decoded(turn.now, log_id, true) {
            self.shadow = Some((log_id, shadow));
        } else {
            self.links.snapshotter.send(DropState(shadow));
        }
    }
}

/// The handshake: the apply side has reached the offer in the apply queue and asks. The protocol
/// decides (`raft/install.rs`), and `handle_ready.rs` sends its decision to the apply side.
impl Receive<CondInstallSnapshot> for RaftPeer {
    fn receive(&mut self, CondInstallSnapshot(log_id): CondInstallSnapshot, turn: &mut Turn) {
        self.raft.cond_install(turn.now, log_id);
    }
}

impl Receive<RequestSnapshot> for RaftPeer {
    fn receive(&mut self, RequestSnapshot(reply): RequestSnapshot, turn: &mut Turn) {
        self.snapshot_requests.add(&mut self.raft, turn.now, reply);
    }
}

impl Receive<ViewSupplied> for RaftPeer {
    fn receive(&mut self, ViewSupplied { view, reply }: ViewSupplied, _turn: &mut Turn) {
        self.pending_snapshots.encoding(view.log_id(), reply);
        self.links.snapshotter.send(EncodeView(view));
    }
}

impl Receive<SnapshotPublished> for RaftPeer {
    fn receive(&mut self, SnapshotPublished(meta): SnapshotPublished, turn: &mut Turn) {
        let (log_id, before) = (meta.log_id, self.raft.status().snapshot);
        self.raft.snapshot_taken(turn.now, meta);
        let accepted = self.raft.status().snapshot == log_id && before != log_id;
        let outcome = match accepted {
            true => Ok(()),
            false if log_id.index <= before.index => Err(SnapshotError::Outdated),
            false => Err(SnapshotError::Refused),
        };
        self.pending_snapshots.published(log_id, outcome);
    }
}

impl Receive<SnapshotDeclined> for RaftPeer {
    fn receive(&mut self, _declined: SnapshotDeclined, turn: &mut Turn) {
        self.raft.snapshot_declined(turn.now);
        self.snapshot_requests.declined();
    }
}

impl Receive<SnapshotObsolete> for RaftPeer {
    fn receive(&mut self, SnapshotObsolete(log_id): SnapshotObsolete, turn: &mut Turn) {
        self.raft.snapshot_declined(turn.now);
        self.snapshot_requests.passed(&mut self.raft, turn.now);
        self.pending_snapshots.published(log_id, Err(SnapshotError::Outdated));
    }
}
