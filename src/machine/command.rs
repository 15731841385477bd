//! The format of an entry's data: a short fixed header, then the bytes of the command.
//!
//! ```text
//! byte  0        1       2          10          18           26
//!       version  kind    session    sequence    low_water    payload (MessagePack of the command)
//!       1        0 raw   ─ payload begins here
//!                1 open  ─ nothing follows
//!                2 close u64, nothing follows
//!                3 session command: all fields, integers little-endian
//! ```
//! The header is fixed so that the hot path neither parses nor copies: the payload is a slice of
//! the entry.
//!
//! The version byte comes first for rolling upgrades: a build rejects versions that it does not
//! know. A leader refuses to append such a command; where one is committed, the member stops.
//!
//! *What it does not do:* it does not inspect the payload, and contains no time, which is the
//! entry's stamp.

use std::cell::Cell;

use bytes::{Buf, Bytes};
use serde::Serialize;

use super::codec::{self, CodecError, DEPTH_LIMIT};
use super::sessions::SessionId;

const VERSION: u8 = 1;
const RAW: u8 = 0;
const OPEN_SESSION: u8 = 1;
const CLOSE_SESSION: u8 = 2;
const SESSION: u8 = 3;
const WHAT: &str = "a command's header";

/// One command as stored in the log. The payload's bytes are shared with the entry or borrowed from
/// it, not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandRef<Payload = Bytes> {
    /// A command without a session: executed each time it is committed, so not safe to retry.
    Raw(Payload),
    /// Opens a session, whose id is the index of this entry.
    OpenSession,
    /// Closes a session and frees its cached replies.
    CloseSession {
        /// The session's id.
        session: SessionId,
    },
    /// A command executed at most once, even if it is committed several times.
    Session {
        /// The session that it belongs to.
        session: SessionId,
        /// The command's number in the session, from 1; a retry has the same.
        sequence: u64,
        /// The lowest sequence whose reply the client may still need; at most `sequence`. Cached
        /// replies below it are freed, and a late copy of such a command is not executed.
        low_water: u64,
        /// The command's bytes.
        command: Payload,
    },
}

impl CommandRef {
    /// Encodes it as an entry's data.
    pub fn encode(&self) -> Bytes {
        let (header, payload) = match self {
            CommandRef::Raw(payload) => (Header::raw(), &payload[..]),
            CommandRef::OpenSession => (Header::of(OPEN_SESSION, &[]), &[][..]),
            CommandRef::CloseSession { session } => {
                (Header::of(CLOSE_SESSION, &[*session]), &[][..])
            }
            CommandRef::Session { session, sequence, low_water, command } => {
                (Header::session(*session, *sequence, *low_water), &command[..])
            }
        };
        let mut bytes = Vec::with_capacity(header.length + payload.len());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(payload);
        Bytes::from(bytes)
    }

    /// Decodes an entry's `data`. Every field is checked; the payload is not inspected.
    pub fn decode(data: &Bytes) -> Result<CommandRef, CodecError> {
        Ok(match CommandRef::parse(data)? {
            CommandRef::Raw(command) => CommandRef::Raw(data.slice_ref(command)),
            CommandRef::OpenSession => CommandRef::OpenSession,
            CommandRef::CloseSession { session } => CommandRef::CloseSession { session },
            CommandRef::Session { session, sequence, low_water, command } => {
                let command = data.slice_ref(command);
                CommandRef::Session { session, sequence, low_water, command }
            }
        })
    }
}

impl<'a> CommandRef<&'a [u8]> {
    /// Decodes `data` like [`CommandRef::decode`], but borrows from it: no reference counting and
    /// no allocation.
    pub fn parse(data: &'a [u8]) -> Result<CommandRef<&'a [u8]>, CodecError> {
        let mut rest = data;
        let version = rest.try_get_u8().map_err(|_| CodecError::Empty)?;
        if version != VERSION {
            return Err(CodecError::Version {
                what: "a command",
                found: version,
                expected: VERSION,
            });
        }
        match rest.try_get_u8().map_err(truncated)? {
            RAW => Ok(CommandRef::Raw(rest)),
            OPEN_SESSION => nothing_left(rest, CommandRef::OpenSession),
            CLOSE_SESSION => {
                let session = take_session(&mut rest)?;
                nothing_left(rest, CommandRef::CloseSession { session })
            }
            SESSION => parse_session(rest),
            kind => Err(CodecError::invalid(WHAT, format!("unknown kind {kind}"))),
        }
    }
}

thread_local! {
    /// Commands are encoded here, then copied to an allocation of their exact size: entries live
    /// long, and bytes with spare capacity need a second allocation that records it.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A scratch buffer that has grown beyond this is not kept.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

/// The entry data of a raw command, in one allocation.
pub fn encode_raw<T: Serialize>(command: &T) -> Result<Bytes, CodecError> {
    encode_behind(Header::raw(), command)
}

/// The entry data of a session command, in one allocation. The fields are those of
/// [`CommandRef::Session`].
pub fn encode_session<T: Serialize>(
    session: SessionId,
    sequence: u64,
    low_water: u64,
    command: &T,
) -> Result<Bytes, CodecError> {
    encode_behind(Header::session(session, sequence, low_water), command)
}

fn encode_behind<T: Serialize>(header: Header, command: &T) -> Result<Bytes, CodecError> {
    // A command whose encoding encodes another command finds no scratch buffer, and makes one.
    let mut scratch = SCRATCH.take();
    scratch.clear();
    scratch.extend_from_slice(header.as_bytes());
    let encoded = codec::encode_limited(command, &mut scratch, DEPTH_LIMIT);
    let data = encoded.map(|()| Bytes::copy_from_slice(&scratch));
    if scratch.capacity() <= SCRATCH_BYTES_MAX {
        SCRATCH.set(scratch);
    }
    data
}

fn parse_session(mut rest: &[u8]) -> Result<CommandRef<&[u8]>, CodecError> {
    let session = take_session(&mut rest)?;
    let sequence = rest.try_get_u64_le().map_err(truncated)?;
    let low_water = rest.try_get_u64_le().map_err(truncated)?;
    if sequence == 0 || low_water > sequence {
        let why = format!(
            "sequence {sequence} with low-water mark {low_water}; sequences begin at 1, and the mark is not above"
        );
        return Err(CodecError::invalid(WHAT, why));
    }
    Ok(CommandRef::Session { session, sequence, low_water, command: rest })
}

fn take_session(rest: &mut &[u8]) -> Result<SessionId, CodecError> {
    match rest.try_get_u64_le().map_err(truncated)? {
        0 => Err(CodecError::invalid(WHAT, "session 0; ids are log indexes, from 1")),
        session => Ok(session),
    }
}

fn nothing_left<'a>(
    rest: &[u8],
    command: CommandRef<&'a [u8]>,
) -> Result<CommandRef<&'a [u8]>, CodecError> {
    match rest.is_empty() {
        true => Ok(command),
        false => Err(CodecError::TrailingBytes { what: WHAT }),
    }
}

