//! A node's directory: its files, its owner, and its creation.
//!
//! ```text
//! LOCK                     held while a node has the directory open
//! identity                 format, cluster, node, base membership;
//!                          written once, last of all at the bootstrap
//! end                      how far the log is durable
//! log/<number>.wal         the log, oldest segment first
//! log/<number>.spare       a file for a later segment
//! snapshots/<index>-<term>.snap
//! ```
//! Names are made from numbers, never from received data. Writing `identity` completes a bootstrap:
//! a directory without it holds nothing that was acknowledged, and one with it has a log.
//!
//! *What it does not do:* know the contents of the log and the snapshots.

use std::io;
use std::path::{Path, PathBuf};

use super::super::binary::{Fields, Malformed, put_membership, put_u32, put_u64};
use super::super::founding::{Founding, NOTHING_TO_OPEN};
use super::super::{Identity, Start, StorageError};
use super::env::{Files, Guard, WriteMode};
use super::{end, segment};
use crate::raft::LogId;

const MAGIC: &[u8; 8] = b"QRTIDEN\n";
/// The directory format this code writes, and the newest it reads.
const VERSION: u32 = 1;
/// Magic, version, length.
const PREFIX_BYTES: usize = 16;
/// Maximum length of an identity file (PS15).
const MAX_IDENTITY_BYTES: usize = 256 * 1024;

/// The paths of a directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Layout {
        Layout { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("LOCK")
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.root.join("identity")
    }

    fn identity_tmp(&self) -> PathBuf {
        self.root.join("identity.tmp")
    }

    pub(crate) fn end(&self) -> PathBuf {
        self.root.join("end")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.log().join(format!("{number:020}.wal"))
    }

    pub(crate) fn segment_number(name: &str) -> Option<u64> {
        number(name.strip_suffix(".wal")?).filter(|&number| number >= segment::FIRST)
    }

    pub(crate) fn spare(&self, number: u64) -> PathBuf {
        self.log().join(format!("{number:020}.spare"))
    }

    pub(crate) fn is_spare(name: &str) -> bool {
        name.strip_suffix(".spare").and_then(number).is_some()
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(crate) fn snapshot(&self, id: LogId) -> PathBuf {
        self.snapshots().join(format!("{:020}-{:020}.snap", id.index, id.term))
    }

    pub(crate) fn snapshot_id(name: &str) -> Option<LogId> {
        let (index, term) = name.strip_suffix(".snap")?.split_once('-')?;
        Some(LogId { term: number(term)?, index: number(index)? })
    }

    pub(crate) fn snapshot_tmp(&self, number: u64) -> PathBuf {
        self.snapshots().join(format!("{number:020}.tmp"))
    }

    pub(crate) fn is_snapshot_tmp(name: &str) -> bool {
        name.strip_suffix(".tmp").and_then(number).is_some()
    }
}

