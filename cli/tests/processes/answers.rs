//! What each request is answered, by one member and by members that do not lead.

use std::time::Duration;

use super::http::{Answer, Http};
use super::members::{Members, run};

const QUICK: [&str; 4] = ["--heartbeat-ms", "50", "--election-ms", "150..300"];

/// A member that leads, and a way to ask it.
struct World {
    members: Members,
    http: Http,
    target: String,
}

impl World {
    fn start(count: usize, options: &[&str]) -> World {
        let members = Members::start(count, &[&QUICK, options].concat());
        let (leader, _) = members.until("somebody leads", |members| members.leader(0));
        let target = members.http(leader);
        World { members, http: Http::new(Duration::from_secs(10)), target }
    }

    fn ask(&mut self, request: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let headers: Vec<_> =
            headers.iter().map(|&(name, value)| (name, value.to_owned())).collect();
        self.http.ask(&self.target, request, &headers, body).unwrap()
    }

    fn status_of(&mut self, request: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
        self.ask(request, headers, body).status
    }

    /// Where a member that does not lead, and knows the leader, is.
    fn follower(&self) -> String {
        let knows_the_leader = |members: &Members| {
            let ids = 1..=members.all_http().len();
            let mut followers = ids.filter(|&id| members.http(id) != self.target);
            followers.find_map(|id| {
                let leader = members.status(id)?["raft"]["leader"].as_u64()?;
                (members.http(leader as usize) == self.target).then(|| members.http(id))
            })
        };
        self.members.until("a follower knows the leader", knows_the_leader)
    }
}

#[test]
fn values_are_raw_bytes_with_versions() {
    let mut world = World::start(1, &[]);
    let value: Vec<u8> = (0..=255).collect();
    let put = world.ask("PUT /kv/a%2Fb%ff", &[], &value);
    assert_eq!((put.status, put.version() > 0), (204, true));
    let got = world.ask("GET /kv/a/b%FF", &[], &[]);
    assert_eq!((got.status, got.version(), got.body), (200, put.version(), value));
    assert_eq!(world.status_of("GET /kv/a/b%FF?consistency=local", &[], &[]), 200);
    assert_eq!(world.status_of("GET /kv/a/b%FF?consistency=strong", &[], &[]), 400);
    assert_eq!(world.status_of("DELETE /kv/a/b%FF", &[], &[]), 204);
    assert_eq!(world.status_of("DELETE /kv/a/b%FF", &[], &[]), 404);
    assert_eq!(world.status_of("GET /kv/a/b%FF", &[], &[]), 404);
}

#[test]
fn if_match_compares_and_sets() {
    let mut world = World::start(1, &[]);
    let first = world.ask("PUT /kv/k", &[("If-None-Match", "*")], b"1");
    assert_eq!(first.status, 204);
    let again = world.ask("PUT /kv/k", &[("If-None-Match", "*")], b"2");
    assert_eq!((again.status, again.version()), (412, first.version()));
    let tag = format!("\"{}\"", first.version());
    let second = world.ask("PUT /kv/k", &[("If-Match", &tag)], b"2");
    assert_eq!(second.status, 204);
    for request in ["PUT /kv/k", "DELETE /kv/k"] {
        let stale = world.ask(request, &[("If-Match", &tag)], &[]);
        assert_eq!((stale.status, stale.version()), (412, second.version()), "{request}");
    }
    let tag = format!("\"{}\"", second.version());
    assert_eq!(world.status_of("DELETE /kv/k", &[("If-Match", &tag)], &[]), 204);
    assert_eq!(world.status_of("PUT /kv/k", &[("If-Match", "*")], b"3"), 400);
}

#[test]
fn a_repeated_command_of_a_session_is_executed_once() {
    let mut world = World::start(1, &[]);
    let opened = world.ask("POST /sessions", &[], &[]);
    let session = opened.header("quorate-session").unwrap().to_owned();
    let named = |sequence| [("Quorate-Session", session.as_str()), ("Quorate-Sequence", sequence)];
    let first = world.ask("PUT /kv/k", &named("1"), b"mine");
    world.ask("PUT /kv/k", &[], b"somebody else's");
    let again = world.ask("PUT /kv/k", &named("1"), b"mine");
    assert_eq!((again.status, again.version()), (204, first.version()));
    assert_eq!(world.ask("GET /kv/k", &[], &[]).body, b"somebody else's");
    assert_eq!(world.status_of("PUT /kv/k", &named("2"), b"2"), 204);
    assert_eq!(world.status_of("PUT /kv/k", &named("1"), b"1"), 409);
    assert_eq!(world.status_of("PUT /kv/k", &named("9999"), b"3"), 204, "its own mark is there");
    assert_eq!(world.status_of("PUT /kv/k", &named("x"), b"3"), 400);
    assert_eq!(world.status_of(&format!("DELETE /sessions/{session}"), &[], &[]), 204);
    assert_eq!(world.status_of("PUT /kv/k", &named("10000"), b"4"), 410);
}

