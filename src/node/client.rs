//! A client of the whole cluster: one session, commands executed exactly once, whoever leads.
//!
//! It numbers its commands, follows the leader, backs off, and sends a command whose outcome is in doubt once more with
//! the *same* number: the session table answers what was executed already. So it need not sit out the silence of a
//! leader that is cut off: it asks the others, who elect another one long before the old one gives its waiters up.
//! Several commands may be under way at a time; the lowest number that is still wanted travels along and frees cached
//! replies (CL06, CL11).

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

/// The members a client may ask. Shared: a member that is restarted gets its new handle here, and every client has it.
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
    /// Adds a member's handle, in place of an earlier one of the same member.
    pub fn set(&self, handle: Handle<M>) {
        self.0.lock().insert(handle.node(), handle);
    }

    /// The member's handle.
    pub fn get(&self, node: NodeId) -> Option<Handle<M>> {
        self.0.lock().get(&node).cloned()
    }

    /// The ids of all members, ascending.
    pub fn ids(&self) -> Vec<NodeId> {
        self.0.lock().keys().copied().collect()
    }

    /// The member after `node`, round and round.
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

/// How a client tries.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// A command is given up after this.
    pub timeout: Duration,
    /// A member that is silent for so long is left for the next one. The command goes there with the same number, so it is
    /// executed once, wherever it gets first. Each time the client waits twice as long as the time before: a cluster
    /// that is merely slow is not buried under copies.
    ///
    /// Twice the members' `Config::election_timeout_max` is about right: by then the others have another leader.
    pub attempt_timeout: Duration,
    /// The first pause after an attempt that found nobody; doubled up to `backoff_max`, with jitter.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// Commands under way at a time, counted from the oldest that has no reply yet. At most the members'
    /// `SessionConfig::sequence_window`.
    pub window: u64,
    /// Seeds the jitter.
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
    /// Whether none of the options stops the client. A client whose options do not work executes
    /// nothing and says why.
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

/// What a client has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientMetrics {
    /// Commands that got their reply.
    pub replies: u64,
    /// Attempts beyond the first.
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
    /// Held while a session is opened: it is opened once.
    opening: tokio::sync::Mutex<()>,
    /// A command got its reply: the window may have moved.
    moved: Notify,
    replies: AtomicU64,
    retries: AtomicU64,
    sessions: AtomicU64,
}

#[derive(Default)]
struct State {
    session: Option<SessionId>,
    next_sequence: u64,
    /// Sequences whose reply is still wanted.
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

    /// A client of the members that these handles talk to.
    pub fn connect(handles: impl IntoIterator<Item = Handle<M>>) -> Client<M> {
        Client::new(handles.into_iter().collect(), ClientOptions::default())
    }

    /// Executes the command exactly once and returns its reply.
    ///
    /// An error says whether the command may have been executed nevertheless. Dropping the future gives up on the reply,
    /// not on the command.
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
                // Nothing was executed under this session's number, so another may be taken.
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

    /// What the client has done so far.
    pub fn metrics(&self) -> ClientMetrics {
        ClientMetrics {
            replies: self.0.replies.load(Relaxed),
            retries: self.0.retries.load(Relaxed),
            sessions: self.0.sessions.load(Relaxed),
        }
    }

    /// The session, opened if there is none. Opening is repeated freely: a session that nobody uses expires.
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

    /// Takes the next number of `session`, as soon as the window has room for it. `None`: the session is over.
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

/// One command's attempts.
struct Attempts<'a, M: Machine> {
    client: &'a Inner<M>,
    deadline: Instant,
    made: u64,
    /// An attempt may have been executed.
    in_doubt: bool,
    last: String,
    pause: Duration,
    /// How long a silent member is waited for.
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

    /// Sends `data` to `node` once. A member that is silent too long may execute it all the same.
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

    /// Pauses before the next attempt. None is begun that could not be waited for: it would only put the outcome in doubt.
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
    /// Sends `data` until there is an outcome from the log, or time is up.
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
                        // An earlier attempt may have met a leader of another build.
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

    /// Whom to ask: the leader as far as known, else anybody.
    fn target(&self) -> Option<NodeId> {
        let mut state = self.state.lock();
        if state.leader.is_none() {
            state.leader = self.members.after(None);
        }
        state.leader
    }

    /// What an attempt at `node` taught about whom to ask next.
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

    /// Between half of `pause` and all of it.
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
