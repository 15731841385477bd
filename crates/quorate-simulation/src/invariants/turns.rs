//! Checks after each turn: what a member believes, commits and leads.

use quorate::raft::{Index, LogId, LogIds, NodeId, Observation, ObservedState, Role, Term};

use super::{Committed, Excuse, InvariantChecker};

impl InvariantChecker {
    /// The end of a member's turn, before any of its output leaves.
    pub(crate) fn turn(&mut self, observation: &Observation<'_>) {
        let (now, log) = (observation.state, observation.log);
        self.finish_writes(now.node);
        let before = self.known(now.node).seen.replace(now);
        if before == Some(now) {
            return;
        }
        match before.filter(|before| before.incarnation == now.incarnation) {
            Some(before) => self.goes_forward(before, now),
            None => self.begins_as_stored(now),
        }
        self.follows_excuse(now);
        self.in_order(before, now);
        self.commits(before, now, log);
        self.keeps_logged(now, log);
        if now.role == Role::Leader {
            self.leads(before, now, log);
        }
        self.believes_what_is(now, log);
    }

    /// A new incarnation first continues from the durable state.
    fn begins_as_stored(&mut self, now: ObservedState) {
        let disk = &self.known(now.node).disk;
        let same = now.hard_state == disk.hard_state
            && now.snapshot == disk.snapshot
            && now.last.index == disk.last();
        if !same {
            let disk = disk.clone();
            self.report_breach(
                "durable is durable",
                format!("a new life begins as {now:?}, durable is {disk:?}"),
            );
        }
    }

    fn follows_excuse(&mut self, now: ObservedState) {
        let known = self.known(now.node);
        if known.excused == Some(Excuse::Unnoticed) && now.recovering {
            known.excused = Some(Excuse::Recovering);
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
            self.report_breach("nothing goes back", format!("{now:?} after {before:?}"));
        }
    }

    fn in_order(&mut self, before: Option<ObservedState>, now: ObservedState) {
        let known = self.known(now.node);
        let changed = before.is_none_or(|before| before.snapshot != now.snapshot);
        if changed {
            // An install advances the commit index; the state machine follows when it is informed.
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
            self.report_breach("positions in order", format!("{now:?}"));
        }
    }

    /// What a member counts as committed is a prefix of the history, or extends it.
    fn commits(&mut self, before: Option<ObservedState>, now: ObservedState, log: LogIds<'_>) {
        let before = before.filter(|before| before.incarnation == now.incarnation);
        let (from, known) = (before.map_or(0, |before| before.commit), self.history.len());
        for index in from.max(now.log_start.index.max(1) - 1) + 1..=now.commit {
            let Some(term) = log.term_at(index) else { continue };
            match self.history.get(index as usize - 1) {
                Some(committed) if committed.term == term => {}
                Some(committed) => {
                    let committed = LogId::new(committed.term, index);
                    let what = format!("n{} commits {index}@{term}, not {committed}", now.node);
                    self.report_breach("committed history", what);
                }
                None => self.extends_history(index, term, now),
            }
        }
        if self.history.len() > known {
            self.on_a_quorum(&format!("n{} commits", now.node));
            // The term may have changed in the same turn, after the commit.
            let term = before.map_or(now.hard_state.term, |before| before.hard_state.term);
            if self.history.last().is_some_and(|committed| committed.term < term) {
                let what = format!("the first to commit an entry of an earlier term: {now:?}");
                self.report_breach("commit by counting only the own term", what);
            }
        }
    }

    /// A member truncates nothing of its log that was committed in its term or before. What a later
    /// term committed may go: the member still follows a leader of an earlier one, and others hold
    /// the entry.
    fn keeps_logged(&mut self, now: ObservedState, log: LogIds<'_>) {
        let start = now.log_start.index;
        let committed = self.committed().min(now.last.index);
        let agrees = |index: Index| log.term_at(index) == self.term_of(index);
        let logged = (start + 1..=committed).rev().find(|index| agrees(*index)).unwrap_or(start);
        self.truncates(now, logged);
    }

