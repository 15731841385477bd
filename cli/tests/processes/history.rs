//! What clients saw, and whether it can have been one register per key.
//!
//! The answers name versions: the place of a write among all writes. So the order need not be searched, only checked:
//!
//! - A version has one value, and a value one version: each is written once, so a write that was executed twice shows.
//! - What was read was written, and not before it was sent.
//! - Time: what ended before another operation began has a version below that of a write, and not above that of a read.
//!
//! These hold if and only if the operations, ordered by version, the write first, are a run of a register that agrees with
//! the clocks. An acknowledged write that is lost, and a stale read, break the third.

use std::collections::BTreeMap;

/// Version 0: the key was absent.
pub type Version = u64;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Acknowledged with this version; `None`: nobody knows whether it was executed.
    Write(Option<Version>),
    /// Saw this version.
    Read(Version),
}

/// One operation, with times in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub client: usize,
    pub key: String,
    /// What was written or read; of an absent key nothing.
    pub value: String,
    pub kind: Kind,
    pub began: u64,
    pub ended: u64,
}

/// Checks all keys; what is wrong, with the key's history.
pub fn check(history: &[Operation]) -> Result<(), String> {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        keys.entry(&operation.key).or_default().push(operation);
    }
    for (key, mut operations) in keys {
        operations.sort_by_key(|operation| operation.began);
        check_key(&operations).map_err(|why| {
            let lines: Vec<_> = operations.iter().map(|operation| line(operation)).collect();
            format!("key {key}: {why}\n{}", lines.join("\n"))
        })?;
    }
    Ok(())
}

fn line(operation: &Operation) -> String {
    let Operation { client, value, kind, began, ended, .. } = operation;
    format!("{began:>10} .. {ended:>10}  client {client}  {kind:?} {value}")
}

fn check_key(operations: &[&Operation]) -> Result<(), String> {
    let versions = versions(operations)?;
    let placed = operations.iter().filter_map(|operation| place(operation, &versions));
    check_times(placed.collect())
}

/// Which version each value has.
fn versions<'a>(operations: &[&'a Operation]) -> Result<BTreeMap<&'a str, Version>, String> {
    let (mut versions, mut values) = (BTreeMap::new(), BTreeMap::new());
    for operation in operations {
        let value = operation.value.as_str();
        let (Kind::Write(Some(version)) | Kind::Read(version)) = operation.kind else { continue };
        let other = *versions.entry(value).or_insert(version);
        if other != version {
            return Err(format!("{value} has the versions {other} and {version}"));
        }
        let other = *values.entry(version).or_insert(value);
        if other != value {
            return Err(format!("version {version} is {other} and {value}"));
        }
    }
    let written = |value| operations.iter().any(|o| o.value == value && o.kind.is_write());
    match versions.iter().find(|&(&value, &version)| version > 0 && !written(value)) {
        Some((value, _)) => Err(format!("{value} was read and never written")),
        None => Ok(versions),
    }
}

impl Kind {
    fn is_write(&self) -> bool {
        matches!(self, Kind::Write(_))
    }
}

/// An operation with its version. A write in doubt that nobody saw has none; one that was seen may have ended any time.
fn place<'a>(
    operation: &'a Operation,
    versions: &BTreeMap<&str, Version>,
) -> Option<(&'a Operation, Version, u64)> {
    match operation.kind {
        Kind::Write(Some(version)) | Kind::Read(version) => {
            Some((operation, version, operation.ended))
        }
        Kind::Write(None) => {
            versions.get(operation.value.as_str()).map(|&version| (operation, version, u64::MAX))
        }
    }
}

/// Goes through beginnings in order, with the highest version among what had ended by then.
fn check_times(placed: Vec<(&Operation, Version, u64)>) -> Result<(), String> {
    let mut by_end = placed.clone();
    by_end.sort_by_key(|&(_, _, ended)| ended);
    let mut ended = by_end.into_iter().peekable();
    let mut newest: Option<(&Operation, Version)> = None;
    for (operation, version, _) in placed {
        while let Some((earlier, seen, _)) = ended.next_if(|&(_, _, end)| end < operation.began) {
            if newest.is_none_or(|(_, newest)| seen > newest) {
                newest = Some((earlier, seen));
            }
        }
        let Some((earlier, seen)) = newest else { continue };
        if seen > version || (seen == version && operation.kind.is_write()) {
            let (earlier, later) = (line(earlier), line(operation));
            return Err(format!(
                "version {seen} had been seen before version {version}:\n{earlier}\n{later}\n"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: &str, version: u64, began: u64, ended: u64) -> Operation {
        operation(value, Kind::Write(Some(version)), began, ended)
    }

    fn doubt(value: &str, began: u64, ended: u64) -> Operation {
        operation(value, Kind::Write(None), began, ended)
    }

    fn read(value: &str, version: u64, began: u64, ended: u64) -> Operation {
        operation(value, Kind::Read(version), began, ended)
    }

    fn operation(value: &str, kind: Kind, began: u64, ended: u64) -> Operation {
        Operation { client: 1, key: "k".into(), value: value.into(), kind, began, ended }
    }

    #[test]
    fn good_histories_pass() {
        for good in [
            vec![],
            vec![read("", 0, 0, 1), write("a", 3, 2, 5), read("a", 3, 6, 7)],
            // While a write is under way either value may be read.
            vec![write("a", 3, 0, 1), write("b", 4, 2, 9), read("a", 3, 3, 4), read("b", 4, 5, 6)],
            // Two writes at once: any order.
            vec![write("a", 4, 0, 9), write("b", 3, 0, 9), read("a", 4, 10, 11)],
            // In doubt: never executed, or long after it was given up.
            vec![write("a", 3, 0, 1), doubt("b", 2, 3), read("a", 3, 4, 5)],
            vec![write("a", 3, 0, 1), doubt("b", 2, 3), read("a", 3, 4, 5), read("b", 9, 6, 7)],
        ] {
            assert_eq!(check(&good), Ok(()));
        }
    }

    #[test]
    fn bad_histories_are_seen_and_shown() {
        for (bad, why) in [
            (vec![write("a", 3, 0, 1), read("", 0, 2, 3)], "had been seen"),
            (vec![write("a", 3, 0, 1), write("b", 4, 2, 3), read("a", 3, 4, 5)], "had been seen"),
            (
                vec![
                    write("a", 3, 0, 1),
                    write("b", 4, 2, 9),
                    read("b", 4, 3, 4),
                    read("a", 3, 5, 6),
                ],
                "had been seen",
            ),
            (vec![write("a", 3, 0, 1), write("b", 2, 2, 3)], "had been seen"),
            (vec![read("a", 3, 0, 1), write("a", 3, 2, 3)], "had been seen"),
            (vec![read("b", 3, 0, 1), doubt("b", 2, 3)], "had been seen"),
            (vec![read("a", 3, 0, 1)], "never written"),
            (vec![write("a", 3, 0, 1), read("a", 5, 2, 3)], "has the versions 3 and 5"),
            (vec![doubt("a", 0, 1), read("a", 2, 2, 3), read("a", 4, 4, 5)], "has the versions"),
            (vec![write("a", 3, 0, 9), write("b", 3, 0, 9)], "version 3 is a and b"),
        ] {
            let said = check(&bad).expect_err("it passed");
            assert!(said.contains(why) && said.contains("key k") && said.contains(".."), "{said}");
        }
    }

    #[test]
    fn keys_are_judged_by_themselves() {
        let other = Operation { key: "l".into(), ..read("", 0, 2, 3) };
        assert_eq!(check(&[write("a", 3, 0, 1), other]), Ok(()));
    }
}
