//! The content of a disk, its durable part, and the possible states after a crash, all from the
//! list of calls that changed it.
//!
//! ```text
//! calls ──▶ State    names: durable, pending changes, live
//!                    files: durable, pending writes,  live
//!             └── after_crash(which of the pending ones made it) ──▶ State: an image
//! ```
//! A run is recorded once. Its states are rebuilt call by call, and all images of a state share the
//! bytes they did not change. A node of the file system has one name: if a crash loses a rename,
//! the old name remains, with everything written to the file since.
//!
//! *What it does not do:* count calls or make them fail; see [`SimDisk`](super::sim_disk::SimDisk).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::raft::Random;

/// A call that changes the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    MakeDir(PathBuf),
    Make(PathBuf),
    Write {
        file: usize,
        offset: u64,
        bytes: Bytes,
    },
    SetLen {
        file: usize,
        length: u64,
    },
    Sync(usize),
    /// A failed fsync: the pending bytes are clean in the cache from then on, and not on the disk.
    Forget(usize),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
    SyncDir(PathBuf),
    /// Not a call: the disk changes bytes by itself, durably.
    Rot {
        file: usize,
        bytes: Vec<u8>,
    },
}

/// A call with the mark that was set at its time.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub call: Call,
    pub mark: usize,
}

/// What happens to data that was not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All of it is lost.
    Lost,
    /// All of it is kept.
    Kept,
    /// The files' bytes are kept, under the old names.
    NamesLost,
    /// The names are kept, with the files' durable bytes.
    BytesLost,
    /// Decided by this seed: which names; and for each file all, none, some of the writes, or some
    /// sectors.
    Torn(u64),
}

/// A file's bytes.
#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    hash: OnceLock<u64>,
}

impl Content {
    fn of(bytes: Vec<u8>) -> Arc<Content> {
        Arc::new(Content { bytes, hash: OnceLock::new() })
    }

    fn edit(shared: &mut Arc<Content>) -> &mut Vec<u8> {
        let content = Arc::make_mut(shared);
        content.hash = OnceLock::new();
        &mut content.bytes
    }

    fn hash(&self) -> u64 {
        *self.hash.get_or_init(|| hash(0, &self.bytes))
    }
}

/// Sufficient to distinguish a million images.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let all = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    all.chain([bytes.len() as u64]).fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, word| {
        (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    })
}

#[derive(Clone)]
enum Edit {
    Write { offset: usize, bytes: Bytes },
    Length(usize),
}

