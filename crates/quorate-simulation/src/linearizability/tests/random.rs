//! Random histories: real executions must be accepted, and for damaged ones the verdict must equal
//! that of an exhaustive search.

use super::*;
use quorate::machine::{ApplyContext, Increment, KeyValue, KeyValueCommand, Machine, WordCount};
use quorate::raft::Random;

/// A real implementation, independent of its model.
pub(super) trait Subject: Default {
    type Model: Model<Operation: Clone, Outcome: Clone + PartialEq> + Default + Copy;

    fn operation(random: &mut Random, keys: u64) -> Operation<Self>;

    fn execute(&mut self, operation: &Operation<Self>) -> Outcome<Self>;
}

pub(super) type Operation<S> = <<S as Subject>::Model as Model>::Operation;
pub(super) type Outcome<S> = <<S as Subject>::Model as Model>::Outcome;
type Intervals<S> = Vec<Interval<Operation<S>, Outcome<S>>>;

#[derive(Default)]
pub(super) struct RealRegister([Option<u64>; 32]);

impl Subject for RealRegister {
    type Model = Register;

    fn operation(random: &mut Random, keys: u64) -> RegisterOperation {
        let key = random.below(keys);
        match random.below(5) {
            0..2 => RegisterOperation::Read(key),
            2..4 => RegisterOperation::Write(key, random.below(4)),
            _ => RegisterOperation::CompareAndSet(key, random.below(4), random.below(4)),
        }
    }

    fn execute(&mut self, operation: &RegisterOperation) -> RegisterOutcome {
        match *operation {
            RegisterOperation::Read(key) => RegisterOutcome::Value(self.0[key as usize]),
            RegisterOperation::Write(key, value) => {
                self.0[key as usize] = Some(value);
                RegisterOutcome::Done
            }
            RegisterOperation::CompareAndSet(key, old, new) => {
                if self.0[key as usize] != Some(old) {
                    return RegisterOutcome::Refused;
                }
                self.0[key as usize] = Some(new);
                RegisterOutcome::Done
            }
        }
    }
}

#[derive(Default)]
pub(super) struct RealCounter(WordCount);

impl Subject for RealCounter {
    type Model = Counter;

    fn operation(random: &mut Random, keys: u64) -> CounterOperation {
        let word = vec![b'a' + random.below(keys) as u8];
        match random.below(3) {
            0 => CounterOperation::Read { word },
            _ => CounterOperation::Increment { word },
        }
    }

    fn execute(&mut self, operation: &CounterOperation) -> u64 {
        match operation {
            CounterOperation::Read { word } => self.0.get(word),
            CounterOperation::Increment { word } => {
                let context = ApplyContext::new(1, 1, 0, 0);
                Machine::apply(&mut self.0, Increment { word: word.clone() }, &context)
            }
        }
    }
}

#[derive(Default)]
pub(super) struct RealKeyValue {
    machine: KeyValue,
    index: u64,
}

impl Subject for RealKeyValue {
    type Model = KeyValueModel;

    fn operation(random: &mut Random, keys: u64) -> KeyValueOperation {
        let key = vec![b'a' + random.below(keys) as u8];
        let value = vec![b'0' + random.below(3) as u8];
        let version = random.below(5);
        KeyValueOperation::Command(match random.below(10) {
            0..4 => return KeyValueOperation::Read { key },
            4..6 => KeyValueCommand::Put { key, value },
            6 => KeyValueCommand::Append { key, value },
            7 => KeyValueCommand::Delete { key },
            8 => KeyValueCommand::PutIfVersion { key, value, version },
            _ => KeyValueCommand::DeleteIfVersion { key, version },
        })
    }

    fn execute(&mut self, operation: &KeyValueOperation) -> KeyValueOutcome {
        match operation {
            KeyValueOperation::Read { key } => {
                let found = self.machine.get(key);
                KeyValueOutcome::Value(found.map(|(value, version)| (value.to_vec(), version)))
            }
            KeyValueOperation::Command(command) => {
                self.index += 1;
                let context = ApplyContext::new(self.index, 1, 0, 0);
                KeyValueOutcome::Reply(self.machine.apply(command.clone(), &context))
            }
        }
    }
}

/// The shape of random histories.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) operations: u64,
    pub(super) keys: u64,
    /// The longest distance of invocations and returns from the execution; executions are 10 apart.
    pub(super) spread: u64,
    /// Of each hundred operations, how many get no answer, and how many are executed twice.
    pub(super) unknown: u64,
    pub(super) twice: u64,
}

