//! The demo: peers in one process count the words of a text, under faults, and every replica is
//! compared with a plain count.

mod acks;
mod director;
mod lines;
mod load;
mod members;
mod options;
mod report;
mod signals;
mod text;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use acks::{AckLog, Bounds, Counts};
use director::Director;
use load::Load;
use members::Members;
pub use options::{Options, Size, Span};
use report::Report;
use signals::Signals;
use text::Text;
use tokio::time::Instant;
use view::View;

/// The reason why the demo could not run.
#[derive(Debug)]
pub struct Failure(pub String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs the demo, or the check of an earlier one; returns whether the result is correct.
pub fn run(options: Options) -> Result<bool, Failure> {
    let runtime =
        actix_rt::Runtime::new().map_err(|error| Failure(format!("no runtime: {error}")))?;
    runtime.block_on(run_to_the_end(&options))
}

/// The input, which is read before any peer is started.
enum Task {
    Count(Text),
    Check(Bounds),
}

impl Task {
    fn of(options: &Options) -> Result<Task, Failure> {
        match &options.check {
            Some(file) => Bounds::read(file).map(Task::Check),
            None => Text::load(options.input.as_deref(), options.seed).map(Task::Count),
        }
    }
}

/// Runs the task. In all cases, also after a signal, the peers are stopped and the temporary
/// directory is removed.
async fn run_to_the_end(options: &Options) -> Result<bool, Failure> {
    let mut signals = Signals::new()?;
    let task = Task::of(options)?;
    let scratch = scratch_directory(options)?;
    let started = Members::start(options, scratch.as_ref().map(tempfile::TempDir::path)).await;
    let members = Arc::new(started?);
    let run = async {
        match task {
            Task::Check(bounds) => check(options, &members, &bounds).await,
            Task::Count(text) => demo(options, &members, text).await,
        }
    };
    let mut outcome = tokio::select! {
        biased;
        signal = signals.next() => Err(Failure(format!("ended by {signal} before the end"))),
        outcome = run => outcome,
    };
    if options.keep_running && outcome.is_ok() {
        eprintln!("the peers go on running; interrupt the program to end them");
        signals.next().await;
    }
    // The peers use the files until they have stopped. A second signal ends the wait.
    tokio::select! {
        () = members.shutdown() => {}
        _ = signals.next() => {}
    }
    if let Some(scratch) = scratch {
        let removed = scratch.close();
        let failed = |error| Failure(format!("the temporary directory is not removed: {error}"));
        outcome = outcome.and_then(|good| removed.map(|()| good).map_err(failed));
    }
    outcome
}

async fn demo(options: &Options, members: &Arc<Members>, text: Text) -> Result<bool, Failure> {
    let base = members.counts_of_leader().await?;
    let acks = options.ack_log.as_ref().map(|path| AckLog::create(path, &base)).transpose()?;
    let expected = expected(&base, &text);
    let load = Load::new(text, acks);
    let begun = Instant::now();
    let (retries, skipped) = tokio::select! {
        biased;
        outcome = work(options, members, &load) => outcome?,
        () = show(options, members, &load) => unreachable!("showing has no end"),
    };
    let seconds = begun.elapsed().as_secs_f64();
    let mut report = members.report();
    report.commands = load.acknowledged();
    report.replies_ok = load.acknowledged();
    report.retries = retries;
    report.skipped = skipped;
    report.seconds = seconds;
    report.commands_per_second = (load.acknowledged() as f64 / seconds) as u64;
    compare(&mut report, members, |counts| *counts == expected).await?;
    report.print(options.json)?;
    Ok(report.is_good())
}

/// Shows the progress, depending on the options and on whether there is a terminal.
async fn show(options: &Options, members: &Arc<Members>, load: &Arc<Load>) {
    if options.json {
        return std::future::pending().await;
    }
    match View::open(members.len(), load.text().len()) {
        Some(view) => view.run(members.clone(), load.clone()).await,
        None => lines::run(members, load).await,
    }
}

/// Runs the clients and the faults until every word is counted; returns the retries and the skipped
/// steps.
async fn work(
    options: &Options,
    members: &Arc<Members>,
    load: &Arc<Load>,
) -> Result<(u64, Vec<String>), Failure> {
    let mut clients = Vec::new();
    let mut counting = tokio::task::JoinSet::new();
    for number in 0..options.clients {
        let client = members.client(number);
        clients.push(client.clone());
        counting.spawn_local(load.clone().count(number, client));
    }
    let directing = Director::new(members.clone(), load.clone(), options).direct();
    let all = async {
        while let Some(ended) = counting.join_next().await {
            ended.map_err(|error| Failure(format!("a client died: {error}")))??;
        }
        Ok::<(), Failure>(())
    };
    let (skipped, counted) = tokio::join!(directing, all);
    counted?;
    let retries = clients.iter().map(|client| client.metrics().retries).sum();
    Ok((retries, skipped))
}

/// Compares the replicas' counts with each other and with the expected ones.
async fn compare(
    report: &mut Report,
    members: &Members,
    is_right: impl Fn(&Counts) -> bool,
) -> Result<(), Failure> {
    let replicas = members.counts_of_all().await?;
    report.replicas_equal = replicas.windows(2).all(|pair| pair[0] == pair[1]);
    report.matches_plain_count = replicas.iter().all(is_right);
    Ok(())
}

/// Compares the directory's counts with those that the acknowledgement log of a killed run permits.
async fn check(options: &Options, members: &Members, bounds: &Bounds) -> Result<bool, Failure> {
    let begun = Instant::now();
    members.counts_of_leader().await?;
    let mut report = members.report();
    report.commands = bounds.at_least.values().sum();
    compare(&mut report, members, |counts| bounds.violations(counts).is_empty()).await?;
    for (word, count) in bounds.violations(&members.counts_of_leader().await?).into_iter().take(20)
    {
        let of = |map: &Counts| map.get(&word).copied().unwrap_or(0);
        eprintln!(
            "{:?}: {count}, acknowledged {}, sent {}",
            String::from_utf8_lossy(&word),
            of(&bounds.at_least),
            of(&bounds.at_most)
        );
    }
    report.seconds = begun.elapsed().as_secs_f64();
    report.print(options.json)?;
    Ok(report.is_good())
}

/// The plain count, in one thread and without quorate.
fn expected(base: &Counts, text: &Text) -> Counts {
    let mut counts = BTreeMap::clone(base);
    for word in (0..text.len()).filter_map(|number| text.word(number)) {
        match counts.get_mut(word) {
            Some(count) => *count += 1,
            None => {
                counts.insert(word.to_vec(), 1);
            }
        }
    }
    counts
}

fn scratch_directory(options: &Options) -> Result<Option<tempfile::TempDir>, Failure> {
    if options.memory || options.data_dir.is_some() || options.check.is_some() {
        return Ok(None);
    }
    let made = tempfile::Builder::new().prefix("quorate-demo-").tempdir();
    made.map(Some).map_err(|error| Failure(format!("can't make a temporary directory: {error}")))
}