fn truncated(_: bytes::TryGetError) -> CodecError {
    CodecError::Truncated { what: WHAT }
}

/// The header on the stack, so that header and payload are written to one allocation.
struct Header {
    bytes: [u8; 26],
    length: usize,
}

impl Header {
    fn of(kind: u8, fields: &[u64]) -> Header {
        let mut header = Header { bytes: [0; 26], length: 2 + 8 * fields.len() };
        header.bytes[0] = VERSION;
        header.bytes[1] = kind;
        for (slot, field) in header.bytes[2..].chunks_exact_mut(8).zip(fields) {
            slot.copy_from_slice(&field.to_le_bytes());
        }
        header
    }

    fn raw() -> Header {
        Header::of(RAW, &[])
    }

    fn session(session: SessionId, sequence: u64, low_water: u64) -> Header {
        assert!(session > 0, "session 0 in a command; ids are log indexes, from 1");
        assert!(
            sequence > 0 && low_water <= sequence,
            "sequence {sequence} with low-water mark {low_water} in a command of session {session}"
        );
        Header::of(SESSION, &[session, sequence, low_water])
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_command() -> impl Strategy<Value = CommandRef> {
        let payload = || proptest::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from);
        prop_oneof![
            payload().prop_map(CommandRef::Raw),
            Just(CommandRef::OpenSession),
            (1..u64::MAX).prop_map(|session| CommandRef::CloseSession { session }),
            (1..u64::MAX, 1..u64::MAX, any::<u64>(), payload()).prop_map(
                |(session, sequence, low_water, command)| CommandRef::Session {
                    session,
                    sequence,
                    low_water: low_water % (sequence + 1),
                    command,
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(command in any_command()) {
            prop_assert_eq!(CommandRef::decode(&command.encode()).unwrap(), command);
        }

        #[test]
        fn hostile_bytes_are_an_error_or_a_command_of_the_same_bytes(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..48), plausible in any::<bool>()
        ) {
            if plausible && bytes.len() >= 2 {
                bytes[0] = VERSION;
                bytes[1] %= 5;
            }
            let data = Bytes::from(bytes);
            if let Ok(command) = CommandRef::decode(&data) {
                prop_assert_eq!(command.encode(), data);
            }
        }
    }

    #[test]
    fn the_payload_is_a_slice_of_the_entry() {
        let data = encode_session(7, 3, 2, &"word").unwrap();
        let CommandRef::Session { session: 7, sequence: 3, low_water: 2, command } =
            CommandRef::decode(&data).unwrap()
        else {
            panic!("not the session command that was encoded: {data:?}");
        };
        assert_eq!(command.as_ptr(), data[26..].as_ptr());
        assert_eq!(codec::decode::<String>(&command).unwrap(), "word");
    }

    #[test]
    fn a_truncated_or_impossible_header_is_an_error() {
        let whole = encode_session(7, 3, 2, &()).unwrap();
        for length in 0..26 {
            assert!(
                CommandRef::decode(&whole.slice(..length)).is_err(),
                "{length} bytes were accepted"
            );
        }
        let refused = |bytes: Vec<u8>| CommandRef::decode(&Bytes::from(bytes)).unwrap_err();
        assert!(matches!(refused(vec![2, RAW]), CodecError::Version { found: 2, .. }));
        assert!(matches!(refused(vec![1, 9]), CodecError::Invalid { .. }));
        assert!(matches!(refused(vec![1, OPEN_SESSION, 0]), CodecError::TrailingBytes { .. }));
        assert!(matches!(
            refused(Header::of(SESSION, &[7, 3, 4]).as_bytes().to_vec()),
            CodecError::Invalid { .. }
        ));
        assert!(matches!(
            refused(Header::of(SESSION, &[0, 3, 3]).as_bytes().to_vec()),
            CodecError::Invalid { .. }
        ));
    }
}
