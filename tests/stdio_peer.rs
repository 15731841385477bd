//! The driven peer, driven: real processes, and a harness that knows nothing but the protocol of `docs/driven_peer.md`.
//!
//! | file | idea |
//! |---|---|
//! | `frames.rs`, `life.rs` | frames; one process from its start to its death |
//! | `world.rs` | network, disks, services, and the rules that are checked at every frame |
//!
//! Time is real here, so every wait is for something to become so, with a generous limit.

use std::io::{self, Read, Write};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

#[path = "stdio_peer/frames.rs"]
mod frames;
#[path = "stdio_peer/life.rs"]
mod life;
#[path = "stdio_peer/world.rs"]
mod world;

use frames::{encode, flag, number};
use world::{Faults, World};

fn command(number: u64) -> Vec<u8> {
    format!("command {number}").into_bytes()
}

#[test]
fn three_peers_elect_and_agree() {
    let mut world = World::new(3);
    let (first, term) = world.leader();
    let follower = (first + 1) % 3;
    let refused = world.question(follower, json!({"t": "start"}), b"not here");
    assert!(!flag(&refused, "leader") && number(&refused, "term") == term);
    let before = world.requests;
    for index in 1..=10 {
        assert_eq!(world.agree(&command(index), 3), index, "no other entry takes an index");
    }
    // One to each follower for each command, some heartbeats, and no second exchange for an answer.
    let requests = world.requests - before;
    assert!(requests <= 60, "{requests} requests for ten commands");
    // Without waiting in between: one after the other, in this order.
    let ids: Vec<u64> =
        (11..=40).map(|n| world.begin(first, json!({"t": "start"}), &command(n))).collect();
    world.until("all are applied", |world| world.peers.iter().all(|it| it.service.applied == 40));
    for (index, id) in (11..).zip(ids) {
        let started = world.answer(first, id).expect("answered before it was applied");
        assert!(flag(started, "leader") && number(started, "index") == index);
    }
    // A leader without the others takes commands, and nobody applies them.
    world.peers[first].connected = false;
    assert_eq!(world.submit(first, b"nobody else knows of this"), Some(41));
    let (second, later) = world.leader();
    assert!(second != first && later > term);
    assert_eq!(world.agree(&command(41), 2), 41);
    world.peers[first].connected = true;
    assert_eq!(world.agree(&command(42), 3), 42);
    world.end();
}

/// A leader that is cut off stops leading in an unchanged term, unless `init` says that it keeps
/// its role until it hears of a higher one.
#[test]
fn a_leader_that_is_cut_off_keeps_its_role_only_if_init_says_so() {
    for keeps in [false, true] {
        let mut world = World::with_leaders(3, keeps);
        world.agree(&command(0), 3);
        let (first, term) = world.leader();
        world.peers[first].connected = false;
        let (second, later) = world.leader();
        assert!(second != first && later > term);
        assert_eq!(world.agree(&command(1), 2), 2);
        let role = |world: &mut World| {
            let state = world.question(first, json!({"t": "state"}), b"");
            (number(&state, "term"), flag(&state, "leader"))
        };
        if keeps {
            world.pass(Duration::from_secs(1));
            assert_eq!(role(&mut world), (term, true));
            assert_eq!(world.submit(first, b"nobody else knows of this"), Some(2));
        } else {
            while role(&mut world) != (term, false) {
                assert_eq!(role(&mut world).0, term, "nobody has told it of another term");
                world.pass(Duration::from_millis(20));
            }
        }
        world.peers[first].connected = true;
        assert_eq!(world.agree(&command(2), 3), 3);
        assert!(role(&mut world).0 >= later);
        world.end();
    }
}

#[test]
fn a_single_peer_and_an_empty_command() {
    let mut world = World::new(1);
    assert_eq!(world.agree(b"", 1), 1);
    world.crash(0);
    world.start(0);
    assert_eq!(world.agree(b"x", 1), 2);
    world.end();
}

