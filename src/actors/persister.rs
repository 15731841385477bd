//! The persister: the log's only writer.
//!
//! Steps are collected while the mailbox is not empty and written together: one fsync for all steps
//! that arrived during the previous one (group commit). The messages that a step releases are sent
//! right after its fsync, by the persister: an acknowledgement never waits for the peer's loop, and
//! is never sent before its fsync (PS02).
//!
//! *What it does not do:* it never decides, reorders or retries; a failed write stops the node
//! (PS04).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::actors::context::NodeContext;
use crate::messages::{PeerAddress, PersistStep, Persisted, SealLog, Stop};
use crate::raft::{Envelope, LogChange, Micros, Persist};
use crate::runtime::Executor;
use crate::runtime::clock::Clock;
use crate::runtime::shell::{Batch, Behaviour, Receive, Turn};
use crate::storage::LogStore;

use super::delays::Delays;
use super::fenced_sender::FencedSender;

/// Collected steps are written once they hold this many bytes, even if more steps wait.
const GROUP_BYTES: usize = 8 << 20;

pub(crate) struct Persister {
    pub(crate) log: Box<dyn LogStore>,
    pub(crate) links: PersisterLinks,
    pub(crate) executor: Executor,
    pub(crate) delays: Delays,
    pub(crate) group: Group,
    /// A write has failed: no later step is written, sent or reported, because it may depend on
    /// that write.
    pub(crate) failed: bool,
}

/// The recipients of a completed step's report and messages.
#[derive(Clone)]
pub(crate) struct PersisterLinks {
    pub(crate) peer: PeerAddress,
    pub(crate) sender: FencedSender,
    pub(crate) clock: Clock,
    pub(crate) shared: Arc<NodeContext>,
}

/// Steps collected for one write.
#[derive(Default)]
pub(crate) struct Group {
    changes: Vec<LogChange>,
    then_send: Vec<Envelope>,
    bytes: usize,
    last_seq: u64,
    first_asked: Option<Micros>,
}

impl Group {
    fn add(&mut self, step: Box<Persist>, asked: Micros) {
        let step = *step;
        assert!(step.seq > self.last_seq, "step {} after step {}", step.seq, self.last_seq);
        self.last_seq = step.seq;
        self.first_asked.get_or_insert(asked);
        self.bytes += step.change.append.iter().map(|entry| entry.size_bytes()).sum::<usize>();
        if !step.change.is_empty() {
            self.changes.push(step.change);
        }
        self.then_send.extend(step.then_send);
    }
}

impl Behaviour for Persister {
    const NAME: &'static str = "persister";

    fn flush(&mut self, _batch: Batch) {
        self.write();
    }
}

impl Receive<PersistStep> for Persister {
    fn receive(&mut self, PersistStep { step, asked }: PersistStep, _turn: &mut Turn) {
        self.group.add(step, asked);
        if self.group.bytes >= GROUP_BYTES {
            self.write();
        }
    }
}

impl Receive<SealLog> for Persister {
    fn receive(&mut self, _seal: SealLog, _turn: &mut Turn) {
        self.write();
        self.seal();
    }
}

/// The peer has ended before this: its last steps are in the group.
impl Receive<Stop> for Persister {
    fn receive(&mut self, Stop(ack): Stop, turn: &mut Turn) {
        self.write();
        self.seal();
        turn.stop(ack);
    }
}

impl Persister {
    fn write(&mut self) {
        let last_seq = self.group.last_seq;
        let group = std::mem::replace(&mut self.group, Group { last_seq, ..Group::default() });
        let Some(asked) = group.first_asked else { return };
        if self.failed || self.links.shared.stop_signal.fenced() {
            return;
        }
        if !group.changes.is_empty() {
            let cost = self.delays.fsync();
            if let Err(error) = self.executor.work(cost, || self.log.write(&group.changes)) {
                self.failed = true;
                return self
                    .links
                    .shared
                    .stop_signal
                    .fail(format!("the log can't be written: {error}"));
            }
            self.measure(&group);
        }
        self.executor.emit(&self.links, move |PersisterLinks { peer, sender, clock, shared }| {
            shared.metrics.persist_took(clock.now().saturating_sub(asked));
            group.then_send.into_iter().for_each(|envelope| sender.send(envelope));
            peer.send(Persisted { seq: group.last_seq });
        });
    }

