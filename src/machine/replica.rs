//! The whole state of one replica: machine, sessions, log time and the last applied entry.
//!
//! They change together, entry by entry, and are viewed, saved and loaded together. So a snapshot
//! cannot have another index than its state (MECHANISMS A20), and cannot lose the record of
//! executed commands (A22).
//!
//! ```text
//! "QRS" │ version: u8 │ applied term: u64 │ applied index: u64
//! section: sessions │ section: machine
//! ```
//! Equal states are equal bytes on every replica (if the machine's own encoding ensures it), so
//! [`digest`] can compare replicas.
//!
//! *What it does not do:* it has no pending requests and no threads, and it does not catch panics
//! of a machine.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::codec::{
    self, CodecError, SectionReader, SectionWriter, or_truncated, read_u64, write_u64,
};
use super::sessions::{Admission, CommandDigest, KeptReply, Sessions, SessionsView};
use super::{ApplyContext, CommandRef, Machine, SessionConfig, SessionCounters, SessionId};
use crate::raft::{Entry, EntryKind, Index, LogId};

const MAGIC: [u8; 3] = *b"QRS";
const VERSION: u8 = 2;

/// The result of applying an entry, for the pending request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The command was executed, now or as an earlier copy; the encoded reply.
    Reply(Bytes),
    /// The command was executed, now or as an earlier copy, but its reply could not be encoded.
    ReplyUnencodable,
    /// The command was executed, now or as an earlier copy, but its reply is longer than
    /// [`SessionConfig::reply_bytes`].
    ReplyTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A session was opened.
    SessionOpened(SessionId),
    /// The session was closed.
    SessionClosed,
    /// Not executed by this entry: the session does not exist, or no longer exists.
    SessionExpired,
    /// Not executed by this entry: the sequence is below the session's low-water mark.
    SequenceTooOld,
    /// Not executed: the sequence is too far above the session's low-water mark.
    WindowExceeded,
    /// Not executed by this entry: another command was executed with this sequence of the session.
    SequenceReused,
    /// The entry contains no command.
    Blank,
    /// It is unknown whether the command was executed.
    Unknown,
}

/// A committed command that this build cannot decode. It was proposed by another build, and other
/// members may execute it; a replica that skipped it would diverge from them permanently.
#[derive(Debug, thiserror::Error)]
#[error(
    "the committed command at index {}, term {} can't be decoded by this build: {} ({} bytes, to be a {}). \
     The member stops before it, because going on without it would make its state differ from the others'. \
     The command came from another build: start this member with that build or a newer one; its data is intact",
    .log_id.index, .log_id.term, .error, .bytes, .command
)]
pub struct Undecodable {
    log_id: LogId,
    /// The expected type of the command.
    command: &'static str,
    bytes: usize,
    error: CodecError,
}

impl Undecodable {
    /// The id of the command's entry.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }
}

/// Checks that this build of the machine `M` can decode an entry's `data`. A leader checks before
/// it appends.
pub(crate) fn check_command<M: Machine>(data: &[u8]) -> Result<(), CodecError> {
    Decoded::<M>::of(data).map(drop)
}

/// The content of an entry's data, with the command decoded.
enum Decoded<'a, M: Machine> {
    OpenSession,
    CloseSession { session: SessionId },
    Raw { command: M::Command },
    Session { place: Place, bytes: &'a [u8], command: M::Command },
}

/// A command's place in its session.
struct Place {
    session: SessionId,
    sequence: u64,
    low_water: u64,
}

