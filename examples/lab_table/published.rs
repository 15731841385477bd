//! The best published figures of each scenario: of many public runs of the labs, with the labs' own Go harness on real machines, the
//! shortest time, the fewest RPCs and the fewest bytes. They need not be of one run.

/// A row of the table.
pub struct Published {
    /// The scenario's name in the lab.
    pub title: &'static str,
    /// .. and here.
    pub name: &'static str,
    /// The shortest time.
    pub seconds: f64,
    /// The fewest RPCs.
    pub rpcs: u64,
    /// The fewest bytes.
    pub bytes: u64,
    /// How many commands they had, fewest and most.
    pub commands: (u64, u64),
    /// The script has a fixed length, and the number of commands is up to the peers: RPCs and bytes are compared per command.
    pub per_command: bool,
}

const fn row(
    title: &'static str,
    name: &'static str,
    seconds: f64,
    rpcs: u64,
    bytes: u64,
    commands: (u64, u64),
) -> Published {
    Published { title, name, seconds, rpcs, bytes, commands, per_command: false }
}

const fn per_command(row: Published) -> Published {
    Published { per_command: true, ..row }
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
    row("ConcurrentStarts", "concurrent_starts", 0.6, 12, 3_438, (6, 6)),
    row("Backup", "backup", 11.8, 1_334, 632_664, (102, 102)),
    row("Count", "count", 2.0, 30, 8_666, (12, 12)),
    row("Persist1", "persist1", 2.7, 79, 20_470, (6, 6)),
    row("Persist2", "persist2", 11.0, 798, 153_220, (16, 16)),
    row("Persist3", "persist3", 1.2, 32, 8_045, (4, 4)),
    per_command(row("Figure8", "figure8", 29.1, 437, 96_545, (20, 20))),
    row("UnreliableAgree", "unreliable_agree", 1.6, 212, 78_585, (246, 246)),
    per_command(row("Figure8Unreliable", "figure8_unreliable", 30.1, 1_750, 440_162, (73, 73))),
    per_command(row("ReliableChurn", "reliable_churn", 16.1, 684, 418_912, (275, 275))),
    per_command(row("UnreliableChurn", "unreliable_churn", 16.1, 620, 216_412, (50, 50))),
    row("SnapshotBasic", "snapshot_basic", 1.8, 134, 44_722, (198, 251)),
    row("SnapshotInstall", "snapshot_install", 32.4, 878, 287_884, (336, 388)),
    row(
        "SnapshotInstallUnreliable",
        "snapshot_install_unreliable",
        35.5,
        1_059,
        307_241,
        (341, 366),
    ),
    row("SnapshotInstallCrash", "snapshot_install_crash", 21.9, 601, 198_750, (339, 399)),
    row("SnapshotInstallUnCrash", "snapshot_install_un_crash", 27.8, 687, 205_531, (336, 355)),
    row("SnapshotAllCrash", "snapshot_all_crash", 4.2, 230, 65_346, (52, 52)),
    row("SnapshotInit", "snapshot_init", 1.5, 68, 18_864, (14, 14)),
];
