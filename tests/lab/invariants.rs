//! What must hold in every cluster at every moment, checked after every step of every peer.
//!
//! | invariant | checked when | against |
//! |---|---|---|
//! | at most one leader a term | a peer is seen leading | everybody who ever led |
//! | leader completeness | the same | what was committed in earlier terms |
//! | a leader removes nothing | a leader is seen again | itself before |
//! | what is committed first ends with an entry of the present term (Raft §5.4.2) | the history grows | the peer's terms |
//! | log matching | entries are written | the entry before each, and its bytes, wherever it was written |
//! | committed on a quorum's disks | a commit index grows; anything is written | the disks |
//! | committed history immutable, on every peer | a commit index grows; a snapshot is installed | the history |
//! | applied is what is committed; a snapshot is taken when that is durable | the service acts | the history, the disk |
//! | purged ≤ snapshot ≤ applied ≤ dispatched ≤ committed ≤ last | every turn | |
//! | term, vote, commit, applied, snapshot never go back | every turn; every write; every start | the turn, the disk before |
//! | what a message says is durable | it is sent | the sender's disk |
//!
//! Steps come in as they happen: an [`Observation`] at the end of a peer's turn, before anything of it leaves; every write of every
//! disk; every message; every act of a service. All checks look at what is new, so a step costs what it changes.
//!
//! A breach is kept, not thrown: it is found inside actors. Whoever runs the scenario asks for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use quorate::raft::{
    Answer, Body, Entry, Envelope, Incarnation, LogChange, LogId, LogIds, NodeId, Observation,
    ObservedState, Recovered, Request, Role, Term,
};
use tokio::time::Instant;

use crate::disk::{self, Image};

/// Shared by all who report steps.
#[derive(Clone)]
pub struct Watch(Arc<Mutex<Invariants>>);

/// All that is known of a cluster.
struct Invariants {
    began: Instant,
    breach: Option<String>,
    peers: Vec<Known>,
    /// Entry `i + 1` at place `i`.
    history: Vec<Committed>,
    leaders: BTreeMap<Term, (NodeId, Incarnation)>,
    /// The entry before each entry ever written, and its bytes.
    written: BTreeMap<LogId, (Term, Bytes)>,
}

#[derive(Clone, Copy)]
struct Committed {
    term: Term,
    /// The term of whoever committed it first.
    in_term: Term,
}

#[derive(Default)]
struct Known {
    disk: Image,
    seen: Option<ObservedState>,
    /// The current snapshot came by an install.
    installed: bool,
    /// How much of the history is on the disk.
    holds: u64,
    /// Writes under way, and when they are over.
    writing: VecDeque<(Instant, LogChange)>,
}

impl Watch {
    /// Of `peers` peers that have not started.
    pub fn new(peers: usize) -> Watch {
        Watch(Arc::new(Mutex::new(Invariants {
            began: Instant::now(),
            breach: None,
            peers: (0..peers).map(|_| Known::default()).collect(),
            history: Vec::new(),
            leaders: BTreeMap::new(),
            written: BTreeMap::new(),
        })))
    }

