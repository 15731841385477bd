//! One seed, from the first event to the last check.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::sleep_until;

use quorate::machine::{KeyValue, KeyValueCommand, Machine};
use quorate::raft::Micros;

use super::super::MILLISECOND;
use super::super::linearizability::models::{KeyValueModel, KeyValueOperation, KeyValueOutcome};
use super::super::linearizability::{Checker, Model, Verdict};
use super::super::outcome::{Outcome, Settings, panic_message};
use super::super::random::Dice;
use super::super::request::{Request, Turn};
use super::super::trace::Trace;
use super::clients::{Clients, Group, Workload};
use super::config::Terms;
use super::watch::Watch;
use super::world::{Totals, World};

/// How often members are checked for stops and restarts.
const ATTEND: Micros = 20 * MILLISECOND;

/// The settings of a simulation of one machine.
pub(crate) struct Scenario<M: Machine, L: Model> {
    pub machine: Rc<dyn Fn() -> M>,
    pub workload: Workload<M, L>,
    pub model: Rc<dyn Fn() -> L>,
    pub clients: u64,
    /// The longest time between two requests of one client.
    pub think: Micros,
    /// Of this many entries, one is first applied to two copies, on each member; 0: none.
    pub proofs: u64,
}

/// Runs one seed of tier 2 with a key-value database.
pub fn run(settings: &Settings) -> Outcome {
    // Either so often that logs are never idle, or so rarely that they are sealed between two
    // commands.
    let think = *Dice::new(settings.seed, 5).pick(&[150, 450, 450, 2_500]) * MILLISECOND;
    let scenario = Scenario {
        machine: Rc::new(KeyValue::default),
        workload: Rc::new(key_value),
        model: Rc::new(|| KeyValueModel),
        clients: 10,
        think,
        proofs: 50,
    };
    run_scenario(settings, &scenario)
}

/// Keys go out of use, so that an operation of unknown outcome does not leave its key in doubt for
/// ever.
fn key_value(dice: &mut Dice, turn: Turn) -> Request<KeyValue, KeyValueModel> {
    let key = format!("{}.{}", turn.number / 200, dice.below(6)).into_bytes();
    let mut value = turn.number.to_be_bytes().to_vec();
    value.resize(8 + dice.below(12) as usize, 0);
    let command = match dice.below(100) {
        0..40 => KeyValueCommand::Put { key, value },
        40..50 => KeyValueCommand::Append { key, value: value[..8].to_vec() },
        50..55 => KeyValueCommand::PutIfVersion { key, value, version: 0 },
        55..60 => KeyValueCommand::Delete { key },
        _ => {
            let operation = KeyValueOperation::Read { key: key.clone() };
            return Request::read(operation, move |machine: &KeyValue| {
                let found = machine.get(&key);
                KeyValueOutcome::Value(found.map(|(value, version)| (value.to_vec(), version)))
            });
        }
    };
    let operation = KeyValueOperation::Command(command.clone());
    Request::command(operation, command, KeyValueOutcome::Reply)
}

/// Runs one seed of a scenario.
pub(crate) fn run_scenario<M: Machine, L: Model + 'static>(
    settings: &Settings,
    scenario: &Scenario<M, L>,
) -> Outcome
where
    L::Outcome: Send + 'static,
{
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime to simulate on: {error}"),
    };
    let trace = if settings.with_lines { Trace::with_lines() } else { Trace::default() };
    let mut dice = Dice::new(settings.seed, 2);
    let terms = Terms::draw(settings.seed, &mut dice);
    let watch = {
        let _inside = runtime.enter();
        Watch::new(settings.nodes, settings.seed, terms.pace, scenario.proofs, trace)
    };
    let gone = Rc::new(RefCell::new(Gone::default()));
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let life = live(settings, scenario, terms, watch.clone(), gone.clone());
        LocalSet::new().block_on(&runtime, life);
    }));
    drop(runtime);
    let mut watched = watch.lock_late();
    if let Err(panic) = ran {
        watched.invariants.report_breach("no panic", panic_message(&*panic));
    }
    let Gone { answered, given_up, totals, virtual_time } = *gone.borrow();
    let mut outcome = Outcome {
        seed: settings.seed,
        breach: watched.invariants.breach().cloned(),
        trace_hash: watched.trace.hash(),
        events: watched.events,
        virtual_time,
        operations: answered,
        ..Outcome::default()
    };
    outcome.saw_all(&totals.counters, &watched.sights);
    for (what, count) in [
        ("recovered", watched.invariants.recovered()),
        ("unnoticeable", u64::from(watched.invariants.has_given_up())),
        ("committed", watched.invariants.committed()),
        ("given_up", given_up),
        ("seals_checked", watched.sights.seals),
        ("applied_by_hand", watched.sights.applied_by_hand),
        ("switched_by_hand", watched.sights.switched_by_hand),
        ("without_spares", watched.sights.without_spares),
        ("spares_again", watched.sights.spares_again),
        ("duplicates_suppressed", totals.duplicates),
        ("sessions_expired", totals.expired),
    ] {
        outcome.saw(what, count);
    }
    outcome.lines = std::mem::take(&mut watched.trace).into_lines();
    outcome
}

