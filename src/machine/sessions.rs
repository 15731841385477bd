//! Sessions: each command executed at most once, its reply cached until the client has received it
//! (Raft §8).
//!
//! ```text
//! sequence  1   2   3   4   5   6   7   8   9 ...
//!           freed──╯│   │               ╰─ not before the mark moves (window 5 here)
//!                   │   ╰─ executed, reply cached: a copy gets the reply
//!         low-water mark = 3: the lowest whose reply the client may still ask for
//! ```
//! Sequences may arrive in any order between the mark and the window's end, so a client may
//! pipeline and a retry may overtake. Below the mark nothing is executed: the command was executed,
//! or the client gave it up.
//!
//! **Log time** advances with every command, within the bounds of `time.rs`. A session ends when it
//! was idle for `session_timeout_ms` of log time, or when it is the least recently used and a new
//! one needs room. Both are independent of local clocks, so they happen at the same entry on every
//! replica.
//!
//! Each reply is stored with a **digest** of its command. A sequence that is reused for another
//! command is a client's mistake; it gets an error, not the first command's reply.
//!
//! Invariants, each asserted where it could break:
//! - `queue[session.queued_at] == id` for each session, and nothing else is in the queue.
//! - `session.queued_at <= session.last_used`: the queue is updated only when its front is
//!   requested, so using a session costs no queue operation, and the front found is still exact.
//! - A session's replies are in ascending sequence, none below its mark.
//!
//! *What it does not do:* it does not execute commands, and does not keep a session alive: a client
//! that is idle for longer than the timeout opens a new one.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::map::{Map, new_map};
use crate::raft::{Index, Term};

mod digest;
mod saved;
mod time;

pub(super) use digest::CommandDigest;
pub(super) use saved::SessionsView;
use time::LogTime;

/// The id of a session: the index of the entry that opened it. Never 0, never reused.
pub type SessionId = u64;

/// Bounds of the session table. Must be the same on every member, or their states diverge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// The maximum number of sessions; one more ends the least recently used. At least 1.
    pub max_sessions: usize,
    /// The idle log time in milliseconds after which a session ends.
    pub session_timeout_ms: u64,
    /// The maximum in milliseconds by which one entry advances log time, and by which a new
    /// leader's clock does. It should be well below the timeout, or a single wrong clock could end
    /// every session at once. See [`ApplyContext::time_ms`](super::ApplyContext::time_ms).
    pub max_time_step_ms: u64,
    /// How far a sequence may be above the session's low-water mark; bounds the cached replies. At
    /// least 1.
    pub sequence_window: u64,
    /// The maximum size of an encoded reply in bytes. A command whose reply is longer is executed
    /// nevertheless; its client gets [`ReplyTooLong`](super::Outcome::ReplyTooLong), and the
    /// session stores that. At least 1.
    pub reply_bytes: usize,
}

impl Default for SessionConfig {
    fn default() -> SessionConfig {
        SessionConfig {
            max_sessions: 4096,
            session_timeout_ms: 30 * 60 * 1000,
            max_time_step_ms: 60 * 1000,
            sequence_window: 1024,
            reply_bytes: 1 << 20,
        }
    }
}

/// Session counters of this replica since it started. Not replicated, not in snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SessionCounters {
    /// Commands not executed because they had been executed before: answered from the cache, or
    /// below the mark.
    pub duplicates_suppressed: u64,
    /// Sessions opened.
    pub sessions_opened: u64,
    /// Sessions ended because they were idle for too long.
    pub sessions_expired: u64,
    /// Sessions ended to make room for new ones.
    pub sessions_evicted: u64,
    /// Sessions open now.
    pub sessions_live: u64,
}

/// One client's session.
#[derive(Clone, Debug)]
struct Session {
    low_water: u64,
    last_used: Index,
    last_used_ms: u64,
    /// The session's key in the queue; not saved, the queue is rebuilt at decoding.
    queued_at: Index,
    /// In ascending order of sequence.
    executed: VecDeque<Executed>,
}