    /// With all writes that are over by now.
    fn now(&self) -> MutexGuard<'_, Invariants> {
        let mut invariants = self.0.lock();
        let now = Instant::now();
        (0..invariants.peers.len()).for_each(|peer| invariants.finish_writes(peer, now));
        invariants
    }

    /// Something is wrong.
    pub fn breach(&self, what: String) {
        self.0.lock().breach(what);
    }

    /// The first thing that was wrong.
    pub fn first_breach(&self) -> Option<String> {
        self.0.lock().breach.clone()
    }

    /// The end of a peer's turn.
    pub fn observed(&self, observation: &Observation<'_>) {
        self.now().observed(observation.state, observation.log);
    }

    /// A peer's disk is being written: durable at `until`.
    pub fn writes(&self, peer: usize, changes: &[LogChange], until: Instant) {
        let mut invariants = self.now();
        let writes = changes.iter().map(|change| (until, change.clone()));
        invariants.peers[peer].writing.extend(writes);
        invariants.finish_writes(peer, Instant::now());
    }

    /// A peer starts on its disk.
    pub fn opened(&self, peer: usize, recovered: &Recovered) {
        let mut invariants = self.now();
        // A write that a crash has cut short may have succeeded, and in this storage it has.
        while let Some((until, _)) = invariants.peers[peer].writing.back() {
            let until = *until;
            invariants.finish_writes(peer, until);
        }
        let Known { disk, seen, .. } = &mut invariants.peers[peer];
        *seen = None;
        if !disk::agrees(disk, recovered) {
            let disk = disk.clone();
            invariants
                .breach(format!("peer {peer} starts from {recovered:?}, durable is {disk:?}"));
        }
    }

    /// A message leaves.
    pub fn sent(&self, envelope: &Envelope) {
        self.now().sent(envelope);
    }

    /// A peer's service is given an entry.
    pub fn applied(&self, peer: usize, entry: &Entry) {
        self.now().applied(peer, entry);
    }

    /// A peer's service takes a snapshot.
    pub fn taken(&self, peer: usize, log_id: LogId) {
        self.now().taken(peer, log_id);
    }

    /// Bytes of the largest saved state of all peers.
    pub fn largest_state_bytes(&self) -> usize {
        let invariants = self.now();
        invariants.peers.iter().map(|peer| peer.disk.state_bytes()).max().unwrap_or_default()
    }
}

impl Invariants {
    fn breach(&mut self, what: String) {
        let at = self.began.elapsed();
        self.breach.get_or_insert_with(|| format!("at {at:?}: {what}"));
    }

    // ---- a turn of a peer ----------------------------------------------------------------

    fn observed(&mut self, now: ObservedState, log: LogIds<'_>) {
        let peer = now.node as usize;
        let before = self.peers[peer].seen.replace(now);
        if before == Some(now) {
            return;
        }
        match before.filter(|before| before.incarnation == now.incarnation) {
            Some(before) => self.goes_forward(before, now),
            None => self.begins_as_stored(now),
        }
        self.in_order(before, now);
        self.commits(before, now, log);
        if now.role == Role::Leader {
            self.leads(before, now, log);
        }
        self.believes_what_is(now, log);
    }

    /// A new life goes on from what is durable, before anything else.
    fn begins_as_stored(&mut self, now: ObservedState) {
        let disk = &self.peers[now.node as usize].disk;
        let same = now.hard_state == disk.hard_state
            && now.snapshot == disk.snapshot
            && now.last.index == disk.last();
        if !same {
            let disk = disk.clone();
            self.breach(format!("a new life begins as {now:?}, durable is {disk:?}"));
        }
    }

    fn goes_forward(&mut self, before: ObservedState, now: ObservedState) {
        let (old, new) = (before.hard_state, now.hard_state);
        let revoked = old.term == new.term && old.vote.is_some() && old.vote != new.vote;
        let back = new.term < old.term
            || revoked
            || now.durable.term < before.durable.term
            || now.commit < before.commit
            || now.dispatched < before.dispatched
            || now.applied < before.applied
            || now.snapshot.index < before.snapshot.index
            || now.log_start.index < before.log_start.index;
        if back {
            self.breach(format!("something goes back: {now:?} after {before:?}"));
        }
    }

    fn in_order(&mut self, before: Option<ObservedState>, now: ObservedState) {
        let known = &mut self.peers[now.node as usize];
        let changed = before.is_none_or(|before| before.snapshot != now.snapshot);
        if changed {
            // An install brings the commit index along; the service follows when it is told.
            known.installed = before.is_some_and(|before| before.commit < now.snapshot.index);
        }
        let applied = now.snapshot.index <= now.applied || known.installed;
        let ordered = now.log_start.index <= now.snapshot.index
            && applied
            && now.snapshot.index <= now.dispatched
            && now.applied <= now.dispatched
            && now.dispatched <= now.commit
            && now.commit <= now.last.index
            && now.persisted <= now.last.index
            && now.durable.term <= now.hard_state.term;
        if !ordered {
            self.breach(format!("positions out of order: {now:?}"));
        }
    }

