//! Reads a segment frame by frame, each verified before anything of it is used.
//!
//! One buffer that grows to the largest frame met; a length is believed only as far as the file goes (PS15).
//!
//! Not here: what a flaw means. To recovery it may be the end of the log, to the reader it is damage.

use super::super::StorageError;
use super::env::InFile;
use super::segment::{self, FRAME_HEAD_BYTES, Flaw, FrameHead, Position};
use crate::raft::Incarnation;

/// What is read at once, at least.
const READ_AHEAD_BYTES: std::ops::RangeInclusive<usize> =
    if cfg!(test) { 64..=300 } else { 16 * 1024..=512 * 1024 };

/// A segment being read.
pub(crate) struct Scanner {
    file: InFile,
    segment: u64,
    length: u64,
    buffer: Vec<u8>,
    /// How much of the buffer holds bytes of the file, and where in the file they begin.
    filled: usize,
    buffer_at: u64,
    ahead_bytes: usize,
}

impl Scanner {
    pub(crate) fn new(file: InFile, segment: u64) -> Scanner {
        let ahead_bytes = *READ_AHEAD_BYTES.start();
        Scanner {
            file,
            segment,
            length: 0,
            buffer: Vec::new(),
            filled: 0,
            buffer_at: 0,
            ahead_bytes,
        }
    }

    /// The file's name for errors.
    pub(crate) fn path(&self) -> String {
        self.file.path.display().to_string()
    }

    /// The segment's number.
    pub(crate) fn segment(&self) -> u64 {
        self.segment
    }

    /// Forgets what was read ahead, as the file may have grown since, and finds its length.
    pub(crate) fn refresh(&mut self) -> Result<u64, StorageError> {
        self.filled = 0;
        self.length = self.file.len()?;
        Ok(self.length)
    }

    /// Up to `length` bytes at `offset`; fewer only at the file's end.
    pub(crate) fn bytes(&mut self, offset: u64, length: usize) -> Result<&[u8], StorageError> {
        let buffered = self.buffer_at..self.buffer_at + self.filled as u64;
        let end = (offset + length as u64).min(self.length.max(offset));
        if offset < buffered.start || end > buffered.end {
            self.fill(offset, (end - offset) as usize)?;
        }
        let from = (offset - self.buffer_at) as usize;
        Ok(&self.buffer[from..self.filled.min(from + length)])
    }

    fn fill(&mut self, offset: u64, wanted: usize) -> Result<(), StorageError> {
        let available = self.length.saturating_sub(offset);
        let goes_on = (self.buffer_at..=self.buffer_at + self.filled as u64).contains(&offset);
        let doubled = (2 * self.ahead_bytes).min(*READ_AHEAD_BYTES.end());
        self.ahead_bytes = if goes_on { doubled } else { *READ_AHEAD_BYTES.start() };
        let ahead = available.min(wanted.max(self.ahead_bytes) as u64) as usize;
        if self.buffer.len() < ahead {
            self.buffer.resize(ahead, 0);
        }
        self.filled = 0;
        self.buffer_at = offset;
        self.filled = self.file.read_at(&mut self.buffer[..ahead], offset)?;
        Ok(())
    }

    /// The frame at `offset`, verified; the inner error says what is wrong with it.
    pub(crate) fn frame(
        &mut self,
        offset: u64,
    ) -> Result<Result<(FrameHead, &[u8]), Flaw>, StorageError> {
        let verified = self.verify(offset)?;
        Ok(verified.map(|head| (head, self.payload(&head))))
    }

    /// The same for a file that is written to: what was read ahead earlier counts if it verifies, else it is read again.
    pub(crate) fn frame_now(
        &mut self,
        offset: u64,
    ) -> Result<Result<(FrameHead, &[u8]), Flaw>, StorageError> {
        let mut verified = self.verify(offset)?;
        if verified.is_err() {
            self.refresh()?;
            verified = self.verify(offset)?;
        }
        Ok(verified.map(|head| (head, self.payload(&head))))
    }

    fn verify(&mut self, offset: u64) -> Result<Result<FrameHead, Flaw>, StorageError> {
        let segment = self.segment;
        let Some(head) = self.bytes(offset, FRAME_HEAD_BYTES)?.first_chunk::<FRAME_HEAD_BYTES>()
        else {
            return Ok(Err(Flaw::CutOff));
        };
        let payload = match segment::announced_bytes(head, segment) {
            Ok(payload) => payload,
            Err(Flaw::Misnamed) if self.is_an_earlier_segments(offset)? => {
                return Ok(Err(Flaw::EarlierSegment));
            }
            Err(flaw) => return Ok(Err(flaw)),
        };
        let at = Position { segment, offset };
        let frame = segment::decode_frame(self.bytes(offset, FRAME_HEAD_BYTES + payload)?, at);
        Ok(frame.map(|(head, _)| head))
    }

