//! Arbitrary bytes against the guarantees of handshake and frames.
//!
//! The functions that a fuzzer calls ([`super::fuzzing`]) are called here with bytes of three
//! kinds: random, valid bytes with some changed, and valid bytes truncated or extended.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::frame::{Back, FrameBuffer};
use super::fuzzing;
use super::handshake::{HEAD_BYTES, Hello, Lane, Refusal, Refused, Reply, Versions, length};
use crate::raft::{Body, Entry, EntryKind, Envelope, LogId, Request};
use crate::transport::wire;

fn hello() -> impl Strategy<Value = Hello> {
    let versions = (0..=1u8, 1..=9u8);
    (versions, any::<bool>(), any::<[u64; 5]>()).prop_map(
        |((lowest, highest), chunks, [cluster, group, from, to, incarnation])| Hello {
            versions: Versions { lowest, highest },
            lane: if chunks { Lane::Chunks } else { Lane::Main },
            cluster,
            group,
            from,
            to,
            incarnation,
        },
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        (any::<u8>(), any::<[u64; 2]>()).prop_map(|(version, [incarnation, limit])| {
            Reply::Accepted { version, incarnation, limit }
        }),
        (1..=255u8, ".{0,100}").prop_map(|(code, text)| Reply::Refused { code, text }),
    ]
}

fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 0..300), 0..20)
}

fn stream_of(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for frame in frames {
        stream.put_u32_le(frame.len() as u32);
        stream.put_slice(frame);
    }
    stream
}

/// The frame of a valid message: an append with two entries.
fn append_frame() -> Vec<u8> {
    let entry = |index: u64, data: &'static [u8]| Entry {
        log_id: LogId::new(3, index),
        kind: EntryKind::Command,
        stamp_ms: 5,
        data: Bytes::from_static(data),
    };
    let append = crate::raft::Append {
        prev: LogId::new(2, 6),
        entries: vec![entry(7, b"seven"), entry(8, b"")].into(),
        commit: 6,
        leader_last: 8,
        leader_durable: 7,
        round: 1,
    };
    let body = Body::Request(Request::Append(append));
    let envelope =
        Envelope { cluster: 1, group: 0, from: 1, to: 2, incarnation: 1, term: 3, id: 9, body };
    wire::encode(&envelope).expect("encodes").to_vec()
}

/// Valid inputs as seeds, as `fuzz/` would collect them.
fn corpus() -> Vec<Vec<u8>> {
    let hello = Hello {
        versions: Versions { lowest: 1, highest: 1 },
        lane: Lane::Main,
        cluster: 42,
        group: 0,
        from: 1,
        to: 2,
        incarnation: 3,
    };
    let accepted = Reply::Accepted { version: 1, incarnation: 3, limit: 1 << 24 };
    let refused = Reply::refused(&Refused::new(Refusal::Cluster, "another cluster"));
    let backs = [Back::Limit(77).encode(), Back::Refused(refused.clone()).encode()].concat();
    let mut frames = vec![4];
    frames.extend(stream_of(&[append_frame(), vec![], vec![1; 3000]]));
    vec![hello.encode(), accepted.encode(), refused.encode(), backs, frames, append_frame()]
}

fn all_targets(bytes: &[u8]) {
    fuzzing::wire_decode(bytes);
    fuzzing::tcp_handshake(bytes);
    fuzzing::tcp_frames(bytes);
}

proptest! {
    #[test]
    fn noise_breaks_nothing(bytes in vec(any::<u8>(), 0..600)) {
        all_targets(&bytes);
    }

    #[test]
    fn what_was_valid_and_was_changed_breaks_nothing(
        which in any::<Index>(),
        changes in vec((any::<Index>(), any::<u8>()), 0..6),
        end in any::<Index>(),
        more in vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = which.get(&corpus()).clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        all_targets(&bytes);
        bytes.truncate(end.index(bytes.len()));
        bytes.extend(more);
        all_targets(&bytes);
    }

    #[test]
    fn a_hello_comes_back_as_it_was_and_no_part_of_it_does(hello in hello(), end in 0..72usize) {
        let bytes = hello.encode();
        prop_assert_eq!(Hello::decode(&bytes), Ok(hello));
        prop_assert!(Hello::decode(&bytes[..end]).is_err());
    }

    #[test]
    fn a_reply_comes_back_as_it_was(reply in reply()) {
        prop_assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_were_read(
        frames in frames(),
        reads in vec(1..700usize, 1..50),
    ) {
        let stream = stream_of(&frames);
        let mut buffer = FrameBuffer::new(1000);
        let (mut rest, mut out) = (&stream[..], Vec::new());
        for read in reads.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*read));
            buffer.room().put_slice(now);
            rest = later;
            while let Some(frame) = buffer.next().expect("within the cap") {
                out.push(frame.to_vec());
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(out, frames);
        prop_assert!(!buffer.has_begun());
    }

    /// Memory grows with the bytes received, not with the announced length.
    #[test]
    fn a_claim_allocates_nothing(claimed in 0..=(64u32 << 20), come in 0..5000usize) {
        let mut buffer = FrameBuffer::new(64 << 20);
        buffer.room().put_u32_le(claimed);
        buffer.room().put_bytes(7, come.min(claimed as usize));
        let _ = buffer.next();
        buffer.room();
        prop_assert!(buffer.capacity() <= 128 << 10, "{} bytes", buffer.capacity());
    }
}

