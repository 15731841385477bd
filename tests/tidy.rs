//! House rules that no lint knows. Each test names every place that breaks its rule.
//!
//! The rules read text, not syntax: they are as simple as rustfmt's output allows, and their own tests stand at the end.

use std::fs;
use std::path::{Path, PathBuf};

/// Files above this have more than one idea.
const MAX_FILE_LINES: usize = 600;
/// Where the code of the crate, of its program and of its benchmarks is.
const SOURCES: [&str; 4] = ["src", "cli/src", "benchmarks/src", "crates/quorate-simulation/src"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files under `folder` with one of these extensions, build output and hidden folders left out, in a fixed order.
fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(items) = fs::read_dir(&folder) else { continue };
        for path in items.map(|item| item.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let skipped = ["target", "quorate-data"].contains(&name.as_str()) || name == ".git";
            if path.is_dir() && !skipped {
                folders.push(path);
            } else if path.is_file() && extensions.contains(&extension(&path)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A name without a dot (`Makefile`) counts as its own extension.
fn extension(path: &Path) -> &str {
    path.extension().or(path.file_name()).and_then(|name| name.to_str()).unwrap_or_default()
}

fn is_test_file(path: &Path) -> bool {
    path.components()
        .any(|part| ["tests", "tests.rs"].contains(&part.as_os_str().to_str().unwrap_or_default()))
}

/// `path:line: text` of each line for which `broken` holds.
fn places(path: &Path, text: &str, broken: impl Fn(&str) -> bool) -> Vec<String> {
    let shown = path.strip_prefix(root()).unwrap_or(path).display();
    let numbered = (1..).zip(text.lines());
    numbered
        .filter(|(_, line)| broken(line))
        .map(|(number, line)| format!("{shown}:{number}: {line}"))
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assert_none(rule: &str, places: Vec<String>) {
    assert!(places.is_empty(), "{rule}:\n{}", places.join("\n"));
}

/// The code of a line, without its `//` comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The part of a file before its inline test module.
fn before_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |end| &text[..end])
}

/// Production code of the protocol.
fn protocol() -> Vec<(PathBuf, String)> {
    let sources = files("src/raft", &["rs"]).into_iter().filter(|path| !is_test_file(path));
    let sources: Vec<_> =
        sources.map(|path| (before_tests(&read(&path)).to_string(), path)).collect();
    assert!(sources.len() >= 4, "the protocol has moved; found {} files", sources.len());
    sources.into_iter().map(|(text, path)| (path, text)).collect()
}

fn brings_in_the_world(line: &str) -> bool {
    const WORLD: [&str; 12] = [
        "actix",
        "tokio",
        "std::time",
        "std::fs",
        "std::net",
        "std::thread",
        "std::process",
        "std::env",
        "std::io",
        "std::sync::Mutex",
        "async ",
        ".await",
    ];
    let code = code(line);
    let elsewhere = code.split("crate::").skip(1).any(|path| !path.starts_with("raft"));
    elsewhere || WORLD.iter().any(|word| code.contains(word)) || imports_from_elsewhere(code)
}

/// One path per `use` of std, and nothing of the crate but the protocol itself, so that this test can see it.
fn imports_from_elsewhere(code: &str) -> bool {
    const ALLOWED: [&str; 8] = [
        "std::",
        "bytes::",
        "serde::",
        "thiserror::",
        "crate::raft",
        "super::",
        "self::",
        "smallvec::",
    ];
    let code = code.trim_start().trim_start_matches("pub ");
    let Some(path) = code.strip_prefix("use ") else { return code.contains("std::{") };
    let sibling = path.chars().next().is_some_and(char::is_lowercase) && is_sibling(path);
    path.starts_with("std::{")
        || !(sibling || ALLOWED.iter().any(|prefix| path.starts_with(prefix)))
}

/// Whether the path begins with a module of the protocol.
fn is_sibling(path: &str) -> bool {
    let module = path.split([':', ';']).next().unwrap_or_default();
    let folders = ["", "log/", "state/", "testing/"];
    let files = folders.iter().map(|folder| format!("src/raft/{folder}{module}.rs"));
    files.chain([format!("src/raft/{module}/mod.rs")]).any(|file| root().join(file).exists())
}

#[test]
fn the_protocol_is_pure() {
    let found = protocol()
        .iter()
        .flat_map(|(path, text)| places(path, text, brings_in_the_world))
        .collect();
    assert_none(
        "src/raft does no IO, knows no clock, no actor, no thread and nothing of the rest of the crate",
        found,
    );
}

fn may_panic_quietly(line: &str) -> bool {
    [".unwrap()", ".expect("].iter().any(|call| code(line).contains(call))
}

#[test]
fn the_protocol_does_not_unwrap() {
    let found =
        protocol().iter().flat_map(|(path, text)| places(path, text, may_panic_quietly)).collect();
    assert_none("src/raft asserts with the values, or handles the case; it never unwraps", found);
}

/// The folders of `src`, lowest layer first. A folder uses folders of lower layers only: none of its
/// own layer, and none above it.
const LAYERS: [&[&str]; 7] = [
    &["raft"],
    &["storage", "machine", "runtime"],
    &["transport"],
    &["messages"],
    &["actors"],
    &["node"],
    &["web"],
];

fn layer(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&folder))
}

