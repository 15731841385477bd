//! A custom storage as a service would write it: a mirror, and a store that applies its edits.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::raft::{Entry, Index, LogChange, LogId};
use crate::storage::{
    Identity, LogEdit, LogMirror, LogReader, LogStore, OpenedStorage, RawSnapshots, Start, Storage,
    StorageError, StoredLog,
};

/// The stored log. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Elsewhere(Arc<Mutex<Kept>>);

#[derive(Clone, Default)]
struct Kept {
    log: StoredLog,
    snapshot: Option<(LogId, Bytes)>,
}

impl Storage for Elsewhere {
    fn open(self: Box<Self>, _: Identity, start: &Start) -> Result<OpenedStorage, StorageError> {
        let Start::Bootstrap(members) = start else { panic!("{start:?}") };
        let snapshots = RawSnapshots::new();
        let kept = self.0.lock().clone();
        kept.snapshot.into_iter().for_each(|(log_id, bytes)| snapshots.insert(log_id, bytes));
        let mut log = LogMirror::restore(kept.log)?;
        log.begin();
        self.0.lock().log.life = log.life();
        let recovered = log.recovered(members.clone());
        let log = Log {
            mirror: Arc::new(Mutex::new(log)),
            kept: self.0.clone(),
            snapshots: snapshots.clone(),
        };
        Ok(OpenedStorage { recovered, log: Box::new(log), snapshots: Box::new(snapshots) })
    }
}

struct Log {
    mirror: Arc<Mutex<LogMirror>>,
    kept: Arc<Mutex<Kept>>,
    snapshots: RawSnapshots,
}

impl LogStore for Log {
    fn write(&mut self, changes: &[LogChange]) -> Result<(), StorageError> {
        let (mut mirror, mut kept) = (self.mirror.lock(), self.kept.lock());
        let LogEdit { dropped, kept: left } = mirror.change(changes);
        assert!(left > 0 || dropped == 0, "{dropped} dropped of nothing");
        kept.log.entries.drain(..dropped);
        kept.log.entries.truncate(left);
        kept.log.entries.extend(mirror.entries().iter().skip(left).cloned());
        kept.log.life = mirror.life();
        kept.log.known_peers = mirror.known_peers().clone();
        kept.log.hard_state = mirror.hard_state();
        kept.log.start = mirror.start();
        kept.log.snapshot = mirror.snapshot().cloned();
        kept.snapshot = kept.log.snapshot.as_ref().map(|meta| {
            (meta.log_id, self.snapshots.get(meta.log_id).expect("published before it is named"))
        });
        Ok(())
    }

    fn reader(&self) -> Box<dyn LogReader> {
        Box::new(Old(self.mirror.clone()))
    }

    fn seal(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

struct Old(Arc<Mutex<LogMirror>>);

impl LogReader for Old {
    fn read(
        &mut self,
        first: Index,
        last: Index,
        max_bytes: usize,
    ) -> Result<Option<Vec<Entry>>, StorageError> {
        Ok(self.0.lock().read(first, last, max_bytes))
    }
}
