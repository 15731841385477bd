//! Histories whose verdicts are known.

use super::RegisterOperation::{CompareAndSet, Read, Write};
use super::RegisterOutcome::{Done, Refused, Value};
use super::*;
use quorate::machine::{KeyValueCommand, KeyValueReply};

type Step = Interval<RegisterOperation, RegisterOutcome>;

fn step(operation: RegisterOperation, from: u64, to: u64, outcome: RegisterOutcome) -> Step {
    Interval { operation, from, to, outcome: Some(outcome) }
}

fn write(value: u64, from: u64, to: u64) -> Step {
    step(Write(0, value), from, to, Done)
}

fn read(value: u64, from: u64, to: u64) -> Step {
    step(Read(0), from, to, Value((value > 0).then_some(value)))
}

fn swap(old: u64, new: u64, from: u64, to: u64, outcome: RegisterOutcome) -> Step {
    step(CompareAndSet(0, old, new), from, to, outcome)
}

fn unknown(operation: RegisterOperation, from: u64) -> Step {
    Interval { operation, from, to: u64::MAX, outcome: None }
}

fn increment(from: u64, to: u64, told: u64) -> Interval<CounterOperation, u64> {
    let operation = CounterOperation::Increment { word: b"w".to_vec() };
    Interval { operation, from, to, outcome: Some(told) }
}

#[track_caller]
fn judge<M: Model + Copy>(
    model: M,
    name: &str,
    steps: &[Interval<M::Operation, M::Outcome>],
    is_good: bool,
) where
    M::Operation: Clone,
    M::Outcome: Clone,
{
    let verdicts = [
        check(model, history(steps), DEFAULT_STEPS),
        check_lazily(model, history(steps)),
        check_eagerly(model, history(steps)),
    ];
    for verdict in verdicts {
        assert_eq!(verdict.is_linearizable(), is_good, "{name}: {verdict}");
        assert_eq!(verdict.is_violation(), !is_good, "{name}: {verdict}");
    }
    let plain = check(Plain(model), history(steps), DEFAULT_STEPS);
    assert_eq!(plain.is_linearizable(), is_good, "{name}: {plain}");
}

#[test]
fn registers_that_are_linearizable() {
    let good: &[(&str, &[Step])] = &[
        ("nothing happened", &[]),
        ("an empty register is read", &[read(0, 1, 2)]),
        ("one after the other", &[write(1, 1, 2), read(1, 3, 4), write(2, 5, 6), read(2, 7, 8)]),
        ("a read during a write sees the new value", &[write(1, 1, 9), read(1, 2, 3)]),
        ("a read during a write sees the old value", &[write(1, 1, 9), read(0, 2, 3)]),
        ("old, then new, during one write", &[write(1, 1, 9), read(0, 2, 3), read(1, 4, 5)]),
        (
            "two writes in the order of their invocation",
            &[write(1, 1, 9), write(2, 2, 8), read(2, 10, 11)],
        ),
        ("two writes in the other order", &[write(1, 1, 9), write(2, 2, 8), read(1, 10, 11)]),
        ("an unknown write takes effect", &[unknown(Write(0, 1), 1), read(1, 5, 6)]),
        (
            "an unknown write takes effect late",
            &[unknown(Write(0, 1), 1), write(2, 3, 4), read(2, 5, 6), read(1, 7, 8)],
        ),
        (
            "an unknown write never happens",
            &[unknown(Write(0, 1), 1), read(0, 3, 4), write(2, 5, 6), read(2, 7, 8)],
        ),
        (
            "of two unknown writes the second takes effect first",
            &[unknown(Write(0, 1), 1), unknown(Write(0, 2), 2), read(2, 3, 4), read(1, 5, 6)],
        ),
        (
            "two equal unknown writes take effect both",
            &[
                unknown(Write(0, 1), 1),
                unknown(Write(0, 1), 2),
                write(5, 3, 4),
                read(1, 5, 6),
                write(6, 7, 8),
                read(1, 9, 10),
            ],
        ),
        (
            "an unknown swap was refused",
            &[write(1, 1, 2), unknown(CompareAndSet(0, 7, 8), 3), read(1, 4, 5)],
        ),
        (
            "an unknown swap makes another possible",
            &[
                write(1, 1, 2),
                unknown(CompareAndSet(0, 1, 2), 3),
                swap(2, 3, 4, 5, Done),
                read(3, 6, 7),
            ],
        ),
        (
            "one of two swaps succeeds",
            &[write(1, 1, 2), swap(1, 2, 3, 9, Done), swap(1, 3, 4, 8, Refused), read(2, 10, 11)],
        ),
        (
            "a swap back and forth",
            &[
                write(1, 1, 2),
                swap(1, 2, 3, 9, Done),
                swap(2, 1, 4, 8, Done),
                swap(1, 5, 3, 9, Done),
                read(5, 10, 11),
            ],
        ),
        (
            "an unknown write between two reads of one value is not seen",
            &[write(1, 1, 2), unknown(Write(0, 2), 3), read(1, 4, 5), read(1, 6, 7)],
        ),
        ("an unknown read is nothing", &[unknown(Read(0), 1), write(1, 2, 3), read(1, 4, 5)]),
        (
            "a read that began before all sees the last",
            &[read(3, 1, 20), write(1, 2, 3), write(2, 4, 5), write(3, 6, 7)],
        ),
    ];
    for (name, steps) in good {
        judge(Register, name, steps, true);
    }
}

