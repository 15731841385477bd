//! What is written on standard error: by members, by the demo.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::members::{Members, PATIENCE, quorate, run};

/// All but the commands' own lines, which name the member in their own span.
const LOUD: &str = "debug,quorate::command=off";

/// Lines of the library, whichever part of it has written them.
fn of_the_library(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter(|line| line.contains("quorate::") && !line.contains("quorate: "))
}

/// Which targets, `quorate::transport` and so on.
fn targets(said: &str) -> BTreeSet<String> {
    let target = |line: &str| {
        let rest = &line[line.find("quorate::").unwrap() + "quorate::".len()..];
        rest.split([':', ' ']).next().unwrap_or_default().to_owned()
    };
    of_the_library(said).map(target).collect()
}

#[test]
fn every_line_of_a_member_names_the_member_and_has_no_colour_where_there_is_no_terminal() {
    let mut members = Members::start_with_log(3, &["--snapshot-bytes", "64KiB"], LOUD);
    members.until("somebody leads", |members| members.leader(0));
    let value = "x".repeat(4096);
    for _ in 0..40 {
        assert!(run(&["put", "key", &value], &members.all_http()).status.success());
    }
    // A disk that is damaged, a member that is gone, a caller that is none: these have lines of
    // their own.
    let (leader, _) = members.until("somebody leads", |members| members.leader(0));
    let id = (1..=3).find(|&id| id != leader).unwrap();
    members.kill(id);
    let log = members.data(id).join("log");
    let files = std::fs::read_dir(log).unwrap().map(|file| file.unwrap().path());
    let segments = files.filter(|file| file.extension().is_some_and(|ext| ext == "wal"));
    let first = segments.min().unwrap();
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    members.restart(id);
    members
        .until("it is back", |members| members.status(id).filter(|s| s["raft"]["leader"].is_u64()));
    for id in 1..=3 {
        let said = members.said(id);
        for line in of_the_library(&said) {
            assert!(line.contains(&format!("member{{node={id}}}")), "whose is this? {line}");
        }
        assert!(!said.contains('\u{1b}'), "colours: {said:?}");
        let found = targets(&said);
        for part in ["actors", "transport"] {
            assert!(found.contains(part), "no line of {part} in {found:?}");
        }
    }
    assert!(targets(&members.said(id)).contains("storage"), "{}", members.said(id));
}

/// The peers of a demo stand in one process, and some of their parts on one thread.
#[test]
fn every_line_of_the_demos_peers_names_the_peer() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "word ".repeat(4_000)).unwrap();
    let mut demo = quorate();
    demo.args(["demo", "--faults", "crash", "--peers", "3", "--snapshot-bytes", "64KiB"]);
    demo.args(["--json", "--input"]).arg(&text).env("QUORATE_LOG", LOUD);
    let output = demo.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let mut named = BTreeSet::new();
    for line in
        of_the_library(&said).filter(|line| !line.contains("quorate::transport::in_process"))
    {
        let node = line.split("member{node=").nth(1).and_then(|rest| rest.split('}').next());
        named.insert(node.unwrap_or_else(|| panic!("whose is this? {line}")).to_owned());
    }
    assert_eq!(named, ["0", "1", "2"].map(str::to_owned).into());
}

/// Anybody can send malformed requests: they are answered, and fill no log, whichever level it has.
#[test]
fn malformed_requests_write_no_lines() {
    for level in ["info", "trace"] {
        let members = Members::start_with_log(1, &[], level);
        members.until("it leads", |members| members.leader(0));
        for request in
            ["NONSENSE\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /kv/k HTTP/1.1\r\nx\r\n\r\n"]
        {
            let mut stream = TcpStream::connect(members.http(1)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
        }
        let said = members.said(1);
        assert!(said.lines().count() > 0 && !said.contains("actix_http"), "{said}");
        let errors: Vec<_> = said.lines().filter(|line| line.contains("ERROR")).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn a_filter_that_is_none_is_an_error_at_the_start() {
    for wrong in ["loud", "info,quorate=loud", "quorate", "=info", ","] {
        for args in [&["sim", "--seeds", "1"][..], &["demo", "--memory"], &["status"]] {
            let output = quorate().args(args).env("QUORATE_LOG", wrong).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{wrong}: {said}");
            assert!(said.contains("QUORATE_LOG") && said.contains("info"), "{said}");
            assert!(said.lines().count() == 1 && output.stdout.is_empty(), "{said}");
        }
    }
    let fine =
        quorate().args(["sim", "--seeds", "1", "--minutes", "0.1"]).env("QUORATE_LOG", "").output();
    assert_eq!(fine.unwrap().status.code(), Some(0));
}
