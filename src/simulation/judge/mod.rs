//! What must hold in every cluster at every moment, checked after every step of every member.
//!
//! | invariant | checked when | against |
//! |---|---|---|
//! | at most one leader a term | a member is seen leading | everybody who ever led |
//! | a leader has the durable votes of a quorum | it is first seen leading | every vote that was ever written |
//! | leader completeness | the same | what was committed in earlier terms |
//! | a leader removes nothing | a leader is seen again | itself before |
//! | what is committed first ends with an entry of the present term (Raft §5.4.2) | the history grows | the member's terms |
//! | a member truncates nothing that is committed | every turn | its log, the history |
//! | log matching | entries become durable | the entry before each, and its bytes, wherever it was written |
//! | committed on a quorum's disks | a commit index grows; anything is written; a loss is made good | the disks |
//! | committed history immutable, on every member | a commit index grows; a snapshot is recorded | the history |
//! | applied is what is committed, without gap or repeat; states equal | a state machine acts | the history, other machines |
//! | what a service's own apply side is given or offered is committed | it comes | the history |
//! | a snapshot that it is told is current is durable | it is told | the disk |
//! | a snapshot is taken when that is durable (B6) | the same | the disk |
//! | purged ≤ snapshot ≤ applied ≤ handed ≤ committed ≤ last | every turn | |
//! | term, vote, commit, applied, snapshot never go back | every turn; every write; every start | the turn, the disk before |
//! | what a message says is durable | it is sent | the sender's disk |
//! | a read is confirmed by a quorum's answers to what was sent after it came | it is confirmed | the messages |
//! | a transfer that gets further keeps the log behind it (B16) | a leader's log is cut | the messages |
//! | a log holds what its limits allow | a run is over | the limits, and what leaders did not know to be committed |
//! | no alarm | it is raised | whether any disk has lost anything |
//!
//! Steps come in as they happen: an [`Observation`] at the end of a member's turn, before anything of it leaves; every write of
//! every disk; every message; every act of a state machine. A check looks at what is new, so a step costs what it changes.
//!
//! A disk that lost something may excuse its member: until that has caught up, it counts with its earlier word, for it helps
//! nobody to power (PS20). A loss that nobody can notice any more is beyond what any protocol survives: from then on nothing is
//! judged.
//!
//! *What it does not do:* a breach is kept, not thrown: it is found inside actors. Whoever runs the cluster asks for it.
//! Clients' histories are for [`linearizability`](super::linearizability).

mod applying;
mod durable;
mod ending;
mod reads;
mod transfers;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::raft::{
    Answer, Body, Entry, Envelope, HardState, Incarnation, Index, Life, LogChange, Membership,
    Micros, NodeId, ObservedState, Recovered, Request, Term,
};

use super::quorums::Quorums;
use super::remembered::Remembered;
pub(super) use durable::Durable;
pub(super) use reads::ReadMark;

/// All that is known of a cluster.
#[derive(Debug, Default)]
pub(super) struct Judge {
    now: Micros,
    breach: Option<Breach>,
    members: BTreeMap<NodeId, Known>,
    quorums: Quorums,
    questions: reads::Questions,
    transfers: transfers::Transfers,
    /// Entry `i + 1` at place `i`.
    history: Vec<Committed>,
    leaders: BTreeMap<Term, (NodeId, Incarnation)>,
    /// The most that a leader had in its log behind what it knew to be committed.
    led_uncommitted_bytes: u64,
    /// The largest entry that was ever written.
    entry_bytes_max: usize,
    /// Whoever durably voted for a candidate of a term, whether it still knows or not.
    votes: BTreeMap<(Term, NodeId), BTreeSet<NodeId>>,
    /// What was ever written at each index, from 1.
    written: Vec<Vec<Fact>>,
    /// The state behind each applied index, from 1.
    states: Vec<Option<u64>>,
    /// Some disk has lost what it had promised to keep, or a member lies: alarms are in order.
    lossy: bool,
    /// Members that lost something and count again.
    recovered: u64,
    /// There is a loss that nobody can notice.
    gave_up: bool,
}

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Breach {
    /// When, in virtual microseconds.
    pub at: Micros,
    /// Which rule, in a word or two: two breaches of one cause have the same.
    pub rule: &'static str,
    /// What.
    pub what: String,
}

#[derive(Clone, Copy, Debug)]
struct Committed {
    term: Term,
    /// The term of whoever committed it first.
    in_term: Term,
}

/// An entry as it was once written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fact {
    term: Term,
    prev_term: Term,
    data: Bytes,
}

/// A member.
#[derive(Debug, Default)]
struct Known {
    disk: Durable,
    /// Writes under way, each with the moment at which it is durable.
    writing: VecDeque<(Micros, LogChange)>,
    /// Of the history, the disk holds so much, entry for entry or in a snapshot.
    holds: Index,
    /// Of the history, its log held so much after its last turn.
    logged: Index,
    /// Its present life, after its last turn.
    seen: Option<ObservedState>,
    /// The snapshot came from a leader: the state machine follows when it is told.
    installed: bool,
    /// What its state machine has applied in this life; `None`: it has not begun.
    applied: Option<Index>,
    /// Its disk lost something, and it has not caught up.
    excused: Option<Excuse>,
}