#[test]
fn a_peer_that_was_away_gets_a_snapshot_by_agreement() {
    let mut world = World::with_service(3, Some(10), 0);
    let behind = (world.leader().0 + 1) % 3;
    world.agree(&command(0), 3);
    world.peers[behind].connected = false;
    for n in 1..=30 {
        world.agree(&command(n), 2);
    }
    let limit = world.peers.iter().map(|peer| peer.disk.state().len()).max().unwrap();
    assert!(limit < 1000, "a saved state of {limit} bytes behind a snapshot");
    world.peers[behind].connected = true;
    world.agree(&command(31), 3);
    assert_eq!(world.peers[behind].service.installed, 1);
    // It lives from it, and from what it has saved of it.
    world.crash(behind);
    world.start(behind);
    world.agree(&command(32), 3);
    world.end();
}

/// Only one of the three takes snapshots. It offers one, goes away, and another one, whose log reaches back, leads.
#[test]
fn an_offer_that_commits_have_passed_is_refused() {
    let mut world = World::new(3);
    world.agree(&command(0), 3);
    let (first, _) = world.leader();
    let (second, behind) = ((first + 1) % 3, (first + 2) % 3);
    world.peers[behind].connected = false;
    for n in 1..=5 {
        world.agree(&command(n), 2);
    }
    assert!(world.snapshot(first, 6));
    world.peers[behind].service.holds_installs = true;
    world.peers[behind].connected = true;
    world.until("an offer", |world| world.peers[behind].service.held.is_some());
    // While it waits for its service it answers everything else.
    assert!(!world.snapshot(behind, 6));
    world.question(behind, json!({"t": "state"}), b"");
    let unknown = json!({"t": "cond_install", "index": 5, "term": 1});
    assert!(!flag(&world.question(behind, unknown, b"?"), "ok"));

    world.peers[first].connected = false;
    assert_eq!(world.leader().0, second);
    assert_eq!(world.submit(second, &command(6)), Some(7));
    world.until("committed without the one that waits", |world| {
        world.peers[second].service.applied == 7
    });
    // The follower has it all, and applies nothing before its service has asked. Its next heartbeat tells it of the commit.
    world.pass(Duration::from_millis(500));
    assert_eq!(world.peers[behind].service.applied, 1);
    world.ask_install(behind);
    world.until("it goes on where it stopped", |world| world.peers[behind].service.applied == 7);
    let service = &world.peers[behind].service;
    assert_eq!((service.refused, service.installed), (1, 0));
    world.peers[first].connected = true;
    world.agree(&command(7), 3);
    world.end();
}

#[test]
fn snapshots_of_what_is_covered_or_not_applied_are_refused() {
    let mut world = World::new(3);
    let (leader, _) = world.leader();
    for n in 0..12 {
        world.agree(&command(n), 3);
    }
    let follower = (leader + 1) % 3;
    for peer in [leader, follower] {
        assert!(world.snapshot(peer, 8), "behind the last applied entry");
        let disk = world.peers[peer].disk.clone();
        assert_eq!((disk.snapshot.clone(), disk.records.len()), (world.snapshot_of(8), 4));
        for stale in [8, 3, 1] {
            assert!(!world.snapshot(peer, stale), "{stale}");
        }
        for (index, snapshot) in [(0, &b"x"[..]), (13, b"x"), (u64::MAX, b"x"), (9, b"")] {
            let asked = json!({"t": "snapshot", "index": index});
            assert!(!flag(&world.question(peer, asked, snapshot), "ok"), "{index}");
        }
        for (index, term) in [(8, 1), (12, 1), (13, 1), (0, 0)] {
            let asked = json!({"t": "cond_install", "index": index, "term": term});
            assert!(!flag(&world.question(peer, asked, b"x"), "ok"), "{index}");
        }
        assert_eq!(world.peers[peer].disk.snapshot, disk.snapshot, "nothing changed");
        assert!(world.snapshot(peer, 12));
        assert_eq!(world.peers[peer].disk.records.len(), 0);
    }
    // Two at once, the same and an older one behind a newer one: each is answered, and the newest is what is saved.
    for n in 12..20 {
        world.agree(&command(n), 3);
    }
    let ids = [16, 16, 20, 18].map(|index| {
        let snapshot = world.snapshot_of(index);
        world.begin(leader, json!({"t": "snapshot", "index": index}), &snapshot)
    });
    world.until("all are answered", |world| {
        ids.iter().all(|id| world.answer(leader, *id).is_some())
    });
    let ok = ids.map(|id| flag(world.answer(leader, id).unwrap(), "ok"));
    assert!(ok[2] && !ok[1] && !ok[3], "{ok:?}");
    assert_eq!(world.peers[leader].disk.snapshot, world.snapshot_of(20));
    world.crash(leader);
    world.start(leader);
    world.agree(&command(20), 3);
    world.end();
}

