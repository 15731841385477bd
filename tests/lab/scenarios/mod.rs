//! All scenarios, as their scripts say.

use crate::runs::{Scenario, Script};
use crate::world::Terms;

mod agreement;
mod elections;

/// A row of the list: name, number of peers, script.
const fn scenario(name: &'static str, peers: usize, script: Script) -> Scenario {
    Scenario { name, terms: Terms { peers, reliable: true, snapshots: false }, script }
}

/// The scenarios, in the order of the table.
pub const SCENARIOS: &[Scenario] = &[
    scenario("initial_election", 3, |world| Box::pin(elections::initial_election(world))),
    scenario("re_election", 3, |world| Box::pin(elections::re_election(world))),
    scenario("many_elections", 7, |world| Box::pin(elections::many_elections(world))),
    scenario("basic_agree", 3, |world| Box::pin(agreement::basic_agree(world))),
    scenario("rpc_bytes", 3, |world| Box::pin(agreement::rpc_bytes(world))),
];
