//! Checks of snapshot transfers: a transfer that makes progress retains the log behind it, whatever
//! other transfers there are (B16).
//!
//! Transfers are observed on the network: a chunk is sent, its answer asks for the next one. A
//! transfer is counted here only while the leader must count it, too: soon after such an answer,
//! and while no other message has come from the member that might end it.

use std::collections::BTreeMap;

use quorate::raft::{
    Answer, AppendOutcome, Body, ChunkOutcome, Entry, Envelope, Incarnation, Index, Micros, NodeId,
    ObservedState, RaftConfig, Request, RequestId, Role, Term,
};

use super::InvariantChecker;

/// Transfers by leader and member.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    limits: Option<Limits>,
    under_way: BTreeMap<(NodeId, NodeId), Sending>,
    /// The time of each leader's last turn.
    turns: BTreeMap<NodeId, Micros>,
    /// The most members to which one leader was seen sending snapshots at one time.
    at_once: u64,
}

/// The configured limits of the members.
#[derive(Clone, Copy, Debug)]
struct Limits {
    pin_bytes: u64,
    /// An answer that arrives within this time comes before the leader gives up.
    prompt: Micros,
    /// A leader counts a transfer for longer than this after its last progress.
    counts: Micros,
}

#[derive(Clone, Copy, Debug)]
struct Sending {
    incarnation: Incarnation,
    term: Term,
    transfer: u64,
    index: Index,
    size_bytes: u64,
    /// The highest offset at which the member asked for the next chunk.
    answered: u64,
    request: RequestId,
    sent_at: Micros,
    /// The incarnation of the member that answers.
    by: Incarnation,
    /// When the last prompt answer asked for the chunk at `answered`.
    answered_at: Option<Micros>,
    /// When the last answer came behind which the leader has sent the next chunk.
    progressed_at: Option<Micros>,
}

impl Transfers {
    fn sent(&mut self, envelope: &Envelope, now: Micros) {
        let Body::Request(Request::Snapshot(chunk)) = &envelope.body else { return };
        let key = (envelope.from, envelope.to);
        let new = Sending {
            incarnation: envelope.incarnation,
            term: envelope.term,
            transfer: chunk.transfer,
            index: chunk.meta.log_id.index,
            size_bytes: chunk.meta.size_bytes,
            answered: chunk.offset,
            request: envelope.id,
            sent_at: now,
            by: 0,
            answered_at: None,
            progressed_at: None,
        };
        let same = |known: &Sending| {
            (known.incarnation, known.term, known.transfer)
                == (new.incarnation, new.term, new.transfer)
        };
        let known = self.under_way.get(&key).filter(|known| same(known));
        // Only the next chunk shows that the leader has taken the answer for progress: it ignores
        // answers to requests that it has given up, and the first answer of a new incarnation ends
        // the transfer.
        let continued = known.map_or(new, |known| Sending {
            answered: known.answered.max(new.answered),
            by: known.by,
            answered_at: known.answered_at,
            progressed_at: match known.answered_at {
                Some(at) if chunk.offset == known.answered => Some(at),
                _ => known.progressed_at,
            },
            ..new
        });
        self.under_way.insert(key, continued);
        let sending = self.under_way.keys().filter(|(from, _)| *from == envelope.from).count();
        self.at_once = self.at_once.max(sending as u64);
    }

    /// `start`: where the leader's log begins.
    fn answered(&mut self, envelope: &Envelope, start: Index, now: Micros) {
        let Some(limits) = self.limits else { return };
        let Body::Answer { answer, .. } = &envelope.body else { return };
        let key = (envelope.to, envelope.from);
        let Some(sending) = self.under_way.get_mut(&key) else { return };
        let report = match answer {
            Answer::Append(answer) => answer.report,
            Answer::Snapshot(answer) => answer.report,
            _ => return,
        };
        let goes_on = match answer {
            Answer::Append(answer) => {
                matches!(answer.outcome, AppendOutcome::Accepted | AppendOutcome::Stale)
            }
            Answer::Snapshot(answer) if envelope.id == sending.request => match answer.outcome {
                ChunkOutcome::Continue { offset } => offset < sending.size_bytes,
                _ => false,
            },
            _ => true,
        };
        let same_life = sending.by == 0 || sending.by == envelope.incarnation;
        if !goes_on || !same_life || report.matched >= start {
            self.under_way.remove(&key);
            return;
        }
        sending.by = envelope.incarnation;
        let Answer::Snapshot(answer) = answer else { return };
        let ChunkOutcome::Continue { offset } = answer.outcome else { return };
        // A copy of an earlier answer is no progress, however long the next chunk takes to read.
        if answer.transfer != sending.transfer || offset <= sending.answered {
            return;
        }
        sending.answered = offset;
        let prompt = envelope.id == sending.request
            && envelope.term == sending.term
            && now - sending.sent_at <= limits.prompt;
        sending.answered_at = prompt.then_some(now);
    }
}

