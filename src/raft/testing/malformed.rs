//! Malformed messages: one number of an honest message, set to an end of its range.
//!
//! ```text
//! n2 ──Append { commit: 17, .. }──────────────▶ n0
//!     ──Append { commit: 2^64 - 1, .. }────────▶     in addition: the malformed copy
//! ```
//! The receiver must stay up, and agree with the other honest members. *What it does not do:*
//! plausible lies. A member can always claim a longer log, or to be the leader: the consequences
//! are described in `docs/guarantees.md`.

use crate::raft::{
    Answer, Append, AppendAnswer, AppendOutcome, Body, ChunkOutcome, Envelope, FollowerReport,
    InstallStatus, LogId, PeerRecord, Request, SnapshotAnswer, SnapshotChunk, SnapshotMeta,
};

/// The highest number that is not rejected at once.
pub const HIGHEST: u64 = 1 << 62;

/// The ends of every number's range, and of the ranges of values computed from it.
pub const ENDS: [u64; 6] = [0, HIGHEST, HIGHEST + 1, 1 << 63, u64::MAX - 1, u64::MAX];

/// All numbers in a message except those of its address, each with its name.
pub fn numbers(envelope: &mut Envelope) -> Vec<(&'static str, &mut u64)> {
    let Envelope { cluster: _, group: _, from: _, to: _, incarnation, term, id, body } = envelope;
    let mut numbers = vec![("incarnation", incarnation), ("term", term), ("id", id)];
    match body {
        Body::Request(request) => of_request(request, &mut numbers),
        Body::Answer { asker_incarnation, answer } => {
            numbers.push(("asker's incarnation", asker_incarnation));
            of_answer(answer, &mut numbers);
        }
    }
    numbers
}

type Numbers<'a> = Vec<(&'static str, &'a mut u64)>;

fn of_log_id<'a>(LogId { term, index }: &'a mut LogId, numbers: &mut Numbers<'a>) {
    numbers.extend([("log id's term", term), ("log id's index", index)]);
}

fn of_request<'a>(request: &'a mut Request, numbers: &mut Numbers<'a>) {
    match request {
        Request::PreVote { campaign_term, last } => {
            numbers.push(("campaign term", campaign_term));
            of_log_id(last, numbers);
        }
        Request::Vote { last } => of_log_id(last, numbers),
        Request::Append(append) => {
            let Append { prev, entries: _, commit, leader_last, leader_durable, round } = append;
            of_log_id(prev, numbers);
            numbers.extend([("commit", commit), ("leader's last", leader_last)]);
            numbers.extend([("leader's durable", leader_durable), ("round", round)]);
        }
        Request::Snapshot(chunk) => {
            let SnapshotChunk { meta, transfer, offset, data: _, crc: _, round } = chunk;
            let SnapshotMeta { log_id, membership: _, size_bytes } = meta;
            of_log_id(log_id, numbers);
            numbers.extend([("size", size_bytes), ("transfer", transfer)]);
            numbers.extend([("offset", offset), ("round", round)]);
        }
        Request::Identify(PeerRecord { incarnation, acknowledged }) => {
            numbers.push(("remembered incarnation", incarnation));
            of_log_id(acknowledged, numbers);
        }
        Request::RecoveryQuery => {}
    }
}

fn of_answer<'a>(answer: &'a mut Answer, numbers: &mut Numbers<'a>) {
    match answer {
        Answer::PreVote { campaign_term, granted: _ } => {
            numbers.push(("campaign term", campaign_term));
        }
        Answer::Vote { granted: _, held } => {
            numbers.extend(held.as_mut().map(|held| ("held", held)));
        }
        Answer::Append(AppendAnswer { report, outcome }) => {
            of_report(report, numbers);
            if let AppendOutcome::Rejected { refused, hint } = outcome {
                numbers.push(("refused", refused));
                of_log_id(hint, numbers);
            }
        }
        Answer::Snapshot(SnapshotAnswer { report, transfer, outcome }) => {
            of_report(report, numbers);
            numbers.push(("transfer", transfer));
            if let ChunkOutcome::Continue { offset } = outcome {
                numbers.push(("offset", offset));
            }
        }
        Answer::Identify { predecessor } => numbers.push(("predecessor", predecessor)),
        Answer::RecoveryQuery { last, leads: _ } => numbers.push(("last", last)),
    }
}

fn of_report<'a>(report: &'a mut FollowerReport, numbers: &mut Numbers<'a>) {
    let FollowerReport { matched, install, recovering: _, round } = report;
    numbers.extend([("matched", matched), ("round", round)]);
    match install {
        InstallStatus::None => {}
        InstallStatus::Receiving { index, bytes } => {
            numbers.extend([("install's index", index), ("received bytes", bytes)]);
        }
        InstallStatus::Pending { index }
        | InstallStatus::Undecodable { index }
        | InstallStatus::Refused { commit: index } => {
            numbers.push(("install's index", index));
        }
    }
}

/// The message with one number of an entry set to `value`: its term, or its time.
pub fn with_entry(envelope: &Envelope, term: bool, value: u64) -> Option<Envelope> {
    let mut lie = envelope.clone();
    let Body::Request(Request::Append(append)) = &mut lie.body else { return None };
    let mut entries: Vec<_> = append.entries.iter().cloned().collect();
    let last = entries.last_mut()?;
    if term {
        last.log_id.term = value;
    } else {
        last.stamp_ms = value;
    }
    append.entries = entries.into_iter().collect();
    Some(lie)
}