    fn measure(&self, group: &Group) {
        let metrics = &self.links.shared.metrics;
        metrics.log_writes.fetch_add(1, Relaxed);
        metrics.log_steps.fetch_add(group.changes.len() as u64, Relaxed);
    }

    fn seal(&mut self) {
        if self.failed || self.links.shared.stop_signal.fenced() {
            return;
        }
        if let Err(error) = self.log.seal() {
            self.links.shared.stop_signal.fail(format!("the log can't be sealed: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tokio::task::LocalSet;

    use super::*;
    use crate::raft::{Answer, Body, HardState, NodeId, RaftStatus};
    use crate::runtime::shell::UnstartedActor;
    use crate::runtime::stop_signal::StopSignal;
    use crate::runtime::{Component, Placement};
    use crate::storage::{LogReader, StorageError};
    use crate::transport::{Inbox, Transport};

    /// A full disk.
    struct Full;

    impl LogStore for Full {
        fn write(&mut self, _changes: &[LogChange]) -> Result<(), StorageError> {
            Err(StorageError::Refused { path: "full".into(), what: "no space".into() })
        }

        fn reader(&self) -> Box<dyn LogReader> {
            unreachable!("this test reads nothing")
        }

        fn seal(&mut self) -> Result<(), StorageError> {
            Ok(())
        }
    }

    /// Records everything that the persister sends, to the peer and to other members.
    #[derive(Clone, Default)]
    struct Left(Arc<Mutex<Vec<String>>>);

    impl Transport for Left {
        fn send(&self, envelope: Envelope) {
            self.0.lock().push(format!("{envelope:?}"));
        }

        fn attach(&self, _node: NodeId, _inbox: Inbox) {}

        fn detach(&self, _node: NodeId) {}
    }

    impl Behaviour for Left {
        const NAME: &'static str = "peer";
    }

    impl<M: std::fmt::Debug> Receive<M> for Left {
        fn receive(&mut self, message: M, _turn: &mut Turn) {
            self.0.lock().push(format!("{message:?}"));
        }
    }

    fn vote() -> Envelope {
        let body = Body::Answer {
            asker_incarnation: 1,
            answer: Answer::Vote { granted: true, held: None },
        };
        Envelope { cluster: 0, group: 0, from: 0, to: 1, incarnation: 1, term: 1, id: 1, body }
    }

    /// PS02, PS04: a step without changes only waits for the steps before it. If one of these could
    /// not be written, the step is never reported and its messages are never sent, however long the
    /// node takes to stop.
    #[tokio::test]
    async fn nothing_behind_a_failed_write_leaves() {
        let (placement, left) = (Placement::shared(), Left::default());
        let observed = left.clone();
        let story = async move {
            let (executors, _ends) = placement.open(0).expect("no threads to fail");
            let stop_signal = Arc::new(StopSignal::new().0);
            let shared =
                NodeContext::new(0, 1, stop_signal.clone(), RaftStatus::default(), 100, 100);
            let (shared, clock, executor) =
                (Arc::new(shared), placement.clock(), executors.of(Component::Peer));
            let peer = UnstartedActor::<Left>::new();
            let links = PersisterLinks {
                peer: Arc::new(peer.address()),
                sender: FencedSender { transport: Arc::new(left.clone()), shared: shared.clone() },
                clock: clock.clone(),
                shared,
            };
            let mut persister = Persister {
                log: Box::new(Full),
                links,
                executor: executor.clone(),
                delays: Delays::default(),
                group: Group::default(),
                failed: false,
            };
            peer.start(executor, clock, stop_signal.clone(), move || left);
            let hard_state = Some(HardState { term: 1, vote: Some(1) });
            let changes = [LogChange { hard_state, ..LogChange::default() }, LogChange::default()];
            for (seq, change) in (1..).zip(changes) {
                let step = Box::new(Persist { seq, change, then_send: vec![vote()] });
                persister.receive(PersistStep { step, asked: 0 }, &mut Turn::at(0));
                persister.flush(Batch { began: 0, now: 0, drained: true });
            }
            persister.receive(SealLog, &mut Turn::at(0));
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert!(stop_signal.fatal().is_some_and(|fatal| fatal.contains("no space")));
            executors.exit();
        };
        LocalSet::new().run_until(story).await;
        assert_eq!(*observed.0.lock(), Vec::<String>::new());
    }
}
