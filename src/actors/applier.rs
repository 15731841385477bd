//! The applier: the default apply side, around one [`Replica`].
//!
//! ```text
//!             ┌────────── Restored (only if the node starts from a snapshot)
//!             ▼
//!   pull ─▶ Work: entries ──▶ apply, answer, report ──▶ pull
//!                 take    ──▶ send a view           ──▶ pull
//!                 offer   ──▶ CondInstall? ─ granted ─▶ swap, report ──▶ pull
//!                                          └ refused ─▶ drop staged  ──▶ pull
//! ```
//! It works in batches: replies, report and the next pull are sent once per batch. Reads run
//! between batches: immediately if their index is applied, otherwise as soon as it is. While an
//! offer is undecided it pulls nothing and still serves reads.
//!
//! *What it does not do:* it never blocks on an answer, and does not free large states itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::actors::context::NodeContext;
use crate::machine::{Machine, Outcome, Replica, Undecodable, encode_replica};
use crate::messages::{
    ApplyLink, ApplyMessage, ApplyWork, BoxedState, CommittedBatch, OfferedSnapshot, ReadJob,
    Reply, StateView,
};
use crate::raft::{Entry, Index, InstallDecision, LogId};
use crate::runtime::Executor;
use crate::runtime::shell::{Behaviour, Receive, Turn};

use super::delays::Delays;
use super::observer::Observer;

pub(crate) struct Applier<M: Machine> {
    /// `None` until the snapshot that the node starts from is decoded. Boxed so that it can be
    /// swapped cheaply, and because actors must be `Unpin` for every machine type.
    replica: Option<Box<Replica<M>>>,
    /// Items not begun: at most one, unless the node is stopping.
    backlog: VecDeque<ApplyWork>,
    /// An entry could not be decoded: no later entry is applied, and the node stops.
    ended: bool,
    /// The offer that awaits the peer's decision.
    offered: Option<OfferedSnapshot>,
    /// Waiting reads, by the index that must be applied.
    parked: BTreeMap<Index, Vec<ReadJob>>,
    link: ApplyLink,
    executor: Executor,
    delays: Delays,
    shared: Arc<NodeContext>,
    observer: Observer,
}

impl<M: Machine> Behaviour for Applier<M> {
    const NAME: &'static str = "applier";
}

/// One type for all messages: it is the public contract of the apply side.
impl<M: Machine> Receive<ApplyMessage> for Applier<M> {
    fn receive(&mut self, message: ApplyMessage, turn: &mut Turn) {
        match message {
            ApplyMessage::Work(work) => {
                self.backlog.push_back(work);
                self.advance();
            }
            ApplyMessage::ReadAt { index, job } => self.read(index, job),
            ApplyMessage::Decision(decision) => self.decide(decision),
            ApplyMessage::Restored { log_id, state } => self.restored(log_id, state),
            ApplyMessage::Stop(ack) => {
                self.finish();
                return turn.stop(ack);
            }
        }
        self.assert_none_waits_in_vain();
    }
}

impl<M: Machine> Applier<M> {
    /// `replica` is the initial state, unless the link says that one is restored.
    pub(crate) fn new(
        replica: Replica<M>,
        link: ApplyLink,
        executor: Executor,
        delays: Delays,
        shared: Arc<NodeContext>,
        observer: Observer,
    ) -> Applier<M> {
        let replica = (!link.restores()).then(|| Box::new(replica));
        if let Some(replica) = &replica {
            observer.restored(replica);
            link.pull();
        }
        Applier {
            replica,
            backlog: VecDeque::new(),
            ended: false,
            offered: None,
            parked: BTreeMap::new(),
            link,
            executor,
            delays,
            shared,
            observer,
        }
    }

    fn advance(&mut self) {
        while self.offered.is_none() && self.replica.is_some() && !self.ended {
            let Some(work) = self.backlog.pop_front() else { return };
            match work {
                ApplyWork::Entries(batch) => self.apply(batch),
                ApplyWork::Offer(offer) => self.ask(offer),
                ApplyWork::TakeSnapshot => self.hand_out_view(),
            }
        }
    }

    fn apply(&mut self, batch: CommittedBatch) {
        let Some(replica) = &mut self.replica else { return };
        let observer = &self.observer;
        let (answers, ended) =
            self.executor.work(self.delays.apply(), || apply_batch(replica, batch, observer));
        let (applied, counters) = (replica.applied().index, replica.counters());
        *self.shared.sessions.lock() = counters;
        let goes_on = ended.is_none();
        self.executor.emit(&self.link, move |link| {
            answers.into_iter().for_each(|(reply, outcome)| reply.answer(outcome));
            link.applied(applied);
            if goes_on {
                link.pull();
            }
        });
        self.run_parked();
        if let Some(undecodable) = ended {
            self.ended = true;
            self.shared.stop_signal.fail(undecodable.to_string());
        }
    }

    fn ask(&mut self, offer: OfferedSnapshot) {
        let log_id = offer.meta.log_id;
        self.offered = Some(offer);
        self.executor.emit(&self.link, move |link| link.cond_install(log_id));
    }

