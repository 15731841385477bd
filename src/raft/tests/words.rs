//! Short constructors of entries, requests and answers for tests.

use bytes::Bytes;

use crate::raft::*;

/// `index@term`.
pub(super) fn id(index: Index, term: Term) -> LogId {
    LogId::new(term, index)
}

pub(super) fn entry(log_id: LogId) -> Entry {
    let data = Bytes::copy_from_slice(&log_id.index.to_be_bytes());
    Entry { log_id, kind: EntryKind::Command, stamp_ms: 0, data }
}

/// Entries of these terms, starting at `first`.
pub(super) fn entries(first: Index, terms: &[Term]) -> Entries {
    terms.iter().zip(first..).map(|(&term, index)| entry(id(index, term))).collect()
}

pub(super) fn meta(log_id: LogId, members: &Membership) -> SnapshotMeta {
    SnapshotMeta { log_id, membership: members.clone(), size_bytes: 100 }
}

/// AppendEntries: entries of these terms after `prev`.
pub(super) fn append(prev: LogId, terms: &[Term], commit: Index) -> Request {
    let entries = entries(prev.index + 1, terms);
    Request::Append(Append {
        prev,
        entries,
        commit,
        leader_last: commit,
        leader_durable: 0,
        round: 0,
    })
}

pub(super) fn heartbeat(prev: LogId, commit: Index) -> Request {
    append(prev, &[], commit)
}

pub(super) fn report(matched: Index, round: u64) -> FollowerReport {
    FollowerReport { matched, install: InstallStatus::None, recovering: false, round }
}

pub(super) fn accepted(matched: Index, round: u64) -> Answer {
    Answer::Append(AppendAnswer {
        report: report(matched, round),
        outcome: AppendOutcome::Accepted,
    })
}

pub(super) fn rejected(matched: Index, refused: Index, hint: LogId) -> Answer {
    let outcome = AppendOutcome::Rejected { refused, hint };
    Answer::Append(AppendAnswer { report: report(matched, 0), outcome })
}

pub(super) fn append_of(envelope: &Envelope) -> &Append {
    match &envelope.body {
        Body::Request(Request::Append(append)) => append,
        other => panic!("{other:?} is no AppendEntries"),
    }
}

/// The last index that an AppendEntries covers.
pub(super) fn last_of(envelope: &Envelope) -> Index {
    let append = append_of(envelope);
    append.prev.index + append.entries.len() as u64
}

pub(super) fn pre_vote(campaign_term: Term, last: LogId) -> Request {
    Request::PreVote { campaign_term, last }
}
