//! How far the log is durable, recorded in a file of its own.
//!
//! Each frame of the log confirms the frames before it as durable. Nothing in the log confirms the
//! last write: if it is missing, it looks like a write that was never finished. The file `end`
//! therefore holds a *mark*: the position through which the log is durable. A log that ends before
//! its mark is damaged.
//!
//! ```text
//! write              log, fdatasync ─▶ copy 0, not synced ─▶ acknowledged
//! seal, new segment  copy 0, fdatasync ─▶ copy 1, fdatasync
//! ```
//! Positions only grow, and no segment number is used twice. So a mark remains true as the log
//! grows: nothing has to be revoked before the next write. The mark is written only after the
//! `fdatasync` that it confirms.
//!
//! There are two copies on separate pages. A copy is written only while the other one is durable,
//! so a crash tears at most one. The file exists from the bootstrap on: if no copy verifies, that
//! is damage.
//!
//! *What it does not do:* know the log's content, or decide what a start does about damage.

use std::path::{Path, PathBuf};

use super::super::binary::{Fields, Malformed, put_log_id, put_u32, put_u64};
use super::super::{Identity, StorageError};
use super::directory::{Layout, NEWER, read_format, refused};
use super::env::{Files, OutFile, WriteMode};
use super::recovery::Damage;
use super::segment::{self, Position};
use crate::raft::{Incarnation, LogId, is_possible_incarnation, unborn};

const MAGIC: &[u8; 8] = b"QRTLEND\n";
/// The version this code writes, and the newest it reads.
const VERSION: u32 = 1;
/// Length of a mark with its checksum.
const MARK_BYTES: usize = 84;
/// Distance between copies: no sector and no page holds parts of both.
const COPY_BYTES: usize = 4096;
/// Number of copies.
const COPIES: usize = 2;
/// Upper bound of segment numbers; no log reaches it, so a higher number was not written by this
/// code.
const MAX_SEGMENT: u64 = 1 << 62;

/// The position through which the log was durable when the mark was written, and the log's last
/// entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndMark {
    /// End of the log's last durable frame.
    pub through: Position,
    /// The incarnation that wrote the mark.
    pub incarnation: Incarnation,
    /// The last entry, or the log's start if there is none.
    pub last: LogId,
}

/// The mark of a newly bootstrapped log.
fn founded(identity: Identity) -> EndMark {
    EndMark {
        through: Position { segment: segment::FIRST, offset: segment::FOUNDED_BYTES },
        incarnation: unborn(identity.created_at_ms),
        last: LogId::BASE,
    }
}

/// Writes the file at a bootstrap. Its name is durable with the next sync of the directory.
pub(crate) fn found(
    files: &Files,
    layout: &Layout,
    identity: Identity,
) -> Result<(), StorageError> {
    let mut file = files.open_write(&layout.end(), WriteMode::Fresh)?;
    file.write_at(&encode_copies(identity, [founded(identity); COPIES]), 0)?;
    file.sync_all()
}

/// The content of the file.
#[derive(Debug)]
pub(crate) struct StoredMarks {
    path: PathBuf,
    is_there: bool,
    /// Each copy's mark, or what is wrong with it.
    copies: [Result<EndMark, &'static str>; COPIES],
}

impl StoredMarks {
    /// Reads the file. A file of a newer format or of another node is an error.
    pub(crate) fn read(
        files: &Files,
        layout: &Layout,
        identity: Identity,
    ) -> Result<StoredMarks, StorageError> {
        let path = layout.end();
        let Some(mut file) = files.open_read_if_there(&path)? else {
            return Ok(StoredMarks { path, is_there: false, copies: [Err("is missing"); COPIES] });
        };
        let mut bytes = vec![0; COPIES * COPY_BYTES];
        let length = file.read_at(&mut bytes, 0)?;
        let mut copies = [Err("ends too early"); COPIES];
        for (copy, page) in copies.iter_mut().zip(bytes[..length].chunks(COPY_BYTES)) {
            *copy = match decode(page, identity) {
                Ok(mark) => Ok(mark),
                Err(Malformed(what)) if REFUSED.contains(&what) => {
                    return Err(refused(&path, what));
                }
                Err(Malformed(what)) => Err(what),
            };
        }
        Ok(StoredMarks { path, is_there: true, copies })
    }

