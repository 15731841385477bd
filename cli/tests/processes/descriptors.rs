//! More clients than a process may have files open: the log and the snapshots still find their descriptors.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::http::Http;
use super::members::Members;

const QUICK: [&str; 4] = ["--heartbeat-ms", "50", "--election-ms", "500..1000"];

/// Connects and sends half of a request, if anybody takes it.
fn half_a_request(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok()?;
    let half = "PUT /kv/half HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\nhalf a value";
    stream.write_all(half.as_bytes()).ok()?;
    Some(stream)
}

#[test]
fn half_sent_bodies_do_not_take_the_files_of_the_log() {
    let options = [&QUICK[..], &["--snapshot-bytes", "64KiB"]].concat();
    let mut members = Members::start_limited(1, 640, &options);
    members.until("it leads", |members| members.leader(0));
    let address = members.http(1);
    let mut http = Http::new(Duration::from_secs(30));
    let mut put = |times: usize| {
        for _ in 0..times {
            let answer = http.ask(&address, "PUT /kv/key", &[], &[7; 1024]);
            assert_eq!(answer.map(|answer| answer.status).ok(), Some(204));
        }
        let answer = http.ask(&address, "GET /status", &[], &[]).expect("on its own connection");
        serde_json::from_slice::<serde_json::Value>(&answer.body).expect("JSON")
    };
    put(1);
    let halves: Vec<_> = (0..700).map_while(|_| half_a_request(address.parse().unwrap())).collect();
    assert!(halves.len() > 128, "{} were taken", halves.len());
    // Each snapshot is a file of its own.
    let status = put(300);
    assert_eq!(status["running"], true, "{status}");
    let taken = status["raft"]["counters"]["snapshots_taken"].as_u64();
    assert!(taken.is_some_and(|taken| taken >= 2), "{status}");
    drop(halves);
    members.until("new clients are served", |members| members.status(1));
    assert_eq!(members.terminate(1), Some(0), "{}", members.said(1));
}

#[test]
fn a_limit_that_leaves_no_room_for_clients_is_refused_with_advice() {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 300; exec \"$0\" \"$@\""]);
    command.arg(super::members::quorate().get_program()).arg("serve");
    let directory = tempfile::tempdir().unwrap();
    command.args([
        "--id",
        "1",
        "--peers",
        "1=127.0.0.1:7001",
        "--http",
        "127.0.0.1:0",
        "--data-dir",
    ]);
    let output = command.arg(directory.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("ulimit -n"), "{said}");
}
