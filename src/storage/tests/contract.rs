//! Tests of the contracts, on every kind of storage.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use super::model::*;
use super::sim_disk::SimDisk;
use crate::raft::{LogChange, LogId, Membership, SnapshotMeta};
use crate::storage::file::{FileOptions, FileStorage, OnDamage};
use crate::storage::memory::MemoryStorage;
use crate::storage::{Identity, OpenedStorage, SnapshotStore, Start, Storage, StorageError};

/// A disk that outlives the storage opened on it.
trait Disk {
    fn storage(&self) -> Box<dyn Storage>;

    fn open(&self) -> OpenedStorage {
        self.storage().open(IDENTITY, &bootstrap()).unwrap()
    }

    fn refusal(&self, identity: Identity, start: &Start) -> String {
        match self.storage().open(identity, start) {
            Err(error @ StorageError::Refused { .. }) => error.to_string(),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("opened"),
        }
    }
}

impl Disk for MemoryStorage {
    fn storage(&self) -> Box<dyn Storage> {
        Box::new(self.clone())
    }
}

impl Disk for SimDisk {
    fn storage(&self) -> Box<dyn Storage> {
        let on_damage = OnDamage::Refuse;
        let options = FileOptions { segment_bytes: 600, on_damage, ..FileOptions::default() };
        Box::new(FileStorage::on(self.clone(), "node", options))
    }
}

impl Disk for tempfile::TempDir {
    fn storage(&self) -> Box<dyn Storage> {
        let options = FileOptions { on_damage: OnDamage::Refuse, ..FileOptions::default() };
        Box::new(FileStorage::with_options(self.path().join("node"), options))
    }
}

fn on_every_disk(test: impl Fn(&dyn Disk)) {
    test(&MemoryStorage::new());
    test(&SimDisk::default());
    test(&tempfile::tempdir().unwrap());
}

/// Each option at the limits of its type, and the expected result. A new field needs a row here.
#[test]
fn options_that_stop_the_storage_are_refused_with_their_value() {
    type Change = fn(&mut FileOptions);
    let refused: &[(&str, Change)] = &[
        ("segment_bytes", |o| o.segment_bytes = 0),
        ("segment_bytes", |o| o.segment_bytes = u64::MAX),
        ("spare_segments", |o| o.spare_segments = usize::MAX),
        ("retained_snapshots", |o| o.retained_snapshots = 0),
    ];
    for (setting, change) in refused {
        let mut options = FileOptions::default();
        change(&mut options);
        let storage = Box::new(FileStorage::on(SimDisk::default(), "node", options));
        let refusal = storage.open(IDENTITY, &bootstrap()).map(|_| ()).unwrap_err().to_string();
        let said = format!("node: these file options do not work: {setting} is ");
        assert!(refusal.starts_with(&said), "{refusal}");
    }
    let works: &[Change] = &[
        |o| (o.spare_segments, o.snapshot_sync_bytes) = (0, 0),
        |o| (o.retained_snapshots, o.snapshot_sync_bytes) = (usize::MAX, u64::MAX),
    ];
    for change in works {
        let mut options = FileOptions::default();
        change(&mut options);
        assert_eq!(options.validate(), Ok(()));
    }
}

#[test]
fn a_start_is_what_was_asked_for_or_refused() {
    on_every_disk(|disk| {
        let nothing = disk.refusal(IDENTITY, &Start::Open);
        assert!(nothing.contains("Start::Bootstrap"), "{nothing}");
        let unheard_of = Identity { created_at_ms: 1 << 42, ..IDENTITY };
        let late = disk.refusal(unheard_of, &bootstrap());
        assert!(late.contains("set the clock"), "{late}");
        let opened = disk.open();
        assert_eq!((opened.recovered.life.incarnation, held(&opened)), (1, Model::default()));
        let in_use = disk.refusal(IDENTITY, &Start::Open);
        assert!(in_use.contains("in use"), "{in_use}");
        drop(opened);
        let other_cluster = disk.refusal(Identity { cluster: 78, ..IDENTITY }, &Start::Open);
        assert!(other_cluster.contains("cluster 77, not to 78"), "{other_cluster}");
        let other_node = disk.refusal(Identity { node: 2, ..IDENTITY }, &Start::Open);
        assert!(other_node.contains("node 1, not to 2"), "{other_node}");
        let other_list = disk.refusal(IDENTITY, &Start::Bootstrap(Membership::of_voters([1, 2])));
        assert!(other_list.contains("bootstrapped with"), "{other_list}");
        assert_eq!(disk.open().recovered.life.incarnation, 2, "a refused start counts as none");
        assert_eq!(
            disk.storage().open(IDENTITY, &Start::Open).unwrap().recovered.life.incarnation,
            3
        );
    });
}

