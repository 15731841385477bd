//! A handle: how a service talks to one member.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use actix::Recipient;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::actors::context::NodeContext;
#[cfg(feature = "web")]
use crate::machine::NoMachine;
use crate::machine::{CodecError, Machine, Outcome, codec, command};
use crate::messages::{ApplyMessage, PeerMessage, Proposal as Proposed, Proposals, Reply, Trace};
use crate::messages::{ProposeError, ReadError, SnapshotError};
use crate::raft::{LogId, Micros, NodeId, Role};
use crate::runtime::clock::Clock;

use super::status::NodeStatus;

/// What a read may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consistency {
    /// Everything that was acknowledged anywhere before the read began. Only the leader can say; costs one round of
    /// messages, shared by all reads of that moment (Raft dissertation §6.4).
    Linearizable,
    /// Whatever this member has applied. Never goes back on one member; may be old.
    Local,
}

/// Talks to one member. Cheap to clone, usable from any thread, within any runtime or none: it goes into `web::Data`.
pub struct Handle<M> {
    pub(crate) peer: Recipient<PeerMessage>,
    pub(crate) proposals: Proposals,
    pub(crate) apply_side: Recipient<ApplyMessage>,
    pub(crate) shared: Arc<NodeContext>,
    pub(crate) limits: Limits,
    /// Whether this build can decode a command. An own apply side has commands of its own.
    pub(crate) understands: Option<CommandCheck>,
    pub(crate) clock: Clock,
    pub(crate) machine: PhantomData<fn() -> M>,
}

/// Whether an entry's data is a command of this build's machine.
pub(crate) type CommandCheck = fn(&[u8]) -> Result<(), CodecError>;

/// What a handle checks before anything is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) command_bytes: usize,
    pub(crate) timeout: Micros,
}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Handle<M> {
        Handle {
            peer: self.peer.clone(),
            proposals: self.proposals.clone(),
            apply_side: self.apply_side.clone(),
            shared: self.shared.clone(),
            limits: self.limits,
            understands: self.understands,
            clock: self.clock.clone(),
            machine: PhantomData,
        }
    }
}

impl<M> std::fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle(node {})", self.shared.node)
    }
}

impl<M: Machine> Handle<M> {
    /// The member this handle talks to.
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// Executes a command through the log and returns its reply.
    ///
    /// There is no session: after [`ProposeError::Unknown`] it is not safe to send the command again. Use
    /// [`Client`](super::Client) for that.
    pub async fn propose(&self, command: M::Command) -> Result<M::Reply, ProposeError> {
        decode_reply::<M>(self.propose_data(command::encode_raw(&command)?).await?)
    }

    /// Begins to execute a command: [`Proposal::appended`] tells when it is durable here, [`Proposal::reply`] what came of it.
    pub fn submit(&self, command: M::Command) -> Result<Proposal<M>, ProposeError> {
        self.submit_data(command::encode_raw(&command)?)
    }

    /// Executes what `data` says, as a [`CommandRef`](crate::machine::CommandRef) encodes it or as an own apply side understands it.
    ///
    /// Data that is no command of the machine is not appended: the leader answers [`ProposeError::Rejected`], another
    /// member [`ProposeError::NotLeader`]. What an own apply side understands is not looked into.
    pub async fn propose_data(&self, data: Bytes) -> Result<Outcome, ProposeError> {
        // Dropped without an answer the peer's mailbox is gone: never appended.
        self.send(data, None)?.await.unwrap_or(Err(ProposeError::Fatal))
    }

    /// Begins to execute what `data` says, as with [`Handle::propose_data`]. Commands are appended in the order of these calls.
    pub fn submit_data(&self, data: Bytes) -> Result<Proposal<M>, ProposeError> {
        let (durable, appended) = oneshot::channel();
        let outcome = self.send(data, Some(durable))?;
        Ok(Proposal { appended: Some(appended), outcome, machine: PhantomData })
    }

    fn send(
        &self,
        data: Bytes,
        durable: Option<oneshot::Sender<LogId>>,
    ) -> Result<Answer, ProposeError> {
        if data.len() > self.limits.command_bytes {
            let (size, limit) = (data.len(), self.limits.command_bytes);
            return Err(ProposeError::Rejected(format!(
                "{size} bytes, Config::command_bytes is {limit}"
            )));
        }
        if !self.shared.stop_signal.is_running() {
            return Err(ProposeError::Fatal);
        }
        self.check(&data)?;
        let permit = self.shared.proposals.enter().ok_or(ProposeError::Busy)?;
        let (to, answer) = oneshot::channel();
        let reply = Reply::new(to, durable, permit).traced(Trace::begin(self.shared.node));
        self.proposals.put(Proposed { data, reply });
        Ok(answer)
    }