    /// What a peer counts as committed is the history, or the next part of it.
    fn commits(&mut self, before: Option<ObservedState>, now: ObservedState, log: LogIds<'_>) {
        let (from, known) = (before.map_or(0, |before| before.commit), self.history.len());
        for index in from.max(now.log_start.index.max(1) - 1) + 1..=now.commit {
            let Some(term) = log.term_at(index) else { continue };
            match self.history.get(index as usize - 1) {
                Some(committed) if committed.term == term => {}
                Some(committed) => {
                    let known = LogId::new(committed.term, index);
                    self.breach(format!(
                        "peer {} commits {index}@{term}, committed is {known}",
                        now.node
                    ));
                }
                None => self.extends_history(index, term, now),
            }
        }
        // The term may have changed in the same turn, after the commit.
        let term = before.map_or(now.hard_state.term, |before| before.hard_state.term);
        let last = self.history.last().map_or(0, |committed| committed.term);
        if self.history.len() > known && last < term {
            self.breach(format!("committed first by an entry of term {last}: {now:?}"));
        }
    }

    fn extends_history(&mut self, index: u64, term: Term, now: ObservedState) {
        if index != self.history.len() as u64 + 1 {
            let known = self.history.len();
            return self.breach(format!("peer {} commits {index}, {known} are known", now.node));
        }
        self.history.push(Committed { term, in_term: now.hard_state.term });
        for peer in &mut self.peers {
            // A disk that holds more than the history so far may hold this one, too.
            if peer.holds + 1 == index && peer.disk.term_at(index) == Some(term) {
                peer.holds = index;
            }
        }
        self.on_a_quorum(&format!("peer {} commits {index}@{term}", now.node));
    }

    fn on_a_quorum(&mut self, after: &str) {
        let committed = self.history.len() as u64;
        let holders = self.peers.iter().filter(|peer| peer.holds >= committed).count();
        if holders <= self.peers.len() / 2 {
            self.breach(format!(
                "{after}: only {holders} disks hold the {committed} committed entries"
            ));
        }
    }

    fn leads(&mut self, before: Option<ObservedState>, now: ObservedState, log: LogIds<'_>) {
        let term = now.hard_state.term;
        let leader = (now.node, now.incarnation);
        let known = *self.leaders.entry(term).or_insert(leader);
        if known != leader {
            self.breach(format!("two leaders of term {term}: {known:?} and {leader:?}"));
        }
        match before.filter(|before| before.role == Role::Leader && before.hard_state.term == term)
        {
            Some(before) if now.last.index < before.last.index => {
                self.breach(format!("a leader removes entries: {now:?} after {before:?}"));
            }
            Some(_) => {}
            None => self.is_complete(now, log),
        }
    }

    fn is_complete(&mut self, now: ObservedState, log: LogIds<'_>) {
        for (index, committed) in (1..).zip(&self.history).skip(now.log_start.index as usize) {
            let earlier = committed.in_term < now.hard_state.term;
            if earlier && log.term_at(index) != Some(committed.term) {
                let missing = LogId::new(committed.term, index);
                return self.breach(format!("a leader without {missing}: {now:?}"));
            }
        }
    }

    /// The disk has what the peer counts as durable.
    fn believes_what_is(&mut self, now: ObservedState, log: LogIds<'_>) {
        let disk = &self.peers[now.node as usize].disk;
        let held = now.persisted <= now.log_start.index
            || disk.term_at(now.persisted) == log.term_at(now.persisted);
        let (on_disk, believed) = (disk.hard_state, now.durable);
        let unless_voted = believed.vote.is_none() || believed.vote == on_disk.vote;
        let saved = on_disk.term > believed.term || on_disk.term == believed.term && unless_voted;
        if !(held && saved) {
            let disk = disk.clone();
            self.breach(format!("durable for a peer, and not on its disk: {now:?} of {disk:?}"));
        }
    }

    // ---- a disk --------------------------------------------------------------------------

