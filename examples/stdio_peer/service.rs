//! The service's side of the apply contract: entries become `apply` frames, offered snapshots
//! `apply_snapshot` frames.
//!
//! The service itself is behind standard output and may be arbitrarily slow: entries count as
//! applied once sent, because frames reach it in order. Only offers wait for the service, because
//! it has to ask whether to install.

use std::collections::BTreeMap;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture,
};
use bytes::Bytes;
use quorate::machine::Outcome;
use quorate::messages::{
    ApplyLink, ApplyMessage, ApplyWork, BoxedState, CommittedBatch, StateView,
};
use quorate::raft::{Index, InstallDecision, LogId, Term};
use tokio::sync::oneshot;

use super::frames::{Output, Said};

/// The actor that applies by sending frames.
pub struct Service {
    link: ApplyLink,
    out: Output,
    applied: LogId,
    /// The terms of entries applied since the last snapshot, by the first index of each.
    terms: BTreeMap<Index, Term>,
    offered: Option<Offered>,
    /// Dropped when the node has stopped.
    _running: oneshot::Sender<()>,
}

struct Offered {
    log_id: LogId,
    /// The id of the service's request that waits for the decision.
    asked: Option<u64>,
}

/// The service passes its snapshot of everything through `index`.
#[derive(Message)]
#[rtype(result = "()")]
pub struct TakeSnapshot {
    pub id: u64,
    pub index: Index,
    pub snapshot: Bytes,
}

/// The service has processed the queue up to an offered snapshot.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CondInstall {
    pub id: u64,
    pub log_id: LogId,
}

impl Service {
    pub fn new(link: ApplyLink, out: Output, running: oneshot::Sender<()>) -> Service {
        let terms = BTreeMap::new();
        Service { link, out, applied: LogId::BASE, terms, offered: None, _running: running }
    }

    fn apply(&mut self, batch: CommittedBatch) {
        for entry in &batch.entries {
            let log_id = entry.log_id;
            // Entries that an installed snapshot covers were queued before it.
            if log_id.index > self.applied.index {
                self.reached(log_id);
                let said = Said::Apply { index: log_id.index, term: log_id.term };
                self.out.say(&said, &entry.data);
            }
        }
        for (_, reply) in batch.replies {
            reply.answer(Outcome::Reply(Bytes::new()));
        }
        self.link.applied(self.applied.index);
        self.link.pull();
    }

    fn reached(&mut self, log_id: LogId) {
        if self.terms.is_empty() || log_id.term != self.applied.term {
            self.terms.insert(log_id.index, log_id.term);
        }
        self.applied = log_id;
    }

    /// The state is replaced by this snapshot's.
    fn begin_with(&mut self, log_id: LogId) {
        self.terms.clear();
        self.reached(log_id);
    }

    fn decided(&mut self, decision: InstallDecision) {
        let Some(Offered { log_id, asked: Some(id) }) = self.offered.take() else { return };
        if decision.granted {
            self.begin_with(log_id);
            self.link.applied(log_id.index);
        }
        self.done(id, decision.granted);
        self.link.pull();
    }

    fn done(&self, id: u64, ok: bool) {
        self.out.say(&Said::Done { id, ok }, &[]);
    }

    /// The last entry of a snapshot through `index`, if it was applied here and no newer snapshot
    /// exists.
    fn applied_at(&self, index: Index) -> Option<LogId> {
        let (_, term) = self.terms.range(..=index).next_back()?;
        (index <= self.applied.index).then_some(LogId::new(*term, index))
    }

    /// Removes the terms of entries before `through`, which no later snapshot can end at.
    fn forget_terms(&mut self, through: Index) {
        if let Some((_, term)) = self.terms.range(..=through).next_back() {
            let term = *term;
            self.terms = self.terms.split_off(&through);
            self.terms.insert(through, term);
        }
    }
}

impl Actor for Service {
    type Context = Context<Service>;

    fn started(&mut self, _: &mut Context<Service>) {
        if !self.link.restores() {
            self.link.pull();
        }
    }
}

impl Handler<ApplyMessage> for Service {
    type Result = ();

    fn handle(&mut self, message: ApplyMessage, context: &mut Context<Service>) {
        match message {
            ApplyMessage::Restored { log_id, .. } => {
                self.begin_with(log_id);
                self.link.pull();
            }
            ApplyMessage::Work(ApplyWork::Entries(batch)) => self.apply(batch),
            ApplyMessage::Work(ApplyWork::Offer(offer)) => {
                let log_id = offer.meta.log_id;
                let snapshot = offer.shadow.downcast::<Bytes>().unwrap_or_default();
                let said = Said::ApplySnapshot { index: log_id.index, term: log_id.term };
                self.out.say(&said, &snapshot);
                self.offered = Some(Offered { log_id, asked: None });
            }
            ApplyMessage::Work(ApplyWork::TakeSnapshot) => {
                self.link.decline_snapshot();
                self.link.pull();
            }
            ApplyMessage::Decision(decision) => self.decided(decision),
            ApplyMessage::Stop(_) => context.stop(),
            _ => {}
        }
    }
}

impl Handler<TakeSnapshot> for Service {
    type Result = ();

    fn handle(&mut self, asked: TakeSnapshot, context: &mut Context<Service>) {
        let TakeSnapshot { id, index, snapshot } = asked;
        // An empty snapshot would be indistinguishable from a missing one.
        let Some(log_id) = self.applied_at(index).filter(|_| !snapshot.is_empty()) else {
            return self.done(id, false);
        };
        let view = StateView::new(log_id, move |out| out.write_all(&snapshot).map_err(Into::into));
        let taken = self.link.snapshot(view).into_actor(self);
        context.spawn(taken.map(move |taken, service, _| {
            service.done(id, taken.is_ok());
            if taken.is_ok() {
                service.forget_terms(index);
            }
        }));
    }
}

impl Handler<CondInstall> for Service {
    type Result = ();

    fn handle(&mut self, CondInstall { id, log_id }: CondInstall, _: &mut Context<Service>) {
        match &mut self.offered {
            Some(offered) if offered.log_id == log_id && offered.asked.is_none() => {
                offered.asked = Some(id);
                self.link.cond_install(log_id);
            }
            _ => self.done(id, false),
        }
    }
}

/// Decodes a snapshot by reading its bytes, which only the service interprets.
pub fn decode(input: &mut dyn std::io::Read) -> Result<BoxedState, quorate::machine::CodecError> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    Ok(BoxedState::new(Bytes::from(bytes)))
}
