//! A service's own apply side around a replica, as in `examples/own_apply_side.rs`.
//!
//! Each message is checked against the [contract](super::contract); the first violation is a breach
//! of the run. The actor uses the freedom that the contract gives it: it sends install requests
//! late, returns views late and unasked, and takes as long for a batch as the member's delays say.
//!
//! *What it does not do:* it runs on none of the node's executors. A pause of the process does not
//! stop it, and after the death of the process it does nothing that can be observed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use parking_lot::Mutex;
use tokio::task::spawn_local;

use quorate::actors::ApplySide;
use quorate::hooks::{Answers, Delays, Observer, apply_batch, log_id_of, stop_signal_of_link};
use quorate::machine::{Machine, Replica, SessionConfig, SessionCounters};
use quorate::machine::{decode_replica, encode_replica};
use quorate::messages::{
    ApplyLink, ApplyMessage, ApplyWork, BoxedState, CommittedBatch, OfferedSnapshot, ReadJob,
    StateView, StopAck,
};
use quorate::raft::{Index, InstallDecision, LogId, Micros, NodeId};

use super::super::MILLISECOND;
use super::contract::{Contract, Kept};
use super::watch::Watch;
use super::world::CLUSTER;

/// The name of the invariant that a broken promise breaks.
const RULE: &str = "what an apply side is promised";
/// The longest time before an apply side asks about an offer.
const ASKS_LATE: Micros = 400 * MILLISECOND;
/// The same during faults.
const ASKS_VERY_LATE: Micros = 3_000 * MILLISECOND;
/// The longest time between taking a view and returning it.
const HANDS_LATE: Micros = 300 * MILLISECOND;
/// The probability, in thousandths of a batch, that a view is returned that was not asked for.
const UNASKED: u64 = 5;

/// The settings of a member's own apply side.
pub(super) struct Making<M> {
    pub node: NodeId,
    pub machine: M,
    pub sessions: SessionConfig,
    pub delays: Delays,
    pub watch: Watch,
    pub observer: Observer,
    /// Counters of sessions, for the reports.
    pub counters: Arc<Mutex<SessionCounters>>,
}

impl<M: Machine> Making<M> {
    /// Starts the actor.
    pub(super) fn start(self, link: ApplyLink) -> ApplySide {
        let sessions = self.sessions;
        let decode = Box::new(move |input: &mut dyn std::io::Read| {
            let replica = decode_replica::<M>(input, sessions, CLUSTER)?;
            Ok(BoxedState::state_behind(replica.applied(), replica))
        });
        ApplySide { recipient: OwnSide::new(self, link).start().recipient(), decode }
    }
}

struct OwnSide<M: Machine> {
    node: NodeId,
    /// `None` until the initial state has come.
    replica: Option<Box<Replica<M>>>,
    offered: Option<OfferedSnapshot>,
    /// Reads by the index they wait for.
    parked: BTreeMap<Index, Vec<ReadJob>>,
    contract: Contract,
    /// Whether it can't continue: a promise was broken, or an entry did not decode.
    has_given_up: bool,
    link: ApplyLink,
    delays: Delays,
    watch: Watch,
    observer: Observer,
    counters: Arc<Mutex<SessionCounters>>,
    ended: Option<StopAck>,
}

impl<M: Machine> OwnSide<M> {
    fn new(making: Making<M>, link: ApplyLink) -> OwnSide<M> {
        let Making { node, machine, sessions, delays, watch, observer, counters } = making;
        *counters.lock() = SessionCounters::default();
        let replica = Box::new(Replica::new(machine, sessions, CLUSTER));
        if !link.restores() {
            observer.restored(&replica);
        }
        OwnSide {
            node,
            replica: (!link.restores()).then_some(replica),
            offered: None,
            parked: BTreeMap::new(),
            contract: Contract::new(link.restores()),
            has_given_up: false,
            link,
            delays,
            watch,
            observer,
            counters,
            ended: None,
        }
    }

    /// Whether the node is not stopping.
    fn runs(&self) -> bool {
        stop_signal_of_link(&self.link).is_running()
    }

    fn pull(&mut self) {
        self.contract.pulls();
        self.link.pull();
    }

    /// Whether a promise was kept; if not, the actor gives up.
    fn holds(&mut self, kept: Kept) -> bool {
        if let Err(what) = &kept {
            self.watch.report_breach(RULE, format!("n{}: {what}", self.node));
            self.has_given_up = true;
        }
        kept.is_ok()
    }

