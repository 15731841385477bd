//! Encoding of values: MessagePack for users' types, plain little-endian for the crate's own.
//!
//! | what | how | bound |
//! |---|---|---|
//! | commands, replies, a `Replicated` state | MessagePack, structs as arrays | [`DEPTH_LIMIT`] |
//! | a snapshot's parts | sections of chunks, see [`SectionWriter`] | one chunk in memory |
//! | records of provided machines and sessions | fixed little-endian fields | the bytes present |
//!
//! The depth is checked while *encoding*, by reading the markers that the encoder writes: a value
//! that every replica would refuse to decode must not get into the log, and unbounded nesting must
//! stop before it overflows the encoder's stack. Decoders accept untrusted bytes: they return
//! [`CodecError`], and never panic, never overflow the stack, never allocate memory for bytes that
//! are not present.
//!
//! *What it does not do:* it does not make a state's encoding canonical (an unordered map inside a
//! user's state is written in its own order), and it verifies no checksums: the log's frames and
//! the snapshot's chunks have theirs.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, IgnoredAny};

mod markers;
mod sections;

use markers::{MarkerScan, ScanError};
pub use sections::{SectionReader, SectionWriter, read_bytes, read_u64, write_bytes, write_u64};
pub(super) use sections::{next_byte, or_truncated};

/// The maximum nesting of arrays and maps in a command, a reply or a state.
pub const DEPTH_LIMIT: usize = 128;

/// Why a value could not be encoded, or bytes could not be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The input is empty. A caller that receives an empty snapshot keeps its state.
    #[error("nothing to decode: the input is empty")]
    Empty,
    /// The bytes end in the middle of a value.
    #[error("the bytes end too early, in {what}")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// The value is complete, and more bytes follow.
    #[error("bytes left over behind {what}")]
    TrailingBytes {
        /// What was read before them.
        what: &'static str,
    },
    /// Arrays and maps are nested deeper than allowed.
    #[error("nested more than {limit} levels deep; flatten the type")]
    TooDeep {
        /// The maximum number of levels.
        limit: usize,
    },
    /// The format version is not supported by this build.
    #[error("{what} has format version {found}, this build reads {expected}")]
    Version {
        /// What has the version.
        what: &'static str,
        /// The version found.
        found: u8,
        /// The version that this build reads.
        expected: u8,
    },
    /// Well-formed bytes with an invalid value.
    #[error("{what}: {why}")]
    Invalid {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The type's own `Serialize` failed, or the value can't be represented in MessagePack.
    #[error("cannot encode: {0}")]
    Encode(String),
    /// The bytes are MessagePack, but not of this type.
    #[error("cannot decode: {0}")]
    Decode(String),
    /// Reading or writing failed in the underlying stream.
    #[error("input or output failed: {0}")]
    Io(#[from] io::Error),
}

impl CodecError {
    /// Makes a [`CodecError::Invalid`].
    pub fn invalid(what: &'static str, why: impl Into<String>) -> CodecError {
        CodecError::Invalid { what, why: why.into() }
    }
}

/// Encodes `value` as MessagePack, at most [`DEPTH_LIMIT`] levels deep.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    encode_limited(value, &mut bytes, DEPTH_LIMIT)?;
    Ok(bytes)
}

/// Writes `value` as MessagePack to `out`, at most [`DEPTH_LIMIT`] levels deep, without buffering
/// the bytes.
pub fn encode_to<T: Serialize + ?Sized>(value: &T, out: &mut dyn Write) -> Result<(), CodecError> {
    encode_limited(value, out, DEPTH_LIMIT)
}

/// Like [`encode_to`], with another depth limit. After an error `out` contains a part of the value.
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

/// Appends `value` to `out` as MessagePack. Returns `false` if `out` would exceed `bytes_max`.
pub(super) fn encode_bounded<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<bool, CodecError> {
    let mut bounded = Bounded { out, bytes_max, is_full: false };
    let result = encode_limited(value, &mut bounded, DEPTH_LIMIT);
    if bounded.is_full { Ok(false) } else { result.map(|()| true) }
}

/// A writer into memory with a size limit.
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

/// Decodes all of `bytes` as one value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_limited(bytes, DEPTH_LIMIT)
}

/// Like [`decode`], with another depth limit.
pub fn decode_limited<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CodecError> {
    // One pass over the markers first: it verifies every length in the bytes.
    let mut scan = MarkerScan::new(limit);
    scan.feed(bytes).and_then(|()| scan.finish()).map_err(|error| error.into_codec_error(limit))?;
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
    let value =
        T::deserialize(&mut decoder).map_err(|error| CodecError::Decode(error.to_string()))?;
    // A type may read less than the whole value: then the value was written by another type.
    match IgnoredAny::deserialize(&mut decoder) {
        Err(_) => Ok(value),
        Ok(_) => Err(CodecError::TrailingBytes { what: std::any::type_name::<T>() }),
    }
}

/// Reads one MessagePack value from `input`, which must end with it; at most [`DEPTH_LIMIT`] levels
/// deep.
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

/// The I/O error at the root of an encoder's error, if there is one.
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

/// A reader or writer that scans the markers of the value passing through, and fails if it nests
/// too deep. It fails *while* the (de)serializer recurses, which bounds the recursion.
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
