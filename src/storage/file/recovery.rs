//! Reads the log: every segment once, in order, without changes.
//!
//! Possible flaws and their meaning:
//!
//! | where | meaning |
//! |---|---|
//! | not in the newest segment | corruption: it was durable before the next one was begun |
//! | newest, before the highest `synced through` of a valid frame | corruption (PS06) |
//! | newest, before the [mark](super::end) of the log's end; or no mark | corruption (PS06) |
//! | newest, behind that | an unacknowledged write: skipped completely (PS05), reported |
//! | newest, without a usable frame | a crash at its creation: the one before continues (PS14) |
//! | a frame that verifies and does not fit | corruption |
//!
//! A damaged log has an intact part before the damage, and often one behind it: that begins with
//! the next segment, whose checkpoint holds everything but the entries.
//!
//! *What it does not do:* decide what a node does about damage ([`verdict`](super::verdict) does),
//! or change any file.

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

/// The content of the log's files.
pub(crate) struct Recovery {
    /// The log if it is intact; otherwise its intact beginning.
    pub log: Replay,
    /// The first damage, if any.
    pub damage: Option<Damage>,
    /// Further damage: other segments that do not verify.
    pub further: Vec<Damage>,
    /// An unfinished write at the end. Nothing of it was acknowledged, and it is skipped.
    pub unfinished: Option<Damage>,
    /// The intact end of a damaged log.
    pub beyond: Option<Replay>,
    /// The latest incarnation found in any file.
    pub incarnation: Incarnation,
    /// The files of the log.
    pub chain: Chain,
    /// How far the log was durable.
    pub marks: StoredMarks,
}

/// A position that does not hold the bytes that were made durable there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The file.
    pub path: String,
    /// Byte offset in it.
    pub offset: u64,
    /// What is wrong: a clause that follows "the log", "the storage", or a file's name.
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
    // Read before the log: if a node is running, the log is then at least as long as the mark says.
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
        // The end of the log is unknown.
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
        // There may be several damaged places: the intact part behind the last of them is used.
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

/// The source of segments.
struct Reading<'a> {
    files: &'a Files,
    layout: &'a Layout,
    identity: Identity,
    /// The mark of the log's end, if its newest segment exists.
    mark: Option<EndMark>,
}

/// The result of reading segments.
#[derive(Default)]
struct Read {
    log: Replay,
    incarnation: Incarnation,
    /// Position in the links, and the damage.
    damage: Option<(usize, Damage)>,
    unfinished: Option<Damage>,
    /// Position of a frame that verifies and does not fit.
    unfit: Option<Position>,
}

impl Reading<'_> {
    /// Reads the intact beginning. A frame that verifies and does not fit may have been applied in
    /// part; then the frames before it are read again.
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

    /// Classifies a flaw at `offset`: the end of the log, or damage.
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
            // The next segment does not say where this one ended; that segment is the damaged one.
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