    fn applied(&self) -> Index {
        self.replica.as_ref().map_or(0, |replica| replica.applied().index)
    }

    fn draws(&self, chance: u64, up_to: Micros) -> Duration {
        let watched = &mut self.watch.lock();
        let late = watched.hand.chance(chance);
        Duration::from_micros(if late { watched.hand.between(1, up_to) } else { 0 })
    }

    fn work(&mut self, work: ApplyWork, context: &mut Context<OwnSide<M>>) {
        let runs = self.runs();
        let what = match &work {
            ApplyWork::Entries(_) => "a batch",
            ApplyWork::Offer(_) => "an offer",
            ApplyWork::TakeSnapshot => "a request for a snapshot",
            other => panic!("no rule for {other:?}"),
        };
        let kept = self.contract.item(what, runs);
        if !self.holds(kept) {
            return;
        }
        // Void, if it is still held.
        if let Some(offer) = self.offered.take() {
            self.link.retire(offer.shadow);
        }
        match work {
            ApplyWork::Entries(batch) => {
                let kept = self.contract.entries(&batch, runs);
                if self.holds(kept) {
                    self.watch.lock().invariants.handed_out(self.node, &batch.entries);
                    self.apply(batch, runs, context);
                }
            }
            ApplyWork::Offer(offer) => self.offered(offer, context),
            ApplyWork::TakeSnapshot => self.take_snapshot(context),
            other => panic!("no rule for {other:?}"),
        }
    }

    /// Replies are sent when the batch has taken its time.
    fn apply(&mut self, batch: CommittedBatch, runs: bool, context: &mut Context<OwnSide<M>>) {
        let next = self.applied() + 1;
        let Some(replica) = &mut self.replica else { return };
        // A stopping node may send entries that a cancelled install was to cover.
        if batch.entries.first().is_none_or(|first| first.log_id.index > next) {
            return;
        }
        let count = batch.entries.len() as u64;
        let (answers, ended) = apply_batch(replica, batch, &self.observer);
        *self.counters.lock() = replica.counters();
        self.watch.lock().sights.applied_by_hand += count;
        if let Some(undecodable) = ended {
            self.has_given_up = true;
            self.link.fail(undecodable.to_string());
        }
        self.run_parked();
        if !runs {
            return self.report(answers);
        }
        context.run_later(self.delays.apply(), |side, _| {
            side.report(answers);
            if !side.has_given_up {
                let unasked = side.watch.lock().hand.chance(UNASKED);
                if unasked {
                    side.hand_out_view();
                }
                side.pull();
            }
        });
    }

    fn report(&self, answers: Answers) {
        // A dead process sends no reply.
        if !stop_signal_of_link(&self.link).fenced() {
            answers.into_iter().for_each(|(reply, outcome)| reply.answer(outcome));
            self.link.applied(self.applied());
        }
    }

    fn offered(&mut self, offer: OfferedSnapshot, context: &mut Context<OwnSide<M>>) {
        let log_id = offer.meta.log_id;
        let kept = self.contract.offered(log_id, log_id_of(&offer.shadow), self.applied());
        if !self.holds(kept) {
            return;
        }
        self.watch.lock().invariants.offered(self.node, log_id);
        self.offered = Some(offer);
        let is_calm = self.watch.lock().is_calm;
        let later = self.draws(500, if is_calm { ASKS_LATE } else { ASKS_VERY_LATE });
        context.run_later(later, |side, _| {
            if let Some(log_id) = side.contract.asks() {
                side.link.cond_install(log_id);
            }
        });
    }

    fn decided(&mut self, decision: InstallDecision) {
        let kept = self.contract.decided(decision, self.runs());
        let offer = self.offered.take();
        let Some(offer) = offer.filter(|_| self.holds(kept)) else { return };
        if decision.granted {
            self.watch.lock().sights.switched_by_hand += 1;
            self.switch_to(offer);
        } else {
            self.link.retire(offer.shadow);
        }
        self.pull();
    }

    fn switch_to(&mut self, offer: OfferedSnapshot) {
        let Some(mut new) = self.state_at(offer.meta.log_id, offer.shadow) else { return };
        self.observer.installed(&new);
        if let Some(old) = self.replica.take() {
            new.continue_counters(old.counters());
            self.link.retire(BoxedState::new(old));
        }
        self.replica = Some(new);
        self.link.applied(self.applied());
        self.run_parked();
    }

