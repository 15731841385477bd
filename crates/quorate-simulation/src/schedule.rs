//! Which fault begins when, for how long and at which member. A schedule is drawn from a seed
//! before a run, so that it can be printed, repeated and shortened.
//!
//! ```text
//! seed ──▶ about half of the allowed kinds ──▶ acts, one to three at a time: ├──drop──┤   ├crash┤
//!                                                                               ├─slow disk n2─┤
//! ```
//! Acts that overlap by chance rarely stress an install, so half of the seeds also contain a
//! sequence aimed at one: a member is cut off long enough to need a snapshot, and faults occur
//! while it receives the snapshot.
//!
//! *What it does not do:* it does not know the cluster's state. The cluster decides whether an act
//! makes sense at its moment (a member that is down can't crash; no second disk may be lost before
//! a first loss is repaired), and counts the acts that it carried out.

use std::fmt;

use serde::Serialize;

use quorate::raft::{Micros, NodeId};

use super::faults::{FaultKind, Faults};
use super::random::Dice;
use super::{MILLISECOND, SECOND};

/// A crash with a strength from this up to [`DIES_WRITING`] comes just before a directory entry is
/// synced.
pub(super) const DIES_SYNCING: u64 = 500;
/// A crash with at least this strength comes in the middle of a write.
pub(super) const DIES_WRITING: u64 = 750;

/// One fault at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Act {
    /// When it begins, in virtual microseconds.
    pub at: Micros,
    /// How long it lasts, in microseconds.
    pub lasts: Micros,
    /// The kind of fault.
    pub kind: FaultKind,
    /// Whether it is aimed at the leader at its beginning, if there is one.
    pub to_leader: bool,
    /// The member otherwise. For a link: the sender.
    pub node: NodeId,
    /// For a link: the receiver. Differs from `node` if the cluster has another member.
    pub other: NodeId,
    /// Its strength, in thousandths of the worst case.
    pub strength: u64,
}

impl Act {
    /// Aims it at another member.
    pub(super) fn aim(&mut self, node: NodeId) {
        if node == self.other {
            self.other = self.node;
        }
        self.node = node;
    }

    /// When it ends, in virtual microseconds.
    pub fn until(&self) -> Micros {
        self.at + self.lasts
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Act { at, lasts, kind, to_leader, node, other, strength } = *self;
        let (at, lasts) = (at as f64 / 1e6, lasts as f64 / 1e6);
        let leader = if to_leader { "the leader, or " } else { "" };
        write!(f, "{at:>8.3} s  {kind:<18} {leader}n{node}")?;
        if matches!(
            kind,
            FaultKind::OneWayPartition | FaultKind::PartialPartition | FaultKind::Clog
        ) {
            write!(f, ", n{other}")?;
        }
        write!(f, "  for {lasts:.3} s, {:.0} %", strength as f64 / 10.0)
    }
}

/// All acts of a run, ordered by their beginnings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// The acts.
    pub acts: Vec<Act>,
}

impl Schedule {
    /// The schedule of `seed`: faults among `allowed`, for a cluster of `nodes` members, until
    /// `end`.
    pub fn draw(seed: u64, allowed: Faults, nodes: u64, end: Micros) -> Schedule {
        let mut dice = Dice::new(seed, 1);
        let dealt = allowed.without(FaultKind::DamagedEnd);
        let chosen: Vec<FaultKind> = dealt.kinds().filter(|_| dice.chance(500)).collect();
        let mut acts = Vec::new();
        // A separate random stream: the other acts of a seed stay the same without it.
        let mut beside = Dice::new(seed, 5);
        let damages = allowed.contains(FaultKind::DamagedEnd) && beside.chance(500);
        if damages && nodes > 0 {
            damaged_ends(&mut beside, nodes, end, &mut acts);
        }
        if chosen.is_empty() || nodes == 0 {
            return Schedule { acts };
        }
        let mut told = Dice::new(seed, 3);
        if nodes > 1 && told.chance(500) {
            for _ in 0..told.between(1, 3) {
                left_behind(&mut told, allowed, nodes, end, &mut acts);
            }
        }
        if told.chance(400) {
            killed_twice(&mut told, allowed, nodes, end, &mut acts);
        }
        // Between one fault a minute and one a second: some runs have time to heal in between, some
        // do not.
        let pause = dice.between(300, 5_000) * MILLISECOND;
        let mut at = dice.between(0, 2 * pause);
        // Dealt like cards: each kind occurs once before any kind occurs again.
        let mut deck: Vec<FaultKind> = Vec::new();
        while at < end {
            if deck.is_empty() {
                deck.extend(&chosen);
            }
            let kind = deck.swap_remove(dice.below(deck.len() as u64) as usize);
            let node = dice.below(nodes);
            let other = (node + 1 + dice.below(nodes.saturating_sub(1).max(1))) % nodes;
            let lasts = lasts(kind, &mut dice).min(end - at);
            let (to_leader, strength) = (dice.chance(300), dice.between(1, 1_000));
            // Only one member lies.
            let (node, other, to_leader) = match kind {
                FaultKind::Lies => (seed % nodes, (seed + 1) % nodes, false),
                _ => (node, other, to_leader),
            };
            acts.push(Act { at, lasts, kind, to_leader, node, other, strength });
            at += dice.between(1, 2 * pause);
        }
        acts.sort_by_key(|act| act.at);
        Schedule { acts }
    }