#[test]
fn the_lock_is_held_by_log_and_snapshots_not_by_readers() {
    on_every_disk(|disk| {
        let OpenedStorage { log, snapshots, .. } = disk.open();
        let (log_reader, snapshot_reader) = (log.reader(), snapshots.reader());
        drop(log);
        disk.refusal(IDENTITY, &Start::Open);
        drop(snapshots);
        let again = disk.open();
        drop((log_reader, snapshot_reader, again));
    });
}

#[test]
fn a6_what_was_written_is_there_at_the_next_start() {
    on_every_disk(|disk| {
        let mut model = Model::default();
        let mut opened = disk.open();
        let [meta, ahead] = [LogId::new(2, 7), LogId::new(4, 30)].map(meta_of);
        let calls = [
            vec![vote(1, Some(2)), append(1, 1..=4)],
            vec![append(2, 5..=9), vote(2, None), truncate(9), append(3, 9..=12)],
            vec![record(&meta)],
            vec![LogChange { hard_state: vote(4, None).hard_state, ..purge(2, 5) }],
            vec![purge(2, 3), purge(2, 7)],
            vec![install(&ahead, false)],
            vec![LogChange { truncate_from: Some(31), ..append(4, 31..=33) }],
        ];
        for changes in calls {
            for meta in changes.iter().filter_map(named_snapshot) {
                assert_eq!(publish(&mut *opened.snapshots, meta.log_id).unwrap(), *meta);
            }
            opened.log.write(&changes).unwrap();
            changes.iter().for_each(|change| model.apply(change));
            drop(opened);
            opened = disk.open();
            assert_eq!(held(&opened), model);
            check_snapshot(&mut opened);
        }
        assert_eq!(opened.recovered.life.incarnation, 8);
    });
}

#[test]
fn a59_an_install_keeps_the_suffix() {
    on_every_disk(|disk| {
        let mut opened = disk.open();
        let meta = publish(&mut *opened.snapshots, LogId::new(1, 3)).unwrap();
        opened.log.write(&[append(1, 1..=6), install(&meta, true)]).unwrap();
        assert_eq!(opened.log.reader().read(3, 6, usize::MAX).unwrap(), None);
        assert_eq!(opened.log.reader().read(4, 6, usize::MAX).unwrap(), Some(entries(1, 4..=6)));
        drop(opened);
        assert_eq!(held(&disk.open()).entries, entries(1, 4..=6));
    });
}

#[test]
fn reads_are_bounded_by_bytes_but_never_empty() {
    on_every_disk(|disk| {
        let mut opened = disk.open();
        (1..=40).for_each(|index| opened.log.write(&[append(1, index..=index)]).unwrap());
        let mut reader = opened.log.reader();
        for first in 1..=40 {
            assert_eq!(reader.read(first, 40, 0).unwrap(), Some(vec![entry(1, first)]));
            let two = entry(1, first).size_bytes() + entry(1, first + 1).size_bytes();
            let last = (first + 1).min(40);
            assert_eq!(reader.read(first, 40, two).unwrap(), Some(entries(1, first..=last)));
        }
        assert_eq!(
            reader.read(30, u64::MAX, usize::MAX).unwrap(),
            Some(entries(1, 30..=40)),
            "the log ends there"
        );
        opened.log.write(&[truncate(35)]).unwrap();
        assert_eq!(
            reader.read(35, 40, usize::MAX).unwrap(),
            Some(Vec::new()),
            "truncated meanwhile"
        );
    });
}

#[test]
fn an_emptied_log_goes_on() {
    on_every_disk(|disk| {
        let mut opened = disk.open();
        let meta = publish(&mut *opened.snapshots, LogId::new(1, 1)).unwrap();
        opened.log.write(&[append(1, 1..=1)]).unwrap();
        opened.log.write(&[record(&meta), purge(1, 1)]).unwrap();
        opened.log.write(&[append(1, 2..=3)]).unwrap();
        assert_eq!(opened.log.reader().read(2, 3, usize::MAX).unwrap(), Some(entries(1, 2..=3)));
        assert_eq!(opened.log.reader().read(1, 3, usize::MAX).unwrap(), None);
    });
}

#[test]
fn broken_contracts_are_asserted_with_their_values() {
    on_every_disk(|disk| {
        for (breach, words) in [
            (append(1, 3..=3), "append of 3@1 behind 0@0"),
            (truncate(0), "truncation from 0"),
            (purge(1, 1), "purge through 1@1"),
        ] {
            let mut opened = disk.open();
            let panic = catch_unwind(AssertUnwindSafe(|| opened.log.write(&[breach]))).unwrap_err();
            let message = panic.downcast_ref::<String>().unwrap();
            assert!(message.contains(words), "{message}");
        }
        assert_eq!(held(&disk.open()), Model::default());
    });
}

