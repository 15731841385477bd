//! Envelopes over a request/response protocol: HTTP calls, an RPC library, frames with an id.
//!
//! ```text
//!  member ──send(request)──▶ │                 │ ──RequestWire::request(to, bytes, ReplyTo)─▶ wire
//!  member ◀──deliver──────── │                 │ ◀──ReplyTo::answer(bytes)─────────────────── wire
//!                            │ PairedTransport │
//!  member ◀──deliver──────── │                 │ ◀──serve(bytes, respond)──────────────────── wire
//!  member ──send(answer)───▶ │                 │ ──respond(Some(bytes))─────────────────────▶ wire
//! ```
//!
//! The wire carries opaque bytes and gives each request at most one answer. It may take seconds,
//! lose either, and answer out of order. Each request of the member is one exchange of the wire.
//! The member's answer to another member's request is returned in the exchange that carried the
//! request.
//!
//! An exchange that was served stays open until the member answers. It ends without an answer when
//! the member has not answered within [`PairedOptions::answer_within`] (some requests are never
//! answered: those of another cluster, those for a former incarnation), when
//! [`PairedOptions::open_exchanges`] newer exchanges are open, or when the member is detached.
//! `respond` is called exactly once in each case, and never under a lock.
//!
//! ```
//! use bytes::Bytes;
//! use quorate::raft::NodeId;
//! use quorate::transport::{PairedOptions, PairedTransport, ReplyTo, RequestWire};
//!
//! struct Post(/* a client of some RPC library */);
//!
//! impl RequestWire for Post {
//!     fn request(&self, to: NodeId, request: Bytes, reply: ReplyTo) {
//!         // Start the call to `to` without waiting for it. When it ends:
//!         //     reply.answer(bytes)     the other side responded
//!         //     reply.give_up()         it failed, and the request may have arrived
//!         //     drop(reply)             it failed, and the request certainly did not arrive
//!         # drop((to, request, reply));
//!     }
//! }
//!
//! let transport = PairedTransport::new(Post(), PairedOptions::default());
//! // Call this for each request that arrives over the wire; `respond` ends the exchange.
//! let refused = transport.serve(Bytes::from_static(b"?"), |answer| assert_eq!(answer, None));
//! assert!(refused.is_err());
//! // NodeBuilder::new(..).transport(transport.clone())
//! ```
//!
//! # What it does not do
//! It repeats nothing and has no timer: exchanges expire when any request is served or any envelope
//! is sent. The requests of other members and the local member's election timeouts cause that
//! regularly.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::wire::{self, WireError};
use super::{Inbox, Transport};
use crate::raft::{Body, Envelope, Incarnation, NodeId, RequestId};

#[cfg(test)]
mod tests;

/// Carries requests to other members.
pub trait RequestWire: Send + Sync + 'static {
    /// Starts to carry `request` to the member `to`, and returns at once. The end of the exchange
    /// is reported through `reply`, or by dropping it.
    fn request(&self, to: NodeId, request: Bytes, reply: ReplyTo);
}

/// Limits of a [`PairedTransport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairedOptions {
    /// The maximum number of exchanges that wait for the local member's answer; beyond it the
    /// oldest ends.
    pub open_exchanges: usize,
    /// An exchange ends without an answer after this time. Seconds: an answer may wait for a disk.
    pub answer_within: Duration,
}

impl Default for PairedOptions {
    fn default() -> PairedOptions {
        PairedOptions { open_exchanges: 1024, answer_within: Duration::from_secs(5) }
    }
}

/// Why bytes from the wire were rejected. The member is not informed of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairedError {
    /// The bytes are not a message.
    #[error("not a message: {0}")]
    Undecodable(#[from] WireError),
    /// The bytes arrived as a request and are an answer.
    #[error("an answer came as a request, from member {from}")]
    NotARequest {
        /// The sender.
        from: NodeId,
    },
    /// The bytes arrived as the answer to a request and are something else.
    #[error("what came back for request {id} to member {to} is not its answer")]
    NotTheAnswer {
        /// The receiver of the request.
        to: NodeId,
        /// The id of the request.
        id: RequestId,
    },
    /// The request is for a member other than the one attached here.
    #[error("a request for member {to} came to another one")]
    WrongMember {
        /// The receiver named in the request.
        to: NodeId,
    },
}

