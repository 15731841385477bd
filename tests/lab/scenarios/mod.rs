//! All scenarios, as their scripts say, in the order of the table.

use crate::runs::{Scenario, Script};
use crate::world::{Slowness, Terms};
use agreement as agree;
use snapshots::Victim::{Crashes, IsCutOff, Stays};

mod agreement;
mod churn;
mod elections;
mod figure8;
pub mod pauses;
mod persistence;
mod snapshots;

const fn reliable(name: &'static str, peers: usize, script: Script) -> Scenario {
    Scenario { name, terms: Terms { peers, reliable: true, snapshots: false, slow: None }, script }
}

const fn unreliable(name: &'static str, peers: usize, script: Script) -> Scenario {
    Scenario {
        name,
        terms: Terms { reliable: false, ..reliable(name, peers, script).terms },
        script,
    }
}

/// Three peers whose services take snapshots.
const fn snapshot(name: &'static str, reliable: bool, script: Script) -> Scenario {
    Scenario { name, terms: Terms { peers: 3, reliable, snapshots: true, slow: None }, script }
}

/// The same where disks and snapshots take their time: what happens between an order and its completion takes no time otherwise.
const fn slow(slowness: Slowness, scenario: Scenario) -> Scenario {
    Scenario { terms: Terms { slow: Some(slowness), ..scenario.terms }, ..scenario }
}

/// Name, number of peers, script; `reliable` and `unreliable` say how the network begins.
pub const SCENARIOS: &[Scenario] = &[
    reliable("initial_election", 3, |world| Box::pin(elections::initial_election(world))),
    reliable("re_election", 3, |world| Box::pin(elections::re_election(world))),
    reliable("many_elections", 7, |world| Box::pin(elections::many_elections(world))),
    reliable("basic_agree", 3, |world| Box::pin(agree::basic_agree(world))),
    reliable("rpc_bytes", 3, |world| Box::pin(agree::rpc_bytes(world))),
    reliable("follower_failure", 3, |world| Box::pin(agree::follower_failure(world))),
    reliable("leader_failure", 3, |world| Box::pin(agree::leader_failure(world))),
    reliable("fail_agree", 3, |world| Box::pin(agree::fail_agree(world))),
    reliable("fail_no_agree", 5, |world| Box::pin(agree::fail_no_agree(world))),
    reliable("rejoin", 3, |world| Box::pin(agree::rejoin(world))),
    reliable("concurrent_starts", 3, |world| Box::pin(agree::concurrent_starts(world))),
    reliable("backup", 5, |world| Box::pin(agree::backup(world))),
    reliable("count", 3, |world| Box::pin(agree::count(world))),
    reliable("persist1", 3, |world| Box::pin(persistence::persist1(world))),
    reliable("persist2", 5, |world| Box::pin(persistence::persist2(world))),
    reliable("persist3", 3, |world| Box::pin(persistence::persist3(world))),
    reliable("figure8", 5, |world| Box::pin(figure8::figure8(world))),
    unreliable("unreliable_agree", 5, |world| Box::pin(figure8::unreliable_agree(world))),
    unreliable("figure8_unreliable", 5, |world| Box::pin(figure8::figure8_unreliable(world))),
    reliable("reliable_churn", 5, |world| Box::pin(churn::churn(world))),
    unreliable("unreliable_churn", 5, |world| Box::pin(churn::churn(world))),
    snapshot("snapshot_basic", true, |world| Box::pin(snapshots::rounds(world, Stays))),
    snapshot("snapshot_install", true, |world| Box::pin(snapshots::rounds(world, IsCutOff))),
    snapshot("snapshot_install_unreliable", false, |world| {
        Box::pin(snapshots::rounds(world, IsCutOff))
    }),
    snapshot("snapshot_install_crash", true, |world| Box::pin(snapshots::rounds(world, Crashes))),
    snapshot("snapshot_install_un_crash", false, |world| {
        Box::pin(snapshots::rounds(world, Crashes))
    }),
    snapshot("snapshot_all_crash", true, |world| Box::pin(snapshots::all_crash(world))),
    snapshot("snapshot_init", true, |world| Box::pin(snapshots::init(world))),
    snapshot("snapshot_all_crash_unreliable", false, |world| Box::pin(snapshots::all_crash(world))),
    snapshot("snapshot_init_unreliable", false, |world| Box::pin(snapshots::init(world))),
    slow(A_LITTLE, reliable("slow_figure8", 5, |world| Box::pin(figure8::figure8(world)))),
    slow(
        A_LITTLE,
        unreliable("slow_figure8_unreliable", 5, |world| {
            Box::pin(figure8::figure8_unreliable(world))
        }),
    ),
    slow(A_LITTLE, unreliable("slow_churn", 5, |world| Box::pin(churn::churn(world)))),
    slow(
        A_LITTLE,
        snapshot("slow_install", true, |world| Box::pin(snapshots::rounds(world, IsCutOff))),
    ),
    slow(
        A_LITTLE,
        snapshot("slow_install_unreliable", false, |world| {
            Box::pin(snapshots::rounds(world, IsCutOff))
        }),
    ),
    slow(
        A_LITTLE,
        snapshot("slow_install_crash", true, |world| Box::pin(snapshots::rounds(world, Crashes))),
    ),
    slow(VERY, snapshot("contested_install", true, |world| Box::pin(snapshots::contested(world)))),
    reliable("old_terms_wait", 3, |world| Box::pin(figure8::old_terms_wait(world))),
    snapshot("replaced_tail", true, |world| Box::pin(snapshots::replaced_tail(world))),
    reliable("one_of_three_pauses", 3, |world| Box::pin(pauses::one_pauses(world))),
    reliable("one_of_five_pauses", 5, |world| Box::pin(pauses::one_pauses(world))),
    reliable("one_client_alone", 3, |world| Box::pin(agree::one_client_alone(world))),
    reliable("all_pause", 3, |world| Box::pin(pauses::all_pause(world))),
];

const A_LITTLE: Slowness = Slowness { disk_ms: 5, snapshot_ms: 400 };
const VERY: Slowness = Slowness { disk_ms: 5, snapshot_ms: 2_000 };