/// Executes operations one after the other, and spreads each around its execution.
pub(super) fn execution<S: Subject>(random: &mut Random, shape: Shape) -> Intervals<S> {
    let mut subject = S::default();
    let mut intervals: Intervals<S> = Vec::new();
    for at in 0..shape.operations {
        let operation = S::operation(random, shape.keys);
        let from = 1000 + at * 10 - random.below(shape.spread).min(999);
        let to = 1001 + at * 10 + random.below(shape.spread);
        if random.percent(shape.unknown) {
            if random.percent(60) {
                subject.execute(&operation);
            }
            let from = from.saturating_sub(random.below(shape.spread * 5)).max(1);
            intervals.push(Interval { operation, from, to, outcome: None });
            continue;
        }
        let outcome = Some(subject.execute(&operation));
        if random.percent(shape.twice) {
            subject.execute(&operation);
        }
        intervals.push(Interval { operation, from, to, outcome });
    }
    intervals
}

/// Damages a history in one of the ways in which a database could; some changes can't be detected.
fn damage<S: Subject>(random: &mut Random, intervals: &mut Intervals<S>) {
    let one = random.below(intervals.len() as u64) as usize;
    let other = random.below(intervals.len() as u64) as usize;
    match random.below(4) {
        0 => intervals[one].outcome = intervals[other].outcome.clone(),
        1 => {
            let moved = (intervals[one].from, intervals[one].to);
            (intervals[one].from, intervals[one].to) = (intervals[other].from, intervals[other].to);
            (intervals[other].from, intervals[other].to) = moved;
        }
        2 => drop(intervals.remove(one)),
        _ => {
            let mut elsewhere = S::default();
            let outcome = elsewhere.execute(&intervals[one].operation);
            intervals[one].outcome = Some(outcome);
        }
    }
}

/// Tries every order, of all keys at once, with and without each unknown operation; remembers
/// nothing.
fn exists_order<S: Subject>(intervals: &Intervals<S>) -> bool {
    let model = S::Model::default();
    let mut keys: Vec<_> = intervals.iter().map(|one| model.key(&one.operation)).collect();
    keys.sort();
    keys.dedup();
    keys.iter().all(|key| {
        let of_key = intervals.iter().filter(|one| model.key(&one.operation) == *key);
        exists_order_after::<S>(&model, &model.initial(key), &of_key.collect::<Vec<_>>())
    })
}

fn exists_order_after<S: Subject>(
    model: &S::Model,
    state: &<S::Model as Model>::State,
    left: &[&Interval<Operation<S>, Outcome<S>>],
) -> bool {
    if left.iter().all(|one| one.outcome.is_none()) {
        return true;
    }
    (0..left.len()).any(|first| {
        let returned_before =
            |one: &&&Interval<_, _>| one.outcome.is_some() && one.to <= left[first].from;
        if left.iter().any(|one| returned_before(&one)) {
            return false;
        }
        let others: Vec<_> = [&left[..first], &left[first + 1..]].concat();
        let next = model.step(state, &left[first].operation, left[first].outcome.as_ref());
        next.is_some_and(|next| exists_order_after::<S>(model, &next, &others))
    })
}

/// The verdict, which must be equal for all ways to search.
fn agreed<S: Subject>(intervals: &Intervals<S>, what: &dyn std::fmt::Debug) -> bool {
    let model = S::Model::default();
    let verdicts = [
        check(model, history(intervals), DEFAULT_STEPS),
        check_lazily(model, history(intervals)),
        check_eagerly(model, history(intervals)),
        check(Plain(model), history(intervals), DEFAULT_STEPS),
    ];
    for verdict in &verdicts {
        let is_same = verdict.is_linearizable() == verdicts[0].is_linearizable();
        assert!(is_same && !matches!(verdict, Verdict::Unknown { .. }), "{what:?}: {verdicts:#?}");
    }
    verdicts[0].is_linearizable()
}

