//! The codec's guarantees: every envelope makes a round trip, and any input decodes or is refused.

use proptest::array::{uniform2, uniform3, uniform4, uniform7};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::raft::testing::malformed;
use crate::raft::{
    AppendAnswer, AppendOutcome, COUNT_MAX, ChunkOutcome, FollowerReport, InstallStatus,
    SnapshotAnswer,
};

/// Any value that a member can have reached.
fn count() -> impl Strategy<Value = u64> {
    0..=COUNT_MAX
}

fn log_id() -> impl Strategy<Value = LogId> {
    (count(), count()).prop_map(|(term, index)| LogId::new(term, index))
}

fn payload() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..100).prop_map(Bytes::from)
}

fn append() -> impl Strategy<Value = Request> {
    let entry = (count(), any::<bool>(), count(), payload());
    (log_id(), vec(entry, 0..8), uniform4(count())).prop_map(
        |(mut prev, entries, [commit, leader_last, leader_durable, round])| {
            prev.index = prev.index.min(COUNT_MAX - 8);
            let entries = entries.into_iter().zip(prev.index + 1..).map(
                |((term, blank, stamp_ms, data), index)| Entry {
                    log_id: LogId::new(term, index),
                    kind: if blank { EntryKind::Blank } else { EntryKind::Command },
                    stamp_ms,
                    data,
                },
            );
            let entries = entries.collect();
            Request::Append(Append { prev, entries, commit, leader_last, leader_durable, round })
        },
    )
}

fn chunk() -> impl Strategy<Value = Request> {
    let members = || btree_set(any::<u64>(), 0..5);
    let membership =
        (members(), members(), members()).prop_map(|(voters, voters_outgoing, learners)| {
            Membership { voters, voters_outgoing, learners }
        });
    let meta = (log_id(), membership, count()).prop_map(|(log_id, membership, size_bytes)| {
        SnapshotMeta { log_id, membership, size_bytes }
    });
    (meta, uniform3(count()), payload(), any::<u32>()).prop_map(
        |(meta, [transfer, offset, round], data, crc)| {
            Request::Snapshot(SnapshotChunk { meta, transfer, offset, data, crc, round })
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (count(), log_id())
            .prop_map(|(campaign_term, last)| Request::PreVote { campaign_term, last }),
        log_id().prop_map(|last| Request::Vote { last }),
        (count(), log_id()).prop_map(|(incarnation, acknowledged)| {
            Request::Identify(PeerRecord { incarnation, acknowledged })
        }),
        Just(Request::RecoveryQuery),
        append(),
        chunk(),
    ]
}

fn report() -> impl Strategy<Value = FollowerReport> {
    let install = prop_oneof![
        Just(InstallStatus::None),
        uniform2(count()).prop_map(|[index, bytes]| InstallStatus::Receiving { index, bytes }),
        count().prop_map(|index| InstallStatus::Pending { index }),
        count().prop_map(|commit| InstallStatus::Refused { commit }),
        count().prop_map(|index| InstallStatus::Undecodable { index }),
    ];
    (count(), install, any::<bool>(), count()).prop_map(|(matched, install, recovering, round)| {
        FollowerReport { matched, install, recovering, round }
    })
}

fn answer() -> impl Strategy<Value = Answer> {
    let append_outcome = prop_oneof![
        Just(AppendOutcome::Accepted),
        (count(), log_id()).prop_map(|(refused, hint)| AppendOutcome::Rejected { refused, hint }),
        Just(AppendOutcome::Busy),
        Just(AppendOutcome::Stale),
    ];
    let chunk_outcome = prop_oneof![
        count().prop_map(|offset| ChunkOutcome::Continue { offset }),
        Just(ChunkOutcome::Unwanted),
        Just(ChunkOutcome::Corrupt),
        Just(ChunkOutcome::Stale),
    ];
    prop_oneof![
        (count(), any::<bool>())
            .prop_map(|(campaign_term, granted)| Answer::PreVote { campaign_term, granted }),
        (any::<bool>(), option::of(count()))
            .prop_map(|(granted, held)| Answer::Vote { granted, held }),
        count().prop_map(|predecessor| Answer::Identify { predecessor }),
        (count(), any::<bool>()).prop_map(|(last, leads)| Answer::RecoveryQuery { last, leads }),
        (report(), append_outcome)
            .prop_map(|(report, outcome)| Answer::Append(AppendAnswer { report, outcome })),
        (report(), count(), chunk_outcome).prop_map(|(report, transfer, outcome)| {
            Answer::Snapshot(SnapshotAnswer { report, transfer, outcome })
        }),
    ]
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let body = prop_oneof![
        request().prop_map(Body::Request),
        (count(), answer())
            .prop_map(|(asker_incarnation, answer)| Body::Answer { asker_incarnation, answer }),
    ];
    (uniform7(count()), body).prop_map(
        |([cluster, group, from, to, incarnation, term, id], body)| Envelope {
            cluster,
            group,
            from,
            to,
            incarnation,
            term,
            id,
            body,
        },
    )
}

fn entry(term: Term, index: Index, data: &'static [u8]) -> Entry {
    let data = Bytes::from_static(data);
    Entry { log_id: LogId::new(term, index), kind: EntryKind::Command, stamp_ms: 9, data }
}

fn append_envelope(prev: LogId, entries: Vec<Entry>) -> Envelope {
    let entries = entries.into();
    let append = Append { prev, entries, commit: 6, leader_last: 7, leader_durable: 6, round: 8 };
    let body = Body::Request(Request::Append(append));
    Envelope { cluster: 10, group: 0, from: 1, to: 2, incarnation: 3, term: 4, id: 5, body }
}

fn chunk_envelope(voters: impl IntoIterator<Item = NodeId>, data: Bytes) -> Envelope {
    let membership = Membership::of_voters(voters);
    let meta = SnapshotMeta { log_id: LogId::new(4, 20), membership, size_bytes: 1 << 40 };
    let chunk = SnapshotChunk { meta, transfer: 1, offset: 2, data, crc: 3, round: 4 };
    Envelope {
        body: Body::Request(Request::Snapshot(chunk)),
        ..append_envelope(LogId::BASE, vec![])
    }
}

fn control_frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    put_heading(&mut frame, KIND_CONTROL, &append_envelope(LogId::BASE, vec![]));
    frame.put_slice(message);
    frame.freeze()
}

