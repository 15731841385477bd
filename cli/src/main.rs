//! The program `quorate`: watch a replicated state machine elect, replicate, snapshot, crash and catch up.
//!
//! `quorate` alone runs the demo. What it shows comes from the library's public interface; nothing here knows more than
//! any user of the library could.

mod demo;

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
}

fn main() -> ExitCode {
    let log =
        tracing_subscriber::EnvFilter::try_from_env("QUORATE_LOG").unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(log).with_writer(std::io::stderr).init();
    let options = match Arguments::parse().command {
        Some(Command::Demo(options)) => options,
        None => demo::Options::default(),
    };
    match demo::run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quorate: {error}");
            ExitCode::from(2)
        }
    }
}
