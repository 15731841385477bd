//! Round trips, the depth limit in both directions, and malicious bytes.

use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serializer};
use serde_bytes::ByteBuf;

use super::*;

/// Nests like enum variants: MessagePack maps of one pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Chain {
    End,
    Link(Box<Chain>),
}

/// Nests like arrays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tree(Vec<Tree>);

/// Has infinite nesting.
struct Endless;

impl Serialize for Endless {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_variant("Endless", 0, "more", self)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mixed {
    number: u64,
    signed: i32,
    float: f64,
    text: String,
    bytes: ByteBuf,
    list: Vec<Option<bool>>,
    map: BTreeMap<u8, String>,
    chain: Chain,
}

fn chain(levels: usize) -> Chain {
    (0..levels).fold(Chain::End, |inner, _| Chain::Link(Box::new(inner)))
}

fn tree(levels: usize) -> Tree {
    (1..levels).fold(Tree(vec![]), |inner, _| Tree(vec![inner]))
}

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let bytes = encode(value).unwrap();
    assert_eq!(&decode::<T>(&bytes).unwrap(), value);
    assert_eq!(&decode_from::<T>(&mut &bytes[..]).unwrap(), value);
    assert!(matches!(decode::<T>(&bytes[..bytes.len() - 1]), Err(CodecError::Truncated { .. })));
    assert!(decode_from::<T>(&mut &bytes[..bytes.len() - 1]).is_err());
    let longer = [&bytes[..], &[0xc0]].concat();
    assert!(matches!(decode::<T>(&longer), Err(CodecError::TrailingBytes { .. })));
    assert!(matches!(decode_from::<T>(&mut &longer[..]), Err(CodecError::TrailingBytes { .. })));
}

#[test]
fn every_shape_of_marker_comes_back() {
    for bits in 0..64 {
        comes_back(&(1u64 << bits));
        comes_back(&(1i64 << bits).wrapping_neg());
    }
    for length in [0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536] {
        comes_back(&"x".repeat(length));
        comes_back(&ByteBuf::from(vec![7; length]));
        comes_back(&vec![true; length]);
        comes_back(&(0..length as u32).map(|key| (key, ())).collect::<BTreeMap<_, _>>());
    }
    comes_back(&(1.5f32, 2.5f64, 'c', Some(false), None::<u8>, i128::MIN));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "_ExtStruct")]
struct Extension((i8, ByteBuf));

#[test]
fn extensions_come_back() {
    for length in [0, 1, 2, 3, 4, 8, 15, 16, 17, 255, 256, 65536] {
        comes_back(&Extension((5, ByteBuf::from(vec![9; length]))));
    }
}

#[test]
fn the_depth_limit_is_the_same_for_encoding_and_decoding() {
    comes_back(&chain(DEPTH_LIMIT - 1));
    comes_back(&chain(DEPTH_LIMIT));
    comes_back(&tree(DEPTH_LIMIT));
    assert!(matches!(
        encode(&chain(DEPTH_LIMIT + 1)),
        Err(CodecError::TooDeep { limit: DEPTH_LIMIT })
    ));
    assert!(matches!(encode(&tree(DEPTH_LIMIT + 1)), Err(CodecError::TooDeep { .. })));
    let mut bytes = Vec::new();
    encode_limited(&tree(DEPTH_LIMIT + 1), &mut bytes, DEPTH_LIMIT + 1).unwrap();
    assert!(matches!(decode::<Tree>(&bytes), Err(CodecError::TooDeep { .. })));
    assert!(matches!(decode_from::<Tree>(&mut &bytes[..]), Err(CodecError::TooDeep { .. })));
    assert!(matches!(decode_limited::<Tree>(&bytes, 16), Err(CodecError::TooDeep { limit: 16 })));
}

#[test]
fn endless_nesting_is_stopped_while_encoding() {
    assert!(matches!(encode(&Endless), Err(CodecError::TooDeep { .. })));
    assert!(matches!(encode_to(&Endless, &mut io::sink()), Err(CodecError::TooDeep { .. })));
}

#[test]
fn hostile_nesting_does_not_overflow_the_stack() {
    let arrays = vec![0x91; 1 << 20];
    let links = b"\x81\xa4Link".repeat(1 << 18);
    assert!(matches!(decode::<Tree>(&arrays), Err(CodecError::TooDeep { .. })));
    assert!(matches!(decode::<Chain>(&links), Err(CodecError::TooDeep { .. })));
    assert!(matches!(decode_from::<Tree>(&mut &arrays[..]), Err(CodecError::TooDeep { .. })));
    assert!(matches!(decode_from::<Chain>(&mut &links[..]), Err(CodecError::TooDeep { .. })));
    assert!(decode_from::<IgnoredAny>(&mut &arrays[..]).is_err());
}

