//! The cost of the lab's scenarios in virtual seconds, RPCs and bytes, beside the best published
//! figures.
//!
//! ```sh
//! cargo run --release --example lab_table -- [--seeds N | --seed S] [--scenario NAME].. [--json]
//! ```
//! Every figure is a median over the seeds. `docs/lab.md` defines what is counted and explains the
//! table.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use published::{PUBLISHED, Published};
use runs::{Scenario, run};
use serde_json::json;
use verdict::Verdict;
use world::Figures;

#[path = "../tests/lab/command.rs"]
mod command;
#[path = "../tests/lab/dice.rs"]
mod dice;
#[path = "../tests/lab/disk.rs"]
mod disk;
#[path = "../tests/lab/helpers.rs"]
mod helpers;
#[path = "../tests/lab/invariants.rs"]
mod invariants;
#[path = "../tests/lab/ledger.rs"]
mod ledger;
#[path = "../tests/lab/network.rs"]
mod network;
#[path = "lab_table/published.rs"]
mod published;
#[path = "../tests/lab/runs.rs"]
mod runs;
#[path = "../tests/lab/scenarios/mod.rs"]
mod scenarios;
#[path = "../tests/lab/service.rs"]
mod service;
#[path = "lab_table/verdict.rs"]
mod verdict;
#[path = "../tests/lab/world.rs"]
mod world;

/// One thread per core of a small machine.
const THREADS: usize = 2;

struct Options {
    seeds: Vec<u64>,
    /// The rows to measure; all, if empty.
    scenarios: Vec<String>,
    json: bool,
}