    /// What this build can't decode must not get into the log from here: each member of this build would stop at it. A leader
    /// of a newer build may know it. This is decoded in the caller's task: it takes as long as the command is, and the peer's
    /// thread has none to spare.
    fn check(&self, data: &[u8]) -> Result<(), ProposeError> {
        let Some(understands) = self.understands else { return Ok(()) };
        understands(data).map_err(|error| {
            let raft = self.shared.raft.lock();
            match raft.role {
                Role::Leader => ProposeError::Rejected(format!(
                    "it is no command of this build's {}: {error}",
                    std::any::type_name::<M>()
                )),
                _ => ProposeError::NotLeader { leader: raft.leader },
            }
        })
    }

    /// Runs `read` on the member's state machine, on the state machine's own thread: keep it short.
    pub async fn read<R: Send + 'static>(
        &self,
        consistency: Consistency,
        read: impl FnOnce(&M) -> R + Send + 'static,
    ) -> Result<R, ReadError> {
        if !self.shared.stop_signal.is_running() {
            return Err(ReadError::Fatal);
        }
        let (to, answer) = oneshot::channel();
        let read = move |state: Result<&dyn Any, _>| {
            drop(to.send(state.map(|state| read(machine_in(state)))))
        };
        let deadline = self.clock.now() + self.limits.timeout;
        let job = self.shared.reads.begin(deadline, read).ok_or(ReadError::Busy)?;
        match consistency {
            Consistency::Linearizable => self.peer.do_send(PeerMessage::Read(job)),
            Consistency::Local => self.apply_side.do_send(ApplyMessage::ReadAt { index: 0, job }),
        }
        answer.await.unwrap_or(Err(ReadError::Fatal))
    }

    /// Takes a snapshot of what is applied now, and waits until it is durable; returns its last entry.
    pub async fn snapshot(&self) -> Result<LogId, SnapshotError> {
        let (to, answer) = oneshot::channel();
        self.peer.do_send(PeerMessage::Snapshot(to));
        answer.await.unwrap_or(Err(SnapshotError::Fatal))
    }

    /// How the member stands. Never waits; tells the last state after the member's end.
    pub fn status(&self) -> NodeStatus {
        NodeStatus::of(&self.shared)
    }
}

impl<M> Handle<M> {
    /// The same member, for whoever needs no typed commands.
    #[cfg(feature = "web")]
    pub(crate) fn without_machine(self) -> Handle<NoMachine> {
        let Handle { peer, proposals, apply_side, shared, limits, understands, clock, machine: _ } =
            self;
        let machine = PhantomData;
        Handle { peer, proposals, apply_side, shared, limits, understands, clock, machine }
    }
}

/// The node was built with this machine, so its state is one.
fn machine_in<M: 'static>(state: &dyn Any) -> &M {
    match state.downcast_ref() {
        Some(machine) => machine,
        None => panic!("the apply side holds another state than {}", std::any::type_name::<M>()),
    }
}

type Answer = oneshot::Receiver<Result<Outcome, ProposeError>>;

/// A command under way.
pub struct Proposal<M: Machine> {
    appended: Option<oneshot::Receiver<LogId>>,
    outcome: Answer,
    machine: PhantomData<fn() -> M>,
}

impl<M: Machine> Proposal<M> {
    /// Waits until the command's entry is durable in the leader's own log, and tells which it is. `None`: that will not be
    /// known any more; [`Proposal::reply`] says why.
    pub async fn appended(&mut self) -> Option<LogId> {
        self.appended.take()?.await.ok()
    }

    /// Waits for the reply.
    pub async fn reply(self) -> Result<M::Reply, ProposeError> {
        decode_reply::<M>(self.outcome().await?)
    }

    /// Waits for what the apply side answers, undecoded.
    pub async fn outcome(self) -> Result<Outcome, ProposeError> {
        self.outcome.await.unwrap_or(Err(ProposeError::Fatal))
    }
}

/// What an outcome means to whoever proposed a command of `M`.
pub(crate) fn decode_reply<M: Machine>(outcome: Outcome) -> Result<M::Reply, ProposeError> {
    match outcome {
        Outcome::Reply(bytes) => {
            codec::decode(&bytes).map_err(|error| ProposeError::ReplyUnreadable(error.to_string()))
        }
        Outcome::ReplyUnencodable => {
            Err(ProposeError::ReplyUnreadable("it can't be encoded".into()))
        }
        Outcome::SessionExpired => Err(ProposeError::SessionExpired),
        Outcome::SequenceTooOld | Outcome::WindowExceeded => Err(ProposeError::SequenceRefused),
        Outcome::ReplyTooLong { limit } => Err(ProposeError::ReplyTooLong { limit }),
        Outcome::SequenceReused => Err(ProposeError::SequenceReused),
        Outcome::Unknown => Err(ProposeError::Unknown),
        other => Err(ProposeError::ReplyUnreadable(format!("{other:?} is no reply to a command"))),
    }
}
