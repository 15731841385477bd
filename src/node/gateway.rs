//! A handle as an actor: the same operations as typed actix messages.
//!
//! For services that consist of actors, which know each other by address (`Addr`, `Recipient`):
//! ```
//! # use quorate::machine::{Increment, WordCount};
//! # use quorate::node::{Consistency, Handle, gateway};
//! # async fn example(handle: Handle<WordCount>) -> Result<(), Box<dyn std::error::Error>> {
//! use actix::Actor;
//!
//! let node = handle.gateway().start();
//! let times = node.send(gateway::Propose::<WordCount>(Increment { word: "w".into() })).await??;
//! let read = gateway::Read::new(Consistency::Local, |words: &WordCount| words.get(b"w"));
//! assert_eq!(node.send(read).await??, times);
//! # Ok(())
//! # }
//! ```
//! | message | operation |
//! |---|---|
//! | [`Propose`], [`Submit`] | [`Handle::propose`], [`Handle::submit`] |
//! | [`ProposeData`], [`SubmitData`] | [`Handle::propose_data`], [`Handle::submit_data`] |
//! | [`Read`] | [`Handle::read`] |
//! | [`TakeSnapshot`] | [`Handle::snapshot`] |
//! | [`GetStatus`] | [`Handle::status`] |
//!
//! The actor runs in the service's own system, on the arbiter where it was started, and costs as
//! little as the handle: a handler starts the operation and returns, and a separate task awaits the
//! result. So messages do not wait for each other in its mailbox, and commands are appended in the
//! order of their messages. Any number of gateways may be started; stopping one does not affect the
//! node.
//!
//! A [`MailboxError`](actix::MailboxError) means that this actor is gone; the command may have been
//! executed. Treat it as [`ProposeError::Unknown`].

use std::future::ready;
use std::marker::PhantomData;

use actix::{Actor, Context, Handler, Message, MessageResult, ResponseFuture};
use bytes::Bytes;

use crate::machine::{Machine, Outcome};
use crate::messages::{ProposeError, ReadError, SnapshotError};
use crate::raft::LogId;

use super::handle::{Consistency, Handle, Proposal};
use super::status::NodeStatus;

/// The actor. [`Handle::gateway`] makes it, the service starts it.
#[derive(Debug)]
pub struct Gateway<M> {
    handle: Handle<M>,
}

impl<M: Machine> Handle<M> {
    /// This handle as an actor, to be started on an arbiter of the service.
    pub fn gateway(&self) -> Gateway<M> {
        Gateway { handle: self.clone() }
    }
}

impl<M: Machine> Actor for Gateway<M> {
    type Context = Context<Gateway<M>>;
}

/// Executes a command; the answer is its reply.
pub struct Propose<M: Machine>(pub M::Command);

impl<M: Machine> Message for Propose<M> {
    type Result = Result<M::Reply, ProposeError>;
}

/// Starts executing a command; the answer resolves when it is durable and when it has a reply.
pub struct Submit<M: Machine>(pub M::Command);

impl<M: Machine> Message for Submit<M> {
    type Result = Result<Proposal<M>, ProposeError>;
}

/// Executes an encoded command; for nodes with an apply side of their own.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Outcome, ProposeError>")]
pub struct ProposeData(pub Bytes);

/// Starts executing an encoded command.
pub struct SubmitData<M> {
    data: Bytes,
    machine: PhantomData<fn() -> M>,
}

impl<M> SubmitData<M> {
    /// A message for a gateway of a node with the machine `M`.
    pub fn new(data: impl Into<Bytes>) -> SubmitData<M> {
        SubmitData { data: data.into(), machine: PhantomData }
    }
}

impl<M: Machine> Message for SubmitData<M> {
    type Result = Result<Proposal<M>, ProposeError>;
}

/// Runs a closure on the member's state machine.
pub struct Read<M, R> {
    consistency: Consistency,
    read: Box<dyn FnOnce(&M) -> R + Send>,
}

impl<M, R> Read<M, R> {
    /// A read with this consistency. Keep the closure short: it runs on the state machine's own
    /// thread.
    pub fn new(
        consistency: Consistency,
        read: impl FnOnce(&M) -> R + Send + 'static,
    ) -> Read<M, R> {
        Read { consistency, read: Box::new(read) }
    }
}

impl<M: 'static, R: 'static> Message for Read<M, R> {
    type Result = Result<R, ReadError>;
}

/// Takes a snapshot; the answer is its last entry, once it is durable.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<LogId, SnapshotError>")]
pub struct TakeSnapshot;

/// Asks for the member's status.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "NodeStatus")]
pub struct GetStatus;

impl<M: Machine> Handler<Propose<M>> for Gateway<M> {
    type Result = ResponseFuture<Result<M::Reply, ProposeError>>;

    fn handle(&mut self, message: Propose<M>, _: &mut Context<Self>) -> Self::Result {
        match self.handle.submit(message.0) {
            Ok(proposal) => Box::pin(proposal.reply()),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }
}

impl<M: Machine> Handler<Submit<M>> for Gateway<M> {
    type Result = Result<Proposal<M>, ProposeError>;

    fn handle(&mut self, message: Submit<M>, _: &mut Context<Self>) -> Self::Result {
        self.handle.submit(message.0)
    }
}

impl<M: Machine> Handler<ProposeData> for Gateway<M> {
    type Result = ResponseFuture<Result<Outcome, ProposeError>>;

    fn handle(&mut self, message: ProposeData, _: &mut Context<Self>) -> Self::Result {
        match self.handle.submit_data(message.0) {
            Ok(proposal) => Box::pin(proposal.outcome()),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }
}

impl<M: Machine> Handler<SubmitData<M>> for Gateway<M> {
    type Result = Result<Proposal<M>, ProposeError>;

    fn handle(&mut self, message: SubmitData<M>, _: &mut Context<Self>) -> Self::Result {
        self.handle.submit_data(message.data)
    }
}

impl<M: Machine, R: Send + 'static> Handler<Read<M, R>> for Gateway<M> {
    type Result = ResponseFuture<Result<R, ReadError>>;

    fn handle(&mut self, message: Read<M, R>, _: &mut Context<Self>) -> Self::Result {
        let (handle, Read { consistency, read }) = (self.handle.clone(), message);
        Box::pin(async move { handle.read(consistency, read).await })
    }
}

impl<M: Machine> Handler<TakeSnapshot> for Gateway<M> {
    type Result = ResponseFuture<Result<LogId, SnapshotError>>;

    fn handle(&mut self, _: TakeSnapshot, _: &mut Context<Self>) -> Self::Result {
        let handle = self.handle.clone();
        Box::pin(async move { handle.snapshot().await })
    }
}

impl<M: Machine> Handler<GetStatus> for Gateway<M> {
    type Result = MessageResult<GetStatus>;

    fn handle(&mut self, _: GetStatus, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.handle.status())
    }
}
