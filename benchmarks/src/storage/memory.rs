//! What an open log costs in memory, page by page.
//!
//! ```text
//! a process of its own:   before ── open ──▶ with the outline ── drop it ──▶ the store alone
//! ```
//! The same is done with an empty log, and the difference divided by the number of entries. The outline is what
//! `recovered` hands to the protocol (four bytes an entry); the store's own index is what stays.
//!
//! Not here: what an allocator would show that counts each call; that needs unsafe code.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Ours, Sizes, fill, ours};
use crate::measure::{Outcome, Spread, alternate, mib};
use crate::place::Place;
use crate::report::{Row, Section};
use crate::system::{anonymous_bytes, peak_bytes};

/// Which log a process of its own is to open.
#[derive(Args)]
pub struct Probe {
    /// Whose.
    #[arg(long)]
    log: Whose,
    /// Where.
    folder: PathBuf,
    /// How long its files are.
    segment_bytes: u64,
}

/// Whose log is opened.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Whose {
    Ours,
    #[cfg(feature = "peers")]
    Peer,
}

/// Opens the log and prints what memory that took.
pub fn answer(probe: &Probe) -> Outcome<()> {
    let (before, peak_before) = (anonymous_bytes()?, peak_bytes()?);
    let (with_outline, alone) = match probe.log {
        Whose::Ours => {
            let opened = ours::open(&probe.folder, probe.segment_bytes)?;
            let with_outline = anonymous_bytes()?;
            drop(opened.recovered);
            (with_outline, anonymous_bytes()?)
        }
        #[cfg(feature = "peers")]
        Whose::Peer => {
            let engine = super::peer::open(&probe.folder, probe.segment_bytes)?;
            let alone = anonymous_bytes()?;
            drop(engine);
            (alone, alone)
        }
    };
    println!(
        "{}",
        json!({
            "outline": with_outline.saturating_sub(alone),
            "store": alone.saturating_sub(before),
            "peak": peak_bytes()? - peak_before,
        })
    );
    Ok(())
}

/// What a process of its own answered.
struct Answer {
    outline: f64,
    store: f64,
    peak: f64,
}

/// A log that is to be opened elsewhere.
struct Closed {
    whose: Whose,
    folder: PathBuf,
    segment_bytes: u64,
}

impl Closed {
    fn ask(&self) -> Outcome<Answer> {
        let name = self.whose.to_possible_value().ok_or("has no name")?;
        let output = Command::new(std::env::current_exe()?)
            .args(["storage-memory", "--log", name.get_name()])
            .arg(&self.folder)
            .arg(self.segment_bytes.to_string())
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let field = |name: &str| answer[name].as_f64().ok_or(format!("no {name} in {answer}"));
        Ok(Answer { outline: field("outline")?, store: field("store")?, peak: field("peak")? })
    }
}

/// The section.
pub fn sections(place: &Place, sizes: &Sizes) -> Outcome<Vec<Section>> {
    let folder = place.folder()?;
    let mut rows = Vec::new();
    for whose in Whose::value_variants() {
        let mut logs = [0, sizes.entries].map(|entries| (*whose, entries));
        let mut closed = Vec::new();
        for (whose, entries) in &mut logs {
            closed.push(make(folder.path(), *whose, *entries, sizes.segment_bytes)?);
        }
        let answers = alternate(sizes.rounds, &mut closed, |log| log.ask())?;
        rows.push(row(*whose, &answers[0], &answers[1], sizes.entries as f64));
    }
    let notes = vec![
        "Anonymous pages of a process that does nothing else, of a log with the entries less those of an empty one.".into(),
        "outline: what `recovered` hands to the protocol. peak_mib: the most there was while opening, less what was there before.".into(),
    ];
    let title = format!("Memory of an open log of {} entries", sizes.entries);
    Ok(vec![Section { key: "memory".into(), title, notes, rows, elsewhere: 0.0 }])
}

fn make(folder: &Path, whose: Whose, entries: u64, segment_bytes: u64) -> Outcome<Closed> {
    let folder = folder.join(format!("{whose:?}-{entries}"));
    match whose {
        Whose::Ours => fill(&mut Ours::new(folder.clone(), segment_bytes)?, entries)?,
        #[cfg(feature = "peers")]
        Whose::Peer => {
            fill(&mut super::peer::Peer::new(folder.clone(), segment_bytes)?, entries)?;
        }
    }
    Ok(Closed { whose, folder, segment_bytes })
}

fn row(whose: Whose, empty: &[Answer], full: &[Answer], entries: f64) -> Row {
    let name = match whose {
        Whose::Ours => "ours",
        #[cfg(feature = "peers")]
        Whose::Peer => "raft-engine",
    };
    let each = |of: fn(&Answer) -> f64| {
        Spread::of(full.iter().zip(empty).map(|(full, empty)| (of(full) - of(empty)) / entries))
    };
    let all = |answers: &[Answer], of: fn(&Answer) -> f64| {
        Spread::of(answers.iter().map(|answer| mib(of(answer) as u64)))
    };
    Row::new(name)
        .with("store_bytes_an_entry", each(|answer| answer.store))
        .with("outline_bytes_an_entry", each(|answer| answer.outline))
        .with("store_mib", all(full, |answer| answer.store))
        .with("empty_store_mib", all(empty, |answer| answer.store))
        .with("peak_mib", all(full, |answer| answer.peak))
}
