//! What state machines do: the committed entries, one by one, in order, everywhere to the same effect.

use crate::raft::{Entry, Index, LogId, NodeId};

use super::Judge;

impl Judge {
    /// A member's state machine begins a life behind `index`, in the state with this digest.
    pub(in crate::simulation) fn restored(&mut self, member: NodeId, index: Index, digest: u64) {
        self.known(member).applied = Some(index);
        self.in_state(member, index, digest);
    }

    /// A member's state machine has applied an entry; `digest` is of the state behind it.
    pub(in crate::simulation) fn applied(&mut self, member: NodeId, entry: &Entry, digest: u64) {
        let id = entry.log_id;
        let before = self.known(member).applied.replace(id.index);
        if before.is_some_and(|before| before + 1 != id.index) {
            let what = format!("n{member} applies {id} behind {before:?}");
            self.accuse("no gap, no repeat", what);
        }
        self.is_committed(member, entry);
        self.in_state(member, id.index, digest);
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
            self.accuse("applied is committed", what);
        }
    }

    /// A member's state machine takes a snapshot's state. The grant comes after its durable step (B6).
    pub(in crate::simulation) fn installed(&mut self, member: NodeId, id: LogId, digest: u64) {
        self.finish_writes(member);
        let known = self.known(member);
        let (durable, before) = (known.disk.snapshot, known.applied.replace(id.index));
        if durable.index < id.index {
            let what = format!("n{member} takes snapshot {id}, durable is {durable}");
            self.accuse("durable is durable", what);
        }
        if before.is_some_and(|before| before >= id.index) {
            let what = format!("n{member} takes snapshot {id} behind {before:?}");
            self.accuse("no gap, no repeat", what);
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
            self.accuse("equal states", what);
        }
    }
}