#[test]
fn what_is_too_large_or_makes_no_sense_is_refused_and_changes_nothing() {
    let mut world = World::start(1, &["--snapshot-bytes", "64KiB"]);
    let largest = (16 << 10) - 1024 - 256;
    assert_eq!(world.status_of("PUT /kv/k", &[], &vec![1; largest]), 204);
    let refused = world.ask("PUT /kv/k", &[], &vec![2; largest + 1]);
    assert_eq!((refused.status, refused.text().contains(&largest.to_string())), (413, true));
    assert_eq!(world.ask("GET /kv/k", &[], &[]).body, vec![1; largest]);
    let long = "x".repeat(1024);
    assert_eq!(world.status_of(&format!("PUT /kv/{long}"), &[], &vec![1; largest]), 204);
    assert_eq!(world.status_of(&format!("PUT /kv/{long}x"), &[], b"1"), 414);
    assert_eq!(world.status_of("PUT /kv/", &[], b"1"), 400);
    assert_eq!(world.status_of("PUT /kv/%zz", &[], b"1"), 400);
    assert_eq!(world.status_of("GET /elsewhere", &[], &[]), 404);
}

/// A query on a request that has none is part of the key, written wrongly: it must not be dropped.
#[test]
fn a_query_where_there_is_none_is_refused_and_changes_nothing() {
    let mut world = World::start(1, &[]);
    for request in [
        "PUT /kv/a?b",
        "PUT /kv/a?",
        "PUT /kv/a?consistency=local",
        "DELETE /kv/a?b",
        "GET /kv/a?b",
        "HEAD /kv/a?b",
        "POST /sessions?a",
        "DELETE /sessions/1?a",
        "POST /snapshot?a",
    ] {
        let answer = world.ask(request, &[], b"1");
        assert_eq!(answer.status, 400, "{request}");
        assert_eq!(answer.header("quorate-session"), None);
    }
    assert_eq!(world.status_of("GET /kv/a", &[], &[]), 404);
    assert_eq!(world.status_of("PUT /kv/a%3Fb", &[], b"1"), 204);
    assert_eq!(world.status_of("GET /kv/a%3fb", &[], &[]), 200);
}

#[test]
fn only_digits_are_numbers_in_headers_and_paths() {
    let mut world = World::start(1, &[]);
    assert_eq!(world.status_of("PUT /kv/k", &[], b"1"), 204);
    let version = world.ask("GET /kv/k", &[], &[]).version();
    let session =
        world.ask("POST /sessions", &[], &[]).header("quorate-session").unwrap().to_owned();
    for number in ["+VALUE", "0VALUE", "-VALUE", "VALUE.0"] {
        let tag = format!("\"{}\"", number.replace("VALUE", &version.to_string()));
        assert_eq!(world.status_of("PUT /kv/k", &[("If-Match", &tag)], b"2"), 400, "{tag}");
        let named = number.replace("VALUE", &session);
        let headers = [("Quorate-Session", named.as_str()), ("Quorate-Sequence", "1")];
        assert_eq!(world.status_of("PUT /kv/k", &headers, b"2"), 400, "{named}");
        let sequence = number.replace("VALUE", "1");
        let headers = [("Quorate-Session", session.as_str()), ("Quorate-Sequence", &sequence)];
        assert_eq!(world.status_of("PUT /kv/k", &headers, b"2"), 400, "{sequence}");
        assert_eq!(world.status_of(&format!("DELETE /sessions/{named}"), &[], &[]), 400);
    }
    assert_eq!(world.ask("GET /kv/k", &[], &[]).version(), version);
}

#[test]
fn head_is_get_without_the_body() {
    let mut world = World::start(3, &["--forward"]);
    let put = world.ask("PUT /kv/k", &[], b"value");
    for target in world.members.all_http() {
        world.target = target;
        let head = world.ask("HEAD /kv/k", &[], &[]);
        assert_eq!((head.status, head.version()), (200, put.version()));
        assert_eq!((head.header("content-length"), &head.body[..]), (Some("5"), &b""[..]));
        assert_eq!(world.status_of("HEAD /kv/none", &[], &[]), 404);
        for path in ["/status", "/node/livez", "/node/readyz", "/node/status", "/node/metrics"] {
            let head = world.ask(&format!("HEAD {path}"), &[], &[]);
            assert_eq!(
                (head.status, head.header("content-length") > Some("0")),
                (200, true),
                "{path}"
            );
        }
    }
}

#[test]
fn another_method_is_refused_with_those_that_there_are() {
    let mut world = World::start(1, &[]);
    for (path, allowed) in [
        ("/kv/k", "GET, HEAD, PUT, DELETE"),
        ("/sessions", "POST"),
        ("/sessions/1", "DELETE"),
        ("/snapshot", "POST"),
        ("/status", "GET, HEAD"),
        ("/node/livez", "GET, HEAD"),
        ("/node/readyz", "GET, HEAD"),
        ("/node/status", "GET, HEAD"),
        ("/node/metrics", "GET, HEAD"),
        ("/node/snapshot", "POST"),
    ] {
        let answer = world.ask(&format!("PATCH {path}"), &[], &[]);
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{path}");
    }
}