/// The folders of the crate that a line of code uses.
fn folders_used(line: &str) -> impl Iterator<Item = &str> {
    let names = code(line).split("crate::").skip(1);
    names.map(|path| path.split(|c: char| c != '_' && !c.is_alphanumeric()).next().unwrap_or(""))
}

fn uses_a_folder_above(folder: &str, line: &str) -> bool {
    folders_used(line).any(|used| used != folder && layer(used) >= layer(folder))
}

#[test]
fn folders_depend_in_one_direction() {
    let mut found = Vec::new();
    let folders: Vec<PathBuf> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    for path in &folders {
        let folder = path.file_name().unwrap().to_str().unwrap();
        assert!(layer(folder).is_some(), "src/{folder} has no layer");
        let sources = files(&format!("src/{folder}"), &["rs"]);
        for path in sources.iter().filter(|path| !is_test_file(path)) {
            let text = read(path);
            let breaks = |line: &str| uses_a_folder_above(folder, line);
            found.extend(places(path, before_tests(&text), breaks));
        }
    }
    assert_eq!(folders.len(), LAYERS.concat().len(), "a layer names a folder that is not there");
    assert_none("a folder of src uses folders of lower layers only", found);
}

#[test]
fn every_source_file_says_what_it_is() {
    let sources =
        SOURCES.iter().chain(&["tests", "examples"]).flat_map(|folder| files(folder, &["rs"]));
    let silent = sources.filter(|path| !read(path).starts_with("//! "));
    assert_none(
        "a source file opens with `//!`",
        silent.map(|path| path.display().to_string()).collect(),
    );
}

#[test]
fn no_source_file_is_too_long() {
    let sources = SOURCES.iter().flat_map(|folder| files(folder, &["rs"]));
    let lengths =
        sources.filter(|path| !is_test_file(path)).map(|path| (read(&path).lines().count(), path));
    let long = lengths.filter(|(lines, _)| *lines > MAX_FILE_LINES);
    let rule = format!("a source file has at most {MAX_FILE_LINES} lines");
    assert_none(&rule, long.map(|(lines, path)| format!("{}: {lines}", path.display())).collect());
}

/// A path of one machine: its root folder where a path can begin.
fn names_a_machine_path(line: &str) -> bool {
    // Put together here, so that this file passes its own test.
    let homes = ["home", "root", "Users", "work", "tmp/wt"].map(|folder| format!("/{folder}/"));
    homes.iter().flat_map(|home| line.match_indices(home.as_str())).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "-_.}~)/".contains(c))
    })
}

#[test]
fn no_path_of_a_machine_is_in_the_tree() {
    let kinds = ["rs", "md", "toml", "lock", "json", "yml", "sh", "txt", "run", "Makefile"];
    let texts = files("", &kinds);
    let found =
        texts.iter().flat_map(|path| places(path, &read(path), names_a_machine_path)).collect();
    assert_none("paths are relative to the repository", found);
}

