//! The explored configurations and their bounds.

use quorate::raft::{Membership, Term};

use crate::coverage::Kind;
use crate::fingerprint::mix;
use crate::model::State;
use crate::openings::{self, Script};

/// How often the explorer may make choices that nothing else bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Allowance {
    pub timeouts: u8,
    pub ticks: u8,
    pub commands: u8,
    pub duplicates: u8,
    pub losses: u8,
    pub crashes: u8,
    pub snapshots: u8,
    /// Crashes after which the disk has lost its last entry.
    pub tail_losses: u8,
}

impl Allowance {
    /// The same or less of everything, at random, but never nothing at all.
    pub fn thinned(self, seed: u64) -> Allowance {
        let mut dice = seed;
        let mut some = |most: u8| {
            dice = mix(dice);
            (dice % (u64::from(most) + 1)) as u8
        };
        Allowance {
            timeouts: self.timeouts - some(self.timeouts.saturating_sub(1)),
            ticks: some(self.ticks),
            commands: some(self.commands),
            duplicates: some(self.duplicates),
            losses: some(self.losses),
            crashes: some(self.crashes),
            snapshots: some(self.snapshots),
            tail_losses: self.tail_losses,
        }
    }

    /// More than an opening needs.
    pub fn ample() -> Allowance {
        let many = 200;
        Allowance {
            timeouts: many,
            ticks: many,
            commands: many,
            duplicates: many,
            losses: many,
            crashes: many,
            snapshots: many,
            tail_losses: many,
        }
    }
}

/// What happens as soon as possible, instead of when the explorer chooses it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Eager {
    pub disk: bool,
    pub apply: bool,
    pub snapshotter: bool,
    /// Pre-votes and their answers arrive at once: they change no lasting state.
    pub prevotes: bool,
}

/// One configuration.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub name: &'static str,
    pub nodes: u64,
    pub opening: fn(Script) -> State,
    /// No node campaigns for a later term.
    pub max_term: Term,
    pub allowed: Allowance,
    /// The most messages under way from one node to another.
    pub link: usize,
    pub eager: Eager,
    /// Whether leaders begin with a blank entry.
    pub blanks: bool,
    pub append_entries: usize,
    /// The most AppendEntries under way to a member, as counted by its leader.
    pub window: usize,
    pub cache_bytes: usize,
    pub chunk_bytes: usize,
    /// What a run must cover, or it fails.
    pub must_see: &'static [Kind],
}

impl Bounds {
    pub fn members(&self) -> Membership {
        Membership::of_voters(0..self.nodes)
    }
}

const EAGER: Eager = Eager { disk: false, apply: true, snapshotter: true, prevotes: true };

const NONE: Allowance = Allowance {
    timeouts: 0,
    ticks: 0,
    commands: 0,
    duplicates: 0,
    losses: 0,
    crashes: 0,
    snapshots: 0,
    tail_losses: 0,
};

const PLAIN: Bounds = Bounds {
    name: "",
    nodes: 3,
    opening: openings::fresh,
    max_term: 2,
    allowed: NONE,
    link: 2,
    eager: EAGER,
    blanks: true,
    append_entries: 2,
    window: 2,
    cache_bytes: 100_000,
    chunk_bytes: 100,
    must_see: &[],
};

