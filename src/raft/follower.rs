//! A follower's half of log replication: the consistency check, conflicts, commit (Raft §5.3).
//!
//! An acknowledgement leaves with the step that makes the entries durable. Rejects and the answers
//! to heartbeats leave at once.

use super::core::Raft;
use super::log::Entries;
use super::message::{Answer, Append, AppendAnswer, AppendOutcome, Envelope};
use super::state::{RoleState, quorum};
use super::types::{Entry, Index};

/// What an AppendEntries means for the own log.
enum Comparison {
    /// `prev` is not in the log.
    Gap,
    /// The message agrees with the log. These entries are not in the log yet; once conflicting
    /// entries are removed, the log ends right before them.
    Extends(Entries),
    /// An entry contradicts a committed one, at this index.
    Impossible(Index),
}

impl Raft {
    pub(super) fn on_append(&mut self, request: &Envelope, append: &Append) {
        if let Err(why) = well_formed(append, request.term) {
            return self.ignore(request, why);
        }
        if let Err(why) = self.hear_leader(request.from) {
            return self.ignore(request, why);
        }
        self.agreement.report_durable(append.leader_durable);
        let last_sent = append.prev.index + append.entries.len() as u64;
        match self.compare(append) {
            Comparison::Gap => self.reject_append(request, append),
            Comparison::Impossible(index) => {
                self.alarm(format!("leader {} differs at committed index {index}", request.from));
                self.ignore(request, "contradicts a committed entry");
            }
            Comparison::Extends(new) if new.is_empty() => {
                self.accept_append(request, append, last_sent)
            }
            Comparison::Extends(new) if self.is_full(append, &new) => {
                let known = last_sent - new.len() as u64;
                self.agree_up_to(known, append.commit);
                let outcome = AppendOutcome::Busy;
                self.answer(
                    request,
                    Answer::Append(AppendAnswer { report: self.report(append.round), outcome }),
                );
            }
            Comparison::Extends(new) => {
                let first = new[0].log_id.index;
                if first <= self.log.last_index() {
                    self.truncate_from(first);
                }
                self.append_entries(&new);
                self.accept_append(request, append, last_sent);
            }
        }
        self.commit_with_leader();
        self.finish_recovering();
    }

    /// Raft figure 2, AppendEntries, steps 2 to 4. Committed entries agree with every leader, so
    /// the part of the message at or below the commit index is skipped (LR11). Entries that are in
    /// the log already stay (LR02).
    fn compare(&self, append: &Append) -> Comparison {
        let commit = self.log.commit();
        let mut prev = append.prev;
        let (entries, count) = (&append.entries, append.entries.len());
        let mut passed = 0;
        if prev.index < commit {
            passed = ((commit - prev.index) as usize).min(count);
            let differs = |entry: &&Entry| {
                self.log.term_at(entry.log_id.index).is_some_and(|t| t != entry.log_id.term)
            };
            if let Some(entry) = entries.iter().take(passed).find(differs) {
                return Comparison::Impossible(entry.log_id.index);
            }
            prev = self.log.id_at(commit);
        }
        if !self.log.holds(prev) {
            return Comparison::Gap;
        }
        let held = |entry: &&Entry| self.log.holds(entry.log_id);
        let known = passed + entries.iter().skip(passed).take_while(held).count();
        Comparison::Extends(entries.range(known..count))
    }

    /// Whether `new` would put this node above its limits, because its disk or state machine is
    /// slow.
    fn is_full(&self, append: &Append, new: &Entries) -> bool {
        let new_bytes: u64 = new.iter().map(|entry| entry.size_bytes() as u64).sum();
        let unpersisted = self.log.unpersisted_bytes();
        let disk_full =
            unpersisted > 0 && unpersisted + new_bytes > self.config.unpersisted_bytes as u64;
        disk_full || self.log_is_full() || self.compacts_before(append, new, new_bytes)
    }

