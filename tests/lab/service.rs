//! The service on top of a peer: an actor on the apply contract.
//!
//! It writes what it applies into the [`Ledger`], and with snapshots on it hands the node one after every tenth entry,
//! unasked: the index and all commands up to it. An offered snapshot it takes only after asking.

use actix::{Actor, ActorContext, Context, Handler};
use bytes::Bytes;
use quorate::actors::ApplySide;
use quorate::machine::{Outcome, codec};
use quorate::messages::{
    ApplyLink, ApplyMessage, ApplyWork, BoxedState, CommittedBatch, OfferedSnapshot, StateView,
};
use quorate::raft::{Entry, EntryKind, InstallDecision, LogId};
use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::invariants::Watch;
use crate::ledger::Ledger;

/// A snapshot is taken after index `k` if `(k + 1)` is a multiple of this.
pub const SNAPSHOT_INTERVAL: u64 = 10;

/// What a service is made of.
#[derive(Clone)]
pub struct ServiceParts {
    /// Whose service it is, and in which life.
    pub peer: usize,
    pub life: u64,
    /// Where it writes.
    pub ledger: Ledger,
    /// Who checks that it is given what is committed.
    pub watch: Watch,
    /// Whether it takes snapshots.
    pub snapshots: bool,
}

/// Everything up to an entry: what a snapshot holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    index: u64,
    commands: Vec<Command>,
}

/// The actor.
struct Service {
    parts: ServiceParts,
    link: ApplyLink,
    state: State,
    /// The last snapshot taken: entries up to it may come late.
    covered: u64,
    offered: Option<OfferedSnapshot>,
}

impl ServiceParts {
    /// Starts the actor.
    pub fn start(self, link: ApplyLink) -> ApplySide {
        if !link.restores() {
            link.pull();
        }
        let service =
            Service { parts: self, link, state: State::default(), covered: 0, offered: None };
        let decode =
            |input: &mut dyn std::io::Read| codec::decode_from::<State>(input).map(BoxedState::new);
        ApplySide { recipient: service.start().recipient(), decode: Box::new(decode) }
    }
}

impl Actor for Service {
    type Context = Context<Service>;
}

impl Handler<ApplyMessage> for Service {
    type Result = ();

    fn handle(&mut self, message: ApplyMessage, context: &mut Context<Service>) {
        match message {
            ApplyMessage::Restored { log_id, state } => {
                self.switch_to(log_id, state);
                self.link.pull();
            }
            ApplyMessage::Work(work) => self.work(work),
            ApplyMessage::Decision(decision) => self.decided(decision),
            ApplyMessage::Stop(_) => context.stop(),
            // Nobody reads.
            _ => {}
        }
    }
}

impl Service {
    fn work(&mut self, work: ApplyWork) {
        match work {
            ApplyWork::Entries(batch) => self.apply(batch),
            // Between an offer and its decision nothing is pulled.
            ApplyWork::Offer(offer) => {
                self.link.cond_install(offer.meta.log_id);
                self.offered = Some(offer);
            }
            // The node is not configured to ask for any.
            _ => {
                self.parts.watch.breach("the service is asked for a snapshot".into());
                self.link.decline_snapshot();
                self.link.pull();
            }
        }
    }

    fn apply(&mut self, batch: CommittedBatch) {
        for entry in &batch.entries {
            let index = entry.log_id.index;
            if index > self.state.index {
                self.apply_entry(entry);
            } else if index > self.covered {
                let peer = self.parts.peer;
                self.parts.watch.breach(format!("peer {peer} is given {index} a second time"));
            }
        }
        for (_, reply) in batch.replies {
            reply.answer(Outcome::Reply(Bytes::new()));
        }
        self.link.applied(self.state.index);
        self.link.pull();
    }

    fn apply_entry(&mut self, entry: &Entry) {
        let ServiceParts { peer, life, ledger, watch, snapshots } = &self.parts;
        let index = entry.log_id.index;
        watch.applied(*peer, entry);
        if entry.kind != EntryKind::Command {
            return watch
                .breach(format!("{} is no command: scenarios count indexes", entry.log_id));
        }
        let command = Command::decode(&entry.data);
        ledger.apply(*peer, *life, index, command.clone());
        self.state.index = index;
        self.state.commands.push(command);
        if *snapshots && (index + 1).is_multiple_of(SNAPSHOT_INTERVAL) {
            self.snapshot(entry.log_id);
        }
    }

    /// Reported first: a snapshot beyond what is reported applied would be refused.
    fn snapshot(&self, log_id: LogId) {
        self.link.applied(log_id.index);
        let state = self.state.clone();
        self.link.snapshot(StateView::new(log_id, move |out| codec::encode_to(&state, out)));
    }

    fn decided(&mut self, decision: InstallDecision) {
        let Some(offer) = self.offered.take() else {
            return self.parts.watch.breach(format!("{decision:?} without an offer"));
        };
        if decision.granted {
            self.switch_to(decision.log_id, offer.shadow);
            self.link.applied(decision.log_id.index);
        } else {
            self.link.retire(offer.shadow);
        }
        self.link.pull();
    }

    fn switch_to(&mut self, log_id: LogId, state: BoxedState) {
        let ServiceParts { peer, life, ledger, watch, .. } = &self.parts;
        let Some(state) = state.downcast::<State>() else {
            return watch.breach(format!("{log_id} comes with a foreign state"));
        };
        watch.taken(*peer, log_id);
        ledger.take(*peer, *life, log_id.index, state.index, &state.commands);
        self.covered = log_id.index;
        self.state = *state;
    }
}