fn with_u32(frame: &Bytes, at: usize, value: u32) -> Bytes {
    let mut bytes = frame.to_vec();
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    Bytes::from(bytes)
}

proptest! {
    #[test]
    fn every_envelope_comes_back_as_it_was(envelope in envelope()) {
        prop_assert_eq!(decode(&encode(&envelope).unwrap()).unwrap(), envelope);
    }

    /// The size bound is sufficient, and exact where there are payloads.
    #[test]
    fn no_frame_is_longer_than_its_bound(envelope in envelope()) {
        let (frame, bound) = (encode(&envelope).unwrap(), size_bound(&envelope));
        prop_assert!(frame.len() <= bound, "{} bytes, bound {}", frame.len(), bound);
        let has_payloads = frame[1] != KIND_CONTROL;
        prop_assert!(!has_payloads || frame.len() == bound, "{} bytes, bound {}", frame.len(), bound);
    }

    #[test]
    fn every_proper_prefix_and_every_longer_frame_is_an_error(envelope in envelope(), extra in 1..20usize) {
        let frame = encode(&envelope).unwrap();
        for end in 0..frame.len() {
            prop_assert!(decode(&frame.slice(..end)).is_err(), "decoded {} of {} bytes", end, frame.len());
        }
        let mut longer = frame.to_vec();
        longer.resize(frame.len() + extra, 0);
        prop_assert_eq!(decode(&longer.into()), Err(WireError::Trailing { left: extra }));
    }

    #[test]
    fn random_bytes_never_panic(kind in 0..4u8, noise in vec(any::<u8>(), 0..300)) {
        let _ = decode(&Bytes::from(noise.clone()));
        let mut frame = vec![VERSION, kind];
        frame.extend_from_slice(&noise);
        let _ = decode(&frame.into());
    }

    /// A frame that decodes has the same meaning when encoded again: each frame has one meaning.
    #[test]
    fn mutated_frames_never_panic_and_mean_one_thing(
        envelope in envelope(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = encode(&envelope).unwrap().to_vec();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(decoded) = decode(&bytes.into()) {
            prop_assert_eq!(decode(&encode(&decoded).unwrap()), Ok(decoded));
        }
    }
}

#[test]
fn an_append_stands_byte_for_byte_as_documented() {
    let frame =
        encode(&append_envelope(LogId::new(4, 11), vec![entry(4, 12, b"ab"), entry(5, 13, b"c")]))
            .unwrap();
    let mut expected = vec![1, 1];
    for value in [10u64, 0, 1, 2, 3, 4, 5, /* prev */ 4, 11, 6, 7, 6, 8] {
        expected.extend_from_slice(&value.to_le_bytes());
    }
    expected.extend_from_slice(&[2, 0, 0, 0]);
    expected.extend_from_slice(&[4, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1]);
    expected.extend_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    expected.extend_from_slice(b"abc");
    assert_eq!(frame, expected);
}

#[test]
fn a_chunk_stands_byte_for_byte_as_documented() {
    let frame = encode(&chunk_envelope([1, 2], Bytes::from_static(b"xyz"))).unwrap();
    let mut expected = vec![1, 2];
    for value in [10u64, 0, 1, 2, 3, 4, 5, /* transfer */ 1, 2, 4, 4, 20, 1 << 40] {
        expected.extend_from_slice(&value.to_le_bytes());
    }
    expected.extend_from_slice(&[3, 0, 0, 0, /* voters */ 2, 0, 0, 0]);
    expected.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[0; 8]);
    expected.extend_from_slice(b"\x03\0\0\0xyz");
    assert_eq!(frame, expected);
}