impl InvariantChecker {
    /// Begins to follow transfers between members with these limits.
    pub(crate) fn follow_transfers(&mut self, config: &RaftConfig) {
        self.transfers.limits = Some(Limits {
            pin_bytes: config.pin_bytes as u64,
            prompt: config.request_timeout / 2,
            counts: config.election_timeout_max,
        });
    }

    /// A member's clock has jumped: what it counts as recent is unknown from now on.
    pub(crate) fn clock_jumped(&mut self, member: NodeId) {
        self.transfers.under_way.retain(|(from, _), _| *from != member);
    }

    /// The most members to which one leader was seen sending snapshots at one time.
    pub(crate) fn transfers_at_once(&self) -> u64 {
        self.transfers.at_once
    }

    /// A leader finds that the snapshot that it sends is gone from its disk.
    pub(crate) fn transfer_is_void(&mut self, from: NodeId, to: NodeId) {
        self.transfers.under_way.remove(&(from, to));
    }

    pub(super) fn transfer_sent(&mut self, envelope: &Envelope) {
        if self.transfers.limits.is_some() {
            self.transfers.sent(envelope, self.now);
        }
    }

    pub(super) fn transfer_answered(&mut self, envelope: &Envelope) {
        let seen = self.members.get(&envelope.to).and_then(|known| known.seen);
        let start = seen.map_or(0, |seen| seen.log_start.index);
        self.transfers.answered(envelope, start, self.now);
    }

