//! Scripted runs whose output is compared with the texts in `stories/`. Heartbeats are left out.
//!
//! `UPDATE_STORIES=1 cargo test stories` rewrites the texts; review the difference like code.

use super::world::{MILLISECOND, World, config};
use crate::raft::*;

/// A message in a few words.
pub(super) fn tell(envelope: &Envelope) -> String {
    match &envelope.body {
        Body::Request(request) => format!("{} [term {}]", tell_request(request), envelope.term),
        Body::Answer { answer, .. } => format!("{} [term {}]", tell_answer(answer), envelope.term),
    }
}

fn tell_request(request: &Request) -> String {
    match request {
        Request::PreVote { campaign_term, last } => {
            format!("pre-vote for term {campaign_term}? my last is {last}")
        }
        Request::Vote { last } => format!("vote for me? my last is {last}"),
        Request::Append(append) if append.entries.is_empty() => {
            format!("heartbeat after {}, commit {}", append.prev, append.commit)
        }
        Request::Append(append) => format!(
            "entries {}..={} after {}, commit {}",
            append.prev.index + 1,
            append.prev.index + append.entries.len() as u64,
            append.prev,
            append.commit
        ),
        Request::Snapshot(chunk) => format!(
            "snapshot {}, bytes {}..{} of {}",
            chunk.meta.log_id,
            chunk.offset,
            chunk.offset + chunk.data.len() as u64,
            chunk.meta.size_bytes
        ),
        Request::Identify(known) => {
            format!("you were at {} in life {}", known.acknowledged, known.incarnation)
        }
        Request::RecoveryQuery => "I lost something: how far are you?".into(),
    }
}

fn tell_answer(answer: &Answer) -> String {
    match answer {
        Answer::PreVote { granted, .. } | Answer::Vote { granted, .. } => {
            if *granted { "yes" } else { "no" }.into()
        }
        Answer::Identify { predecessor } => format!("I account for life {predecessor}"),
        Answer::RecoveryQuery { last, .. } => format!("up to {last}"),
        Answer::Append(AppendAnswer { report, outcome }) => {
            let outcome = match outcome {
                AppendOutcome::Rejected { refused, hint } => {
                    format!("no {refused} here, try after {hint}")
                }
                other => format!("{other:?}").to_lowercase(),
            };
            format!("{outcome}; {}", tell_report(report))
        }
        Answer::Snapshot(SnapshotAnswer { report, outcome, .. }) => {
            let outcome = match outcome {
                ChunkOutcome::Continue { offset } => format!("go on at {offset}"),
                other => format!("{other:?}").to_lowercase(),
            };
            format!("{outcome}; {}", tell_report(report))
        }
    }
}

fn tell_report(report: &FollowerReport) -> String {
    let install = match report.install {
        InstallStatus::None => String::new(),
        other => format!(", install {other:?}"),
    };
    format!("matched {}{install}", report.matched)
}