impl Edit {
    fn apply(&self, to: &mut Arc<Content>) {
        let content = Content::edit(to);
        match self {
            Edit::Write { offset, bytes } => put(content, *offset, bytes),
            Edit::Length(length) => content.resize(*length, 0),
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

#[derive(Clone, Default)]
struct File {
    live: Arc<Content>,
    durable: Arc<Content>,
    pending: Vec<Edit>,
    /// An fsync failed: the pending edits no longer turn the durable content into the live one.
    has_forgotten: bool,
}

impl File {
    fn durable(content: Arc<Content>) -> File {
        File { durable: content.clone(), live: content, ..File::default() }
    }

    fn edit(&mut self, edit: Edit) {
        edit.apply(&mut self.live);
        self.pending.push(edit);
    }

    fn synced(&self) -> Arc<Content> {
        if !self.has_forgotten {
            return self.live.clone();
        }
        let mut content = self.durable.clone();
        self.pending.iter().for_each(|edit| edit.apply(&mut content));
        content
    }

    fn after_crash(&self, unsynced: Unsynced, random: &mut Random) -> Arc<Content> {
        match unsynced {
            _ if self.pending.is_empty() => self.durable.clone(),
            Unsynced::Lost | Unsynced::BytesLost => self.durable.clone(),
            Unsynced::Kept | Unsynced::NamesLost => self.synced(),
            Unsynced::Torn(_) => match random.below(8) {
                0 => self.durable.clone(),
                1 => self.synced(),
                2 | 3 => self.some_edits(None, random),
                4 => self.some_edits(Some(8), random),
                5 | 6 => self.some_edits(Some(64), random),
                _ => self.some_edits(Some(512), random),
            },
        }
    }

    /// Some of the edits, whole or in sectors of this size. The length is the one they need, or the
    /// file's last one.
    fn some_edits(&self, sector: Option<usize>, random: &mut Random) -> Arc<Content> {
        let mut content = self.durable.clone();
        for edit in &self.pending {
            match (edit, sector) {
                (Edit::Write { offset, bytes }, Some(sector)) => {
                    torn(Content::edit(&mut content), *offset, bytes, sector, random);
                }
                _ if random.coin() => edit.apply(&mut content),
                _ => {}
            }
        }
        if content.bytes.len() < self.live.bytes.len() && random.coin() {
            Content::edit(&mut content).resize(self.live.bytes.len(), 0);
        }
        content
    }
}

/// Each sector is decided separately. Sectors are aligned to the disk, so a write may begin and end
/// within one.
fn torn(content: &mut Vec<u8>, offset: usize, bytes: &[u8], sector: usize, random: &mut Random) {
    let mut at = offset;
    while at < offset + bytes.len() {
        let end = ((at / sector + 1) * sector).min(offset + bytes.len());
        if random.coin() {
            put(content, at, &bytes[at - offset..end - offset]);
        }
        at = end;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Dir(usize),
    File(usize),
}

type Names = BTreeMap<PathBuf, Node>;

/// A change of a node's name, or its removal.
#[derive(Clone)]
struct Naming {
    node: Node,
    dir: PathBuf,
    name: Option<PathBuf>,
}

impl Naming {
    fn apply(&self, names: &mut Names) {
        names.retain(|_, node| *node != self.node);
        if let Some(name) = &self.name {
            names.insert(name.clone(), self.node);
        }
    }
}

/// A disk at one point in time.
#[derive(Clone, Default)]
pub struct State {
    files: Vec<File>,
    dirs: usize,
    live: Names,
    durable: Names,
    pending: Vec<Naming>,
}

impl State {
    /// Applies a valid call.
    pub fn apply(&mut self, call: &Call) {
        match call {
            Call::MakeDir(path) => {
                self.dirs += 1;
                self.name(Node::Dir(self.dirs), path, Some(path));
            }
            Call::Make(path) => {
                self.files.push(File::default());
                self.name(Node::File(self.files.len() - 1), path, Some(path));
            }
            Call::Write { file, offset, bytes } => {
                self.files[*file]
                    .edit(Edit::Write { offset: *offset as usize, bytes: bytes.clone() });
            }
            Call::SetLen { file, length } => self.files[*file].edit(Edit::Length(*length as usize)),
            Call::Sync(file) => {
                let file = &mut self.files[*file];
                file.durable = file.synced();
                file.pending.clear();
            }
            Call::Forget(file) => {
                let file = &mut self.files[*file];
                file.has_forgotten |= !file.pending.is_empty();
                file.pending.clear();
            }
            Call::Rename { from, to } => {
                assert_eq!(from.parent(), to.parent(), "a rename stays in its directory");
                self.name(self.live[from], to, Some(to));
            }
            Call::Remove(path) => self.name(self.live[path], path, None),
            Call::SyncDir(dir) => {
                let State { pending, durable, .. } = self;
                pending.retain(|naming| {
                    if naming.dir == *dir {
                        naming.apply(durable);
                    }
                    naming.dir != *dir
                });
            }
            Call::Rot { file, bytes } => {
                self.files[*file] = File::durable(Content::of(bytes.clone()));
            }
        }
    }

    fn name(&mut self, node: Node, path: &Path, name: Option<&PathBuf>) {
        let dir = path.parent().unwrap_or(Path::new("")).to_owned();
        let naming = Naming { node, dir, name: name.cloned() };
        naming.apply(&mut self.live);
        self.pending.push(naming);
    }

    /// Whether a crash would lose nothing.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.files.iter().all(|file| file.pending.is_empty())
    }

    /// The disk after the power is restored; all of its content is durable.
    pub fn after_crash(&self, unsynced: Unsynced) -> State {
        let mut random = Random::new(match unsynced {
            Unsynced::Torn(seed) => seed,
            _ => 0,
        });
        let mut next = State { dirs: self.dirs, ..State::default() };
        for (path, node) in self.names_after_crash(unsynced, &mut random) {
            let dir = path.parent().unwrap_or(Path::new(""));
            if dir != Path::new("") && !next.live.contains_key(dir) {
                continue;
            }
            let node = match node {
                Node::Dir(_) => node,
                Node::File(file) => {
                    let content = self.files[file].after_crash(unsynced, &mut random);
                    next.files.push(File::durable(content));
                    Node::File(next.files.len() - 1)
                }
            };
            next.live.insert(path, node);
        }
        next.durable = next.live.clone();
        next
    }

    fn names_after_crash(&self, unsynced: Unsynced, random: &mut Random) -> Names {
        let mut names = self.durable.clone();
        let odds = match unsynced {
            Unsynced::Lost | Unsynced::NamesLost => 0,
            Unsynced::Kept | Unsynced::BytesLost => 4,
            Unsynced::Torn(_) => [0, 4, 2, 1, 3][random.below(5) as usize],
        };
        let kept = self.pending.iter().filter(|_| random.below(4) < odds);
        kept.for_each(|naming| naming.apply(&mut names));
        names
    }

    /// A hash of the live content.
    pub fn fingerprint(&self) -> u64 {
        self.live.iter().fold(0, |seed, (path, node)| {
            let content = match node {
                Node::Dir(_) => 1,
                Node::File(file) => self.files[*file].live.hash(),
            };
            hash(seed ^ content, path.as_os_str().as_encoded_bytes())
        })
    }

    /// The number of the file that has this name.
    pub fn file(&self, path: &Path) -> Option<usize> {
        match self.live.get(path) {
            Some(Node::File(file)) => Some(*file),
            _ => None,
        }
    }

    /// The bytes of a file as a reader sees them.
    pub fn bytes(&self, file: usize) -> &[u8] {
        &self.files[file].live.bytes
    }

    /// Whether the directory exists.
    pub fn has_dir(&self, path: &Path) -> bool {
        matches!(self.live.get(path), Some(Node::Dir(_)))
    }

    /// All names, directories included.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.live.keys().map(PathBuf::as_path)
    }

    /// Whether both have the same files, ignoring directories and the lock.
    pub fn same_files(&self, other: &State) -> bool {
        let files = |state: &State| -> Vec<_> {
            let path = |(path, node): (&PathBuf, &Node)| match node {
                Node::File(file) if !path.ends_with("LOCK") => {
                    Some((path.clone(), state.files[*file].live.hash()))
                }
                _ => None,
            };
            state.live.iter().filter_map(path).collect()
        };
        files(self) == files(other)
    }

    /// Replaces a file's bytes durably, as a new file: handles of the old one still see the old
    /// bytes.
    pub fn put(&mut self, path: &Path, bytes: Vec<u8>) {
        self.files.push(File::durable(Content::of(bytes)));
        let node = Node::File(self.files.len() - 1);
        self.live.insert(path.to_owned(), node);
        self.durable.insert(path.to_owned(), node);
    }

    /// Removes a file durably.
    pub fn take(&mut self, path: &Path) {
        self.live.remove(path);
        self.durable.remove(path);
    }
}
