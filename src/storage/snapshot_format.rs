//! A snapshot's bytes. They are the same in a file, in memory and on the wire, so that any member
//! can send to any other.
//!
//! ```text
//! header   magic, version, cluster, group, log id, membership                    CRC-32C
//! chunk    length, CRC-32C (continues the header's, with the chunk's number), content
//!  ..
//! footer   length 0, CRC-32C likewise, content bytes, whole bytes, whole hash
//! ```
//! Chunks can be neither exchanged between snapshots nor reordered. The footer detects missing
//! ones; its hash is of another kind than the CRCs and detects what a CRC misses. `docs/formats.md`
//! describes every byte.
//!
//! *What it does not do:* store the bytes, or interpret the content.

use std::io::{self, Read, Write};

use super::binary::{Fields, Malformed, put_log_id, put_membership, put_u32, put_u64};
use crate::raft::{LogId, Membership, SnapshotMeta};

const MAGIC: &[u8; 8] = b"QRTSNAP\n";
/// The version this code writes, and the newest it reads.
pub(crate) const VERSION: u32 = 1;
/// Content bytes of a full chunk; the last one may be shorter.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;
/// Magic, version, length of the whole header.
const PREFIX_BYTES: usize = 16;
/// Maximum length of a header (PS15); it follows from the maximum number of members.
const MAX_HEADER_BYTES: usize = 256 * 1024;
const CHUNK_HEAD_BYTES: usize = 8;
const FOOTER_BYTES: usize = 32;

/// What is wrong with a snapshot's bytes, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {what}")]
pub(crate) struct Flaw {
    /// Byte offset in the snapshot.
    pub offset: u64,
    /// What is wrong.
    pub what: &'static str,
}

impl Flaw {
    /// Converts it to an error of kind `InvalidData`.
    pub(crate) fn error(offset: u64, what: &'static str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Flaw { offset, what })
    }

    /// The flaw in an error of this module; `None`: reading itself failed.
    pub(crate) fn of(error: &io::Error) -> Option<Flaw> {
        error.get_ref()?.downcast_ref::<Flaw>().copied()
    }
}

/// The fields before the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The cluster it belongs to.
    pub cluster: u64,
    /// The last entry that the snapshot covers.
    pub log_id: LogId,
    /// The members as of that entry.
    pub membership: Membership,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(MAGIC);
        put_u32(&mut out, VERSION);
        put_u32(&mut out, 0); // the length, filled in below
        put_u64(&mut out, self.cluster);
        put_u64(&mut out, 0); // the group
        put_log_id(&mut out, self.log_id);
        put_membership(&mut out, &self.membership);
        let length = out.len() as u32 + 4;
        out[12..16].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        put_u32(&mut out, crc);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Header, Malformed> {
        let mut fields = Fields::new(bytes);
        let cluster = fields.u64()?;
        if fields.u64()? != 0 {
            return Err(Malformed("names a group, which this version does not know"));
        }
        let header = Header { cluster, log_id: fields.log_id()?, membership: fields.membership()? };
        fields.end()?;
        Ok(header)
    }
}

/// A 64-bit FNV-1a over little-endian words, each piece padded with zeros to whole words.
#[derive(Clone, Copy)]
struct WholeHash(u64);

impl WholeHash {
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    fn new() -> WholeHash {
        WholeHash(0xcbf2_9ce4_8422_2325)
    }

    fn piece(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !tail.is_empty() {
            let mut last = [0; 8];
            last[..tail.len()].copy_from_slice(tail);
            self.word(u64::from_le_bytes(last));
        }
    }

    /// The rotation moves a word's high bits into the low ones; a multiplication alone never does.
    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(Self::PRIME).rotate_left(29);
    }
}

fn chunk_crc(header_crc: u32, number: u64, content: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(header_crc, &number.to_le_bytes());
    crc32c::crc32c_append(crc, content)
}

