//! A state machine with a bug that shows only when a member restores a snapshot, and the simulation
//! that finds it.
//!
//! Both desks issue numbered tickets. The forgetful one keeps the next number outside of the state
//! that it saves. The bug does not show while all members run: only a member that restarts from a
//! snapshot issues old numbers again.

use std::time::Duration;

use quorate::machine::{ApplyContext, Machine, Replicated};
use quorate_simulation::linearizability::models::{Counter, CounterOperation};
use quorate_simulation::{Dice, Failure, Faults, Request, Simulation, Summary, Turn};
use serde::{Deserialize, Serialize};

#[derive(Clone, Default, Serialize, Deserialize)]
struct ForgetfulDesk {
    customers: Vec<u64>,
    #[serde(skip)]
    tickets: u64,
}

impl Replicated for ForgetfulDesk {
    type Command = u64;
    type Reply = u64;

    fn apply(&mut self, customer: u64, _: &ApplyContext) -> u64 {
        self.customers.push(customer);
        self.tickets += 1;
        self.tickets
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct CarefulDesk {
    customers: Vec<u64>,
}

impl Replicated for CarefulDesk {
    type Command = u64;
    type Reply = u64;

    fn apply(&mut self, customer: u64, _: &ApplyContext) -> u64 {
        self.customers.push(customer);
        self.customers.len() as u64
    }
}

/// Any customer takes a ticket. The specification is that of a counter.
fn customers<D>(_: &mut Dice, turn: Turn) -> Request<D, Counter>
where
    D: Machine<Command = u64, Reply = u64>,
{
    let take = CounterOperation::Increment { word: b"tickets".to_vec() };
    Request::command(take, turn.number, |ticket| ticket)
}

fn simulate<D>(faults: Faults) -> Result<Summary, Failure>
where
    D: Machine<Command = u64, Reply = u64> + Default,
{
    let simulation = Simulation::new(1).seeds(5).nodes(3).faults(faults);
    let time = Duration::from_secs(20);
    simulation.time(time).machine(D::default).workload(customers).run()
}

fn main() -> Result<(), Failure> {
    let calm = simulate::<ForgetfulDesk>(Faults::none())?;
    println!("without faults the forgetful desk gives {} tickets, all different", calm.operations);
    match simulate::<ForgetfulDesk>(Faults::all()) {
        Err(failure) => println!("\nwith faults it does not:\n{failure}\n"),
        Ok(_) => panic!("the simulation has not found the bug"),
    }
    let careful = simulate::<CarefulDesk>(Faults::all())?;
    println!(
        "under the same faults the careful desk gives {} tickets, all different",
        careful.operations
    );
    Ok(())
}