impl<'a, M: Machine> Decoded<'a, M> {
    fn of(data: &'a [u8]) -> Result<Decoded<'a, M>, CodecError> {
        Ok(match CommandRef::parse(data)? {
            CommandRef::OpenSession => Decoded::OpenSession,
            CommandRef::CloseSession { session } => Decoded::CloseSession { session },
            CommandRef::Raw(command) => Decoded::Raw { command: codec::decode(command)? },
            CommandRef::Session { session, sequence, low_water, command: bytes } => {
                let place = Place { session, sequence, low_water };
                Decoded::Session { place, bytes, command: codec::decode(bytes)? }
            }
        })
    }
}

/// The state of one replica.
///
/// Invariant: the state is the result of applying the entries up to [`Replica::applied`] to the
/// initial machine.
pub struct Replica<M> {
    machine: M,
    sessions: Sessions,
    applied: LogId,
    cluster: u64,
    /// Replies are encoded here, then copied to an allocation of their exact size: they are cached.
    scratch: Vec<u8>,
}

impl<M: Machine> Replica<M> {
    /// The state before the first entry. `machine`, `config` and `cluster` must be the same on all
    /// members.
    pub fn new(machine: M, config: SessionConfig, cluster: u64) -> Replica<M> {
        Replica::assemble(machine, Sessions::new(config), LogId::BASE, cluster)
    }

    fn assemble(machine: M, sessions: Sessions, applied: LogId, cluster: u64) -> Replica<M> {
        Replica { machine, sessions, applied, cluster, scratch: Vec::new() }
    }

    /// The state of the service, read-only.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The last applied entry, or the last one covered by the snapshot that the state was loaded
    /// from.
    pub fn applied(&self) -> LogId {
        self.applied
    }

    /// Log time as of the last applied entry, in milliseconds since 1970; 0 before the first.
    pub fn log_time_ms(&self) -> u64 {
        self.sessions.time_ms()
    }

    /// The session counters.
    pub fn counters(&self) -> SessionCounters {
        self.sessions.counters()
    }

    /// Continues the counters `from`: for a loaded state that replaces another.
    pub fn continue_counters(&mut self, from: SessionCounters) {
        self.sessions.continue_counters(from);
    }

    /// Applies the next entry. Panics if it is not the next one: entries are applied once and in
    /// order. After an error the state is unchanged.
    pub fn apply(&mut self, entry: &Entry) -> Result<Outcome, Undecodable> {
        // `apply_next` returns an outcome whenever `answered` is set.
        Ok(self.apply_next(entry, true)?.unwrap_or(Outcome::Blank))
    }

    /// Like [`Replica::apply`], for an entry without a pending request: a reply that is not cached
    /// is not encoded.
    pub fn apply_unanswered(&mut self, entry: &Entry) -> Result<(), Undecodable> {
        self.apply_next(entry, false).map(drop)
    }

    fn apply_next(
        &mut self,
        entry: &Entry,
        answered: bool,
    ) -> Result<Option<Outcome>, Undecodable> {
        let LogId { term, index } = entry.log_id;
        // Entries are applied once and in order, whatever the caller did before (BUGS PS21, SN19).
        assert_eq!(
            index,
            self.applied.index + 1,
            "entry {} cannot follow {}",
            entry.log_id,
            self.applied
        );
        assert!(term >= self.applied.term, "entry {} cannot follow {}", entry.log_id, self.applied);
        let outcome = match entry.kind {
            EntryKind::Blank => Some(Outcome::Blank),
            EntryKind::Command => {
                // Decode before any change, so that an error leaves the state unchanged.
                let decoded =
                    Decoded::of(&entry.data).map_err(|error| undecodable::<M>(entry, error))?;
                self.sessions.advance(term, entry.stamp_ms);
                self.apply_command(decoded, entry.log_id, answered)
            }
        };
        self.applied = entry.log_id;
        Ok(outcome)
    }

    /// Applies a command. `None`: the outcome is a reply, and `answered` is not set.
    fn apply_command(
        &mut self,
        decoded: Decoded<'_, M>,
        log_id: LogId,
        answered: bool,
    ) -> Option<Outcome> {
        Some(match decoded {
            Decoded::OpenSession => Outcome::SessionOpened(self.sessions.open(log_id.index)),
            Decoded::CloseSession { session } => match self.sessions.close(session) {
                true => Outcome::SessionClosed,
                false => Outcome::SessionExpired,
            },
            Decoded::Raw { command } => {
                let reply = self.execute(command, log_id);
                if !answered {
                    return None;
                }
                let reply = self.encode_reply(&reply, log_id);
                self.reply_outcome(reply)
            }
            Decoded::Session { place, bytes, command } => {
                self.execute_once(place, bytes, command, log_id)
            }
        })
    }

