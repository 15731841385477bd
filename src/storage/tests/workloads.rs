//! The workloads that are interrupted at every call. Each is small and tests one subject; long ones
//! are random.

use super::actions::random_workload;
use super::model::*;
use super::workload::{Step, Workload};
use crate::raft::{LogChange, LogId, Loss};

use Step::{
    Abandon, Publish, PublishBoth, ReceiveBroken, Received, Remove, Reopen, Retain, Rot, Seal,
    Write,
};

/// All fixed workloads, and this many random ones.
pub(crate) fn all(random: u64) -> Vec<Workload> {
    let written = [logs(), snapshots(), segments()].concat();
    assert!(written.len() >= 25, "{} workloads", written.len());
    written.into_iter().chain((0..random).map(random_workload)).collect()
}

fn workload(name: &str, segment_bytes: u64, steps: Vec<Step>) -> Workload {
    Workload { name: name.to_owned(), segment_bytes, spare_segments: 2, steps }
}

fn single(term: u64, index: u64) -> Step {
    Write(vec![append(term, index..=index)])
}

fn conflict(term: u64, from: u64, last: u64) -> LogChange {
    LogChange { truncate_from: Some(from), ..append(term, from..=last) }
}

/// Entries, votes, incarnation records.
fn logs() -> Vec<Workload> {
    vec![
        workload(
            "appends and votes",
            600,
            vec![
                Write(vec![vote(1, Some(1)), append(1, 1..=2)]),
                single(1, 3),
                Write(vec![vote(2, None)]),
                Write(vec![append(2, 4..=4), vote(3, Some(2)), append(3, 5..=6)]),
                Seal,
                single(3, 7),
            ],
        ),
        workload(
            "votes alone",
            700,
            (1..=20)
                .map(|term| Write(vec![vote(term, (term % 2 == 0).then_some(term % 3))]))
                .collect(),
        ),
        workload(
            "conflicting tails",
            600,
            vec![
                Write(vec![append(1, 1..=9)]),
                Write(vec![conflict(2, 4, 6)]),
                Write(vec![conflict(3, 6, 8), truncate(7), append(4, 7..=9)]),
                Reopen,
                Write(vec![conflict(5, 1, 2)]),
            ],
        ),
        workload(
            "truncations across segments",
            800,
            (1..=5)
                .flat_map(|turn| {
                    let first = if turn == 1 { 1 } else { 9 };
                    let singles =
                        (first..=20).map(move |index| Write(vec![append(turn, index..=index)]));
                    singles.chain([Write(vec![truncate(9)])])
                })
                .collect(),
        ),
        workload(
            "one call of many frames",
            600,
            vec![
                Write((1..=30).map(|index| append(1, index..=index)).collect()),
                Write((0..3).map(|turn| append(2, 31 + 9 * turn..=39 + 9 * turn)).collect()),
                Reopen,
                Write((0..3).map(|turn| append(3, 58 + 9 * turn..=66 + 9 * turn)).collect()),
            ],
        ),
        workload(
            "group commits in one segment",
            64 << 10,
            (0..12)
                .map(|turn| {
                    Write(
                        (0..6)
                            .map(|part| {
                                let at = 1 + 18 * turn + 3 * part;
                                append(1 + turn / 4, at..=at + 2)
                            })
                            .collect(),
                    )
                })
                .collect(),
        ),
        workload(
            "lives and known_peers",
            900,
            vec![
                Write(vec![life(0, Some(Loss { forgot_vote: true, last: None }))]),
                Write(vec![append(1, 1..=4), remember(2, 3, LogId::new(1, 4))]),
                Reopen,
                Write(vec![
                    remember(3, 1, LogId::BASE),
                    remember(2, 4, LogId::new(1, 5)),
                    append(1, 5..=9),
                ]),
                Write(vec![life(
                    1,
                    Some(Loss { forgot_vote: false, last: Some(LogId::new(1, 9)) }),
                )]),
                Write((10..=16).map(|index| append(1, index..=index)).collect()),
                Reopen,
                Write(vec![life(1, None), vote(4, Some(3))]),
                Write(vec![remember(3, 9, LogId::new(1, 16))]),
                Seal,
                Reopen,
                single(4, 17),
            ],
        ),
        workload(
            "everything in one change",
            600,
            vec![
                Write(vec![append(1, 1..=6)]),
                Write(vec![LogChange {
                    life: life(2, None).life,
                    known_peers: remember(2, 5, LogId::new(1, 3)).known_peers,
                    hard_state: vote(2, Some(1)).hard_state,
                    snapshot: Some(meta_of(LogId::new(1, 4))),
                    purge_through: Some(LogId::new(1, 3)),
                    ..conflict(2, 6, 12)
                }]),
                Reopen,
                single(2, 13),
            ],
        ),
    ]
}

