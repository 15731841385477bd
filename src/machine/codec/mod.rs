//! Bytes and values: MessagePack for what users define, plain little-endian for what is ours.
//!
//! | what | how | bound |
//! |---|---|---|
//! | commands, replies, a `Replicated` state | MessagePack, structs as arrays | [`DEPTH_LIMIT`] levels |
//! | a snapshot's parts | sections of length-prefixed chunks, see [`SectionWriter`] | one chunk in memory |
//! | records of shipped machines and sessions | fixed little-endian fields | the bytes that are there |
//!
//! The depth is checked while *encoding*, by reading the markers that the encoder writes: a value that
//! every replica would refuse to decode must not get into the log, and an endless nesting stops before
//! it overflows the encoder's stack. Decoders take bytes from anybody: they answer [`CodecError`], and
//! never panic, never overflow the stack, never reserve memory for bytes that are not there.
//!
//! *What it does not do:* it does not make a state's encoding canonical (an unordered map inside a user's
//! state is written in its own order), and it checks no checksums: the log's frames and the snapshot's
//! chunks have theirs.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, IgnoredAny};

mod markers;
mod sections;

use markers::{MarkerScan, ScanError};
pub use sections::{SectionReader, SectionWriter, read_bytes, read_u64, write_bytes, write_u64};
pub(super) use sections::{next_byte, or_truncated};

/// How many arrays and maps may stand inside each other in a command, a reply or a state.
pub const DEPTH_LIMIT: usize = 128;

/// Why a value could not be turned into bytes, or bytes into a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// There were no bytes at all. A caller that was given an empty snapshot keeps what it has.
    #[error("nothing to decode: the input is empty")]
    Empty,
    /// The bytes end in the middle of something.
    #[error("the bytes end too early, in {what}")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// The value is complete, and more bytes follow.
    #[error("bytes left over behind {what}")]
    TrailingBytes {
        /// What had been read.
        what: &'static str,
    },
    /// Arrays and maps inside each other, deeper than allowed.
    #[error("nested more than {limit} levels deep; flatten the type")]
    TooDeep {
        /// The number of levels allowed.
        limit: usize,
    },
    /// Written by a version of the format that this build does not know.
    #[error("{what} has format version {found}, this build reads {expected}")]
    Version {
        /// What carries the version.
        what: &'static str,
        /// The version found.
        found: u8,
        /// The version this build reads.
        expected: u8,
    },
    /// Well-formed bytes that say something impossible.
    #[error("{what}: {why}")]
    Invalid {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The type's own `Serialize` refused, or cannot be said in MessagePack.
    #[error("cannot encode: {0}")]
    Encode(String),
    /// The bytes are MessagePack, but not of this type.
    #[error("cannot decode: {0}")]
    Decode(String),
    /// Reading or writing failed underneath.
    #[error("input or output failed: {0}")]
    Io(#[from] io::Error),
}

impl CodecError {
    /// [`CodecError::Invalid`] in one line.
    pub fn invalid(what: &'static str, why: impl Into<String>) -> CodecError {
        CodecError::Invalid { what, why: why.into() }
    }
}

/// `value` as MessagePack, at most [`DEPTH_LIMIT`] levels deep.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    encode_limited(value, &mut bytes, DEPTH_LIMIT)?;
    Ok(bytes)
}

/// Writes `value` as MessagePack to `out`, at most [`DEPTH_LIMIT`] levels deep, without holding the bytes.
pub fn encode_to<T: Serialize + ?Sized>(value: &T, out: &mut dyn Write) -> Result<(), CodecError> {
    encode_limited(value, out, DEPTH_LIMIT)
}

/// As [`encode_to`], with another limit. On an error `out` has got a part of the value.
pub fn encode_limited<T, W>(value: &T, out: &mut W, limit: usize) -> Result<(), CodecError>
where
    T: Serialize + ?Sized,
    W: Write + ?Sized,
{
    let mut guarded = Guarded::new(out, limit);
    let result = rmp_serde::encode::write(&mut guarded, value);
    if let Some(error) = guarded.refused.take() {
        return Err(error.into_codec_error(limit));
    }
    result.map_err(|error| match io_source(&error) {
        Some(io) => CodecError::Io(io),
        None => CodecError::Encode(error.to_string()),
    })?;
    guarded
        .scan
        .finish()
        .map_err(|_| CodecError::Encode("the type's Serialize wrote no whole value".into()))
}

