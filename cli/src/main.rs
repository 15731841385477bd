//! The program `quorate`: shows how a replicated state machine elects, replicates, takes snapshots,
//! crashes and catches up.
//!
//! `quorate` alone runs the demo; `quorate serve` runs one member as a process of its own, which
//! serves clients; `quorate inspect` and `verify` examine a member's directory. Everything shown
//! comes from the library's public interface.

mod addresses;
mod asking;
mod client;
mod demo;
mod directory;
mod keys;
mod log;
mod numbers;
mod serve;
mod sim;
mod terms;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "quorate", version, about = "Replicated state for actix services: watch it work")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Peers in one process count the words of a text while faults happen; the counts are checked against a plain count.
    Demo(demo::Options),
    /// One member of a cluster of processes: a key/value store over HTTP.
    Serve(serve::Options),
    /// Print the value of a key.
    Get(client::Get),
    /// Write a value; prints its version.
    Put(client::Put),
    /// Remove a key.
    Del(client::Del),
    /// Show how members stand.
    Status(client::Status),
    /// Have members take a snapshot now.
    Snapshot(client::Snapshot),
    /// Whole clusters in virtual time, seed by seed, under every fault, with every check.
    Sim(sim::Options),
    /// Show what a node's directory holds; changes nothing, and works while the node runs.
    Inspect(directory::Inspect),
    /// Say whether a node's directory is sound, and what a start would make of it; changes nothing.
    Verify(directory::Verify),
}

/// The process's allocator. When a thread requests a large block, the C library's allocator first
/// merges small blocks that other threads have freed, which takes up to half a second with a large
/// state: docs/performance.md.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    run(command).map(ExitCode::from).unwrap_or_else(|error| {
        eprintln!("quorate: {error}");
        ExitCode::from(2)
    })
}

fn run(command: Option<Command>) -> Result<u8, demo::Failure> {
    // A member logs warnings. The other commands log nothing, because the demo draws on standard
    // error.
    log::start(if matches!(command, Some(Command::Serve(_))) { "warn" } else { "off" })?;
    let good = |good| if good { 0 } else { 1 };
    match command {
        Some(Command::Demo(options)) => demo::run(options).map(good),
        Some(Command::Serve(options)) => serve::run(options).map(good),
        Some(Command::Get(options)) => client::get(options),
        Some(Command::Put(options)) => client::put(options),
        Some(Command::Del(options)) => client::del(options),
        Some(Command::Status(options)) => client::status(options),
        Some(Command::Snapshot(options)) => client::snapshot(options),
        Some(Command::Sim(options)) => sim::run(&options).map(good),
        Some(Command::Inspect(options)) => directory::inspect(options),
        Some(Command::Verify(options)) => directory::verify(options),
        None => demo::run(demo::Options::default()).map(good),
    }
}
