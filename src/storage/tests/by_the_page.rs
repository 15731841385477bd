//! Checks that `docs/formats.md` suffices to read a directory: a second reader, written from that
//! page alone.
//!
//! It decodes plain bytes at plain offsets, has a checksum function of its own, and calls no code
//! that the storage reads with. It counts the bytes it decodes, so the page must describe every
//! byte of a file.
//!
//! *What it does not do:* accept damage. A byte that differs from the page fails the test.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::model::*;
use super::sim_disk::SimDisk;
use super::workload::storage_of;
use crate::raft::LogId;
use crate::storage::OpenedStorage;

/// CRC-32C, bit by bit, over several slices in sequence.
fn crc(stretches: &[&[u8]]) -> u32 {
    let mut crc = !0u32;
    for byte in stretches.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

/// Decodes bytes from the front to the end.
struct Taken<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Taken<'a> {
    fn of(all: &'a [u8]) -> Taken<'a> {
        Taken { all, at: 0 }
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let taken = &self.all[self.at..self.at + count];
        self.at += count;
        taken
    }

    fn u8(&mut self) -> u8 {
        self.bytes(1)[0]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes(8).try_into().unwrap())
    }

    fn flag(&mut self) -> bool {
        let flag = self.u8();
        assert!(flag < 2, "a flag of {flag} before byte {}", self.at);
        flag == 1
    }

    fn is_at_end(&self) -> bool {
        self.at == self.all.len()
    }

    /// Term and index.
    fn log_id(&mut self) -> (u64, u64) {
        (self.u64(), self.u64())
    }

    fn membership(&mut self) -> [Vec<u64>; 3] {
        let counts = [self.u32(), self.u32(), self.u32()];
        let lists = counts.map(|count| (0..count).map(|_| self.u64()).collect::<Vec<_>>());
        assert!(lists.iter().all(|list| list.is_sorted() && list.len() <= 4096));
        lists
    }

    fn snapshot_meta(&mut self) -> Snapshot {
        Snapshot { log_id: self.log_id(), whole_bytes: self.u64(), members: self.membership() }
    }

    fn optional_snapshot(&mut self) -> Option<Snapshot> {
        self.flag().then(|| self.snapshot_meta())
    }

    fn term_and_vote(&mut self) -> (u64, Option<u64>) {
        let (term, voted, vote) = (self.u64(), self.flag(), self.u64());
        assert!(voted || vote == 0);
        (term, voted.then_some(vote))
    }

    fn life(&mut self) -> PageLife {
        let (start, predecessor, lost) = (self.u64(), self.u64(), self.u8());
        assert!(lost <= 2);
        let what = (lost > 0).then(|| {
            let (forgot_vote, known, last) = (self.flag(), self.flag(), self.log_id());
            assert!(known || last == (0, 0));
            (forgot_vote, known.then_some(last))
        });
        if lost == 2 {
            self.u64();
        }
        let lost = what;
        PageLife { start, predecessor, lost }
    }

    fn peer_record(&mut self) -> (u64, (u64, (u64, u64))) {
        (self.u64(), (self.u64(), self.log_id()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Snapshot {
    log_id: (u64, u64),
    whole_bytes: u64,
    members: [Vec<u64>; 3],
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PageLife {
    start: u64,
    predecessor: u64,
    lost: Option<(bool, Option<(u64, u64)>)>,
}

/// A log as lists, entry by entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Log {
    life: PageLife,
    term_and_vote: (u64, Option<u64>),
    start: (u64, u64),
    /// Term and data by index.
    entries: BTreeMap<u64, (u64, Vec<u8>)>,
    snapshot: Option<Snapshot>,
    known_peers: BTreeMap<u64, (u64, (u64, u64))>,
}

impl Log {
    fn last(&self) -> u64 {
        self.entries.keys().next_back().copied().unwrap_or(self.start.1)
    }

    /// First index and term of each run.
    fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (&index, (term, _)) in &self.entries {
            if runs.last().is_none_or(|(_, before)| before != term) {
                runs.push((index, *term));
            }
        }
        runs
    }

    /// Applies one record; returns its tag.
    fn record(&mut self, bytes: &mut Taken<'_>) -> u8 {
        let tag = bytes.u8();
        match tag {
            1 => self.checkpoint(bytes),
            2 => self.life = bytes.life(),
            3 => self.term_and_vote = bytes.term_and_vote(),
            4 => {
                let (stay, snapshot) = (bytes.flag(), bytes.snapshot_meta());
                self.start = snapshot.log_id;
                self.entries.retain(|&index, _| stay && index > snapshot.log_id.1);
                self.snapshot = Some(snapshot);
            }
            5 => self.snapshot = Some(bytes.snapshot_meta()),
            6 => drop(self.entries.split_off(&bytes.u64())),
            7 => self.entry(bytes),
            8 => {
                let through = bytes.log_id();
                self.entries.retain(|&index, _| index > through.1);
                self.start = self.start.max(through);
            }
            9 => self.snapshot = bytes.optional_snapshot(),
            10 => {
                let (node, known) = bytes.peer_record();
                self.known_peers.insert(node, known);
            }
            other => panic!("tag {other}"),
        }
        tag
    }

    fn entry(&mut self, bytes: &mut Taken<'_>) {
        let kind = bytes.u8();
        assert!(kind < 2, "kind {kind}");
        assert_eq!(bytes.bytes(2), [0, 0]);
        let length = bytes.u32() as usize;
        let (term, index) = bytes.log_id();
        assert_eq!(index, self.last() + 1);
        let stamp_ms = bytes.u64();
        assert_eq!(stamp_ms, 1000 + index, "as the tests make them");
        let data = bytes.bytes(length).to_vec();
        assert_eq!(kind == 0, data.is_empty());
        self.entries.insert(index, (term, data));
    }

    /// Checks that a checkpoint matches the records before it.
    fn checkpoint(&mut self, bytes: &mut Taken<'_>) {
        let life = bytes.life();
        let (term_and_vote, start, last) = (bytes.term_and_vote(), bytes.log_id(), bytes.u64());
        let snapshot = bytes.optional_snapshot();
        let runs: Vec<_> = (0..bytes.u32()).map(|_| (bytes.u64(), bytes.u64())).collect();
        let known_peers = (0..bytes.u32()).map(|_| bytes.peer_record());
        let read = Log {
            life,
            term_and_vote,
            start,
            entries: self.entries.clone(),
            snapshot,
            known_peers: known_peers.collect(),
        };
        assert_eq!((read.last(), read.runs()), (last, runs), "{read:?}");
        if self.life != PageLife::default() || last > 0 {
            assert_eq!(read, *self);
        }
        *self = read;
    }
}

/// The content of one segment's file.
struct Segment {
    /// End of its last frame.
    end: usize,
    /// Tags of its records for each frame.
    tags: Vec<Vec<u8>>,
    /// Number of whole frames of an earlier segment behind the end.
    earlier_frames: usize,
}

/// The payload of the frame at `at`, if there is one, with its incarnation and `synced through`.
fn frame(file: &[u8], segment: u64, at: usize) -> Option<(u64, (u64, u64), &[u8])> {
    let mut head = Taken::of(file.get(at..at + 48)?);
    if head.bytes(4) != b"qrF1" {
        return None;
    }
    let (sum, length, zero, own) = (head.u32(), head.u32() as usize, head.u32(), head.u64());
    let (incarnation, synced) = (head.u64(), (head.u64(), head.u64()));
    assert!(head.is_at_end());
    let behind_sum = file.get(at + 8..at + 48 + length)?;
    let place = [segment.to_le_bytes(), (at as u64).to_le_bytes()].concat();
    let verifies = own == segment && zero == 0 && crc(&[&place, behind_sum]) == sum;
    verifies.then(|| (incarnation, synced, &behind_sum[40..]))
}

/// Reads a whole segment. `before`: where the previous one ended.
fn segment(file: &[u8], number: u64, before: (u64, u64), log: &mut Log) -> Segment {
    let mut header = Taken::of(&file[..56]);
    assert_eq!(header.bytes(8), b"QRTWAL1\n");
    assert_eq!((header.u32(), header.u32()), (3, 56), "version and length");
    assert_eq!(header.u64(), number);
    assert_eq!((header.u64(), header.u64(), header.u64()), (77, 1, 0), "cluster, node, group");
    assert_eq!(header.u32(), 0);
    assert_eq!(header.u32(), crc(&[&file[..52]]));
    assert!(header.is_at_end());

    let (mut at, mut tags, mut durable) = (56, Vec::new(), (0, 0));
    while let Some((incarnation, synced, payload)) = frame(file, number, at) {
        let mut records = Taken::of(payload);
        let mut of_frame = Vec::new();
        while !records.is_at_end() {
            of_frame.push(log.record(&mut records));
        }
        assert_eq!(log.life.start, incarnation);
        assert_eq!(of_frame.first() == Some(&1), at == 56, "a checkpoint at the beginning alone");
        assert!(at > 56 || synced == before, "{synced:?}, {before:?}");
        assert!(synced >= durable && synced <= (number, at as u64), "{synced:?} at {at}");
        durable = synced;
        at += 48 + payload.len();
        tags.push(of_frame);
    }
    let page_end = (at + 8).next_multiple_of(4096).min(file.len());
    assert!(file[at..page_end.max(at)].iter().all(|&byte| byte == 0), "zeros to the page's end");
    Segment { end: at, tags, earlier_frames: earlier(file, number, page_end.max(at)) }
}

/// Behind the page there are zeros, or content of an earlier segment: its frames, the first one cut
/// off.
fn earlier(file: &[u8], number: u64, from: usize) -> usize {
    let begins = (from..file.len()).filter(|&at| file[at..].starts_with(b"qrF1"));
    let mut frames = 0;
    let mut last_end = None;
    for at in begins {
        assert!(frame(file, number, at).is_none(), "a frame behind the end, at {at}");
        let owner = (1..number).find_map(|owner| frame(file, owner, at));
        if let Some((_, _, payload)) = owner {
            assert!(last_end.is_none_or(|end| end == at), "a gap before {at}");
            last_end = Some(at + 48 + payload.len());
            frames += 1;
        }
    }
    if let Some(end) = last_end {
        assert!(file[end..].iter().all(|&byte| byte == 0), "zeros behind an earlier segment");
    }
    frames
}

/// The owner of the directory: cluster, node, members.
fn identity(file: &[u8]) -> (u64, u64, [Vec<u64>; 3]) {
    let mut bytes = Taken::of(file);
    assert_eq!(bytes.bytes(8), b"QRTIDEN\n");
    assert_eq!((bytes.u32(), bytes.u32() as usize), (1, file.len()), "version and length");
    let (cluster, group, node, members) =
        (bytes.u64(), bytes.u64(), bytes.u64(), bytes.membership());
    assert_eq!(group, 0);
    assert_eq!(crc(&[&file[..bytes.at]]), bytes.u32());
    assert!(bytes.is_at_end());
    (cluster, node, members)
}

/// The mark of the log's end: position, incarnation, last entry.
type Mark = ((u64, u64), u64, (u64, u64));

/// Both copies of the file `end`.
fn marks(file: &[u8]) -> [Mark; 2] {
    assert_eq!(file.len(), 8192);
    [0, 4096].map(|at| {
        let mut bytes = Taken { all: &file[..at + 4096], at };
        assert_eq!(bytes.bytes(8), b"QRTLEND\n");
        assert_eq!((bytes.u32(), bytes.u32()), (1, 84), "version and length");
        assert_eq!((bytes.u64(), bytes.u64(), bytes.u64()), (77, 1, 0), "cluster, node, group");
        let mark = ((bytes.u64(), bytes.u64()), bytes.u64(), bytes.log_id());
        assert_eq!(crc(&[&file[at..bytes.at]]), bytes.u32());
        assert_eq!(bytes.at, at + 84);
        assert!(file[bytes.at..at + 4096].iter().all(|&byte| byte == 0));
        mark
    })
}

fn hash(hash: u64, piece: &[u8]) -> u64 {
    piece.chunks(8).fold(hash, |hash, word| {
        let mut padded = [0; 8];
        padded[..word.len()].copy_from_slice(word);
        (hash ^ u64::from_le_bytes(padded)).wrapping_mul(0x0100_0000_01b3).rotate_left(29)
    })
}

/// The meta that a snapshot contains, and its content.
fn snapshot(file: &[u8]) -> (Snapshot, Vec<u8>) {
    let mut bytes = Taken::of(file);
    assert_eq!(bytes.bytes(8), b"QRTSNAP\n");
    let (version, header_bytes) = (bytes.u32(), bytes.u32() as usize);
    assert_eq!((version, bytes.u64(), bytes.u64()), (1, 77, 0), "version, cluster, group");
    let (log_id, members) = (bytes.log_id(), bytes.membership());
    assert_eq!(crc(&[&file[..bytes.at]]), bytes.u32());
    assert_eq!(bytes.at, header_bytes);
    let header = &file[..header_bytes];
    let (mut whole, mut content, mut number) = (hash(0xcbf2_9ce4_8422_2325, header), vec![], 0u64);
    loop {
        let at = bytes.at;
        let (length, sum) = (bytes.u32() as usize, bytes.u32());
        let body = bytes.bytes(if length == 0 { 24 } else { length });
        assert_eq!(crc(&[header, &number.to_le_bytes(), body]), sum, "chunk {number}");
        if length == 0 {
            let mut footer = Taken::of(body);
            assert_eq!((footer.u64(), footer.u64()), (content.len() as u64, file.len() as u64));
            assert_eq!(footer.u64(), whole);
            assert!(footer.is_at_end() && bytes.is_at_end());
            return (Snapshot { log_id, whole_bytes: file.len() as u64, members }, content);
        }
        assert!(number == 0 || content.len().is_multiple_of(262_144));
        whole = hash(hash(whole, &file[at..at + 8]), body);
        content.extend_from_slice(body);
        number += 1;
    }
}

/// A part of a name with 20 digits.
fn digits(digits: &str) -> u64 {
    assert!(digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{digits}");
    digits.parse().unwrap()
}

/// The content of a directory.
#[derive(Default)]
struct Directory {
    log: Log,
    segments: BTreeMap<u64, Segment>,
    snapshots: Vec<Snapshot>,
    marks: Option<[Mark; 2]>,
}

impl Directory {
    /// Reads every byte of every file. Segments must be consecutive, as they are without damage or
    /// purge.
    fn read(files: &BTreeMap<String, Vec<u8>>) -> Directory {
        let mut directory = Directory::default();
        let mut before = (0, 0);
        for (name, file) in files {
            if let Some(number) =
                name.strip_prefix("log/").and_then(|name| name.strip_suffix(".wal"))
            {
                let number = digits(number);
                let read = segment(file, number, before, &mut directory.log);
                before = (number, read.end as u64);
                directory.segments.insert(number, read);
            } else if let Some(id) =
                name.strip_prefix("snapshots/").and_then(|name| name.strip_suffix(".snap"))
            {
                let (meta, content) = snapshot(file);
                let (index, term) = id.split_once('-').unwrap();
                assert_eq!(meta.log_id, (digits(term), digits(index)));
                assert_eq!(
                    content,
                    super::model::content(LogId::new(meta.log_id.0, meta.log_id.1))
                );
                directory.snapshots.push(meta);
            } else if name == "identity" {
                assert_eq!(identity(file), (77, 1, [vec![1, 2, 3], vec![], vec![]]));
            } else if name == "end" {
                directory.marks = Some(marks(file));
            } else if let Some(number) =
                name.strip_prefix("log/").and_then(|name| name.strip_suffix(".spare"))
            {
                digits(number);
                let was_segment = file.starts_with(b"QRTWAL1\n");
                assert!(was_segment || file.iter().all(|&byte| byte == 0), "{name}");
            } else {
                assert_eq!((name.as_str(), file.len()), ("LOCK", 0));
            }
        }
        if let Some(current) = &directory.log.snapshot {
            assert!(directory.snapshots.contains(current), "{current:?}");
        }
        let marks = directory.marks.expect("a file end");
        assert!(marks.iter().all(|(through, ..)| *through <= before), "{marks:?} in {before:?}");
        directory
    }

    fn tags(&self) -> Vec<Vec<u8>> {
        self.segments.values().flat_map(|segment| segment.tags.clone()).collect()
    }
}

fn golden() -> BTreeMap<String, Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files = BTreeMap::new();
    for folder in ["", "log/", "snapshots/"] {
        for item in fs::read_dir(root.join(folder)).unwrap().map(Result::unwrap) {
            if item.path().is_file() {
                let name = format!("{folder}{}", item.file_name().to_string_lossy());
                files.insert(name, fs::read(item.path()).unwrap());
            }
        }
    }
    files
}

fn files(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let name = |path: &Path| path.strip_prefix("node").unwrap().to_string_lossy().into_owned();
    disk.files().into_iter().map(|(path, bytes)| (name(&path), bytes)).collect()
}

#[test]
fn every_byte_of_the_golden_files_is_as_the_page_says() {
    let directory = Directory::read(&golden());
    let Directory { log, segments, snapshots, marks } = &directory;
    // Sealed: both copies name the end of the log.
    let (newest, segment) = segments.last_key_value().unwrap();
    let mark = ((*newest, segment.end as u64), 1, (3, 17));
    assert_eq!(*marks, Some([mark; 2]));
    assert_eq!(segments.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    let expected: [&[u8]; 9] = [
        &[1],
        &[2],
        &[3, 7, 7, 7, 7, 7, 7, 6, 5, 8],
        &[2, 10],
        &[7, 3, 2],
        &[1],
        &[7; 10],
        &[1],
        &[7],
    ];
    // Frames of a start, of a call, and of the beginning of a segment are separate.
    assert_eq!(directory.tags(), expected);
    assert_eq!(snapshots.len(), 1);
    assert_eq!(log.life, PageLife { start: 1, ..PageLife::default() });
    assert_eq!((log.term_and_vote, log.start, log.last()), ((3, None), (2, 2), 17));
    assert_eq!(log.runs(), [(3, 2), (7, 3)]);
    assert_eq!(log.known_peers, [(3, (7, (2, 4)))].into());
    assert_eq!((&log.entries[&7].1[..], log.entries[&17].1.len()), (&b"3/7:"[..], 200));
}

#[test]
fn a_changed_byte_is_not_as_the_page_says() {
    let all = golden();
    for (name, bytes) in &all {
        for at in (0..bytes.len()).step_by(41) {
            let mut files = all.clone();
            files.get_mut(name).unwrap()[at] ^= 4;
            let read = std::panic::catch_unwind(|| Directory::read(&files).tags());
            assert!(read.is_err(), "{name} at {at}");
        }
    }
}

/// An install, a start that falls back, and entries behind both.
#[test]
fn what_only_some_directories_hold_is_as_the_page_says() {
    let disk = SimDisk::default();
    let mut opened = open(storage_of(&disk, 4000)).unwrap();
    opened.log.write(&[vote(2, Some(1)), append(2, 1..=9)]).unwrap();
    for (id, stay) in [(LogId::new(2, 4), true), (LogId::new(3, 20), false)] {
        let meta = publish(&mut *opened.snapshots, id).unwrap();
        opened.log.write(&[install(&meta, stay)]).unwrap();
    }
    opened.log.write(&[append(3, 21..=30)]).unwrap();
    let newest = publish(&mut *opened.snapshots, LogId::new(3, 25)).unwrap();
    opened.log.write(&[record(&newest)]).unwrap();
    drop(opened);
    disk.take(Path::new("node/snapshots/00000000000000000025-00000000000000000003.snap"));
    let OpenedStorage { mut log, recovered, .. } = open(storage_of(&disk, 4000)).unwrap();
    assert_eq!(recovered.snapshot.unwrap().log_id, LogId::new(3, 20));
    log.write(&[append(3, 31..=31)]).unwrap();
    log.seal().unwrap();
    let directory = Directory::read(&files(&disk));
    let tags = directory.tags().concat();
    assert_eq!(tags.iter().filter(|&&tag| tag == 4).count(), 2, "{tags:?}");
    assert!(directory.tags().contains(&vec![9, 2]), "{tags:?}");
    let log = &directory.log;
    assert_eq!((log.start, log.last(), log.life.start), ((3, 20), 31, 2));
    assert_eq!(log.snapshot.as_ref().map(|snapshot| snapshot.log_id), Some((3, 20)));
}

/// Reused files, with their earlier content behind the end.
#[test]
fn what_stands_behind_the_end_is_as_the_page_says() {
    let disk = SimDisk::default();
    let mut opened = open(storage_of(&disk, 16_384)).unwrap();
    let mut used_again = 0;
    for index in 1..=60 {
        opened.log.write(&[append_big(1, index, 1500)]).unwrap();
        if index % 10 == 0 {
            let meta = publish(&mut *opened.snapshots, LogId::new(1, index)).unwrap();
            opened.log.write(&[record(&meta), purge(1, index)]).unwrap();
        }
        let mut files = files(&disk);
        files.retain(|name, _| name.ends_with(".wal"));
        let name = files.keys().next_back().unwrap();
        let number = digits(&name["log/".len()..name.len() - ".wal".len()]);
        used_again += earlier_frames(&files[name], number);
    }
    assert!(used_again > 0);
}

/// For one segment alone, with any log before it.
fn earlier_frames(file: &[u8], number: u64) -> usize {
    let (_, before, payload) = frame(file, number, 56).unwrap();
    let mut log = Log::default();
    let mut records = Taken::of(payload);
    assert_eq!(records.u8(), 1);
    log.life = records.life();
    let (term_and_vote, start, last) = (records.term_and_vote(), records.log_id(), records.u64());
    // Placeholders for the content of the segments before it.
    let snapshot = records.optional_snapshot();
    log.entries = (start.1 + 1..=last).map(|index| (index, (1, Vec::new()))).collect();
    log = Log { term_and_vote, start, snapshot, ..log };
    segment(file, number, before, &mut log).earlier_frames
}
