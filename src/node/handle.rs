//! The interface of a service to one member.

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
use crate::messages::{
    ApplyMessage, LinearizableRead, PeerAddress, Proposal as Proposed, Proposals, ProposeError,
    ReadError, Reply, RequestSnapshot, SnapshotError, Trace,
};
use crate::raft::{LogId, Micros, NodeId, Role};
use crate::runtime::clock::Clock;

use super::status::NodeStatus;

/// The consistency of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consistency {
    /// Sees every command whose reply was sent before the read began, on any member. Only the
    /// leader can confirm it, at the cost of one round of messages that is shared by all reads
    /// waiting at that moment (Raft dissertation §6.4).
    Linearizable,
    /// Sees what this member has applied, which may be stale. Successive reads on one member never
    /// go back in time.
    Local,
}

/// Sends requests to one member. Cheap to clone and usable from any thread, inside any runtime or
/// none, for instance in `web::Data`.
pub struct Handle<M> {
    pub(crate) peer: PeerAddress,
    pub(crate) proposals: Proposals,
    pub(crate) apply_side: Recipient<ApplyMessage>,
    pub(crate) shared: Arc<NodeContext>,
    pub(crate) limits: Limits,
    /// Checks whether this build can decode a command. `None` with an own apply side, which defines
    /// its own commands.
    pub(crate) understands: Option<CommandCheck>,
    pub(crate) clock: Clock,
    pub(crate) machine: PhantomData<fn() -> M>,
}

/// Checks that an entry's data is a command of this build's machine.
pub(crate) type CommandCheck = fn(&[u8]) -> Result<(), CodecError>;

/// What a handle needs for its checks and deadlines.
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
    /// The id of the member that this handle sends requests to.
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// Executes a command through the log and returns its reply.
    ///
    /// The command has no session: after [`ProposeError::Unknown`] it may have been executed, and
    /// sending it again may execute it twice. [`Client`](super::Client) retries safely.
    pub async fn propose(&self, command: M::Command) -> Result<M::Reply, ProposeError> {
        decode_reply::<M>(self.propose_data(command::encode_raw(&command)?).await?)
    }

    /// Starts executing a command. [`Proposal::appended`] resolves when it is durable on this
    /// member, [`Proposal::reply`] when it is applied or has failed.
    pub fn submit(&self, command: M::Command) -> Result<Proposal<M>, ProposeError> {
        self.submit_data(command::encode_raw(&command)?)
    }

    /// Executes an encoded command and returns its outcome. `data` is what a
    /// [`CommandRef`](crate::machine::CommandRef) encodes, or what an own apply side defines.
    ///
    /// Data that does not decode as a command of the machine is not appended: the leader answers
    /// [`ProposeError::Rejected`], another member [`ProposeError::NotLeader`]. Data for an own
    /// apply side is not checked.
    pub async fn propose_data(&self, data: Bytes) -> Result<Outcome, ProposeError> {
        // If the reply is dropped, the peer's mailbox is closed and the command was never appended.
        self.send(data, None)?.await.unwrap_or(Err(ProposeError::Fatal))
    }

    /// Starts executing an encoded command, as with [`Handle::propose_data`]. Commands are appended
    /// in the order of these calls.
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

    /// A command that this build cannot decode must not be appended here: each member of this build
    /// would stop at it. A leader of a newer build may be able to decode it. The check runs in the
    /// caller's task, because it takes time in proportion to the command's length and must not
    /// block the peer's thread.
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

    /// Runs `read` with a reference to the member's state machine, on the state machine's own
    /// thread, and returns its result. While it runs, no command is applied on this member: keep it
    /// short.
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
            Consistency::Linearizable => self.peer.send(LinearizableRead(job)),
            Consistency::Local => self.apply_side.do_send(ApplyMessage::ReadAt { index: 0, job }),
        }
        answer.await.unwrap_or(Err(ReadError::Fatal))
    }

    /// Takes a snapshot of the applied state, waits until it is durable and returns its last entry.
    pub async fn snapshot(&self) -> Result<LogId, SnapshotError> {
        let (to, answer) = oneshot::channel();
        self.peer.send(RequestSnapshot(to));
        answer.await.unwrap_or(Err(SnapshotError::Fatal))
    }

    /// The member's status. Never blocks; after the member has stopped, returns its last status.
    pub fn status(&self) -> NodeStatus {
        NodeStatus::of(&self.shared)
    }
}

impl<M> Handle<M> {
    /// A handle of the same member without the machine's types.
    #[cfg(feature = "web")]
    pub(crate) fn without_machine(self) -> Handle<NoMachine> {
        let Handle { peer, proposals, apply_side, shared, limits, understands, clock, machine: _ } =
            self;
        let machine = PhantomData;
        Handle { peer, proposals, apply_side, shared, limits, understands, clock, machine }
    }
}

/// Never panics for a node that was built with this machine, because its state is of this type.
fn machine_in<M: 'static>(state: &dyn Any) -> &M {
    match state.downcast_ref() {
        Some(machine) => machine,
        None => panic!("the apply side holds another state than {}", std::any::type_name::<M>()),
    }
}

type Answer = oneshot::Receiver<Result<Outcome, ProposeError>>;

/// A command in progress.
pub struct Proposal<M: Machine> {
    appended: Option<oneshot::Receiver<LogId>>,
    outcome: Answer,
    machine: PhantomData<fn() -> M>,
}

impl<M: Machine> Proposal<M> {
    /// Waits until the command's entry is durable in the leader's own log, and returns its
    /// position. `None`: the position cannot be known any more; [`Proposal::reply`] returns the
    /// reason.
    pub async fn appended(&mut self) -> Option<LogId> {
        self.appended.take()?.await.ok()
    }

    /// Waits until the command is applied and returns its reply.
    pub async fn reply(self) -> Result<M::Reply, ProposeError> {
        decode_reply::<M>(self.outcome().await?)
    }

    /// Waits for the outcome from the apply side, without decoding it.
    pub async fn outcome(self) -> Result<Outcome, ProposeError> {
        self.outcome.await.unwrap_or(Err(ProposeError::Fatal))
    }
}

/// Converts an outcome into the reply or the error of a command of `M`.
pub fn decode_reply<M: Machine>(outcome: Outcome) -> Result<M::Reply, ProposeError> {
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