    fn decide(&mut self, decision: InstallDecision) {
        let Some(offer) = self.offered.take_if(|offer| offer.meta.log_id == decision.log_id) else {
            return;
        };
        if decision.granted {
            self.switch_to(offer);
        } else {
            self.link.retire(offer.shadow);
        }
        self.executor.emit(&self.link, ApplyLink::pull);
        self.advance();
    }

    /// The old state is dropped in the background: freeing a large one takes seconds.
    fn switch_to(&mut self, offer: OfferedSnapshot) {
        let OfferedSnapshot { meta, shadow } = offer;
        let mut new = unwrap_replica::<M>(shadow, meta.log_id);
        self.observer.installed(&new);
        if let Some(old) = &self.replica {
            new.continue_counters(old.counters());
        }
        if let Some(old) = self.replica.replace(new) {
            let before = old.applied();
            assert!(
                meta.log_id.index > before.index,
                "snapshot {} granted at {before}",
                meta.log_id
            );
            self.link.retire(BoxedState::new(old));
        }
        self.executor.emit(&self.link, move |link| link.applied(meta.log_id.index));
        self.run_parked();
    }

    fn restored(&mut self, log_id: LogId, state: BoxedState) {
        assert!(self.replica.is_none(), "restored to {log_id} a second time");
        let replica = unwrap_replica::<M>(state, log_id);
        self.observer.restored(&replica);
        self.replica = Some(replica);
        self.executor.emit(&self.link, ApplyLink::pull);
        self.run_parked();
        self.advance();
    }

    fn hand_out_view(&mut self) {
        let Some(replica) = &self.replica else { return };
        let log_id = replica.applied();
        let view = (log_id.index > 0).then(|| replica.view());
        self.observer.viewed(replica);
        self.executor.emit(&self.link, move |link| {
            match view {
                Some(view) => {
                    link.snapshot(StateView::new(log_id, move |out| {
                        encode_replica::<M>(&view, out)
                    }));
                }
                None => link.decline_snapshot(),
            }
            link.pull();
        });
    }

    fn read(&mut self, index: Index, job: ReadJob) {
        match &self.replica {
            Some(replica) if replica.applied().index >= index => job.run(replica.machine()),
            _ => self.parked.entry(index).or_default().push(job),
        }
    }

    /// Checks that the index of each parked read is not applied yet.
    fn assert_none_waits_in_vain(&self) {
        let Some((first, _)) = self.parked.first_key_value() else { return };
        let Some(replica) = &self.replica else { return };
        let applied = replica.applied().index;
        assert!(*first > applied, "a read waits for {first}, and {applied} is applied");
    }

    fn run_parked(&mut self) {
        let Some(replica) = &self.replica else { return };
        while let Some(first) = self.parked.first_entry() {
            if *first.key() > replica.applied().index {
                return;
            }
            first.remove().into_iter().for_each(|job| job.run(replica.machine()));
        }
    }

    /// The peer and the queue have ended: an undecided offer is void, and the remaining entries are
    /// applied if they are contiguous with the state.
    fn finish(&mut self) {
        if let Some(offer) = self.offered.take() {
            self.link.retire(offer.shadow);
        }
        while let (Some(replica), Some(work)) = (&mut self.replica, self.backlog.pop_front()) {
            let ApplyWork::Entries(batch) = work else { continue };
            if self.ended {
                break;
            }
            let next = replica.applied().index + 1;
            if batch.entries.first().is_none_or(|first| first.log_id.index > next) {
                break;
            }
            self.apply(batch);
        }
        self.backlog.clear();
        self.parked.clear();
        if let Some(old) = self.replica.take() {
            self.link.retire(BoxedState::new(old));
        }
    }
}

fn unwrap_replica<M: Machine>(state: BoxedState, log_id: LogId) -> Box<Replica<M>> {
    let Some(replica) = state.downcast::<Replica<M>>() else {
        panic!("the state of snapshot {log_id} is not a replica of this machine");
    };
    assert!(
        replica.applied() == log_id,
        "snapshot {log_id} holds the state at {}",
        replica.applied()
    );
    replica
}

/// The outcomes of applied entries, each with the reply that waits for it.
pub type Answers = Vec<(Reply, Outcome)>;

/// Applies the entries that the state does not include yet, up to the first that can't be decoded.
/// Returns the answers, and that entry's error. The outcome of the entries from there on is unknown
/// here: other members may execute them.
pub fn apply_batch<M: Machine>(
    replica: &mut Replica<M>,
    batch: CommittedBatch,
    observer: &Observer,
) -> (Answers, Option<Undecodable>) {
    let mut answers = Answers::with_capacity(batch.replies.len());
    let mut replies = batch.replies.into_iter().peekable();
    for entry in &batch.entries {
        let reply = replies.next_if(|(index, _)| *index == entry.log_id.index);
        let Some((_, reply)) = reply else {
            if entry.log_id.index > replica.applied().index
                && let Err(undecodable) = observer.applies_unanswered(replica, entry)
            {
                return (answers, Some(undecodable));
            }
            continue;
        };
        match reply.span().in_scope(|| apply_entry(replica, entry, observer)) {
            Ok(outcome) => answers.push((reply, outcome)),
            Err(undecodable) => return (answers, Some(undecodable)),
        }
    }
    assert!(
        replies.next().is_none(),
        "a reply without its entry in a batch of {}",
        batch.entries.len()
    );
    (answers, None)
}

