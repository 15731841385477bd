//! Chunked bytes in memory: append-only, and shared instead of copied.
//!
//! A snapshot of 1 GiB in one buffer would be copied whenever the buffer grows, and once more for
//! each member it is sent to. With chunks only written bytes are copied, and members of one process
//! that sent a snapshot to each other share one copy.
//!
//! *What it does not do:* interpret the bytes.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;

/// Length of a written piece; the last one may be shorter. It is the default size of a sent chunk.
const PIECE_BYTES: usize = 1 << 20;
/// Fewer bytes are copied instead of shared, because sharing keeps their whole allocation, which
/// may be much larger.
const SHARED_BYTES_MIN: usize = 256 << 10;

/// Builds [`Pieces`] by appending.
#[derive(Default)]
pub(super) struct PiecesWriter {
    full: Pieces,
    /// The unfinished piece.
    last: Vec<u8>,
}

/// Immutable bytes in pieces. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Pieces {
    /// Each piece with the offset of its end; none is empty.
    pieces: Arc<Vec<(u64, Bytes)>>,
}

impl PiecesWriter {
    /// Appends bytes; from [`SHARED_BYTES_MIN`] on without copying them.
    pub(super) fn share(&mut self, bytes: Bytes) {
        if bytes.len() >= SHARED_BYTES_MIN {
            self.end_piece();
            return self.full.push(bytes);
        }
        self.copy(&bytes);
    }

    fn copy(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (taken, rest) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.last.len()));
            self.last.extend_from_slice(taken);
            if self.last.len() == PIECE_BYTES {
                self.end_piece();
                self.last.reserve_exact(PIECE_BYTES);
            }
            bytes = rest;
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.full.len() + self.last.len() as u64
    }

    /// The appended bytes.
    pub(super) fn finish(mut self) -> Pieces {
        self.end_piece();
        self.full
    }

    fn end_piece(&mut self) {
        self.full.push(std::mem::take(&mut self.last).into());
    }
}

impl Write for PiecesWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.copy(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pieces {
    pub(super) fn len(&self) -> u64 {
        self.pieces.last().map_or(0, |(end, _)| *end)
    }

    /// Bytes from `offset` on, at most `max_bytes`; fewer at the end of a piece, none only at the
    /// end of all.
    pub(super) fn at(&self, offset: u64, max_bytes: usize) -> Bytes {
        let place = self.pieces.partition_point(|(end, _)| *end <= offset);
        let Some((end, piece)) = self.pieces.get(place) else { return Bytes::new() };
        let left = (end - offset) as usize;
        piece.slice(piece.len() - left..piece.len() - left + left.min(max_bytes))
    }

    /// A reader of all bytes.
    pub(super) fn reader(&self) -> PiecesReader {
        PiecesReader { pieces: self.clone(), offset: 0 }
    }

    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            let end = self.len() + piece.len() as u64;
            Arc::make_mut(&mut self.pieces).push((end, piece));
        }
    }
}

/// Reads from the first byte to the last.
pub(super) struct PiecesReader {
    pieces: Pieces,
    offset: u64,
}

impl Read for PiecesReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.pieces.at(self.offset, out.len());
        out[..bytes.len()].copy_from_slice(&bytes);
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `count` bytes; neighbouring bytes differ.
    fn pattern(from: usize, count: usize) -> Vec<u8> {
        (from..from + count).map(|at| (at % 251) as u8).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_added_is_there_from_any_place_on(
            parts in proptest::collection::vec((any::<bool>(), 0..PIECE_BYTES), 0..6),
            offset in 0..3 * PIECE_BYTES,
            max_bytes in 1..PIECE_BYTES,
        ) {
            let (mut writer, mut model) = (PiecesWriter::default(), Vec::new());
            for (is_shared, count) in parts {
                let part = pattern(model.len(), count);
                model.extend_from_slice(&part);
                match is_shared {
                    true => writer.share(part.into()),
                    false => writer.write_all(&part).unwrap(),
                }
                prop_assert_eq!(writer.len(), model.len() as u64);
            }
            let pieces = writer.finish();
            let mut whole = Vec::new();
            pieces.reader().read_to_end(&mut whole).unwrap();
            prop_assert!(whole == model && pieces.len() == model.len() as u64);
            let here = pieces.at(offset as u64, max_bytes);
            let rest = &model[offset.min(model.len())..];
            prop_assert!(here.len() <= max_bytes && rest.starts_with(&here));
            prop_assert_eq!(here.is_empty(), rest.is_empty());
        }
    }

    #[test]
    fn much_is_shared_and_little_is_copied() {
        let mut writer = PiecesWriter::default();
        writer.write_all(b"head").unwrap();
        let much = Bytes::from(pattern(0, SHARED_BYTES_MIN));
        let little = much.slice(1..);
        writer.share(much.clone());
        writer.share(little.clone());
        let pieces = writer.finish();
        assert_eq!(pieces.at(4, 1).as_ptr(), much.as_ptr());
        assert_ne!(pieces.at(4 + SHARED_BYTES_MIN as u64, 1).as_ptr(), little.as_ptr());
    }
}
