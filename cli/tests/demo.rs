//! The program as its user runs it: real threads, real files, real kills.

#![expect(clippy::disallowed_methods, reason = "a real program runs in real time")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
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
        (&["demo", "--input", "/dev/null"], "no word"),
        (&["demo", "--check", "acks"], "--data-dir"),
    ] {
        let output = quorate().args(args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.contains(expected), "{args:?}: {errors}");
    }
}

/// A demo that has begun to count, with its temporary directories in `scratch`.
fn begun(scratch: &Path, more: &[&str]) -> (Child, impl Iterator<Item = String>) {
    let mut running = quorate()
        .args(["demo", "--peers", "3", "--snapshot-bytes", "64KiB"])
        .args(more)
        .env("TMPDIR", scratch)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(running.stderr.take().unwrap()).lines();
    (running, lines.map_while(Result::ok))
}

fn signal(running: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &running.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn a_signal_ends_the_demo_and_leaves_no_directory_behind() {
    for name in ["-INT", "-TERM", "-HUP"] {
        let scratch = tempfile::tempdir().unwrap();
        let (mut running, mut lines) = begun(scratch.path(), &["--faults", "all"]);
        // The peers write into it by now.
        assert!(lines.any(|line| line.contains(" words  ")), "{name}");
        assert!(!is_empty(scratch.path()), "{name}: where are the files?");
        signal(&running, name);
        let said: Vec<String> = lines.collect();
        assert_eq!(running.wait().unwrap().code(), Some(2), "{name}: {said:?}");
        assert!(said.iter().any(|line| line.contains(&name.replace('-', "SIG"))), "{said:?}");
        assert!(is_empty(scratch.path()), "{name}: {said:?}");
    }
}

#[test]
fn a_signal_is_the_end_of_a_demo_that_keeps_running() {
    let scratch = tempfile::tempdir().unwrap();
    let text = small_text(tempfile::tempdir().unwrap().keep().as_path(), 100);
    let input = text.to_str().unwrap();
    let more = ["--keep-running", "--faults", "none", "--input", input];
    let (mut running, mut lines) = begun(scratch.path(), &more);
    assert!(lines.any(|line| line.contains("go on running")));
    signal(&running, "-INT");
    assert_eq!(lines.count(), 0, "that is what it was told to wait for");
    assert_eq!(running.wait().unwrap().code(), Some(0));
    assert!(is_empty(scratch.path()));
    std::fs::remove_dir_all(text.parent().unwrap()).unwrap();
}

#[test]
fn a_demo_that_fails_leaves_no_directory_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let (mut running, lines) = begun(scratch.path(), &["--ack-log", "/nowhere/at/all"]);
    let said: Vec<String> = lines.collect();
    assert_eq!(running.wait().unwrap().code(), Some(2), "{said:?}");
    assert!(said.iter().any(|line| line.contains("/nowhere/at/all")), "{said:?}");
    assert!(is_empty(scratch.path()), "{said:?}");
}

/// Without a terminal there is no picture; what happens is written line by line, as it happens.
#[test]
fn a_piped_demo_says_what_it_does_while_it_does_it() {
    let scratch = tempfile::tempdir().unwrap();
    let (mut running, mut lines) = begun(scratch.path(), &["--faults", "crash,partition"]);
    let first = lines.next().unwrap();
    assert!(first.contains("3 peers count"), "{first}");
    assert!(running.try_wait().unwrap().is_none(), "it is over before anything is said");
    let rest: Vec<String> = lines.collect();
    for step in ["a follower crashes", "the leader is cut off", "the rest of the text"] {
        assert!(rest.iter().any(|line| line.contains(step)), "{step}: {rest:?}");
    }
    assert!(rest.iter().all(|line| line.len() < 80 && !line.contains('\u{1b}')), "{rest:?}");
    assert_eq!(running.wait().unwrap().code(), Some(0));
}
