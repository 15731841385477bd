//! Checks of state machines: committed entries are applied one by one, in order, with the same
//! effect on all members.

use quorate::raft::{Entries, Entry, Index, LogId, NodeId};

use super::InvariantChecker;

impl InvariantChecker {
    /// A member's state machine begins an incarnation at `index`, in the state with this digest.
    pub(crate) fn restored(&mut self, member: NodeId, index: Index, digest: u64) {
        self.known(member).applied = Some(index);
        self.in_state(member, index, digest);
    }

    /// A member's state machine has applied an entry; `digest` is of the state after it.
    pub(crate) fn applied(&mut self, member: NodeId, entry: &Entry, digest: u64) {
        let id = entry.log_id;
        let before = self.known(member).applied.replace(id.index);
        if before.is_some_and(|before| before + 1 != id.index) {
            let what = format!("n{member} applies {id} behind {before:?}");
            self.report_breach("no gap, no repeat", what);
        }
        self.is_committed(member, entry);
        self.in_state(member, id.index, digest);
    }

    /// A member's apply side receives entries, whether it applies them or not.
    pub(crate) fn handed_out(&mut self, member: NodeId, entries: &Entries) {
        entries.iter().for_each(|entry| self.is_committed(member, entry));
    }

    /// A member's apply side is offered a snapshot, which covers only committed entries.
    pub(crate) fn offered(&mut self, member: NodeId, id: LogId) {
        let committed = self.history.get(id.index as usize - 1);
        if committed.is_none_or(|committed| committed.term != id.term) {
            let what = format!("n{member} is offered a snapshot of {id}, committed {committed:?}");
            self.report_breach("applied is committed", what);
        }
    }

    /// A snapshot that a member's apply side returned is reported as current: it must be current
    /// and durable.
    pub(crate) fn kept(&mut self, member: NodeId, id: LogId) {
        self.finish_writes(member);
        let durable = self.known(member).disk.snapshot;
        if durable.index < id.index {
            let what = format!("n{member} says that {id} is current, durable is {durable}");
            self.report_breach("durable is durable", what);
        }
    }

    fn is_committed(&mut self, member: NodeId, entry: &Entry) {
        let id = entry.log_id;
        let place = id.index as usize - 1;
        let committed = self.history.get(place).is_some_and(|known| known.term == id.term);
        let facts = self.written.get(place).map(Vec::as_slice).unwrap_or_default();
        let same = facts.iter().any(|fact| fact.term == id.term && fact.data == entry.data);
        if !(committed && same) {
            let what =
                format!("n{member} applies {id}, committed: {committed}, as written: {same}");
            self.report_breach("applied is committed", what);
        }
    }

    /// A member's state machine installs a snapshot's state. The grant comes after its durable step
    /// (B6).
    pub(crate) fn installed(&mut self, member: NodeId, id: LogId, digest: u64) {
        self.finish_writes(member);
        let known = self.known(member);
        let (durable, before) = (known.disk.snapshot, known.applied.replace(id.index));
        if durable.index < id.index {
            let what = format!("n{member} takes snapshot {id}, durable is {durable}");
            self.report_breach("durable is durable", what);
        }
        if before.is_some_and(|before| before >= id.index) {
            let what = format!("n{member} takes snapshot {id} behind {before:?}");
            self.report_breach("no gap, no repeat", what);
        }
        self.in_state(member, id.index, digest);
    }

    /// States at one index are equal.
    fn in_state(&mut self, member: NodeId, index: Index, digest: u64) {
        let at = index as usize;
        if self.states.len() <= at {
            self.states.resize(at + 1, None);
        }
        let known = *self.states[at].get_or_insert(digest);
        if known != digest {
            let what = format!("n{member} at {index}: digest {digest:x}, elsewhere {known:x}");
            self.report_breach("equal states", what);
        }
    }
}
