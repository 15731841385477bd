//! Actions that are valid in any state: their numbers select a position within the possible range.
//! Random tests consist of them.

use super::model::*;
use super::workload::{Step, Workload};
use crate::raft::Random;
use crate::raft::{LogChange, LogId, Loss};

/// A random action.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Append {
        count: u64,
        higher_term: bool,
    },
    AppendBig {
        bytes: usize,
    },
    Conflict {
        back: u64,
        count: u64,
    },
    Truncate {
        back: u64,
    },
    Snapshot {
        back: u64,
        purge_back: u64,
    },
    Install {
        ahead: u64,
    },
    InstallInside {
        back: u64,
    },
    Vote,
    Remember {
        node: u64,
    },
    Lose,
    Recover,
    Reopen,
    Seal,
    /// The power fails after this many more file calls; the seed decides what happens to unsynced
    /// data.
    Crash {
        after: u64,
        seed: u64,
    },
}

impl Action {
    /// The change that the action makes in this state, if it is possible.
    pub(crate) fn change(&self, model: &Model) -> Option<LogChange> {
        let covered = model.snapshot.as_ref().map_or(0, |meta| meta.log_id.index);
        let (last, term) = (model.last(), model.last_term().max(1));
        let cut = |back: u64| {
            last.checked_sub(back - 1).filter(|from| *from > covered.max(model.start.index))
        };
        let inside = |back: u64| last.checked_sub(back).filter(|index| *index > covered);
        Some(match *self {
            Action::Append { count, higher_term } => {
                append(term + u64::from(higher_term), last + 1..=last + count)
            }
            Action::AppendBig { bytes } => append_big(term, last + 1, bytes),
            Action::Conflict { back, count } => {
                let from = cut(back)?;
                LogChange { truncate_from: Some(from), ..append(term + 1, from..=from + count - 1) }
            }
            Action::Truncate { back } => truncate(cut(back)?),
            Action::Snapshot { back, purge_back } => {
                let id = model.id_at(inside(back)?);
                let purged = id.index.saturating_sub(purge_back).max(model.start.index);
                LogChange { purge_through: Some(model.id_at(purged)), ..record(&meta_of(id)) }
            }
            Action::Install { ahead } => {
                install(&meta_of(LogId::new(term + 1, last + ahead)), false)
            }
            Action::InstallInside { back } => install(&meta_of(model.id_at(inside(back)?)), true),
            Action::Vote => vote(model.hard_state.term + 1, Some(last % 3 + 1)),
            Action::Remember { node } => remember(node, last + node, LogId::new(term, last)),
            Action::Lose => {
                life(model.predecessor + 1, Some(Loss { forgot_vote: true, last: None }))
            }
            Action::Recover => life(model.predecessor, None),
            Action::Reopen | Action::Seal | Action::Crash { .. } => return None,
        })
    }

    fn random(random: &mut Random, segment_bytes: u64) -> Action {
        let (some, few) = (1 + random.below(9), 1 + random.below(4));
        match random.below(24) {
            0..=6 => Action::Append { count: some, higher_term: random.coin() },
            7 => Action::AppendBig { bytes: random.below(2 * segment_bytes.min(5000)) as usize },
            8 | 9 => Action::Conflict { back: some, count: few },
            10 => Action::Truncate { back: some },
            11..=13 => Action::Snapshot { back: some - 1, purge_back: few - 1 },
            14 => Action::Install { ahead: 5 * some },
            15 => Action::InstallInside { back: some - 1 },
            16 | 17 => Action::Vote,
            18 => Action::Remember { node: few },
            19 => {
                if random.coin() {
                    Action::Lose
                } else {
                    Action::Recover
                }
            }
            20 | 21 => Action::Seal,
            _ => Action::Reopen,
        }
    }
}

/// A workload of random steps.
pub(crate) fn random_workload(seed: u64) -> Workload {
    let mut random = Random::new(seed);
    let segment_bytes = [600, 900, 2000, 4096, 16 << 10, 64 << 10][random.below(6) as usize];
    let (mut model, mut steps, mut group) = (Model::default(), Vec::new(), Vec::new());
    let count = 20 + random.below(20);
    for _ in 0..count {
        let action = Action::random(&mut random, segment_bytes);
        if let Some(change) = action.change(&model) {
            model.apply(&change);
            group.push(change);
        }
        let ends = matches!(action, Action::Seal | Action::Reopen);
        if ends || random.below(3) == 0 {
            let changes = std::mem::take(&mut group);
            steps.push(if random.below(4) == 0 {
                Step::Received(changes)
            } else {
                Step::Write(changes)
            });
        }
        match action {
            Action::Seal => steps.push(Step::Seal),
            Action::Reopen => steps.push(Step::Reopen),
            _ => {}
        }
        steps.extend(beside(&mut random, &model, group.is_empty()));
    }
    steps.push(Step::Write(group));
    let spare_segments = random.below(3) as usize;
    Workload { name: format!("random {seed}"), segment_bytes, spare_segments, steps }
}

/// An action of the snapshotter between two writes.
fn beside(random: &mut Random, model: &Model, is_durable: bool) -> Option<Step> {
    let current = model.snapshot.as_ref().map(|meta| meta.log_id);
    let ahead = LogId::new(model.last_term().max(1), model.last() + 1);
    match random.below(16) {
        0 => Some(Step::Abandon(ahead)),
        1 => Some(Step::Publish(LogId { index: ahead.index + 90, ..ahead })),
        2 => Some(Step::ReceiveBroken(ahead)),
        3 | 4 if is_durable => current.map(|current| Step::Retain(current, None)),
        _ => None,
    }
}
