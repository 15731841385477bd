//! The protocol alone: proposals a second of three cores on one thread, beside the `raft` crate of TiKV.
//!
//! | file | idea |
//! |---|---|
//! | `trio` | three cores and their mail, driven alike for everyone |
//! | `ours`, `tikv` | who is driven; the latter with the feature `peers` |
//!
//! Messages are handed over as values, logs are in memory, a durable step is done as soon as it is asked for, and
//! committed entries are counted on each member. A turn is a fresh cluster; at its end everyone must have applied
//! everything.
//!
//! Not here: actors, threads, encoding. Those are in `engine`.

mod ours;
#[cfg(feature = "peers")]
mod tikv;
mod trio;

use std::time::Duration;

use clap::Args;

use crate::measure::{Outcome, Spread, Turns, alternate};
use crate::report::{Report, Row, Section};
use ours::Ours;
use quorate::raft::Random;
use trio::{Core, MEMBERS, Pace, Trio};

/// So many times as fast as TiKV's is what we are after.
const AIM: f64 = 2.0;

/// What to measure; all of it unless told.
#[derive(Args)]
pub struct Options {
    /// Proposals under way at once, for example 1,64.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256, 1024])]
    outstanding: Vec<u64>,
    /// Bytes of each proposal.
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    #[command(flatten)]
    turns: Turns,
    /// Only contestants whose name contains this: ours, tikv.
    #[arg(long)]
    only: Option<String>,
}

/// How much is done.
struct Sizes {
    rounds: usize,
    length: Duration,
}

impl Sizes {
    fn of(options: &Options, quick: bool) -> Outcome<Sizes> {
        let (rounds, millis) = if quick { (1, 100) } else { (7, 500) };
        let (rounds, length) = options.turns.or(rounds, Duration::from_millis(millis))?;
        if rounds == 0 || options.bytes == 0 || options.outstanding.contains(&0) {
            return Err("at least one round, one byte and one proposal".into());
        }
        Ok(Sizes { rounds, length })
    }
}

/// Whose turn it is: what it is called, and how it is measured.
struct Contestant {
    name: &'static str,
    turn: fn(&Load) -> Outcome<Pace>,
}

/// What a contestant is loaded with in a turn.
struct Load {
    outstanding: u64,
    command: Vec<u8>,
    length: Duration,
}

fn turn<C: Core>(load: &Load) -> Outcome<Pace> {
    let mut trio = Trio::<C>::new()?;
    trio.run(load.outstanding, &load.command, load.length / 4)?;
    let pace = trio.run(load.outstanding, &load.command, load.length)?;
    trio.settle()?;
    Ok(pace)
}

fn contestants(only: Option<&str>) -> Vec<Contestant> {
    let all = [
        Contestant { name: "ours", turn: turn::<Ours> },
        #[cfg(feature = "peers")]
        Contestant { name: "tikv's raft", turn: turn::<tikv::Tikv> },
    ];
    all.into_iter().filter(|one| only.is_none_or(|only| one.name.contains(only))).collect()
}

/// The section.
pub fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let sizes = Sizes::of(options, report.quick)?;
    let mut contestants = contestants(options.only.as_deref());
    if contestants.is_empty() {
        return Err("no contestant has such a name".into());
    }
    report.measure(|| {
        let mut rows = Vec::new();
        for &outstanding in &options.outstanding {
            let command = Random::new(1).bytes(options.bytes);
            let load = Load { outstanding, command, length: sizes.length };
            rows.extend(rows_of(&sizes, &load, &mut contestants)?);
        }
        let (rounds, length) = (sizes.rounds, sizes.length.as_millis());
        let title = format!("Proposals: {MEMBERS} cores on one thread, {} bytes", options.bytes);
        let notes = vec![
            format!(
                "{rounds} rounds; in each everyone has a turn of {length} ms with a cluster of its own. The number is that of proposals under way."
            ),
            format!("aim: ours {AIM} times as fast."),
        ];
        Ok(vec![Section { key: "proposals".into(), title, notes, rows, elsewhere: 0.0 }])
    })
}

fn rows_of(sizes: &Sizes, load: &Load, contestants: &mut [Contestant]) -> Outcome<Vec<Row>> {
    let paces = alternate(sizes.rounds, contestants, |one| (one.turn)(load))?;
    let figure = |of: fn(&Pace) -> f64| -> Vec<Spread> {
        paces.iter().map(|paces| Spread::of(paces.iter().map(of))).collect()
    };
    let (speeds, cpu) = (figure(|pace| pace.proposals_per_s), figure(|pace| pace.cpu_ns));
    let rows = contestants.iter().enumerate().map(|(place, one)| {
        let ratio = (place > 0).then(|| speeds[0].divided_by(&speeds[place]));
        Row::new(format!("{}, {}", load.outstanding, one.name))
            .with("proposals_per_s", speeds[place].clone())
            .with_some("ours_divided_by_it", ratio)
            .with_some("aim", (place > 0).then_some(AIM))
            .with("cpu_ns_a_proposal", cpu[place].clone())
    });
    Ok(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_has_a_row_and_others_a_ratio() {
        let sizes = Sizes { rounds: 1, length: Duration::from_millis(5) };
        let load = Load { outstanding: 16, command: vec![1; 256], length: sizes.length };
        let mut all = contestants(None);
        let rows = rows_of(&sizes, &load, &mut all).unwrap();
        let figures: Vec<usize> = rows.iter().map(|row| row.figures.len()).collect();
        assert_eq!(figures, if cfg!(feature = "peers") { vec![2, 4] } else { vec![2] });
    }
}
