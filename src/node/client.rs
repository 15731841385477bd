//! A client of the whole cluster: it executes commands exactly once, in one session, whichever
//! member leads.
//!
//! It numbers its commands, follows the leader and backs off. A command whose outcome is in doubt
//! is sent again with the *same* number; if it was executed before, the session table returns the
//! stored reply. So the client need not wait for an isolated leader: it asks the other members,
//! which elect a new leader long before the old one fails its pending requests. Several commands
//! may be in flight; each carries the lowest number whose reply is still wanted, which frees older
//! cached replies (CL06, CL11).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::machine::{CommandRef, Machine, Outcome, SessionId, command};
use crate::messages::ProposeError;
use crate::raft::NodeId;
use crate::settings::{Rules, SettingError};

use super::errors::ClientError;
use super::handle::{Handle, decode_reply};

/// The members that a client may ask. Clones share the list: when a restarted member's new handle
/// is set here, every client uses it.
pub struct Members<M>(Arc<Mutex<BTreeMap<NodeId, Handle<M>>>>);

impl<M> Clone for Members<M> {
    fn clone(&self) -> Members<M> {
        Members(self.0.clone())
    }
}

impl<M> Default for Members<M> {
    fn default() -> Members<M> {
        Members(Arc::default())
    }
}

impl<M: Machine> Members<M> {
    /// Adds a member's handle; replaces an earlier one of the same member.
    pub fn set(&self, handle: Handle<M>) {
        self.0.lock().insert(handle.node(), handle);
    }

    /// The handle of a member.
    pub fn get(&self, node: NodeId) -> Option<Handle<M>> {
        self.0.lock().get(&node).cloned()
    }

    /// The ids of all members, ascending.
    pub fn ids(&self) -> Vec<NodeId> {
        self.0.lock().keys().copied().collect()
    }

    /// The member after `node` in a cycle by id; the first one for `None`.
    fn after(&self, node: Option<NodeId>) -> Option<NodeId> {
        let members = self.0.lock();
        let next = members.keys().find(|&&id| node.is_none_or(|node| id > node));
        next.or_else(|| members.keys().next()).copied()
    }
}

impl<M: Machine> FromIterator<Handle<M>> for Members<M> {
    fn from_iter<I: IntoIterator<Item = Handle<M>>>(handles: I) -> Members<M> {
        let members = Members::default();
        handles.into_iter().for_each(|handle| members.set(handle));
        members
    }
}

/// Timeouts and limits of a client.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// How long a command is tried before the client gives up. Default: 60 s.
    pub timeout: Duration,
    /// How long the client waits for one member before it asks the next one. The command is sent
    /// again with the same number, so it is executed once, whichever attempt arrives first. The
    /// time doubles after each silent member, so that a slow cluster is not flooded with copies.
    /// Default: 2 s.
    ///
    /// About twice the members' `Config::election_timeout_max` fits: by then the other members have
    /// elected a new leader.
    pub attempt_timeout: Duration,
    /// The first pause after a failed attempt. It doubles up to `backoff_max`, with jitter.
    /// Default: 5 ms.
    pub backoff_min: Duration,
    /// The longest pause. Default: 200 ms.
    pub backoff_max: Duration,
    /// Maximum number of commands in flight, counted from the oldest one without a reply. At most
    /// the members' `SessionConfig::sequence_window`. Default: 512.
    pub window: u64,
    /// Seed of the jitter. Default: 1.
    pub seed: u64,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            timeout: Duration::from_secs(60),
            attempt_timeout: Duration::from_secs(2),
            backoff_min: Duration::from_millis(5),
            backoff_max: Duration::from_millis(200),
            window: 512,
            seed: 1,
        }
    }
}

impl ClientOptions {
    /// Checks that none of the options would stop the client. A client with invalid options
    /// executes nothing and returns the error.
    pub fn validate(&self) -> Result<(), SettingError> {
        let min = self.backoff_min;
        let mut rules = Rules::default();
        rules
            .wait("timeout", self.timeout)
            .wait("attempt_timeout", self.attempt_timeout)
            .wait("backoff_min", min)
            .must(
                self.backoff_max >= min,
                "backoff_max",
                self.backoff_max,
                format_args!("at least backoff_min ({min:?})"),
            )
            .time("backoff_max", self.backoff_max)
            .at_least("window", self.window, 1);
        rules.result()
    }
}

/// Counters of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientMetrics {
    /// Commands that got their reply.
    pub replies: u64,
    /// Attempts beyond the first of each request.
    pub retries: u64,
    /// Sessions opened.
    pub sessions: u64,
}

/// Executes commands exactly once. Clones share the session.
pub struct Client<M: Machine>(Arc<Inner<M>>);

impl<M: Machine> Clone for Client<M> {
    fn clone(&self) -> Client<M> {
        Client(self.0.clone())
    }
}

