//! Iterates one segment with any content: its frames, and the gaps between them.
//!
//! *What it does not do:* decide which frames belong to the log. Recovery does.

use super::super::super::StorageError;
use super::super::record::{Record, Records};
use super::super::scanner::{Gap, Scanner};
use super::super::segment::{FrameHead, HEADER_BYTES, Position};
use super::report::{FrameReport, GapReport, RecordReport, SegmentReport, SegmentState, Stretch};

/// An iteration over a segment.
pub(super) struct Walk {
    scanner: Scanner,
    offset: u64,
    /// The frame that ended the last gap: verified, and still in the scanner's buffer.
    found: Option<FrameHead>,
}

/// An item of the iteration.
pub(super) enum Step<'a> {
    Frame(FrameHead, &'a [u8]),
    /// The last gap extends to the end of the file.
    Gap(Gap),
}

impl Walk {
    pub(super) fn begin(mut scanner: Scanner) -> Result<Walk, StorageError> {
        scanner.refresh()?;
        Ok(Walk { scanner, offset: HEADER_BYTES as u64, found: None })
    }

    /// The next step; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Step<'_>>, StorageError> {
        if self.found.is_none() {
            let (gap, found) = self.scanner.next_frame(self.offset)?;
            self.found = found;
            if gap.bytes > 0 {
                self.offset += gap.bytes;
                return Ok(Some(Step::Gap(gap)));
            }
        }
        let Some(head) = self.found.take() else { return Ok(None) };
        self.offset = head.end();
        Ok(Some(Step::Frame(head, self.scanner.payload(&head))))
    }
}

/// Counts the segment's content up to `end`, if that is known.
pub(super) fn survey(
    mut walk: Walk,
    end: Option<u64>,
    report: &mut SegmentReport,
) -> Result<(), StorageError> {
    let mut gap = None;
    while let Some(step) = walk.next()? {
        match step {
            Step::Gap(found) => gap = Some(found),
            Step::Frame(head, payload) => {
                report.gaps.extend(gap.take().map(gap_report));
                if end.is_some_and(|end| head.at.offset >= end) {
                    continue;
                }
                if head.at.offset == HEADER_BYTES as u64 {
                    report.follows = (head.synced != Position::default()).then_some(head.synced);
                }
                report.frames += 1;
                report.used_bytes = head.end();
                count_entries(payload, report);
            }
        }
    }
    report.used_bytes = end.unwrap_or(report.used_bytes);
    Ok(())
}

fn count_entries(payload: &[u8], report: &mut SegmentReport) {
    let mut records = Records::from(payload, 0);
    while let Ok(Some((_, record))) = records.next() {
        if let Record::Entry(entry) = record {
            let index = entry.log_id.index;
            report.first = Some(report.first.map_or(index, |first| first.min(index)));
            report.last = Some(report.last.map_or(index, |last| last.max(index)));
        }
    }
}

fn gap_report(gap: Gap) -> GapReport {
    GapReport { offset: gap.at, bytes: gap.bytes, holds: gap.content.into() }
}

/// Iterates the frames of a segment with their records, and the gaps between them, in order.
pub struct Stretches {
    walk: Option<Walk>,
    /// Frames before this offset belong to the log.
    end: u64,
    shown_bytes: usize,
}

impl Stretches {
    pub(super) fn new(walk: Walk, of: &SegmentReport, shown_bytes: usize) -> Stretches {
        let is_of_log = matches!(of.state, SegmentState::Newest | SegmentState::InUse);
        let end = if is_of_log { of.used_bytes } else { 0 };
        Stretches { walk: Some(walk), end, shown_bytes }
    }

    fn step(&mut self) -> Result<Option<Stretch>, StorageError> {
        let Some(walk) = &mut self.walk else { return Ok(None) };
        Ok(walk.next()?.map(|step| match step {
            Step::Gap(gap) => Stretch::Gap(gap_report(gap)),
            Step::Frame(head, payload) => {
                Stretch::Frame(frame_report(&head, payload, self.end, self.shown_bytes))
            }
        }))
    }
}

impl Iterator for Stretches {
    type Item = Result<Stretch, StorageError>;

    /// Ends with the file, or after the first failed call.
    fn next(&mut self) -> Option<Result<Stretch, StorageError>> {
        let step = self.step();
        if step.is_err() {
            self.walk = None;
        }
        step.transpose()
    }
}

fn frame_report(head: &FrameHead, payload: &[u8], end: u64, shown_bytes: usize) -> FrameReport {
    let (mut records, mut flaw) = (Vec::new(), None);
    let mut stored = Records::from(payload, 0);
    loop {
        match stored.next() {
            Ok(Some((_, record))) => records.push(RecordReport::of(record, shown_bytes)),
            Ok(None) => break,
            Err(malformed) => {
                flaw = Some(malformed.0.to_owned());
                break;
            }
        }
    }
    FrameReport {
        offset: head.at.offset,
        bytes: head.end() - head.at.offset,
        start: head.incarnation.into(),
        synced_through: head.synced,
        counts: head.at.offset < end,
        records,
        flaw,
    }
}
