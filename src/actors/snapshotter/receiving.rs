//! Receives a snapshot in chunks.
//!
//! Chunks may be repeated, late or out of order (A46, SN09). A chunk that continues the received
//! bytes is stored; any other chunk is answered with the offset to continue at, so a repeated last
//! chunk neither restarts the transfer nor discards data.

use bytes::Bytes;

use crate::raft::{ChunkWritten, LogId, SnapshotMeta, TransferKey};
use crate::storage::{SnapshotReceiver, SnapshotStore, StorageError};

/// The current transfer, or the last one. There is at most one.
#[derive(Default)]
pub(crate) struct Receiving(Option<Transfer>);

struct Transfer {
    key: TransferKey,
    stage: Stage,
}

enum Stage {
    Open(Box<dyn SnapshotReceiver>),
    /// Published with this id.
    Complete(LogId),
}

impl Receiving {
    /// Stores one chunk.
    pub(crate) fn write(
        &mut self,
        store: &mut dyn SnapshotStore,
        key: TransferKey,
        meta: &SnapshotMeta,
        offset: u64,
        data: &Bytes,
        crc: u32,
    ) -> Result<ChunkWritten, StorageError> {
        if self.0.as_ref().is_none_or(|transfer| transfer.key != key) {
            if offset != 0 {
                return Ok(ChunkWritten::Partial(0));
            }
            self.0 = Some(Transfer { key, stage: Stage::Open(store.receive(meta)?) });
        }
        let Some(Transfer { stage: Stage::Open(receiver), .. }) = &mut self.0 else {
            return Ok(ChunkWritten::Complete);
        };
        if offset == receiver.received_bytes() {
            let fits =
                offset.checked_add(data.len() as u64).is_some_and(|end| end <= meta.size_bytes);
            if !fits || crc32c::crc32c(data) != crc {
                self.0 = None;
                return Ok(ChunkWritten::Corrupt);
            }
            receiver.append(data)?;
        }
        match receiver.received_bytes() {
            received if received < meta.size_bytes => Ok(ChunkWritten::Partial(received)),
            _ => self.complete(key, meta.log_id),
        }
    }

    fn complete(&mut self, key: TransferKey, log_id: LogId) -> Result<ChunkWritten, StorageError> {
        let Some(Transfer { stage: Stage::Open(receiver), .. }) = self.0.take() else {
            return Ok(ChunkWritten::Corrupt);
        };
        if !receiver.publish()? {
            return Ok(ChunkWritten::Corrupt);
        }
        self.0 = Some(Transfer { key, stage: Stage::Complete(log_id) });
        Ok(ChunkWritten::Complete)
    }

    /// Aborts a transfer and drops its stored bytes if it is unfinished. If it is complete, returns
    /// the id of the published snapshot.
    pub(crate) fn abort(&mut self, key: TransferKey) -> Option<LogId> {
        match self.0.take_if(|transfer| transfer.key == key)?.stage {
            Stage::Open(_) => None,
            Stage::Complete(log_id) => Some(log_id),
        }
    }
}
