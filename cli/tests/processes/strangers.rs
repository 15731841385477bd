//! Servers that are no members, at addresses where members should be, and services that have a
//! member mounted.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::http::Http;
use super::members::{Members, quorate, run};

/// A server that answers every request with this status, as many servers do; where it is.
fn stranger(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let head = "content-length: 9\r\nconnection: close";
            // A client that has gone does not want it.
            let _ = write!(stream, "HTTP/1.1 {status}\r\n{head}\r\n\r\nno page\r\n");
        }
    });
    address
}

#[test]
fn the_answer_of_a_server_that_is_no_member_is_no_answer() {
    for status in ["200 OK", "204 No Content", "404 Not Found", "412 Precondition Failed"] {
        let begun = Instant::now();
        for args in [&["get", "k"][..], &["get", "k", "--local"], &["put", "k", "v"], &["del", "k"]]
        {
            let output = run(args, &[stranger(status)]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{args:?} of {status}: {said}");
            assert!(said.contains("is no quorate member"), "{said}");
            assert!(output.stdout.is_empty(), "{status}");
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "it asks again what never answers");
        for args in [["status"], ["snapshot"]] {
            let output = run(&args, &[stranger(status)]);
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(2), "{args:?} of {status}: {said}");
            assert!(said.contains("is no quorate member"), "{said}");
        }
    }
}

/// Where one address is wrong, the members at the others are found.
#[test]
fn a_member_is_found_beside_servers_that_are_none() {
    let members = Members::start(1, &[]);
    members.until("it leads", |members| members.leader(0));
    let all = [stranger("404 Not Found"), members.http(1)];
    assert_eq!(run(&["put", "k", "v"], &all).status.code(), Some(0));
    assert_eq!(run(&["get", "k"], &all).stdout, b"v");
    assert_eq!(run(&["get", "none"], &all).status.code(), Some(1));
}

/// With a wrong address of the leader, a member passes nothing on to a client as the leader's
/// answer.
#[test]
fn a_member_does_not_take_a_strangers_answer_for_the_leaders() {
    let table: Vec<String> =
        (1..=3).map(|id| format!("{id}={}", stranger("404 Not Found"))).collect();
    let members = Members::start_with_http_peers(3, &["--forward"], &table.join(","));
    let (leader, _) = members.until("somebody leads", |members| members.leader(0));
    let follower = (1..=3).find(|&id| id != leader).unwrap();
    let mut http = Http::new(Duration::from_secs(10));
    // A follower that has not heard from the leader yet has no address to ask.
    let answer = members.until("the follower asks its leader", |members| {
        let answer = http.ask(&members.http(follower), "GET /kv/k", &[], &[]).unwrap();
        (!answer.text().contains("no leader is known")).then_some(answer)
    });
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("is no member; check --http-peers"), "{}", answer.text());
}

/// What a service mounts under a path of its own is asked there. `quorate serve` mounts its own
/// member at /node.
#[test]
fn status_and_snapshot_ask_a_mounted_member_at_its_path() {
    let members = Members::start(1, &[]);
    members.until("it leads", |members| members.leader(0));
    assert_eq!(run(&["put", "k", "v"], &members.all_http()).status.code(), Some(0));
    for at in [format!("http://{}/node", members.http(1)), format!("{}/node/", members.http(1))] {
        let output = run(&["status"], std::slice::from_ref(&at));
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains("member 1, leader") && output.status.success(), "{at}: {shown}");
        let output = run(&["snapshot"], std::slice::from_ref(&at));
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains("\"index\":") && output.status.success(), "{at}: {shown}");
    }
    let nowhere = format!("http://{}/nowhere", members.http(1));
    assert_eq!(run(&["status"], &[nowhere]).status.code(), Some(2));
    for wrong in ["https://127.0.0.1:8001", "127.0.0.1", "http://127.0.0.1:8001/?x"] {
        let output = quorate().args(["status", "--http", wrong]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {said}");
        assert!(said.contains("HOST:PORT"), "{wrong}: {said}");
    }
}