    fn execute_once(
        &mut self,
        place: Place,
        bytes: &[u8],
        command: M::Command,
        log_id: LogId,
    ) -> Outcome {
        let Place { session, sequence, low_water } = place;
        let digest = CommandDigest::of(bytes);
        match self.sessions.admit(session, sequence, low_water, digest, log_id.index) {
            Admission::Execute => {
                let reply = self.execute(command, log_id);
                let reply = self.encode_reply(&reply, log_id);
                self.sessions.record(session, sequence, digest, reply.clone());
                self.reply_outcome(reply)
            }
            Admission::Duplicate(reply) => self.reply_outcome(reply),
            Admission::Reused => Outcome::SequenceReused,
            Admission::Expired => Outcome::SessionExpired,
            Admission::TooOld => Outcome::SequenceTooOld,
            Admission::WindowExceeded => Outcome::WindowExceeded,
        }
    }

    fn execute(&mut self, command: M::Command, log_id: LogId) -> M::Reply {
        let context =
            ApplyContext::new(log_id.index, log_id.term, self.sessions.time_ms(), self.cluster);
        self.machine.apply(command, &context)
    }

    /// The encoded reply, or why it can't be kept. The state has already changed, so this is not an
    /// error of the command.
    fn encode_reply(&mut self, reply: &M::Reply, log_id: LogId) -> KeptReply {
        self.scratch.clear();
        let limit = self.sessions.config().reply_bytes;
        match codec::encode_bounded(reply, &mut self.scratch, limit) {
            Ok(true) => KeptReply::Encoded(Bytes::copy_from_slice(&self.scratch)),
            Ok(false) => {
                tracing::warn!(%log_id, limit, "a command was executed, but its reply is too long");
                KeptReply::TooLong
            }
            Err(error) => {
                tracing::error!(%log_id, %error, "a command was executed, but its reply cannot be encoded");
                KeptReply::Unencodable
            }
        }
    }

    fn reply_outcome(&self, reply: KeptReply) -> Outcome {
        match reply {
            KeptReply::Encoded(reply) => Outcome::Reply(reply),
            KeptReply::Unencodable => Outcome::ReplyUnencodable,
            KeptReply::TooLong => {
                Outcome::ReplyTooLong { limit: self.sessions.config().reply_bytes }
            }
        }
    }

    /// The outcome for the pending request of an entry covered by a loaded snapshot: the reply
    /// cached for its command, which proves that it was executed, or [`Outcome::Unknown`]. `data`
    /// is the entry's.
    pub fn covered_reply(&self, data: &Bytes) -> Outcome {
        let Ok(CommandRef::Session { session, sequence, command, .. }) = CommandRef::parse(data)
        else {
            return Outcome::Unknown;
        };
        match self.sessions.cached(session, sequence) {
            Some((digest, reply)) if digest == CommandDigest::of(command) => {
                self.reply_outcome(reply.clone())
            }
            Some(_) => Outcome::SequenceReused,
            None => Outcome::Unknown,
        }
    }

    /// The state now, to be encoded while this one changes further: O(1) plus the cost of the
    /// machine's own view.
    pub fn view(&self) -> ReplicaView<M> {
        ReplicaView {
            machine: self.machine.view(),
            sessions: self.sessions.view(),
            applied: self.applied,
        }
    }

    /// The [`digest`] of the state now. Encodes all of it: for tests and checks, not for the hot
    /// path.
    pub fn digest(&self) -> Result<u32, CodecError> {
        digest(&self.view())
    }
}

#[cfg(any(test, feature = "testing"))]
impl<M: Machine> Replica<M> {
    /// Checks that two copies of this state produce the same result for the next entry: the same
    /// reply, and states with the same bytes.
    pub(crate) fn applies_alike(&self, entry: &Entry) -> Result<(), String> {
        let begin = self.encoded().map_err(|error| error.to_string())?;
        let mut ends = Vec::new();
        for _ in 0..2 {
            let copy =
                decode_replica::<M>(&mut begin.as_slice(), self.sessions.config(), self.cluster);
            let mut copy =
                copy.map_err(|error| format!("its encoding does not decode: {error}"))?;
            let outcome = copy.apply(entry).map_err(|error| error.to_string());
            ends.push((outcome, copy.encoded().map_err(|error| error.to_string())?));
        }
        match &ends[..] {
            [(first, _), (second, _)] if first != second => {
                Err(format!("{} was answered {first:?} and {second:?}", entry.log_id))
            }
            [(_, first), (_, second)] if first != second => {
                Err(format!("{} made two different states of one", entry.log_id))
            }
            _ => Ok(()),
        }
    }