    /// The kinds of faults in it.
    pub fn kinds(&self) -> Faults {
        Faults::only(self.acts.iter().map(|act| act.kind))
    }
}

/// A member, possibly the leader, is cut off from all others, which meanwhile compact their logs.
/// When it is back and receives a snapshot, the sender can't be heard, or crashes, or the state
/// machine is slow.
fn left_behind(dice: &mut Dice, allowed: Faults, nodes: u64, end: Micros, acts: &mut Vec<Act>) {
    let victim = dice.below(nodes);
    let next = (victim + 1) % nodes;
    let (at, is_slow) = (dice.below(end), dice.chance(400));
    let to_leader = is_slow || dice.chance(400);
    // A short absence leaves a tail longer than what the others have committed since.
    let most = if dice.chance(500) { 2_500 } else { 12_000 };
    let back = at + dice.between(300, most) * MILLISECOND;
    let soon = |dice: &mut Dice| back + dice.between(1, 2_500) * MILLISECOND;
    let mut act = |at: Micros, lasts: Micros, kind, to_leader, node, other, strength| {
        if allowed.contains(kind) && at < end {
            let lasts = lasts.min(end - at);
            acts.push(Act { at, lasts, kind, to_leader, node, other, strength });
        }
    };
    if !to_leader && dice.chance(500) {
        // It is cut off with a tail that no other member has.
        let lasts = dice.between(500, 4_000) * MILLISECOND;
        act(at.saturating_sub(lasts), lasts, FaultKind::WeakLeader, false, victim, next, 1_000);
    }
    for other in (0..nodes).filter(|other| *other != victim) {
        act(at, back - at, FaultKind::PartialPartition, to_leader, victim, other, 1_000);
        let asked_at = dice.between(at, back);
        act(asked_at, 0, FaultKind::ForcedSnapshot, false, other, victim, 1_000);
    }
    if is_slow {
        // It has not applied all that it acknowledged, neither when it is cut off nor when it is
        // back.
        let before = dice.between(1_000, 4_000) * MILLISECOND;
        let lasts = before + back - at + dice.between(2, 12) * SECOND;
        let at = at.saturating_sub(before);
        act(at, lasts, FaultKind::SlowApply, to_leader, victim, next, 1_000);
    }
    if dice.chance(500) {
        // The current leader does not reach it, but the others do: it may go on leading in its old
        // term.
        let from = dice.between(at, back);
        let kind = *dice.pick(&[FaultKind::OneWayPartition, FaultKind::PartialPartition]);
        let lasts = back - from + dice.between(100, 4_000) * MILLISECOND;
        act(from, lasts, kind, true, next, victim, 1_000);
    }
    for slowed in
        [FaultKind::SlowDecode, FaultKind::SlowApply, FaultKind::SlowDisk, FaultKind::SlowEncode]
    {
        if dice.chance(400) {
            let most = if slowed == FaultKind::SlowDecode { 200 } else { 1_000 };
            let (lasts, strength) = (dice.between(1, 20) * SECOND, dice.between(1, most));
            act(back, lasts, slowed, false, victim, next, strength);
        }
    }
    // It takes its own snapshot just as it receives another one.
    act(soon(dice), 0, FaultKind::ForcedSnapshot, false, victim, next, 1_000);
    for _ in 0..dice.between(1, 3) {
        let (at, lasts) = (soon(dice), dice.between(100, 4_000) * MILLISECOND);
        let (kind, to_leader, node) = match dice.below(6) {
            0 => (FaultKind::OneWayPartition, true, next),
            1 => (FaultKind::PartialPartition, true, next),
            2 => (FaultKind::Clog, true, next),
            3 => (FaultKind::Crash, true, next),
            4 => (FaultKind::Pause, true, next),
            _ => (FaultKind::Crash, false, victim),
        };
        act(at, lasts, kind, to_leader, node, if node == victim { next } else { victim }, 1_000);
    }
}

