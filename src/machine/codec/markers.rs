//! Scans the markers of one MessagePack value without recursion, in pieces of any size.
//!
//! ```text
//! Marker ──array, map──▶ one more level open ──▶ Marker
//!   │ ╲──length follows──▶ Length ──▶ Skip or one more level
//!   │  ╲──payload follows──▶ Skip ──▶ (value complete)
//!   ╰──scalar──▶ (value complete): the innermost open level misses one less; if none is open: Done
//! ```
//! It tracks the depth and whether the value is complete; nothing else. It does not inspect the
//! values, nor check that strings are UTF-8.

use super::CodecError;

/// The position of the scan in the value.
#[derive(Clone, Copy)]
enum State {
    /// The next byte is a marker.
    Marker,
    /// A big-endian length is being read.
    Length { shape: Shape, missing: u8, value: u64 },
    /// This many bytes of payload follow.
    Skip(u64),
    /// The value is complete.
    Done,
}

/// What the length is the length of.
#[derive(Clone, Copy)]
enum Shape {
    /// Payload bytes, plus `more` (the type byte of an extension).
    Payload { more: u64 },
    /// Elements.
    Array,
    /// Pairs.
    Map,
}

/// Why the bytes are invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanError {
    /// More levels than allowed.
    TooDeep,
    /// Bytes behind the complete value.
    Trailing,
    /// The bytes end before the value is complete.
    Truncated,
    /// The one marker that MessagePack does not use.
    ReservedMarker,
}

impl ScanError {
    pub(super) fn into_codec_error(self, limit: usize) -> CodecError {
        let what = "a MessagePack value";
        match self {
            ScanError::TooDeep => CodecError::TooDeep { limit },
            ScanError::Trailing => CodecError::TrailingBytes { what },
            ScanError::Truncated => CodecError::Truncated { what },
            ScanError::ReservedMarker => CodecError::invalid(what, "holds the unused marker 0xc1"),
        }
    }
}

/// The scan of one value. Memory: one number per open level, of which there are at most `limit`.
pub(super) struct MarkerScan {
    limit: usize,
    /// The number of values that each open array or map still misses, outermost first. Never 0.
    open: Vec<u64>,
    state: State,
}

impl MarkerScan {
    pub(super) fn new(limit: usize) -> MarkerScan {
        MarkerScan { limit, open: Vec::new(), state: State::Marker }
    }

    /// Scans the next bytes of the value.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), ScanError> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.state {
                State::Marker => {
                    bytes = rest;
                    self.on_marker(byte)?;
                }
                State::Length { shape, missing, value } => {
                    bytes = rest;
                    self.on_length_byte(shape, missing, value << 8 | u64::from(byte))?;
                }
                State::Skip(left) => {
                    let here = left.min(bytes.len() as u64);
                    bytes = &bytes[here as usize..];
                    self.skip(left - here);
                }
                State::Done => return Err(ScanError::Trailing),
            }
        }
        Ok(())
    }

    /// Whether exactly one whole value was scanned.
    pub(super) fn finish(&self) -> Result<(), ScanError> {
        match self.state {
            State::Done => Ok(()),
            _ => Err(ScanError::Truncated),
        }
    }

    /// The table of MessagePack's markers.
    fn on_marker(&mut self, marker: u8) -> Result<(), ScanError> {
        match marker {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => self.complete(), // int, nil, bool
            0x80..=0x8f => self.open(2 * u64::from(marker & 0x0f))?,           // short map
            0x90..=0x9f => self.open(u64::from(marker & 0x0f))?,               // short array
            0xa0..=0xbf => self.skip(u64::from(marker & 0x1f)),                // short string
            0xc1 => return Err(ScanError::ReservedMarker),
            0xc4..=0xc6 => self.length(Shape::Payload { more: 0 }, 1 << (marker - 0xc4)), // bytes
            0xc7..=0xc9 => self.length(Shape::Payload { more: 1 }, 1 << (marker - 0xc7)), // ext
            0xca | 0xcb => self.skip(4 << (marker - 0xca)),                               // float
            0xcc..=0xcf => self.skip(1 << (marker - 0xcc)), // unsigned
            0xd0..=0xd3 => self.skip(1 << (marker - 0xd0)), // signed
            0xd4..=0xd8 => self.skip(1 + (1 << (marker - 0xd4))), // extension of fixed size
            0xd9..=0xdb => self.length(Shape::Payload { more: 0 }, 1 << (marker - 0xd9)), // string
            0xdc | 0xdd => self.length(Shape::Array, 2 << (marker - 0xdc)),
            0xde | 0xdf => self.length(Shape::Map, 2 << (marker - 0xde)),
        }
        Ok(())
    }

    fn length(&mut self, shape: Shape, missing: u8) {
        self.state = State::Length { shape, missing, value: 0 };
    }

    fn on_length_byte(&mut self, shape: Shape, missing: u8, value: u64) -> Result<(), ScanError> {
        if missing > 1 {
            self.state = State::Length { shape, missing: missing - 1, value };
            return Ok(());
        }
        match shape {
            Shape::Payload { more } => self.skip(value + more),
            Shape::Array => self.open(value)?,
            Shape::Map => self.open(2 * value)?,
        }
        Ok(())
    }

    fn skip(&mut self, left: u64) {
        match left {
            0 => self.complete(),
            _ => self.state = State::Skip(left),
        }
    }

    fn open(&mut self, values: u64) -> Result<(), ScanError> {
        if self.open.len() == self.limit {
            return Err(ScanError::TooDeep);
        }
        if values == 0 {
            self.complete();
        } else {
            self.open.push(values);
            self.state = State::Marker;
        }
        Ok(())
    }

    /// Completes a value, and with it the arrays and maps whose last element it was.
    fn complete(&mut self) {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                self.state = State::Marker;
                return;
            }
            self.open.pop();
        }
        self.state = State::Done;
    }
}