fn number(digits: &str) -> Option<u64> {
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// Locks the directory for `identity`. Bootstraps it first if that is requested and the directory
/// is unused.
pub(crate) fn enter(
    files: &Files,
    layout: &Layout,
    identity: Identity,
    start: &Start,
) -> Result<(Guard, Founding), StorageError> {
    let names = files.list(layout.root())?;
    let founded = names.iter().any(|name| name == "identity");
    match start {
        Start::Open if !founded => return Err(refused(layout.root(), NOTHING_TO_OPEN)),
        Start::Bootstrap(_) if !founded => check_unused(files, layout, &names)?,
        _ => {}
    }
    files.create_dir(layout.root())?;
    let guard = files.lock(&layout.lock())?.ok_or_else(|| {
        refused(
            layout.root(),
            "is in use: another node, maybe in another process, has it open; stop that one first",
        )
    })?;
    let founding = match (read_identity(files, layout)?, start) {
        (Some(founding), _) => {
            founding.check(identity, start).map_err(|why| refused(layout.root(), why))?;
            founding
        }
        (None, Start::Bootstrap(base)) => {
            let founding =
                Founding::new(identity, base.clone()).map_err(|why| refused(layout.root(), why))?;
            found(files, layout, &founding)?;
            founding
        }
        (None, Start::Open) => return Err(refused(layout.root(), NOTHING_TO_OPEN)),
    };
    settle(files, layout)?;
    Ok((guard, founding))
}

/// The directory's bootstrap record, for read-only inspection; if there is none, the error says
/// what the directory is instead.
pub(crate) fn look(files: &Files, layout: &Layout) -> Result<Founding, StorageError> {
    let root = layout.root();
    let names = match files.list_if_there(root) {
        Ok(names) => names.ok_or_else(|| refused(root, "there is no such directory"))?,
        Err(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotADirectory => {
            return Err(refused(
                root,
                "is a file: name the directory that a node was started with",
            ));
        }
        Err(error) => return Err(error),
    };
    if let Some(founding) = read_identity(files, layout)? {
        return Ok(founding);
    }
    let is_node = |name: &&String| {
        let inside = Layout::new(root.join(name)).identity();
        matches!(files.open_read_if_there(&inside), Ok(Some(_)))
    };
    let is_of_bootstrap = |name: &String| BOOTSTRAP_NAMES.contains(&name.as_str());
    Err(refused(
        root,
        if names.is_empty() {
            "is empty: no node was ever started with it".to_owned()
        } else if let Some(name) = names.iter().find(is_node) {
            format!("is not a node's directory itself; {name} in it is one: name that")
        } else if check_unused(files, layout, &names).is_ok() {
            "holds a bootstrap that was never finished, and nothing that was acknowledged: the next start finishes it"
                .to_owned()
        } else if names.iter().all(is_of_bootstrap) {
            "has a log or snapshots and no file identity, which says whose they are: no node starts on it".to_owned()
        } else {
            "is not a node's directory: there is no file identity in it".to_owned()
        },
    ))
}

/// File names that an unfinished bootstrap leaves in a directory.
const BOOTSTRAP_NAMES: [&str; 5] = ["LOCK", "end", "identity.tmp", "log", "snapshots"];

/// Checks that the directory holds only what an interrupted bootstrap leaves.
fn check_unused(files: &Files, layout: &Layout, names: &[String]) -> Result<(), StorageError> {
    let foreign = |name: &str| {
        let what = format!(
            "holds {name}, which no unfinished bootstrap leaves: choose an empty directory"
        );
        refused(layout.root(), what)
    };
    if let Some(name) = names.iter().find(|name| !BOOTSTRAP_NAMES.contains(&name.as_str())) {
        return Err(foreign(name));
    }
    if let Some(name) = files.list(&layout.snapshots())?.first() {
        return Err(foreign(&format!("snapshots/{name}")));
    }
    for name in files.list(&layout.log())? {
        let is_first = Layout::segment_number(&name) == Some(segment::FIRST);
        if !is_first
            || files.open_read(&layout.segment(segment::FIRST))?.len()? > segment::FOUNDED_BYTES
        {
            return Err(foreign(&format!("log/{name}")));
        }
    }
    Ok(())
}

/// Writes the log and its end first, then the identity, which completes the bootstrap.
fn found(files: &Files, layout: &Layout, founding: &Founding) -> Result<(), StorageError> {
    files.create_dir(&layout.log())?;
    files.create_dir(&layout.snapshots())?;
    let mut first = files.open_write(&layout.segment(segment::FIRST), WriteMode::Fresh)?;
    first.write_at(&segment::founded(founding.identity), 0)?;
    first.sync_all()?;
    files.sync_dir(&layout.log())?;
    end::found(files, layout, founding.identity)?;
    let tmp = layout.identity_tmp();
    let mut file = files.open_write(&tmp, WriteMode::Fresh)?;
    file.write_at(&encode(founding), 0)?;
    file.sync_all()?;
    files.sync_dir(layout.root())?;
    files.rename(&tmp, &layout.identity())
}

/// Syncs the parent directories: makes the directory's own name and the identity's durable, because
/// a crash right after the bootstrap's rename may have prevented that. A parent that may be
/// traversed but not read can't be synced; its durability is left to the user who created it so.
fn settle(files: &Files, layout: &Layout) -> Result<(), StorageError> {
    files.sync_dir(layout.root())?;
    let parent =
        layout.root().parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match files.sync_dir(parent) {
        Err(StorageError::Io { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            Ok(())
        }
        synced => synced,
    }
}

fn read_identity(files: &Files, layout: &Layout) -> Result<Option<Founding>, StorageError> {
    let path = layout.identity();
    let Some(mut file) = files.open_read_if_there(&path)? else { return Ok(None) };
    let mut bytes = vec![0; MAX_IDENTITY_BYTES];
    let length = file.read_at(&mut bytes, 0)?;
    match decode(&bytes[..length]) {
        Ok(founding) => Ok(Some(founding)),
        Err(Malformed(NEWER)) => Err(refused(&path, NEWER)),
        Err(Malformed(what)) => Err(StorageError::Damaged {
            path: path.display().to_string(),
            offset: 0,
            what: format!("the identity {what}: restore it from a copy of this directory"),
        }),
    }
}

pub(super) const NEWER: &str =
    "is of a newer format: use the version that wrote it, or a newer one";

fn encode(founding: &Founding) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    put_u32(&mut out, VERSION);
    put_u32(&mut out, 0); // the length, filled in below
    put_u64(&mut out, founding.identity.cluster);
    put_u64(&mut out, 0); // the group
    put_u64(&mut out, founding.identity.node);
    put_membership(&mut out, &founding.base);
    let length = out.len() as u32 + 4;
    out[12..16].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&out);
    put_u32(&mut out, crc);
    out
}

/// Reads the start of a file of this directory: `magic`, and the format `version`. No older version
/// is accepted.
pub(super) fn read_format(
    fields: &mut Fields<'_>,
    magic: &[u8; 8],
    version: u32,
) -> Result<(), Malformed> {
    if fields.bytes(8)? != magic {
        return Err(Malformed("is not one"));
    }
    match fields.u32()? {
        found if found == version => Ok(()),
        found if found > version => Err(Malformed(NEWER)),
        _ => Err(Malformed("has an unknown format version")),
    }
}

fn decode(bytes: &[u8]) -> Result<Founding, Malformed> {
    let mut fields = Fields::new(bytes);
    read_format(&mut fields, MAGIC, VERSION)?;
    let body_bytes = (fields.u32()? as usize).checked_sub(PREFIX_BYTES + 4);
    let mut body =
        Fields::new(fields.bytes(body_bytes.ok_or(Malformed("has an impossible length"))?)?);
    let crc = fields.u32()?;
    fields.end()?;
    if crc32c::crc32c(&bytes[..bytes.len() - 4]) != crc {
        return Err(Malformed("has a checksum that does not hold"));
    }
    let cluster = body.u64()?;
    if body.u64()? != 0 {
        return Err(Malformed("names a group, which this version does not know"));
    }
    let founding = Founding {
        identity: Identity { cluster, node: body.u64()?, created_at_ms: 0 },
        base: body.membership()?,
    };
    body.end()?;
    Ok(founding)
}

pub(crate) fn refused(path: &Path, what: impl Into<String>) -> StorageError {
    StorageError::Refused { path: path.display().to_string(), what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Membership;

    #[test]
    fn an_identity_reads_back_and_every_flipped_byte_is_noticed() {
        let identity = Identity { cluster: 1 << 60, node: 3, created_at_ms: 0 };
        let founding = Founding { identity, base: Membership::of_voters([1, 2, 3]) };
        let bytes = encode(&founding);
        assert_eq!(decode(&bytes), Ok(founding));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(decode(&flipped).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn names_are_numbers_and_nothing_else() {
        let layout = Layout::new("d".into());
        let id = LogId::new(3, 70);
        let name = layout.snapshot(id).file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(Layout::snapshot_id(&name), Some(id));
        for odd in [
            "1.wal",
            "../00000000000000000001.wal",
            "+0000000000000000001.wal",
            "00000000000000000001",
        ] {
            assert_eq!(Layout::segment_number(odd), None, "{odd}");
        }
        assert_eq!(Layout::segment_number("00000000000000000001.wal"), Some(1));
    }
}