#[test]
fn hostile_lengths_reserve_nothing() {
    // Arrays, maps, strings and bytes with a claimed length of 4 GiB; the memory would be
    // noticeable.
    for marker in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
        let bytes = [marker, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(matches!(decode::<Vec<u64>>(&bytes), Err(CodecError::Truncated { .. })));
        assert!(decode_from::<Vec<u64>>(&mut &bytes[..]).is_err());
        assert!(decode_from::<ByteBuf>(&mut &bytes[..]).is_err());
        assert!(decode_from::<BTreeMap<u64, u64>>(&mut &bytes[..]).is_err());
    }
    let mut claim = Vec::new();
    write_u64(&mut claim, u64::MAX).unwrap();
    assert!(matches!(
        read_bytes(&mut &claim[..], "a claim"),
        Err(CodecError::Truncated { what: "a claim" })
    ));
}

#[test]
fn a_failing_writer_is_an_input_output_error() {
    let mut full = [0; 4];
    let error = encode_to(&"longer than four bytes", &mut &mut full[..]).unwrap_err();
    assert!(matches!(error, CodecError::Io(_)), "{error:?}");
}

fn survive(bytes: &[u8]) {
    let _ = decode::<Mixed>(bytes).map(|value| encode(&value).unwrap());
    let _ = decode_from::<Mixed>(&mut &bytes[..]);
    let _ = decode::<Tree>(bytes);
    let _ = decode::<Vec<Chain>>(bytes);
    let _ = decode::<IgnoredAny>(bytes);
    let _ = decode_from::<IgnoredAny>(&mut &bytes[..]);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        survive(&bytes);
    }

    #[test]
    fn damaged_values_never_panic(
        number in any::<u64>(), text in ".{0,40}", list in proptest::collection::vec(any::<Option<bool>>(), 0..40),
        levels in 0..20usize, at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let map = BTreeMap::from([(1, text.clone()), (200, String::new())]);
        let value = Mixed {
            number, signed: number as i32, float: number as f64, bytes: ByteBuf::from(text.clone()),
            text, list, map, chain: chain(levels),
        };
        let mut bytes = encode(&value).unwrap();
        prop_assert_eq!(&decode::<Mixed>(&bytes).unwrap(), &value);
        let at = at.index(bytes.len());
        survive(&bytes[..at]);
        bytes[at] = byte;
        survive(&bytes);
    }

    #[test]
    fn a_scan_does_not_depend_on_how_its_bytes_are_cut(
        bytes in proptest::collection::vec(any::<u8>(), 0..60), cut in any::<prop::sample::Index>()
    ) {
        let verdict = |pieces: &[&[u8]]| {
            let mut scan = MarkerScan::new(8);
            pieces.iter().try_for_each(|piece| scan.feed(piece)).and_then(|()| scan.finish())
        };
        let (left, right) = bytes.split_at(cut.index(bytes.len() + 1));
        prop_assert_eq!(verdict(&[&bytes]), verdict(&[left, right]));
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(verdict(&[&bytes]), verdict(&single));
    }

    #[test]
    fn sections_of_random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let mut input = &bytes[..];
        let mut section = SectionReader::new(&mut input);
        let _ = io::copy(&mut section, &mut io::sink());
        let _ = section.finish("a section");
    }
}

fn section_of(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut section = SectionWriter::new(&mut out);
    section.write_all(bytes).unwrap();
    section.finish().unwrap();
    out
}

#[test]
fn sections_end_where_they_were_ended() {
    let mut stream = Vec::new();
    let lengths = [0, 1, 65535, 65536, 65537, 300_000];
    for (byte, length) in lengths.into_iter().enumerate() {
        stream.extend(section_of(&vec![byte as u8; length]));
    }
    let mut input = &stream[..];
    for (byte, length) in lengths.into_iter().enumerate() {
        let mut section = SectionReader::new(&mut input);
        let mut read = Vec::new();
        section.read_to_end(&mut read).unwrap();
        section.finish("a section").unwrap();
        assert!(read.len() == length && read.iter().all(|found| *found == byte as u8));
    }
    assert!(input.is_empty());
}

#[test]
fn a_section_that_is_not_read_to_its_end_is_an_error() {
    let bytes = section_of(b"abc");
    let mut input = &bytes[..];
    let mut section = SectionReader::new(&mut input);
    section.read_exact(&mut [0; 2]).unwrap();
    assert!(matches!(section.finish("it"), Err(CodecError::TrailingBytes { what: "it" })));
}

#[test]
fn a_section_without_an_end_or_with_an_impossible_chunk_is_an_error() {
    let bytes = section_of(b"abc");
    for length in 0..bytes.len() {
        let mut input = &bytes[..length];
        let mut section = SectionReader::new(&mut input);
        let read = section.read_to_end(&mut Vec::new());
        assert!(read.is_err(), "{length} bytes were accepted");
    }
    let mut input = &b"\x01\x00\x01\x00rest"[..];
    assert!(SectionReader::new(&mut input).read(&mut [0]).is_err());
}