#[test]
fn payloads_are_slices_of_the_frame() {
    let inside = |frame: &Bytes, data: &Bytes| frame.as_ptr_range().contains(&data.as_ptr());
    let frame = encode(&append_envelope(LogId::BASE, vec![entry(1, 1, b"command")])).unwrap();
    let Body::Request(Request::Append(append)) = decode(&frame).unwrap().body else {
        panic!("an append")
    };
    assert!(inside(&frame, &append.entries[0].data));
    let frame = encode(&chunk_envelope([1], Bytes::from_static(b"state"))).unwrap();
    let Body::Request(Request::Snapshot(chunk)) = decode(&frame).unwrap().body else {
        panic!("a chunk")
    };
    assert!(inside(&frame, &chunk.data));
}

#[test]
fn entries_that_do_not_follow_prev_are_not_encoded() {
    let gap = append_envelope(LogId::new(1, 5), vec![entry(1, 6, b""), entry(1, 8, b"")]);
    let Err(WireError::Unencodable { field: "entries", what }) = encode(&gap) else {
        panic!("encoded a gap")
    };
    assert!(what.contains("8@1") && what.contains("5@1"), "{what}");
    let past_the_end = append_envelope(LogId::new(1, u64::MAX), vec![entry(1, 0, b"")]);
    assert!(matches!(encode(&past_the_end), Err(WireError::Unencodable { field: "entries", .. })));
}

/// Related to EL25: the maximum index may occur, but no entry can follow it.
#[test]
fn el25_entries_past_the_last_index_are_malformed() {
    let frame = encode(&append_envelope(LogId::new(1, 5), vec![entry(1, 6, b"")])).unwrap();
    let mut bytes = frame.to_vec();
    bytes[66..74].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(decode(&bytes.into()), Err(WireError::Malformed { field: "prev.index", .. })));
}

/// In every message, each number beyond all that a member can have reached is an error that names
/// it; ids, times and the requester's incarnation, which are only compared, may have any value.
#[test]
fn el25_numbers_that_no_member_can_have_reached_are_malformed() {
    let any_number = ["id", "asker's incarnation"];
    for envelope in one_of_each() {
        let mut copy = envelope.clone();
        let names: Vec<&str> =
            malformed::numbers(&mut copy).into_iter().map(|(name, _)| name).collect();
        assert_eq!(decode(&encode(&envelope).unwrap()), Ok(envelope.clone()));
        for (at, name) in names.into_iter().enumerate() {
            for value in [u64::MAX, u64::MAX - 1, COUNT_MAX + 1] {
                let mut lie = envelope.clone();
                *malformed::numbers(&mut lie)[at].1 = value;
                // The incarnation of a member created after 2038 exceeds all terms that can be
                // reached.
                let is_start =
                    ["incarnation", "remembered incarnation", "predecessor"].contains(&name);
                let is_possible = is_start && value == COUNT_MAX + 1 || any_number.contains(&name);
                let decoded = encode(&lie).and_then(|frame| decode(&frame));
                match is_possible {
                    true => assert_eq!(decoded, Ok(lie)),
                    false => assert!(
                        matches!(decoded, Err(WireError::Malformed { .. })),
                        "{name} {value} in {:?}: {decoded:?}",
                        envelope.body
                    ),
                }
            }
        }
    }
}