/// Targets of `[text](target)` outside code blocks that name a file.
fn local_links(text: &str) -> Vec<&str> {
    let mut in_code = false;
    let mut links = Vec::new();
    for line in text.lines() {
        in_code ^= line.trim_start().starts_with("```");
        if in_code {
            continue;
        }
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            let elsewhere =
                target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            if !elsewhere {
                links.push(target);
            }
        }
    }
    links
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for path in files("", &["md"]) {
        let folder = path.parent().unwrap();
        let text = read(&path);
        let dead = local_links(&text).into_iter().filter(|target| !folder.join(target).exists());
        broken.extend(dead.map(|target| format!("{}: {target}", path.display())));
    }
    assert_none("a link names a file that is there", broken);
}

/// One row of a table per crate, in the words of the manifest.
#[test]
fn every_dependency_has_its_reason() {
    let reasons = read(&root().join("docs/decisions/dependencies.md"));
    let mut without = Vec::new();
    let crates = [".", "cli", "benchmarks", "crates/quorate-simulation"];
    for manifest in crates.map(|folder| format!("{folder}/Cargo.toml")) {
        for name in dependencies(&read(&root().join(&manifest))) {
            let has_row = reasons.lines().any(|line| first_cell_names(line, &name));
            if !has_row {
                without.push(format!("{manifest}: {name}"));
            }
        }
    }
    assert_none("docs/decisions/dependencies.md gives each dependency a reason", without);
}

fn first_cell_names(line: &str, name: &str) -> bool {
    let Some(cell) = line.strip_prefix("| ").and_then(|rest| rest.split('|').next()) else {
        return false;
    };
    cell.split([',', ' ', '(']).any(|word| word == name)
}

/// Names in the dependency tables of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if let (true, Some((name, _))) = (inside, line.split_once('=')) {
            let name = name.trim().split('.').next().unwrap_or_default();
            if !line.starts_with([' ', '#', ']']) {
                names.push(name.to_string());
            }
        }
    }
    names
}

#[test]
fn the_rules_see_what_they_are_for() {
    let impure = [
        "use tokio::time::Instant;",
        "    std::fs::read(x)",
        "use crate::storage::LogStore;",
        "    crate::storage::open();",
        "use std::{fs, io};",
    ];
    assert!(impure.iter().all(|line| brings_in_the_world(line)));
    let pure = [
        "use crate::raft::Entry;",
        "//! no tokio",
        "use bytes::Bytes; // not actix",
        "use super::log::Log;",
        "use std::fmt;",
    ];
    assert!(pure.iter().all(|line| !brings_in_the_world(line)));
    assert!(
        may_panic_quietly("let x = y.unwrap();")
            && !may_panic_quietly("y.unwrap_or(1) // .unwrap()")
    );
    assert!(uses_a_folder_above("actors", "use crate::node::Config;"));
    assert!(uses_a_folder_above("storage", "    x(crate::machine::y, crate::raft::z)"));
    assert!(!uses_a_folder_above("node", "use crate::actors::Placement; // crate::web"));
    assert!(!uses_a_folder_above("raft", "use crate::settings::Rules;"));
    assert_eq!(before_tests("a\n#[cfg(test)]\nmod tests {\nb"), "a\n");
    assert_eq!(before_tests("a\n#[cfg(test)]\nmod tests;\nb"), "a\n#[cfg(test)]\nmod tests;\nb");
    assert!(names_a_machine_path(&format!("see {}", ["", "home", "me"].join("/"))));
    assert!(!names_a_machine_path("a snapshot/work/item and ./home/x"));
    assert_eq!(
        local_links("[a](b.md#c) [d](https://e) ![f](g.png)\n```\n[h](i)\n```\n[j](#k)"),
        ["b.md", "g.png"]
    );
    assert_eq!(
        dependencies("[dependencies]\na = 1\n# b = 2\nc.workspace = true\n[features]\nd = []"),
        ["a", "c"]
    );
    assert!(
        first_cell_names("| serde, serde_json | reason |", "serde_json")
            && !first_cell_names("| x | serde |", "serde")
    );
}