fn stored_bytes(store: &dyn SnapshotStore, meta: &SnapshotMeta, piece: usize) -> Vec<Bytes> {
    let mut reader = store.reader();
    let mut pieces = Vec::new();
    let mut offset = 0;
    loop {
        let data = reader.read_at(meta.log_id, offset, piece).unwrap().unwrap();
        if data.is_empty() {
            assert_eq!(offset, meta.size_bytes);
            return pieces;
        }
        offset += data.len() as u64;
        pieces.push(data);
    }
}

fn receive(store: &mut dyn SnapshotStore, meta: &SnapshotMeta, pieces: &[Bytes]) -> bool {
    let mut receiver = store.receive(meta).unwrap();
    pieces.iter().for_each(|data| receiver.append(data).unwrap());
    assert_eq!(receiver.received_bytes(), pieces.iter().map(|data| data.len() as u64).sum::<u64>());
    receiver.publish().unwrap()
}

#[test]
fn a14_a_snapshot_travels_between_storages_of_every_kind() {
    on_every_disk(|from| {
        on_every_disk(|to| {
            let (mut from, mut to) = (from.open(), to.open());
            let id = LogId::new(3, 12);
            let meta = publish(&mut *from.snapshots, id).unwrap();
            let pieces = stored_bytes(&*from.snapshots, &meta, 100);
            assert!(receive(&mut *to.snapshots, &meta, &pieces));
            assert_eq!(stored_bytes(&*to.snapshots, &meta, 100), pieces);
            to.log.write(&[install(&meta, false)]).unwrap();
            let mut read = Vec::new();
            to.snapshots.open(id).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, content(id));
        });
    });
}

#[test]
fn sn09_what_does_not_verify_is_not_published() {
    on_every_disk(|disk| {
        let mut source = MemoryStorage::new().open();
        let meta = publish(&mut *source.snapshots, LogId::new(3, 12)).unwrap();
        let good = stored_bytes(&*source.snapshots, &meta, 64);
        let mut opened = disk.open();
        let mut refuses = |meta: &SnapshotMeta, pieces: &[Bytes]| {
            assert!(!receive(&mut *opened.snapshots, meta, pieces));
            assert_eq!(opened.snapshots.reader().read_at(meta.log_id, 0, 10).unwrap(), None);
        };
        refuses(&meta, &[]);
        refuses(&meta, &good[1..]);
        refuses(&meta, &good[..good.len() - 1]);
        let mut twice = good.clone();
        twice.insert(1, good[1].clone());
        refuses(&meta, &twice);
        for at in 0..good.len() {
            let mut flipped = good.clone();
            let mut bytes = flipped[at].to_vec();
            bytes[at % good[at].len()] ^= 0x40;
            flipped[at] = bytes.into();
            refuses(&meta, &flipped);
        }
        refuses(&SnapshotMeta { log_id: LogId::new(3, 13), ..meta.clone() }, &good);
        assert!(receive(&mut *opened.snapshots, &meta, &good), "and the intact one still is");
    });
}

#[test]
fn sn09_another_clusters_snapshot_is_not_published() {
    on_every_disk(|disk| {
        let other = Identity { cluster: 5, node: 2, created_at_ms: 0 };
        let mut source = Box::new(MemoryStorage::new()).open(other, &bootstrap()).unwrap();
        let meta = publish(&mut *source.snapshots, LogId::new(3, 12)).unwrap();
        let pieces = stored_bytes(&*source.snapshots, &meta, 64);
        assert!(!receive(&mut *disk.open().snapshots, &meta, &pieces));
    });
}

#[test]
fn sn26_an_abandoned_snapshot_leaves_nothing() {
    on_every_disk(|disk| {
        let mut opened = disk.open();
        let id = LogId::new(1, 4);
        let mut abandoned = opened.snapshots.create(id, &members()).unwrap();
        abandoned.write_all(b"half").unwrap();
        let receiver = opened.snapshots.receive(&SnapshotMeta {
            log_id: id,
            membership: members(),
            size_bytes: 9,
        });
        let meta = publish(&mut *opened.snapshots, id).unwrap();
        drop((abandoned, receiver));
        assert_eq!(
            stored_bytes(&*opened.snapshots, &meta, 1 << 20).concat().len() as u64,
            meta.size_bytes
        );
    });
}

#[test]
fn publishing_the_same_snapshot_again_changes_nothing() {
    on_every_disk(|disk| {
        let mut opened = disk.open();
        let id = LogId::new(1, 4);
        let first = publish(&mut *opened.snapshots, id).unwrap();
        let before = stored_bytes(&*opened.snapshots, &first, 1000);
        let mut sink = opened.snapshots.create(id, &members()).unwrap();
        sink.write_all(b"encoded in another order").unwrap();
        assert_eq!(sink.publish().unwrap(), first);
        assert_eq!(stored_bytes(&*opened.snapshots, &first, 1000), before);
    });
}