    /// The effective mark: the later one. Both are true.
    pub(crate) fn mark(&self) -> Option<EndMark> {
        self.copies.iter().flatten().copied().max_by_key(|mark| mark.through)
    }

    /// The damage if no copy can be read: then it is unknown how far the log went.
    pub(crate) fn damage(&self) -> Option<Damage> {
        let [Err(what), Err(_)] = self.copies else { return None };
        let what = format!("{what}: how far the log went is not known");
        Some(Damage::new(&self.path, 0, what))
    }

    /// The damage if one copy can't be read and the other one can.
    pub(crate) fn flaw(&self) -> Option<Damage> {
        let offset = self.copies.iter().position(Result::is_err)? * COPY_BYTES;
        let what = self.copies[offset / COPY_BYTES].err()?;
        self.mark().map(|_| Damage::new(&self.path, offset as u64, what))
    }

    /// Whether both copies name this position as the log's end.
    pub(crate) fn is_sealed_at(&self, end: Position) -> bool {
        self.copies.iter().all(|copy| copy.is_ok_and(|mark| mark.through == end))
    }
}

/// The end file of an opened directory.
pub(crate) struct EndFile {
    file: OutFile,
    identity: Identity,
    /// Both copies durably hold at least this position.
    settled: Position,
}

impl EndFile {
    /// Opens or creates the file. Its content does not change before [`resume`](EndFile::resume).
    pub(crate) fn open(
        files: &Files,
        layout: &Layout,
        identity: Identity,
        stored: &StoredMarks,
    ) -> Result<EndFile, StorageError> {
        let mode = if stored.is_there { WriteMode::Existing } else { WriteMode::New };
        let file = files.open_write(&layout.end(), mode)?;
        Ok(EndFile { file, identity, settled: Position::default() })
    }

    /// Continues with the stored marks and makes `mark` durable. Called once a data loss is durable
    /// in the log, because a file without a mark indicates one.
    pub(crate) fn resume(
        &mut self,
        files: &Files,
        layout: &Layout,
        stored: &StoredMarks,
        mark: EndMark,
    ) -> Result<(), StorageError> {
        // After a failed fdatasync the page cache may show a copy that the disk does not hold. At
        // most one of the copies can be in that state, so both are written as they were read: a
        // copy that is torn by this was already in doubt.
        let usable = stored.mark().unwrap_or(mark);
        let copies = stored.copies.map(|copy| copy.unwrap_or(usable));
        self.file.write_at(&encode_copies(self.identity, copies), 0)?;
        self.file.sync_all()?;
        if !stored.is_there {
            files.sync_dir(layout.root())?;
        }
        self.settle(mark)
    }

    /// Records that the log is durable through the mark, without a sync. The mark outlives the
    /// process at once, and a power failure only after a later sync.
    pub(crate) fn note(&mut self, mark: EndMark) -> Result<(), StorageError> {
        self.write(0, mark)
    }

    /// Makes the mark durable in both copies.
    pub(crate) fn settle(&mut self, mark: EndMark) -> Result<(), StorageError> {
        for copy in 0..COPIES {
            self.write(copy, mark)?;
            self.file.sync_data()?;
        }
        self.settled = mark.through;
        Ok(())
    }

    /// Whether a mark at this end is durable in both copies.
    pub(crate) fn is_settled(&self, end: Position) -> bool {
        self.settled == end
    }

