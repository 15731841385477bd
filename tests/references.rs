//! `docs/mechanisms.md` and `docs/bugs.md` tell the truth: every function and every test they name is where the link leads.
//!
//! | cell of a row | what is asked of each link in it |
//! |---|---|
//! | the last | a test of this name stands in the file; on the page of bugs it also names the row's id |
//! | any other | something of this name is defined in the file |
//!
//! The pages are read as text, line by line, and so are the sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A link `` [`name`](../file) ``.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Link<'a> {
    name: &'a str,
    file: &'a str,
}

/// A row of a table whose first cell is an id: `A7`, `EL03`.
#[derive(Debug)]
struct Row<'a> {
    id: &'a str,
    /// Links in the last cell.
    tests: Vec<Link<'a>>,
    /// Links in all others.
    code: Vec<Link<'a>>,
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn links(cell: &str) -> Vec<Link<'_>> {
    let pieces = cell.split("[`").skip(1);
    let link = |piece| {
        let (name, rest): (&str, &str) = str::split_once(piece, "`](../")?;
        Some(Link { name: name.rsplit("::").next()?, file: rest.split_once(')')?.0 })
    };
    pieces.filter_map(link).collect()
}

fn is_id(cell: &str) -> bool {
    let digits = cell.trim_start_matches(|c: char| c.is_ascii_uppercase());
    digits != cell && !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
}

fn rows(page: &str) -> Vec<Row<'_>> {
    page.lines()
        .filter_map(|line| {
            let cells: Vec<&str> =
                line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
            let (id, last) = (*cells.first()?, *cells.last()?);
            let others = &cells[1..cells.len().max(2) - 1];
            let code = others.iter().flat_map(|cell| links(cell)).collect();
            (is_id(id) && cells.len() > 2).then(|| Row { id, tests: links(last), code })
        })
        .collect()
}

/// The lines of the test `name` with the comments above it, if there is such a test.
fn test_text(source: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = source.lines().collect();
    let head = format!("fn {name}(");
    let begins = |line: &&str| line.trim_start().trim_start_matches("async ").starts_with(&head);
    let at = lines.iter().position(begins)?;
    let above = |line: &&&str| line.trim_start().starts_with("//") || line.contains("#[");
    let first = at - lines[..at].iter().rev().take_while(above).count();
    let indent = &lines[at][..lines[at].len() - lines[at].trim_start().len()];
    let end = format!("{indent}}}");
    let last = lines[at..].iter().position(|line| **line == end)? + at;
    let is_test = lines[first..at].iter().any(|line| marks_a_test(line.trim()));
    is_test.then(|| lines[first..last].join("\n"))
}

/// `#[test]`, or one of a runtime: `#[tokio::test(start_paused = true)]`.
fn marks_a_test(line: &str) -> bool {
    let attribute = line.strip_prefix("#[").and_then(|rest| rest.split([']', '(']).next());
    attribute.is_some_and(|path| path.rsplit("::").next() == Some("test"))
}

/// Whether a name or comment of the test has the id as a word: `sn03_..`, `.._sn03`, `(SN03, B4)`.
fn names_id(test: &str, id: &str) -> bool {
    let said = test.lines().filter(|line| line.contains("//") || line.contains("fn "));
    let words = said.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()));
    words.into_iter().any(|word| word.eq_ignore_ascii_case(id))
}

/// A function, a type, a constant, a module, or a field or variant.
fn defines(source: &str, name: &str) -> bool {
    const KINDS: [&str; 8] =
        ["fn ", "struct ", "enum ", "trait ", "const ", "type ", "mod ", "async fn "];
    source.lines().any(|line| {
        let line = line.trim_start();
        let line = match line.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => {
                rest.split_once(") ").map_or("", |split| split.1)
            }
            Some(rest) => rest.trim_start(),
            None => line,
        };
        let starts = |text: &str| {
            let rest = text.strip_prefix(name);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        let item = KINDS.iter().any(|kind| line.strip_prefix(kind).is_some_and(starts));
        item || starts(line)
            && [":", ",", " {"].iter().any(|end| line[name.len()..].starts_with(end))
    })
}

