//! The options of the simulator.

use std::path::PathBuf;
use std::str::FromStr;

use quorate_simulation::Faults;

use crate::demo::Failure;

/// Options of `quorate sim`.
#[derive(clap::Args, Clone)]
pub struct Options {
    /// How many seeds
    #[arg(long, default_value_t = 1_000, value_parser = at_least_one())]
    pub seeds: u64,
    /// As many seeds as fit into so many seconds, instead of a number of them
    #[arg(long, value_name = "N", conflicts_with = "seeds", value_parser = at_least_one())]
    pub seconds: Option<u64>,
    /// The first of them
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub first: u64,
    /// 1: the pure protocol, for volume; 2: the whole node, for truth
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub tier: u8,
    /// Members of each cluster: a number, or a range that the seed picks from
    #[arg(long, default_value = "5", value_name = "N|A..B")]
    pub nodes: Nodes,
    /// Virtual minutes under faults; then everything heals
    #[arg(long, default_value_t = 2.0, value_parser = minutes, allow_negative_numbers = true)]
    pub minutes: f64,
    /// all, none, or names with commas between them
    #[arg(long, default_value = "all", value_name = "LIST")]
    pub faults: Faults,
    /// Runs at the same time; as many as there are processors, unless said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Stop at the first seed that fails
    #[arg(long)]
    pub fail_fast: bool,
    /// Print one JSON object, and nothing that moves
    #[arg(long)]
    pub json: bool,
    /// Write what happens in the first failing seed (or in the only one) into a file, a line of JSON each
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

fn at_least_one() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}

/// The longest useful run.
const MINUTES_MAX: f64 = 100_000.0;

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: Option<f64> = text.parse().ok();
    minutes.filter(|minutes| *minutes > 0.0 && *minutes <= MINUTES_MAX).ok_or_else(|| {
        format!("{text:?} is not a number of minutes above 0 and up to {MINUTES_MAX}")
    })
}

impl Options {
    /// The first seed after the last one.
    pub fn end(&self) -> Result<u64, Failure> {
        if self.seconds.is_some() {
            return Ok(u64::MAX);
        }
        self.first.checked_add(self.seeds).ok_or_else(|| {
            let (first, seeds, most) = (self.first, self.seeds, u64::MAX);
            Failure(format!(
                "{seeds} seeds from {first} on are more than there are: seeds end at {most}"
            ))
        })
    }
}

/// The number of members, or a range.
#[derive(Clone, Copy, Debug)]
pub struct Nodes {
    least: u64,
    most: u64,
}

impl Nodes {
    /// The number of members for one seed.
    pub fn of(self, seed: u64) -> u64 {
        self.least + seed % (self.most - self.least + 1)
    }
}

impl FromStr for Nodes {
    type Err = String;

    fn from_str(text: &str) -> Result<Nodes, String> {
        let number = |text: &str| text.parse::<u64>().ok().filter(|count| (1..=15).contains(count));
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        match (number(least), number(most.trim_start_matches('='))) {
            (Some(least), Some(most)) if least <= most => Ok(Nodes { least, most }),
            _ => Err(format!("'{text}' is neither a number from 1 to 15 nor a range like 3..7")),
        }
    }
}