/// An executed command whose reply the client may still need.
#[derive(Clone, Debug)]
struct Executed {
    sequence: u64,
    command: CommandDigest,
    reply: KeptReply,
}

/// What a session stores of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeptReply {
    /// The encoded reply.
    Encoded(Bytes),
    /// The reply could not be encoded.
    Unencodable,
    /// The reply is longer than [`SessionConfig::reply_bytes`].
    TooLong,
}

/// Whether a session's command is to be executed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Execute it, then [`Sessions::record`] the reply.
    Execute,
    /// It was executed, with this reply.
    Duplicate(KeptReply),
    /// Another command was executed with this sequence.
    Reused,
    /// The session does not exist, or no longer exists.
    Expired,
    /// The sequence is below the low-water mark.
    TooOld,
    /// The sequence is too far above the low-water mark.
    WindowExceeded,
}

/// The session table, with its log time.
pub(super) struct Sessions {
    config: SessionConfig,
    table: Map<SessionId, Session>,
    /// Sessions by the index of their last use as of the last update; see the invariants.
    queue: BTreeMap<Index, SessionId>,
    time: LogTime,
    /// No session expires before this log time.
    check_due_ms: u64,
    counters: SessionCounters,
}

impl Sessions {
    pub(super) fn config(&self) -> SessionConfig {
        self.config
    }

    pub(super) fn new(config: SessionConfig) -> Sessions {
        Sessions {
            config,
            table: new_map(),
            queue: BTreeMap::new(),
            time: LogTime::default(),
            check_due_ms: 0,
            counters: SessionCounters::default(),
        }
    }

    pub(super) fn time_ms(&self) -> u64 {
        self.time.now_ms()
    }

    pub(super) fn counters(&self) -> SessionCounters {
        SessionCounters { sessions_live: self.table.size() as u64, ..self.counters }
    }

    pub(super) fn continue_counters(&mut self, from: SessionCounters) {
        self.counters = from;
    }

    /// Advances log time by the stamp of a command that the leader of `term` appended, and ends the
    /// sessions that were idle for too long.
    pub(super) fn advance(&mut self, term: Term, stamp_ms: u64) {
        self.time.advance(term, stamp_ms, self.config.max_time_step_ms);
        if self.time_ms() >= self.check_due_ms {
            self.expire();
        }
    }

    /// Opens a session for the entry at `index`.
    pub(super) fn open(&mut self, index: Index) -> SessionId {
        while self.table.size() >= self.config.max_sessions.max(1) {
            let (oldest, _) = self.least_recently_used().expect("a full table is not empty");
            self.remove(oldest);
            self.counters.sessions_evicted += 1;
        }
        self.counters.sessions_opened += 1;
        self.insert(
            index,
            Session {
                low_water: 1,
                last_used: index,
                last_used_ms: self.time_ms(),
                queued_at: index,
                executed: VecDeque::new(),
            },
        );
        index
    }

    /// Closes a session; false if it does not exist.
    pub(super) fn close(&mut self, id: SessionId) -> bool {
        let known = self.table.contains_key(&id);
        if known {
            self.remove(id);
        }
        known
    }

    /// Checks the command `sequence` of session `id` in the entry at `index`. Records that the
    /// session is in use, and frees the replies that the client no longer needs.
    pub(super) fn admit(
        &mut self,
        id: SessionId,
        sequence: u64,
        low_water: u64,
        command: CommandDigest,
        index: Index,
    ) -> Admission {
        let time_ms = self.time_ms();
        let Some(session) = self.table.get_mut(&id) else { return Admission::Expired };
        session.last_used = index;
        session.last_used_ms = time_ms;
        session.raise_low_water(low_water);
        if sequence < session.low_water {
            self.counters.duplicates_suppressed += 1;
            return Admission::TooOld;
        }
        if let Some(executed) = session.executed(sequence) {
            if executed.command != command {
                return Admission::Reused;
            }
            self.counters.duplicates_suppressed += 1;
            return Admission::Duplicate(executed.reply.clone());
        }
        if sequence - session.low_water >= self.config.sequence_window.max(1) {
            return Admission::WindowExceeded;
        }
        Admission::Execute
    }

