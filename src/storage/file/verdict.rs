//! The recovery plan: the state a node continues from, after everything in its directory was read.
//!
//! | log | snapshot | the node continues |
//! |---|---|---|
//! | intact | the named one | as before |
//! | intact | an older one, and the log reaches back to it | from that one (A76) |
//! | damaged before what the snapshot covers | the named one | without the damaged part |
//! | damaged | | from the longest intact beginning, with a data loss |
//! | intact | none, and the log does not reach back | from nothing, with a data loss |
//!
//! A node with a data loss catches up from the others and does not count before that (PS20).
//! Nothing is discarded until then: the log continues in a new segment that omits the damaged part,
//! and the files stay. In a cluster of one, or with `OnDamage::Refuse`, the start is refused and
//! the error says where the damage is.
//!
//! *What it does not do:* change any file.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::log_state::LogState;
use super::super::snapshot_choice::{Choice, Substitute, choose};
use super::super::{Identity, StorageError};
use super::recovery::{Damage, Recovery};
use super::replay::Replay;
use crate::raft::{Life, LogId, Loss, SnapshotMeta, unborn};

/// The state to continue from, and how the log continues.
pub(crate) struct Verdict {
    /// The log.
    pub log: Replay,
    /// Where the log continues.
    pub onwards: Onwards,
    /// The replacement of the snapshot that the log names.
    pub substitute: Option<Substitute>,
    /// The damage that the plan leaves out.
    pub damage: Option<Damage>,
}

impl Verdict {
    /// Logs for the operator what the node continues without.
    pub(crate) fn warn(&self) {
        if let Some(substitute) = &self.substitute {
            substitute.warn();
        }
        let Some(Damage { path, offset, what }) = &self.damage else { return };
        if self.onwards != Onwards::Elsewhere {
            tracing::warn!(
                path,
                offset,
                what,
                "the log is damaged where a snapshot covers it: nothing is lost"
            );
            return;
        }
        let state = &self.log.state;
        tracing::error!(
            path,
            offset,
            what,
            goes_on_from = %state.last,
            forgot_vote = state.life.loss.is_some_and(|loss| loss.forgot_vote),
            "the storage is damaged: this node catches up from the others before it counts again; the damaged files stay \
             until then"
        );
    }
}

/// Where the log continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Onwards {
    /// At its end.
    Here {
        /// The state's snapshot is not the one the log names.
        fell_back: bool,
        /// Entries before the log's start are damaged, and not needed.
        purged: bool,
    },
    /// In a new segment: after the intact beginning, or without any of it.
    Elsewhere,
}

/// Result of reading a snapshot completely. The outer error: a call failed. The inner one: what is
/// wrong with the snapshot.
pub(crate) type Examination = Result<Result<SnapshotMeta, Damage>, StorageError>;

/// Validates the snapshots of a directory, each at most once.
pub(crate) struct Examined<'a> {
    stored: Vec<LogId>,
    read: &'a dyn Fn(LogId) -> Examination,
    outcomes: BTreeMap<LogId, Result<SnapshotMeta, Damage>>,
}

