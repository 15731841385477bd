//! Frames in a stream of bytes.
//!
//! ```text
//! forward     length u32 │ that many bytes: an envelope, see `wire`      length 0: keep-alive
//! back        0 │ limit u64          cost that may be sent, counted from the connection's start
//!             1 │ a refusal          why the connection ends, as the reply of a handshake
//! ```
//! A length is not trusted. It is first checked against the maximum; then memory is allocated only
//! as bytes arrive: [`FrameBuffer`] grows by what it holds already, never to the announced length.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::handshake::{HEAD_BYTES, Refusal, Refused, Reply, length};

/// The length before each frame.
pub(crate) const LENGTH_BYTES: usize = 4;
/// The minimum room for one read.
const MIN_ROOM_BYTES: usize = 32 << 10;
/// The maximum room for one read.
const MAX_ROOM_BYTES: usize = 256 << 10;
/// A frame up to this size is copied to its own buffer, so that its entries do not keep the bytes
/// of neighbouring frames alive.
const COPIED_BYTES: usize = 64 << 10;

const BACK_LIMIT: u8 = 0;
const BACK_REFUSAL: u8 = 1;

/// Bytes that have been read and are not a whole frame yet.
pub(crate) struct FrameBuffer {
    bytes: BytesMut,
    max_frame_bytes: usize,
}

impl FrameBuffer {
    pub(crate) fn new(max_frame_bytes: usize) -> FrameBuffer {
        FrameBuffer { bytes: BytesMut::new(), max_frame_bytes }
    }

    /// The room for the next read: at least [`MIN_ROOM_BYTES`], beyond that about as large as the
    /// bytes held.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        if self.bytes.is_empty() && self.bytes.capacity() > COPIED_BYTES {
            self.bytes = BytesMut::new();
        }
        if self.bytes.capacity() - self.bytes.len() < MIN_ROOM_BYTES {
            self.bytes.reserve(self.bytes.len().clamp(MIN_ROOM_BYTES, MAX_ROOM_BYTES));
        }
        &mut self.bytes
    }

    /// The next whole frame, or `None` until more bytes arrive. An empty frame is a keep-alive.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Refused> {
        let Some(head) = self.bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let claimed = u32::from_le_bytes(*head) as usize;
        if claimed > self.max_frame_bytes {
            let text = format!(
                "a frame of {claimed} bytes, and {} are allowed; give all members the same limit, above command_bytes, append_bytes and snapshot_chunk_bytes",
                self.max_frame_bytes
            );
            return Err(Refused::new(Refusal::Oversized, text));
        }
        if self.bytes.len() - LENGTH_BYTES < claimed {
            return Ok(None);
        }
        self.bytes.advance(LENGTH_BYTES);
        Ok(Some(self.take(claimed)))
    }

    fn take(&mut self, frame_bytes: usize) -> Bytes {
        if frame_bytes > COPIED_BYTES {
            return self.bytes.split_to(frame_bytes).freeze();
        }
        let frame = Bytes::copy_from_slice(&self.bytes[..frame_bytes]);
        self.bytes.advance(frame_bytes);
        frame
    }

    /// Whether a frame is incomplete.
    pub(crate) fn has_begun(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Memory in use, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// A record sent back on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// The cost that may be sent.
    Limit(u64),
    /// The connection ends.
    Refused(Reply),
}

impl Back {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Back::Limit(limit) => {
                out.put_u8(BACK_LIMIT);
                out.put_u64_le(*limit);
            }
            Back::Refused(reply) => {
                out.put_u8(BACK_REFUSAL);
                out.put_slice(&reply.encode());
            }
        }
        out
    }

    /// Takes the next whole record from the front of `bytes`, or `None` until more bytes arrive.
    pub(crate) fn take(bytes: &mut BytesMut) -> Result<Option<Back>, Refused> {
        match bytes.first() {
            None => Ok(None),
            Some(&BACK_LIMIT) if bytes.len() < 1 + 8 => Ok(None),
            Some(&BACK_LIMIT) => {
                bytes.advance(1);
                Ok(Some(Back::Limit(bytes.get_u64_le())))
            }
            Some(&BACK_REFUSAL) => take_refusal(bytes),
            Some(other) => {
                let text = format!("no record begins with {other}");
                Err(Refused::new(Refusal::Undecodable, text))
            }
        }
    }
}

fn take_refusal(bytes: &mut BytesMut) -> Result<Option<Back>, Refused> {
    let Some(head) = bytes[1..].first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let length = length(*head, Reply::MIN_BYTES)?;
    if bytes.len() - 1 < length {
        return Ok(None);
    }
    let reply = Reply::decode(&bytes[1..=length])?;
    bytes.advance(1 + length);
    Ok(Some(Back::Refused(reply)))
}