    /// The log held the history up to an index, and now does up to `logged`.
    pub(super) fn truncates(&mut self, now: ObservedState, logged: Index) {
        let known = self.known(now.node);
        let before = std::mem::replace(&mut known.logged, logged);
        let excused = known.excused.is_some();
        let mut lost = (logged + 1..=before).filter_map(|index| self.history_at(index));
        let is_breach = lost.any(|committed| committed.in_term <= now.hard_state.term);
        if is_breach && !excused {
            let what = format!("n{} truncates {before} entries to {logged}: {now:?}", now.node);
            self.report_breach("committed entries stay", what);
        }
    }

    fn term_of(&self, committed: Index) -> Option<Term> {
        self.history_at(committed).map(|committed| committed.term)
    }

    fn history_at(&self, index: Index) -> Option<Committed> {
        self.history.get(index.checked_sub(1)? as usize).copied()
    }

    fn extends_history(&mut self, index: Index, term: Term, now: ObservedState) {
        if index != self.committed() + 1 {
            let known = self.committed();
            let what = format!("n{} commits {index}, {known} are known", now.node);
            return self.report_breach("committed history", what);
        }
        self.history.push(Committed { term, in_term: now.hard_state.term });
        for known in self.members.values_mut() {
            // A disk that holds more than the history so far may hold this entry, too.
            if known.holds + 1 == index && known.disk.term_at(index) == Some(term) {
                known.holds = index;
            }
        }
    }

    fn leads(&mut self, before: Option<ObservedState>, now: ObservedState, log: LogIds<'_>) {
        self.led_uncommitted_bytes = self.led_uncommitted_bytes.max(now.uncommitted_bytes);
        let term = now.hard_state.term;
        let leader = (now.node, now.incarnation);
        let known = *self.leaders.entry(term).or_insert(leader);
        if known != leader {
            let what = format!("two leaders of term {term}: {known:?} and {leader:?}");
            self.report_breach("one leader a term", what);
        }
        match before.filter(|before| before.role == Role::Leader && before.hard_state.term == term)
        {
            Some(before) if now.last.index < before.last.index => {
                self.report_breach("a leader removes nothing", format!("{now:?} after {before:?}"));
            }
            Some(before) => self.keeps_log_for_transfers(before, now),
            None => {
                self.is_elected(now);
                self.is_complete(now, log);
            }
        }
    }

    /// Votes are sent once they are durable, or once a later term is. So a leader has the votes of a
    /// quorum, and none of them can be given again.
    pub(super) fn is_elected(&mut self, now: ObservedState) {
        let members: Vec<NodeId> = self.members.keys().copied().collect();
        members.iter().for_each(|&member| self.finish_writes(member));
        let votes = self.votes.get(&(now.hard_state.term, now.node));
        if !self.quorums.are(|node| votes.is_some_and(|votes| votes.contains(&node))) {
            self.report_breach("elected by a quorum", format!("a leader by {votes:?}: {now:?}"));
        }
    }

    fn is_complete(&mut self, now: ObservedState, log: LogIds<'_>) {
        let first = now.log_start.index as usize;
        let missing = (1..).zip(&self.history).skip(first).find(|(index, committed)| {
            committed.in_term < now.hard_state.term && log.term_at(*index) != Some(committed.term)
        });
        if let Some((index, committed)) = missing {
            let missing = LogId::new(committed.term, index);
            self.report_breach(
                "leader completeness",
                format!("a leader without {missing}: {now:?}"),
            );
        }
    }

    /// The disk has what the member counts as durable.
    fn believes_what_is(&mut self, now: ObservedState, log: LogIds<'_>) {
        let disk = &self.known(now.node).disk;
        let held = now.persisted <= now.log_start.index
            || now.persisted <= disk.start.index
            || disk.term_at(now.persisted) == log.term_at(now.persisted);
        let (on_disk, believed) = (disk.hard_state, now.durable);
        let unless_voted = believed.vote.is_none() || believed.vote == on_disk.vote;
        let saved = on_disk.term > believed.term || on_disk.term == believed.term && unless_voted;
        if !(held && saved) {
            let disk = disk.clone();
            let what = format!("durable for a member and not on its disk: {now:?} of {disk:?}");
            self.report_breach("durable is durable", what);
        }
    }
}