struct Inner<M: Machine> {
    members: Members<M>,
    options: ClientOptions,
    state: Mutex<State>,
    /// Locked while a session is opened, so that it is opened once.
    opening: tokio::sync::Mutex<()>,
    /// Notified when a command got its reply, because the window may have moved.
    moved: Notify,
    replies: AtomicU64,
    retries: AtomicU64,
    sessions: AtomicU64,
}

#[derive(Default)]
struct State {
    session: Option<SessionId>,
    next_sequence: u64,
    /// Sequence numbers whose reply is still wanted.
    wanted: BTreeSet<u64>,
    leader: Option<NodeId>,
    random: u64,
}

impl<M: Machine> Client<M> {
    /// A client of these members. Its session is opened with the first command.
    pub fn new(members: Members<M>, options: ClientOptions) -> Client<M> {
        let random = options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Client(Arc::new(Inner {
            members,
            options,
            state: Mutex::new(State { next_sequence: 1, random, ..State::default() }),
            opening: tokio::sync::Mutex::new(()),
            moved: Notify::new(),
            replies: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
        }))
    }

    /// A client of the members of these handles, with default options.
    pub fn connect(handles: impl IntoIterator<Item = Handle<M>>) -> Client<M> {
        Client::new(handles.into_iter().collect(), ClientOptions::default())
    }

    /// Executes the command exactly once and returns its reply.
    ///
    /// An error says whether the command may have been executed anyway. Dropping the future drops
    /// the reply; the command may still be executed.
    pub async fn execute(&self, command: M::Command) -> Result<M::Reply, ClientError> {
        self.0.options.validate()?;
        let mut attempts = Attempts::new(&self.0);
        loop {
            let session = self.session(&mut attempts).await?;
            let Some(ticket) = self.enter(session).await else { continue };
            let data =
                command::encode_session(session, ticket.sequence, ticket.low_water, &command);
            let data = data.map_err(|error| ClientError::Rejected(error.to_string()))?;
            let outcome = self.0.decide(data, &mut attempts).await?;
            match decode_reply::<M>(outcome) {
                Ok(reply) => {
                    self.0.replies.fetch_add(1, Relaxed);
                    return Ok(reply);
                }
                // Nothing was executed under this session's number, so a new session's number is
                // safe.
                Err(ProposeError::SessionExpired) if !attempts.in_doubt => {
                    self.0.forget(session);
                    attempts.note(&ProposeError::SessionExpired);
                }
                Err(ProposeError::ReplyUnreadable(why)) => {
                    return Err(ClientError::ReplyUnreadable(why));
                }
                Err(ProposeError::ReplyTooLong { limit }) => {
                    return Err(ClientError::ReplyTooLong { limit });
                }
                Err(error) => {
                    attempts.note(&error);
                    return Err(attempts.give_up());
                }
            }
        }
    }

    /// The client's counters.
    pub fn metrics(&self) -> ClientMetrics {
        ClientMetrics {
            replies: self.0.replies.load(Relaxed),
            retries: self.0.retries.load(Relaxed),
            sessions: self.0.sessions.load(Relaxed),
        }
    }

    /// Returns the session and opens it if there is none. Opening may be repeated freely: an unused
    /// session expires.
    async fn session(&self, attempts: &mut Attempts<'_, M>) -> Result<SessionId, ClientError> {
        if let Some(session) = self.0.state.lock().session {
            return Ok(session);
        }
        let _opening = self.0.opening.lock().await;
        if let Some(session) = self.0.state.lock().session {
            return Ok(session);
        }
        let in_doubt = attempts.in_doubt;
        let outcome = self.0.decide(CommandRef::OpenSession.encode(), attempts).await?;
        attempts.in_doubt = in_doubt;
        let Outcome::SessionOpened(session) = outcome else {
            return Err(ClientError::NotExecuted {
                last: format!("opening a session gave {outcome:?}"),
            });
        };
        self.0.sessions.fetch_add(1, Relaxed);
        let mut state = self.0.state.lock();
        (state.session, state.next_sequence) = (Some(session), 1);
        state.wanted.clear();
        Ok(session)
    }

    /// Takes the next number of `session` once the window has room for it. `None`: the session is
    /// over.
    async fn enter(&self, session: SessionId) -> Option<Ticket<'_, M>> {
        loop {
            let moved = self.0.moved.notified();
            {
                let mut state = self.0.state.lock();
                if state.session != Some(session) {
                    return None;
                }
                let sequence = state.next_sequence;
                let low_water = state.wanted.first().copied().unwrap_or(sequence);
                if sequence - low_water < self.0.options.window {
                    state.next_sequence += 1;
                    state.wanted.insert(sequence);
                    return Some(Ticket { client: &self.0, session, sequence, low_water });
                }
            }
            moved.await;
        }
    }
}

/// A number in use: its reply is wanted until this is dropped.
struct Ticket<'a, M: Machine> {
    client: &'a Inner<M>,
    session: SessionId,
    sequence: u64,
    low_water: u64,
}

