//! The contract between a node and its apply side, checked message by message: see
//! [`ApplyMessage`](quorate::messages::ApplyMessage).
//!
//! | promise | broken by |
//! |---|---|
//! | the restored state comes first, once, if the link says so | another time, work before it |
//! | an item comes for each pull, one at a time | work that was not pulled |
//! | between an offer and its decision no work comes | an item before the decision |
//! | a batch follows the last one, or a snapshot granted since | a gap, a repeat |
//! | a reply comes with its entry, once | a reply without an entry of its batch |
//! | an offer holds the state at its entry, beyond what is applied | another state, an old state |
//! | a decision comes once for each question, about what was asked | any other decision |
//! | a read waits for a committed index | a higher index |
//!
//! A stopping node sends what is left without being pulled: then only the order is checked, and an
//! offer that is held is void.
//!
//! *What it does not do:* that entries are committed, and grants durable, is checked by the
//! [invariant checker](super::super::invariants).

use quorate::messages::CommittedBatch;
use quorate::raft::{Index, InstallDecision, LogId};

/// What an apply side has received so far.
#[derive(Debug, Default)]
pub(super) struct Contract {
    /// The initial state is still to come.
    restores: bool,
    /// The apply side has pulled an item that has not come.
    pulled: bool,
    /// The last entry that came.
    handed: Index,
    /// The last snapshot that it installed.
    switched: Index,
    /// The offer that it holds, and whether it has asked about it.
    offer: Option<(LogId, bool)>,
}

/// `Err`: how a promise was broken.
pub(super) type Kept = Result<(), String>;

fn promised(kept: bool, what: impl FnOnce() -> String) -> Kept {
    if kept { Ok(()) } else { Err(what()) }
}

impl Contract {
    /// Nothing has come yet.
    pub(super) fn new(restores: bool) -> Contract {
        Contract { restores, ..Contract::default() }
    }

    /// The initial state comes.
    pub(super) fn restored(&mut self, log_id: LogId) -> Kept {
        promised(std::mem::take(&mut self.restores), || {
            format!("restored to {log_id} a second time, or though nothing was to be restored")
        })?;
        promised(log_id.index > 0, || format!("restored to {log_id}"))?;
        (self.handed, self.switched) = (log_id.index, log_id.index);
        Ok(())
    }

    /// The apply side pulls an item.
    pub(super) fn pulls(&mut self) {
        self.pulled = true;
    }

    /// An item comes. `runs`: the node is not stopping.
    pub(super) fn item(&mut self, what: &str, runs: bool) -> Kept {
        let pulled = std::mem::take(&mut self.pulled);
        if !runs {
            self.offer = None;
            return Ok(());
        }
        promised(!self.restores, || format!("{what} before the restored state"))?;
        let offer = self.offer;
        promised(offer.is_none(), || format!("{what} while an offer is undecided: {offer:?}"))?;
        promised(pulled, || format!("{what} was not pulled"))
    }