    fn write(&mut self, copy: usize, mark: EndMark) -> Result<(), StorageError> {
        let mut bytes = Vec::with_capacity(MARK_BYTES);
        encode(&mut bytes, self.identity, mark);
        self.file.write_at(&bytes, (copy * COPY_BYTES) as u64)
    }
}

fn encode_copies(identity: Identity, marks: [EndMark; COPIES]) -> Vec<u8> {
    let mut out = Vec::with_capacity(COPIES * COPY_BYTES);
    for (copy, mark) in marks.into_iter().enumerate() {
        encode(&mut out, identity, mark);
        out.resize((copy + 1) * COPY_BYTES, 0);
    }
    out
}

fn encode(out: &mut Vec<u8>, identity: Identity, mark: EndMark) {
    let begin = out.len();
    out.extend_from_slice(MAGIC);
    put_u32(out, VERSION);
    put_u32(out, MARK_BYTES as u32);
    put_u64(out, identity.cluster);
    put_u64(out, identity.node);
    put_u64(out, 0); // the group
    put_u64(out, mark.through.segment);
    put_u64(out, mark.through.offset);
    put_u64(out, mark.incarnation);
    put_log_id(out, mark.last);
    let crc = crc32c::crc32c(&out[begin..]);
    put_u32(out, crc);
}

const FOREIGN: &str = "belongs to the log of another node: restore this node's own";
const REFUSED: [&str; 2] = [NEWER, FOREIGN];

/// Decodes the mark of a copy; checks every byte of its page.
fn decode(page: &[u8], identity: Identity) -> Result<EndMark, Malformed> {
    let Some((body, crc)) = page.get(..MARK_BYTES).and_then(|mark| mark.split_last_chunk::<4>())
    else {
        return Err(Malformed("ends too early"));
    };
    if crc32c::crc32c(body).to_le_bytes() != *crc {
        return Err(Malformed("has a checksum that does not hold"));
    }
    let mut fields = Fields::new(body);
    read_format(&mut fields, MAGIC, VERSION)?;
    if fields.u32()? as usize != MARK_BYTES {
        return Err(Malformed("gives itself another length than it has"));
    }
    if [fields.u64()?, fields.u64()?, fields.u64()?] != [identity.cluster, identity.node, 0] {
        return Err(Malformed(FOREIGN));
    }
    let through = Position { segment: fields.u64()?, offset: fields.u64()? };
    let incarnation = fields.u64()?;
    let last = fields.log_id()?;
    fields.end()?;
    if !(segment::FIRST..MAX_SEGMENT).contains(&through.segment)
        || !is_possible_incarnation(incarnation)
    {
        return Err(Malformed("names an end that no log has"));
    }
    if page.len() < COPY_BYTES || page[MARK_BYTES..].iter().any(|&byte| byte != 0) {
        return Err(Malformed("holds something else than zeros behind the mark"));
    }
    Ok(EndMark { through, incarnation, last })
}

/// A clause that follows the file's name: the log ends before its mark.
pub(crate) fn ends_before(mark: EndMark, flaw: &str) -> String {
    let EndMark { through, last, .. } = mark;
    format!("{flaw}, but the log was durable through byte {}, entry {last}", through.offset)
}

/// The damage if the segment that the mark names does not exist.
pub(crate) fn missing_segment(mark: EndMark, path: &Path) -> Damage {
    Damage::new(path, 0, ends_before(mark, "is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity { cluster: 1 << 50, node: 3, created_at_ms: 5 };

    fn mark(segment: u64) -> EndMark {
        let through = Position { segment, offset: 700 };
        EndMark { through, incarnation: unborn(5) + 2, last: LogId::new(3, 99) }
    }

    #[test]
    fn a_mark_reads_back_and_every_flipped_byte_of_its_page_is_noticed() {
        let bytes = encode_copies(IDENTITY, [mark(7), mark(8)]);
        let (first, second) = bytes.split_at(COPY_BYTES);
        assert_eq!(decode(first, IDENTITY), Ok(mark(7)));
        assert_eq!(decode(second, IDENTITY), Ok(mark(8)));
        for at in 0..COPY_BYTES {
            let mut flipped = first.to_vec();
            flipped[at] ^= 1 << (at % 8);
            assert!(decode(&flipped, IDENTITY).is_err(), "byte {at}");
            assert!(decode(&first[..at], IDENTITY).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_mark_of_another_node_or_a_newer_format_is_refused_and_an_impossible_one_is_none() {
        let bytes = encode_copies(IDENTITY, [mark(7); COPIES]);
        let other = Identity { node: 4, ..IDENTITY };
        assert_eq!(decode(&bytes[..COPY_BYTES], other), Err(Malformed(FOREIGN)));
        let mut newer = bytes[..COPY_BYTES].to_vec();
        newer[8] += 1;
        let crc = crc32c::crc32c(&newer[..MARK_BYTES - 4]).to_le_bytes();
        newer[MARK_BYTES - 4..MARK_BYTES].copy_from_slice(&crc);
        assert_eq!(decode(&newer, IDENTITY), Err(Malformed(NEWER)));
        for segment in [0, MAX_SEGMENT, u64::MAX] {
            let bytes = encode_copies(IDENTITY, [mark(segment); COPIES]);
            assert!(decode(&bytes[..COPY_BYTES], IDENTITY).is_err(), "{segment}");
        }
    }
}