#[test]
fn sn10_ps25_retention_keeps_current_one_older_and_whatever_is_newer() {
    on_every_disk(|disk| {
        let mut opened = disk.open();
        let ids: Vec<LogId> =
            [2, 4, 6, 8, 9].into_iter().map(|index| LogId::new(1, index)).collect();
        ids.iter().for_each(|&id| drop(publish(&mut *opened.snapshots, id).unwrap()));
        opened.snapshots.retain(ids[2], None).unwrap();
        let mut reader = opened.snapshots.reader();
        let there: Vec<bool> =
            ids.iter().map(|&id| reader.read_at(id, 0, 1).unwrap().is_some()).collect();
        assert_eq!(
            there,
            [false, true, true, true, true],
            "one older, and newer ones: they may be on their way"
        );
        opened.snapshots.remove(ids[1]).unwrap();
        opened.snapshots.remove(ids[1]).unwrap();
        assert!(opened.snapshots.open(ids[1]).is_err());
    });
}

#[test]
fn a72_the_record_names_the_current_snapshot_and_orphans_go() {
    on_every_disk(|disk| {
        let mut opened = disk.open();
        let named = publish(&mut *opened.snapshots, LogId::new(1, 4)).unwrap();
        opened.log.write(&[append(1, 1..=9), record(&named)]).unwrap();
        let orphan = publish(&mut *opened.snapshots, LogId::new(1, 8)).unwrap();
        drop(opened);
        let mut opened = disk.open();
        assert_eq!(opened.recovered.snapshot, Some(named));
        assert_eq!(opened.snapshots.reader().read_at(orphan.log_id, 0, 1).unwrap(), None);
        check_snapshot(&mut opened);
    });
}

#[test]
fn a76_an_older_snapshot_stands_in_where_the_log_reaches_it() {
    on_every_disk(|disk| {
        let (older, newer) = (LogId::new(1, 4), LogId::new(1, 8));
        let mut opened = disk.open();
        let older = publish(&mut *opened.snapshots, older).unwrap();
        opened.log.write(&[append(1, 1..=9), record(&older), purge(1, 4)]).unwrap();
        let newer = publish(&mut *opened.snapshots, newer).unwrap();
        opened.log.write(&[record(&newer)]).unwrap();
        opened.snapshots.remove(newer.log_id).unwrap();
        drop(opened);
        for _ in 0..2 {
            let mut opened = disk.open();
            assert_eq!(opened.recovered.snapshot, Some(older.clone()));
            let last = opened.recovered.log.last_index();
            assert_eq!(held(&opened).entries, entries(1, 5..=last));
            check_snapshot(&mut opened);
            // Enough entries for new segments, whose checkpoints must match the snapshot fallen
            // back to.
            (last + 1..last + 20)
                .for_each(|index| opened.log.write(&[append(1, index..=index)]).unwrap());
        }
        let mut opened = disk.open();
        let newer = publish(&mut *opened.snapshots, newer.log_id).unwrap();
        opened.log.write(&[record(&newer), purge(1, 5)]).unwrap();
        opened.snapshots.remove(newer.log_id).unwrap();
        drop(opened);
        let error = disk.storage().open(IDENTITY, &bootstrap()).err().unwrap().to_string();
        assert!(error.contains("starts after 5@1"), "{error}");
    });
}

#[test]
fn a_fenced_node_can_neither_write_nor_read_and_its_disk_opens_again() {
    let disk = MemoryStorage::new();
    let mut fenced = disk.open();
    fenced.log.write(&[append(1, 1..=2)]).unwrap();
    let mut reader = fenced.log.reader();
    let meta = SnapshotMeta { log_id: LogId::new(1, 1), membership: members(), size_bytes: 3 };
    let mut receiver = fenced.snapshots.receive(&meta).unwrap();
    disk.fence();
    assert!(fenced.log.write(&[append(1, 3..=3)]).is_err());
    assert!(fenced.log.seal().is_err());
    assert!(reader.read(1, 1, 1).is_err());
    assert!(publish(&mut *fenced.snapshots, LogId::new(1, 1)).is_err());
    assert!(receiver.append(&Bytes::from_static(b"abc")).is_err());
    let opened = disk.open();
    drop((fenced, receiver));
    assert!(
        disk.storage().open(IDENTITY, &bootstrap()).is_err(),
        "the late drop gives nothing back"
    );
    assert_eq!(held(&opened).entries, entries(1, 1..=2));
}
