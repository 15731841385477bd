//! The combined effect of the acts under way: the conditions of the network and of each member at
//! one moment.
//!
//! A pure function of the acts, used by both tiers. Acts may overlap in any way; when the last one
//! is over, everything is as it was before. What happens once, when an act begins or ends (a crash,
//! a wiped disk), is not a condition; each tier carries it out itself.

use quorate::raft::{Micros, NodeId};

use super::faults::FaultKind;
use super::schedule::Act;
use super::{MILLISECOND, SECOND};

/// The longest time that a slow decode takes in addition.
pub(super) const SLOWEST_DECODE: Micros = 40 * SECOND;

/// The longest time that a slow batch takes in addition. It is rarely this long, but then much else
/// happens meanwhile.
const SLOWEST_APPLY: Micros = 4 * SECOND;

/// The conditions of the network and of all members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    /// Of a thousand messages, how many are lost.
    pub drop: u64,
    /// Of a thousand messages, how many are delivered twice.
    pub duplicate: u64,
    /// Each message takes up to this much longer than the one before it.
    pub jitter: Micros,
    /// Each message takes this much longer.
    pub delay: Micros,
    /// Of a thousand messages, how many are delivered again once another member leads.
    pub replay: u64,
    /// The leader's messages reach only this member.
    hear_leaders: Option<NodeId>,
    /// Links that carry nothing; the sender comes first.
    links: Vec<(NodeId, NodeId, Link)>,
    /// By member.
    members: Vec<Surroundings>,
}

/// The state of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Link {
    /// It carries messages.
    #[default]
    Open,
    /// It holds messages back until this time.
    Clogged(Micros),
    /// It loses them.
    Cut,
}

/// The conditions of one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// It is paused until this time.
    pub paused_until: Micros,
    /// Its clock runs faster by this many thousandths; slower, if negative.
    pub skew: i64,
    /// Each durable step takes up to this much longer.
    pub sync: Micros,
    /// No durable step returns before this time.
    pub sync_hangs_until: Micros,
    /// No durable step succeeds: the member must stop, and can't start.
    pub disk_is_full: bool,
    /// Applying a batch takes up to this much longer.
    pub apply: Micros,
    /// Decoding a snapshot takes up to this much longer.
    pub decode: Micros,
    /// Encoding a snapshot takes up to this much longer.
    pub encode: Micros,
    /// The number of old messages that it receives each millisecond.
    pub flood: u64,
    /// Its clients do not wait before a retry.
    pub storm: bool,
    /// In addition to this many of a thousand messages it sends a malformed copy.
    pub lies: u64,
}

