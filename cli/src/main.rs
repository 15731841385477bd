//! The program `quorate`: watch a replicated state machine elect, replicate, snapshot, crash and catch up.
//!
//! `quorate` alone runs the demo; `quorate serve` is a member as a process of its own, with clients; `quorate inspect` and
//! `verify` look at a member's directory. What it shows comes from the library's public interface; nothing here knows more
//! than any user of the library could.

mod client;
mod demo;
mod directory;
mod keys;
mod serve;
mod sim;

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

/// A member says what goes wrong; not what strangers send it, which is answered with 400.
const SERVING: &str = "warn,actix_http=off";

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // A picture that moves wants silence.
    let level = if matches!(command, Some(Command::Serve(_))) { SERVING } else { "off" };
    let log = tracing_subscriber::EnvFilter::try_from_env("QUORATE_LOG");
    let log = log.unwrap_or_else(|_| level.into());
    tracing_subscriber::fmt().with_env_filter(log).with_writer(std::io::stderr).init();
    let good = |good| if good { 0 } else { 1 };
    let ended = match command {
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
    };
    ended.map(ExitCode::from).unwrap_or_else(|error| {
        eprintln!("quorate: {error}");
        ExitCode::from(2)
    })
}
