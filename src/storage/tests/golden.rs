//! The bytes on disk are a contract with every earlier and later version: they must not change by
//! accident.
//!
//! `tests/golden` holds a small directory, file by file. Reading it must give the content written
//! into it, and writing it again must give the same bytes. To change a format, raise its version,
//! document it in `docs/formats.md`, keep reading the old one, and then rewrite the files:
//! ```text
//! QUORATE_GOLDEN=rewrite cargo test --lib storage::tests::golden
//! ```
//! That test fails after writing, so that no run with this variable left set passes; on CI it
//! writes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::model::*;
use super::sim_disk::SimDisk;
use super::workload::storage_of;
use crate::raft::{LogId, Loss};
use crate::storage::OpenedStorage;

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The files that are compared: all but the lock and the spares.
fn lasting(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let ends =
        |name: &str| ["identity", "end", ".wal", ".snap"].iter().any(|end| name.ends_with(end));
    let name = |path: &Path| path.strip_prefix("node").unwrap().to_string_lossy().into_owned();
    let files = disk.files().into_iter().map(|(path, bytes)| (name(&path), bytes));
    files.filter(|(name, _)| ends(name)).collect()
}

/// The files of `tests/golden` by their name in the directory.
fn golden() -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in ["", "log/", "snapshots/"] {
        for item in fs::read_dir(kept(folder)).unwrap().map(Result::unwrap) {
            if item.path().is_file() {
                let name = format!("{folder}{}", item.file_name().to_string_lossy());
                found.insert(name, fs::read(item.path()).unwrap());
            }
        }
    }
    found
}

/// Writes every kind of record; returns the resulting state.
fn write(disk: &SimDisk) -> Model {
    let mut opened = open(storage_of(disk, 1024)).unwrap();
    let OpenedStorage { log, snapshots, .. } = &mut opened;
    let meta = publish(&mut **snapshots, LogId::new(2, 3)).unwrap();
    let loss = Loss { forgot_vote: true, last: Some(LogId::new(1, 9)) };
    let calls = [
        vec![vote(2, Some(3)), append(2, 1..=6), truncate(6), record(&meta), purge(2, 2)],
        vec![in_first_life(life(0, Some(loss))), remember(3, 7, LogId::new(2, 4))],
        vec![append(2, 6..=6), vote(3, None), in_first_life(life(0, None))],
        vec![append(3, 7..=16)],
        vec![append_big(3, 17, 200)],
    ];
    let mut model = Model::default();
    for changes in calls {
        log.write(&changes).unwrap();
        changes.iter().for_each(|change| model.apply(change));
    }
    log.seal().unwrap();
    model
}

fn in_first_life(change: crate::raft::LogChange) -> crate::raft::LogChange {
    super::workload::in_this_life(change, 1)
}

#[test]
fn the_formats_stay_as_they_are() {
    let disk = SimDisk::default();
    write(&disk);
    let written = lasting(&disk);
    if std::env::var("QUORATE_GOLDEN").is_ok_and(|what| what == "rewrite") {
        assert!(std::env::var_os("CI").is_none(), "the formats are not made on CI");
        drop(fs::remove_dir_all(kept("")));
        fs::create_dir_all(kept("log")).unwrap();
        fs::create_dir_all(kept("snapshots")).unwrap();
        written.iter().for_each(|(name, bytes)| fs::write(kept(name), bytes).unwrap());
        panic!(
            "tests/golden is written anew: look at the difference, and run again without QUORATE_GOLDEN"
        );
    }
    let golden = golden();
    assert_eq!(golden.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
    for (name, bytes) in written {
        let golden = &golden[&name];
        let first = golden.iter().zip(&bytes).position(|(golden, byte)| golden != byte);
        let lengths = (golden.len(), bytes.len());
        assert!(*golden == bytes, "{name}: first other byte {first:?}, lengths {lengths:?}");
    }
}

#[test]
fn what_an_earlier_version_wrote_is_read() {
    let disk = SimDisk::default();
    let model = write(&disk);
    let copy = SimDisk::default();
    drop(open(storage_of(&copy, 1024)).unwrap());
    for (path, bytes) in golden() {
        copy.put(&Path::new("node").join(path), bytes);
    }
    let mut opened = open(storage_of(&copy, 1024)).unwrap();
    assert_eq!((opened.recovered.life.incarnation, held(&opened)), (2, model));
    check_snapshot(&mut opened);
}