impl Options {
    fn of_command_line() -> Result<Options, String> {
        let mut options = Options { seeds: (1..=50).collect(), scenarios: Vec::new(), json: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--scenario" {
                options.scenarios.push(scenario_name(words.next())?);
                continue;
            }
            let mut number = || {
                let value = words.next().and_then(|value| value.parse::<u64>().ok());
                value.filter(|number| *number > 0).ok_or(format!("{word} needs a number above 0"))
            };
            match word.as_str() {
                "--seeds" => options.seeds = (1..=number()?).collect(),
                "--seed" => options.seeds = vec![number()?],
                "--json" => options.json = true,
                _ => {
                    return Err(format!(
                        "{word}? There are --seeds N, --seed S, --scenario NAME and --json"
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// Parses the name of a scenario that has a row.
fn scenario_name(word: Option<String>) -> Result<String, String> {
    let names: Vec<&str> = PUBLISHED.iter().map(|row| row.name).collect();
    let known = word.filter(|word| names.contains(&word.as_str()));
    known.ok_or_else(|| format!("--scenario needs one of {}", names.join(", ")))
}

fn main() -> ExitCode {
    let options = match Options::of_command_line() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match measure_all(&options) {
        Ok(rows) if options.json => println!("{}", as_json(&rows, &options.seeds)),
        Ok(rows) => print_table(&rows, &options.seeds),
        Err(failures) => {
            failures.iter().for_each(|failure| eprintln!("{failure}"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

// ---- measuring ----------------------------------------------------------------------------------

/// A row of the table.
struct Row {
    published: &'static Published,
    ours: Figures,
}

fn measure_all(options: &Options) -> Result<Vec<Row>, Vec<String>> {
    let Options { seeds, scenarios, .. } = options;
    let wanted =
        |row: &&Published| scenarios.is_empty() || scenarios.iter().any(|name| name == row.name);
    let rows: Vec<&'static Published> = PUBLISHED.iter().filter(wanted).collect();
    let jobs: Vec<_> =
        rows.iter().flat_map(|row| seeds.iter().map(move |seed| (*row, *seed))).collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(&(row, seed)) = jobs.get(next.fetch_add(1, Relaxed)) {
                    let figures = run(scenario(row), seed)
                        .map_err(|error| format!("{} with seed {seed}: {error}", row.name));
                    done.lock().expect("no thread panics").push((row.name, figures));
                }
            });
        }
    });
    let done = done.into_inner().expect("no thread panics");
    let failures: Vec<String> = done.iter().filter_map(|(_, run)| run.clone().err()).collect();
    if !failures.is_empty() {
        return Err(failures);
    }
    let measured = rows.into_iter();
    Ok(measured.map(|published| Row { published, ours: medians(published, &done) }).collect())
}

fn scenario(row: &Published) -> &'static Scenario {
    let found = scenarios::SCENARIOS.iter().find(|scenario| scenario.name == row.name);
    found.expect("every row has its scenario")
}

fn medians(row: &Published, done: &[(&str, Result<Figures, String>)]) -> Figures {
    let of_row = done.iter().filter(|(name, _)| *name == row.name);
    let runs: Vec<&Figures> = of_row.filter_map(|(_, run)| run.as_ref().ok()).collect();
    let median = |figure: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(|run| figure(run)).collect();
        values.sort_by(f64::total_cmp);
        values[(values.len() - 1) / 2]
    };
    Figures {
        seconds: median(|run| run.seconds),
        waits: median(|run| run.waits),
        rpcs: median(|run| run.rpcs as f64) as u64,
        bytes: median(|run| run.bytes as f64) as u64,
        commands: median(|run| run.commands as f64) as u64,
        transfers: median(|run| run.transfers as f64) as u64,
        installs: median(|run| run.installs as f64) as u64,
        refusals: median(|run| run.refusals as f64) as u64,
        elections: median(|run| run.elections as f64) as u64,
    }
}

// ---- comparing ----------------------------------------------------------------------------------

impl Row {
    /// The verdicts on time, RPCs and bytes.
    fn verdicts(&self) -> [Verdict; 3] {
        let Row { published, ours } = self;
        let [rpcs, bytes] = self.compared();
        [
            Verdict::of_time(ours.seconds, ours.waits, published.seconds),
            Verdict::of_count(rpcs.0, rpcs.1),
            Verdict::of_count(bytes.0, bytes.1),
        ]
    }

    /// RPCs and bytes as compared: ours and the published ones.
    fn compared(&self) -> [(f64, f64); 2] {
        let Row { published, ours } = self;
        let commands = if published.per_command { ours.commands.max(1) } else { 1 };
        [(ours.rpcs, published.rpcs), (ours.bytes, published.bytes)]
            .map(|(ours, theirs)| (ours as f64 / commands as f64, theirs.compared()))
    }

    fn commands_published(&self) -> String {
        match self.published.commands {
            (fewest, most) if fewest == most => fewest.to_string(),
            (fewest, most) => format!("{fewest}-{most}"),
        }
    }
}

// ---- showing ------------------------------------------------------------------------------------

fn print_table(rows: &[Row], seeds: &[u64]) {
    println!("one configuration for all rows: {:?}\n", world::config());
    println!(
        "{:<26} {:>6} {:>6} {:>6}  {:>6} {:>6}  {:>8} {:>8}  {:>6} {:>8}  {:>6} {:>6}  time, RPCs, bytes",
        "median of ours, best publ.",
        "s",
        "publ.",
        "waits",
        "RPCs",
        "publ.",
        "bytes",
        "publ.",
        "cmds",
        "publ.",
        "elect.",
        "inst."
    );
    rows.iter().for_each(print_row);
    println!(
        "\nRPC: one request, lost ones too. Bytes: requests and delivered answers as encoded for the wire; the published ones are Go's gob,\n\
         ours are quorate's, and part of the difference is that. Counts are mostly seconds x heartbeats x peers: read them beside the seconds.\n\
         waits: what the script sleeps whatever the peers do. A time that is missed and is nothing else is at the floor; where they alone take\n\
         longer than the published time, that is out of reach.\n"
    );
    print_counts(rows, seeds);
}

fn print_row(row: &Row) {
    let Row { published, ours } = row;
    let [time, rpcs, bytes] = row.verdicts();
    println!(
        "{:<26} {:>6.1} {:>6.1} {:>6.1}  {:>6} {:>6}  {:>8} {:>8}  {:>6} {:>8}  {:>6} {:>6}  {time}, {rpcs}, {bytes}",
        published.title,
        ours.seconds,
        published.seconds,
        ours.waits,
        ours.rpcs,
        published.rpcs.amount,
        ours.bytes,
        published.bytes.amount,
        ours.commands,
        row.commands_published(),
        ours.elections,
        ours.installs,
    );
    if published.per_command {
        let [rpcs, bytes] = row.compared();
        println!(
            "{:<26} {:>6} {:>6} {:>6}  {:>6.1} {:>6.1}  {:>8.0} {:>8.0}",
            "  compared per command", "", "", "", rpcs.0, rpcs.1, bytes.0, bytes.1
        );
    }
}

fn print_counts(rows: &[Row], seeds: &[u64]) {
    let verdicts: Vec<Verdict> = rows.iter().flat_map(Row::verdicts).collect();
    let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    println!(
        "{} rows, {} figures, {} seed(s): {} beaten, {} equalled, {} at the floor, {} out of reach, {} missed",
        rows.len(),
        verdicts.len(),
        seeds.len(),
        count(Verdict::Beaten),
        count(Verdict::Equalled),
        count(Verdict::AtTheFloor),
        count(Verdict::OutOfReach),
        count(Verdict::Missed),
    );
}

fn as_json(rows: &[Row], seeds: &[u64]) -> serde_json::Value {
    let row = |row: &Row| {
        let Row { published, ours } = row;
        let [time, rpcs, bytes] = row.verdicts().map(|verdict| verdict.to_string());
        json!({
            "scenario": published.title,
            "per_command": published.per_command,
            "seconds": ours.seconds, "waits": ours.waits, "rpcs": ours.rpcs, "bytes": ours.bytes,
            "commands": ours.commands, "elections": ours.elections,
            "transfers": ours.transfers, "installs": ours.installs, "refusals": ours.refusals,
            "published": {
                "seconds": published.seconds,
                "rpcs": published.rpcs.amount, "rpcs_commands": published.rpcs.commands,
                "bytes": published.bytes.amount, "bytes_commands": published.bytes.commands,
                "commands": [published.commands.0, published.commands.1],
            },
            "verdicts": { "seconds": time, "rpcs": rpcs, "bytes": bytes },
        })
    };
    json!({
        "config": format!("{:?}", world::config()),
        "seeds": seeds,
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    })
}
