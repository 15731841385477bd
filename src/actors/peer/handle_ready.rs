//! Handling a `Ready`: each of its lists is sent to one actor.
//!
//! | list | goes to |
//! |---|---|
//! | `messages` | transport, immediately |
//! | `persist` | persister, including all messages that must wait for it |
//! | `reads`, `chunk_reads` | reader |
//! | `apply` | apply queue, followers via [`super::apply_batcher`]; with replies, staged states |
//! | `snapshots` | snapshotter |
//! | `decisions`, `reads_confirmed` | apply side |
//! | `events` | the requests that wait in this actor |

use crate::messages::{
    ApplyMessage, ApplyWork, CommittedBatch, Enqueue, OfferedSnapshot, PersistStep, ReadChunk,
    ReadError, ReadLog, RemoveRefused, Reply, RunSnapshotJob, WithdrawOffer,
};
use crate::raft::{
    ApplyItem, Entries, Event, Index, InstallDecision, LogId, Micros, Persist, Ready, Role,
    SnapshotJob,
};

use super::RaftPeer;

const STALE_DIRECTORY: &str = "other members remember a later start of this node than its directory does: it is an older copy. What \
     that lost is noted; start the node again, and it catches up from the others before it counts";

impl RaftPeer {
    pub(super) fn handle_ready(&mut self, now: Micros) {
        let Ready {
            messages,
            persist,
            reads,
            apply,
            snapshots,
            chunk_reads,
            decisions,
            reads_confirmed,
            reads_failed,
            events,
        } = self.raft.ready();
        self.observer.show(&self.raft);
        messages.into_iter().for_each(|envelope| self.links.sender.send(envelope));
        if let Some(step) = persist {
            self.persist(step, now);
        }
        reads.into_iter().for_each(|read| self.links.reader.send(ReadLog(read)));
        chunk_reads.into_iter().for_each(|read| self.links.reader.send(ReadChunk(read)));
        // Before the events: a waiter whose entry is committed gets its reply even if this `Ready`
        // also reports that the leader is deposed.
        apply.into_iter().for_each(|item| self.queue(item, now));
        snapshots.into_iter().for_each(|job| self.snapshot_job(job, now));
        decisions.into_iter().for_each(|decision| self.decided(decision, now));
        if !reads_confirmed.is_empty() {
            self.release_batch(now);
        }
        for confirmed in reads_confirmed {
            let apply_side = &self.links.apply_side;
            self.reads.take(confirmed.ticket, |job| {
                apply_side.do_send(ApplyMessage::ReadAt { index: confirmed.index, job });
            });
        }
        if !reads_failed.is_empty() {
            let error = match self.raft.role() {
                // The leader keeps its role without a quorum (`check_quorum` is off).
                (Role::Leader, ..) => ReadError::Busy,
                (_, _, leader) => ReadError::NotLeader { leader },
            };
            reads_failed.into_iter().for_each(|ticket| self.reads.fail(ticket, &error));
        }
        events.into_iter().for_each(|event| self.on_event(event, now));
    }

    fn persist(&mut self, step: Box<Persist>, now: Micros) {
        self.asked = (step.seq, now);
        self.links.persister.send(PersistStep { step, asked: now });
    }

    fn queue(&mut self, item: ApplyItem, now: Micros) {
        let work = match item {
            ApplyItem::Entries(entries) => return self.queue_entries(entries, now),
            ApplyItem::Offer(meta) => match self.shadow.take() {
                Some((log_id, shadow)) if log_id == meta.log_id => {
                    ApplyWork::Offer(OfferedSnapshot { meta, shadow })
                }
                other => panic!(
                    "{} offered, but decoded is {:?}",
                    meta.log_id,
                    other.map(|(log_id, _)| log_id)
                ),
            },
            ApplyItem::TakeSnapshot => ApplyWork::TakeSnapshot,
            ApplyItem::Withdraw(log_id) => {
                return self.links.queue.send(WithdrawOffer(log_id));
            }
        };
        self.release_batch(now);
        self.links.queue.send(Enqueue(work));
    }

    fn queue_entries(&mut self, entries: Entries, now: Micros) {
        let replies = self.waiters.take_for(&entries, self.raft.leader());
        let is_awaited = !replies.is_empty() || self.raft.role().0 == Role::Leader;
        if is_awaited || !self.apply_batcher.goes_on_with(&entries) {
            self.release_batch(now);
        }
        let due = if is_awaited { Some(entries) } else { self.apply_batcher.add(now, entries) };
        if let Some(entries) = due {
            self.push_entries(entries, replies);
        }
    }

    /// Sends the entries that a follower has held back to the apply queue.
    pub(super) fn release_batch(&mut self, now: Micros) {
        if let Some(entries) = self.apply_batcher.release(now) {
            self.push_entries(entries, Vec::new());
        }
    }

    fn push_entries(&self, entries: Entries, replies: Vec<(Index, Reply)>) {
        let work = ApplyWork::Entries(CommittedBatch { entries, replies });
        self.links.queue.send(Enqueue(work));
    }

    fn snapshot_job(&mut self, job: SnapshotJob, now: Micros) {
        if let SnapshotJob::Decode(meta) = &job {
            self.install_began = Some((meta.log_id, now));
        }
        self.links.snapshotter.send(RunSnapshotJob(job));
    }

    fn decided(&mut self, decision: InstallDecision, now: Micros) {
        if let Some((_, began)) =
            self.install_began.take_if(|(log_id, _)| *log_id == decision.log_id)
        {
            self.shared.metrics.install_took(now.saturating_sub(began));
        }
        self.links.apply_side.do_send(ApplyMessage::Decision(decision));
    }

    /// Checks that the oldest remaining reply may be answered as unknown: its entry was not
    /// dispatched (a dispatched entry takes its reply along), or a snapshot covers it.
    fn assert_replies_gone(&self) {
        let state = self.raft.observe().state;
        let in_doubt =
            |first: LogId| first.index > state.dispatched || first.index <= state.snapshot.index;
        let first = self.waiters.first();
        assert!(
            first.is_none_or(in_doubt),
            "the reply to {first:?} is given up, and entries up to {} were dispatched",
            state.dispatched
        );
    }

    fn on_event(&mut self, event: Event, now: Micros) {
        match event {
            Event::RoleChanged { role, term, leader } => {
                tracing::info!(?role, term, leader, "role")
            }
            Event::Deposed => {
                self.assert_replies_gone();
                self.waiters.forget_outcomes();
            }
            Event::Truncated { from } => self.waiters.truncated(from),
            Event::SnapshotInstalled { through } => self.waiters.covered(through),
            Event::Persisted(log_id) => self.waiters.persisted(log_id),
            Event::SnapshotCurrent(log_id) => {
                self.pending_snapshots.current(log_id);
                self.snapshot_requests.current(&mut self.raft, now, log_id)
            }
            Event::SnapshotRefused(log_id) => {
                self.links.snapshotter.send(RemoveRefused(log_id));
                self.snapshot_requests.passed(&mut self.raft, now);
            }
            Event::StaleDirectory => self.shared.stop_signal.fail(STALE_DIRECTORY.into()),
            // Logged where it is raised.
            Event::Alarm(_) => {}
        }
    }
}