/// A transport over a request/response protocol, for one local member. Clones are the same
/// transport.
#[derive(Clone)]
pub struct PairedTransport {
    shared: Arc<Shared>,
}

struct Shared {
    wire: Box<dyn RequestWire>,
    options: PairedOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    member: Option<(NodeId, Arc<Inbox>)>,
    /// Oldest first.
    open: VecDeque<Open>,
}

/// An exchange that waits for the local member's answer.
struct Open {
    question: Question,
    since: Instant,
    respond: Respond,
}

type Respond = Box<dyn FnOnce(Option<Bytes>) + Send>;

/// The fields by which an answer names its request. Ids repeat with every start of the requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Question {
    asker: NodeId,
    incarnation: Incarnation,
    id: RequestId,
}

impl PairedTransport {
    /// A transport that sends over `wire`. It neither sends nor serves until a member is attached.
    pub fn new(wire: impl RequestWire, options: PairedOptions) -> PairedTransport {
        let shared = Shared { wire: Box::new(wire), options, state: Mutex::default() };
        PairedTransport { shared: Arc::new(shared) }
    }

    /// Handles a request that arrived over the wire. `respond` is called exactly once, with the
    /// local member's answer or `None`; if this returns an error, it has been called already.
    pub fn serve(
        &self,
        request: Bytes,
        respond: impl FnOnce(Option<Bytes>) + Send + 'static,
    ) -> Result<(), PairedError> {
        self.expire();
        match decode_request(&request) {
            Ok(envelope) => self.deliver(envelope, Box::new(respond)),
            Err(error) => {
                respond(None);
                Err(error)
            }
        }
    }

    /// The number of exchanges that wait for the local member's answer.
    pub fn open_exchanges(&self) -> usize {
        self.shared.state.lock().open.len()
    }

    /// Ends the exchanges that have waited too long. Every `serve` and every send does this too.
    pub fn expire(&self) {
        let now = Instant::now();
        let mut expired = Vec::new();
        let mut state = self.shared.state.lock();
        while let Some(open) = state.open.front()
            && now.saturating_duration_since(open.since) >= self.shared.options.answer_within
        {
            expired.extend(state.open.pop_front());
        }
        drop(state);
        end(expired);
    }

    fn deliver(&self, envelope: Envelope, respond: Respond) -> Result<(), PairedError> {
        let mut state = self.shared.state.lock();
        let inbox = match &state.member {
            Some((node, inbox)) if *node == envelope.to => inbox.clone(),
            other => {
                let error = other.as_ref().map(|_| PairedError::WrongMember { to: envelope.to });
                drop(state);
                respond(None);
                return error.map_or(Ok(()), Err);
            }
        };
        let question = Question::of(&envelope);
        let ended = state.open_exchange(question, respond, self.shared.options.open_exchanges);
        drop(state);
        end(ended);
        inbox.deliver(envelope);
        Ok(())
    }

    fn send_request(&self, envelope: Envelope) {
        let Some(inbox) = self.inbox_of(envelope.from) else { return };
        let (to, asked) = (envelope.to, Question::of(&envelope));
        let reply = ReplyTo { to, asked: Some(asked), inbox: Arc::downgrade(&inbox) };
        if let Some(bytes) = encoded(&envelope) {
            self.shared.wire.request(to, bytes, reply);
        }
    }

    /// Drops an answer whose exchange is no longer open: the requester has given up.
    fn send_answer(&self, envelope: Envelope, question: Question) {
        let mut state = self.shared.state.lock();
        let position = state.open.iter().position(|open| open.question == question);
        let open = position.and_then(|position| state.open.remove(position));
        drop(state);
        if let Some(Open { respond, .. }) = open {
            respond(encoded(&envelope));
        }
    }

    fn inbox_of(&self, member: NodeId) -> Option<Arc<Inbox>> {
        let state = self.shared.state.lock();
        state.member.as_ref().filter(|(node, _)| *node == member).map(|(_, inbox)| inbox.clone())
    }