/// Writes a snapshot: takes the content through `Write` and writes the format to `out`.
pub(crate) struct SnapshotWriter<W> {
    out: W,
    /// Space for a chunk's head, followed by its content so far.
    chunk: Vec<u8>,
    header_crc: u32,
    hash: WholeHash,
    chunks: u64,
    content_bytes: u64,
    whole_bytes: u64,
}

impl<W: Write> SnapshotWriter<W> {
    pub(crate) fn new(mut out: W, header: &Header) -> io::Result<SnapshotWriter<W>> {
        let bytes = header.encode();
        out.write_all(&bytes)?;
        let mut hash = WholeHash::new();
        hash.piece(&bytes);
        Ok(SnapshotWriter {
            out,
            chunk: vec![0; CHUNK_HEAD_BYTES],
            header_crc: crc32c::crc32c(&bytes),
            hash,
            chunks: 0,
            content_bytes: 0,
            whole_bytes: bytes.len() as u64,
        })
    }

    fn end_chunk(&mut self) -> io::Result<()> {
        let length = self.chunk.len() - CHUNK_HEAD_BYTES;
        if length == 0 {
            return Ok(());
        }
        let crc = chunk_crc(self.header_crc, self.chunks, &self.chunk[CHUNK_HEAD_BYTES..]);
        self.chunk[..4].copy_from_slice(&(length as u32).to_le_bytes());
        self.chunk[4..8].copy_from_slice(&crc.to_le_bytes());
        self.out.write_all(&self.chunk)?;
        self.hash.piece(&self.chunk);
        self.chunks += 1;
        self.content_bytes += length as u64;
        self.whole_bytes += self.chunk.len() as u64;
        self.chunk.truncate(CHUNK_HEAD_BYTES);
        Ok(())
    }

    /// Ends the content. Returns `out` and the total length.
    pub(crate) fn finish(mut self) -> io::Result<(W, u64)> {
        self.end_chunk()?;
        let whole_bytes = self.whole_bytes + FOOTER_BYTES as u64;
        let footer =
            encode_footer(self.header_crc, self.chunks, self.content_bytes, whole_bytes, self.hash);
        self.out.write_all(&footer)?;
        Ok((self.out, whole_bytes))
    }
}

