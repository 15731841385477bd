//! The invariant checker: what must hold in every cluster at every moment, checked after every step
//! of every member.
//!
//! | invariant | checked when | against |
//! |---|---|---|
//! | at most one leader a term | a member is seen leading | all leaders so far |
//! | a leader has a quorum's votes, none of which can be repeated | it is first seen leading | votes |
//! | leader completeness | the same | what was committed in earlier terms |
//! | a leader removes nothing | a leader is seen again | its earlier log |
//! | the last new entry is of the present term (Raft §5.4.2) | the history grows | the terms |
//! | a member truncates nothing that is committed | every turn | its log, the history |
//! | log matching | entries become durable | the predecessors and bytes of all entries |
//! | commits are on a quorum's disks | a commit; a write; a repaired loss | the disks |
//! | the history is immutable, on every member | a commit; a recorded snapshot | the history |
//! | entries apply once, in order; states are equal | a machine applies | history, other machines |
//! | an own apply side gets committed state only | a batch or an offer arrives | the history |
//! | a snapshot reported to it as current is durable | the report | the disk |
//! | a snapshot is installed when it is durable (B6) | the install | the disk |
//! | purged ≤ snapshot ≤ applied ≤ dispatched ≤ committed ≤ last | every turn | |
//! | term, vote, commit, applied, snapshot never go back | turn, write, start | what was before |
//! | a message claims only what is durable | it is sent | the sender's disk |
//! | a quorum answers what is sent after a read's arrival | its confirmation | the messages |
//! | a transfer with progress retains the log behind it (B16) | a log is cut | the messages |
//! | a log stays within its limits | a run is over | the limits, uncommitted bytes |
//! | no alarm | it is raised | whether any disk has lost data |
//!
//! Steps are reported as they happen: an [`Observation`] at the end of a member's turn, before any
//! of its output leaves; every write of every disk; every message; every action of a state machine.
//! A check looks at new data only, so its cost is proportional to the change.
//!
//! A member whose disk lost data may be excused: until it has caught up, what it acknowledged
//! earlier still counts, because it helps elect no leader meanwhile (PS20). No protocol survives a
//! loss that no member can notice any more: after one, nothing is checked.
//!
//! *What it does not do:* it records a breach and does not panic, because breaches are found inside
//! actors. The code that runs the cluster asks for the breach. Clients' histories are checked by
//! [`linearizability`](super::linearizability).

mod applying;
mod durable;
mod ending;
mod reads;
mod transfers;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use quorate::raft::{
    Answer, Body, Entry, Envelope, HardState, Incarnation, Index, Life, LogChange, Membership,
    Micros, NodeId, ObservedState, Recovered, Request, Term,
};

use super::quorums::Quorums;
use super::remembered::Remembered;
pub(super) use durable::Durable;
pub(super) use reads::ReadMark;

/// The state of the checker: all that is known of a cluster.
#[derive(Debug, Default)]
pub(super) struct InvariantChecker {
    now: Micros,
    breach: Option<Breach>,
    members: BTreeMap<NodeId, Known>,
    quorums: Quorums,
    questions: reads::Questions,
    transfers: transfers::Transfers,
    /// The committed history: entry `i + 1` at position `i`.
    history: Vec<Committed>,
    leaders: BTreeMap<Term, (NodeId, Incarnation)>,
    /// The most bytes that a leader had in its log beyond its commit index.
    led_uncommitted_bytes: u64,
    /// The size of the largest entry ever written.
    entry_bytes_max: usize,
    /// The members that ever durably voted for a candidate of a term, even if their disks lost the
    /// vote.
    votes: BTreeMap<(Term, NodeId), BTreeSet<NodeId>>,
    /// All entries ever written at each index, from 1.
    written: Vec<Vec<Fact>>,
    /// The digest of the state at each applied index, from 1.
    states: Vec<Option<u64>>,
    /// Whether a disk has lost data that it had acknowledged, or a member lies: alarms are then
    /// expected.
    lossy: bool,
    /// The number of members that lost data and count again.
    recovered: u64,
    /// Whether there is a loss that no member can notice.
    gave_up: bool,
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Breach {
    /// The time, in virtual microseconds.
    pub at: Micros,
    /// The invariant, in a word or two. Two breaches with one cause have the same text.
    pub rule: &'static str,
    /// The details.
    pub what: String,
}

#[derive(Clone, Copy, Debug)]
struct Committed {
    term: Term,
    /// The term of the member that committed it first.
    in_term: Term,
}

/// An entry as it was written once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fact {
    term: Term,
    prev_term: Term,
    data: Bytes,
}