    fn encoded(&self) -> Result<Vec<u8>, CodecError> {
        let mut bytes = Vec::new();
        encode_replica(&self.view(), &mut bytes)?;
        Ok(bytes)
    }
}

fn undecodable<M: Machine>(entry: &Entry, error: CodecError) -> Undecodable {
    Undecodable {
        log_id: entry.log_id,
        command: std::any::type_name::<M::Command>(),
        bytes: entry.data.len(),
        error,
    }
}

/// The state of a replica after one entry.
pub struct ReplicaView<M: Machine> {
    machine: M::View,
    sessions: SessionsView,
    applied: LogId,
}

impl<M: Machine> ReplicaView<M> {
    /// The last entry applied to this state, which is the last one that a snapshot of it covers.
    pub fn applied(&self) -> LogId {
        self.applied
    }
}

/// Writes a view in the format of a replica's snapshot.
pub fn encode_replica<M: Machine>(
    view: &ReplicaView<M>,
    out: &mut dyn Write,
) -> Result<(), CodecError> {
    out.write_all(&MAGIC)?;
    out.write_all(&[VERSION])?;
    write_u64(out, view.applied.term)?;
    write_u64(out, view.applied.index)?;
    let mut section = SectionWriter::new(out);
    view.sessions.encode(&mut section)?;
    section.finish()?;
    let mut section = SectionWriter::new(out);
    M::encode(&view.machine, &mut section)?;
    section.finish()
}

/// Reads what [`encode_replica`] wrote, all of `input`, into a new replica. Before using it,
/// compare its [`Replica::applied`] with the snapshot's metadata. An empty input is
/// [`CodecError::Empty`].
pub fn decode_replica<M: Machine>(
    input: &mut dyn Read,
    config: SessionConfig,
    cluster: u64,
) -> Result<Replica<M>, CodecError> {
    const WHAT: &str = "a replica's state";
    // Everything is read in the order in which it was written; the replica is built after all
    // checks.
    check_format(input, WHAT)?;
    let term = read_u64(input, WHAT)?;
    let index: Index = read_u64(input, WHAT)?;
    let mut section = SectionReader::new(input);
    let sessions = Sessions::decode(&mut section, config, index)?;
    section.finish("the session table")?;
    let mut section = SectionReader::new(input);
    let machine = M::decode(&mut section)?;
    section.finish("the machine's state")?;
    match codec::next_byte(input)? {
        None => Ok(Replica::assemble(machine, sessions, LogId::new(term, index), cluster)),
        Some(_) => Err(CodecError::TrailingBytes { what: WHAT }),
    }
}

fn check_format(input: &mut dyn Read, what: &'static str) -> Result<(), CodecError> {
    let mut head = [0; 4];
    let Some(first) = codec::next_byte(input)? else { return Err(CodecError::Empty) };
    head[0] = first;
    input.read_exact(&mut head[1..]).map_err(|error| or_truncated(error, what))?;
    let [magic @ .., version] = head;
    if magic != MAGIC {
        return Err(CodecError::invalid(
            what,
            format!("begins with {magic:?}, not with {MAGIC:?}"),
        ));
    }
    if version != VERSION {
        return Err(CodecError::Version { what, found: version, expected: VERSION });
    }
    Ok(())
}

/// A CRC-32C of the encoded view: equal on replicas that have applied the same entries.
pub fn digest<M: Machine>(view: &ReplicaView<M>) -> Result<u32, CodecError> {
    let mut sum = Checksum(0);
    encode_replica(view, &mut sum)?;
    Ok(sum.0)
}

/// Adds bytes to a checksum and stores none.
struct Checksum(u32);

impl Write for Checksum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = crc32c::crc32c_append(self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
