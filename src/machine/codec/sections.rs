//! Sections: parts of a snapshot whose length is unknown when writing begins.
//!
//! ```text
//! section = chunk* end        chunk = length: u32, 1..=65536 │ that many bytes        end = 0: u32
//! ```
//! Each part is read through a [`SectionReader`], which ends at the end of the section: a machine
//! that reads too much or too little is detected at its own section and cannot shift what follows.
//! Memory on both sides is one chunk, whatever length is claimed. Integers are little-endian.

use std::io::{self, Read, Write};

use super::CodecError;

/// The maximum length of a chunk: large enough to make the cost of the prefix negligible, small
/// enough to be allocated for an untrusted length.
const CHUNK_BYTES: usize = 64 * 1024;

/// Writes one section. Without [`SectionWriter::finish`] it has no end, and reading it fails.
pub struct SectionWriter<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
}

impl<'a> SectionWriter<'a> {
    /// Begins a section at the current position of `out`.
    pub fn new(out: &'a mut dyn Write) -> SectionWriter<'a> {
        SectionWriter { out, buffer: Vec::with_capacity(CHUNK_BYTES) }
    }

    /// Writes the buffered bytes and the end marker.
    pub fn finish(mut self) -> Result<(), CodecError> {
        self.write_chunk()?;
        self.out.write_all(&0u32.to_le_bytes())?;
        Ok(())
    }

    fn write_chunk(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.out.write_all(&(self.buffer.len() as u32).to_le_bytes())?;
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl Write for SectionWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == CHUNK_BYTES {
            self.write_chunk()?;
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Does not write the buffer: chunk boundaries depend on the content only, so equal states have
    /// equal bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads one section; the end of the section reads as the end of input.
pub struct SectionReader<'a> {
    input: &'a mut dyn Read,
    chunk: Vec<u8>,
    position: usize,
    ended: bool,
}

impl<'a> SectionReader<'a> {
    /// Begins to read a section at the current position of `input`.
    pub fn new(input: &'a mut dyn Read) -> SectionReader<'a> {
        SectionReader { input, chunk: Vec::new(), position: 0, ended: false }
    }

    /// Moves past the end marker, or fails if the section `what` was not read completely.
    pub fn finish(mut self, what: &'static str) -> Result<(), CodecError> {
        match self.fill() {
            Ok(true) => Ok(()),
            Ok(false) => Err(CodecError::TrailingBytes { what }),
            Err(error) => Err(or_truncated(error, what)),
        }
    }

    /// Reads the next chunk unless there are unread bytes; true at the section's end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.ended || self.position < self.chunk.len() {
            return Ok(self.ended);
        }
        let mut prefix = [0; 4];
        self.input.read_exact(&mut prefix)?;
        let length = u32::from_le_bytes(prefix) as usize;
        if length > CHUNK_BYTES {
            let message =
                format!("a section's chunk claims {length} bytes, the longest is {CHUNK_BYTES}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.ended = length == 0;
        self.position = 0;
        self.chunk.resize(length, 0);
        self.input.read_exact(&mut self.chunk)?;
        Ok(self.ended)
    }
}

impl Read for SectionReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.fill()? {
            return Ok(0);
        }
        let unread = &self.chunk[self.position..];
        let taken = unread.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&unread[..taken]);
        self.position += taken;
        Ok(taken)
    }
}

/// Writes a number as eight bytes.
pub fn write_u64(out: &mut dyn Write, value: u64) -> Result<(), CodecError> {
    Ok(out.write_all(&value.to_le_bytes())?)
}

/// Reads what [`write_u64`] wrote; `what` names it in the error.
pub fn read_u64(input: &mut dyn Read, what: &'static str) -> Result<u64, CodecError> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes).map_err(|error| or_truncated(error, what))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Writes a length as eight bytes, then `bytes`.
pub fn write_bytes(out: &mut dyn Write, bytes: &[u8]) -> Result<(), CodecError> {
    write_u64(out, bytes.len() as u64)?;
    Ok(out.write_all(bytes)?)
}

/// Reads what [`write_bytes`] wrote; memory grows with the bytes that arrive, not with the claimed
/// length.
pub fn read_bytes(input: &mut dyn Read, what: &'static str) -> Result<Vec<u8>, CodecError> {
    let length = read_u64(input, what)?;
    let mut bytes = Vec::with_capacity(length.min(CHUNK_BYTES as u64) as usize);
    input.take(length).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(CodecError::Truncated { what }),
    }
}

/// Maps an unexpected end of input to [`CodecError`]'s error for truncated bytes.
pub(in crate::machine) fn or_truncated(error: io::Error, what: &'static str) -> CodecError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => CodecError::Truncated { what },
        _ => CodecError::Io(error),
    }
}

/// The next byte, or `None` at the end of input.
pub(in crate::machine) fn next_byte(input: &mut dyn Read) -> io::Result<Option<u8>> {
    let mut byte = [0];
    match input.read_exact(&mut byte) {
        Ok(()) => Ok(Some(byte[0])),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