    /// Stores the reply of a command that was admitted and has been executed.
    pub(super) fn record(
        &mut self,
        id: SessionId,
        sequence: u64,
        command: CommandDigest,
        reply: KeptReply,
    ) {
        let session = self.table.get_mut(&id);
        let session =
            session.unwrap_or_else(|| panic!("session {id} vanished under its own command"));
        session.insert_reply(Executed { sequence, command, reply });
    }

    /// The command that session `id` executed with `sequence`: its digest and its reply.
    pub(super) fn cached(
        &self,
        id: SessionId,
        sequence: u64,
    ) -> Option<(CommandDigest, &KeptReply)> {
        let executed = self.table.get(&id)?.executed(sequence)?;
        Some((executed.command, &executed.reply))
    }

    /// The table now; O(1).
    pub(super) fn view(&self) -> SessionsView {
        SessionsView { table: self.table.clone(), time: self.time }
    }

    fn expire(&mut self) {
        while let Some((id, last_used_ms)) = self.least_recently_used() {
            let due_ms = last_used_ms.saturating_add(self.config.session_timeout_ms);
            if due_ms > self.time_ms() {
                self.check_due_ms = due_ms;
                return;
            }
            self.remove(id);
            self.counters.sessions_expired += 1;
        }
        self.check_due_ms = self.time_ms().saturating_add(self.config.session_timeout_ms);
    }

    /// The least recently used session, and the log time of its last use. Sessions queued before
    /// their last use are moved back. Since no session was last used before its place in the queue,
    /// the first one in its right place is the least recently used.
    fn least_recently_used(&mut self) -> Option<(SessionId, u64)> {
        loop {
            let (&queued_at, &id) = self.queue.first_key_value()?;
            let last_used = {
                let session = self.table.get(&id);
                let session =
                    session.unwrap_or_else(|| panic!("session {id} is queued but unknown"));
                if session.last_used == queued_at {
                    return Some((id, session.last_used_ms));
                }
                session.last_used
            };
            assert!(
                last_used > queued_at,
                "session {id} queued at {queued_at}, last used at {last_used}"
            );
            self.queue.remove(&queued_at);
            self.queue.insert(last_used, id);
            self.table.get_mut(&id).expect("looked up above").queued_at = last_used;
        }
    }

    fn insert(&mut self, id: SessionId, session: Session) {
        let other = self.queue.insert(session.queued_at, id);
        assert!(
            other.is_none(),
            "sessions {other:?} and {id} both queued at {}",
            session.queued_at
        );
        self.table.insert_mut(id, session);
    }

    fn remove(&mut self, id: SessionId) {
        let queued_at = self.table.get(&id).map(|session| session.queued_at);
        let queued = queued_at.and_then(|at| self.queue.remove(&at));
        assert_eq!(queued, Some(id), "session {id}, queued at {queued_at:?}, is not there");
        self.table.remove_mut(&id);
    }
}

impl Session {
    fn raise_low_water(&mut self, low_water: u64) {
        self.low_water = self.low_water.max(low_water);
        while self.executed.front().is_some_and(|executed| executed.sequence < self.low_water) {
            self.executed.pop_front();
        }
    }

    fn executed(&self, sequence: u64) -> Option<&Executed> {
        // Most commands are new and in order: above everything executed.
        if self.executed.back()?.sequence < sequence {
            return None;
        }
        let at =
            self.executed.binary_search_by_key(&sequence, |executed| executed.sequence).ok()?;
        Some(&self.executed[at])
    }

    fn insert_reply(&mut self, new: Executed) {
        let sequence = new.sequence;
        let at = self.executed.partition_point(|executed| executed.sequence < sequence);
        let taken = self.executed.get(at).is_some_and(|executed| executed.sequence == sequence);
        assert!(!taken, "sequence {sequence} executed twice");
        self.executed.insert(at, new);
    }
}

#[cfg(test)]
mod tests;
