//! A handle as an actor: the same operations as typed actix messages.
//!
//! For services that are actors themselves and know each other by addresses (`Addr`, `Recipient`) rather than by handles:
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
//! The actor stands in the service's own system, on the arbiter where it was started, and is as cheap as the handle inside
//! it: a handler begins the operation and goes on, the answer is awaited by a task beside it. So nothing waits for
//! anything in its mailbox, and commands are appended in the order of their messages. Start as many as you like; the end
//! of one means nothing to the node.
//!
//! A [`MailboxError`](actix::MailboxError) says that this actor is gone, not what became of the command: treat it as
//! [`ProposeError::Unknown`].

use std::future::ready;
use std::marker::PhantomData;

use actix::{Actor, Context, Handler, Message, MessageResult, ResponseFuture};
use bytes::Bytes;

use crate::machine::{Machine, Outcome};
use crate::messages::{ProposeError, ReadError, SnapshotError};
use crate::raft::LogId;

use super::handle::{Consistency, Handle, Proposal};
use super::status::NodeStatus;

/// The actor: made by [`Handle::gateway`], started by the service.
#[derive(Debug)]
pub struct Gateway<M> {
    handle: Handle<M>,
}

impl<M: Machine> Handle<M> {
    /// This handle as an actor, to be started where the service likes.
    pub fn gateway(&self) -> Gateway<M> {
        Gateway { handle: self.clone() }
    }
}

impl<M: Machine> Actor for Gateway<M> {
    type Context = Context<Gateway<M>>;
}

/// Execute a command and answer its reply.
pub struct Propose<M: Machine>(pub M::Command);

impl<M: Machine> Message for Propose<M> {
    type Result = Result<M::Reply, ProposeError>;
}

/// Begin to execute a command: the answer tells when it is durable and what came of it.
pub struct Submit<M: Machine>(pub M::Command);

impl<M: Machine> Message for Submit<M> {
    type Result = Result<Proposal<M>, ProposeError>;
}

/// Execute what these bytes say, for nodes with an apply side of their own.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Outcome, ProposeError>")]
pub struct ProposeData(pub Bytes);

/// Begin to execute what these bytes say.
pub struct SubmitData<M> {
    data: Bytes,
    machine: PhantomData<fn() -> M>,
}

impl<M> SubmitData<M> {
    /// For a gateway of a node with the machine `M`.
    pub fn new(data: impl Into<Bytes>) -> SubmitData<M> {
        SubmitData { data: data.into(), machine: PhantomData }
    }
}

impl<M: Machine> Message for SubmitData<M> {
    type Result = Result<Proposal<M>, ProposeError>;
}

/// Run a closure on the member's state machine.
pub struct Read<M, R> {
    consistency: Consistency,
    read: Box<dyn FnOnce(&M) -> R + Send>,
}

impl<M, R> Read<M, R> {
    /// What to read, and what the read may see. Keep it short: it runs on the state machine's own thread.
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

/// Take a snapshot and answer its last entry once it is durable.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<LogId, SnapshotError>")]
pub struct TakeSnapshot;

/// How does the member stand?
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
