//! The program as its user runs it: real threads, real files, real kills.

#![expect(clippy::disallowed_methods, reason = "a real program runs in real time")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn quorate() -> Command {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
}

fn report(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}; {output:?}"))
}

fn small_text(directory: &Path, words: usize) -> std::path::PathBuf {
    let path = directory.join("text");
    let text: String = (0..words).map(|number| format!("word{} ", number % 97)).collect();
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn counts_a_small_text_twice_on_the_same_directory() {
    let directory = tempfile::tempdir().unwrap();
    let text = small_text(directory.path(), 3_000);
    let data = directory.path().join("data");
    for _ in 0..2 {
        let output = quorate()
            .args([
                "demo",
                "--json",
                "--faults",
                "none",
                "--peers",
                "3",
                "--clients",
                "8",
                "--snapshot-bytes",
                "64KiB",
            ])
            .arg("--input")
            .arg(&text)
            .arg("--data-dir")
            .arg(&data)
            .output()
            .unwrap();
        let report = report(&output);
        assert!(output.status.success(), "{report}");
        assert_eq!(report["commands"], 3_000);
        assert_eq!(report["matches_plain_count"], true);
        assert!(report["snapshots_taken"].as_u64() > Some(0), "{report}");
        assert!(report["max_log_bytes"].as_u64() <= report["log_bytes_limit"].as_u64(), "{report}");
    }
    for peer in 0..3 {
        assert!(data.join(peer.to_string()).is_dir());
    }
}

/// A kill in the middle loses no acknowledged command and doubles none.
#[test]
fn a_kill_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let text = small_text(directory.path(), 2_000_000);
    let (data, acks) = (directory.path().join("data"), directory.path().join("acks"));
    let mut running = quorate()
        .args(["demo", "--json", "--faults", "none", "--peers", "3", "--snapshot-bytes", "256KiB"])
        .arg("--input")
        .arg(&text)
        .arg("--data-dir")
        .arg(&data)
        .arg("--ack-log")
        .arg(&acks)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while std::fs::metadata(&acks).map_or(0, |meta| meta.len()) < 1_000_000 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is being counted");
        assert!(running.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    running.kill().unwrap();
    running.wait().unwrap();
    let check = |file: &Path| {
        let args = ["demo", "--json", "--peers", "3", "--snapshot-bytes", "256KiB", "--check"];
        quorate().args(args).arg(file).arg("--data-dir").arg(&data).output().unwrap()
    };
    let output = check(&acks);
    assert!(output.status.success(), "{}", report(&output));
    assert_eq!(report(&output)["matches_plain_count"], true);

    // The check can fail: a word that was acknowledged and is not there.
    let mut lines = std::fs::read(&acks).unwrap();
    let end = lines.iter().rposition(|&byte| byte == b'\n').unwrap();
    lines.truncate(end + 1);
    lines.extend_from_slice(b"sent 1 1 neverseen\nok 1 1 neverseen\n");
    std::fs::write(&acks, lines).unwrap();
    let output = check(&acks);
    assert_eq!(output.status.code(), Some(1), "{}", report(&output));
}

#[test]
fn wrong_use_is_explained() {
    for (args, expected) in [
        (&["demo", "--faults", "crush"][..], "leader-crash"),
        (&["demo", "--snapshot-bytes", "1XB"], "1MiB"),
        (&["demo", "--peers", "0"], "1..=31"),
        (&["demo", "--input", "/nowhere/at/all"], "/nowhere/at/all"),
        (&["demo", "--check", "acks"], "--data-dir"),
    ] {
        let output = quorate().args(args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.contains(expected), "{args:?}: {errors}");
    }
}
