//! The examples are as short as is promised, the front pages show the first one as it is, and the service serves.
//!
//! `.ci/run examples` runs those that end by themselves.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lines that are neither blank nor only a comment.
fn lines_of_code(text: &str) -> usize {
    let code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    text.lines().filter(code).count()
}

/// The program without the words before it.
fn program(text: &str) -> &str {
    &text[text.find("use ").expect("a program begins with what it uses")..]
}

/// A documentation comment's text.
fn module_docs(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
}

#[test]
fn the_first_examples_are_short() {
    let counter = lines_of_code(&read("examples/counter.rs"));
    assert!(counter <= 25, "a replicated counter in process takes {counter} lines");
    let service = lines_of_code(&read("examples/service.rs"));
    assert!(service <= 40, "a persistent node in a service takes {service} lines");
}

#[test]
fn the_front_pages_show_the_first_example() {
    let counter = read("examples/counter.rs");
    let readme = read("README.md");
    assert!(readme.contains(program(&counter)), "README.md shows another program");
    let docs = module_docs(&read("src/lib.rs"));
    assert!(docs.contains(program(&counter)), "the crate's page shows another program");
}

#[test]
fn lines_are_counted_as_a_reader_would() {
    assert_eq!(lines_of_code("//! What\n\nuse a;\n    // why\nlet x = 1; // so\n\t\n"), 2);
    assert_eq!(program("//! What\n\nuse a;\n"), "use a;\n");
    assert_eq!(module_docs("//! a\n//!\n//!  b\nuse c;\n//! d"), "a\n\n b\n");
}