/// The state of a member.
#[derive(Debug, Default)]
struct Known {
    disk: Durable,
    /// Writes under way, each with the time at which it is durable.
    writing: VecDeque<(Micros, LogChange)>,
    /// The disk holds the history up to this index, as entries or in a snapshot.
    holds: Index,
    /// The log held the history up to this index after the member's last turn.
    logged: Index,
    /// The state of the present incarnation after its last turn.
    seen: Option<ObservedState>,
    /// Whether the snapshot came from a leader; the state machine follows when it is informed.
    installed: bool,
    /// The applied index of the state machine in this incarnation; `None`: it has not begun.
    applied: Option<Index>,
    /// Set if its disk lost data and it has not caught up.
    excused: Option<Excuse>,
}

/// Why a member that holds too little still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excuse {
    /// The loss has not been noticed yet.
    Unnoticed,
    /// The member knows of the loss, and does not count itself.
    Recovering,
}

impl InvariantChecker {
    /// A checker for members that have written nothing.
    pub(super) fn new(members: &Membership) -> InvariantChecker {
        let quorums = Quorums::of(members);
        let members = members.all().into_iter().map(|member| (member, Known::default())).collect();
        InvariantChecker { members, quorums, ..InvariantChecker::default() }
    }

    /// Sets the time for breaches.
    pub(super) fn at(&mut self, now: Micros) {
        self.now = now;
    }

    /// The first breach.
    pub(super) fn breach(&self) -> Option<&Breach> {
        self.breach.as_ref()
    }

    /// Whether a loss that no member can notice has ended the checks.
    pub(super) fn has_given_up(&self) -> bool {
        self.gave_up
    }

    /// Whether the run can end, because nothing more can be found.
    pub(super) fn is_over(&self) -> bool {
        self.breach.is_some() || self.gave_up
    }

    /// The number of entries that were ever committed.
    pub(super) fn committed(&self) -> Index {
        self.history.len() as u64
    }

    /// The term of the last committed entry.
    pub(super) fn committed_term(&self) -> Option<Term> {
        self.history.last().map(|committed| committed.term)
    }

    /// How many members that lost data count again.
    pub(super) fn recovered(&self) -> u64 {
        self.recovered
    }

    /// Records a breach, unless the checker has given up.
    pub(super) fn report_breach(&mut self, rule: &'static str, what: String) {
        if !self.gave_up {
            self.record_breach(rule, what);
        }
    }

    /// Records a breach. Only the first one counts: later ones may be its consequences.
    fn record_breach(&mut self, rule: &'static str, what: String) {
        let at = self.now;
        self.breach.get_or_insert(Breach { at, rule, what });
    }

    /// A member raises an alarm, which a correct cluster never does.
    pub(super) fn alarmed(&mut self, member: NodeId, what: &str) {
        if !self.lossy {
            self.report_breach("no alarm", format!("n{member} raises an alarm: {what}"));
        }
    }

    fn known(&mut self, member: NodeId) -> &mut Known {
        self.members.get_mut(&member).unwrap_or_else(|| panic!("n{member} is not of this cluster"))
    }

    // ---- disks ---------------------------------------------------------------------------

    /// A write to a disk: the changes become durable at `until`, one after the other.
    pub(super) fn writes(&mut self, member: NodeId, changes: &[LogChange], until: Micros) {
        let writes = changes.iter().map(|change| (until, change.clone()));
        self.known(member).writing.extend(writes);
        self.finish_writes(member);
    }

    /// A change is durable now.
    pub(super) fn durable(&mut self, member: NodeId, change: &LogChange) {
        let before = self.known(member).disk.hard_state;
        let snapshot = self.known(member).disk.snapshot;
        if let Err(what) = self.known(member).disk.change(change) {
            self.report_breach("storage order", format!("n{member}: {what}"));
        }
        let (after, current) =
            (self.known(member).disk.hard_state, self.known(member).disk.snapshot);
        let revoked =
            before.term == after.term && before.vote.is_some() && before.vote != after.vote;
        if after.term < before.term || revoked || current.index < snapshot.index {
            self.report_breach(
                "nothing goes back",
                format!("n{member} writes {after:?}, {current} over {before:?}, {snapshot}"),
            );
        }
        if let Some(written) = change.hard_state {
            self.voted(member, written);
        }
        let largest = change.append.iter().map(Entry::size_bytes).max().unwrap_or(0);
        self.entry_bytes_max = self.entry_bytes_max.max(largest);
        self.logs_match(member, change);
        self.keeps_committed(member, change);
        let made_good = change.life.is_some_and(|life| life.loss.is_none());
        if made_good && self.known(member).excused == Some(Excuse::Recovering) {
            self.known(member).excused = None;
            self.recovered += 1;
            self.on_a_quorum(&format!("n{member} counts again"));
        }
    }

    fn voted(&mut self, member: NodeId, written: HardState) {
        if let Some(candidate) = written.vote {
            self.votes.entry((written.term, candidate)).or_default().insert(member);
        }
    }

