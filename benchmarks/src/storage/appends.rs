//! Batches of entries, each one synced write, while the log is kept short as in real life.
//!
//! A turn appends for a while; once per segment's worth of bytes it makes room, which is counted apart. Turns are cut
//! into slices that the contestants take in turn, so that what disturbs the machine for a second disturbs them all.
//! Everyone is warmed up until files that became free are there to be used again.
//!
//! Not here: several writers. A log has one.

use std::time::Duration;

use super::ours::Ours;
use super::plain::Batches;
use super::{Append, ENTRY_BYTES, FILL_BATCH, Sizes};
use crate::measure::{Latencies, Outcome, Spread, Stopwatch, alternate, millis};
use crate::place::Place;
use crate::report::{Row, Section};
use crate::system::Moved;

const BATCHES: [usize; 3] = [1, 16, 256];
/// So many segments are written before anything is measured: two that are kept, and some that became free.
const WARM_UP_SEGMENTS: u64 = 6;
/// Length of the file that the plain calls go round in.
const RING_SEGMENTS: u64 = 2;

/// A turn of a contestant, or a slice of it.
#[derive(Default)]
struct Turn {
    calls: Vec<Duration>,
    appending: Duration,
    tended: Vec<Duration>,
    written: u64,
}

impl Turn {
    fn of(slices: &[Turn]) -> Turn {
        let mut whole = Turn::default();
        for slice in slices {
            whole.calls.extend_from_slice(&slice.calls);
            whole.appending += slice.appending;
            whole.tended.extend_from_slice(&slice.tended);
            whole.written += slice.written;
        }
        whole
    }

    fn entries(&self, batch: usize) -> f64 {
        (self.calls.len() * batch) as f64
    }

    fn tending(&self) -> Duration {
        self.tended.iter().sum()
    }
}

/// The section.
pub fn sections(place: &Place, sizes: &Sizes) -> Outcome<Vec<Section>> {
    let mut rows = Vec::new();
    for batch in BATCHES {
        rows.extend(rows_of(place, sizes, batch)?);
    }
    let length = sizes.slice.as_millis();
    let notes = vec![
        format!(
            "{} rounds; in each everyone has {} slices of {length} ms. raw: as many bytes as ours wrote for a batch, into a file preallocated with zeros.",
            sizes.rounds, sizes.slices
        ),
        format!(
            "tended: a snapshot with its record and a purge (raft-engine: compaction and purge) once per segment of {}, {} and {} KiB.",
            sizes.segment_bytes_for(BATCHES[0]) >> 10,
            sizes.segment_bytes_for(BATCHES[1]) >> 10,
            sizes.segment_bytes_for(BATCHES[2]) >> 10,
        ),
    ];
    let title = "Appending: batches of 1, 16, 256 entries of 256 bytes, each synced".into();
    Ok(vec![Section { key: "appending".into(), title, notes, rows, elsewhere: 0.0 }])
}

fn rows_of(place: &Place, sizes: &Sizes, batch: usize) -> Outcome<Vec<Row>> {
    let folder = place.folder()?;
    let segment_bytes = sizes.segment_bytes_for(batch);
    let mut ours = Ours::new(folder.path().join("ours"), segment_bytes)?;
    warm_up(&mut ours, segment_bytes)?;
    let batch_bytes = ours.bytes_of(batch)?;
    let ring_bytes = RING_SEGMENTS * sizes.segment_bytes;
    let ring = Batches::new(&folder.path().join("raw"), ring_bytes, batch_bytes)?;
    let mut contestants: Vec<Box<dyn Append>> = vec![Box::new(ours), Box::new(ring)];
    #[cfg(feature = "peers")]
    {
        let mut peer = super::peer::Peer::new(folder.path().join("peer"), segment_bytes)?;
        warm_up(&mut peer, segment_bytes)?;
        contestants.push(Box::new(peer));
    }
    let slices = alternate(sizes.rounds * sizes.slices, &mut contestants, |log| {
        slice(log.as_mut(), batch, sizes.slice)
    })?;
    let turns_of = |slices: &Vec<Turn>| slices.chunks(sizes.slices).map(Turn::of).collect();
    let turns: Vec<Vec<Turn>> = slices.iter().map(turns_of).collect();
    let speeds: Vec<_> = turns.iter().map(|turns| Speeds::of(turns, batch)).collect();
    let rows = contestants.iter().zip(&turns).zip(&speeds).map(|((log, turns), own)| {
        let name = format!("{batch}, {}", log.name());
        let is_ours = log.name() == "ours";
        row(name, turns, own, (!is_ours).then_some(&speeds[0]))
    });
    Ok(rows.collect())
}

fn warm_up(log: &mut impl Append, segment_bytes: u64) -> Outcome<()> {
    let batches = (WARM_UP_SEGMENTS * segment_bytes).div_ceil(FILL_BATCH as u64 * ENTRY_BYTES);
    for _ in 0..batches {
        log.append(FILL_BATCH)?;
        log.tend()?;
    }
    Ok(())
}

fn slice(log: &mut dyn Append, batch: usize, length: Duration) -> Outcome<Turn> {
    let before = Moved::until_now()?;
    let (mut calls, mut tended) = (Vec::new(), Vec::new());
    let stopwatch = Stopwatch::start();
    while stopwatch.elapsed() < length {
        calls.push(log.append(batch)?);
        tended.extend(log.tend()?);
    }
    let (appending, written) = (calls.iter().sum(), before.since()?.written);
    Ok(Turn { calls, appending, tended, written })
}

/// Entries a second, round by round.
struct Speeds {
    appending: Spread,
    tending_too: Spread,
}

impl Speeds {
    fn of(turns: &[Turn], batch: usize) -> Speeds {
        let speed = |time: fn(&Turn) -> Duration| {
            Spread::of(turns.iter().map(|turn| turn.entries(batch) / time(turn).as_secs_f64()))
        };
        Speeds {
            appending: speed(|turn| turn.appending),
            tending_too: speed(|turn| turn.appending + turn.tending()),
        }
    }
}

fn row(name: String, turns: &[Turn], own: &Speeds, ours: Option<&Speeds>) -> Row {
    let calls = Latencies::of(turns.iter().flat_map(|turn| turn.calls.iter().copied()));
    let tended: Vec<f64> =
        turns.iter().flat_map(|turn| &turn.tended).map(|time| millis(*time)).collect();
    let batches: usize = turns.iter().map(|turn| turn.calls.len()).sum();
    let written: u64 = turns.iter().map(|turn| turn.written).sum();
    let ratio = |of: fn(&Speeds) -> &Spread| ours.map(|ours| of(ours).divided_by(of(own)));
    Row::new(name)
        .with("entries_per_s", own.appending.clone())
        .with_some("ours_divided_by_it", ratio(|speeds| &speeds.appending))
        .with("entries_per_s_tended", own.tending_too.clone())
        .with_some("ours_divided_by_it_tended", ratio(|speeds| &speeds.tending_too))
        .with("p50_us", calls.percentile_us(0.5))
        .with("p99_us", calls.percentile_us(0.99))
        .with("max_us", calls.max_us())
        .with("tended_times", tended.len() as f64)
        .with_some("tended_ms", (!tended.is_empty()).then(|| Spread::of(tended).median()))
        .with("written_bytes_a_batch", written as f64 / batches as f64)
}
