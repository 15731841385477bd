//! The test-kit: runs a service's own state machine in a simulated cluster, with all faults and all
//! checks.
//!
//! ```
//! use quorate::machine::{Increment, WordCount};
//! use quorate_simulation::linearizability::models::{Counter, CounterOperation};
//! use quorate_simulation::{Dice, Faults, Request, Simulation, Turn};
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
//! In addition to the invariants of every cluster, the kit checks the contract of the machine:
//!
//! | checked | by |
//! |---|---|
//! | commands have equal effects everywhere | two copies apply each; states, replies compared |
//! | a saved state is complete | members restored from a snapshot reply as those that were not |
//! | clients see one copy | the model, for linearizability |
//! | each command is executed once | the same, over retries, crashes and changes of the leader |
//!
//! *What it does not do:* real time, real disks and real networks; what a service does around its
//! machine.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use quorate::machine::Machine;

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

/// Environment variable: runs this seed and no other.
const SEED: &str = "QUORATE_SEED";
/// Default for the number of runs spent on finding a shorter schedule.
const SHRINKING: usize = 60;

/// The settings of a simulation. It needs a [`machine`](Simulation::machine) and a
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
    /// A simulation of `seed`. Defaults: five members, ten clients, one minute under all faults.
    /// `QUORATE_SEED` in the environment overrides every seed.
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

    /// The number of seeds to run in sequence, from the given seed on. The first failure ends the
    /// sequence.
    #[must_use]
    pub fn seeds(mut self, seeds: u64) -> Simulation {
        self.seeds = seeds;
        self
    }

    /// The number of members.
    #[must_use]
    pub fn nodes(mut self, nodes: u64) -> Simulation {
        assert!((1..=15).contains(&nodes), "a cluster has 1 to 15 members, not {nodes}");
        self.nodes = nodes;
        self
    }

    /// The faults that may occur. Each seed draws about half of them.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Simulation {
        self.faults = faults;
        self
    }

    /// How long faults occur, in virtual time; then everything heals.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Simulation {
        self.time = time;
        self
    }

    /// The number of clients; each has one request under way.
    #[must_use]
    pub fn clients(mut self, clients: u64) -> Simulation {
        self.clients = clients;
        self
    }

    /// The longest time that a client waits between two requests.
    #[must_use]
    pub fn think(mut self, think: Duration) -> Simulation {
        self.think = think.max(Duration::from_millis(1));
        self
    }

    /// After a failure, the number of runs spent on finding a shorter schedule.
    #[must_use]
    pub fn shrinking(mut self, runs: usize) -> Simulation {
        self.shrinking = runs;
        self
    }

    /// Creates the initial state machine of each member.
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
    /// The workload: makes the next request of a client from the random stream and nothing else. A
    /// request names the model's operation. The model is the default value of its type unless
    /// [`model`](ReadySimulation::model) sets another. For a machine without a model there is
    /// [`NoModel`].
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

/// A simulation that is ready to run.
pub struct ReadySimulation<M: Machine, L: Model> {
    simulation: Simulation,
    scenario: Scenario<M, L>,
}

impl<M: Machine, L: Model + 'static> ReadySimulation<M, L>
where
    L::Outcome: Send + 'static,
{
    /// The model that replies to clients are checked against.
    #[must_use]
    pub fn model(mut self, model: L) -> ReadySimulation<M, L>
    where
        L: Clone,
    {
        self.scenario.model = Rc::new(move || model.clone());
        self
    }

    /// Runs the simulation. A failure contains the seed and the broken invariant, and prints as a
    /// report.
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

/// A broken invariant and the run that broke it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed that fails.
    pub seed: u64,
    /// The broken invariant, when and how, under the schedule below.
    pub breach: Breach,
    /// The shortest schedule of faults found that breaks it.
    pub schedule: Schedule,
    /// The trace of the run under this schedule.
    pub trace: Vec<Line>,
}

impl Failure {
    /// The trace as JSON, one line for each event.
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

/// A model that promises nothing, for machines without a model. Operations are `()`, and so are
/// their outcomes.
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