#[test]
fn killed_at_any_moment_they_go_on_from_what_they_saved() {
    let mut world = World::with_service(3, Some(10), 100);
    world.faults = Faults { lost: 5, late_ms: 10, held_back_ms: 0 };
    for round in 0..12 {
        let victim = world.chance(3) as usize;
        let (leader, _) = world.leader();
        for n in 0..6 {
            world.begin(leader, json!({"t": "start"}), &command(round * 10 + n));
        }
        let moment = world.chance(60);
        world.pass(Duration::from_millis(moment));
        world.crash(victim);
        if round % 3 == 0 {
            world.agree(&command(round * 10 + 8), 2);
        }
        world.start(victim);
    }
    (0..3).for_each(|peer| world.crash(peer));
    (0..3).for_each(|peer| world.start(peer));
    world.faults = Faults::default();
    let last = world.agree(&command(1000), 3);
    assert!(last >= 5, "{last} commands");
    world.end();
}

#[test]
fn commands_and_snapshots_of_megabytes() {
    let mut world = World::with_service(3, Some(4), 3 << 20);
    let behind = (world.leader().0 + 1) % 3;
    world.agree(&vec![1; 2 << 20], 3);
    world.peers[behind].connected = false;
    for n in 2..=5 {
        world.agree(&vec![n; 1 << 20], 2);
    }
    world.peers[behind].connected = true;
    world.agree(b"small", 3);
    assert_eq!(world.peers[behind].service.installed, 1);
    world.crash(behind);
    world.start(behind);
    world.agree(b"small as well", 3);
    world.end();
}

#[test]
fn late_and_reordered_replies_are_borne() {
    let mut world = World::new(3);
    world.faults = Faults { lost: 10, late_ms: 26, held_back_ms: 2_200 };
    world.tapped = Some(Vec::new());
    for n in 0..3 {
        world.agree(&command(n), 3);
    }
    let tapped = world.tapped.take().unwrap();
    world.faults = Faults::default();
    // Requests of a former life, of minutes ago, for somebody else, and no requests at all: each is answered, none does harm.
    let (from, to, request) = tapped.last().unwrap().clone();
    world.crash(from);
    world.start(from);
    world.agree(b"from its new life", 3);
    for bytes in [&request[..], &request[..40], b"", b"garbage", &[0xff; 4096]] {
        world.hand_over(to, bytes);
    }
    world.hand_over((0..3).find(|peer| *peer != to).unwrap(), &request);
    // Replies to what was answered long ago are ignored.
    world.peers[to].life.as_mut().unwrap().say(&json!({"t": "rpc_reply", "id": 1}), b"");
    world.agree(b"unharmed", 3);
    world.end();
}

// ---- bad input -----------------------------------------------------------------------------------

fn init() -> Vec<u8> {
    encode(&json!({"t": "init", "me": 0, "n": 3, "cond": true}), b"")
}

/// What is done with the input when everything is said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Close,
    /// The peer has to end by itself.
    KeepOpen,
}

/// Says all this; the exit status and what stands on stderr.
fn told(bytes: &[u8], then: Then) -> (Option<i32>, String) {
    let mut child = life::command().spawn().expect("the peer starts");
    let mut stdin = child.stdin.take();
    // It may end before it has read everything.
    let _ = stdin.as_mut().unwrap().write_all(bytes);
    if then == Then::Close {
        drop(stdin.take());
    }
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (to, errors) = channel();
    let listen = move || {
        let mut errors = String::new();
        let both = stdout.read_to_end(&mut Vec::new()).and(stderr.read_to_string(&mut errors));
        both.map(|_| to.send(errors))
    };
    thread::Builder::new().spawn(listen).expect("a thread");
    let errors = errors.recv_timeout(Duration::from_secs(10));
    let _ = child.kill();
    drop(stdin);
    (child.wait().unwrap().code(), errors.unwrap_or("it does not end".into()))
}

