//! The test-kit: a service's own state machine in a simulated cluster, under every fault, with every check.
//!
//! ```
//! use quorate::machine::{Increment, WordCount};
//! use quorate::simulation::linearizability::models::{Counter, CounterOperation};
//! use quorate::simulation::{Dice, Faults, Request, Simulation, Turn};
//!
//! fn next(_: &mut Dice, turn: Turn) -> Request<WordCount, Counter> {
//!     let word = vec![b'a' + (turn.number % 3) as u8];
//!     let operation = CounterOperation::Increment { word: word.clone() };
//!     Request::command(operation, Increment { word }, |count| count)
//! }
//!
//! let summary = Simulation::new(7)
//!     .nodes(3)
//!     .faults(Faults::all())
//!     .time(std::time::Duration::from_secs(2))
//!     .machine(WordCount::default)
//!     .workload(next)
//!     .run()
//!     .unwrap_or_else(|failure| panic!("{failure}"));
//! assert!(summary.operations > 0);
//! ```
//! Beside what holds for every cluster the kit holds the machine to its contract:
//!
//! | checked | by |
//! |---|---|
//! | commands do the same everywhere | each one applied to two copies of the state; states and replies compared at each index |
//! | a state is all that is saved of it | members that went through a snapshot reply as those that did not |
//! | clients see one copy | the model, for linearizability |
//! | each command once | the same, over retries, crashes and changes of the leader |
//!
//! *What it does not do:* real time, real disks and real networks; what a service does around its machine.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::machine::Machine;

use super::cluster::{Scenario, run_scenario};
use super::faults::Faults;
use super::linearizability::Model;
use super::outcome::{Breach, Settings};
use super::random::Dice;
use super::request::{Request, Turn};
use super::schedule::Schedule;
use super::shrink::shrink;
use super::tally::Summary;
use super::trace::Line;

/// Runs this seed and no other.
const SEED: &str = "QUORATE_SEED";
/// So many runs may go into finding a shorter schedule, unless said.
const SHRINKING: usize = 60;

/// A simulation, as far as it is described. It needs a [`machine`](Simulation::machine) and a
/// [`workload`](SimulationOf::workload) before it can run.
#[derive(Clone, Debug)]
pub struct Simulation {
    seed: u64,
    seeds: u64,
    nodes: u64,
    faults: Faults,
    time: Duration,
    clients: u64,
    think: Duration,
    shrinking: usize,
}

impl Simulation {
    /// The one of `seed`: five members and ten clients, a minute under all faults, unless said otherwise. `QUORATE_SEED` in the
    /// environment takes the place of every seed.
    pub fn new(seed: u64) -> Simulation {
        Simulation {
            seed,
            seeds: 1,
            nodes: 5,
            faults: Faults::all(),
            time: Duration::from_secs(60),
            clients: 10,
            think: Duration::from_millis(300),
            shrinking: SHRINKING,
        }
    }

    /// So many seeds, one after the other, from the given one on; the first that fails ends it.
    #[must_use]
    pub fn seeds(mut self, seeds: u64) -> Simulation {
        self.seeds = seeds;
        self
    }

    /// So many members.
    #[must_use]
    pub fn nodes(mut self, nodes: u64) -> Simulation {
        assert!((1..=15).contains(&nodes), "a cluster has 1 to 15 members, not {nodes}");
        self.nodes = nodes;
        self
    }

    /// What may go wrong. Each seed draws about half of it.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Simulation {
        self.faults = faults;
        self
    }

    /// For so long things go wrong, in virtual time; then everything heals.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Simulation {
        self.time = time;
        self
    }

    /// So many clients, each with one request under way.
    #[must_use]
    pub fn clients(mut self, clients: u64) -> Simulation {
        self.clients = clients;
        self
    }

    /// A client waits at most so long between two requests.
    #[must_use]
    pub fn think(mut self, think: Duration) -> Simulation {
        self.think = think.max(Duration::from_millis(1));
        self
    }

    /// After a failure so many runs may go into finding a shorter schedule.
    #[must_use]
    pub fn shrinking(mut self, runs: usize) -> Simulation {
        self.shrinking = runs;
        self
    }

    /// The state machine of each member, as it begins.
    pub fn machine<M: Machine>(self, make: impl Fn() -> M + 'static) -> SimulationOf<M> {
        SimulationOf { simulation: self, make: Rc::new(make) }
    }
}

/// A simulation of the machine `M`.
pub struct SimulationOf<M> {
    simulation: Simulation,
    make: Rc<dyn Fn() -> M>,
}

impl<M: Machine> SimulationOf<M> {
    /// What clients ask: the next request of a client, made up from the dice and nothing else. The requests say what the model
    /// calls them; it is the default one of its type unless [`model`](ReadySimulation::model) says otherwise. For a machine
    /// without a model there is [`NoModel`].
    pub fn workload<L: Model + Default + 'static>(
        self,
        workload: impl Fn(&mut Dice, Turn) -> Request<M, L> + 'static,
    ) -> ReadySimulation<M, L> {
        let Simulation { clients, think, .. } = self.simulation;
        let scenario = Scenario {
            machine: self.make,
            workload: Rc::new(workload),
            model: Rc::new(L::default),
            clients,
            think: think.as_micros() as u64,
            proofs: 1,
        };
        ReadySimulation { simulation: self.simulation, scenario }
    }
}

