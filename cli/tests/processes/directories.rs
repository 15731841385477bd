//! `quorate inspect` and `quorate verify` on directories of members: sound, damaged, in use, and on what is none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::SystemTime;

use serde_json::Value;

use super::members::{Members, quorate, run};

/// Where everything is that a directory holds: its bytes, and when it was changed.
type Content = BTreeMap<PathBuf, (Vec<u8>, SystemTime)>;

fn content(dir: &Path) -> Content {
    let mut found = Content::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let changed = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        found.insert(folder.clone(), (Vec::new(), changed(&folder)));
        for path in fs::read_dir(&folder).unwrap().map(|item| item.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), (fs::read(&path).unwrap(), changed(&path)));
            }
        }
    }
    found
}

fn look(args: &[&str], dir: &Path) -> Output {
    quorate().args(args).arg(dir).output().unwrap()
}

/// The same where nobody else writes: nothing may be changed by it.
fn look_only(args: &[&str], dir: &Path) -> (Option<i32>, String) {
    let before = content(dir);
    let output = look(args, dir);
    assert!(content(dir) == before, "{args:?} changed something");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn parsed(args: &[&str], dir: &Path) -> Value {
    let (status, text) = look_only(args, dir);
    assert_eq!(status, Some(0), "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Members that have written and taken snapshots.
fn members(count: usize) -> Members {
    let members = Members::start(count, &[]);
    let all = members.all_http();
    for value in ["one", "two", "three"] {
        let output = run(&["put", "key", value], &all);
        assert!(output.status.success(), "{output:?}");
    }
    let output = run(&["snapshot"], &all);
    assert!(output.status.success(), "{output:?}");
    let output = run(&["put", "key", "four"], &all);
    assert!(output.status.success(), "{output:?}");
    members
}

/// The same, ended in order.
fn ended(count: usize) -> Members {
    let mut members = members(count);
    (1..=count).for_each(|id| assert_eq!(members.terminate(id), Some(0)));
    members
}

fn segment(dir: &Path) -> PathBuf {
    dir.join("log/00000000000000000001.wal")
}

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Frames of a directory's first segment that hold an entry, with their offsets.
fn frames_with_entries(report: &Value) -> Vec<u64> {
    let stretches = report["records"][0]["stretches"].as_array().unwrap().iter();
    let has_entry = |stretch: &&Value| {
        let records = stretch["records"].as_array().into_iter().flatten();
        records.into_iter().any(|record| record["record"] == "entry")
    };
    stretches.filter(has_entry).map(|stretch| stretch["offset"].as_u64().unwrap()).collect()
}

#[test]
fn a_sound_directory_is_shown_and_verified() {
    let members = ended(1);
    let dir = members.data(1);
    let (status, text) = look_only(&["verify"], &dir);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("1 snapshot") && text.contains("nothing is wrong"), "{text}");

    let (status, text) = look_only(&["inspect"], &dir);
    assert_eq!(status, Some(0), "{text}");
    for said in ["node 1 of cluster 0", "current", "newest", "nothing is wrong"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("entry 2@1"), "{text}");
    let (status, text) = look_only(&["inspect", "--records"], &dir);
    assert_eq!(status, Some(0), "{text}");
    for said in ["checkpoint: start 0", "life: start 1", "entry 2@1, command", "snapshot "] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(text.contains("entry 1@1, blank\n") && !text.contains("at 1970"), "{text}");
}

#[test]
fn what_is_shown_is_there_as_json() {
    let members = ended(1);
    let dir = members.data(1);
    let report = parsed(&["inspect", "--json"], &dir);
    assert_eq!(report["directory"], dir.display().to_string());
    assert_eq!((&report["in_use"], &report["node"]), (&false.into(), &1.into()));
    assert_eq!(report["members"]["voters"], serde_json::json!([1]));
    assert_eq!(report["outcome"]["kind"], "sound");
    let none = serde_json::json!([]);
    assert_eq!((&report["findings"], &report["notes"]), (&none, &none));
    let log = &report["log"];
    assert_eq!((&log["life"]["start"]["number"], &log["vote"]), (&1.into(), &1.into()));
    assert!(log["last"].as_u64() > Some(4) && log["entries"] == log["last"], "{log}");
    let segment_report = &report["segments"][0];
    assert_eq!(segment_report["path"], segment(&dir).display().to_string());
    assert_eq!(segment_report["state"], "newest");
    let file_bytes = fs::metadata(segment(&dir)).unwrap().len();
    assert_eq!(segment_report["file_bytes"].as_u64(), Some(file_bytes));
    assert_eq!(report["snapshots"][0]["state"], "current");
    assert_eq!(report["snapshots"][0]["verified"], log["snapshot"]);
    assert_eq!(report.get("records"), None);

    let report = parsed(&["inspect", "--json", "--records"], &dir);
    let frames = report["records"][0]["stretches"].as_array().unwrap();
    let records = frames.iter().flat_map(|frame| frame["records"].as_array().into_iter().flatten());
    let records: Vec<&Value> = records.collect();
    let count =
        |kind: &str| records.iter().filter(|record| record["record"] == kind).count() as u64;
    assert_eq!((count("checkpoint"), count("life"), count("snapshot")), (1, 1, 1));
    assert_eq!(Some(count("entry")), report["log"]["entries"].as_u64());
    let kinds = records.iter().filter_map(|record| record["kind"].as_str());
    let kinds: BTreeSet<&str> = kinds.collect();
    assert_eq!(kinds, ["blank", "command"].into());
    assert!(frames.iter().all(|frame| frame["kind"] == "frame" && frame["counts"] == true));
}

#[test]
fn damage_is_named_with_its_place_and_what_a_start_makes_of_it() {
    let members = ended(3);
    let dir = members.data(1);
    let sound = parsed(&["inspect", "--json", "--records"], &dir);
    let frames = frames_with_entries(&sound);
    let (last, path) = (frames[frames.len() - 1], segment(&dir));
    flip(&path, last + 50);
    let place = format!("{} at byte {last}: ", path.display());
    let (status, text) = look_only(&["verify"], &dir);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains(&format!("wrong: {place}")), "{text}");
    assert!(text.contains("catches up from the others"), "{text}");
    let report = parsed(&["inspect", "--json"], &dir);
    assert_eq!(report["outcome"]["kind"], "catches_up");
    assert_eq!(report["findings"][0]["path"], path.display().to_string());
    assert_eq!(report["findings"][0]["offset"].as_u64(), Some(last));
    flip(&path, last + 50);
    assert_eq!(look_only(&["verify"], &dir).0, Some(0));

    let snapshot = sound["snapshots"][0]["path"].as_str().unwrap();
    flip(Path::new(snapshot), 40);
    let (status, text) = look_only(&["verify"], &dir);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains(&format!("wrong: {snapshot} at byte 0: ")), "{text}");
    assert!(text.contains("goes on without a snapshot: the log reaches back"), "{text}");
    flip(Path::new(snapshot), 40);

    flip(&dir.join("identity"), 20);
    let (status, text) = look_only(&["verify"], &dir);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("identity at byte 0"), "{text}");
}

