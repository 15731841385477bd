//! Runs seeds on all processors, with a progress bar.

use std::io::IsTerminal;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quorate_simulation::Outcome;
use tokio::time::Instant;

use super::options::Options;
use super::{run_one, settings};

/// Runs all seeds before `end`. Returns their outcomes in order, and the processor time of all
/// threads.
pub fn run(options: &Options, end: u64) -> (Vec<Outcome>, Duration) {
    let next = AtomicU64::new(options.first);
    let limit = options.seconds.map(Duration::from_secs);
    let whole = Instant::now();
    let bar = bar(options);
    let processors = || thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.map_or_else(processors, usize::from);
    let work = || {
        let (mut outcomes, begun) = (Vec::new(), processor_time(whole));
        loop {
            let in_time = limit.is_none_or(|limit| whole.elapsed() < limit);
            let one_more = |seed| (in_time && seed < end).then(|| seed + 1);
            let Ok(seed) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) else {
                return (outcomes, processor_time(whole).saturating_sub(begun));
            };
            let outcome = run_one(options.tier, &settings(options, seed));
            bar.inc(1);
            if let Some(breach) = &outcome.breach {
                if options.fail_fast {
                    next.store(end, Ordering::Relaxed);
                }
                bar.set_message(format!("seed {seed}: {}", breach.rule));
            }
            outcomes.push(outcome);
        }
    };
    let mut all = Vec::new();
    let mut spent = Duration::ZERO;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            // A run's own panic is its outcome; a panic here is the simulator's.
            let (outcomes, took) = worker.join().unwrap_or_else(|panic| resume_unwind(panic));
            all.extend(outcomes);
            spent += took;
        }
    });
    bar.finish_and_clear();
    all.sort_by_key(|outcome| outcome.seed);
    (all, spent)
}

/// The processor time of this thread, or the time since `begun` if the system does not report it.
fn processor_time(begun: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| begun.elapsed(), Duration::from_nanos)
}

fn bar(options: &Options) -> ProgressBar {
    let silent = options.json || !std::io::stderr().is_terminal();
    let target = if silent { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let (length, style) = match options.seconds {
        Some(_) => (None, "{spinner} {pos} seeds  {per_sec}  {elapsed}  {msg:.red}"),
        None => (
            Some(options.seeds),
            "{bar:40.cyan/blue} {pos} of {len} seeds  {per_sec}  {eta} to go  {msg:.red}",
        ),
    };
    let style = ProgressStyle::with_template(style);
    let bar = ProgressBar::with_draw_target(length, target);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