    /// A batch comes, in an item.
    pub(super) fn entries(&mut self, batch: &CommittedBatch, runs: bool) -> Kept {
        let ids: Vec<LogId> = batch.entries.iter().map(|entry| entry.log_id).collect();
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
            return Err("a batch without entries".into());
        };
        let in_order = ids.windows(2).all(|two| {
            two[0].index.checked_add(1) == Some(two[1].index) && two[0].term <= two[1].term
        });
        promised(in_order, || format!("a batch with a gap or a repeat: {ids:?}"))?;
        let (handed, switched) = (self.handed, self.switched);
        // Entries queued before an install that covers them may end before the entries after it.
        let is_covered = first.index == handed + 1 && last.index <= switched;
        let goes_on = is_covered || first.index == handed.max(switched) + 1;
        // A stopping node may not get to report that an install was granted.
        promised(goes_on || !runs && first.index > handed, || {
            format!("{first} to {last} behind {handed}, switched to {switched}")
        })?;
        let mut places = ids.iter().map(|id| id.index);
        let with_entry = batch.replies.iter().all(|(index, _)| places.any(|place| place == *index));
        promised(with_entry, || {
            let replies: Vec<Index> = batch.replies.iter().map(|(index, _)| *index).collect();
            format!("replies for {replies:?} with entries {first} to {last}")
        })?;
        self.handed = last.index;
        Ok(())
    }

    /// An offer comes, in an item, while `applied` is applied.
    pub(super) fn offered(&mut self, log_id: LogId, holds: Option<LogId>, applied: Index) -> Kept {
        promised(holds == Some(log_id), || {
            format!("offered {log_id} with the state behind {holds:?}")
        })?;
        promised(log_id.index > applied, || format!("offered {log_id}, applied is {applied}"))?;
        self.offer = Some((log_id, false));
        Ok(())
    }

    /// The apply side asks about the offer that it holds.
    pub(super) fn asks(&mut self) -> Option<LogId> {
        let (log_id, asked) = self.offer.as_mut()?;
        *asked = true;
        Some(*log_id)
    }

    /// The decision comes.
    pub(super) fn decided(&mut self, decision: InstallDecision, runs: bool) -> Kept {
        let offer = self.offer.take();
        let is_asked = offer == Some((decision.log_id, true));
        promised(is_asked || !runs, || format!("{decision:?}, offered and asked is {offer:?}"))?;
        if decision.granted && is_asked {
            let (index, handed, switched) = (decision.log_id.index, self.handed, self.switched);
            promised(index > handed.max(switched), || {
                format!("{decision:?} behind {handed}, switched to {switched}")
            })?;
            self.switched = index;
        }
        Ok(())
    }

    /// A read comes that waits for `index`, while `committed` is committed.
    pub(super) fn read_at(&self, index: Index, committed: Index) -> Kept {
        promised(index <= committed, || format!("a read at {index}, {committed} is committed"))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use quorate::raft::{Entry, EntryKind};

    fn batch(indexes: impl IntoIterator<Item = Index>) -> CommittedBatch {
        let entry = |index| Entry {
            log_id: LogId::new(1, index),
            kind: EntryKind::Blank,
            stamp_ms: 0,
            data: Bytes::new(),
        };
        let entries: Vec<Entry> = indexes.into_iter().map(entry).collect();
        CommittedBatch { entries: entries.into(), replies: Vec::new() }
    }

    fn comes(contract: &mut Contract, indexes: impl IntoIterator<Item = Index>) -> Kept {
        contract.pulls();
        contract.item("entries", true)?;
        contract.entries(&batch(indexes), true)
    }

    fn offer(contract: &mut Contract, index: Index) -> Kept {
        contract.pulls();
        contract.item("an offer", true)?;
        contract.offered(LogId::new(1, index), Some(LogId::new(1, index)), 0)
    }

    fn decision(index: Index, granted: bool) -> InstallDecision {
        InstallDecision { log_id: LogId::new(1, index), granted }
    }

    /// Has applied 1 to 3, holds the offer of 10 and has asked.
    fn asking() -> Contract {
        let mut contract = Contract::new(false);
        assert_eq!(comes(&mut contract, 1..=3), Ok(()));
        assert_eq!(offer(&mut contract, 10), Ok(()));
        assert_eq!(contract.asks(), Some(LogId::new(1, 10)));
        contract
    }

    #[test]
    fn what_is_promised_passes() {
        let mut contract = asking();
        assert_eq!(contract.decided(decision(10, true), true), Ok(()));
        // Queued before the install that covers it.
        assert_eq!(comes(&mut contract, 4..=5), Ok(()));
        assert_eq!(comes(&mut contract, 11..=12), Ok(()));
        let mut refused = asking();
        assert_eq!(refused.decided(decision(10, false), true), Ok(()));
        assert_eq!(comes(&mut refused, 4..=11), Ok(()));
        let mut stopping = asking();
        assert_eq!(stopping.item("entries", false), Ok(()));
        assert_eq!(stopping.entries(&batch(4..=5), false), Ok(()));
        let mut restored = Contract::new(true);
        assert_eq!(restored.restored(LogId::new(1, 7)), Ok(()));
        assert_eq!(comes(&mut restored, 8..=9), Ok(()));
    }

    #[test]
    fn gaps_and_repeats_are_found() {
        let broken: [&[Index]; 5] = [&[3, 4], &[5], &[4, 6], &[4, 4], &[]];
        for indexes in broken {
            let mut contract = Contract::new(false);
            assert_eq!(comes(&mut contract, 1..=3), Ok(()));
            assert!(comes(&mut contract, indexes.to_vec()).is_err(), "{indexes:?}");
        }
        let broken: [&[Index]; 4] = [&[3], &[12], &[10, 11], &[4, 5, 11]];
        for indexes in broken {
            let mut contract = asking();
            assert_eq!(contract.decided(decision(10, true), true), Ok(()));
            let kept = comes(&mut contract, indexes.to_vec());
            assert!(kept.is_err(), "{indexes:?} behind an install");
        }
    }

    #[test]
    fn what_comes_at_the_wrong_time_is_found() {
        assert!(comes(&mut asking(), 4..=4).is_err(), "while an offer is undecided");
        let mut unpulled = Contract::new(false);
        assert!(unpulled.item("entries", true).is_err());
        assert!(comes(&mut Contract::new(true), 1..=1).is_err(), "before the restored state");
        assert!(Contract::new(false).restored(LogId::new(1, 7)).is_err());
        let mut twice = Contract::new(true);
        assert_eq!(twice.restored(LogId::new(1, 7)), Ok(()));
        assert!(twice.restored(LogId::new(1, 8)).is_err());
        assert!(Contract::new(false).read_at(5, 4).is_err());
    }

    #[test]
    fn decisions_that_were_not_asked_for_are_found() {
        let mut unasked = Contract::new(false);
        assert_eq!(offer(&mut unasked, 10), Ok(()));
        assert!(unasked.decided(decision(10, true), true).is_err());
        assert!(asking().decided(decision(9, false), true).is_err(), "of another snapshot");
        let mut twice = asking();
        assert_eq!(twice.decided(decision(10, false), true), Ok(()));
        assert!(twice.decided(decision(10, false), true).is_err());
        let (old, new) = (LogId::new(1, 2), LogId::new(1, 10));
        assert!(Contract::new(false).offered(new, Some(old), 0).is_err(), "another state");
        assert!(Contract::new(false).offered(new, Some(new), 10).is_err(), "an old one");
    }
}
