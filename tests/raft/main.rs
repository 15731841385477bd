//! The protocol's behaviour as scripts with checked-in output.
//!
//! Each file under `scripts/` is one story: commands, and below each block of them what the cluster
//! does. A script opens with what it shows. To write one, add a file with commands and `---`, run
//!
//! ```text
//! UPDATE_GOLDENFILES=1 cargo test --test raft
//! ```
//! and review the output that was added: it is part of the test.
//!
//! | command | effect |
//! |---|---|
//! | `cluster voters="0,1,2" log="1,1,2" ..` | the nodes and their disks; see `script.rs` |
//! | `start` `crash` `restart` `wipe` `lose` | incarnations, and disks that lose data |
//! | `campaign N` `elect N` | the election timeout ends now; `elect` delivers until N leads |
//! | `propose N x y` `read N` `snapshot N` | requests to a node |
//! | `wait MS [undelivered]` | time passes; all messages are delivered, unless `undelivered` |
//! | `deliver` `drop` `lose_notice` | messages on the wire, by `from=` `to=` `kind=` |
//! | `copy` | as `deliver`, and a copy of each message stays on the wire |
//! | `settle` `wire` | delivers all messages, and those that follow; lists the waiting ones |
//! | `cut A B [oneway]` `isolate N` `heal` | links |
//! | `hold` `release` `do` | `disk`, `apply`, `jobs` (store, decode) or `chunks` of a node |
//! | `forge KIND from= to= term= ..` | a message that no node sent |
//! | `status` `log` `state` | what is so now |
//!
//! `cluster.rs` is the cluster, `script.rs` the commands, `narrate.rs` the words of the output.
//! Heartbeats from which nothing follows are not reported, except with the tag `[verbose]`.

mod cluster;
mod narrate;
mod script;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/raft/scripts")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()).collect();
    files.sort();
    files
}

/// Runs all scripts of one subject. All of them run, also behind one that fails.
fn run(subject: &str) {
    let mut failed = Vec::new();
    for file in files(&scripts().join(subject)) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            goldenscript::run(&mut script::Script::default(), &file)
        }));
        if !matches!(outcome, Ok(Ok(()))) {
            eprintln!("{}: {outcome:?}", file.display());
            failed.push(file);
        }
    }
    assert!(failed.is_empty(), "these scripts fail: {failed:#?}");
}

macro_rules! subjects {
    ($($subject:ident),+) => {
        $(
            #[test]
            fn $subject() {
                run(stringify!($subject));
            }
        )+

        /// Every folder of scripts is run.
        #[test]
        fn no_subject_is_forgotten() {
            let names = files(&scripts()).into_iter().map(|folder| {
                folder.file_name().unwrap().to_string_lossy().into_owned()
            });
            assert_eq!(names.collect::<Vec<_>>(), [$(stringify!($subject)),+]);
        }
    };
}

subjects!(
    commit,
    compaction,
    durability,
    elections,
    hostile,
    installs,
    reads,
    recovery,
    replication,
    transfers
);

/// A script opens with what it shows.
#[test]
fn every_script_says_what_it_shows() {
    for file in files(&scripts()).iter().flat_map(|folder| files(folder)) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# "), "{} does not begin with a comment", file.display());
    }
}
