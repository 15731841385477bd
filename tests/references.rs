//! The pages that name tests tell the truth: each test they name is there, and no rule is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The names of all functions in the Rust files below `folder`.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for item in fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()) {
        if item.is_dir() {
            functions(&item, names);
        } else if item.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&item).unwrap();
            let named = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
            names.extend(
                named.map(|rest| rest.split(['(', '<']).next().unwrap_or_default().to_owned()),
            );
        }
    }
}

/// The rows of a page's tables, as cells.
fn rows(page: &str) -> Vec<Vec<String>> {
    let lines = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |"));
    lines
        .map(|line| {
            line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

fn missing_tests(page: &str) -> Vec<String> {
    let mut names = BTreeSet::new();
    ["src", "tests", "cli"].iter().for_each(|folder| functions(&root().join(folder), &mut names));
    let cells = rows(&read(page)).into_iter().filter_map(|cells| cells.last().cloned());
    let named: Vec<String> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(named.len() > 50, "{page} names only {} tests", named.len());
    named.into_iter().filter(|name| !names.contains(name)).collect()
}

#[test]
fn every_test_that_a_page_names_is_there() {
    for page in ["docs/mechanisms.md", "docs/bugs.md"] {
        assert_eq!(
            missing_tests(page),
            Vec::<String>::new(),
            "{page} names tests that are not there"
        );
    }
}

#[test]
fn every_rule_has_one_row() {
    let ids: Vec<String> =
        rows(&read("docs/mechanisms.md")).into_iter().map(|cells| cells[0].clone()).collect();
    let expected: Vec<String> = (1..=84)
        .map(|number| format!("A{number}"))
        .chain((1..=24).map(|number| format!("B{number}")))
        .collect();
    assert_eq!(ids, expected);
}
