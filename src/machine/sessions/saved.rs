//! The session table's view, and its place in a snapshot.
//!
//! ```text
//! log time: u64 │ number of sessions: u64 │ each, by id:
//!     id │ low-water mark │ last use: index │ last use: time │ number of replies │ each, by sequence:
//!         sequence │ length │ reply
//! ```
//! All numbers are eight bytes. *What it does not do:* save the queue, the counters or the bounds: the first is
//! made anew, the second are this process's, the third are configuration.

use std::collections::VecDeque;
use std::io::{Read, Write};

use bytes::Bytes;

use super::{Session, SessionConfig, SessionId, Sessions};
use crate::machine::codec::{CodecError, read_bytes, read_u64, write_bytes, write_u64};
use crate::machine::map::{Map, sorted};
use crate::raft::Index;

const WHAT: &str = "the session table";

/// The sessions as of one entry.
pub(in crate::machine) struct SessionsView {
    pub(super) table: Map<SessionId, Session>,
    pub(super) time_ms: u64,
}

impl SessionsView {
    /// Writes the table in the order of the head of this file.
    pub(in crate::machine) fn encode(&self, out: &mut dyn Write) -> Result<(), CodecError> {
        write_u64(out, self.time_ms)?;
        write_u64(out, self.table.size() as u64)?;
        for (id, session) in sorted(&self.table) {
            for field in [*id, session.low_water, session.last_used, session.last_used_ms] {
                write_u64(out, field)?;
            }
            write_u64(out, session.replies.len() as u64)?;
            for (sequence, reply) in &session.replies {
                write_u64(out, *sequence)?;
                write_bytes(out, reply)?;
            }
        }
        Ok(())
    }
}

impl Sessions {
    /// Reads what [`SessionsView::encode`] wrote. `applied` is the last entry that it can know of.
    pub(in crate::machine) fn decode(
        input: &mut dyn Read,
        config: SessionConfig,
        applied: Index,
    ) -> Result<Sessions, CodecError> {
        let mut sessions = Sessions::new(config);
        sessions.time_ms = read_u64(input, WHAT)?;
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

    /// Whether `session` can follow the session `previous` in a table as of `applied`.
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
        } else if session.last_used_ms > self.time_ms {
            format!(
                "session {id} last used at {} ms, log time is {} ms",
                session.last_used_ms, self.time_ms
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
        let mut replies = VecDeque::new();
        let mut previous = None;
        for _ in 0..read_u64(input, WHAT)? {
            let sequence = read_u64(input, WHAT)?;
            if sequence < low_water || previous >= Some(sequence) {
                let why =
                    format!("a reply to sequence {sequence} after {previous:?}, mark {low_water}");
                return Err(CodecError::invalid(WHAT, why));
            }
            previous = Some(sequence);
            replies.push_back((sequence, Bytes::from(read_bytes(input, WHAT)?)));
        }
        Ok(Session { low_water, last_used, last_used_ms, queued_at: last_used, replies })
    }
}