/// Adds `value` to `out` as MessagePack, unless `out` would hold more than `bytes_max`: whether it does not.
pub(super) fn encode_bounded<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<bool, CodecError> {
    let mut bounded = Bounded { out, bytes_max, is_full: false };
    let result = encode_limited(value, &mut bounded, DEPTH_LIMIT);
    if bounded.is_full { Ok(false) } else { result.map(|()| true) }
}

/// A writer into memory that takes no more than it may.
struct Bounded<'a> {
    out: &'a mut Vec<u8>,
    bytes_max: usize,
    is_full: bool,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_full |= self.out.len() + bytes.len() > self.bytes_max;
        if self.is_full {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The value that `bytes` are, all of them.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_limited(bytes, DEPTH_LIMIT)
}

/// As [`decode`], with another limit.
pub fn decode_limited<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CodecError> {
    // One pass over the markers first: after it every length in the bytes is known to be honest.
    let mut scan = MarkerScan::new(limit);
    scan.feed(bytes).and_then(|()| scan.finish()).map_err(|error| error.into_codec_error(limit))?;
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
    let value =
        T::deserialize(&mut decoder).map_err(|error| CodecError::Decode(error.to_string()))?;
    // A type may ask for less than there is: then another type wrote it.
    match IgnoredAny::deserialize(&mut decoder) {
        Err(_) => Ok(value),
        Ok(_) => Err(CodecError::TrailingBytes { what: std::any::type_name::<T>() }),
    }
}

/// Reads one MessagePack value from `input`, which must end with it; at most [`DEPTH_LIMIT`] levels deep.
pub fn decode_from<T: DeserializeOwned>(input: &mut dyn Read) -> Result<T, CodecError> {
    let mut guarded = Guarded::new(input, DEPTH_LIMIT);
    let result = rmp_serde::from_read(&mut guarded);
    if let Some(error) = guarded.refused.take() {
        return Err(error.into_codec_error(DEPTH_LIMIT));
    }
    let value = result.map_err(decode_error)?;
    match next_byte(guarded.inner)? {
        None => Ok(value),
        Some(_) => Err(CodecError::TrailingBytes { what: "a MessagePack value" }),
    }
}

fn decode_error(error: rmp_serde::decode::Error) -> CodecError {
    use rmp_serde::decode::Error::{InvalidDataRead, InvalidMarkerRead};
    match error {
        InvalidDataRead(io) | InvalidMarkerRead(io)
            if io.kind() == io::ErrorKind::UnexpectedEof =>
        {
            CodecError::Truncated { what: "a MessagePack value" }
        }
        InvalidDataRead(io) | InvalidMarkerRead(io) => CodecError::Io(io),
        other => CodecError::Decode(other.to_string()),
    }
}

/// The input/output error at the bottom of an encoder's error, if that is what it is.
fn io_source(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io::Error::new(io.kind(), io.to_string()));
        }
        cause = error.source();
    }
    None
}

/// A reader or writer that follows the markers of the one value passing through, and stops it if it
/// nests too deep. That it stops *while* the (de)serialiser recurses is what bounds the recursion.
struct Guarded<'a, S: ?Sized> {
    inner: &'a mut S,
    scan: MarkerScan,
    refused: Option<ScanError>,
}

impl<'a, S: ?Sized> Guarded<'a, S> {
    fn new(inner: &'a mut S, limit: usize) -> Self {
        Guarded { inner, scan: MarkerScan::new(limit), refused: None }
    }

    fn check(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.scan.feed(bytes).map_err(|error| {
            self.refused = Some(error);
            io::Error::new(
                io::ErrorKind::InvalidData,
                "not one MessagePack value within its limits",
            )
        })
    }
}

impl<W: Write + ?Sized> Write for Guarded<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.check(&bytes[..written])?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read + ?Sized> Read for Guarded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.check(&buffer[..read])?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
