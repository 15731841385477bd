//! Runs the fuzzing entry points on three kinds of bytes: random, valid, and valid with a few
//! changes.

use super::model::*;
use super::sim_disk::SimDisk;
use super::workload::{in_context, storage_of};
use crate::raft::LogId;
use crate::raft::Random;
use crate::storage::fuzzing;

type Target = fn(&[u8]);

/// Number of inputs of each kind for a target.
const INPUTS: u64 = 3_000;

/// A log's frames and a snapshot.
fn sound() -> [Vec<u8>; 2] {
    let disk = SimDisk::default();
    let mut opened = open(storage_of(&disk, 4096)).unwrap();
    let meta = publish(&mut *opened.snapshots, LogId::new(1, 4)).unwrap();
    opened.log.write(&[vote(1, Some(2)), append(1, 1..=9)]).unwrap();
    opened.log.write(&[record(&meta), truncate(8), remember(2, 3, LogId::new(1, 4))]).unwrap();
    opened.log.write(&[install(&meta_of(LogId::new(3, 20)), false), purge(3, 20)]).unwrap();
    let files = disk.files();
    let of = |end: &str| {
        let found = files.iter().find(|(path, _)| path.extension().is_some_and(|is| is == end));
        found.map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    };
    let [log, snapshot] = ["wal", "snap"].map(of);
    let end = log.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    [log[56..end].to_vec(), snapshot]
}

fn feed(name: &str, target: Target, sound: &[u8]) {
    for seed in 0..INPUTS {
        let mut random = Random::new(seed);
        let noise: Vec<u8> = (0..random.below(200)).map(|_| random.next() as u8).collect();
        let mut changed = sound.to_vec();
        for _ in 0..random.below(4) {
            let at = random.below(changed.len().max(1) as u64) as usize;
            if let Some(byte) = changed.get_mut(at) {
                // Small numbers and single bits reach more code than random bytes.
                *byte = [0, 1, 255, *byte ^ 1 << random.below(8), random.next() as u8]
                    [random.below(5) as usize];
            }
        }
        if random.below(4) == 0 {
            changed.truncate(random.below(changed.len() as u64 + 1) as usize);
        }
        for bytes in [noise, changed] {
            in_context(|| format!("{name} with {bytes:?}"), || target(&bytes));
        }
    }
    target(sound);
}

#[test]
fn what_a_fuzzer_would_call_keeps_its_promises() {
    let [_, snapshot] = sound();
    feed("snapshot_header", fuzzing::snapshot_header, &snapshot);
    feed("storage_directory", fuzzing::storage_directory, &[]);
}

/// Frames that no writer makes, with matching checksums.
#[test]
fn a_forged_frame_is_taken_whole_or_not_at_all() {
    // Found by the fuzzer: half a frame, a checkpoint of an impossible incarnation, an incarnation
    // without a successor, and one far ahead of the others.
    fuzzing::storage_directory(&[237, 0, 0, 1, 0, 0, 252, 67, 218, 244]);
    fuzzing::storage_directory(&[
        19, 0, 238, 0, 0, 255, 250, 255, 11, 43, 255, 255, 51, 51, 51, 51, 51, 51, 51, 3, 1, 0, 0,
        108, 109, 109, 111, 0, 2, 0, 128, 43, 0, 255, 255, 255, 255, 35,
    ]);
    fuzzing::storage_frame(&[
        2, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 1, 8, 0, 7,
    ]);
    let mut far_ahead = [b"qrF1".to_vec(), vec![0; 62]].concat();
    far_ahead[30] = 64;
    fuzzing::storage_segment(&far_ahead);
    let [log, _] = sound();
    // The payload of a frame; the first one's is a checkpoint, and others follow.
    feed("storage_frame", fuzzing::storage_frame, &log[48..]);
    feed("storage_frame", fuzzing::storage_frame, &record_alone());
    feed("storage_segment", fuzzing::storage_segment, &log);
}

/// A record of an entry, as in a frame's payload.
fn record_alone() -> Vec<u8> {
    let mut bytes = vec![7, 1, 0, 0, 3, 0, 0, 0];
    [2u64, 24, 1000].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    bytes.extend(b"abc");
    bytes
}