/// A message of each kind, with all the numbers that it can have.
fn one_of_each() -> Vec<Envelope> {
    let (last, held) = (LogId::new(4, 20), Some(9));
    let install = InstallStatus::Receiving { index: 20, bytes: 7 };
    let report = FollowerReport { matched: 9, install, recovering: false, round: 8 };
    let outcome = AppendOutcome::Rejected { refused: 12, hint: last };
    let go_on = ChunkOutcome::Continue { offset: 40 };
    let requests = [
        Request::PreVote { campaign_term: 5, last },
        Request::Vote { last },
        Request::Identify(PeerRecord { incarnation: 3, acknowledged: last }),
        Request::RecoveryQuery,
    ];
    let answers = [
        Answer::PreVote { campaign_term: 5, granted: true },
        Answer::Vote { granted: true, held },
        Answer::Append(AppendAnswer { report, outcome }),
        Answer::Snapshot(SnapshotAnswer { report, transfer: 2, outcome: go_on }),
        Answer::Identify { predecessor: 3 },
        Answer::RecoveryQuery { last: 20, leads: true },
    ];
    let answer = |answer| Body::Answer { asker_incarnation: 3, answer };
    let bodies = requests.into_iter().map(Body::Request).chain(answers.into_iter().map(answer));
    let controls = bodies.map(|body| Envelope { body, ..append_envelope(LogId::BASE, vec![]) });
    let append = append_envelope(LogId::new(1, 5), vec![]);
    controls.chain([append, chunk_envelope([1, 2], Bytes::from_static(b"abc"))]).collect()
}

#[test]
fn claimed_lengths_are_checked_against_what_is_there() {
    let append = encode(&append_envelope(LogId::BASE, vec![entry(1, 1, b"abc")])).unwrap();
    let claimed = u64::from(u32::MAX);
    let many = decode(&with_u32(&append, 106, u32::MAX));
    assert_eq!(many, Err(WireError::Short { field: "entries", needed: claimed * 21, left: 24 }));
    let long = decode(&with_u32(&append, 126, u32::MAX));
    assert_eq!(long, Err(WireError::Short { field: "entry data", needed: claimed, left: 3 }));
    let chunk = encode(&chunk_envelope([1, 2], Bytes::from_static(b"abc"))).unwrap();
    let many = decode(&with_u32(&chunk, 110, u32::MAX));
    assert_eq!(many, Err(WireError::Short { field: "voters", needed: claimed * 8, left: 31 }));
    let long = decode(&with_u32(&chunk, 138, u32::MAX));
    assert_eq!(long, Err(WireError::Short { field: "chunk data", needed: claimed, left: 3 }));
}

#[test]
fn other_versions_and_unknown_kinds_are_named() {
    let frame = encode(&append_envelope(LogId::BASE, vec![entry(1, 1, b"")])).unwrap().to_vec();
    let altered = |at: usize, value: u8| {
        let mut bytes = frame.clone();
        bytes[at] = value;
        decode(&bytes.into())
    };
    assert_eq!(altered(0, 2), Err(WireError::Version { found: 2 }));
    assert_eq!(altered(1, 3), Err(WireError::Kind { field: "message kind", found: 3 }));
    assert_eq!(altered(frame.len() - 1, 2), Err(WireError::Kind { field: "entry kind", found: 2 }));
    assert_eq!(
        decode(&Bytes::new()),
        Err(WireError::Short { field: "version", needed: 1, left: 0 })
    );
}

#[test]
fn members_out_of_order_are_malformed() {
    let mut bytes = encode(&chunk_envelope([1, 2], Bytes::new())).unwrap().to_vec();
    bytes[114] = 2;
    assert!(matches!(decode(&bytes.into()), Err(WireError::Malformed { field: "voters", .. })));
}