    /// Whether `new` has to wait because the log would exceed its limit, and this node can compact
    /// without further entries. The committed bytes that are known are not enough to decide it: a
    /// node that starts knows no commit beyond its snapshot, and neither does a leader that starts,
    /// so the uncommitted tail may be as long as the log. If there is nothing to compact, the
    /// entries are accepted above the limit: without them nothing might ever be committed.
    fn compacts_before(&self, append: &Append, new: &Entries, new_bytes: u64) -> bool {
        let (log, config) = (&self.log, &self.config);
        let known = new[0].log_id.index - 1;
        let kept = log.bytes() - log.bytes_between(known, log.last_index());
        if config.log_bytes_max().is_none_or(|most| kept + new_bytes <= most as u64) {
            return false;
        }
        let learned = log.bytes_between(log.commit(), append.commit.min(known));
        let committed = log.committed_bytes() + learned;
        config.compacting_bytes_min().is_some_and(|enough| committed >= enough as u64)
    }

    /// The log agrees with the leader's up to `index`. Entries up to there may be committed, and no
    /// more (LR03).
    fn agree_up_to(&mut self, index: Index, leader_commit: Index) {
        self.agreement.agree(index, self.log.last_index());
        self.fast_forward_if_reached();
        self.learn_commit(leader_commit.min(index));
        self.agreement.agree(self.log.commit(), self.log.last_index());
    }

    fn learn_commit(&mut self, commit: Index) {
        if commit > self.log.commit() {
            self.log.commit_to(commit);
            self.withdraw_overtaken();
        }
    }

    /// Commits an entry of the leader's own term that is durable at the leader and here, if these
    /// two are a quorum: with two or three voters. No message has to say that it is committed
    /// (decision 008).
    pub(super) fn commit_with_leader(&mut self) {
        let RoleState::Follower { leader: Some(leader) } = self.role else { return };
        let both = self.agreement.leader_durable().min(self.matched_durable());
        let own_term = self.log.term_at(both) == Some(self.terms.term());
        if both <= self.log.commit() || !own_term || self.is_recovering() {
            return;
        }
        if quorum::is_quorum_of_two(&self.membership, self.config.node, leader) {
            self.learn_commit(both);
        }
    }

    fn accept_append(&mut self, request: &Envelope, append: &Append, last_sent: Index) {
        self.agree_up_to(last_sent, append.commit);
        let mut report = self.report(append.round);
        let outcome = AppendOutcome::Accepted;
        if append.entries.is_empty() || self.log.persisted() >= last_sent {
            self.answer(request, Answer::Append(AppendAnswer { report, outcome }));
        } else {
            report.matched = last_sent.max(report.matched);
            self.answer_after_persist(request, Answer::Append(AppendAnswer { report, outcome }));
        }
    }

    fn reject_append(&mut self, request: &Envelope, append: &Append) {
        let refused = append.prev.index;
        let floor = self.log.id_at(self.log.commit());
        let hint = self.log.last_not_above(refused, append.prev.term).max(floor);
        let outcome = AppendOutcome::Rejected { refused, hint };
        self.answer(
            request,
            Answer::Append(AppendAnswer { report: self.report(append.round), outcome }),
        );
    }
}

/// Checks that the entries follow `prev` and each other, and that a leader of `term` can have their
/// terms in this order (LR09).
fn well_formed(append: &Append, term: u64) -> Result<(), &'static str> {
    let mut previous = append.prev;
    for entry in append.entries.iter() {
        if entry.log_id.index != previous.index.wrapping_add(1) {
            return Err("entries are not contiguous");
        }
        if entry.log_id.term < previous.term || entry.log_id.term == 0 {
            return Err("terms fall within the entries");
        }
        if entry.data.len() > u32::MAX as usize - Entry::OVERHEAD_BYTES {
            return Err("an entry is too large");
        }
        previous = entry.log_id;
    }
    if previous.term > term {
        return Err("entries are of a later term than their leader");
    }
    if append.commit > previous.index || append.commit > append.leader_last {
        return Err("commits more than it vouches for");
    }
    if append.leader_durable > append.leader_last {
        return Err("more is durable than there is");
    }
    Ok(())
}