#[test]
fn bad_input_is_told_in_one_line() {
    let after_init = |frame: &[u8]| [&init()[..], frame].concat();
    let framed = |header: &str| {
        let mut frame = (header.len() as u32).to_be_bytes().to_vec();
        frame.extend([0; 4]);
        frame.extend(header.as_bytes());
        frame
    };
    let stored = |state: &[u8], snap: u64| {
        let header = json!({"t": "init", "me": 0, "n": 1, "state": state.len(), "snap": snap});
        encode(&header, &[state, &vec![1; snap as usize]].concat())
    };
    let json = |value: Value| encode(&value, b"");
    let cases = [
        ("a header too long", after_init(&[0xff; 8])),
        ("a body too long", after_init(&[0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, b'{', b'}'])),
        ("no JSON", after_init(&framed("nonsense"))),
        ("no UTF-8", after_init(&[0, 0, 0, 2, 0, 0, 0, 0, 0xc3, 0x28])),
        ("no object", after_init(&framed("[1, 2]"))),
        ("an empty header", after_init(&framed(""))),
        ("no kind", after_init(&framed("{}"))),
        ("an unknown kind", after_init(&json(json!({"t": "stop"})))),
        ("a number that is none", after_init(&json(json!({"t": "state", "id": "x"})))),
        ("a negative number", after_init(&json(json!({"t": "state", "id": -1})))),
        (
            "deep nesting",
            after_init(&framed(&format!("{{\"t\":\"state\",\"x\":{}", "[".repeat(5000)))),
        ),
        ("a second init", after_init(&init())),
        ("no init", json(json!({"t": "state", "id": 1}))),
        (
            "an answer to nothing",
            after_init(&json(json!({"t": "rpc_reply", "id": 999_999, "ok": true}))),
        ),
        ("an answer without an id", after_init(&json(json!({"t": "rpc_reply"})))),
        ("a frame that is cut off", after_init(&[0, 0, 0, 9, 0, 0, 0, 0, b'{'])),
        ("lengths that are cut off", after_init(&[0, 0, 0])),
        ("no such member", json(json!({"t": "init", "me": 3, "n": 3}))),
        ("a cluster of none", json(json!({"t": "init"}))),
        ("a body that is too short", json(json!({"t": "init", "me": 0, "n": 3, "state": 5}))),
        (
            "lengths beyond all numbers",
            json(json!({"t": "init", "n": 3, "state": u64::MAX, "snap": 1})),
        ),
        ("a state that is incomplete", stored(&[0, 0, 0, 9, 1], 0)),
        ("a state of garbage", stored(&[0, 0, 0, 2, 0xc1, 0xc1], 0)),
        ("a snapshot that no state names", stored(b"", 10)),
    ];
    for (what, bytes) in cases {
        let then = if what.ends_with("cut off") { Then::Close } else { Then::KeepOpen };
        let (status, errors) = told(&bytes, then);
        assert_eq!((status, errors.lines().count()), (Some(2), 1), "{what}: {errors}");
    }
}

/// Its output is more than a pipe holds, and so is its input: it goes on reading, and loses nothing.
#[test]
fn a_harness_may_write_for_long_before_it_reads() {
    let mut child = life::command().spawn().expect("the peer starts");
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut said = encode(&json!({"t": "init", "me": 0, "n": 1}), b"");
    for id in 1..=4_000 {
        said.extend(encode(&json!({"t": "state", "id": id}), b""));
        said.extend(encode(&json!({"t": "start", "id": 10_000 + id}), &[9; 100]));
    }
    stdin.write_all(&said).unwrap();
    let mut stdout = io::BufReader::new(stdout);
    let mut answered = 0;
    while answered < 8_000 {
        let frame = frames::read(&mut stdout).expect("a frame");
        answered += u32::from(["state", "started"].contains(&frame.kind()));
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_end_of_the_input_is_the_end() {
    assert_eq!(told(b"", Then::Close), (Some(0), String::new()));
    assert_eq!(told(&init(), Then::Close), (Some(0), String::new()));
    let twice = encode(&json!({"t": "state", "id": 1, "unknown": {"key": [1]}}), b"").repeat(2);
    assert_eq!(told(&[init(), twice].concat(), Then::Close), (Some(0), String::new()));
}