/// All configurations, the small ones first.
pub const CONFIGURATIONS: [Bounds; 10] = [
    // Two nodes: every vote and every acknowledgement counts. All choices, with pre-votes.
    Bounds {
        name: "two_nodes",
        nodes: 2,
        allowed: Allowance {
            timeouts: 3,
            ticks: 1,
            commands: 1,
            duplicates: 1,
            losses: 1,
            crashes: 1,
            ..NONE
        },
        eager: Eager { prevotes: false, ..EAGER },
        must_see: &[
            Kind::LeaderOfTermTwo,
            Kind::Committed,
            Kind::CrashRecovered,
            Kind::StepsLost,
            Kind::Duplicated,
            Kind::Lost,
        ],
        ..PLAIN
    },
    // Three nodes from the start: elections, split votes, crashes that lose votes.
    Bounds {
        name: "elections",
        allowed: Allowance { timeouts: 3, crashes: 1, duplicates: 1, ..NONE },
        must_see: &[Kind::LeaderOfTermTwo, Kind::TwoCandidates, Kind::StepsLost, Kind::Committed],
        ..PLAIN
    },
    // Four nodes: a quorum is three, and two leave no majority.
    Bounds {
        name: "four_nodes",
        nodes: 4,
        allowed: Allowance { timeouts: 2, crashes: 1, duplicates: 1, commands: 1, ..NONE },
        must_see: &[Kind::TwoCandidates, Kind::Committed, Kind::StepsLost],
        ..PLAIN
    },
    // A leader with entries under way, late and repeated, and a successor.
    Bounds {
        name: "replication",
        opening: openings::led,
        allowed: Allowance {
            timeouts: 1,
            ticks: 1,
            commands: 2,
            duplicates: 1,
            crashes: 1,
            ..NONE
        },
        append_entries: 1,
        link: 3,
        must_see: &[
            Kind::LeaderOfTermTwo,
            Kind::Committed,
            Kind::Truncated,
            Kind::CrashRecovered,
            Kind::Retried,
        ],
        ..PLAIN
    },
    // Raft figure 8, without blank entries: no leader may commit an entry of an earlier term by
    // counting.
    Bounds {
        name: "figure_8",
        opening: openings::figure_8,
        max_term: 4,
        allowed: Allowance { timeouts: 2, crashes: 1, commands: 1, ..NONE },
        blanks: false,
        append_entries: 1,
        must_see: &[Kind::LeaderOfTermTwo, Kind::Committed, Kind::Truncated],
        ..PLAIN
    },
    // A leader whose predecessor has a tail of its own.
    Bounds {
        name: "divergence",
        opening: openings::divergent,
        max_term: 3,
        allowed: Allowance {
            timeouts: 1,
            ticks: 1,
            commands: 1,
            duplicates: 1,
            crashes: 1,
            ..NONE
        },
        must_see: &[Kind::LeaderOfTermTwo, Kind::Committed, Kind::Truncated, Kind::CrashRecovered],
        ..PLAIN
    },
    // A member that needs a snapshot, in chunks, with entries, a new leader and crashes in between.
    Bounds {
        name: "installs",
        opening: openings::behind,
        max_term: 3,
        allowed: Allowance { timeouts: 1, ticks: 2, commands: 1, crashes: 1, ..NONE },
        eager: Eager { disk: false, apply: false, snapshotter: false, prevotes: true },
        chunk_bytes: 12,
        must_see: &[Kind::SnapshotInstalled, Kind::CrashRecovered, Kind::Committed],
        ..PLAIN
    },
    // A received snapshot, and a leader whose entries may arrive before it is installed.
    Bounds {
        name: "refusals",
        opening: openings::overtaken,
        max_term: 5,
        allowed: Allowance {
            timeouts: 1,
            ticks: 1,
            commands: 1,
            duplicates: 1,
            crashes: 1,
            ..NONE
        },
        eager: Eager { disk: false, apply: false, snapshotter: false, prevotes: true },
        chunk_bytes: 100,
        must_see: &[
            Kind::SnapshotInstalled,
            Kind::InstallRefused,
            Kind::CrashRecovered,
            Kind::Committed,
        ],
        ..PLAIN
    },
    // Locally built snapshots, the log purged behind them, entries read back from the disk.
    Bounds {
        name: "compaction",
        opening: openings::led,
        allowed: Allowance { timeouts: 1, ticks: 1, commands: 1, snapshots: 2, crashes: 1, ..NONE },
        eager: Eager { disk: false, apply: false, snapshotter: true, prevotes: true },
        cache_bytes: 0,
        must_see: &[Kind::SnapshotTaken, Kind::Committed, Kind::CrashRecovered],
        ..PLAIN
    },
    // A disk that loses durable data, and knows it.
    Bounds {
        name: "lost_tails",
        opening: openings::committed_by_two,
        allowed: Allowance { timeouts: 1, ticks: 2, commands: 1, tail_losses: 1, ..NONE },
        must_see: &[Kind::CaughtUp, Kind::Committed],
        ..PLAIN
    },
];