    fn finish_writes(&mut self, member: NodeId) {
        let now = self.now;
        while let Some((until, change)) = self.known(member).writing.pop_front() {
            if until > now {
                return self.known(member).writing.push_front((until, change));
            }
            self.durable(member, &change);
        }
    }

    /// A member starts on its disk, which holds what was durable, and none, some or all of the
    /// writes under way.
    pub(super) fn opened(&mut self, member: NodeId, recovered: &Recovered) {
        let found = Durable::of(recovered);
        self.finish_writes(member);
        while !agrees(&self.known(member).disk, &found) {
            let Some((_, change)) = self.known(member).writing.pop_front() else { break };
            self.durable(member, &change);
        }
        let known = self.known(member);
        known.writing.clear();
        (known.seen, known.applied, known.logged) = (None, None, 0);
        if !agrees(&known.disk, &found) {
            let disk = known.disk.clone();
            self.report_breach(
                "durable is durable",
                format!("n{member} starts from {found:?}, durable is {disk:?}"),
            );
        }
    }

    /// A member is dead: which of its writes under way are durable is unknown until it restarts.
    pub(super) fn ended(&mut self, member: NodeId) {
        self.finish_writes(member);
        self.known(member).writing.iter_mut().for_each(|(until, _)| *until = Micros::MAX);
    }

    /// A member starts on a disk that was changed while it was down. What is left counts, unless
    /// nothing is missing. Returns whether data is missing and the storage does not report it.
    pub(super) fn opened_after_loss(&mut self, member: NodeId, recovered: &Recovered) -> bool {
        let left = Durable::of(recovered);
        let noticed = recovered.life.loss.is_some();
        self.finish_writes(member);
        let known = self.known(member);
        // Some of the writes under way may be there.
        let (mut book, mut writes) = (known.disk.clone(), known.writing.iter());
        let has_all = |book: &Durable| {
            let last = left.last();
            book.hard_state == left.hard_state
                && book.last() == last
                && book.term_at(last) == left.term_at(last)
        };
        while !has_all(&book) {
            let Some((_, change)) = writes.next() else { break };
            if book.change(change).is_err() {
                break;
            }
        }
        let is_unnoticed = !noticed && !has_all(&book);
        if noticed || is_unnoticed {
            self.lost(member, left, noticed);
        } else if !agrees(&book, &left) {
            // An older snapshot replaces a damaged one: the log still reaches it.
            let known = self.known(member);
            known.writing.clear();
            (known.disk, known.holds) = (left, 0);
            self.count_held(member);
        }
        self.opened(member, recovered);
        is_unnoticed
    }

    /// A member begins this incarnation. If its disk lost this very incarnation and others remember
    /// it, the loss can never be noticed.
    pub(super) fn begins(&mut self, member: NodeId, life: Life, remembered: &Remembered) {
        let unnoticed = life.loss.is_none() && !self.is_sound(member);
        self.gave_up |= unnoticed && remembered.has(life.incarnation);
        self.questions.begins(member, life.incarnation);
    }

    /// The digest of the state at an index, if any member has reached it.
    pub(super) fn state_at(&self, index: Index) -> Option<u64> {
        self.states.get(index as usize).copied().flatten()
    }

    /// A member lies: other members may raise alarms.
    pub(super) fn alarms_may_come(&mut self) {
        self.lossy = true;
    }

    /// A disk has lost data, and `left` remains. `noticed`: the member will notice the loss by
    /// itself.
    pub(super) fn lost(&mut self, member: NodeId, left: Durable, noticed: bool) {
        self.lossy = true;
        // A vote that was being written when the member died may be there even if nothing else is.
        self.voted(member, left.hard_state);
        let known = self.known(member);
        known.writing.clear();
        known.excused = Some(if noticed { Excuse::Recovering } else { Excuse::Unnoticed });
        (known.disk, known.holds) = (left, 0);
        self.count_held(member);
    }

    /// Whether what a member holds counts: its disk has no loss that is not repaired.
    pub(super) fn is_sound(&self, member: NodeId) -> bool {
        self.members[&member].excused.is_none()
    }

    /// Entries with equal ids have equal predecessors and contents in all logs. So logs that share
    /// an id agree on everything before it.
    fn logs_match(&mut self, member: NodeId, change: &LogChange) {
        let Some(first) = change.append.first() else { return };
        // Appended and purged in one step: nothing to compare with.
        let mut prev = self.known(member).disk.term_at(first.log_id.index - 1);
        for entry in &change.append {
            let Some(prev_term) = prev.replace(entry.log_id.term) else { continue };
            let at = entry.log_id.index as usize;
            if self.written.len() < at {
                self.written.resize_with(at, Vec::new);
            }
            let facts = &mut self.written[at - 1];
            let fact = Fact { term: entry.log_id.term, prev_term, data: entry.data.clone() };
            match facts.iter().find(|known| known.term == fact.term) {
                None => facts.push(fact),
                Some(known) if *known == fact => {}
                Some(known) => {
                    let what = format!(
                        "n{member} writes {} behind a term {prev_term}, elsewhere it is {known:?}",
                        entry.log_id
                    );
                    return self.report_breach("log matching", what);
                }
            }
        }
    }