/// A struct may be encoded as a map with unknown fields; their values are skipped, up to the
/// maximum depth.
#[test]
fn deep_nesting_is_refused_and_shallow_nesting_skipped() {
    let vote_with = |unknown: &[u8]| {
        let last = [&b"\x82\xa4term\x01\xa5index\x02"[..]].concat();
        let message = [&b"\x81\xa4Vote\x82\xa1x"[..], unknown, b"\xa4last", &last].concat();
        decode(&control_frame(&message))
    };
    let Ok(Envelope { body: Body::Request(Request::Vote { last }), .. }) =
        vote_with(b"\x91\x91\x00")
    else {
        panic!("a vote with a field to skip")
    };
    assert_eq!(last, LogId::new(1, 2));
    let mut bomb = vec![0x91; 100_000];
    bomb.push(0);
    assert!(matches!(vote_with(&bomb), Err(WireError::Malformed { field: "control message", .. })));
}

/// Entries and chunks have one encoding. A control message that contains one is refused before its
/// payload is read.
#[test]
fn payload_messages_are_not_taken_as_control() {
    let append = append_envelope(LogId::BASE, vec![entry(1, 1, b"abc")]);
    let message = rmp_serde::to_vec(&append.body).unwrap();
    let Err(WireError::Malformed { field: "control message", what }) =
        decode(&control_frame(&message))
    else {
        panic!("took an append as control")
    };
    assert!(what.contains("Request"), "{what}");
}

/// A string with a claimed length of 4 GiB in 5 bytes.
#[test]
fn a_hostile_length_in_a_control_message_is_an_error() {
    let decoded = decode(&control_frame(&[0x81, 0xdb, 0xff, 0xff, 0xff, 0xff]));
    assert!(
        matches!(decoded, Err(WireError::Malformed { field: "control message", .. })),
        "{decoded:?}"
    );
}

#[test]
fn the_longest_control_message_is_far_below_the_bound() {
    const MOST: u64 = u64::MAX;
    let report = FollowerReport {
        matched: MOST,
        install: InstallStatus::Receiving { index: MOST, bytes: MOST },
        recovering: true,
        round: MOST,
    };
    let hint = LogId::new(MOST, MOST);
    let append = AppendAnswer { report, outcome: AppendOutcome::Rejected { refused: MOST, hint } };
    let outcome = ChunkOutcome::Continue { offset: MOST };
    let snapshot = SnapshotAnswer { report, transfer: MOST, outcome };
    for answer in [Answer::Append(append), Answer::Snapshot(snapshot)] {
        let body = Body::Answer { asker_incarnation: MOST, answer };
        let [cluster, group, from, to, incarnation, term, id] = [MOST; 7];
        let envelope = Envelope { cluster, group, from, to, incarnation, term, id, body };
        let frame = encode(&envelope).unwrap();
        assert!(frame.len() - HEADING_BYTES < CONTROL_MAX_BYTES * 2 / 3, "{} bytes", frame.len());
    }
}

/// The framing of a message beyond its payload is within the bound that settings are checked
/// against, in a cluster of a hundred members.
#[test]
fn the_framing_of_payload_messages_is_below_its_bound() {
    let meta = SnapshotMeta {
        log_id: LogId::new(1, 1),
        membership: Membership::of_voters(0..100),
        size_bytes: 1 << 40,
    };
    for payload_bytes in [0, 1, 1000, 100_000] {
        let data = Bytes::from(vec![7; payload_bytes]);
        let (transfer, offset, round, crc) = (1, 0, 0, 0);
        let chunk =
            SnapshotChunk { meta: meta.clone(), transfer, offset, data: data.clone(), crc, round };
        let chunk = Envelope {
            body: Body::Request(Request::Snapshot(chunk)),
            ..append_envelope(LogId::BASE, Vec::new())
        };
        let one = append_envelope(LogId::BASE, vec![Entry { data, ..entry(1, 1, b"") }]);
        for envelope in [chunk, one] {
            assert!(size_bound(&envelope) <= payload_bytes + FRAMING_BYTES_MAX);
        }
        // The size of many small entries includes their overhead.
        let many: Vec<Entry> = (1..=payload_bytes as u64 / 32).map(|i| entry(1, i, b"")).collect();
        let counted: usize = many.iter().map(Entry::size_bytes).sum();
        let many = append_envelope(LogId::BASE, many);
        assert!(size_bound(&many) <= counted + FRAMING_BYTES_MAX);
    }
}