#[test]
fn registers_that_are_not() {
    let bad: &[(&str, &[Step])] = &[
        ("a stale read", &[write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)]),
        ("an acknowledged write is lost", &[write(1, 1, 2), read(0, 3, 4)]),
        ("a value that nobody wrote", &[write(1, 1, 2), read(7, 3, 4)]),
        ("a value that is written only later", &[read(1, 1, 2), write(1, 3, 4)]),
        ("new, then old, during one write", &[write(1, 1, 9), read(1, 2, 3), read(0, 4, 5)]),
        (
            "two readers see two writes in different orders",
            &[write(1, 1, 20), write(2, 2, 19), read(1, 3, 4), read(2, 5, 6), read(1, 7, 8)],
        ),
        (
            "an unknown write takes effect before it was asked for",
            &[read(1, 1, 2), unknown(Write(0, 1), 3)],
        ),
        (
            "an unknown write takes effect twice",
            &[
                unknown(Write(0, 1), 1),
                write(2, 3, 4),
                read(1, 5, 6),
                write(3, 7, 8),
                read(1, 9, 10),
            ],
        ),
        (
            "an unknown write is undone",
            &[write(1, 1, 2), unknown(Write(0, 2), 3), read(2, 4, 5), read(1, 6, 7)],
        ),
        ("both swaps succeed", &[write(1, 1, 2), swap(1, 2, 3, 9, Done), swap(1, 3, 4, 8, Done)]),
        ("a swap is refused for nothing", &[write(1, 1, 2), swap(1, 2, 3, 4, Refused)]),
        (
            "a swap succeeds on what is gone",
            &[write(1, 1, 2), write(2, 3, 4), swap(1, 3, 5, 6, Done)],
        ),
        (
            "two updates of one value, one lost",
            &[
                write(1, 1, 2),
                read(1, 3, 4),
                read(1, 3, 5),
                swap(1, 2, 6, 7, Done),
                swap(1, 3, 8, 9, Done),
            ],
        ),
        ("an answer to another question", &[step(Write(0, 1), 1, 2, Refused)]),
        ("an unknown read writes nothing", &[unknown(Read(0), 1), read(1, 2, 3)]),
    ];
    for (name, steps) in bad {
        judge(Register, name, steps, false);
    }
}

