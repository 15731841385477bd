//! The demo: peers in one process count the words of a text, under faults, and every replica is compared with a plain
//! count.

mod acks;
mod director;
mod load;
mod members;
mod options;
mod random;
mod report;
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
use text::Text;
use tokio::time::Instant;
use view::View;

/// Why the demo could not run.
#[derive(Debug)]
pub struct Failure(pub String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs the demo, or the check of an earlier one; whether all was as it should be.
pub fn run(options: Options) -> Result<bool, Failure> {
    let runtime =
        actix_rt::Runtime::new().map_err(|error| Failure(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        match options.check.clone() {
            Some(file) => check(&options, &file).await,
            None => demo(&options).await,
        }
    })
}

async fn demo(options: &Options) -> Result<bool, Failure> {
    let text = Text::load(options.input.as_deref(), options.seed)?;
    let scratch = scratch_directory(options)?;
    let members =
        Arc::new(Members::start(options, scratch.as_ref().map(tempfile::TempDir::path)).await?);
    let base = members.counts_of_leader().await?;
    let acks = options.ack_log.as_ref().map(|path| AckLog::create(path, &base)).transpose()?;
    let expected = expected(&base, &text);
    let view = View::open(!options.json, members.len(), text.len());
    let load = Load::new(text, acks);

    let begun = Instant::now();
    let outcome = {
        let work = work(options, &members, &load);
        match &view {
            Some(view) => tokio::select! {
                biased;
                outcome = work => outcome,
                () = view.run(members.clone(), load.clone()) => unreachable!("a view has no end"),
            },
            None => work.await,
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    if let Some(view) = view {
        view.close();
    }
    let (retries, skipped) = outcome?;
    let mut report = members.report();
    report.commands = load.acknowledged();
    report.replies_ok = load.acknowledged();
    report.retries = retries;
    report.skipped = skipped;
    report.seconds = seconds;
    report.commands_per_second = (load.acknowledged() as f64 / seconds) as u64;
    compare(&mut report, &members, |counts| *counts == expected).await?;
    finish(options, &members, report).await
}

/// The clients and the faults, until every word is counted; retries, and the steps that did not come about.
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

/// Compares what the replicas hold, with each other and with what it should be.
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

async fn finish(options: &Options, members: &Members, report: Report) -> Result<bool, Failure> {
    report.print(options.json);
    if options.keep_running {
        eprintln!("the peers go on running; interrupt the program to end them");
        std::future::pending::<()>().await;
    }
    members.shutdown().await;
    Ok(report.is_good())
}

/// What the acknowledgement log of a killed run allows, against what the directory holds.
async fn check(options: &Options, file: &std::path::Path) -> Result<bool, Failure> {
    let bounds = Bounds::read(file)?;
    let begun = Instant::now();
    let members = Members::start(options, None).await?;
    members.counts_of_leader().await?;
    let mut report = members.report();
    report.commands = bounds.at_least.values().sum();
    compare(&mut report, &members, |counts| bounds.violations(counts).is_empty()).await?;
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
    finish(options, &members, report).await
}

/// The plain count: one thread, no quorate.
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
    if options.memory || options.data_dir.is_some() {
        return Ok(None);
    }
    let made = tempfile::Builder::new().prefix("quorate-demo-").tempdir();
    made.map(Some).map_err(|error| Failure(format!("can't make a temporary directory: {error}")))
}
