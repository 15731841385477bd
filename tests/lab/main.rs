//! The scenarios of the MIT Raft labs, with real nodes, in virtual time.
//!
//! ```text
//! scenario ──▶ World: peers, crashes, links, Start ──▶ nodes ──▶ Network: RPCs counted, delayed, lost
//!                 │                                      │ └────▶ Disk: what is durable
//!                 └── Ledger ◀── Service ◀───────────────┘ └────▶ Invariants, after every step
//! ```
//! Each test runs its scenario with 50 seeds. `QUORATE_SEED` runs one, `QUORATE_SEEDS` another number.

mod command;
mod dice;
mod disk;
mod helpers;
mod invariants;
mod ledger;
mod network;
mod runs;
mod scenarios;
mod self_tests;
mod service;
mod world;

use runs::run;
use scenarios::SCENARIOS;

/// So many seeds, unless the environment says otherwise.
const SEEDS: u64 = 50;

fn seeds() -> std::ops::RangeInclusive<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    match (number("QUORATE_SEED"), number("QUORATE_SEEDS")) {
        (Some(seed), _) => seed..=seed,
        (None, more) => 1..=more.unwrap_or(SEEDS),
    }
}

fn run_seeds(name: &str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario");
    let failed: Vec<String> = seeds()
        .filter_map(|seed| {
            let what = run(scenario, seed).err()?;
            Some(format!("{what}\n    QUORATE_SEED={seed} cargo test --test lab {name}"))
        })
        .collect();
    assert!(failed.is_empty(), "{} seeds fail; repeat them:\n{}", failed.len(), failed.join("\n"));
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run_seeds(stringify!($name));
            }
        )*

        #[test]
        fn every_scenario_is_a_test() {
            let listed: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
            assert_eq!(listed, [$(stringify!($name)),*]);
        }
    };
}

scenarios! {
    initial_election
    re_election
    many_elections
    basic_agree
    rpc_bytes
    follower_failure
    leader_failure
    fail_agree
    fail_no_agree
    rejoin
    concurrent_starts
    backup
    count
    persist1
    persist2
    persist3
    figure8
    unreliable_agree
    figure8_unreliable
    reliable_churn
    unreliable_churn
    snapshot_basic
    snapshot_install
    snapshot_install_unreliable
    snapshot_install_crash
    snapshot_install_un_crash
    snapshot_all_crash
    snapshot_init
    snapshot_all_crash_unreliable
    snapshot_init_unreliable
    slow_figure8
    slow_figure8_unreliable
    slow_churn
    slow_install
    slow_install_unreliable
    slow_install_crash
    contested_install
    old_terms_wait
    replaced_tail
    one_of_three_pauses
    one_of_five_pauses
    one_client_alone
    all_pause
}
