//! Forgetting the older half of a long log: how long the call takes, and until when files are removed or kept for use.
//!
//! A store may do that inside the call or behind it, so the folder is watched until nothing has changed for a while.
//! Each turn purges half, then the half is appended again, not measured.
//!
//! Not here: purging beside appending. That is part of appending, where logs are tended.

use std::time::Duration;

use super::ours::Ours;
use super::{Purge, Sizes, fill};
use crate::measure::{Outcome, Spread, Stopwatch, alternate, mib, millis};
use crate::place::Place;
use crate::report::{Row, Section};
use crate::system::{files, pause};

/// So long nothing must change.
const QUIET: Duration = Duration::from_millis(200);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(1);

/// What a turn saw.
struct Turn {
    call_ms: f64,
    settled_ms: f64,
    before: Seen,
    after: Seen,
}

/// A folder.
struct Seen {
    files: f64,
    mib: f64,
}

impl Seen {
    fn of<P>(files: &[(P, u64)]) -> Seen {
        let bytes = files.iter().map(|(_, bytes)| bytes).sum();
        Seen { files: files.len() as f64, mib: mib(bytes) }
    }
}

/// The section.
pub fn sections(place: &Place, sizes: &Sizes) -> Outcome<Vec<Section>> {
    let folder = place.folder()?;
    let ours = Ours::new(folder.path().join("ours"), sizes.segment_bytes)?;
    let mut contestants: Vec<Box<dyn Purge>> = vec![Box::new(ours)];
    #[cfg(feature = "peers")]
    contestants
        .push(Box::new(super::peer::Peer::new(folder.path().join("peer"), sizes.segment_bytes)?));
    let half = sizes.entries / 2;
    for log in &mut contestants {
        fill(log.as_mut(), half)?;
    }
    let turns = alternate(sizes.rounds, &mut contestants, |log| turn(log.as_mut(), half))?;
    let calls: Vec<Spread> = turns.iter().map(|turns| each(turns, |turn| turn.call_ms)).collect();
    let rows = contestants.iter().zip(&turns).zip(&calls).map(|((log, turns), call)| {
        let is_other = log.name() != "ours";
        Row::new(log.name())
            .with("call_ms", call.clone())
            .with_some("ours_divided_by_it", is_other.then(|| call.divided_by(&calls[0])))
            .with("settled_ms", each(turns, |turn| turn.settled_ms))
            .with("files_before", each(turns, |turn| turn.before.files))
            .with("files_after", each(turns, |turn| turn.after.files))
            .with("mib_before", each(turns, |turn| turn.before.mib))
            .with("mib_after", each(turns, |turn| turn.after.mib))
    });
    let notes = vec![
        "ours: one write that purges, synced. raft-engine: compact_to, not synced, and purge_expired_files.".into(),
        "settled_ms: when the last change in the folder was seen, from the beginning of the call.".into(),
    ];
    let title = format!("Purging the older half of a log of {} entries", sizes.entries);
    Ok(vec![Section { key: "purging".into(), title, notes, rows: rows.collect(), elsewhere: 0.0 }])
}

fn each(turns: &[Turn], of: fn(&Turn) -> f64) -> Spread {
    Spread::of(turns.iter().map(of))
}

fn turn(log: &mut dyn Purge, half: u64) -> Outcome<Turn> {
    fill(log, half)?;
    log.prepare()?;
    pause(QUIET);
    let before = files(log.folder())?;
    let stopwatch = Stopwatch::start();
    let call = log.purge(half)?;
    let (mut seen, mut settled) = (files(log.folder())?, call);
    while stopwatch.elapsed() < settled + QUIET {
        pause(LOOK);
        let now = files(log.folder())?;
        if now != seen {
            (seen, settled) = (now, stopwatch.elapsed());
        }
    }
    Ok(Turn {
        call_ms: millis(call),
        settled_ms: millis(settled),
        before: Seen::of(&before),
        after: Seen::of(&seen),
    })
}