    fn change_member(&self, member: Option<(NodeId, Arc<Inbox>)>) {
        let mut state = self.shared.state.lock();
        let ended = std::mem::replace(&mut *state, State { member, open: VecDeque::new() });
        drop(state);
        end(ended.open);
    }
}

impl Transport for PairedTransport {
    fn send(&self, envelope: Envelope) {
        self.expire();
        match envelope.body {
            Body::Request(_) => self.send_request(envelope),
            Body::Answer { asker_incarnation, .. } => {
                let question = Question {
                    asker: envelope.to,
                    incarnation: asker_incarnation,
                    id: envelope.id,
                };
                self.send_answer(envelope, question);
            }
        }
    }

    fn attach(&self, node: NodeId, inbox: Inbox) {
        self.change_member(Some((node, Arc::new(inbox))));
    }

    fn detach(&self, node: NodeId) {
        if self.inbox_of(node).is_some() {
            self.change_member(None);
        }
    }
}

impl fmt::Debug for PairedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PairedTransport({} open)", self.open_exchanges())
    }
}

impl State {
    /// Returns the exchanges that this one ends: the earlier exchange of the same request (the wire
    /// has repeated the request), or the oldest.
    fn open_exchange(&mut self, question: Question, respond: Respond, max: usize) -> Vec<Open> {
        let repeated = self.open.iter().position(|open| open.question == question);
        let mut ended: Vec<Open> =
            repeated.and_then(|position| self.open.remove(position)).into_iter().collect();
        while self.open.len() >= max.max(1) {
            ended.extend(self.open.pop_front());
        }
        self.open.push_back(Open { question, since: Instant::now(), respond });
        ended
    }
}

impl Question {
    fn of(request: &Envelope) -> Question {
        Question { asker: request.from, incarnation: request.incarnation, id: request.id }
    }

    fn is_answered_by(&self, to: NodeId, envelope: &Envelope) -> bool {
        let echoed = match envelope.body {
            Body::Answer { asker_incarnation, .. } => Some(asker_incarnation),
            Body::Request(_) => None,
        };
        envelope.from == to
            && envelope.to == self.asker
            && envelope.id == self.id
            && echoed == Some(self.incarnation)
    }
}

/// Reports how a request ended. Dropping it reports that the request certainly did not arrive.
pub struct ReplyTo {
    to: NodeId,
    /// `None` once the end has been reported.
    asked: Option<Question>,
    /// Gone when the member is detached: later answers are dropped.
    inbox: Weak<Inbox>,
}

impl ReplyTo {
    /// Reports that the other side responded with these bytes.
    pub fn answer(mut self, answer: Bytes) -> Result<(), PairedError> {
        let Some(asked) = self.asked.take() else { return Ok(()) };
        let envelope = wire::decode(&answer)?;
        if !asked.is_answered_by(self.to, &envelope) {
            return Err(PairedError::NotTheAnswer { to: self.to, id: asked.id });
        }
        if let Some(inbox) = self.inbox.upgrade() {
            inbox.deliver(envelope);
        }
        Ok(())
    }

    /// Reports that no answer will come and that it is unknown whether the request arrived. The
    /// member relies on its own timeouts.
    pub fn give_up(mut self) {
        self.asked = None;
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if let (Some(asked), Some(inbox)) = (self.asked.take(), self.inbox.upgrade()) {
            inbox.undelivered(self.to, asked.id);
        }
    }
}

impl fmt::Debug for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplyTo(request to member {})", self.to)
    }
}

fn decode_request(request: &Bytes) -> Result<Envelope, PairedError> {
    let envelope = wire::decode(request)?;
    match envelope.body {
        Body::Request(_) => Ok(envelope),
        Body::Answer { .. } => Err(PairedError::NotARequest { from: envelope.from }),
    }
}

/// `None`: the format has no room for the envelope, which the configuration's limits prevent.
fn encoded(envelope: &Envelope) -> Option<Bytes> {
    let bytes = wire::encode(envelope);
    bytes
        .inspect_err(
            |error| tracing::error!(to = envelope.to, id = envelope.id, %error, "not sent"),
        )
        .ok()
}

fn end(exchanges: impl IntoIterator<Item = Open>) {
    exchanges.into_iter().for_each(|open| (open.respond)(None));
}
