//! Counters, and limits that follow from other limits.

use serde_json::Value;

use super::world;
use crate::raft::*;

/// Counters with values from `first` on, all different.
fn counts(first: u64) -> Counters {
    let mut fields = serde_json::to_value(Counters::default()).expect("a map of numbers");
    for (value, count) in fields.as_object_mut().expect("a map").values_mut().zip(first..) {
        *value = Value::from(count);
    }
    serde_json::from_value(fields).expect("the same fields")
}

/// The counters of two incarnations or nodes are summed; of maxima the larger one is kept.
#[test]
fn counts_add_up_and_of_maxima_the_larger_stays() {
    let mut sum = counts(2);
    sum.add(&counts(100));
    let fields = [counts(2), counts(100), sum].map(|of| serde_json::to_value(of).expect("a map"));
    let [one, other, sum] = fields.each_ref().map(|of| of.as_object().expect("a map"));
    for (name, sum) in sum {
        let [one, other, sum] =
            [&one[name], &other[name], sum].map(|n| n.as_u64().expect("a number"));
        let expected = if name.starts_with("max_") { one.max(other) } else { one + other };
        assert_eq!(sum, expected, "{name}");
    }
}

/// Trigger, trailing entries and pin; the part of the pin for committed entries is what proposals
/// do not need (A19).
#[test]
fn a19_the_log_has_room_for_trigger_trailing_entries_and_pin() {
    let config = RaftConfig {
        snapshot_bytes: Some(1_000),
        trailing_bytes: 200,
        pin_bytes: 50,
        uncommitted_bytes: 20,
        ..world::config()
    };
    let most = (config.log_bytes_max(), config.committed_bytes_max());
    assert_eq!(most, (Some(1_250), Some(1_230)));
    assert_eq!(config.compacting_bytes_min(), Some(1_200));
    let without_trigger = RaftConfig { snapshot_bytes: None, ..config };
    assert_eq!(without_trigger.log_bytes_max(), None);
}
