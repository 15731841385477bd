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
const READ_AHEAD_BYTES: usize = 128 * 1024;

/// A segment being read.
pub(crate) struct Scanner {
    file: InFile,
    segment: u64,
    length: u64,
    buffer: Vec<u8>,
    /// How much of the buffer holds bytes of the file, and where in the file they begin.
    filled: usize,
    buffer_at: u64,
}

impl Scanner {
    pub(crate) fn new(file: InFile, segment: u64) -> Scanner {
        Scanner { file, segment, length: 0, buffer: Vec::new(), filled: 0, buffer_at: 0 }
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
        let ahead = available.min(wanted.max(READ_AHEAD_BYTES) as u64) as usize;
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
            Err(flaw) => return Ok(Err(flaw)),
        };
        let at = Position { segment, offset };
        let frame = segment::decode_frame(self.bytes(offset, FRAME_HEAD_BYTES + payload)?, at);
        Ok(frame.map(|(head, _)| head))
    }

    /// Of the frame that was just verified, so that it is in the buffer.
    fn payload(&self, head: &FrameHead) -> &[u8] {
        let from = (head.at.offset - self.buffer_at) as usize + FRAME_HEAD_BYTES;
        &self.buffer[from..from + head.payload_bytes]
    }

    /// What stands at and behind `from`, wherever frames begin there. Those of starts before `least` are what an
    /// unfinished write left, and say nothing.
    pub(crate) fn behind(&mut self, from: u64, least: Incarnation) -> Result<Behind, StorageError> {
        let mut behind = Behind::default();
        let (mut offset, mut is_reused, mut is_blank) = (from, false, true);
        loop {
            let window = self.bytes(offset, READ_AHEAD_BYTES)?;
            let length = window.len();
            is_blank = is_blank && window.iter().all(|&byte| byte == 0);
            match segment::find_magic(window) {
                Some(skipped) => {
                    offset += skipped as u64;
                    match self.frame(offset)? {
                        Ok((head, _)) => {
                            if head.incarnation >= least {
                                behind.note(head);
                            }
                            offset = head.end();
                        }
                        Err(flaw) => {
                            is_reused |= flaw == Flaw::OtherSegment;
                            offset += 1;
                        }
                    }
                }
                // A magic may lie across the border of two windows.
                None if length >= READ_AHEAD_BYTES => offset += length as u64 - 3,
                None => break,
            }
        }
        behind.is_written |= !(is_blank || is_reused);
        Ok(behind)
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