#[test]
fn a_write_that_was_never_finished_is_no_damage() {
    let members = ended(1);
    let dir = members.data(1);
    let (status, text) = look_only(&["inspect"], &dir);
    assert_eq!(status, Some(0), "{text}");
    assert!(
        text.contains("sealed, durable through byte") && !text.contains("not sealed"),
        "{text}"
    );
    // A frame of which the beginning alone got to the disk.
    let report = parsed(&["inspect", "--json"], &dir);
    let end = report["segments"][0]["used_bytes"].as_u64().unwrap() as usize;
    let mut bytes = fs::read(segment(&dir)).unwrap();
    let first = bytes[56..96].to_vec();
    bytes.splice(end.., first);
    fs::write(segment(&dir), bytes).unwrap();
    let (status, text) = look_only(&["verify"], &dir);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("note: ") && text.contains("was never finished"), "{text}");
}

/// Once the end of the log is known, what is missing from it is no unfinished write.
#[test]
fn a_damaged_end_of_a_member_that_was_stopped_or_killed_is_wrong() {
    let mut stopped = members(2);
    assert_eq!(stopped.terminate(1), Some(0));
    stopped.kill(2);
    for id in [1, 2] {
        let dir = stopped.data(id);
        let sound = fs::read(segment(&dir)).unwrap();
        let report = parsed(&["inspect", "--json"], &dir);
        let used = report["segments"][0]["used_bytes"].as_u64().unwrap() as usize;
        let mut zeroed = sound.clone();
        zeroed[(used - 1) / 512 * 512..].fill(0);
        for damaged in [sound[..used - 3].to_vec(), Vec::new(), zeroed] {
            fs::write(segment(&dir), damaged).unwrap();
            let (status, text) = look_only(&["verify"], &dir);
            assert_eq!(status, Some(1), "{text}");
            assert!(text.contains("but the log was durable through byte"), "{text}");
        }
        fs::write(segment(&dir), sound).unwrap();
        assert_eq!(look_only(&["verify"], &dir).0, Some(0));
        fs::remove_file(dir.join("end")).unwrap();
        let (status, text) = look_only(&["verify"], &dir);
        assert_eq!(status, Some(1), "{text}");
        assert!(text.contains("end at byte 0: is missing"), "{text}");
    }
}

#[test]
fn a_directory_in_use_can_be_looked_at() {
    let members = members(1);
    let dir = members.data(1);
    for args in [&["verify"][..], &["inspect"], &["inspect", "--records"]] {
        let output = look(args, &dir);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.contains("in use by a running node"), "{text}");
    }
    let output = look(&["inspect", "--json"], &dir);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["in_use"], &report["findings"]), (&true.into(), &serde_json::json!([])));
    // It goes on as if nobody had looked.
    let output = run(&["put", "key", "five"], &members.all_http());
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_is_no_nodes_directory_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, other, file) =
        (folder.path().join("empty"), folder.path().join("other"), folder.path().join("file"));
    fs::create_dir(&empty).unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(other.join("something"), "else").unwrap();
    fs::write(&file, "a file").unwrap();
    for (dir, expected) in [
        (folder.path().join("nowhere"), "there is no such directory"),
        (empty, "is empty"),
        (other, "is not a node's directory"),
        (file, "is a file"),
    ] {
        for command in ["inspect", "verify"] {
            let output = look(&[command], &dir);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains(expected) && said.contains(&*dir.to_string_lossy()), "{said}");
            assert!(output.stdout.is_empty());
        }
    }
    assert_eq!(look(&["verify", "--json"], folder.path()).status.code(), Some(2));
}