    fn finish_writes(&mut self, peer: usize, now: Instant) {
        while self.peers[peer].writing.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, change)) = self.peers[peer].writing.pop_front() {
                self.written(peer, &change);
            }
        }
    }

    fn written(&mut self, peer: usize, change: &LogChange) {
        let disk = &mut self.peers[peer].disk;
        let (old, old_snapshot) = (disk.hard_state, disk.snapshot);
        disk.change(change);
        let (new, new_snapshot) = (disk.hard_state, disk.snapshot);
        let revoked = old.term == new.term && old.vote.is_some() && old.vote != new.vote;
        if new.term < old.term || revoked || new_snapshot.index < old_snapshot.index {
            self.breach(format!(
                "peer {peer}: {change:?} goes back behind {old:?}, {old_snapshot}"
            ));
        }
        self.logs_match(peer, change);
        self.keeps_committed(peer, change);
    }

    /// Entries with one id have one predecessor and one content, wherever they stand; so logs that share an id agree on everything
    /// before it.
    fn logs_match(&mut self, peer: usize, change: &LogChange) {
        let Some(first) = change.append.first() else { return };
        let disk = &self.peers[peer].disk;
        // Appended and purged in one step: nothing to compare with.
        let mut prev = disk.term_at(first.log_id.index - 1);
        let mut breach = None;
        for entry in &change.append {
            let Some(prev_term) = prev.replace(entry.log_id.term) else { continue };
            let fact = (prev_term, entry.data.clone());
            let known = self.written.entry(entry.log_id).or_insert_with(|| fact.clone());
            if *known != fact {
                breach = Some(format!(
                    "peer {peer} writes {} behind a term {prev_term}, elsewhere {known:?}",
                    entry.log_id
                ));
            }
        }
        if let Some(breach) = breach {
            self.breach(breach);
        }
    }

    fn keeps_committed(&mut self, peer: usize, change: &LogChange) {
        let known = &mut self.peers[peer];
        let before = known.holds;
        let covered = known.disk.start.index.max(known.disk.snapshot.index);
        let mut holds = before.min(known.disk.last()).max(covered.min(self.history.len() as u64));
        while holds > covered
            && known.disk.term_at(holds) != Some(self.history[holds as usize - 1].term)
        {
            holds -= 1;
        }
        while self
            .history
            .get(holds as usize)
            .is_some_and(|next| known.disk.term_at(holds + 1) == Some(next.term))
        {
            holds += 1;
        }
        known.holds = holds;
        if holds < before {
            self.breach(format!(
                "peer {peer} removes a committed entry: holds {holds} of {before} after {change:?}"
            ));
        }
        let id = self.peers[peer].disk.snapshot;
        let wrong = id.index > 0
            && self
                .history
                .get(id.index as usize - 1)
                .is_none_or(|committed| committed.term != id.term);
        if wrong {
            self.breach(format!("peer {peer} records a snapshot of {id}, which is not committed"));
        }
    }

    // ---- messages and applies ------------------------------------------------------------

    /// No message carries a term that is not durable, no vote is granted that is not, and nothing acknowledged that is not.
    fn sent(&mut self, envelope: &Envelope) {
        let disk = &self.peers[envelope.from as usize].disk;
        let (term, voted) = (disk.hard_state.term, disk.hard_state.vote);
        let stood_for = |candidate| term > envelope.term || voted == Some(candidate);
        let held = |matched: u64| matched <= disk.last();
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
            let disk = disk.clone();
            self.breach(format!("a message of what is not durable: {envelope:?} of {disk:?}"));
        }
    }

    fn applied(&mut self, peer: usize, entry: &Entry) {
        let id = entry.log_id;
        let committed = self
            .history
            .get(id.index as usize - 1)
            .is_some_and(|committed| committed.term == id.term);
        let same = self.written.get(&id).is_some_and(|(_, data)| *data == entry.data);
        if !(committed && same) {
            self.breach(format!(
                "peer {peer} applies {id}, committed: {committed}, as it was written: {same}"
            ));
        }
    }
    /// The grant of an install comes after its durable step (B6).
    fn taken(&mut self, peer: usize, log_id: LogId) {
        let durable = self.peers[peer].disk.snapshot;
        if durable.index < log_id.index {
            self.breach(format!("peer {peer} takes snapshot {log_id}, durable is {durable}"));
        }
    }
}