/// What is left of a run.
#[derive(Default)]
struct Gone {
    answered: u64,
    given_up: u64,
    totals: Totals,
    virtual_time: Micros,
}

async fn live<M: Machine, L: Model + 'static>(
    settings: &Settings,
    scenario: &Scenario<M, L>,
    terms: Terms,
    watch: Watch,
    gone: Rc<RefCell<Gone>>,
) where
    L::Outcome: Send + 'static,
{
    let patience = 2 * terms.config.election_timeout_max;
    let evicts = terms.evicts;
    let groups = scenario.clients.div_ceil(terms.sharing);
    let mut world = World::new(settings, terms, watch.clone(), scenario.machine.clone());
    let driver = spawn_local(world.network.clone().drive());
    for id in world.ids() {
        world.start(id).await;
    }
    let clients = Rc::new(Clients {
        members: world.members.clone(),
        watch: watch.clone(),
        workload: scenario.workload.clone(),
        checker: RefCell::new(Some(Checker::new((scenario.model)()))),
        closing: Cell::new(false),
        nodes: settings.nodes,
        evicts,
        groups: (0..groups.max(1))
            .map(|group| Group::new(&world.members, patience, settings.seed ^ group << 32))
            .collect(),
        think: scenario.think,
        patience,
        next: Cell::new(0),
        answered: Cell::new(0),
        given_up: Cell::new(0),
    });
    let mut crew = Crew::new(driver, clients.clone(), scenario.clients, settings.seed);
    world.go_through(settings.time, &mut crew).await;
    if !watch.is_over()
        && let Err((rule, what)) = world.heal(&mut crew).await
    {
        watch.report_breach(rule, what);
    }
    watch.lock().check_elections();
    if watch.is_over() {
        world.ids().for_each(|id| world.take_stock(id));
    } else {
        world.shut_down().await;
    }
    let (totals, sessions) = (world.totals, world.terms.config.sessions);
    let passed = watch.now() + totals.jumped;
    watch.lock().invariants.sessions_lived(&sessions, passed, totals.idle);
    let checker = clients.checker.borrow_mut().take();
    if let Some(checker) = checker {
        let verdict = checker.finish();
        watch.lock().invariants.clients_saw(&verdict);
    }
    *gone.borrow_mut() = Gone {
        answered: clients.answered.get(),
        given_up: clients.given_up.get(),
        totals: world.totals,
        virtual_time: watch.now(),
    };
    world.network.close();
}

impl<M: Machine> World<M> {
    /// The part of the run in which faults occur.
    async fn go_through(&mut self, until: Micros, crew: &mut Crew) {
        loop {
            let now = self.watch.now();
            crew.check(&self.watch).await;
            if now >= until || self.watch.is_over() {
                return;
            }
            let next = self.agenda.next_at().unwrap_or(until);
            let wake = next.min(now + ATTEND).min(until).max(now + MILLISECOND);
            sleep_until(self.watch.moment(wake)).await;
            self.act().await;
            self.attend().await;
            self.heed_leaders();
        }
    }
}

/// Tasks beside the members: clients, and the network's.
pub(super) struct Crew {
    tasks: Vec<JoinHandle<()>>,
    driver: JoinHandle<()>,
    close: Box<dyn Fn()>,
    has_violation: Box<dyn Fn() -> Option<String>>,
    is_closing: bool,
}

impl Crew {
    fn new<M: Machine, L: Model + 'static>(
        driver: JoinHandle<()>,
        clients: Rc<Clients<M, L>>,
        count: u64,
        seed: u64,
    ) -> Crew
    where
        L::Outcome: Send + 'static,
    {
        let begin = |number| {
            let dice = Dice::new(seed, 100 + number);
            spawn_local(clients.clone().live(number, dice))
        };
        let tasks = (0..count).map(begin).collect();
        let closing = clients.clone();
        let has_violation = move || match clients.checker.borrow().as_ref()?.verdict() {
            Verdict::Violation(violation) => Some(violation.to_string()),
            _ => None,
        };
        Crew {
            tasks,
            driver,
            close: Box::new(move || closing.closing.set(true)),
            has_violation: Box::new(has_violation),
            is_closing: false,
        }
    }

    /// Clients begin no new requests.
    pub(super) fn close(&mut self) {
        (self.close)();
        self.is_closing = true;
    }

    /// Whether all clients are done.
    pub(super) fn is_idle(&self) -> bool {
        self.tasks.iter().all(JoinHandle::is_finished)
    }

    /// Checks that no task panicked, and that clients saw nothing that one copy could not have
    /// shown.
    pub(super) async fn check(&mut self, watch: &Watch) {
        let ended = self.tasks.iter_mut().chain([&mut self.driver]);
        for task in ended.filter(|task| task.is_finished()) {
            if watch.is_over() {
                return;
            }
            if self.is_closing {
                continue;
            }
            if let Err(error) = task.await {
                let what = error.try_into_panic().map(|panic| panic_message(&*panic));
                watch.report_breach("no panic", what.unwrap_or_else(|error| error.to_string()));
            }
        }
        if let Some(what) = (self.has_violation)() {
            watch.report_breach("linearizability", what);
        }
    }
}
