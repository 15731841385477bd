//! Wrong use of each command: refused before anything is done, and in terms of what was written on
//! the command line.

use std::process::Output;
use std::time::Duration;

use super::http::Http;
use super::members::{Members, quorate};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What is refused: status 2, nothing on standard output, and these words.
fn refused(args: &[&str], words: &[&str]) {
    let output = quorate().args(args).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
    assert!(output.stdout.is_empty(), "{args:?}");
    for word in words {
        assert!(said.contains(word), "{args:?} without {word:?}: {said}");
    }
}

#[test]
fn a_simulation_of_nothing_is_refused() {
    for nothing in [
        &["--seeds", "0"][..],
        &["--seconds", "0"],
        &["--threads", "0"],
        &["--minutes", "0"],
        &["--minutes", "-1"],
        &["--minutes", "nan"],
        &["--minutes", "inf"],
        &["--seeds", "2", "--first", "18446744073709551615"],
    ] {
        refused(&[&["sim"], nothing].concat(), &[nothing[1]]);
    }
    refused(&["demo", "--snapshot-entries", "0"], &["--snapshot-entries"]);
}

#[test]
fn the_last_seeds_there_are_can_be_run() {
    let args =
        ["sim", "--seeds", "1", "--first", "18446744073709551614", "--minutes", "0.1", "--json"];
    let output = quorate().args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["seeds"], 1);
}

/// So many seeds take days: it is refused before the first of them.
#[test]
fn a_trace_that_cannot_be_written_is_refused_before_the_run() {
    refused(&["sim", "--seeds", "1000000000", "--trace", "/nowhere/at/all"], &["/nowhere/at/all"]);
}

#[test]
fn a_trace_is_written_over_an_older_one_and_left_out_where_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("trace"), folder.path().join("other"));
    std::fs::write(&path, "x".repeat(1 << 20)).unwrap();
    let sim = |seeds: &str, path: &std::path::Path| {
        let args = ["sim", "--minutes", "0.02", "--seeds", seeds, "--trace"];
        let output = quorate().args(args).arg(path).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    };
    sim("1", &path);
    let lines = std::fs::read_to_string(&path).unwrap();
    assert!(lines.lines().count() > 10, "{lines}");
    lines.lines().for_each(|line| drop(serde_json::from_str::<serde_json::Value>(line).unwrap()));
    sim("2", &other);
    assert!(!other.exists(), "nothing failed, and there was not one seed alone");
    sim("2", &path);
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        lines,
        "nothing to write: the old one stays"
    );
}

/// Numbers for people: no fraction longer than a few places, no row of digits that has to be
/// counted.
#[test]
fn a_report_for_people_has_no_long_numbers() {
    let demo = ["demo", "--memory", "--faults", "none", "--peers", "1", "--clients", "64"];
    for args in [&["sim", "--seeds", "3"][..], &demo] {
        let output = quorate().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        // A hash is no number.
        for line in shown.lines().filter(|line| !line.contains("hash")) {
            let long = line.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() > 3);
            assert_eq!(long, None, "{line}");
        }
    }
}

const PEERS: &str = "1=127.0.0.1:7001,2=127.0.0.1:7002";

/// `quorate serve` with these after the usual options, of which a later one counts.
fn serve_refused(more: &[&str], words: &[&str]) {
    let usual = ["serve", "--data-dir", "/nowhere/at/all"];
    refused(&[&usual[..], more].concat(), words);
}

#[test]
fn options_that_do_not_go_together_are_refused_in_terms_of_options() {
    let with = |id: &'static str, peers: &'static str| ["--id", id, "--peers", peers];
    let here = ["--http", "localhost:0"];
    let all = |a: [&'static str; 4], more: &[&'static str]| [&a[..], &here[..], more].concat();
    serve_refused(&all(with("1", "1=h:1,2=h:1"), &[]), &["members 1 and 2 have the same address"]);
    serve_refused(
        &all(with("4", PEERS), &[]),
        &["--id 4 is not in --peers", "1, 2", "keeps its list"],
    );
    serve_refused(
        &all(with("1", PEERS), &["--heartbeat-ms", "2000"]),
        &["--heartbeat-ms", "--election-ms"],
    );
    serve_refused(&all(with("1", PEERS), &["--timeout", "0s"]), &["--timeout"]);
    serve_refused(&all(with("1", "1=http://h:1"), &[]), &["is a URL", "HOST:PORT"]);
    let one = with("1", PEERS);
    for wrong in ["8001", "localhost", "https://localhost:1", "http://h:1/path", "127.0.0.1:99999"]
    {
        serve_refused(&[&one[..], &["--http", wrong]].concat(), &["HOST:PORT", wrong]);
    }
    serve_refused(&[&one[..], &["--http", "127.0.0.1:7002"]].concat(), &["address of member 2"]);
    let unknown = [&one[..], &["--http", "no-such-host.invalid:1"]].concat();
    serve_refused(&unknown, &["no-such-host.invalid"]);
}

#[test]
fn another_list_of_members_than_the_first_is_refused_in_terms_of_options() {
    let mut members = Members::start(1, &[]);
    members.kill(1);
    let more = "1=127.0.0.1:7001,2=127.0.0.1:7002";
    let mut command = members.command(1);
    let output = command.args(["--peers", more]).output().unwrap();
    let said = said(&output);
    // A second --peers is no list of this program.
    assert_eq!(output.status.code(), Some(2), "{said}");
    let mut command = quorate();
    command.args(["serve", "--id", "1", "--http", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
    let output =
        command.args(["--peers", more, "--data-dir"]).arg(members.data(1)).output().unwrap();
    let said = self::said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("fixed at the first start") && !said.contains("::"), "{said}");
}

/// A host's name is looked up, and all of its addresses are served.
#[test]
fn a_member_serves_http_at_a_hosts_name() {
    let members = Members::start(1, &[]);
    let port: u16 = members.http(1).rsplit_once(':').unwrap().1.parse().unwrap();
    drop(members);
    let folder = tempfile::tempdir().unwrap();
    for http in [format!("localhost:{port}"), format!("http://localhost:{port}/")] {
        let mut command = quorate();
        command.args(["serve", "--id", "1", "--peers", "1=localhost:1", "--listen", "127.0.0.1:0"]);
        command.args(["--http", &http, "--data-dir"]).arg(folder.path());
        command.stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        let answer = Http::new(Duration::from_secs(30)).ask(
            &format!("127.0.0.1:{port}"),
            "GET /status",
            &[],
            &[],
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(line.contains(&format!("http://localhost:{port}/")), "{line}");
        assert_eq!(answer.unwrap().status, 200, "{http}");
    }
}
