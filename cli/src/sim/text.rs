//! The report of a batch, for people and for programs.

use std::io::{self, BufWriter, Write};

use quorate_simulation::{Outcome, Report, shrink};

use super::options::Options;
use super::{run_one, settings};
use crate::numbers::shown;

/// Maximum number of failing seeds shown.
const SHOWN: usize = 5;
/// Maximum number of runs for finding a shorter schedule.
const SHRINKING: usize = 300;

/// Prints the report.
pub fn print(options: &Options, report: &Report, failing: &[&Outcome]) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if options.json {
        serde_json::to_writer(&mut out, report)?;
        writeln!(out)?;
    } else {
        people(&mut out, report)?;
        for outcome in failing.iter().take(SHOWN) {
            failure(&mut out, options, outcome)?;
        }
    }
    out.flush()
}

fn people(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let value = serde_json::to_value(report)?;
    for (name, value) in value.as_object().into_iter().flatten() {
        match value {
            serde_json::Value::Object(counts) => {
                writeln!(out, "  {}", name.replace('_', " "))?;
                for (what, count) in counts {
                    writeln!(out, "    {:<30}{:>20}", what.replace('_', " "), shown(count))?;
                }
            }
            value => writeln!(out, "  {:<32}{:>20}", name.replace('_', " "), shown(value))?,
        }
    }
    Ok(())
}

fn failure(out: &mut impl Write, options: &Options, outcome: &Outcome) -> io::Result<()> {
    let Some(breach) = &outcome.breach else { return Ok(()) };
    let shortest = shrink(&settings(options, outcome.seed), breach.rule, SHRINKING, |settings| {
        run_one(options.tier, settings)
    });
    let (seed, at) = (outcome.seed, breach.at as f64 / 1e6);
    writeln!(out, "\nseed {seed} at {at:.6} s: {}\n  {}", breach.rule, breach.what)?;
    writeln!(out, "  the shortest schedule found that still fails so:")?;
    shortest.schedule.acts.iter().try_for_each(|act| writeln!(out, "    {act}"))?;
    writeln!(
        out,
        "  again: quorate sim --tier {} --first {seed} --seeds 1 --nodes {} --minutes {} --faults {} --trace trace.json",
        options.tier,
        options.nodes.of(seed),
        options.minutes,
        options.faults
    )
}
