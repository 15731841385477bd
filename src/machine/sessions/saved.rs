//! The view of the session table, and its format in a snapshot.
//!
//! ```text
//! log time │ its term │ log time at the term's begin │ the term's first stamp number of sessions │
//! each, by id: id │ low-water mark │ last use: index │ last use: time │ number of replies │ each,
//! by sequence: sequence │ digest of the command: 16 bytes │ kind of reply: u8 │ kind 0: length │
//! reply
//! ```
//! Kinds: 0 a reply, 1 a reply that could not be encoded, 2 a reply that was too long. All other
//! numbers are eight bytes.
//!
//! *What it does not do:* it does not save the queue, the counters or the bounds: the queue is
//! rebuilt, the counters belong to this process, the bounds are configuration.

use std::collections::VecDeque;
use std::io::{Read, Write};

use bytes::Bytes;

use super::time::LogTime;
use super::{CommandDigest, Executed, KeptReply, Session, SessionConfig, SessionId, Sessions};
use crate::machine::codec::{
    CodecError, or_truncated, read_bytes, read_u64, write_bytes, write_u64,
};
use crate::machine::map::{Map, sorted};
use crate::raft::Index;

const WHAT: &str = "the session table";
const ENCODED: u8 = 0;
const UNENCODABLE: u8 = 1;
pub(super) const TOO_LONG: u8 = 2;

/// The sessions after one entry.
pub(in crate::machine) struct SessionsView {
    pub(super) table: Map<SessionId, Session>,
    pub(super) time: LogTime,
}

impl SessionsView {
    /// Writes the table in the format described at the head of this file.
    pub(in crate::machine) fn encode(&self, out: &mut dyn Write) -> Result<(), CodecError> {
        for number in self.time.to_numbers() {
            write_u64(out, number)?;
        }
        write_u64(out, self.table.size() as u64)?;
        for (id, session) in sorted(&self.table) {
            for field in [*id, session.low_water, session.last_used, session.last_used_ms] {
                write_u64(out, field)?;
            }
            write_u64(out, session.executed.len() as u64)?;
            for executed in &session.executed {
                executed.encode(out)?;
            }
        }
        Ok(())
    }
}

impl Sessions {
    /// Reads what [`SessionsView::encode`] wrote. `applied` is the last entry that it can contain.
    pub(in crate::machine) fn decode(
        input: &mut dyn Read,
        config: SessionConfig,
        applied: Index,
    ) -> Result<Sessions, CodecError> {
        let mut sessions = Sessions::new(config);
        let mut numbers = [0; 4];
        for number in &mut numbers {
            *number = read_u64(input, WHAT)?;
        }
        sessions.time =
            LogTime::from_numbers(numbers).map_err(|why| CodecError::invalid(WHAT, why))?;
        let mut previous = 0;
        for _ in 0..read_u64(input, WHAT)? {
            let id = read_u64(input, WHAT)?;
            let session = Session::decode(input)?;
            sessions.check(id, &session, previous, applied)?;
            previous = id;
            sessions.insert(id, session);
        }
        Ok(sessions)
    }

    /// Checks that `session` can follow the session `previous` in a table as of `applied`.
    fn check(
        &self,
        id: SessionId,
        session: &Session,
        previous: u64,
        applied: Index,
    ) -> Result<(), CodecError> {
        let used = session.last_used;
        let why = if id <= previous {
            format!("session {id} follows session {previous}")
        } else if used < id || used > applied {
            format!("session {id} last used at index {used}, applied is {applied}")
        } else if session.last_used_ms > self.time_ms() {
            format!(
                "session {id} last used at {} ms, log time is {} ms",
                session.last_used_ms,
                self.time_ms()
            )
        } else if let Some(other) = self.queue.get(&used) {
            format!("sessions {other} and {id} both last used at index {used}")
        } else {
            return Ok(());
        };
        Err(CodecError::invalid(WHAT, why))
    }
}

impl Session {
    fn decode(input: &mut dyn Read) -> Result<Session, CodecError> {
        let low_water = read_u64(input, WHAT)?;
        let last_used = read_u64(input, WHAT)?;
        let last_used_ms = read_u64(input, WHAT)?;
        let mut executed = VecDeque::new();
        let mut previous = None;
        for _ in 0..read_u64(input, WHAT)? {
            let next = Executed::decode(input)?;
            let sequence = next.sequence;
            if sequence < low_water || previous >= Some(sequence) {
                let why =
                    format!("a reply to sequence {sequence} after {previous:?}, mark {low_water}");
                return Err(CodecError::invalid(WHAT, why));
            }
            previous = Some(sequence);
            executed.push_back(next);
        }
        Ok(Session { low_water, last_used, last_used_ms, queued_at: last_used, executed })
    }
}

impl Executed {
    fn encode(&self, out: &mut dyn Write) -> Result<(), CodecError> {
        write_u64(out, self.sequence)?;
        out.write_all(&self.command.0)?;
        match &self.reply {
            KeptReply::Encoded(reply) => {
                out.write_all(&[ENCODED])?;
                write_bytes(out, reply)?;
            }
            KeptReply::Unencodable => out.write_all(&[UNENCODABLE])?,
            KeptReply::TooLong => out.write_all(&[TOO_LONG])?,
        }
        Ok(())
    }

    fn decode(input: &mut dyn Read) -> Result<Executed, CodecError> {
        let sequence = read_u64(input, WHAT)?;
        let command = CommandDigest(read_array(input)?);
        let reply = match read_array(input)? {
            [ENCODED] => KeptReply::Encoded(Bytes::from(read_bytes(input, WHAT)?)),
            [UNENCODABLE] => KeptReply::Unencodable,
            [TOO_LONG] => KeptReply::TooLong,
            [kind] => {
                let why = format!("the reply to sequence {sequence} is of unknown kind {kind}");
                return Err(CodecError::invalid(WHAT, why));
            }
        };
        Ok(Executed { sequence, command, reply })
    }
}

fn read_array<const N: usize>(input: &mut dyn Read) -> Result<[u8; N], CodecError> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).map_err(|error| or_truncated(error, WHAT))?;
    Ok(bytes)
}