/// Snapshots made here, received, installed, abandoned, damaged.
fn snapshots() -> Vec<Workload> {
    let ids = [(1, 3), (1, 8), (4, 20), (1, 10)].map(|(term, index)| LogId::new(term, index));
    let [three, eight, twenty, ten] = ids.map(meta_of);
    vec![
        workload(
            "snapshots and purges",
            600,
            vec![
                Write(vec![append(1, 1..=5)]),
                Write(vec![append(1, 6..=12)]),
                Write(vec![record(&three)]),
                Write(vec![purge(1, 3), append(1, 13..=16)]),
                Write(vec![append(1, 17..=19)]),
                Write(vec![record(&eight), purge(1, 8)]),
                Retain(eight.log_id, None),
                Write(vec![vote(2, Some(3)), truncate(15)]),
            ],
        ),
        workload(
            "an install drops the log",
            600,
            vec![
                Write(vec![append(1, 1..=5)]),
                Write(vec![append(1, 6..=10), record(&three)]),
                Received(vec![vote(4, None), install(&twenty, false)]),
                Retain(twenty.log_id, None),
                Write(vec![append(4, 21..=30)]),
                Reopen,
                Write(vec![append(4, 31..=33)]),
            ],
        ),
        workload(
            "an install keeps the suffix",
            600,
            vec![
                Write(vec![append(1, 1..=5)]),
                Write(vec![append(1, 6..=10)]),
                Received(vec![install(&eight, true), append(1, 11..=12)]),
                Seal,
                Reopen,
                Write(vec![append(1, 13..=14)]),
            ],
        ),
        workload(
            "an install into an empty log",
            2000,
            vec![
                Received(vec![install(&twenty, false)]),
                Reopen,
                Write(vec![append(4, 21..=21)]),
                Received(vec![install(&meta_of(LogId::new(5, 60)), false)]),
                Reopen,
                Write(vec![append(5, 61..=70)]),
            ],
        ),
        workload(
            "snapshots given up in the middle",
            1000,
            vec![
                Write(vec![append(1, 1..=9)]),
                Abandon(three.log_id),
                Write(vec![record(&three)]),
                Abandon(eight.log_id),
                Reopen,
                ReceiveBroken(eight.log_id),
                Received(vec![install(&eight, true)]),
                Abandon(eight.log_id),
                Seal,
            ],
        ),
        // SN10: the older of two publications completes last.
        workload(
            "two snapshots in quick succession",
            700,
            vec![
                Write(vec![append(1, 1..=12)]),
                PublishBoth(three.log_id, eight.log_id),
                Write(vec![record(&three)]),
                Retain(three.log_id, Some(eight.log_id)),
                Write(vec![record(&eight), purge(1, 7)]),
                Retain(eight.log_id, None),
                PublishBoth(ten.log_id, LogId::new(1, 12)),
                Reopen,
                Write(vec![append(1, 13..=15)]),
            ],
        ),
        workload(
            "the same snapshot twice",
            600,
            vec![
                Write(vec![append(1, 1..=9)]),
                Write(vec![record(&eight)]),
                Publish(eight.log_id),
                Write(vec![record(&eight), purge(1, 8)]),
                Received(vec![append(1, 10..=11)]),
                Reopen,
                Publish(eight.log_id),
                Write(vec![append(1, 12..=12)]),
            ],
        ),
        workload(
            "publications without a record",
            600,
            vec![
                Write(vec![append(1, 1..=10)]),
                Publish(three.log_id),
                Publish(ten.log_id),
                Remove(three.log_id),
                Write(vec![record(&eight)]),
                Reopen,
                Write(vec![record(&ten), purge(1, 9)]),
                Remove(eight.log_id),
            ],
        ),
        workload(
            "an older snapshot stands in",
            600,
            vec![
                Write(vec![append(1, 1..=12)]),
                Write(vec![record(&three), purge(1, 3)]),
                Write(vec![record(&eight)]),
                Rot(eight.log_id, Some(three.clone())),
                Reopen,
                Write(vec![append(1, 13..=20)]),
                Reopen,
                Write(vec![append(1, 21..=25)]),
                Write(vec![record(&ten)]),
            ],
        ),
        workload(
            "the base stands in",
            2000,
            vec![
                Write(vec![append(1, 1..=12)]),
                Write(vec![record(&three)]),
                Rot(three.log_id, None),
                Reopen,
                Write(vec![append(1, 13..=20), record(&eight), purge(1, 8)]),
                Reopen,
                single(1, 21),
            ],
        ),
    ]
}