impl<W: Write> Write for SnapshotWriter<W> {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let room = CHUNK_HEAD_BYTES + CHUNK_BYTES - self.chunk.len();
        let taken = room.min(content.len());
        self.chunk.extend_from_slice(&content[..taken]);
        if taken == room {
            self.end_chunk()?;
        }
        Ok(taken)
    }

    /// Does nothing: a chunk ends when it is full, and the bytes are made durable at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn encode_footer(
    header_crc: u32,
    chunks: u64,
    content_bytes: u64,
    whole_bytes: u64,
    hash: WholeHash,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(FOOTER_BYTES);
    put_u64(&mut out, 0); // length 0 and space for the checksum
    put_u64(&mut out, content_bytes);
    put_u64(&mut out, whole_bytes);
    put_u64(&mut out, hash.0);
    let crc = chunk_crc(header_crc, chunks, &out[CHUNK_HEAD_BYTES..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Reads a snapshot's content. Every byte it returns is verified; the end is reported only after a
/// verified footer. Flaws are errors of kind `InvalidData` that carry a [`Flaw`].
pub(crate) struct SnapshotContent<R> {
    input: R,
    header: Header,
    header_crc: u32,
    hash: WholeHash,
    chunks: u64,
    content_bytes: u64,
    offset: u64,
    chunk: Vec<u8>,
    position: usize,
    ended: bool,
}

impl<R: Read> SnapshotContent<R> {
    /// Reads and verifies the header.
    pub(crate) fn open(mut input: R) -> io::Result<SnapshotContent<R>> {
        let bytes = read_header(&mut input)?;
        let (body, crc) = bytes.split_at(bytes.len() - 4);
        if crc32c::crc32c(body).to_le_bytes() != crc {
            return Err(Flaw::error(0, "the header's checksum does not hold"));
        }
        let header = Header::decode(&body[PREFIX_BYTES..])
            .map_err(|Malformed(what)| Flaw::error(0, what))?;
        let mut hash = WholeHash::new();
        hash.piece(&bytes);
        Ok(SnapshotContent {
            input,
            header,
            header_crc: crc32c::crc32c(&bytes),
            hash,
            chunks: 0,
            content_bytes: 0,
            offset: bytes.len() as u64,
            chunk: Vec::new(),
            position: 0,
            ended: false,
        })
    }

    /// The fields before the content.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Reads and verifies the rest; returns the meta that the bytes contain.
    pub(crate) fn verify_rest(mut self) -> io::Result<SnapshotMeta> {
        while !self.ended {
            self.next_chunk()?;
        }
        Ok(SnapshotMeta {
            log_id: self.header.log_id,
            membership: self.header.membership,
            size_bytes: self.offset,
        })
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let at = self.offset;
        let mut head = [0; CHUNK_HEAD_BYTES];
        fill(&mut self.input, &mut head, at)?;
        let (length, crc) = head.split_at(4);
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if length > CHUNK_BYTES {
            return Err(Flaw::error(at, "a chunk is longer than allowed"));
        }
        let body = if length == 0 { FOOTER_BYTES - CHUNK_HEAD_BYTES } else { length };
        self.chunk.resize(body, 0);
        self.position = 0;
        fill(&mut self.input, &mut self.chunk, at)?;
        if chunk_crc(self.header_crc, self.chunks, &self.chunk).to_le_bytes() != crc {
            return Err(Flaw::error(at, "a chunk's checksum does not hold"));
        }
        self.offset += (CHUNK_HEAD_BYTES + body) as u64;
        if length == 0 {
            return self.end(at);
        }
        self.hash.piece(&head);
        self.hash.piece(&self.chunk);
        self.chunks += 1;
        self.content_bytes += length as u64;
        Ok(())
    }

    fn end(&mut self, at: u64) -> io::Result<()> {
        let expected =
            encode_footer(self.header_crc, self.chunks, self.content_bytes, self.offset, self.hash);
        if self.chunk != expected[CHUNK_HEAD_BYTES..] {
            return Err(Flaw::error(at, "the footer does not match what stands before it"));
        }
        if self.input.read(&mut [0])? != 0 {
            return Err(Flaw::error(self.offset, "goes on behind its end"));
        }
        self.chunk.clear();
        self.ended = true;
        Ok(())
    }
}

impl<R: Read> Read for SnapshotContent<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.position == self.chunk.len() && !self.ended && !out.is_empty() {
            self.next_chunk()?;
        }
        let taken = out.len().min(self.chunk.len() - self.position);
        out[..taken].copy_from_slice(&self.chunk[self.position..self.position + taken]);
        self.position += taken;
        Ok(taken)
    }
}

fn read_header(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; PREFIX_BYTES];
    fill(input, &mut bytes, 0)?;
    let mut fields = Fields::new(&bytes[8..]);
    let (version, length) = (fields.u32(), fields.u32());
    if &bytes[..8] != MAGIC {
        return Err(Flaw::error(0, "is not a snapshot"));
    }
    match version {
        Ok(VERSION) => {}
        Ok(version) if version > VERSION => {
            return Err(Flaw::error(
                8,
                "is of a newer format: use the version that wrote it, or a newer one",
            ));
        }
        _ => return Err(Flaw::error(8, "has an unknown format version")),
    }
    let length = length.unwrap_or(0) as usize;
    if !(PREFIX_BYTES + 4..=MAX_HEADER_BYTES).contains(&length) {
        return Err(Flaw::error(12, "the header's length is out of range"));
    }
    bytes.resize(length, 0);
    fill(input, &mut bytes[PREFIX_BYTES..], PREFIX_BYTES as u64)?;
    Ok(bytes)
}