impl Conditions {
    /// The conditions under these acts, for members `0..nodes`.
    pub(super) fn of<'a>(acts: impl IntoIterator<Item = &'a Act>, nodes: u64) -> Conditions {
        let mut conditions = Conditions {
            members: vec![Surroundings::default(); nodes as usize],
            ..Conditions::default()
        };
        for act in acts {
            conditions.add(act, nodes);
        }
        conditions
    }

    /// The conditions of `node`.
    pub(super) fn member(&self, node: NodeId) -> &Surroundings {
        &self.members[node as usize]
    }

    /// The state of the link: the worst that any act asks for.
    pub(super) fn link(&self, from: NodeId, to: NodeId) -> Link {
        let of_link = self.links.iter().filter(|(a, b, _)| (*a, *b) == (from, to));
        of_link.fold(Link::Open, |worst, (_, _, link)| match (worst, *link) {
            (Link::Cut, _) | (_, Link::Cut) => Link::Cut,
            (Link::Clogged(a), Link::Clogged(b)) => Link::Clogged(a.max(b)),
            (Link::Open, link) | (link, Link::Open) => link,
        })
    }

    /// Whether messages from a leader to this member are lost, whatever the state of the link.
    pub(super) fn hears_no_leader(&self, to: NodeId) -> bool {
        self.hear_leaders.is_some_and(|only| only != to)
    }

    /// Whether any member is flooded.
    pub(super) fn has_floods(&self) -> bool {
        self.members.iter().any(|member| member.flood > 0)
    }

    fn add(&mut self, act: &Act, nodes: u64) {
        let Act { node, other, .. } = *act;
        let part = |worst: u64| worst * act.strength / 1_000;
        let member = &mut self.members[node as usize];
        match act.kind {
            FaultKind::Drop => self.drop = self.drop.max(part(400)),
            FaultKind::Duplicate => self.duplicate = self.duplicate.max(part(500)),
            FaultKind::Reorder => self.jitter = self.jitter.max(part(150 * MILLISECOND)),
            FaultKind::Delay => self.delay = self.delay.max(part(120 * MILLISECOND)),
            FaultKind::Clog => self.links.push((node, other, Link::Clogged(act.until()))),
            FaultKind::Partition => self.part(act, nodes),
            FaultKind::OneWayPartition => self.links.push((node, other, Link::Cut)),
            FaultKind::PartialPartition => {
                self.links.extend([(node, other, Link::Cut), (other, node, Link::Cut)]);
            }
            FaultKind::Pause => member.paused_until = member.paused_until.max(act.until()),
            FaultKind::ClockSkew => member.skew = act.strength as i64 * 2 / 5 - 200,
            FaultKind::HungSync => {
                member.sync_hangs_until = member.sync_hangs_until.max(act.until());
            }
            FaultKind::FullDisk => member.disk_is_full = true,
            FaultKind::SlowDisk => member.sync = member.sync.max(part(300 * MILLISECOND)),
            FaultKind::SlowApply => {
                let longest = if act.strength > 900 { SLOWEST_APPLY } else { 200 * MILLISECOND };
                member.apply = member.apply.max(part(longest));
            }
            FaultKind::SlowDecode => member.decode = member.decode.max(part(SLOWEST_DECODE)),
            FaultKind::SlowEncode => member.encode = member.encode.max(part(10 * SECOND)),
            FaultKind::MailboxFlood => member.flood = member.flood.max(1 + part(40)),
            FaultKind::Lies => member.lies = member.lies.max(20 + part(400)),
            FaultKind::Replay => self.replay = self.replay.max(1 + part(300)),
            FaultKind::WeakLeader => self.hear_leaders = Some(node),
            FaultKind::RetryStorm => self.members.iter_mut().for_each(|member| member.storm = true),
            FaultKind::Crash
            | FaultKind::ClockJump
            | FaultKind::TornWrite
            | FaultKind::LostWrites
            | FaultKind::MisdirectedWrite
            | FaultKind::BitRot
            | FaultKind::DamagedEnd
            | FaultKind::FailingSync
            | FaultKind::WipedDisk
            | FaultKind::RolledBackDisk
            | FaultKind::ForcedSnapshot => {}
        }
    }

    /// Two groups, drawn from the act's strength; `node` and `other` are in different ones.
    fn part(&mut self, act: &Act, nodes: u64) {
        let mut groups = act.strength.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7;
        groups = groups & !(1 << act.other) | 1 << act.node;
        let first = |node: NodeId| groups >> node & 1 == 1;
        for from in 0..nodes {
            let others = (0..nodes).filter(|to| first(from) != first(*to));
            self.links.extend(others.map(|to| (from, to, Link::Cut)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(kind: FaultKind) -> Act {
        Act { at: 5, lasts: 10, kind, to_leader: false, node: 1, other: 3, strength: 1_000 }
    }

    #[test]
    fn a_partition_cuts_both_ways_between_two_groups() {
        let parted = Conditions::of([&act(FaultKind::Partition)], 5);
        assert_eq!(parted.link(1, 3), Link::Cut);
        for (from, to) in [(0, 1), (2, 4), (1, 3), (0, 4)] {
            assert_eq!(parted.link(from, to), parted.link(to, from));
        }
        let third =
            (0..5).find(|node| ![1, 3].contains(node) && parted.link(1, *node) == Link::Open);
        third.into_iter().for_each(|node| assert_eq!(parted.link(3, node), Link::Cut));
    }

    #[test]
    fn a_weak_leader_is_heard_by_one_member_whoever_it_is() {
        let weak = Conditions::of([&act(FaultKind::WeakLeader)], 5);
        assert!(!weak.hears_no_leader(1) && weak.hears_no_leader(3) && weak.hears_no_leader(0));
        let none: [&Act; 0] = [];
        assert!(!Conditions::of(none, 5).hears_no_leader(3));
    }

    #[test]
    fn acts_add_up_and_go_without_a_trace() {
        let (cut, clog) = (act(FaultKind::OneWayPartition), act(FaultKind::Clog));
        assert_eq!(Conditions::of([&clog], 5).link(1, 3), Link::Clogged(15));
        assert_eq!(Conditions::of([&clog, &cut], 5).link(1, 3), Link::Cut);
        assert_eq!(Conditions::of([&cut], 5).link(3, 1), Link::Open);
        let none: [&Act; 0] = [];
        assert_eq!(Conditions::of(none, 5).member(1), &Surroundings::default());
    }
}
