//! Reads the log back: every segment once, in order, nothing changed.
//!
//! What can be wrong, and what it means:
//!
//! | where | what |
//! |---|---|
//! | any segment but the newest | corruption: it was durable before the next one was begun |
//! | the newest, before the highest `synced through` of any frame that verifies | corruption (PS06) |
//! | the newest, before the [mark](super::end) of the log's end; or no such mark | corruption (PS06) |
//! | the newest, behind that | a write that was never acknowledged: passed over whole (PS05), and reported |
//! | the newest, nothing usable in it | a crash while it was begun: the one before goes on (PS14) |
//! | a frame that verifies and does not fit | corruption |
//!
//! Of a damaged log there is the part before the damage, and often the part behind it: from the next segment on, whose
//! checkpoint says all but the entries.
//!
//! Not here: what a node makes of damage ([`verdict`](super::verdict) says), and any change of a file.

use std::fmt;
use std::path::Path;

use super::super::{Identity, StorageError};
use super::chain::{Chain, Link};
use super::directory::Layout;
use super::end::{self, EndMark, StoredMarks};
use super::env::Files;
use super::replay::Replay;
use super::scanner::Scanner;
use super::segment::{self, Flaw, HEADER_BYTES, HeaderFlaw, Position};
use crate::raft::Incarnation;

/// What the log's files hold.
pub(crate) struct Recovery {
    /// The log, if nothing is wrong with it; else as far as it is whole, from the front.
    pub log: Replay,
    /// What is wrong, if anything is: the first place.
    pub damage: Option<Damage>,
    /// Further segments that do not verify, and where.
    pub further: Vec<Damage>,
    /// A write at the end that was never finished: nothing of it was acknowledged, and it is passed over.
    pub unfinished: Option<Damage>,
    /// The end of a damaged log, where that is whole again.
    pub beyond: Option<Replay>,
    /// The latest start that anything tells of.
    pub incarnation: Incarnation,
    /// Which files the log is made of.
    pub chain: Chain,
    /// How far the log went.
    pub marks: StoredMarks,
}

/// A place that does not hold what was made durable there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The file.
    pub path: String,
    /// Where in it.
    pub offset: u64,
    /// What is wrong: for a sentence that begins with "the log", "the storage", or a file's name.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} at byte {})", self.what, self.path, self.offset)
    }
}

impl Damage {
    pub(crate) fn new(path: &Path, offset: u64, what: impl Into<String>) -> Damage {
        Damage { path: path.display().to_string(), offset, what: what.into() }
    }
}

/// Reads the log of the directory.
pub(crate) fn recover(
    files: &Files,
    layout: &Layout,
    identity: Identity,
) -> Result<Recovery, StorageError> {
    // Before the log: beside a running node the log is then at least as long as the mark says.
    let marks = StoredMarks::read(files, layout, identity)?;
    let mark = marks.mark();
    let noted = mark.map_or(0, |mark| mark.through.segment);
    let chain = Chain::find(files, layout, identity, noted)?;
    let incarnation = chain.incarnation.max(mark.map_or(0, |mark| mark.incarnation));
    let mut recovery = Recovery {
        log: Replay::default(),
        damage: None,
        further: Vec::new(),
        unfinished: None,
        beyond: None,
        incarnation,
        chain,
        marks,
    };
    let Some(newest) = recovery.chain.links.last() else {
        recovery.damage = Some(Damage::new(&layout.log(), 0, "has no segment any more"));
        return Ok(recovery);
    };
    let gone = match mark {
        None => recovery.marks.damage(),
        Some(mark) if newest.segment < noted => {
            Some(end::missing_segment(mark, &layout.segment(noted)))
        }
        Some(_) => None,
    };
    let mark = mark.filter(|_| gone.is_none());
    recovery.read(&Reading { files, layout, identity, mark })?;
    if let Some(gone) = gone {
        // What the log ended with is not known.
        recovery.beyond = None;
        match recovery.damage {
            None => recovery.damage = Some(gone),
            Some(_) => recovery.further.push(gone),
        }
    }
    Ok(recovery)
}

impl Recovery {
    fn read(&mut self, reading: &Reading<'_>) -> Result<(), StorageError> {
        let links = self.chain.links.clone();
        let read = reading.read_whole(&links)?;
        self.incarnation = self.incarnation.max(read.incarnation);
        self.log = read.log;
        self.unfinished = read.unfinished;
        let Some((place, damage)) = read.damage else {
            self.damage = missing(reading.layout, &self.log);
            if self.damage.is_some() {
                self.beyond = Some(std::mem::take(&mut self.log));
            }
            return Ok(());
        };
        self.damage = Some(damage);
        // Damage behind damage: what is whole behind the last of it counts.
        let mut from = place + 1;
        while from < links.len() && self.beyond.is_none() {
            let read = reading.read(&links[from..], None)?;
            self.incarnation = self.incarnation.max(read.incarnation);
            self.unfinished = read.unfinished;
            match read.damage {
                None => self.beyond = Some(read.log),
                Some((place, damage)) => {
                    self.further.push(damage);
                    from += place + 1;
                }
            }
        }
        if self.log.missing().is_some() {
            self.log = Replay::default();
        }
        Ok(())
    }
}

