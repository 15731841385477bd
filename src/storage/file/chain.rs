//! Which segments make up the log, before any of them is read.
//!
//! Every segment's first frame says where the one before it ended. From the newest segment these words lead back to the
//! oldest that is there; whatever they do not lead to is not part of the log.
//!
//! ```text
//! 1 .. 4   left over from a purge
//! 5 ──▶ 6 ──▶ 7 up to byte X ──▶ 9            7 is damaged behind X, and was set aside from there with all of 8:
//!             │ set aside │ 8 set aside       9 goes on from X
//! ```
//! The newest may be one that was begun and never used: then it is none (PS14). One that the mark
//! of the log's end names was used.
//!
//! Not here: what is in the segments.

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
    /// The newest file, if it was begun and never used.
    pub unused: Option<u64>,
    /// The highest number that a segment has or had, as far as is known.
    pub highest: u64,
    /// The latest start that a segment which does not begin as it should still tells of.
    pub incarnation: Incarnation,
}

/// A segment of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its number.
    pub segment: u64,
    /// Where the next one says that it ended. `None`: nobody says so.
    pub end: Option<u64>,
}

/// How a segment begins.
enum Beginning {
    /// As it should; the one before ended here.
    Follows(Position),
    /// Not as it should, and frames behind vouch for its having been used.
    Damaged(Behind),
    /// Nothing in it was ever acknowledged, by itself.
    Unused,
}

impl Chain {
    /// Follows the segments of the directory. Those up to number `noted` were used, as the mark of
    /// the log's end says.
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
                // It can't say what was before it: most likely the one before.
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
