//! Running a scenario with a seed, or with many.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::time::Duration;

use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use crate::world::{Figures, Terms, World};

/// Every scenario fails after so much virtual time.
const LIMIT: Duration = Duration::from_secs(120);

/// What a scenario does.
pub type Script = fn(World) -> Pin<Box<dyn Future<Output = ()>>>;

/// A scenario.
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// The world that it wants.
    pub terms: Terms,
    /// What happens in it.
    pub script: Script,
}

/// Runs a scenario with one seed, in virtual time, on this thread. `Err` says what was wrong.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Figures, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, live(scenario, seed))
    }));
    outcome.map_err(|panic| text(panic.as_ref()))
}

async fn live(scenario: &Scenario, seed: u64) -> Figures {
    let world = World::start_all(scenario.terms, seed).await;
    let script = spawn_local((scenario.script)(world.clone()));
    let ended = timeout(LIMIT, script).await;
    world.inspect_all();
    match ended {
        Ok(Ok(())) => world.finish().await,
        Ok(Err(failed)) => resume_unwind(failed.into_panic()),
        Err(_) => panic!("not over after {LIMIT:?}"),
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}
