//! Measures quorate beside plain system calls and, with the feature `peers`, beside other people's work.
//!
//! `cargo run --release -p quorate-benchmarks [--features peers] -- storage|engine|core [--quick] [--json] [--dir DIR]`
//!
//! | file | idea |
//! |---|---|
//! | `measure` | rounds that alternate, medians with their spread, ratios, percentiles |
//! | `report` | what was found, as tables for people and one JSON object for machines |
//! | `place`, `system` | where files go; what the kernel says of this process and its page cache |
//! | `memory_log` | a log for those who bring none |
//! | `storage`, `engine`, `core` | the subcommands of these names |
//!
//! A machine's noise is larger than most differences worth knowing, so nothing is compared across runs: whatever is
//! set against something else was measured in turns with it.
//!
//! Not here: any limit that fails a build. A figure is for people to judge.

mod core;
mod engine;
mod measure;
mod memory_log;
mod place;
mod report;
mod storage;
mod system;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use measure::Outcome;
use place::Place;
use report::Report;

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
    /// Opens a log in a process of its own and says what memory that took.
    #[command(hide = true)]
    StorageMemory(storage::Probe),
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
    let (subcommand, sections) = match &arguments.command {
        Command::Storage => ("storage", storage::run(&place, arguments.quick)?),
        Command::Engine(options) => ("engine", engine::run(options, arguments.quick)?),
        Command::Core(options) => ("core", core::run(options, arguments.quick)?),
        Command::StorageMemory(_) => unreachable!("answered above"),
    };
    let report = Report { subcommand, quick: arguments.quick, place: &place, sections };
    if arguments.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.text());
    }
    Ok(())
}