impl<M: Machine> Drop for Ticket<'_, M> {
    fn drop(&mut self) {
        let mut state = self.client.state.lock();
        if state.session == Some(self.session) {
            state.wanted.remove(&self.sequence);
        }
        drop(state);
        self.client.moved.notify_waiters();
    }
}

/// The attempts of one command.
struct Attempts<'a, M: Machine> {
    client: &'a Inner<M>,
    deadline: Instant,
    made: u64,
    /// Whether an attempt may have been executed.
    in_doubt: bool,
    last: String,
    pause: Duration,
    /// How long to wait for a silent member.
    patience: Duration,
}

impl<'a, M: Machine> Attempts<'a, M> {
    fn new(client: &'a Inner<M>) -> Attempts<'a, M> {
        Attempts {
            client,
            deadline: Instant::now() + client.options.timeout,
            made: 0,
            in_doubt: false,
            last: "none".into(),
            pause: client.options.backoff_min,
            patience: client.options.attempt_timeout,
        }
    }

    fn note(&mut self, error: &ProposeError) {
        self.in_doubt |= error.may_have_applied();
        self.last = error.to_string();
    }

    fn give_up(&self) -> ClientError {
        let last = self.last.clone();
        if self.in_doubt {
            ClientError::Unknown { last }
        } else {
            ClientError::NotExecuted { last }
        }
    }

    /// Sends `data` to `node` once. A member that exceeds the wait may still execute it.
    async fn attempt(&mut self, node: NodeId, data: Bytes) -> Result<Outcome, ProposeError> {
        if self.made > 0 {
            self.client.retries.fetch_add(1, Relaxed);
        }
        self.made += 1;
        let handle = self.client.members.get(node).ok_or(ProposeError::Fatal)?;
        let until = self.deadline.min(Instant::now() + self.patience);
        let answer = tokio::time::timeout_at(until, handle.propose_data(data)).await;
        answer.unwrap_or_else(|_| {
            self.patience *= 2;
            Err(ProposeError::Unknown)
        })
    }

    /// Pauses before the next attempt. Gives up if the deadline would pass first: an attempt
    /// without time for its answer would only put the outcome in doubt.
    async fn back_off(&mut self) -> Result<(), ClientError> {
        let next = Instant::now() + self.client.jittered(self.pause);
        if next >= self.deadline {
            return Err(self.give_up());
        }
        self.pause = (self.pause * 2).min(self.client.options.backoff_max);
        tokio::time::sleep_until(next).await;
        Ok(())
    }
}

impl<M: Machine> Inner<M> {
    /// Sends `data` until the log gives an outcome or the time is up.
    async fn decide(
        &self,
        data: Bytes,
        attempts: &mut Attempts<'_, M>,
    ) -> Result<Outcome, ClientError> {
        attempts.made = 0;
        loop {
            let Some(node) = self.target() else {
                return Err(ClientError::NotExecuted { last: "there are no members".into() });
            };
            match attempts.attempt(node, data.clone()).await {
                Ok(Outcome::Unknown) => {
                    attempts.note(&ProposeError::Unknown);
                    attempts.back_off().await?;
                }
                Ok(outcome) => return Ok(outcome),
                Err(error) => {
                    attempts.note(&error);
                    if let ProposeError::Rejected(why) = error {
                        // An earlier attempt may have reached a leader of another build.
                        return Err(match attempts.in_doubt {
                            true => attempts.give_up(),
                            false => ClientError::Rejected(why),
                        });
                    }
                    self.learn(node, &error);
                    attempts.back_off().await?;
                }
            }
        }
    }

    /// The member to ask: the known leader, else any member.
    fn target(&self) -> Option<NodeId> {
        let mut state = self.state.lock();
        if state.leader.is_none() {
            state.leader = self.members.after(None);
        }
        state.leader
    }

    /// Updates the member to ask next after a failed attempt at `node`.
    fn learn(&self, node: NodeId, error: &ProposeError) {
        let next = match error {
            ProposeError::NotLeader { leader: Some(leader) }
                if self.members.get(*leader).is_some() =>
            {
                Some(*leader)
            }
            ProposeError::Busy => Some(node),
            _ => self.members.after(Some(node)),
        };
        let mut state = self.state.lock();
        // Another command may have found the leader meanwhile.
        if state.leader == Some(node) {
            state.leader = next;
        }
    }

    fn forget(&self, session: SessionId) {
        let mut state = self.state.lock();
        if state.session == Some(session) {
            state.session = None;
        }
        drop(state);
        self.moved.notify_waiters();
    }

    /// A random duration between half of `pause` and `pause`.
    fn jittered(&self, pause: Duration) -> Duration {
        let mut state = self.state.lock();
        state.random ^= state.random << 13;
        state.random ^= state.random >> 7;
        state.random ^= state.random << 17;
        let half = pause.as_micros() as u64 / 2;
        Duration::from_micros(half + state.random % (half + 1))
    }
}

#[cfg(test)]
mod tests;