fn apply_entry<M: Machine>(
    replica: &mut Replica<M>,
    entry: &Entry,
    observer: &Observer,
) -> Result<Outcome, Undecodable> {
    // Queued before an install that covers it (B5): the state already includes its effect.
    match entry.log_id.index <= replica.applied().index {
        true => Ok(replica.covered_reply(&entry.data)),
        false => observer.applies(replica, entry),
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;

    use bytes::Bytes;
    use tokio::sync::oneshot;

    use super::*;
    use crate::machine::{SessionConfig, WordCount};
    use crate::messages::AppliedMark;
    use crate::messages::ApplyGuard;
    use crate::raft::{EntryKind, Membership, RaftStatus, SnapshotMeta};
    use crate::runtime::shell::Ignores;
    use crate::runtime::stop_signal::StopSignal;
    use crate::runtime::{Component, Placement};

    fn entries(indexes: std::ops::RangeInclusive<Index>) -> Vec<Entry> {
        let blank = |index| Entry {
            log_id: LogId::new(1, index),
            kind: EntryKind::Blank,
            stamp_ms: 0,
            data: Bytes::new(),
        };
        indexes.map(blank).collect()
    }

    fn replica(applied: Index) -> Replica<WordCount> {
        let mut replica = Replica::new(WordCount::default(), SessionConfig::default(), 0);
        for entry in entries(1..=applied).iter() {
            replica.apply_unanswered(entry).expect("a blank entry");
        }
        replica
    }

    fn applier(shared: &Arc<NodeContext>) -> Applier<WordCount> {
        let link = ApplyLink {
            peer: Ignores::address(),
            queue: Ignores::address(),
            snapshotter: Ignores::address(),
            restores: false,
            mark: AppliedMark::new(),
            _guard: Arc::new(ApplyGuard(shared.stop_signal.clone())),
        };
        let (executors, _ends) = Placement::shared().open(0).expect("no threads to fail");
        let executor = executors.of(Component::Applier).clone();
        let (delays, observer) = (Delays::default(), Observer::default());
        Applier::new(replica(0), link, executor, delays, shared.clone(), observer)
    }

    fn offer(index: Index) -> OfferedSnapshot {
        let log_id = LogId::new(1, index);
        let membership = Membership::of_voters([0]);
        OfferedSnapshot {
            meta: SnapshotMeta { log_id, membership, size_bytes: 0 },
            shadow: BoxedState::state_behind(log_id, replica(index)),
        }
    }

    /// RD05: the change that brings the state to a read's index answers the read, whether it is a
    /// batch of entries or an install; after an install no later entry would.
    #[test]
    fn reads_parked_on_an_index_that_an_install_covers_are_answered_at_once() {
        let stop_signal = Arc::new(StopSignal::new().0);
        let shared = Arc::new(NodeContext::new(0, 1, stop_signal, RaftStatus::default(), 100, 100));
        let mut applier = applier(&shared);
        let read = |index, applier: &mut Applier<WordCount>| {
            let (to, answer) = oneshot::channel();
            let read = move |state: Result<&dyn Any, _>| drop(to.send(state.map(|_| ())));
            let job = shared.reads.begin(1_000, read).expect("a free place");
            applier.receive(ApplyMessage::ReadAt { index, job }, &mut Turn::at(0));
            answer
        };
        let mut answers: Vec<_> = [2, 3, 8, 10, 11].map(|index| read(index, &mut applier)).into();
        let is_answered = |answers: &mut Vec<oneshot::Receiver<_>>| {
            let answered = answers.iter_mut().map(|answer| answer.try_recv() == Ok(Ok(())));
            answered.collect::<Vec<bool>>()
        };
        let batch = CommittedBatch { entries: entries(1..=2).into(), replies: Vec::new() };
        applier.receive(ApplyMessage::Work(ApplyWork::Entries(batch)), &mut Turn::at(0));
        assert_eq!(is_answered(&mut answers), [true, false, false, false, false]);
        applier.receive(ApplyMessage::Work(ApplyWork::Offer(offer(10))), &mut Turn::at(0));
        let mut during = read(1, &mut applier);
        assert_eq!(during.try_recv(), Ok(Ok(())), "the old state serves until the decision");
        let decision = InstallDecision { log_id: LogId::new(1, 10), granted: true };
        applier.receive(ApplyMessage::Decision(decision), &mut Turn::at(0));
        assert_eq!(is_answered(&mut answers), [false, true, true, true, false]);
        let batch = CommittedBatch { entries: entries(11..=11).into(), replies: Vec::new() };
        applier.receive(ApplyMessage::Work(ApplyWork::Entries(batch)), &mut Turn::at(0));
        assert_eq!(is_answered(&mut answers), [false, false, false, false, true]);
    }
}
