//! Scripted runs.

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
    }
}

fn tell_answer(answer: &Answer) -> String {
    match answer {
        Answer::PreVote { granted, .. } | Answer::Vote { granted } => {
            if *granted { "yes" } else { "no" }.into()
        }
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

/// A leader cut off while a member decodes its snapshot, and a successor whose log reaches back: what it appends makes
/// the snapshot superfluous, and the offer ends in a refusal (A55, interleavings (a), (h)).
#[test]
fn offer_is_refused_after_a_successor_appended_past_it() {
    let mut world = World::uneven(3, 3, config());
    world.elect_node(0);
    world.load(0, 10);
    world.isolate(2);
    world.load(0, 120);
    world.heal();
    world.faults.decode_max = 60_000 * MILLISECOND;
    let offered = world.run_until(5_000 * MILLISECOND, |world| {
        matches!(world.status(2).install, InstallStatus::Pending { .. })
    });
    assert!(offered, "{:#?}", world.positions());
    world.isolate(0);
    world.run_for(3_000 * MILLISECOND);
    println!("{:#?}", world.positions());
    assert_eq!(world.status(2).counters.installs_refused, 1);
}