    /// A leader's log was cut at its beginning: by no more than the transfers under way allow.
    pub(super) fn keeps_log_for_transfers(&mut self, before: ObservedState, now: ObservedState) {
        let Some(limits) = self.transfers.limits else { return };
        // What arrives in a turn may arrive after its cut.
        let began = self.transfers.turns.insert(now.node, self.now).unwrap_or(0);
        if now.log_start.index <= before.log_start.index || now.role != Role::Leader {
            return;
        }
        let under_way = self.transfers.under_way.iter();
        let counted = under_way.filter(|((from, _), sending)| {
            let recent = |at| at < began && self.now - at <= limits.counts;
            *from == now.node
                && sending.incarnation == now.incarnation
                && sending.term == now.hard_state.term
                && sending.progressed_at.is_some_and(recent)
        });
        let needed = counted.map(|((_, to), sending)| (sending.index, *to)).min();
        let Some((index, to)) = needed.filter(|(index, _)| *index < now.log_start.index) else {
            return;
        };
        let largest = |place: &Vec<super::Fact>| {
            place.iter().map(|fact| Entry::OVERHEAD_BYTES + fact.data.len()).max().unwrap_or(0)
        };
        let (from, end) = (before.log_start.index as usize, now.log_start.index as usize);
        let gone: usize = self.written[from..end.min(self.written.len())].iter().map(largest).sum();
        if gone as u64 <= limits.pin_bytes {
            let (leader, before, now) = (now.node, before.log_start, now.log_start);
            let what = format!(
                "n{leader} sends n{to} the snapshot of {index} and cuts its log from {before} to \
                 {now}: {gone} bytes"
            );
            self.report_breach("a transfer keeps the log behind it", what);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use quorate::raft::{
        EntryKind, FollowerReport, HardState, InstallStatus, LogChange, LogId, Membership,
        SnapshotAnswer, SnapshotChunk, SnapshotMeta,
    };

    fn id(index: Index) -> LogId {
        LogId::new(1, index)
    }

    fn leads(log_start: Index) -> ObservedState {
        ObservedState {
            node: 0,
            incarnation: 1,
            role: Role::Leader,
            hard_state: HardState { term: 1, vote: Some(0) },
            durable: HardState { term: 1, vote: Some(0) },
            log_start: id(log_start),
            last: id(20),
            uncommitted_bytes: 0,
            persisted: 20,
            commit: 20,
            dispatched: 20,
            applied: 20,
            snapshot: id(20),
            recovering: false,
        }
    }

    fn envelope(from: NodeId, to: NodeId, id: RequestId, body: Body) -> Envelope {
        Envelope { cluster: 1, group: 0, from, to, incarnation: 1, term: 1, id, body }
    }

    /// A leader of 20 entries sends the snapshot of `index` to a member, which has asked for the
    /// third chunk.
    fn sends(invariants: &mut InvariantChecker, to: NodeId, index: Index) {
        for offset in [0, 10] {
            sends_chunk(invariants, to, index, offset);
            answers(invariants, to, index, offset);
        }
        sends_chunk(invariants, to, index, 20);
    }

    fn sends_chunk(invariants: &mut InvariantChecker, to: NodeId, index: Index, offset: u64) {
        let meta = SnapshotMeta {
            log_id: id(index),
            membership: Membership::of_voters(0..3),
            size_bytes: 100,
        };
        let (data, transfer, round) = (Bytes::from_static(&[0; 10]), index, 0);
        let chunk = SnapshotChunk { meta, transfer, offset, data, crc: 0, round };
        let request = Body::Request(Request::Snapshot(chunk));
        invariants.transfer_sent(&envelope(0, to, index + offset, request));
    }

    /// The member has the chunk at `offset` of the snapshot of `index`.
    fn answers(invariants: &mut InvariantChecker, from: NodeId, index: Index, offset: u64) {
        let request = index + offset;
        let offset = offset + 10;
        let install = InstallStatus::Receiving { index, bytes: offset };
        let report = FollowerReport { matched: 0, install, recovering: false, round: 0 };
        let outcome = ChunkOutcome::Continue { offset };
        let answer = Answer::Snapshot(SnapshotAnswer { report, transfer: index, outcome });
        let body = Body::Answer { asker_incarnation: 1, answer };
        invariants.transfer_answered(&envelope(from, 0, request, body));
    }

    fn invariants(pin_bytes: u64) -> InvariantChecker {
        let mut invariants = InvariantChecker::new(&Membership::of_voters(0..3));
        let limits = Limits { pin_bytes, prompt: 5_000, counts: 20_000 };
        invariants.transfers.limits = Some(limits);
        let entry = |index| Entry {
            log_id: id(index),
            kind: EntryKind::Command,
            stamp_ms: 0,
            data: Bytes::from_static(b"eight by"),
        };
        let append = (1..=20).map(entry).collect::<Vec<_>>().into();
        invariants.durable(0, &LogChange { append, ..LogChange::default() });
        invariants.members.entry(0).or_default().seen = Some(leads(3));
        sends(&mut invariants, 1, 5);
        sends(&mut invariants, 2, 15);
        invariants.at(1);
        invariants.keeps_log_for_transfers(leads(3), leads(3));
        invariants
    }

    #[test]
    fn the_older_one_of_two_transfers_keeps_the_log_too() {
        let mut invariants = invariants(10_000);
        invariants.keeps_log_for_transfers(leads(3), leads(5));
        assert_eq!(invariants.breach(), None, "up to the snapshot that the first one needs");
        invariants.keeps_log_for_transfers(leads(5), leads(15));
        let rule = invariants.breach().map(|breach| breach.rule);
        assert_eq!(rule, Some("a transfer keeps the log behind it"));
    }

    #[test]
    fn what_arrives_in_the_turn_of_a_cut_does_not_count() {
        let mut invariants = invariants(10_000);
        invariants.at(1);
        sends(&mut invariants, 1, 4);
        invariants.keeps_log_for_transfers(leads(3), leads(5));
        assert_eq!(invariants.breach(), None);
    }

    /// The leader may have ended the transfer: with the first answer of a new incarnation.
    #[test]
    fn an_answer_without_a_next_chunk_is_no_progress() {
        let mut invariants = invariants(10_000);
        invariants.at(20_001);
        sends_chunk(&mut invariants, 1, 5, 20);
        answers(&mut invariants, 1, 5, 20);
        invariants.at(20_002);
        invariants.keeps_log_for_transfers(leads(5), leads(5));
        invariants.keeps_log_for_transfers(leads(5), leads(15));
        assert_eq!(invariants.breach(), None);
        sends_chunk(&mut invariants, 1, 5, 30);
        invariants.keeps_log_for_transfers(leads(5), leads(15));
        let rule = invariants.breach().map(|breach| breach.rule);
        assert_eq!(rule, Some("a transfer keeps the log behind it"));
    }

    #[test]
    fn a_copy_of_an_answer_is_no_progress() {
        let mut invariants = invariants(10_000);
        invariants.at(4_000);
        answers(&mut invariants, 1, 5, 10);
        invariants.at(20_001);
        invariants.keeps_log_for_transfers(leads(5), leads(15));
        assert_eq!(invariants.breach(), None);
    }

    #[test]
    fn more_than_is_pinned_may_go_and_so_may_what_a_silent_transfer_needs() {
        let mut small = invariants(10);
        small.keeps_log_for_transfers(leads(5), leads(15));
        assert_eq!(small.breach(), None);
        let mut late = invariants(10_000);
        late.at(20_001);
        late.keeps_log_for_transfers(leads(5), leads(15));
        assert_eq!(late.breach(), None);
    }
}
