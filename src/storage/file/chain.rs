//! Determines which segments make up the log, before they are read.
//!
//! Every segment's first frame records where the previous one ended. These records lead from the
//! newest segment back to the oldest one that exists; other segments are not part of the log.
//!
//! ```text
//! 1 .. 4   left over from a purge
//! 5 ──▶ 6 ──▶ 7 up to byte X ──▶ 9       7 is damaged behind X, and was set aside from there
//!             │ set aside │ 8 set aside  with all of 8: 9 continues from X
//! ```
//! The newest segment may have been created and never used: then it is not part of the log (PS14).
//! A segment that the mark of the log's end names was used.
//!
//! *What it does not do:* read the segments' content.

use super::super::{Identity, StorageError};
use super::directory::{Layout, refused};
use super::env::Files;
use super::scanner::{Behind, Scanner};
use super::segment::{self, HEADER_BYTES, HeaderFlaw, Position};
use crate::raft::Incarnation;

/// The log's segments.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// Oldest first.
    pub links: Vec<Link>,
    /// Segments that are not part of the log, ascending.
    pub left_over: Vec<u64>,
    /// The newest file, if it was created and never used.
    pub unused: Option<u64>,
    /// The highest known number that a segment has or had.
    pub highest: u64,
    /// The latest incarnation found in segments whose beginning is damaged.
    pub incarnation: Incarnation,
}

/// A segment of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its number.
    pub segment: u64,
    /// Where this segment ended, by the next one's first frame. `None`: unknown.
    pub end: Option<u64>,
}

/// The beginning of a segment.
enum Beginning {
    /// Valid; the previous segment ended here.
    Follows(Position),
    /// Invalid, but frames behind it confirm that the segment was used.
    Damaged(Behind),
    /// By its own content, nothing in it was acknowledged.
    Unused,
}

impl Chain {
    /// Follows the segments of the directory. Segments up to number `noted` were used, according to
    /// the mark of the log's end.
    pub(crate) fn find(
        files: &Files,
        layout: &Layout,
        identity: Identity,
        noted: u64,
    ) -> Result<Chain, StorageError> {
        let names = files.list(&layout.log())?;
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|name| Layout::segment_number(name)).collect();
        let look = |number| look(files, layout, identity, number);
        let highest = numbers.last().map_or(noted, |&newest| newest.max(noted));
        let mut chain = Chain { highest, ..Chain::default() };
        if let Some(&newest) = numbers.last()
            && numbers.len() > 1
            && newest > noted
            && matches!(look(newest)?, Beginning::Unused)
        {
            chain.unused = numbers.pop();
        }
        let mut end = None;
        while let Some(segment) = numbers.pop() {
            chain.links.push(Link { segment, end });
            let before = match look(segment)? {
                Beginning::Follows(before) => before,
                // It can't name its predecessor; most likely that is the segment before it.
                Beginning::Damaged(behind) => {
                    chain.incarnation = chain.incarnation.max(behind.incarnation);
                    end = None;
                    continue;
                }
                Beginning::Unused => {
                    end = None;
                    continue;
                }
            };
            let set_aside = numbers.partition_point(|&number| number <= before.segment);
            chain.left_over.extend(numbers.drain(set_aside..));
            end = Some(before.offset);
            if numbers.last() != Some(&before.segment) {
                break;
            }
        }
        chain.left_over.append(&mut numbers);
        chain.left_over.sort_unstable();
        chain.links.reverse();
        Ok(chain)
    }
}

fn look(
    files: &Files,
    layout: &Layout,
    identity: Identity,
    number: u64,
) -> Result<Beginning, StorageError> {
    let path = layout.segment(number);
    let mut scanner = Scanner::new(files.open_read(&path)?, number);
    scanner.refresh()?;
    let header = segment::check_header(scanner.bytes(0, HEADER_BYTES)?, identity, number);
    if let Err(HeaderFlaw::Refused(what)) = header {
        return Err(refused(&path, what));
    }
    let first = Position { segment: number, offset: HEADER_BYTES as u64 };
    if header.is_ok()
        && let Ok((head, _)) = scanner.frame(first.offset)?
    {
        return Ok(Beginning::Follows(head.synced));
    }
    let behind = scanner.behind(first.offset, 0)?;
    Ok(if behind.synced > first { Beginning::Damaged(behind) } else { Beginning::Unused })
}