    fn restored(&mut self, log_id: LogId, state: BoxedState) {
        let kept = self.contract.restored(log_id);
        if !self.holds(kept) {
            return;
        }
        let Some(replica) = self.state_at(log_id, state) else { return };
        self.observer.restored(&replica);
        self.replica = Some(replica);
        self.run_parked();
        self.pull();
    }

    /// A decoded state, if it is the one it is said to be.
    fn state_at(&mut self, log_id: LogId, state: BoxedState) -> Option<Box<Replica<M>>> {
        let replica = state.downcast::<Replica<M>>();
        let holds = replica.as_ref().map(|replica| replica.applied());
        let kept = match holds == Some(log_id) {
            true => Ok(()),
            false => Err(format!("the state of snapshot {log_id} is the one behind {holds:?}")),
        };
        replica.filter(|_| self.holds(kept))
    }

    /// The next item is pulled at once; the view may come later.
    fn take_snapshot(&mut self, context: &mut Context<OwnSide<M>>) {
        let later = self.draws(300, HANDS_LATE);
        if later.is_zero() {
            self.hand_out_view();
        } else if let Some((log_id, view)) = self.view() {
            context.run_later(later, move |side, _| side.hand_out(log_id, view));
        } else {
            self.link.decline_snapshot();
        }
        self.pull();
    }

    fn hand_out_view(&mut self) {
        match self.view() {
            Some((log_id, view)) => self.hand_out(log_id, view),
            None => self.link.decline_snapshot(),
        }
    }

    fn view(&self) -> Option<(LogId, StateView)> {
        let replica = self.replica.as_ref().filter(|replica| replica.applied().index > 0)?;
        self.observer.viewed(replica);
        let (log_id, view) = (replica.applied(), replica.view());
        Some((log_id, StateView::new(log_id, move |out| encode_replica::<M>(&view, out))))
    }

    /// A view that is reported as current must be current.
    fn hand_out(&mut self, log_id: LogId, view: StateView) {
        let taken = self.link.snapshot(view);
        let (node, watch, guard) =
            (self.node, self.watch.clone(), Arc::downgrade(stop_signal_of_link(&self.link)));
        drop(spawn_local(async move {
            let Ok(current) = taken.await else { return };
            if guard.upgrade().is_none_or(|life| life.fenced()) {
                return;
            }
            if current != log_id {
                watch.report_breach(
                    RULE,
                    format!("n{node}: handed out {log_id}, told of {current}"),
                );
            }
            watch.lock().invariants.kept(node, log_id);
        }));
    }

    fn read(&mut self, index: Index, job: ReadJob) {
        let committed = self.watch.lock().invariants.committed();
        let kept = self.contract.read_at(index, committed);
        match &self.replica {
            Some(replica) if replica.applied().index >= index => job.run(replica.machine()),
            _ => self.parked.entry(index).or_default().push(job),
        }
        self.holds(kept);
    }

    fn run_parked(&mut self) {
        let Some(replica) = &self.replica else { return };
        let later = self.parked.split_off(&(replica.applied().index + 1));
        let due = std::mem::replace(&mut self.parked, later);
        due.into_values().flatten().for_each(|job| job.run(replica.machine()));
    }
}

impl<M: Machine> Actor for OwnSide<M> {
    type Context = Context<OwnSide<M>>;

    fn started(&mut self, _: &mut Context<OwnSide<M>>) {
        if !self.link.restores() {
            self.pull();
        }
    }
}

impl<M: Machine> Handler<ApplyMessage> for OwnSide<M> {
    type Result = ();

    fn handle(&mut self, message: ApplyMessage, context: &mut Context<OwnSide<M>>) {
        if stop_signal_of_link(&self.link).fenced() {
            return context.stop();
        }
        if self.has_given_up && !matches!(message, ApplyMessage::Stop(_)) {
            return;
        }
        self.watch.lock().events += 1;
        match message {
            ApplyMessage::Restored { log_id, state } => self.restored(log_id, state),
            ApplyMessage::Work(work) => self.work(work, context),
            ApplyMessage::Decision(decision) => self.decided(decision),
            ApplyMessage::ReadAt { index, job } => self.read(index, job),
            ApplyMessage::Stop(ack) => {
                // Acknowledged when nothing of the actor is left.
                self.ended = Some(ack);
                context.stop();
            }
            other => panic!("no rule for {other:?}"),
        }
    }
}