    /// Of the frame that was just verified, so that it is in the buffer.
    pub(crate) fn payload(&self, head: &FrameHead) -> &[u8] {
        let from = (head.at.offset - self.buffer_at) as usize + FRAME_HEAD_BYTES;
        &self.buffer[from..from + head.payload_bytes]
    }

    /// The next frame at or behind `from`, wherever it begins, verified; and what stands before it.
    pub(crate) fn next_frame(
        &mut self,
        from: u64,
    ) -> Result<(Gap, Option<FrameHead>), StorageError> {
        let (mut offset, mut content) = (from, Content::Blank);
        let found = loop {
            let window = self.at_hand(offset)?;
            let (length, magic) = (window.len(), segment::find_magic(window));
            if content == Content::Blank
                && window[..magic.unwrap_or(length)].iter().any(|&b| b != 0)
            {
                content = Content::Unknown;
            }
            match magic {
                Some(skipped) => {
                    offset += skipped as u64;
                    match self.verify(offset)? {
                        Ok(head) => break Some(head),
                        Err(flaw) => content = content.with(flaw),
                    }
                    offset += 1;
                }
                // A magic may lie across the border of two windows.
                None if length > 3 && offset + (length as u64) < self.length => {
                    offset += length as u64 - 3;
                }
                None => {
                    offset += length as u64;
                    break None;
                }
            }
        };
        Ok((Gap { at: from, bytes: offset - from, content }, found))
    }

    /// Whether a frame stands at `offset` that verifies for a segment which the file was before.
    fn is_an_earlier_segments(&mut self, offset: u64) -> Result<bool, StorageError> {
        let own = self.segment;
        let head = self.bytes(offset, FRAME_HEAD_BYTES)?.first_chunk::<FRAME_HEAD_BYTES>();
        let Some((segment, payload)) = head.map(segment::claims) else { return Ok(false) };
        let frame = self.bytes(offset, FRAME_HEAD_BYTES + payload)?;
        let at = Position { segment, offset };
        Ok(segment < own && segment::decode_frame(frame, at).is_ok())
    }

    /// What has been read already from `offset` on, a magic's length of it at least; less only at the file's end.
    fn at_hand(&mut self, offset: u64) -> Result<&[u8], StorageError> {
        let end = self.buffer_at + self.filled as u64;
        let is_at_hand = offset >= self.buffer_at && (offset + 4).min(self.length) <= end;
        if !is_at_hand || offset > end {
            self.fill(offset, 0)?;
        }
        Ok(&self.buffer[(offset - self.buffer_at) as usize..self.filled])
    }

    /// What stands at and behind `from`, wherever frames begin there. Those of starts before `least` are what an
    /// unfinished write left, and say nothing.
    pub(crate) fn behind(&mut self, from: u64, least: Incarnation) -> Result<Behind, StorageError> {
        let mut behind = Behind::default();
        let mut offset = from;
        loop {
            let (gap, head) = self.next_frame(offset)?;
            behind.is_written |= gap.is_of_this_segment();
            let Some(head) = head else { return Ok(behind) };
            if head.incarnation >= least {
                behind.note(head);
            }
            offset = head.end();
        }
    }
}

/// A stretch of a segment in which no frame verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Where it begins.
    pub at: u64,
    /// How long it is.
    pub bytes: u64,
    /// What it holds.
    pub content: Content,
}

impl Gap {
    /// Something was written there that is no earlier segment's, as far as can be told.
    pub(crate) fn is_of_this_segment(&self) -> bool {
        matches!(self.content, Content::Unknown | Content::Own)
    }
}

/// What stands where no frame verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing but zeros.
    Blank,
    /// Something without a frame in it.
    Unknown,
    /// Frames that the file held as another segment.
    EarlierSegment,
    /// What was a frame of this segment, or should have become one.
    Own,
}

impl Content {
    /// The same with a frame in it that has this flaw.
    fn with(self, flaw: Flaw) -> Content {
        match flaw {
            Flaw::Checksum | Flaw::Contradiction => Content::Own,
            Flaw::EarlierSegment if self != Content::Own => Content::EarlierSegment,
            _ if self == Content::Blank => Content::Unknown,
            _ => self,
        }
    }
}

/// What stands behind a place where no frame does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Behind {
    /// The highest `synced through` of any frame there.
    pub synced: Position,
    /// The latest start that wrote one.
    pub incarnation: Incarnation,
    /// Something was written there that is no earlier segment's.
    pub is_written: bool,
}

impl Behind {
    fn note(&mut self, head: FrameHead) {
        self.synced = self.synced.max(head.synced);
        self.incarnation = self.incarnation.max(head.incarnation);
        self.is_written = true;
    }
}
