//! Long histories, and histories with high concurrency.

use quorate::raft::Random;

use super::random::{RealCounter, RealKeyValue, RealRegister, Subject};
use super::*;

/// Clients that repeatedly invoke an operation and wait for it.
#[derive(Clone, Copy, Debug)]
struct Load {
    clients: u64,
    keys: u64,
    operations: u64,
    /// Of each 100,000 operations, how many get no answer.
    unknown: u64,
}

/// An event, in order of time.
enum Event<O, R> {
    Ask(u64, O),
    Answer(u64, R),
    GiveUp(u64),
}

type Events<S> = Vec<Event<super::random::Operation<S>, super::random::Outcome<S>>>;

/// A real execution under load: in each turn one client invokes an operation, has it executed, or
/// is answered.
fn events<S: Subject>(random: &mut Random, load: Load) -> Events<S> {
    let mut subject = S::default();
    let mut events = Vec::new();
    let mut clients: Vec<(Option<_>, Option<_>)> =
        (0..load.clients).map(|_| (None, None)).collect();
    let mut asked = 0;
    while asked < load.operations {
        let client = random.below(load.clients);
        match &mut clients[client as usize] {
            (waiting @ None, None) => {
                let operation = S::operation(random, load.keys);
                events.push(Event::Ask(client, operation.clone()));
                *waiting = Some(operation);
                asked += 1;
            }
            (waiting, answer @ None) => {
                *answer = waiting.as_ref().map(|asked| subject.execute(asked))
            }
            (waiting, answer) => {
                *waiting = None;
                let answer = answer.take();
                match answer.filter(|_| random.below(100_000) >= load.unknown) {
                    Some(outcome) => events.push(Event::Answer(client, outcome)),
                    None => events.push(Event::GiveUp(client)),
                }
            }
        }
    }
    events
}

fn judge<S: Subject>(events: Events<S>, clients: u64) -> Checker<S::Model> {
    let mut checker = Checker::new(S::Model::default());
    let mut ids = vec![None; clients as usize];
    for (now, event) in (1..).zip(events) {
        match event {
            Event::Ask(client, operation) => {
                ids[client as usize] = Some(checker.invoke(client, operation, now));
            }
            Event::Answer(client, outcome) => {
                ids[client as usize]
                    .into_iter()
                    .for_each(|id| checker.complete(id, outcome.clone(), now));
            }
            Event::GiveUp(client) => {
                ids[client as usize].into_iter().for_each(|id| checker.abandon(id));
            }
        }
    }
    checker
}

#[test]
fn a_long_history_is_judged_and_forgotten() {
    let load = Load { clients: 8, keys: 10, operations: 100_000, unknown: 50 };
    let checker = judge::<RealKeyValue>(events::<RealKeyValue>(&mut Random::new(1), load), 8);
    let remembered = checker.remembered();
    assert!(remembered < 1000, "{remembered} operations are remembered");
    let verdict = checker.finish();
    assert!(verdict.is_linearizable(), "{verdict}");
    let verdict =
        judge::<RealRegister>(events::<RealRegister>(&mut Random::new(2), load), 8).finish();
    assert!(verdict.is_linearizable(), "{verdict}");
    let verdict =
        judge::<RealCounter>(events::<RealCounter>(&mut Random::new(3), load), 8).finish();
    assert!(verdict.is_linearizable(), "{verdict}");
}

fn write(value: u64, from: u64, to: u64) -> Interval<RegisterOperation, RegisterOutcome> {
    let outcome = Some(RegisterOutcome::Done);
    Interval { operation: RegisterOperation::Write(0, value), from, to, outcome }
}

fn read(value: u64, from: u64) -> Interval<RegisterOperation, RegisterOutcome> {
    let outcome = Some(RegisterOutcome::Value(Some(value)));
    Interval { operation: RegisterOperation::Read(0), from, to: from + 1, outcome }
}

#[test]
fn thirty_unknown_writes_at_once_are_no_trouble() {
    let mut steps: Vec<_> =
        (1..=30).map(|value| Interval { outcome: None, ..write(value, value, 1000) }).collect();
    steps.extend((1..=30).map(|value| read(31 - value, 100 + 2 * value)));
    let verdict = check(Register, history(&steps), DEFAULT_STEPS);
    assert!(verdict.is_linearizable(), "{verdict}");
    steps.push(read(30, 200));
    assert!(check(Register, history(&steps), DEFAULT_STEPS).is_violation(), "30 was overwritten");
}

#[test]
fn forty_writes_at_once_have_an_order_and_to_find_none_is_given_up() {
    let mut steps: Vec<_> = (1..=40).map(|value| write(value, value, 1000 + value)).collect();
    steps.extend((1..=40).map(|value| read(41 - value, 100 + 2 * value)));
    let verdict = check(Register, history(&steps), DEFAULT_STEPS);
    assert!(verdict.is_linearizable(), "{verdict}");
    let mut steps: Vec<_> = (1..=40).map(|value| write(value, value, 1000 + value)).collect();
    steps.push(read(99, 2000));
    let verdict = check(Register, history(&steps), 1 << 16);
    assert!(matches!(verdict, Verdict::Unknown { .. }), "{verdict}");
}

/// `cargo test --release --features testing how_long -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn how_long_an_operation_takes() {
    for (operations, unknown) in [(300_000, 0), (2_000, 1000), (300_000, 100)] {
        for (clients, keys) in [(5, 20), (8, 10), (10, 5), (10, 1)] {
            let load = Load { clients, keys, operations, unknown };
            measure::<RealKeyValue>("database", load);
            measure::<RealRegister>("register", load);
            measure::<RealCounter>("counter", load);
        }
    }
}

fn measure<S: Subject>(name: &str, load: Load) {
    let worlds = 300_000 / load.operations;
    let events: Vec<_> =
        (0..worlds).map(|world| events::<S>(&mut Random::new(world), load)).collect();
    let (start, mut remembered, mut good) = (nanoseconds_used(), 0, 0);
    for events in events {
        let checker = judge::<S>(events, load.clients);
        remembered = checker.remembered();
        good += u64::from(checker.finish().is_linearizable());
    }
    let used = (nanoseconds_used() - start) / (load.operations * worlds);
    println!("{name} {load:?}: {used} ns, {remembered} remembered, {good} of {worlds} good");
}

/// Processor time of this thread, because other processes use the machine, too.
fn nanoseconds_used() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