fn missing(layout: &Layout, log: &Replay) -> Option<Damage> {
    let ((first, last), oldest) = (log.missing()?, *log.segments.front()?);
    let what = format!("lacks entries {first} to {last}: they stood in segments before this one");
    Some(Damage::new(&layout.segment(oldest), 0, what))
}

/// Where segments are read from.
struct Reading<'a> {
    files: &'a Files,
    layout: &'a Layout,
    identity: Identity,
    /// How far the log went, if its newest segment is there.
    mark: Option<EndMark>,
}

/// Segments that have been read.
#[derive(Default)]
struct Read {
    log: Replay,
    incarnation: Incarnation,
    /// In which of the links, and what.
    damage: Option<(usize, Damage)>,
    unfinished: Option<Damage>,
    /// Where a frame verifies that does not fit.
    unfit: Option<Position>,
}

impl Reading<'_> {
    /// As far as everything is whole. A frame that verifies and does not fit may have been taken over by half: then what
    /// stands before it is read once more.
    fn read_whole(&self, links: &[Link]) -> Result<Read, StorageError> {
        let read = self.read(links, None)?;
        if read.unfit.is_none() {
            return Ok(read);
        }
        let before = self.read(links, read.unfit)?;
        Ok(Read { damage: read.damage, ..before })
    }

    fn read(&self, links: &[Link], unfit: Option<Position>) -> Result<Read, StorageError> {
        let mut read = Read { unfit, ..Read::default() };
        for (place, link) in links.iter().enumerate() {
            let is_newest = place + 1 == links.len();
            let scanner = Scanner::new(
                self.files.open_read(&self.layout.segment(link.segment))?,
                link.segment,
            );
            let mark = self.mark.filter(|_| is_newest);
            let mut scan = Scan { scanner, link: *link, is_newest, mark };
            let damage = scan.read_into(&mut read, self.identity)?;
            if let Some(damage) = damage {
                read.damage = Some((place, damage));
                break;
            }
        }
        read.incarnation =
            read.incarnation.max(read.log.incarnation).max(read.log.state.life.incarnation);
        Ok(read)
    }
}

/// One segment being read.
struct Scan {
    scanner: Scanner,
    link: Link,
    is_newest: bool,
    mark: Option<EndMark>,
}

impl Scan {
    fn read_into(
        &mut self,
        read: &mut Read,
        identity: Identity,
    ) -> Result<Option<Damage>, StorageError> {
        self.scanner.refresh()?;
        let header = self.scanner.bytes(0, HEADER_BYTES)?;
        match segment::check_header(header, identity, self.link.segment) {
            Ok(()) => {}
            Err(HeaderFlaw::Refused(what) | HeaderFlaw::Damaged(what)) => {
                return self.broken_off(read, 0, what);
            }
        }
        let mut offset = HEADER_BYTES as u64;
        while self.link.end.is_none_or(|end| offset < end) {
            let least = read.log.incarnation;
            let here = Position { segment: self.link.segment, offset };
            if read.unfit == Some(here) {
                return Ok(Some(self.damage(offset, "has a frame that does not fit")));
            }
            let taken = match self.scanner.frame(offset)? {
                Ok((head, _)) if head.incarnation < least => Err(Flaw::Unfinished),
                Ok((head, payload)) => Ok((head.end(), read.log.frame(head, payload))),
                Err(flaw) => Err(flaw),
            };
            match taken {
                Ok((end, Ok(()))) => offset = end,
                Ok((_, Err(breach))) => {
                    read.unfit = Some(here);
                    return Ok(Some(self.damage(offset, breach)));
                }
                Err(flaw) => return self.broken_off(read, offset, flaw.what()),
            }
        }
        let overrun = self.link.end.is_some_and(|end| offset > end);
        Ok(overrun
            .then(|| self.damage(offset, "goes on where the next segment says that it ended")))
    }

    /// What stands at `offset` does not verify: the end of the log, or damage.
    fn broken_off(
        &mut self,
        read: &mut Read,
        offset: u64,
        flaw: &str,
    ) -> Result<Option<Damage>, StorageError> {
        let here = Position { segment: self.link.segment, offset };
        let behind = self.scanner.behind(offset, read.log.incarnation)?;
        read.incarnation = read.incarnation.max(behind.incarnation);
        let has_ended = match self.link.end {
            Some(_) => false,
            // The next segment does not say where this one ended, and is where the damage is.
            None if !self.is_newest => true,
            None => read.log.synced.max(behind.synced) <= here,
        };
        if let Some(mark) = self.mark.filter(|mark| mark.through > here) {
            return Ok(Some(self.damage(offset, end::ends_before(mark, flaw))));
        }
        if !has_ended || offset <= HEADER_BYTES as u64 {
            return Ok(Some(self.damage(offset, flaw)));
        }
        if let Some(mark) = self.mark {
            read.log.synced = read.log.synced.max(mark.through);
        }
        if behind.is_written && self.is_newest {
            read.unfinished = Some(self.damage(offset, flaw));
        }
        Ok(None)
    }

    fn damage(&self, offset: u64, what: impl Into<String>) -> Damage {
        Damage::new(self.scanner.path().as_ref(), offset, what)
    }
}