impl<'a> Examined<'a> {
    /// Validates snapshots of `stored` on demand with `read`.
    pub(crate) fn new(stored: Vec<LogId>, read: &'a dyn Fn(LogId) -> Examination) -> Examined<'a> {
        Examined { stored, read, outcomes: BTreeMap::new() }
    }

    /// The log ids in the file names.
    pub(crate) fn stored(&self) -> &[LogId] {
        &self.stored
    }

    /// Validates a snapshot unless that is done already. A failed call is no result about the
    /// snapshot, so it is read again at the next request (PS24).
    pub(crate) fn verify(&mut self, id: LogId) -> Examination {
        if let Some(outcome) = self.outcomes.get(&id) {
            return Ok(outcome.clone());
        }
        let outcome = (self.read)(id)?;
        self.outcomes.insert(id, outcome.clone());
        Ok(outcome)
    }

    /// Finds the snapshot to start from and makes it the state's. The inner error says why there is
    /// none.
    fn choose_for(&mut self, state: &mut LogState) -> Choice {
        let stored = self.stored.clone();
        choose(state, &stored, |id| Ok(self.verify(id)?.map_err(|damage| damage.to_string())))
    }

    fn is_whole(&mut self, meta: &SnapshotMeta) -> Result<bool, StorageError> {
        Ok(self.verify(meta.log_id)?.is_ok_and(|stored| stored == *meta))
    }
}

/// Makes the plan. `may_lose`: there are other members to catch up from, and the options do not
/// refuse damage.
pub(crate) fn reach(
    recovery: &mut Recovery,
    snapshots: &mut Examined<'_>,
    snapshots_path: &Path,
    identity: Identity,
    may_lose: bool,
) -> Result<Verdict, StorageError> {
    let verdict = decide(recovery, snapshots, snapshots_path, identity, may_lose)?;
    let root = snapshots_path.parent().unwrap_or(snapshots_path);
    let next = verdict.log.state.check_next_life();
    next.map_err(|what| refusal(&Damage::new(root, 0, what)))?;
    Ok(verdict)
}

fn decide(
    recovery: &mut Recovery,
    snapshots: &mut Examined<'_>,
    snapshots_path: &Path,
    identity: Identity,
    may_lose: bool,
) -> Result<Verdict, StorageError> {
    let mut log = std::mem::take(&mut recovery.log);
    let mut damage = recovery.damage.clone();
    if damage.is_none() {
        match snapshots.choose_for(&mut log.state)? {
            Ok(substitute) => {
                let onwards = Onwards::Here { fell_back: substitute.is_some(), purged: false };
                return Ok(Verdict { log, onwards, substitute, damage });
            }
            Err(what) => {
                let what = format!("lacks a snapshot to begin with: {what}");
                damage = Some(Damage::new(snapshots_path, 0, what));
                recovery.beyond = Some(std::mem::take(&mut log));
            }
        }
    } else if let Some(mut beyond) = recovery.beyond.take() {
        if beyond.purge_missing()
            && let Ok(substitute) = snapshots.choose_for(&mut beyond.state)?
        {
            let onwards = Onwards::Here { fell_back: substitute.is_some(), purged: true };
            return Ok(Verdict { log: beyond, onwards, substitute, damage });
        }
        recovery.beyond = Some(beyond);
    }
    let damage = damage.unwrap_or_else(|| Damage::new(snapshots_path, 0, "is damaged"));
    if !may_lose {
        return Err(refusal(&damage));
    }
    let known = recovery.beyond.as_ref().map(|beyond| &beyond.state);
    // Unreadable incarnations may have been counted; only a new creation time is certainly later.
    let born_again = if known.is_none() { unborn(identity.created_at_ms) } else { 0 };
    let life = lossy_life(known, &log.state, recovery.incarnation.max(born_again));
    longest_beginning(&mut log, known, snapshots)?;
    log.state.life = life;
    if let Some(known) = known {
        log.state.hard_state = known.hard_state;
        log.state.known_peers = known.known_peers.clone();
    }
    Ok(Verdict { log, onwards: Onwards::Elsewhere, substitute: None, damage: Some(damage) })
}

/// The incarnation record after a data loss. If the end of the log is readable, the node knows its
/// vote and the entries it held.
fn lossy_life(known: Option<&LogState>, beginning: &LogState, incarnation: u64) -> Life {
    let state = known.unwrap_or(beginning);
    let earlier = state.life.loss;
    let forgot_vote = known.is_none() || earlier.is_some_and(|loss| loss.forgot_vote);
    let held = known.map(|state| LogId {
        term: state.term_at(state.last).unwrap_or(state.start.term),
        index: state.last,
    });
    let last = match earlier {
        _ if forgot_vote => None,
        Some(loss) => held.max(loss.last),
        None => held,
    };
    let incarnation = incarnation.max(state.life.incarnation);
    let loss = Some(Loss { forgot_vote, last });
    Life { incarnation, loss, doubted_by: None, ..state.life }
}

/// Reduces `log`, the intact part before the damage, to a state consistent with a snapshot;
/// otherwise to the snapshot alone, or to nothing.
fn longest_beginning(
    log: &mut Replay,
    known: Option<&LogState>,
    snapshots: &mut Examined<'_>,
) -> Result<(), StorageError> {
    let named = known.and_then(|state| state.snapshot.clone());
    let newest = match named {
        Some(meta) if snapshots.is_whole(&meta)? => Some(meta),
        _ => None,
    };
    let alone = newest.as_ref().map_or(0, |meta| meta.log_id.index);
    let is_usable = log.has_begun() && alone <= log.state.last && {
        match &newest {
            Some(meta) if log.state.holds(meta.log_id) => {
                log.state.snapshot = Some(meta.clone());
                true
            }
            _ => snapshots.choose_for(&mut log.state)?.is_ok(),
        }
    };
    if is_usable {
        return Ok(());
    }
    let start = newest.as_ref().map_or(LogId::BASE, |meta| meta.log_id);
    let LogState { life, hard_state, known_peers, .. } = std::mem::take(&mut log.state);
    log.reset(LogState {
        life,
        hard_state,
        known_peers,
        start,
        last: start.index,
        runs: Vec::new(),
        snapshot: newest,
    });
    Ok(())
}

fn refusal(damage: &Damage) -> StorageError {
    let Damage { path, offset, what } = damage.clone();
    let what = format!(
        "the storage {what}: acknowledged entries may be lost, nothing was changed; restore this directory from \
         an intact copy, or replace this node"
    );
    StorageError::Damaged { path, offset, what }
}
