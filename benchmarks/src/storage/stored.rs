//! A long log that is there: opening it, reading it in order, reading single entries.
//!
//! Cold means that the kernel was told to forget the files' pages; how much then came from the device is shown.
//! Plain reading goes through as many bytes of the same files with one buffer of a MiB. All in turns.
//!
//! Not here: what an open log costs in memory.

use std::path::PathBuf;

use super::ours::Ours;
use super::plain::PlainFiles;
use super::{FILL_BATCH, Sizes, Stored, fill};
use crate::measure::{Outcome, Spread, alternate, mib, millis, timed};
use crate::place::Place;
use crate::report::{Row, Section};
use crate::system::{Moved, forget};
use quorate::raft::Random;

const COLD: &str = "Cold: posix_fadvise(DONTNEED) after a sync, for the log's files alone; from_device: which part came from there.";

type Contestants = Vec<Box<dyn Stored>>;

/// What a turn took.
struct Turn {
    seconds: f64,
    fetched: u64,
}

/// Which work is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Open,
    ReadInOrder,
}

/// The sections.
pub fn sections(place: &Place, sizes: &Sizes) -> Outcome<Vec<Section>> {
    let folder = place.folder()?;
    let mut contestants = contestants(folder.path().to_owned(), sizes)?;
    let entries = sizes.entries;
    let opening = Section {
        key: "opening".into(),
        title: format!("Opening a log of {entries} entries of 256 bytes"),
        notes: vec![COLD.into()],
        rows: both(&mut contestants, sizes, Work::Open)?,
        elsewhere: 0.0,
    };
    for log in &mut contestants {
        log.open()?;
    }
    let reading = Section {
        key: "reading_in_order".into(),
        title: format!("Reading those {entries} entries in order, 1 MiB at a time"),
        notes: vec![COLD.into()],
        rows: both(&mut contestants, sizes, Work::ReadInOrder)?,
        elsewhere: 0.0,
    };
    let single = Section {
        key: "reading_single_entries".into(),
        title: format!("Reading single entries anywhere in those {entries}"),
        notes: vec!["Warm. plain read: as many bytes as an entry has, anywhere.".into()],
        rows: single(&mut contestants, sizes)?,
        elsewhere: 0.0,
    };
    Ok(vec![opening, reading, single])
}

fn contestants(folder: PathBuf, sizes: &Sizes) -> Outcome<Contestants> {
    let mut ours = Ours::new(folder.join("ours"), sizes.segment_bytes)?;
    let measured = (31 * FILL_BATCH) as u64;
    fill(&mut ours, sizes.entries - measured)?;
    ours.bytes_of(FILL_BATCH)?;
    let plain = PlainFiles::new(folder.join("ours").join("log"), ours.log_bytes()?);
    ours.close();
    #[cfg_attr(not(feature = "peers"), expect(unused_mut, reason = "nobody joins"))]
    let mut contestants: Contestants = vec![Box::new(ours), Box::new(plain)];
    #[cfg(feature = "peers")]
    {
        let mut peer = super::peer::Peer::new(folder.join("peer"), sizes.segment_bytes)?;
        fill(&mut peer, sizes.entries)?;
        peer.close();
        contestants.push(Box::new(peer));
    }
    Ok(contestants)
}

fn both(contestants: &mut Contestants, sizes: &Sizes, work: Work) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for is_cold in [true, false] {
        let turns = alternate(sizes.rounds, contestants, |log| turn(log.as_mut(), is_cold, work))?;
        rows.extend(rows_of(contestants, &turns, is_cold, sizes)?);
    }
    Ok(rows)
}

fn turn(log: &mut dyn Stored, is_cold: bool, work: Work) -> Outcome<Turn> {
    if is_cold {
        forget(log.folder())?;
    } else {
        PlainFiles::new(log.folder().to_owned(), u64::MAX).open()?;
    }
    let before = Moved::until_now()?;
    let (took, ()) = timed(|| match work {
        Work::Open => log.open(),
        Work::ReadInOrder => log.read_in_order(),
    })?;
    let fetched = before.since()?.fetched;
    if work == Work::Open {
        log.close();
    }
    Ok(Turn { seconds: took.as_secs_f64(), fetched })
}

fn rows_of(
    contestants: &Contestants,
    turns: &[Vec<Turn>],
    is_cold: bool,
    sizes: &Sizes,
) -> Outcome<Vec<Row>> {
    let seconds: Vec<Spread> =
        turns.iter().map(|turns| Spread::of(turns.iter().map(|turn| turn.seconds))).collect();
    let mut rows = Vec::new();
    for ((log, turns), own) in contestants.iter().zip(turns).zip(&seconds) {
        let each = |of: &dyn Fn(f64) -> f64| Spread::of(own.samples().iter().map(|took| of(*took)));
        let log_bytes = log.log_bytes()?;
        let fetched = turns.iter().map(|turn| turn.fetched as f64 / log_bytes as f64);
        let name = format!("{}, {}", if is_cold { "cold" } else { "warm" }, log.name());
        let is_other = log.name() != "ours";
        rows.push(
            Row::new(name)
                .with("ms", each(&|took| took * 1e3))
                .with("mib", mib(log_bytes))
                .with("mib_per_s", each(&|took| mib(log_bytes) / took))
                .with("entries_per_s", each(&|took| sizes.entries as f64 / took))
                .with_some("ours_divided_by_it", is_other.then(|| own.divided_by(&seconds[0])))
                .with_some("from_device", is_cold.then(|| Spread::of(fetched))),
        );
    }
    Ok(rows)
}

fn single(contestants: &mut Contestants, sizes: &Sizes) -> Outcome<Vec<Row>> {
    let mut seed = 0;
    let times = alternate(sizes.rounds, contestants, |log| {
        seed += 1;
        let mut random = Random::new(seed);
        let (took, ()) =
            timed(|| (0..sizes.random_reads).try_for_each(|_| log.read_one(random.next())))?;
        Ok(millis(took) * 1e3 / sizes.random_reads as f64)
    })?;
    let times: Vec<Spread> = times.into_iter().map(Spread::of).collect();
    let rows = contestants.iter().zip(&times).map(|(log, own)| {
        let is_other = log.name() != "ours";
        Row::new(log.name())
            .with("us_a_read", own.clone())
            .with("reads_per_s", Spread::of(own.samples().iter().map(|micros| 1e6 / micros)))
            .with_some("ours_divided_by_it", is_other.then(|| own.divided_by(&times[0])))
    });
    Ok(rows.collect())
}