/// Compares with the exhaustive search. Returns how many histories were rejected.
fn compare_small<S: Subject>(seed: u64, cases: u64) -> u64 {
    let mut random = Random::new(seed);
    let mut rejected = 0;
    for case in 0..cases {
        let shape = Shape {
            operations: 1 + random.below(7),
            keys: 1 + random.below(5) / 4,
            spread: [5, 20, 40, 80][random.below(4) as usize],
            unknown: [0, 20, 60][random.below(3) as usize],
            twice: [0, 10][random.below(2) as usize],
        };
        let mut intervals = execution::<S>(&mut random, shape);
        let is_damaged = random.percent(70);
        if is_damaged {
            damage::<S>(&mut random, &mut intervals);
        }
        let verdict = agreed::<S>(&intervals, &(seed, case, shape));
        assert_eq!(verdict, exists_order::<S>(&intervals), "{seed} {case} {shape:?}");
        assert!(verdict || is_damaged || shape.twice > 0, "{seed} {case} {shape:?}");
        rejected += u64::from(!verdict);
    }
    rejected
}

#[test]
fn of_small_histories_the_verdict_is_that_of_trying_everything() {
    let cases = 6000;
    let rejected = [
        compare_small::<RealRegister>(1, cases),
        compare_small::<RealCounter>(2, cases),
        compare_small::<RealKeyValue>(3, cases),
    ];
    println!("of {cases} each were rejected: {rejected:?}");
    assert!(rejected.iter().all(|count| *count > cases / 20 && *count < cases), "{rejected:?}");
}

/// Returns how many of `cases` damaged histories of some length were rejected; undamaged ones must
/// never be.
fn compare_longer<S: Subject>(seed: u64, cases: u64) -> u64 {
    let mut random = Random::new(seed);
    let mut rejected = 0;
    for case in 0..cases {
        let shape = Shape {
            operations: 20 + random.below(20),
            keys: 1 + random.below(3),
            spread: [5, 20, 40][random.below(3) as usize],
            unknown: [0, 10, 20][random.below(3) as usize],
            twice: 0,
        };
        let mut intervals = execution::<S>(&mut random, shape);
        assert!(agreed::<S>(&intervals, &(seed, case, shape)), "{seed} {case} {shape:?}");
        damage::<S>(&mut random, &mut intervals);
        rejected += u64::from(!agreed::<S>(&intervals, &(seed, case, shape)));
    }
    rejected
}

#[test]
fn every_way_to_search_comes_to_the_same_verdict() {
    let cases = 300;
    let rejected = [
        compare_longer::<RealRegister>(4, cases),
        compare_longer::<RealCounter>(5, cases),
        compare_longer::<RealKeyValue>(6, cases),
    ];
    println!("of {cases} each were rejected: {rejected:?}");
    assert!(rejected.iter().all(|count| *count > cases / 20 && *count < cases), "{rejected:?}");
}

/// Feeds the intervals to a checker as they happen; a client without an answer gives up some time
/// later.
fn judge_while_it_happens<S: Subject>(random: &mut Random, intervals: &Intervals<S>) -> bool {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (at, interval) in intervals.iter().enumerate() {
        let patience = if interval.outcome.is_none() { random.below(200) } else { 0 };
        events.extend([(interval.from, true, at), (interval.to + patience, false, at)]);
    }
    events.sort();
    let mut checker = Checker::new(S::Model::default());
    let mut ids = vec![None; intervals.len()];
    for (now, is_invocation, at) in events {
        match (is_invocation, ids[at], &intervals[at].outcome) {
            (true, ..) => ids[at] = Some(checker.invoke(1, intervals[at].operation.clone(), now)),
            (_, Some(id), Some(outcome)) => checker.complete(id, outcome.clone(), now),
            (_, Some(id), None) if random.percent(90) => checker.abandon(id),
            _ => (),
        }
    }
    checker.finish().is_linearizable()
}

fn compare_in_flight<S: Subject>(seed: u64) {
    let mut random = Random::new(seed);
    let mut rejected = 0;
    for case in 0..500 {
        let shape = Shape { operations: 30, keys: 2, spread: 30, unknown: 10, twice: 0 };
        let mut intervals = execution::<S>(&mut random, shape);
        if random.percent(50) {
            damage::<S>(&mut random, &mut intervals);
        }
        let whole = check(S::Model::default(), history(&intervals), DEFAULT_STEPS);
        let in_flight = judge_while_it_happens::<S>(&mut random, &intervals);
        assert_eq!(whole.is_linearizable(), in_flight, "{seed} {case}: {whole}");
        rejected += u64::from(!in_flight);
    }
    assert!((50..450).contains(&rejected), "{rejected}");
}

#[test]
fn judged_while_it_happens_a_history_is_the_same_as_judged_whole() {
    compare_in_flight::<RealRegister>(7);
    compare_in_flight::<RealCounter>(8);
    compare_in_flight::<RealKeyValue>(9);
}
