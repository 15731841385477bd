//! States that a mirror refuses to start from, and snapshots without a format.

use std::io::{Read, Write};

use super::model::*;
use crate::raft::{LogId, SnapshotMeta};
use crate::storage::{
    LogMirror, RawSnapshots, SnapshotReader, SnapshotStore, StorageError, StoredLog,
};

fn refusal(stored: StoredLog) -> String {
    match LogMirror::restore(stored) {
        Err(StorageError::Damaged { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stored_log_that_contradicts_itself_is_refused() {
    let gap = [entries(1, 1..=2), entries(1, 4..=5)].concat();
    assert!(refusal(StoredLog { entries: gap, ..StoredLog::default() }).contains("append of 4@1"));
    let falling = [entries(2, 1..=2), entries(1, 3..=3)].concat();
    assert!(
        refusal(StoredLog { entries: falling, ..StoredLog::default() }).contains("append of 3@1")
    );
    let start = LogId::new(1, 5);
    let unreached = StoredLog { start, entries: entries(1, 6..=7), ..StoredLog::default() };
    assert!(refusal(unreached.clone()).contains("contradicts itself"), "no snapshot covers 1 to 5");
    let ahead = StoredLog { snapshot: Some(meta_of(LogId::new(1, 9))), ..unreached.clone() };
    assert!(refusal(ahead).contains("contradicts itself"));
    let fitting = StoredLog { snapshot: Some(meta_of(LogId::new(1, 6))), ..unreached.clone() };
    assert_eq!(LogMirror::restore(fitting).unwrap().recovered(members()).log.last_index(), 7);
    let endless = StoredLog { start: LogId::new(1, u64::MAX - 1), ..unreached };
    assert!(refusal(endless).contains("2 entries behind"));
}

#[test]
fn raw_snapshots_are_the_bytes_and_nothing_else() {
    let mut store = RawSnapshots::new();
    let id = LogId::new(1, 4);
    let mut sink = store.create(id, &members()).unwrap();
    sink.write_all(b"state").unwrap();
    let meta = sink.publish().unwrap();
    assert_eq!(meta, SnapshotMeta { log_id: id, membership: members(), size_bytes: 5 });
    let mut read = Vec::new();
    store.open(id).unwrap().read_to_end(&mut read).unwrap();
    assert_eq!((&read[..], store.get(id).as_deref()), (&b"state"[..], Some(&b"state"[..])));
    // If it is written again, the first one stays: its meta is known to other components.
    let mut again = store.create(id, &members()).unwrap();
    again.write_all(b"other bytes").unwrap();
    assert_eq!(again.publish().unwrap(), meta);

    let mut other = RawSnapshots::new();
    for (pieces, whole) in [(&[&b"sta"[..]][..], false), (&[b"sta", b"te"], true)] {
        let mut receiver = other.receive(&meta).unwrap();
        pieces.iter().for_each(|piece| receiver.append(&piece.to_vec().into()).unwrap());
        assert_eq!(receiver.publish().unwrap(), whole);
        assert_eq!(other.get(id).is_some(), whole);
    }
    let piece = SnapshotReader::read_at(&mut other, id, 3, 10).unwrap();
    assert_eq!(piece.as_deref(), Some(&b"te"[..]));
    assert_eq!(SnapshotReader::read_at(&mut other, id, 5, 10).unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(SnapshotReader::read_at(&mut other, LogId::new(1, 5), 0, 10).unwrap(), None);
}

#[test]
fn raw_snapshots_keep_what_may_still_be_named() {
    let mut store = RawSnapshots::new();
    let ids = [2, 4, 6, 8].map(|index| LogId::new(1, index));
    ids.iter().for_each(|&id| store.insert(id, "state".into()));
    store.retain(ids[2], Some(ids[0])).unwrap();
    assert_eq!(ids.map(|id| store.get(id).is_some()), [true, false, true, true]);
    store.remove(ids[3]).unwrap();
    assert!(store.open(ids[3]).is_err());
}