#[test]
fn a_frame_above_the_cap_is_refused_before_it_has_come() {
    let mut buffer = FrameBuffer::new(1000);
    buffer.room().put_u32_le(1000);
    assert_eq!(buffer.next(), Ok(None));
    let mut buffer = FrameBuffer::new(1000);
    buffer.room().put_u32_le(1001);
    let refused = buffer.next().expect_err("above the cap");
    assert_eq!(refused.why, Refusal::Oversized);
    assert!(refused.text.contains("1001"), "{}", refused.text);
}

#[test]
fn the_room_of_a_large_frame_is_given_back() {
    let mut buffer = FrameBuffer::new(8 << 20);
    buffer.room().put_u32_le(4 << 20);
    for _ in 0..4 << 10 {
        buffer.room().put_bytes(7, 1 << 10);
    }
    assert!(buffer.capacity() <= 9 << 20, "{}", buffer.capacity());
    assert_eq!(buffer.next().expect("within the cap").map(|frame| frame.len()), Some(4 << 20));
    buffer.room();
    assert!(buffer.capacity() <= 64 << 10, "{}", buffer.capacity());
}

#[test]
fn a_head_that_is_wrong_is_refused_by_itself() {
    let head = |magic: &[u8; 8], length: u16| {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(magic);
        head[8..].copy_from_slice(&length.to_le_bytes());
        head
    };
    assert_eq!(length(head(b"QRTWIRE\n", 72), 72), Ok(72));
    let why = |head| length(head, 72).expect_err("wrong").why;
    assert_eq!(why(head(b"QRTWIRE ", 72)), Refusal::Magic);
    assert_eq!(why(head(b"QRTWIRE\n", 71)), Refusal::Malformed);
    assert_eq!(why(head(b"QRTWIRE\n", 4097)), Refusal::Malformed);
}

#[test]
fn a_long_text_is_cut_at_a_character() {
    let text = "ä".repeat(3000);
    let reply = Reply::refused(&Refused::new(Refusal::Stranger, text));
    match Reply::decode(&reply.encode()) {
        Ok(Reply::Refused { text, .. }) => assert_eq!(text, "ä".repeat(256)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn versions_meet_at_the_highest_that_both_speak() {
    let span = |lowest, highest| Versions { lowest, highest };
    assert_eq!(span(1, 4).common(span(2, 9)), Some(4));
    assert_eq!(span(1, 1).common(span(1, 1)), Some(1));
    assert_eq!(span(1, 2).common(span(3, 4)), None);
    assert_eq!(span(4, 1).common(span(1, 4)), None, "a row that is none");
}

#[test]
fn codes_stay_what_they_are_and_have_names_of_their_own() {
    let codes: Vec<u8> = Refusal::ALL.iter().map(|why| why.code()).collect();
    assert_eq!(codes, (1..=15).collect::<Vec<u8>>());
    assert!(Refusal::ALL.iter().all(|&why| Refusal::of_code(why.code()) == Some(why)));
    assert_eq!((Refusal::of_code(0), Refusal::of_code(16)), (None, None));
    let names: std::collections::BTreeSet<_> = Refusal::ALL.iter().map(|why| why.name()).collect();
    assert_eq!(names.len(), codes.len());
}

#[test]
fn records_that_come_back_are_taken_one_by_one() {
    let refused = Reply::refused(&Refused::new(Refusal::Slow, "too slow"));
    let all = [Back::Limit(5), Back::Limit(9), Back::Refused(refused)];
    let stream: Vec<u8> = all.iter().flat_map(Back::encode).collect();
    let (mut bytes, mut out) = (BytesMut::new(), Vec::new());
    for byte in stream {
        bytes.put_u8(byte);
        out.extend(Back::take(&mut bytes).expect("valid"));
    }
    assert_eq!(out, all);
    let why = Back::take(&mut BytesMut::from(&[2][..])).expect_err("no such record").why;
    assert_eq!(why, Refusal::Undecodable);
}