#[test]
fn a_snapshot_with_nothing_new_is_answered_with_the_one_there_is() {
    let mut world = World::start(1, &[]);
    assert_eq!(world.status_of("PUT /kv/k", &[], b"1"), 204);
    let first = world.ask("POST /snapshot", &[], &[]);
    assert_eq!(first.status, 200, "{}", first.text());
    for path in ["POST /snapshot", "POST /node/snapshot"] {
        let again = world.ask(path, &[], &[]);
        assert_eq!((again.status, again.text()), (200, first.text()), "{path}");
    }
    assert_eq!(world.status_of("PUT /kv/k", &[], b"2"), 204);
    let newer = world.ask("POST /snapshot", &[], &[]);
    assert_eq!((newer.status, newer.text() != first.text()), (200, true));
}

/// A proxy names the target whole (RFC 9112 §3.2.2); the key is the same.
#[test]
fn a_target_in_absolute_form_is_led_to_the_same_key_at_the_leader() {
    let mut world = World::start(3, &[]);
    let (leader, follower) = (world.target.clone(), world.follower());
    world.target = follower.clone();
    let request = format!("PUT http://{follower}/kv/a%2fb");
    let answer = world.ask(&request, &[], b"v");
    let location = format!("http://{leader}/kv/a%2fb");
    assert_eq!((answer.status, answer.header("location")), (307, Some(location.as_str())));
    let answer =
        world.ask(&format!("GET http://{follower}/kv/k?consistency=linearizable"), &[], &[]);
    let location = format!("http://{leader}/kv/k?consistency=linearizable");
    assert_eq!((answer.status, answer.header("location")), (307, Some(location.as_str())));

    let mut world = World::start(3, &["--forward"]);
    world.target = world.follower();
    let request = format!("PUT http://{}/kv/a%2fb", world.target);
    assert_eq!(world.status_of(&request, &[], b"v"), 204);
    assert_eq!(world.ask("GET /kv/a/b", &[], &[]).body, b"v");
}

#[test]
fn a_member_that_does_not_lead_sends_clients_to_the_leader() {
    let mut world = World::start(3, &[]);
    let (leader, follower) = (world.target.clone(), world.follower());
    world.target = follower;
    for request in ["PUT /kv/a%2fb", "GET /kv/a%2fb", "DELETE /kv/a%2fb", "POST /sessions"] {
        let answer = world.ask(request, &[], &[]);
        let path = request.split(' ').nth(1).unwrap();
        let location = format!("http://{leader}{path}");
        assert_eq!((answer.status, answer.header("location")), (307, Some(location.as_str())));
    }
    assert_eq!(world.status_of("GET /kv/k?consistency=local", &[], &[]), 404, "it answers itself");
}

#[test]
fn a_member_told_to_forward_answers_as_the_leader_does() {
    let mut world = World::start(3, &["--forward"]);
    world.target = world.follower();
    let put = world.ask("PUT /kv/k", &[("If-None-Match", "*")], b"v");
    assert_eq!(put.status, 204);
    let got = world.ask("GET /kv/k", &[], &[]);
    assert_eq!((got.status, got.version(), &got.body[..]), (200, put.version(), &b"v"[..]));
    assert_eq!(world.status_of("PUT /kv/k", &[("If-None-Match", "*")], b"v"), 412);
    assert_eq!(world.status_of("GET /kv/none", &[], &[]), 404);
}

#[test]
fn the_client_says_by_its_exit_status_what_came_of_it() {
    let mut world = World::start(1, &[]);
    let all = world.members.all_http();
    let status = |args: &[&str]| run(args, &all).status.code();
    assert_eq!(status(&["put", "a key/ü", "value"]), Some(0));
    assert_eq!(run(&["get", "a key/ü"], &all).stdout, b"value");
    assert_eq!(status(&["get", "none"]), Some(1));
    assert_eq!(status(&["put", "a key/ü", "x", "--if-version", "0"]), Some(1));
    assert_eq!(status(&["del", "a key/ü", "--if-version", "1"]), Some(1));
    assert_eq!(status(&["del", "a key/ü"]), Some(0));
    assert_eq!(status(&["del", "a key/ü"]), Some(1));
    let shown = String::from_utf8(run(&["status"], &all).stdout).unwrap();
    assert!(shown.contains("member 1, leader"), "{shown}");
    assert_eq!(status(&["snapshot"]), Some(0));
    assert_eq!(world.members.terminate(1), Some(0));
    assert_eq!(status(&["put", "k", "v", "--timeout", "300ms"]), Some(2));
    assert_eq!(status(&["status"]), Some(2));
}

#[test]
fn a_member_that_cannot_start_says_why_in_one_line() {
    let mut world = World::start(1, &[]);
    let again = |world: &World, more: &[&str]| {
        let output = world.members.command(1).args(more).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = again(&world, &[]);
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("port taken"), "{said}");
    world.members.kill(1);
    let (code, said) = again(&world, &["--cluster", "9"]);
    assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("cluster 0, not to 9"), "{said}");
}