#[test]
fn counters() {
    let unknown = |from| Interval { outcome: None, ..increment(from, u64::MAX, 0) };
    let good = |name, steps: &[_]| judge(Counter, name, steps, true);
    let bad = |name, steps: &[_]| judge(Counter, name, steps, false);
    good("in turn", &[increment(1, 2, 1), increment(3, 4, 2)]);
    good("at once, answered crosswise", &[increment(1, 9, 2), increment(2, 8, 1)]);
    good("an unknown one was counted", &[increment(1, 2, 1), unknown(3), increment(4, 5, 3)]);
    good("an unknown one was not", &[increment(1, 2, 1), unknown(3), increment(4, 5, 2)]);
    good("two of three unknown ones", &[unknown(1), unknown(2), unknown(3), increment(4, 5, 3)]);
    bad("one is executed twice", &[increment(1, 2, 1), increment(3, 4, 3)]);
    bad("an unknown one is executed twice", &[unknown(1), increment(2, 3, 3)]);
    bad("two get the same count", &[increment(1, 9, 1), increment(2, 8, 1)]);
    bad("the order of two is turned round", &[increment(1, 2, 2), increment(3, 4, 1)]);
    bad("more than there are unknown", &[unknown(1), unknown(2), increment(4, 5, 4)]);
}

type KeyValueStep = Interval<KeyValueOperation, KeyValueOutcome>;

fn command(
    command: KeyValueCommand,
    from: u64,
    reply: impl Into<Option<KeyValueReply>>,
) -> KeyValueStep {
    let outcome = reply.into().map(KeyValueOutcome::Reply);
    Interval { operation: KeyValueOperation::Command(command), from, to: from + 1, outcome }
}

fn put(value: &str, from: u64, version: impl Into<Option<u64>>) -> KeyValueStep {
    let reply = version.into().map(|version| KeyValueReply::Written { version });
    command(KeyValueCommand::Put { key: b"k".to_vec(), value: value.into() }, from, reply)
}

fn append(value: &str, from: u64, version: impl Into<Option<u64>>) -> KeyValueStep {
    let reply = version.into().map(|version| KeyValueReply::Written { version });
    command(KeyValueCommand::Append { key: b"k".to_vec(), value: value.into() }, from, reply)
}

fn put_if(
    value: &str,
    version: u64,
    from: u64,
    reply: impl Into<Option<KeyValueReply>>,
) -> KeyValueStep {
    let key = b"k".to_vec();
    command(KeyValueCommand::PutIfVersion { key, value: value.into(), version }, from, reply)
}

fn delete(from: u64, version: impl Into<Option<u64>>) -> KeyValueStep {
    let reply = version.into().map(|version| KeyValueReply::Deleted { version });
    command(KeyValueCommand::Delete { key: b"k".to_vec() }, from, reply)
}

fn get(from: u64, told: Option<(&str, u64)>) -> KeyValueStep {
    let told = told.map(|(value, version)| (value.into(), version));
    let operation = KeyValueOperation::Read { key: b"k".to_vec() };
    Interval { operation, from, to: from + 1, outcome: Some(KeyValueOutcome::Value(told)) }
}

#[test]
fn databases() {
    use KeyValueReply::{VersionMismatch, Written};
    let good = |name, steps: &[_]| judge(KeyValueModel, name, steps, true);
    let bad = |name, steps: &[_]| judge(KeyValueModel, name, steps, false);
    good(
        "in turn",
        &[put("a", 1, 5), append("b", 3, 6), get(5, Some(("ab", 6))), delete(7, 6), get(9, None)],
    );
    good(
        "an unknown put's version is learned",
        &[put("a", 1, None), get(3, Some(("a", 9))), put_if("b", 9, 5, Written { version: 11 })],
    );
    good(
        "an unknown put that was refused a version",
        &[put("a", 1, 5), put_if("b", 4, 3, None), get(5, Some(("a", 5)))],
    );
    good(
        "a mismatch tells the version",
        &[
            put("a", 1, None),
            put_if("b", 0, 3, VersionMismatch { current: 7 }),
            get(5, Some(("a", 7))),
        ],
    );
    good(
        "deleted, and written anew",
        &[put("a", 1, 5), delete(3, None), get(5, None), put("b", 7, 8), get(9, Some(("b", 8)))],
    );
    good(
        "an unknown append, seen after a put",
        &[append("x", 1, None), put("a", 3, 7), get(5, Some(("ax", 9)))],
    );
    bad("a version is given twice", &[put("a", 1, 5), put("b", 3, 5)]);
    bad("a version goes back over a delete", &[put("a", 1, 5), delete(3, 5), put("b", 5, 4)]);
    bad(
        "an unknown put's version is below one before it",
        &[put("a", 1, 5), put("b", 3, None), get(5, Some(("b", 4)))],
    );
    bad(
        "two versions of one write",
        &[put("a", 1, None), get(3, Some(("a", 9))), get(5, Some(("a", 10)))],
    );
    bad(
        "an append is executed twice",
        &[put("a", 1, 5), append("b", 3, 6), get(5, Some(("abb", 7)))],
    );
    bad(
        "a mismatch of what matches",
        &[put("a", 1, 5), put_if("b", 5, 3, VersionMismatch { current: 5 })],
    );
    bad("deleted, but still there", &[put("a", 1, 5), delete(3, 5), get(5, Some(("a", 5)))]);
    bad(
        "a put if absent over a value",
        &[put("a", 1, 5), put_if("b", 0, 3, Written { version: 6 })],
    );
}

