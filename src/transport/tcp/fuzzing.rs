//! What a fuzzer calls: each takes any bytes at all, and panics only if a promise is broken.
//!
//! `fuzz/` has a target for each; the tests call the same functions with bytes of their own making.

use bytes::{BufMut, Bytes, BytesMut};

use crate::transport::wire;

use super::frame::{Back, FrameBuffer, LENGTH_BYTES};
use super::handshake::{Hello, Reply};

const MAX_FRAME_BYTES: usize = 1 << 20;

/// A frame decodes to something that encodes to a frame of the same meaning, or is refused.
pub fn wire_decode(data: &[u8]) {
    let Ok(envelope) = wire::decode(&Bytes::copy_from_slice(data)) else { return };
    let again = wire::encode(&envelope).expect("what was decoded can be encoded");
    assert!(again.len() <= wire::size_bound(&envelope), "{} bytes", again.len());
    assert_eq!(wire::decode(&again).as_ref(), Ok(&envelope));
}

/// A hello or a reply says one thing, or is refused with a reason that has words.
pub fn tcp_handshake(data: &[u8]) {
    match Hello::decode(data) {
        // Bytes behind the known fields are a later version's, so only what is known has to come back.
        Ok(hello) => assert_eq!(Hello::decode(&hello.encode()), Ok(hello)),
        Err(refused) => {
            assert!(!refused.text.is_empty());
            let reply = Reply::refused(&refused);
            assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
        }
    }
    if let Ok(reply) = Reply::decode(data) {
        let again = Reply::decode(&reply.encode()).expect("what was decoded can be encoded");
        assert_eq!(again, Reply::decode(&again.encode()).expect("and again"));
    }
}

/// A stream of frames, cut into reads of any size, is taken apart the same way, within memory in proportion to what came.
///
/// The first byte says how large the reads are.
pub fn tcp_frames(data: &[u8]) {
    let Some((&first, stream)) = data.split_first() else { return };
    let read_bytes = usize::from(first) + 1;
    let (mut whole, mut cut) = (Vec::new(), Vec::new());
    let whole_ends = take_apart(stream, stream.len().max(1), &mut whole);
    let cut_ends = take_apart(stream, read_bytes, &mut cut);
    assert_eq!((whole, whole_ends), (cut, cut_ends));
    take_back(stream);
}

/// All frames of the stream; `false` if it was refused.
fn take_apart(stream: &[u8], read_bytes: usize, frames: &mut Vec<Bytes>) -> bool {
    let mut buffer = FrameBuffer::new(MAX_FRAME_BYTES);
    let mut come = 0;
    for read in stream.chunks(read_bytes) {
        let mut read = read;
        while !read.is_empty() {
            let room = buffer.room();
            let fits = read.len().min(room.capacity() - room.len());
            room.put_slice(&read[..fits]);
            read = &read[fits..];
        }
        come += read_bytes;
        let most = (64 << 10) + 4 * come.max(LENGTH_BYTES);
        assert!(buffer.capacity() <= most, "{} bytes of memory", buffer.capacity());
        loop {
            match buffer.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return false,
            }
        }
    }
    true
}

fn take_back(stream: &[u8]) {
    let mut bytes = BytesMut::from(stream);
    while let Ok(Some(back)) = Back::take(&mut bytes) {
        if let Back::Limit(_) = back {
            let mut again = BytesMut::from(&back.encode()[..]);
            assert_eq!(Back::take(&mut again), Ok(Some(back)));
        }
    }
}