/// Everything in the page that is not so.
fn untruths(page: &str, tests_name_ids: bool, source_of: impl Fn(&str) -> String) -> Vec<String> {
    let mut sources = BTreeMap::new();
    let mut found = Vec::new();
    for Row { id, tests, code } in rows(page) {
        for link in tests.iter().chain(&code) {
            sources.entry(link.file).or_insert_with(|| source_of(link.file));
        }
        for Link { name, file } in code {
            if !defines(&sources[file], name) {
                found.push(format!("{id}: {name} is not in {file}"));
            }
        }
        for Link { name, file } in tests {
            match test_text(&sources[file], name) {
                None => found.push(format!("{id}: {name} is no test in {file}")),
                Some(test) if tests_name_ids && !names_id(&test, id) => {
                    found.push(format!("{id}: {name} in {file} does not name it"));
                }
                Some(_) => {}
            }
        }
    }
    found
}

fn assert_true(page: &str, tests_name_ids: bool) {
    let found = untruths(&read(page), tests_name_ids, read);
    assert!(found.is_empty(), "{page} names what is not there:\n{}", found.join("\n"));
}

#[test]
fn the_mechanisms_are_where_the_page_says() {
    assert_true("docs/mechanisms.md", false);
}

#[test]
fn the_bugs_are_guarded_where_the_page_says() {
    assert_true("docs/bugs.md", true);
}

#[test]
fn every_mechanism_has_one_row() {
    let page = read("docs/mechanisms.md");
    let found: Vec<&str> = rows(&page).iter().map(|row| row.id).collect();
    let expected: Vec<String> = (1..=84)
        .map(|number| format!("A{number}"))
        .chain((1..=24).map(|number| format!("B{number}")))
        .collect();
    assert_eq!(found, expected);
    let built = rows(&page).into_iter().filter(|row| !row.code.is_empty());
    let unguarded: Vec<&str> = built.filter(|row| row.tests.is_empty()).map(|row| row.id).collect();
    assert!(unguarded.is_empty(), "built and not tested: {unguarded:?}");
}

#[test]
fn every_bug_has_one_row_with_a_test() {
    let page = read("docs/bugs.md");
    let rows = rows(&page);
    assert!(rows.len() > 100, "only {} rows were found", rows.len());
    let mut seen = BTreeMap::new();
    for row in &rows {
        *seen.entry(row.id).or_insert(0) += 1;
        assert!(!row.tests.is_empty() && !row.code.is_empty(), "{} has no test or code", row.id);
    }
    seen.retain(|_, times| *times > 1);
    assert!(seen.is_empty(), "rows that are there twice: {seen:?}");
}

#[test]
fn untruths_are_seen() {
    let source = "/// SN03, in words.\n#[test]\nfn keeps() {\n    // EL01\n}\n\nfn helper() {\n}\n\n#[tokio::test(x = 1)]\nasync fn waits_el01() {\n}\n\npub(super) struct Log {\n    start: u64,\n}\n";
    let page =
        |row: &str| untruths(&format!("| | x |\n|---|---|\n{row}\n"), true, |_| source.to_string());
    let fine = "| SN03 | why [`Log::start`](../a.rs), [`Log`](../a.rs) | [`keeps`](../a.rs) |";
    assert_eq!(page(fine), [""; 0]);
    assert_eq!(page("| EL01 | by [`helper`](../a.rs) | [`keeps`](../a.rs) |"), [""; 0]);
    assert_eq!(page("| EL01 | x | [`waits_el01`](../a.rs) |"), [""; 0]);
    for (row, untruth) in [
        ("| SN03 | [`end`](../a.rs) | [`keeps`](../a.rs) |", "SN03: end is not in a.rs"),
        ("| SN03 | [`help`](../a.rs) | [`keeps`](../a.rs) |", "SN03: help is not in a.rs"),
        ("| SN03 | x | [`helper`](../a.rs) |", "SN03: helper is no test in a.rs"),
        ("| SN03 | x | [`keep`](../a.rs) |", "SN03: keep is no test in a.rs"),
        ("| SN04 | x | [`keeps`](../a.rs) |", "SN04: keeps in a.rs does not name it"),
    ] {
        assert_eq!(page(row), [untruth]);
    }
    assert!(marks_a_test("#[test]") && marks_a_test("#[tokio::test(start_paused = true)]"));
    assert!(!marks_a_test("#[cfg(test)]") && !marks_a_test("// a test"));
    assert_eq!(rows("| A1 | a | b |\n| id | a | b |\n| A1, A2 | a | b |").len(), 1);
}
