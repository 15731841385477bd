//! Reads a segment frame by frame; each is verified before it is used.
//!
//! There is one buffer, which grows to the largest frame read. A length is accepted only as far as
//! the file goes (PS15).
//!
//! *What it does not do:* interpret a flaw. For recovery it may be the end of the log, for the
//! reader it is damage.

use super::super::StorageError;
use super::env::InFile;
use super::segment::{self, FRAME_HEAD_BYTES, Flaw, FrameHead, Position};
use crate::raft::Incarnation;

/// Minimum number of bytes per read call.
const READ_AHEAD_BYTES: std::ops::RangeInclusive<usize> =
    if cfg!(test) { 64..=300 } else { 16 * 1024..=512 * 1024 };

/// A segment being read.
pub(crate) struct Scanner {
    file: InFile,
    segment: u64,
    length: u64,
    buffer: Vec<u8>,
    /// How many bytes of the buffer are from the file, and their offset in the file.
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

    /// The file's path, for errors.
    pub(crate) fn path(&self) -> String {
        self.file.path.display().to_string()
    }

    /// The segment's number.
    pub(crate) fn segment(&self) -> u64 {
        self.segment
    }

    /// Discards read-ahead bytes, because the file may have grown, and returns its length.
    pub(crate) fn refresh(&mut self) -> Result<u64, StorageError> {
        self.filled = 0;
        self.length = self.file.len()?;
        Ok(self.length)
    }

    /// Up to `length` bytes at `offset`; fewer only at the end of the file.
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

    /// The verified frame at `offset`; the inner error is the flaw.
    pub(crate) fn frame(
        &mut self,
        offset: u64,
    ) -> Result<Result<(FrameHead, &[u8]), Flaw>, StorageError> {
        let verified = self.verify(offset)?;
        Ok(verified.map(|head| (head, self.payload(&head))))
    }

    /// The same for a file that is being written: read-ahead bytes are used if they verify,
    /// otherwise they are read again.
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

    /// The payload of the last verified frame, which is still in the buffer.
    pub(crate) fn payload(&self, head: &FrameHead) -> &[u8] {
        let from = (head.at.offset - self.buffer_at) as usize + FRAME_HEAD_BYTES;
        &self.buffer[from..from + head.payload_bytes]
    }

    /// The next verified frame at or behind `from`, at any offset, and the gap before it.
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
                // A magic may cross the boundary of two windows.
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

    /// Whether the frame at `offset` is valid for an earlier segment that used this file.
    fn is_an_earlier_segments(&mut self, offset: u64) -> Result<bool, StorageError> {
        let own = self.segment;
        let head = self.bytes(offset, FRAME_HEAD_BYTES)?.first_chunk::<FRAME_HEAD_BYTES>();
        let Some((segment, payload)) = head.map(segment::claims) else { return Ok(false) };
        let frame = self.bytes(offset, FRAME_HEAD_BYTES + payload)?;
        let at = Position { segment, offset };
        Ok(segment < own && segment::decode_frame(frame, at).is_ok())
    }

    /// The buffered bytes from `offset` on: at least a magic's length, less only at the end of the
    /// file.
    fn at_hand(&mut self, offset: u64) -> Result<&[u8], StorageError> {
        let end = self.buffer_at + self.filled as u64;
        let is_at_hand = offset >= self.buffer_at && (offset + 4).min(self.length) <= end;
        if !is_at_hand || offset > end {
            self.fill(offset, 0)?;
        }
        Ok(&self.buffer[(offset - self.buffer_at) as usize..self.filled])
    }

    /// Summarizes the bytes from `from` on; frames may begin at any offset. Frames of incarnations
    /// before `least` are remains of an unfinished write and are ignored.
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

/// A region of a segment without a valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Its offset.
    pub at: u64,
    /// Its length.
    pub bytes: u64,
    /// Its content.
    pub content: Content,
}

impl Gap {
    /// Whether it was probably written as part of this segment, not of an earlier one.
    pub(crate) fn is_of_this_segment(&self) -> bool {
        matches!(self.content, Content::Unknown | Content::Own)
    }
}

/// The content of a region without a valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing but zeros.
    Blank,
    /// Bytes without a frame.
    Unknown,
    /// Frames from when the file was another segment.
    EarlierSegment,
    /// A damaged or unfinished frame of this segment.
    Own,
}

impl Content {
    /// Combines it with the flaw of a frame in the region.
    fn with(self, flaw: Flaw) -> Content {
        match flaw {
            Flaw::Checksum | Flaw::Contradiction => Content::Own,
            Flaw::EarlierSegment if self != Content::Own => Content::EarlierSegment,
            _ if self == Content::Blank => Content::Unknown,
            _ => self,
        }
    }
}

/// A summary of the bytes behind the last valid frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Behind {
    /// The highest `synced through` of their frames.
    pub synced: Position,
    /// The latest incarnation that wrote one of them.
    pub incarnation: Incarnation,
    /// Whether they were written as part of this segment.
    pub is_written: bool,
}

impl Behind {
    fn note(&mut self, head: FrameHead) {
        self.synced = self.synced.max(head.synced);
        self.incarnation = self.incarnation.max(head.incarnation);
        self.is_written = true;
    }
}
