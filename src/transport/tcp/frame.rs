//! Frames in a stream of bytes.
//!
//! ```text
//! forward     length u32 │ that many bytes: an envelope, as `wire` has it       length 0: nothing, I am alive
//! back        0 │ limit u64          so much may be sent, counted from the beginning of the connection
//!             1 │ a refusal          why the connection ends, as the reply of a handshake
//! ```
//! A length is a claim. It is held against the cap before anything else, and then believed only as far as bytes have
//! come: [`FrameBuffer`] grows by what it holds already, never to what is announced.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::handshake::{HEAD_BYTES, Refusal, Refused, Reply, length};

/// The length before each frame.
pub(crate) const LENGTH_BYTES: usize = 4;
/// The room for one read, at least ..
const MIN_ROOM_BYTES: usize = 32 << 10;
/// .. and at most.
const MAX_ROOM_BYTES: usize = 256 << 10;
/// A frame up to here gets a buffer of its own, so that its entries do not keep their neighbours' bytes alive.
const COPIED_BYTES: usize = 64 << 10;

const BACK_LIMIT: u8 = 0;
const BACK_REFUSAL: u8 = 1;

/// Bytes that have been read and are no whole frame yet.
pub(crate) struct FrameBuffer {
    bytes: BytesMut,
    max_frame_bytes: usize,
}

impl FrameBuffer {
    pub(crate) fn new(max_frame_bytes: usize) -> FrameBuffer {
        FrameBuffer { bytes: BytesMut::new(), max_frame_bytes }
    }

    /// Where the next bytes go. The room is at most about as large as what is there.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        if self.bytes.is_empty() && self.bytes.capacity() > COPIED_BYTES {
            self.bytes = BytesMut::new();
        }
        if self.bytes.capacity() - self.bytes.len() < MIN_ROOM_BYTES {
            self.bytes.reserve(self.bytes.len().clamp(MIN_ROOM_BYTES, MAX_ROOM_BYTES));
        }
        &mut self.bytes
    }

    /// The next whole frame, or `None` until more has come. An empty one only says that the sender is alive.
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

    /// Whether a frame has begun and not ended.
    pub(crate) fn has_begun(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Memory in use.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// What comes back on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// So much may be sent.
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

    /// Takes the next whole record from the front of `bytes`, or `None` until more has come.
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
