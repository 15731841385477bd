//! Which stored snapshots are kept, and which one a node starts from.
//!
//! The log's record decides (A72). If the snapshot it names is missing or does not verify, an older
//! one may replace it, but only if the log still holds every entry behind that one (A76). A newer
//! one never replaces it: that would be an orphan that no durable step accepted (B10).

use super::StorageError;
use super::log_state::LogState;
use crate::raft::{LogId, SnapshotMeta};

/// Default number of snapshots kept: the current one and one to fall back to.
pub(crate) const DEFAULT_RETAINED: usize = 2;

/// An older snapshot, or none, that replaces the one named by the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Substitute {
    /// The snapshot named by the log.
    pub named: LogId,
    /// What is wrong with it.
    pub flaw: String,
    /// The replacement; the base if no snapshot is needed.
    pub older: LogId,
}

impl Substitute {
    /// Logs a warning for the operator.
    pub(crate) fn warn(&self) {
        let Substitute { named, flaw, older } = self;
        tracing::warn!(current = %named, flaw, older = %older, "a snapshot is unusable, an older one stands in");
    }
}

/// The replacement of the named snapshot, if one is needed. The inner error: there is no snapshot
/// to start from; it says why and how to correct it. The outer error: a call failed, which says
/// nothing about a snapshot.
pub(crate) type Choice<E = StorageError> = Result<Result<Option<Substitute>, String>, E>;

/// Finds the snapshot to start from and makes it the state's current one. `stored` are the ids of
/// all published snapshots; `verify` reads one completely.
pub(crate) fn choose<E>(
    state: &mut LogState,
    stored: &[LogId],
    mut verify: impl FnMut(LogId) -> Result<Result<SnapshotMeta, String>, E>,
) -> Choice<E> {
    let Some(named) = state.snapshot.clone() else { return Ok(Ok(None)) };
    let flaw = match verify(named.log_id)? {
        Ok(meta) if meta.log_id == named.log_id && meta.membership == named.membership => {
            state.snapshot = Some(meta);
            return Ok(Ok(None));
        }
        Ok(meta) => format!("is of {} with {:?}", meta.log_id, meta.membership),
        Err(flaw) => flaw,
    };
    let mut older: Vec<_> =
        stored.iter().filter(|id| id.index < named.log_id.index && state.holds(**id)).collect();
    older.sort_by_key(|id| std::cmp::Reverse(id.index));
    let mut substitute = None;
    for &id in older {
        substitute = verify(id)?.ok().filter(|meta| meta.log_id == id);
        if substitute.is_some() {
            break;
        }
    }
    let substitute_id = substitute.as_ref().map_or(LogId::BASE, |meta| meta.log_id);
    if !state.holds(substitute_id) {
        return Ok(Err(format!(
            "the current snapshot {} {flaw}, and the log starts after {}: restore the file, or replace this node",
            named.log_id, state.start
        )));
    }
    let substituted = state.fall_back(substitute.as_ref());
    Ok(substituted.map(|()| Some(Substitute { named: named.log_id, flaw, older: substitute_id })))
}

/// The stored snapshots that are obsolete once the log's record names `current`. Newer ones stay:
/// one of them may be published before its record is written (B10).
pub(crate) fn superfluous(
    stored: &[LogId],
    current: LogId,
    keep: Option<LogId>,
    retained: usize,
) -> Vec<LogId> {
    let mut older: Vec<LogId> =
        stored.iter().copied().filter(|id| id.index < current.index).collect();
    older.sort_by_key(|id| std::cmp::Reverse(id.index));
    let needless = older.into_iter().skip(retained.saturating_sub(1));
    needless.filter(|id| Some(*id) != keep).collect()
}

/// The stored snapshots to remove at a start: the obsolete ones, and all that no record names,
/// because no later record will name them.
pub(crate) fn swept(stored: &[LogId], current: LogId, retained: usize) -> Vec<LogId> {
    let orphans = stored.iter().copied().filter(|id| id.index >= current.index && *id != current);
    superfluous(stored, current, None, retained).into_iter().chain(orphans).collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::raft::Membership;

    fn id(index: u64) -> LogId {
        LogId::new(1, index)
    }

    fn meta(index: u64) -> SnapshotMeta {
        SnapshotMeta { log_id: id(index), membership: Membership::of_voters([1]), size_bytes: 5 }
    }

    /// A log of ten entries with a snapshot at 8, purged through `purged`.
    fn log(purged: u64) -> LogState {
        let mut state = LogState::default();
        (1..=10).for_each(|index| state.append(id(index)).unwrap());
        state.record_snapshot(&meta(8)).unwrap();
        state.purge(id(purged)).unwrap();
        state
    }

    fn chosen(purged: u64, stored: &[u64], good: &[u64]) -> Result<Option<u64>, String> {
        let mut state = log(purged);
        let stored: Vec<_> = stored.iter().map(|&index| id(index)).collect();
        choose(&mut state, &stored, |id| {
            Ok(if good.contains(&id.index) { Ok(meta(id.index)) } else { Err("is damaged".into()) })
        })
        .unwrap_or_else(|never: Infallible| match never {})?;
        Ok(state.snapshot.map(|meta| meta.log_id.index))
    }

    #[test]
    fn a72_the_record_decides_never_a_newer_orphan() {
        assert_eq!(chosen(4, &[4, 8, 9], &[4, 8, 9]), Ok(Some(8)));
        assert_eq!(chosen(4, &[4, 8, 9], &[4, 9]), Ok(Some(4)));
    }

    #[test]
    fn a76_an_older_one_stands_in_only_where_the_log_reaches_it() {
        assert_eq!(chosen(4, &[2, 4, 6, 8], &[2, 4]), Ok(Some(4)));
        assert!(chosen(5, &[4, 8], &[4]).unwrap_err().contains("starts after 5@1"));
        assert_eq!(chosen(0, &[], &[]), Ok(None), "the log reaches back to the base");
    }

    #[test]
    fn sn10_retention_spares_the_one_being_installed() {
        let stored: Vec<_> = [2, 4, 6, 8, 9, 11].into_iter().map(id).collect();
        assert_eq!(superfluous(&stored, id(8), Some(id(2)), 2), [id(4)]);
        assert_eq!(superfluous(&stored, id(8), None, 1), [id(6), id(4), id(2)]);
    }

    #[test]
    fn ps25_retention_spares_a_newer_one_whose_record_is_on_its_way() {
        let stored: Vec<_> = [6, 8, 9].into_iter().map(id).collect();
        assert_eq!(superfluous(&stored, id(8), None, 1), [id(6)]);
        assert_eq!(swept(&stored, id(8), 1), [id(6), id(9)], "the next start no longer names it");
    }
}