/// Why a member that holds too little still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excuse {
    /// Nobody has noticed yet.
    Unnoticed,
    /// The member knows, and does not count itself.
    Recovering,
}

impl Judge {
    /// A judge of members that have written nothing.
    pub(super) fn new(members: &Membership) -> Judge {
        let quorums = Quorums::of(members);
        let members = members.all().into_iter().map(|member| (member, Known::default())).collect();
        Judge { members, quorums, ..Judge::default() }
    }

    /// The time, for breaches.
    pub(super) fn at(&mut self, now: Micros) {
        self.now = now;
    }

    /// The first breach.
    pub(super) fn breach(&self) -> Option<&Breach> {
        self.breach.as_ref()
    }

    /// Whether a loss that nobody can notice has made it pointless to go on: nothing is judged any more.
    pub(super) fn has_given_up(&self) -> bool {
        self.gave_up
    }

    /// Whether there is nothing more to find.
    pub(super) fn is_over(&self) -> bool {
        self.breach.is_some() || self.gave_up
    }

    /// How many entries were ever committed.
    pub(super) fn committed(&self) -> Index {
        self.history.len() as u64
    }

    /// The term of the last entry that was committed.
    pub(super) fn committed_term(&self) -> Option<Term> {
        self.history.last().map(|committed| committed.term)
    }

    /// How many members that lost something have come to count again.
    pub(super) fn recovered(&self) -> u64 {
        self.recovered
    }

    /// Notes something that must never be, unless the judge has given up.
    pub(super) fn accuse(&mut self, rule: &'static str, what: String) {
        if !self.gave_up {
            self.convict(rule, what);
        }
    }

    /// Notes something that must never have been. Only the first counts: what follows may be its consequence.
    fn convict(&mut self, rule: &'static str, what: String) {
        let at = self.now;
        self.breach.get_or_insert(Breach { at, rule, what });
    }

    /// A member says that something is wrong that a correct cluster never shows.
    pub(super) fn alarmed(&mut self, member: NodeId, what: &str) {
        if !self.lossy {
            self.accuse("no alarm", format!("n{member} raises an alarm: {what}"));
        }
    }

    fn known(&mut self, member: NodeId) -> &mut Known {
        self.members.get_mut(&member).unwrap_or_else(|| panic!("n{member} is not of this cluster"))
    }

    // ---- disks ---------------------------------------------------------------------------

    /// A disk is being written: the changes are durable, one after the other, at `until`.
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
            self.accuse("storage order", format!("n{member}: {what}"));
        }
        let (after, current) =
            (self.known(member).disk.hard_state, self.known(member).disk.snapshot);
        let revoked =
            before.term == after.term && before.vote.is_some() && before.vote != after.vote;
        if after.term < before.term || revoked || current.index < snapshot.index {
            self.accuse(
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

    /// A member starts on its disk: that holds what it held, and of the writes under way none, some or all.
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
            self.accuse(
                "durable is durable",
                format!("n{member} starts from {found:?}, durable is {disk:?}"),
            );
        }
    }

    /// A member is dead: of its writes under way nobody knows what is there before it starts again.
    pub(super) fn ended(&mut self, member: NodeId) {
        self.finish_writes(member);
        self.known(member).writing.iter_mut().for_each(|(until, _)| *until = Micros::MAX);
    }

    /// A member starts on a disk that was changed behind its back: what is left counts, unless
    /// nothing is missing. Whether something is, and the storage does not say so.
    pub(super) fn opened_after_loss(&mut self, member: NodeId, recovered: &Recovered) -> bool {
        let left = Durable::of(recovered);
        let noticed = recovered.life.loss.is_some();
        self.finish_writes(member);
        let known = self.known(member);
        // Of writes under way some may be there.
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
            // An older snapshot stands in for a damaged one: the log still reaches it.
            let known = self.known(member);
            known.writing.clear();
            (known.disk, known.holds) = (left, 0);
            self.count_held(member);
        }
        self.opened(member, recovered);
        is_unnoticed
    }

    /// A member begins this life. If it goes through the very life again that its disk has lost and others remember, nobody will
    /// ever tell.
    pub(super) fn begins(&mut self, member: NodeId, life: Life, remembered: &Remembered) {
        let unnoticed = life.loss.is_none() && !self.is_sound(member);
        self.gave_up |= unnoticed && remembered.has(life.incarnation);
        self.questions.begins(member, life.incarnation);
    }

    /// The digest of the state behind an index, if anybody has been there.
    pub(super) fn state_at(&self, index: Index) -> Option<u64> {
        self.states.get(index as usize).copied().flatten()
    }

    /// A member says what can't be: others may well raise alarms.
    pub(super) fn alarms_may_come(&mut self) {
        self.lossy = true;
    }

    /// A disk has lost something, and is left with this. `noticed`: its member will see that by itself.
    pub(super) fn lost(&mut self, member: NodeId, left: Durable, noticed: bool) {
        self.lossy = true;
        // A vote that was being written as the member died may be there, whatever else is not.
        self.voted(member, left.hard_state);
        let known = self.known(member);
        known.writing.clear();
        known.excused = Some(if noticed { Excuse::Recovering } else { Excuse::Unnoticed });
        (known.disk, known.holds) = (left, 0);
        self.count_held(member);
    }

    /// Whether a member counts with what it holds: its disk has lost nothing that is not made good.
    pub(super) fn is_sound(&self, member: NodeId) -> bool {
        self.members[&member].excused.is_none()
    }

    /// Entries with one id have one predecessor and one content, wherever they stand; so logs that share an id agree on
    /// everything before it.
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
                    return self.accuse("log matching", what);
                }
            }
        }
    }

    /// What is committed stays on a quorum's disks. One disk may lose an entry of it: its member
    /// truncated the entry before others committed it, and the disk follows only now.
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
            self.accuse("committed history", what);
        }
    }

    /// How much of the history the member's disk holds.
    fn count_held(&mut self, member: NodeId) {
        let committed = self.history.len() as u64;
        let Judge { members, history, .. } = self;
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
            self.accuse("committed on a quorum's disks", what);
        }
    }

    // ---- messages ------------------------------------------------------------------------

    /// No message carries a term that is not durable, no vote is granted that is not, and nothing acknowledged that is not
    /// (PS01, PS02).
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
        if term < envelope.term || !durable {
            let what = format!("{envelope:?} of a disk at {:?}, {}", disk.hard_state, disk.last());
            self.accuse("durable before sent", what);
        }
        self.questions.sent(envelope);
        self.transfer_sent(envelope);
    }
}

