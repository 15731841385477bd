//! Measures quorate beside plain system calls and, with the feature `peers`, beside other people's work.
//!
//! `cargo run --release -p quorate-benchmarks [--features peers] -- storage|engine|core|durable|recovery|growth|snapshots
//! [--quick] [--json] [--dir DIR]`
//!
//! | file | idea |
//! |---|---|
//! | `measure` | rounds that alternate, medians with their spread, ratios, percentiles |
//! | `report` | what was found, as tables for people and one JSON object for machines |
//! | `place`, `system` | where files go; what the kernel says of this process and its page cache |
//! | `load`, `members`, `state` | clients that wait for replies; who leads; states of a chosen size |
//! | `memory_log`, `ring` | a log for those who bring none; bytes made durable as fast as can be |
//! | `storage`, `engine`, `core`, `durable`, `recovery`, `growth`, `snapshots` | the subcommands of these names |
//!
//! A machine's noise is larger than most differences worth knowing, so nothing is compared across runs: whatever is
//! set against something else was measured in turns with it.
//!
//! Not here: any limit that fails a build. A figure is for people to judge.

mod core;
mod durable;
mod engine;
mod growth;
mod load;
mod measure;
mod members;
#[cfg(any(feature = "peers", test))]
mod memory_log;
mod place;
mod recovery;
mod report;
mod ring;
mod snapshots;
mod state;
mod storage;
mod system;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use measure::Outcome;
use place::Place;
use report::Report;

/// For everybody alike. That of glibc now and then tidies up for half a second under its lock what others have freed in
/// millions of pieces, and whoever allocates waits: docs/performance.md.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(name = "quorate-benchmarks", version, about = "Measure quorate beside others, in turns")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Small sizes: shows that everything runs; its figures mean little.
    #[arg(long, global = true)]
    quick: bool,
    /// Print one JSON object instead of tables.
    #[arg(long, global = true)]
    json: bool,
    /// Where files are made and removed again: on the disk to be measured.
    #[arg(long, global = true, default_value = "target/benchmarks")]
    dir: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// The file store: appending, opening, reading, purging, memory.
    Storage,
    /// The whole engine in memory: commits a second of three members in one process.
    Engine(engine::Options),
    /// The protocol alone: proposals a second of three cores on one thread.
    Core(core::Options),
    /// The whole engine on disk: commits a second of three members in one process, beside bare syncing.
    Durable(durable::Options),
    /// How long a node takes to start again: with a long log, with a large snapshot.
    Recovery,
    /// What a command costs as the log grows, and as the state grows.
    Growth(growth::Options),
    /// What snapshots do to commits: built, sent, installed, beside nothing of it.
    Snapshots(snapshots::Options),
    /// Opens a log in a process of its own and says what memory that took.
    #[command(hide = true)]
    StorageMemory(storage::Probe),
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Command::Storage => "storage",
            Command::Engine(_) => "engine",
            Command::Core(_) => "core",
            Command::Durable(_) => "durable",
            Command::Recovery => "recovery",
            Command::Growth(_) => "growth",
            Command::Snapshots(_) => "snapshots",
            Command::StorageMemory(_) => "storage-memory",
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quorate-benchmarks: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    if let Command::StorageMemory(probe) = &arguments.command {
        return storage::answer(probe);
    }
    let place = Place::new(&arguments.dir)?;
    let mut report = Report {
        subcommand: arguments.command.name(),
        quick: arguments.quick,
        as_json: arguments.json,
        place: &place,
        sections: Vec::new(),
    };
    report.begin();
    let measured = match &arguments.command {
        Command::Storage => storage::run(&mut report),
        Command::Engine(options) => engine::run(options, &mut report),
        Command::Core(options) => core::run(options, &mut report),
        Command::Durable(options) => durable::run(options, &mut report),
        Command::Recovery => recovery::run(&mut report),
        Command::Growth(options) => growth::run(options, &mut report),
        Command::Snapshots(options) => snapshots::run(options, &mut report),
        Command::StorageMemory(probe) => storage::answer(probe),
    };
    report.end();
    measured
}