/// Compares the output with the text of this name, which begins with the rule that it shows.
fn assert_story(name: &str, rule: &str, world: &World) {
    let mut told = format!("{rule}\n\n");
    let mut before = "";
    for line in world.log.iter().filter(|line| !line.contains(": heartbeat")) {
        // Answers to heartbeats repeat.
        if line != before {
            told.push_str(line);
            told.push('\n');
        }
        before = line;
    }
    let path = format!("{}/src/raft/tests/stories/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_STORIES").is_some() {
        std::fs::write(&path, &told).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(told, expected, "{path} tells another story; UPDATE_STORIES=1 writes it anew");
}

/// The start of a cluster: a pre-vote, a vote, a blank entry on all members.
#[test]
fn first_election() {
    let mut world = World::new(3, 1, config());
    world.tracing = true;
    let settled = world
        .run_until(3_000 * MILLISECOND, |world| (0..3).all(|id| world.status(id).applied == 1));
    assert!(settled, "{:#?}", world.positions());
    assert_story(
        "first_election",
        "A campaign asks first whether it can be won, then raises the term; a leader begins with a blank entry (Raft 5.2, LR17).",
        &world,
    );
}

/// A leader that was cut off has entries that no other member has; the next leader's entries
/// replace them.
#[test]
fn conflicting_tail_is_replaced() {
    let mut world = World::new(3, 2, config());
    world.elect_node(0);
    world.load(0, 2);
    world.isolate(0);
    for _ in 0..3 {
        world.propose(0, b"lost").expect("it still leads");
    }
    let followed =
        world.run_until(5_000 * MILLISECOND, |world| world.leader().is_some_and(|id| id != 0));
    assert!(followed, "{:#?}", world.positions());
    let leader = world.elect();
    world.load(leader, 2);
    world.tracing = true;
    world.heal();
    let replaced = world.run_until(2_000 * MILLISECOND, |world| {
        world.status(0).applied == world.status(leader).applied
    });
    assert!(replaced, "{:#?}", world.positions());
    assert_eq!(world.status(0).counters.truncations, 1);
    assert_story(
        "conflicting_tail",
        "A follower's entries that the leader does not have are removed; what is committed stays (Raft 5.3, A79, B21).",
        &world,
    );
}

/// A member returns when the log does not reach its position any more.
#[test]
fn snapshot_goes_by_pieces_and_is_installed() {
    let mut world = World::new(3, 3, config());
    world.elect_node(0);
    world.isolate(2);
    world.load(0, 200);
    world.tracing = true;
    world.heal();
    let installed = world
        .run_until(3_000 * MILLISECOND, |world| world.status(2).applied == world.status(0).commit);
    assert!(installed, "{:#?}", world.positions());
    assert_eq!(world.status(2).counters.installs_granted, 1);
    assert_story(
        "snapshot_by_pieces",
        "What the log does not reach goes as a snapshot, piece by piece; the state machine asks, the peer decides, then entries follow (A34, A55-A57).",
        &world,
    );
}

/// A leader is cut off while a member decodes its snapshot, and its successor's log reaches back:
/// what the successor appends makes the snapshot obsolete, and the offer is refused (A55,
/// interleavings (a), (h)).
#[test]
fn offer_is_refused_after_a_successor_appended_past_it() {
    let mut world = World::uneven(3, 3, config());
    world.elect_node(0);
    world.load(0, 10);
    world.isolate(2);
    world.load(0, 120);
    world.tracing = true;
    world.heal();
    world.faults.decode_max = 60_000 * MILLISECOND;
    let offered = world.run_until(5_000 * MILLISECOND, |world| {
        matches!(world.status(2).install, InstallStatus::Pending { .. })
    });
    assert!(offered, "{:#?}", world.positions());
    world.isolate(0);
    let refused = world.run_until(3_000 * MILLISECOND, |world| {
        world.status(2).counters.installs_refused == 1
            && world.status(2).commit == world.status(1).commit
    });
    assert!(refused, "{:#?}", world.positions());
    assert_story(
        "offer_refused",
        "A pending snapshot is withdrawn when the log of another leader reaches past it; no state machine goes back (A55, A57).",
        &world,
    );
}

/// A leader that hears no quorum steps down by itself, and returns as a follower without disturbing
/// other members.
#[test]
fn leader_cut_off_steps_down_and_rejoins() {
    let mut world = World::new(3, 4, config());
    world.elect_node(0);
    world.tracing = true;
    world.isolate(0);
    let replaced = world.run_until(3_000 * MILLISECOND, |world| {
        world.status(0).role != Role::Leader && world.leader().is_some()
    });
    assert!(replaced, "{:#?}", world.positions());
    world.heal();
    let rejoined = world.run_until(3_000 * MILLISECOND, |world| {
        let leader = world.leader();
        (0..3).all(|id| world.status(id).leader == leader && world.status(id).applied == 2)
    });
    assert!(rejoined, "{:#?}", world.positions());
    assert_story(
        "leader_cut_off",
        "A leader that hears no quorum steps down; its campaigns in vain raise no term, and it rejoins in its successor's (EL18).",
        &world,
    );
}