    /// Committed entries stay on a quorum's disks. A single disk may lose one: its member truncated
    /// the entry before others committed it, and the disk follows only now.
    fn keeps_committed(&mut self, member: NodeId, change: &LogChange) {
        let before = self.known(member).holds;
        self.count_held(member);
        let known = &self.members[&member];
        let (holds, snapshot) = (known.holds, known.disk.snapshot);
        if holds < before && known.excused.is_none() {
            self.on_a_quorum(&format!(
                "n{member} holds {holds} of {before} entries after {change:?}"
            ));
        }
        let unknown = snapshot.index > 0
            && self
                .history
                .get(snapshot.index as usize - 1)
                .is_none_or(|committed| committed.term != snapshot.term);
        if unknown {
            let what =
                format!("n{member} records a snapshot of {snapshot}, which is not committed");
            self.report_breach("committed history", what);
        }
    }

    /// Computes up to which index the member's disk holds the history.
    fn count_held(&mut self, member: NodeId) {
        let committed = self.history.len() as u64;
        let InvariantChecker { members, history, .. } = self;
        let Some(Known { disk, holds, .. }) = members.get_mut(&member) else { return };
        let covered = disk.covered().min(committed);
        let agrees = |index: Index| disk.term_at(index) == Some(history[index as usize - 1].term);
        let mut held = (*holds).min(disk.last()).max(covered);
        while held > covered && !agrees(held) {
            held -= 1;
        }
        while held < committed && agrees(held + 1) {
            held += 1;
        }
        *holds = held;
    }

    fn on_a_quorum(&mut self, after: &str) {
        let committed = self.committed();
        let counts = |known: &&Known| known.holds >= committed || known.excused.is_some();
        let holders = self.members.values().filter(counts).count();
        if !self.quorums.are(|node| self.members.get(&node).is_some_and(|known| counts(&known))) {
            let what = format!("{after}: {holders} disks hold the {committed} committed entries");
            self.report_breach("committed on a quorum's disks", what);
        }
    }

    // ---- messages ------------------------------------------------------------------------

    /// A message carries no term that is not durable, grants no vote that is not durable, and
    /// acknowledges nothing that is not durable (PS01, PS02).
    pub(super) fn sent(&mut self, envelope: &Envelope) {
        self.finish_writes(envelope.from);
        let disk = &self.members[&envelope.from].disk;
        let (term, voted) = (disk.hard_state.term, disk.hard_state.vote);
        let stood_for = |candidate| term > envelope.term || voted == Some(candidate);
        let held = |matched: Index| matched <= disk.last() || term > envelope.term;
        let durable = match &envelope.body {
            Body::Request(Request::Vote { .. }) => stood_for(envelope.from),
            Body::Answer { answer: Answer::Vote { granted: true, .. }, .. } => {
                stood_for(envelope.to)
            }
            Body::Answer { answer: Answer::Append(answer), .. } => held(answer.report.matched),
            Body::Answer { answer: Answer::Snapshot(answer), .. } => held(answer.report.matched),
            _ => true,
        };
        if let Body::Answer { answer: Answer::Vote { granted: true, .. }, .. } = &envelope.body
            && term > envelope.term
        {
            // The vote and a later term became durable in one step: no other vote can follow it.
            self.votes.entry((envelope.term, envelope.to)).or_default().insert(envelope.from);
        }
        if term < envelope.term || !durable {
            let what = format!("{envelope:?} of a disk at {:?}, {}", disk.hard_state, disk.last());
            self.report_breach("durable before sent", what);
        }
        self.questions.sent(envelope);
        self.transfer_sent(envelope);
    }
}

impl InvariantChecker {
    /// A message arrives at its receiver, which is about to handle it.
    pub(super) fn delivered(&mut self, envelope: &Envelope) {
        self.questions.delivered(envelope);
        self.transfer_answered(envelope);
    }
}

/// Whether storage found what the checker knows to be durable. The last entry represents all:
/// another entry may have its index.
fn agrees(book: &Durable, found: &Durable) -> bool {
    book.hard_state == found.hard_state
        && book.snapshot == found.snapshot
        && book.start == found.start
        && book.last() == found.last()
        && book.term_at(book.last()) == found.term_at(found.last())
}

#[cfg(test)]
mod tests;
