//! The file store: what appending, opening, reading, purging and remembering a log costs.
//!
//! | file | idea |
//! |---|---|
//! | `appends`, `stored`, `purges`, `memory` | what is measured: one section of the report each, or a few |
//! | `ours`, `plain`, `peer` | who is measured: the store, plain calls, raft-engine (feature `peers`) |
//!
//! All contestants store the same entries, of random bytes. Ours is used through its public contracts alone, as any
//! node uses it, so a store that is built differently inside is measured the same.
//!
//! Not here: the protocol above. One caller writes and waits, as the persister does.

mod appends;
mod memory;
mod ours;
#[cfg(feature = "peers")]
mod peer;
mod plain;
mod purges;
mod stored;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use crate::measure::Outcome;
use crate::place::Place;
use crate::report::{Report, Section};
use quorate::raft::Random;

pub use memory::{Probe, answer};
use ours::Ours;

/// Data of each entry.
const DATA_BYTES: usize = 256;
/// What a log takes for an entry beside its data, about: where segments are counted, not where bytes are.
const ENTRY_BYTES: u64 = DATA_BYTES as u64 + 32;
/// What a log is filled with where filling is not what is measured.
const FILL_BATCH: usize = 256;

/// How much is done.
struct Sizes {
    /// How often each contestant has its turn.
    rounds: usize,
    /// Into so many slices a turn of appending is cut, for the contestants to take in turn.
    slices: usize,
    /// How long a slice lasts.
    slice: Duration,
    /// A log file ends here, and a snapshot is made after as much again, when batches of `FILL_BATCH` are written.
    segment_bytes: u64,
    /// Entries of the log that is opened, read and purged.
    entries: u64,
    /// Single reads of a turn.
    random_reads: u64,
}

impl Sizes {
    fn full() -> Sizes {
        Sizes {
            rounds: 7,
            slices: 14,
            slice: Duration::from_millis(50),
            segment_bytes: 64 << 20,
            entries: 1_000_000,
            random_reads: 5000,
        }
    }

    fn quick() -> Sizes {
        Sizes {
            rounds: 5,
            slices: 2,
            slice: Duration::from_millis(15),
            segment_bytes: 1 << 20,
            entries: 20_000,
            random_reads: 200,
        }
    }

    /// Smaller batches write fewer bytes in the same time; with this, segments end in every turn all the same.
    fn segment_bytes_for(&self, batch: usize) -> u64 {
        let share = match batch {
            0..16 => 64,
            16..256 => 8,
            _ => 1,
        };
        (self.segment_bytes / share).max(128 << 10)
    }
}

/// Something that makes batches of entries durable.
trait Append {
    fn name(&self) -> &'static str;

    /// One batch, durable on return. How long its calls took; making up the entries is not among them.
    fn append(&mut self, batch: usize) -> Outcome<Duration>;

    /// If as much as a segment was written since the last time: makes room, and says how long that took.
    fn tend(&mut self) -> Outcome<Option<Duration>>;
}

/// Something that holds a log of [`Sizes::entries`].
trait Stored {
    fn name(&self) -> &'static str;

    /// Its files.
    fn folder(&self) -> &Path;

    /// What of the files' bytes is the log.
    fn log_bytes(&self) -> Outcome<u64>;

    fn open(&mut self) -> Outcome<()>;

    fn close(&mut self);

    /// All entries, oldest first, a MiB at a time.
    fn read_in_order(&mut self) -> Outcome<()>;

    /// One entry that this number stands for.
    fn read_one(&mut self, chosen: u64) -> Outcome<()>;
}

/// Something that can forget the older half of its log.
trait Purge: Append {
    /// Its files.
    fn folder(&self) -> &Path;

    /// Whatever has to be there before, not measured.
    fn prepare(&mut self) -> Outcome<()>;

    /// Purges this many of the oldest entries. How long the call took.
    fn purge(&mut self, entries: u64) -> Outcome<Duration>;
}

/// All sections.
pub fn run(report: &mut Report) -> Outcome<()> {
    let sizes = if report.quick { Sizes::quick() } else { Sizes::full() };
    type Part = fn(&Place, &Sizes) -> Outcome<Vec<Section>>;
    let parts: [Part; 4] =
        [appends::sections, stored::sections, memory::sections, purges::sections];
    let place = report.place;
    parts.into_iter().try_for_each(|part| report.measure(|| part(place, &sizes)))
}

/// Data for entries: random, so that nobody gains by compressing, and shared, so that nobody pays for making it.
struct Payloads {
    pool: Vec<Bytes>,
}

impl Payloads {
    fn new() -> Payloads {
        let count = 4096;
        let bytes = Bytes::from(Random::new(1).bytes(count * DATA_BYTES));
        let pool = (0..count).map(|at| bytes.slice(at * DATA_BYTES..(at + 1) * DATA_BYTES));
        Payloads { pool: pool.collect() }
    }

    fn of(&self, index: u64) -> &Bytes {
        &self.pool[index as usize % self.pool.len()]
    }
}

/// Appends until the log holds `entries` more, making no room.
fn fill(log: &mut (impl Append + ?Sized), entries: u64) -> Outcome<()> {
    let mut left = entries;
    while left > 0 {
        let batch = left.min(FILL_BATCH as u64);
        log.append(batch as usize)?;
        left -= batch;
    }
    Ok(())
}