impl Judge {
    /// A message comes to its receiver, who is about to handle it.
    pub(super) fn delivered(&mut self, envelope: &Envelope) {
        self.questions.delivered(envelope);
        self.transfer_answered(envelope);
    }
}

/// Whether storage found what the book says is durable. The last entry stands for all: another one may have its index.
fn agrees(book: &Durable, found: &Durable) -> bool {
    book.hard_state == found.hard_state
        && book.snapshot == found.snapshot
        && book.start == found.start
        && book.last() == found.last()
        && book.term_at(book.last()) == found.term_at(found.last())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{EntryKind, KnownPeers, LogId, PeerRecord};

    fn change(truncate_from: Option<Index>, term: Term) -> LogChange {
        let log_id = LogId { term, index: 1 };
        let blank = Entry { log_id, kind: EntryKind::Blank, stamp_ms: 0, data: Bytes::new() };
        LogChange { truncate_from, append: [blank].into_iter().collect(), ..LogChange::default() }
    }

    /// Disks of three members hold entry 1 of term 1, which is committed; then so many of them
    /// follow a truncation.
    fn truncated_by(members: u64) -> Option<&'static str> {
        let mut judge = Judge::new(&Membership::of_voters(0..3));
        (0..3).for_each(|member| judge.durable(member, &change(None, 1)));
        judge.history.push(Committed { term: 1, in_term: 3 });
        (0..3).for_each(|member| judge.count_held(member));
        (0..members).for_each(|member| judge.durable(member, &change(Some(1), 2)));
        judge.breach().map(|breach| breach.rule)
    }

    /// A disk may take longer to truncate an entry than others take to commit it.
    #[test]
    fn a_disk_may_lose_a_committed_entry_but_not_a_quorum_of_disks() {
        assert_eq!(truncated_by(1), None);
        assert_eq!(truncated_by(2), Some("committed on a quorum's disks"));
    }

    /// A member is told that its disk was rolled back, can't write that down, and starts as the
    /// very life that others remember (PS20): nothing is judged from then on.
    #[test]
    fn ps20_a_loss_that_nobody_can_notice_ends_a_run() {
        let mut judge = Judge::new(&Membership::of_voters(0..3));
        let remembers_6 = KnownPeers::from([(1, PeerRecord::new(6))]);
        let remembered =
            Remembered::of(1, &[remembers_6.clone(), remembers_6.clone(), remembers_6]);
        let life = |incarnation| Life { incarnation, ..Life::default() };
        judge.begins(1, life(6), &remembered);
        assert!(!judge.has_given_up(), "nothing is lost");
        judge.lost(1, Durable::default(), false);
        judge.begins(1, life(5), &remembered);
        assert!(!judge.has_given_up(), "the others can tell life 5 from life 6");
        judge.begins(1, life(6), &remembered);
        assert!(judge.has_given_up() && judge.is_over());
        judge.accuse("a rule", String::new());
        assert_eq!(judge.breach(), None);
    }
}
