//! The best published figures of each scenario: the shortest time, the fewest RPCs and the fewest
//! bytes of many public runs of the labs, with the labs' own Go harness on real machines. They need
//! not be of the same run. Harnesses of some years print no bytes: their runs count for times and
//! RPCs only.
//!
//! Where figures are compared per command, a count is divided by the commands of *its own* run, and
//! the run with the lowest quotient is listed. This need not be the run with the fewest RPCs.

/// A row of the table.
pub struct Published {
    /// The scenario's name in the lab.
    pub title: &'static str,
    /// The scenario's name here.
    pub name: &'static str,
    /// The shortest time, in seconds.
    pub seconds: f64,
    /// The fewest RPCs.
    pub rpcs: Count,
    /// The fewest bytes.
    pub bytes: Count,
    /// The fewest and the most commands of the runs.
    pub commands: (u64, u64),
    /// Whether RPCs and bytes are compared per command: the script has a fixed duration, and the
    /// number of commands depends on the peers.
    pub per_command: bool,
}

/// A count of one run.
#[derive(Clone, Copy)]
pub struct Count {
    pub amount: u64,
    /// The number of commands of the same run; 1 if figures are not compared per command.
    pub commands: u64,
}

impl Count {
    /// The count per command.
    pub fn compared(self) -> f64 {
        self.amount as f64 / self.commands as f64
    }
}

const fn row(
    title: &'static str,
    name: &'static str,
    seconds: f64,
    rpcs: u64,
    bytes: u64,
    commands: (u64, u64),
) -> Published {
    let (rpcs, bytes) = (of_run(rpcs, 1), of_run(bytes, 1));
    Published { title, name, seconds, rpcs, bytes, commands, per_command: false }
}

/// RPCs and bytes are of the runs with the fewest per command.
const fn row_per_command(
    title: &'static str,
    name: &'static str,
    seconds: f64,
    rpcs: Count,
    bytes: Count,
    commands: (u64, u64),
) -> Published {
    Published { title, name, seconds, rpcs, bytes, commands, per_command: true }
}

const fn of_run(amount: u64, commands: u64) -> Count {
    Count { amount, commands }
}

/// All rows.
pub const PUBLISHED: &[Published] = &[
    row("InitialElection", "initial_election", 3.0, 48, 13_764, (0, 0)),
    row("ReElection", "re_election", 4.4, 88, 18_572, (0, 0)),
    row("ManyElections", "many_elections", 5.3, 346, 79_044, (0, 0)),
    row("BasicAgree", "basic_agree", 0.5, 14, 3_840, (3, 3)),
    row("RPCBytes", "rpc_bytes", 1.0, 46, 112_544, (11, 11)),
    row("FollowerFailure", "follower_failure", 4.5, 84, 17_928, (3, 3)),
    row("LeaderFailure", "leader_failure", 4.8, 114, 26_993, (3, 3)),
    row("FailAgree", "fail_agree", 3.2, 64, 17_489, (7, 7)),
    row("FailNoAgree", "fail_no_agree", 3.5, 116, 27_838, (3, 3)),
    row("Rejoin", "rejoin", 2.3, 99, 22_613, (4, 4)),
    row("ConcurrentStarts", "concurrent_starts", 0.5, 8, 3_438, (6, 6)),
    row("Backup", "backup", 11.8, 1_334, 632_664, (102, 102)),
    row("Count", "count", 2.0, 30, 8_666, (12, 12)),
    row("Persist1", "persist1", 2.7, 79, 20_470, (6, 6)),
    row("Persist2", "persist2", 11.0, 705, 153_220, (16, 16)),
    row("Persist3", "persist3", 1.2, 27, 7_520, (4, 4)),
    row_per_command("Figure8", "figure8", 24.0, of_run(852, 53), of_run(76_649, 20), (7, 83)),
    row("UnreliableAgree", "unreliable_agree", 1.3, 207, 70_452, (246, 246)),
    row_per_command(
        "Figure8Unreliable",
        "figure8_unreliable",
        29.0,
        of_run(2_184, 582),
        of_run(691_541, 226),
        (29, 909),
    ),
    row_per_command(
        "ReliableChurn",
        "reliable_churn",
        16.1,
        of_run(331, 210),
        of_run(2_805_931, 3_616),
        (85, 3_736),
    ),
    row_per_command(
        "UnreliableChurn",
        "unreliable_churn",
        16.1,
        of_run(772, 424),
        of_run(318_077, 424),
        (50, 1_384),
    ),
    row("SnapshotBasic", "snapshot_basic", 1.8, 132, 44_722, (198, 251)),
    row("SnapshotInstall", "snapshot_install", 32.4, 878, 287_884, (336, 388)),
    row(
        "SnapshotInstallUnreliable",
        "snapshot_install_unreliable",
        35.5,
        1_059,
        307_241,
        (341, 366),
    ),
    row("SnapshotInstallCrash", "snapshot_install_crash", 21.9, 567, 163_990, (339, 399)),
    row("SnapshotInstallUnCrash", "snapshot_install_un_crash", 27.8, 687, 205_531, (336, 355)),
    row("SnapshotAllCrash", "snapshot_all_crash", 4.2, 230, 65_346, (52, 52)),
    row("SnapshotInit", "snapshot_init", 1.5, 68, 18_864, (14, 14)),
];