#[test]
fn keys_are_judged_apart() {
    let other = |operation, from, outcome| step(operation, from, from + 1, outcome);
    let good = [write(1, 1, 9), other(Write(1, 5), 2, Done), other(Read(1), 4, Value(Some(5)))];
    judge(Register, "two registers", &good, true);
    let bad = [write(1, 1, 9), other(Write(1, 5), 2, Done), other(Read(1), 4, Value(Some(1)))];
    judge(Register, "a value of another register", &bad, false);
}

#[test]
fn a_violation_says_who_saw_what() {
    let steps = [write(1, 1, 2), write(2, 3, 6), read(2, 4, 5), read(1, 7, 8), write(9, 4, 20)];
    let Verdict::Violation(violation) = check(Register, history(&steps), 1000) else {
        panic!("not found")
    };
    let expected = "\
not linearizable at key 0; 3 operations are, the last:
    client 0, 1 µs (event 1) to 2 µs (event 2): Write(0, 1), answered Done
    client 1, 3 µs (event 3) to 6 µs (event 7): Write(0, 2), answered Done
    client 2, 4 µs (event 4) to 5 µs (event 6): Read(0), answered Value(Some(2))
    client 4, 4 µs (event 5) to 20 µs (event 10): Write(0, 9), answered Done
  which leads to Some(9), where this fits no more:
    client 3, 7 µs (event 8) to 8 µs (event 9): Read(0), answered Value(Some(1))
";
    assert_eq!(violation.to_string(), expected);
}

#[test]
fn out_of_steps_is_unknown_and_a_violation_elsewhere_is_still_found() {
    let mut steps: Vec<Step> = (1..=12).map(|value| write(value, value, 100 + value)).collect();
    steps.push(read(77, 200, 201));
    let verdict = check(Register, history(&steps), 500);
    assert!(matches!(verdict, Verdict::Unknown { key: 0, steps: 500.. }), "{verdict}");
    assert!(check(Register, history(&steps), DEFAULT_STEPS).is_violation());
    steps.push(step(Read(1), 300, 301, Value(Some(1))));
    let Verdict::Violation(violation) = check(Register, history(&steps), 500) else {
        panic!("not found")
    };
    assert_eq!(violation.key, 1);
}

#[test]
fn the_verdict_stands_before_the_end() {
    let mut checker = Checker::new(Register);
    let slow = checker.invoke(1, Read(0), 1);
    let stale = checker.invoke(2, Read(0), 2);
    checker.complete(stale, Value(Some(4)), 3);
    assert!(checker.verdict().is_linearizable(), "nobody knows yet what the first read");
    checker.fail(slow);
    assert!(checker.verdict().is_violation());
    let after = checker.invoke(1, Write(0, 1), 5);
    checker.complete(after, Done, 6);
    assert!(checker.finish().is_violation());
}

#[test]
#[should_panic(expected = "has ended")]
fn nobody_is_answered_twice() {
    let mut checker = Checker::new(Register);
    let id = checker.invoke(1, Write(0, 1), 1);
    checker.complete(id, Done, 2);
    checker.complete(id, Done, 3);
}