/// The ends of logs are damaged now and then.
fn damaged_ends(dice: &mut Dice, nodes: u64, end: Micros, acts: &mut Vec<Act>) {
    let mut at = dice.between(SECOND, 10 * SECOND);
    while at < end {
        let (node, to_leader) = (dice.below(nodes), dice.chance(300));
        let (kind, other) = (FaultKind::DamagedEnd, (node + 1) % nodes);
        let lasts = (dice.between(100, 4_000) * MILLISECOND).min(end - at);
        acts.push(Act { at, lasts, kind, to_leader, node, other, strength: 1_000 });
        at += dice.between(2, 20) * SECOND;
    }
}

/// A process is killed while it writes, just before a directory entry is synced. It restarts, and
/// soon the power fails: what it found on its disk at the restart must be found once more.
fn killed_twice(dice: &mut Dice, allowed: Faults, nodes: u64, end: Micros, acts: &mut Vec<Act>) {
    let node = dice.below(nodes);
    let (at, lasts) = (dice.below(end), dice.between(1_000, 6_000) * MILLISECOND);
    let again = at + lasts + dice.between(1, 800) * MILLISECOND;
    let down = dice.between(200, 2_000) * MILLISECOND;
    let killed = (at, lasts, FaultKind::Crash, DIES_SYNCING);
    let powerless = (again, down, FaultKind::LostWrites, 1_000);
    for (at, lasts, kind, strength) in [killed, powerless] {
        if allowed.contains(kind) && at < end {
            let (lasts, other) = (lasts.min(end - at), (node + 1) % nodes);
            acts.push(Act { at, lasts, kind, to_leader: false, node, other, strength });
        }
    }
}

/// How long a fault of a kind lasts.
fn lasts(kind: FaultKind, dice: &mut Dice) -> Micros {
    match kind {
        FaultKind::ForcedSnapshot | FaultKind::ClockJump => 0,
        FaultKind::RetryStorm | FaultKind::MailboxFlood => dice.between(1, 2_000) * MILLISECOND,
        FaultKind::SlowDecode | FaultKind::SlowEncode => dice.between(5, 40) * SECOND,
        FaultKind::ClockSkew => dice.between(1, 60) * SECOND,
        // Often short, sometimes long.
        _ => match dice.below(4) {
            0 => dice.between(1, 200) * MILLISECOND,
            1 | 2 => dice.between(200, 4_000) * MILLISECOND,
            _ => dice.between(4, 20) * SECOND,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_schedule() {
        let draw = |seed| Schedule::draw(seed, Faults::all(), 5, 60 * SECOND);
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        assert!(Schedule::draw(3, Faults::none(), 5, 60 * SECOND).acts.is_empty());
    }

    /// A kind that occurs in hardly any seed is not tested.
    #[test]
    fn each_kind_is_in_a_quarter_of_the_seeds() {
        let mut seeds_with = [0u32; FaultKind::ALL.len()];
        for seed in 0..400 {
            let schedule = Schedule::draw(seed, Faults::only(FaultKind::ALL), 5, 120 * SECOND);
            for act in &schedule.acts {
                assert!(act.node < 5 && act.other < 5 && act.node != act.other, "{act}");
                assert!(act.until() <= 120 * SECOND, "{act}");
            }
            schedule.kinds().kinds().for_each(|kind| seeds_with[kind as usize] += 1);
        }
        for (kind, seeds) in FaultKind::ALL.iter().zip(seeds_with) {
            assert!(seeds >= 100, "{kind} is in {seeds} of 400 seeds");
        }
    }
}