/// Segments that are filled, removed, and reused.
fn segments() -> Vec<Workload> {
    let rolling = |first: u64, last: u64| (first..=last).map(|index| single(1, index));
    let snapshot_at = |index: u64, purged: u64| {
        let meta = meta_of(LogId::new(1, index));
        vec![Write(vec![record(&meta), purge(1, purged)]), Retain(meta.log_id, None)]
    };
    vec![
        workload("segments roll", 600, rolling(1, 14).collect()),
        workload(
            "larger segments roll",
            4096,
            (0..40).map(|turn| Write(vec![append(1, 1 + 9 * turn..=9 + 9 * turn)])).collect(),
        ),
        workload(
            "segments are used again and again",
            600,
            (0..6)
                .flat_map(|turn| {
                    let last = 10 * turn + 10;
                    rolling(last - 9, last).chain(snapshot_at(last - 1, last - 2))
                })
                .collect(),
        ),
        workload(
            "starts between purges",
            900,
            (0..5)
                .flat_map(|turn| {
                    let last = 12 * turn + 12;
                    let steps = rolling(last - 11, last).chain(snapshot_at(last, last));
                    steps.chain([if turn % 2 == 0 { Seal } else { Reopen }, Reopen])
                })
                .collect(),
        ),
        workload(
            "entries larger than a segment",
            600,
            vec![
                Write(vec![append_big(1, 1, 3000)]),
                single(1, 2),
                Write(vec![append_big(1, 3, 700), append_big(1, 4, 5000), append(1, 5..=5)]),
                Reopen,
                Write(vec![conflict(2, 4, 6)]),
                Write(vec![
                    append_big(2, 7, 1500),
                    record(&meta_of(LogId::new(2, 5))),
                    purge(2, 5),
                ]),
                single(2, 8),
            ],
        ),
        workload(
            "big entries in big segments",
            64 << 10,
            (1..=14)
                .map(|index| Write(vec![append_big(1, index, 9000), vote(index, None)]))
                .collect(),
        ),
        workload(
            "a big log is dropped",
            8 << 10,
            (0..4)
                .flat_map(|turn| {
                    let (first, last) = (100 * turn + 1, 100 * turn + 8);
                    let singles = (first..=last)
                        .map(move |index| Write(vec![append_big(turn + 1, index, 1800)]));
                    let ahead = meta_of(LogId::new(turn + 2, 100 * turn + 100));
                    singles
                        .chain([Received(vec![install(&ahead, false)]), Retain(ahead.log_id, None)])
                })
                .collect(),
        ),
        workload(
            "seals everywhere",
            700,
            (1..=8).flat_map(|index| [single(1, index), Seal, Seal, Reopen]).collect(),
        ),
        workload("starts alone", 600, vec![Reopen; 12]),
        workload(
            "purges one by one",
            600,
            rolling(1, 16)
                .chain([Write(vec![record(&meta_of(LogId::new(1, 15)))])])
                .chain((1..=15).map(|index| Write(vec![purge(1, index)])))
                .chain(rolling(17, 20))
                .collect(),
        ),
    ]
}