/// A simulation that can run.
pub struct ReadySimulation<M: Machine, L: Model> {
    simulation: Simulation,
    scenario: Scenario<M, L>,
}

impl<M: Machine, L: Model + 'static> ReadySimulation<M, L>
where
    L::Outcome: Send + 'static,
{
    /// The model that clients' answers are held against.
    #[must_use]
    pub fn model(mut self, model: L) -> ReadySimulation<M, L>
    where
        L: Clone,
    {
        self.scenario.model = Rc::new(move || model.clone());
        self
    }

    /// Runs. The failure says which seed it was and what must not be, and prints as a report.
    pub fn run(&self) -> Result<Summary, Failure> {
        let Simulation { seed, seeds, .. } = self.simulation;
        let only = std::env::var(SEED).ok().and_then(|text| text.parse::<u64>().ok());
        let range = only.map_or(seed..seed + seeds, |only| only..only + 1);
        let mut summary = Summary::default();
        for seed in range {
            let settings = self.settings(seed);
            let outcome = run_scenario(&settings, &self.scenario);
            match &outcome.breach {
                None => summary.add(&outcome),
                Some(breach) => return Err(self.failure(&settings, breach)),
            }
        }
        Ok(summary)
    }

    fn settings(&self, seed: u64) -> Settings {
        let Simulation { nodes, faults, time, .. } = self.simulation;
        let time = time.as_micros() as u64;
        let schedule = Schedule::draw(seed, faults, nodes, time);
        Settings { seed, nodes, time, schedule, with_lines: false }
    }

    fn failure(&self, settings: &Settings, breach: &Breach) -> Failure {
        let run = |settings: &Settings| run_scenario(settings, &self.scenario);
        let mut shortest = shrink(settings, breach.rule, self.simulation.shrinking, run);
        shortest.with_lines = true;
        let outcome = run(&shortest);
        let Settings { seed, schedule, .. } = shortest;
        Failure {
            seed,
            breach: outcome.breach.unwrap_or_else(|| breach.clone()),
            schedule,
            trace: outcome.lines,
        }
    }
}

/// What must not be, and how it came to be.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed that fails.
    pub seed: u64,
    /// Which rule was broken, when and how, under the schedule below.
    pub breach: Breach,
    /// The shortest schedule of faults that was found to break it.
    pub schedule: Schedule,
    /// What happened under it.
    pub trace: Vec<Line>,
}

impl Failure {
    /// The trace as JSON, a line for each thing that happened.
    pub fn trace_json(&self) -> String {
        self.trace.iter().map(|line| format!("{}\n", Json(line))).collect()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, breach, schedule, trace } = self;
        let at = breach.at as f64 / 1e6;
        writeln!(f, "seed {seed} breaks \"{}\" after {at:.3} virtual seconds:", breach.rule)?;
        writeln!(f, "  {}", breach.what)?;
        match schedule.acts.len() {
            0 => writeln!(f, "without any fault.")?,
            count => {
                writeln!(f, "the shortest schedule of faults that was found ({count}):")?;
                schedule.acts.iter().try_for_each(|act| writeln!(f, "  {act}"))?;
            }
        }
        writeln!(f, "{} lines of trace: Failure::trace_json().", trace.len())?;
        write!(f, "To repeat it: {SEED}={seed} and the same program.")
    }
}

impl std::error::Error for Failure {}

/// A line of a trace as a JSON object.
struct Json<'a>(&'a Line);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { at, node, what } = self.0;
        write!(f, "{{\"at\":{at},\"node\":")?;
        match node {
            Some(node) => write!(f, "{node}")?,
            None => f.write_str("null")?,
        }
        f.write_str(",\"what\":\"")?;
        for c in what.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"}")
    }
}

/// Promises nothing: for machines without a model. Requests are `()`, and so are their outcomes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoModel;

impl Model for NoModel {
    type Operation = ();
    type Outcome = ();
    type Key = ();
    type State = ();

    fn key(&self, _operation: &()) {}

    fn initial(&self, _key: &()) {}

    fn step(&self, _state: &(), _operation: &(), _outcome: Option<&()>) -> Option<()> {
        Some(())
    }

    fn only_reads(&self, _operation: &(), _outcome: Option<&()>) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_json() {
        let what = "says \"no\" \\ \n to n1 – ü".to_string();
        let line = Line { at: 5, node: Some(2), what: what.clone() };
        let read: serde_json::Value = serde_json::from_str(&Json(&line).to_string()).unwrap();
        assert_eq!((&read["at"], &read["node"]), (&5.into(), &2.into()));
        assert_eq!(read["what"], what);
        let of_nobody = Json(&Line { node: None, ..line }).to_string();
        assert!(of_nobody.contains("\"node\":null"), "{of_nobody}");
    }
}