/// Reads exactly `out`; an early end is a flaw at `offset`.
fn fill(input: &mut impl Read, out: &mut [u8], offset: u64) -> io::Result<()> {
    input.read_exact(out).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Flaw::error(offset, "ends too early"),
        _ => error,
    })
}

/// Verifies that a received snapshot is the announced one and belongs to this cluster.
pub(crate) fn verify_received(
    input: impl Read,
    cluster: u64,
    announced: &SnapshotMeta,
) -> io::Result<()> {
    let content = SnapshotContent::open(input)?;
    if content.header().cluster != cluster {
        return Err(Flaw::error(16, "belongs to another cluster"));
    }
    if content.verify_rest()? != *announced {
        return Err(Flaw::error(0, "is not the snapshot that was announced"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            cluster: 7,
            log_id: LogId::new(2, 9),
            membership: Membership::of_voters([1, 2, 3]),
        }
    }

    fn snapshot_of(content: &[u8]) -> Vec<u8> {
        let mut writer = SnapshotWriter::new(Vec::new(), &header()).unwrap();
        writer.write_all(content).unwrap();
        let (bytes, length) = writer.finish().unwrap();
        assert_eq!(bytes.len() as u64, length);
        bytes
    }

    fn content_of(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        SnapshotContent::open(bytes)?.read_to_end(&mut content)?;
        Ok(content)
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i / 3 % 251) as u8).collect()
    }

    #[test]
    fn content_reads_back_around_every_chunk_border() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let bytes = snapshot_of(&pattern(length));
            assert!(content_of(&bytes).unwrap() == pattern(length), "{length}");
            let meta = SnapshotContent::open(&bytes[..]).unwrap().verify_rest().unwrap();
            assert_eq!((meta.log_id, meta.size_bytes), (LogId::new(2, 9), bytes.len() as u64));
        }
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let bytes = snapshot_of(b"some content");
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            let error = content_of(&flipped).unwrap_err();
            assert!(Flaw::of(&error).is_some(), "byte {at}: {error}");
            assert!(content_of(&bytes[..at]).is_err(), "cut at {at}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(content_of(&longer).is_err());
    }

    #[test]
    fn chunks_can_neither_be_left_out_nor_exchanged() {
        let bytes = snapshot_of(&pattern(3 * CHUNK_BYTES));
        let chunk = CHUNK_HEAD_BYTES + CHUNK_BYTES;
        let head = bytes.len() - FOOTER_BYTES - 3 * chunk;
        let left_out = [&bytes[..head + chunk], &bytes[head + 2 * chunk..]].concat();
        assert!(content_of(&left_out).is_err());
        let last_left_out = [&bytes[..head + 2 * chunk], &bytes[head + 3 * chunk..]].concat();
        assert!(content_of(&last_left_out).is_err());
        let mut exchanged = bytes.clone();
        exchanged.copy_within(head..head + chunk, head + chunk);
        assert!(content_of(&exchanged).is_err());
    }

    #[test]
    fn another_clusters_snapshot_or_another_one_is_refused() {
        let bytes = snapshot_of(b"content");
        let meta = SnapshotContent::open(&bytes[..]).unwrap().verify_rest().unwrap();
        verify_received(&bytes[..], 7, &meta).unwrap();
        assert!(verify_received(&bytes[..], 8, &meta).is_err());
        for wrong in [
            SnapshotMeta { log_id: LogId::new(2, 8), ..meta.clone() },
            SnapshotMeta { membership: Membership::of_voters([1]), ..meta.clone() },
            SnapshotMeta { size_bytes: meta.size_bytes + 1, ..meta.clone() },
        ] {
            assert!(verify_received(&bytes[..], 7, &wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_newer_format_is_named_as_such() {
        let mut bytes = snapshot_of(b"content");
        bytes[8] = 2;
        let error = content_of(&bytes).unwrap_err();
        assert!(error.to_string().contains("newer format"), "{error}");
    }
}
