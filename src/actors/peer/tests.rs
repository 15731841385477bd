//! Tests of a peer whose batches the test controls: its messages, their times, and whether its
//! mailbox is drained.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crate::actors::fenced_sender::FencedSender;
use crate::messages::{Deliver, LinearizableRead, Persisted, Proposals};
use crate::node::Config;
use crate::raft::{Answer, Body, Envelope, Membership, NodeId, Request, Role as Standing};
use crate::runtime::Placement;
use crate::runtime::shell::Ignores;
use crate::runtime::stop_signal::StopSignal;
use crate::storage::memory::MemoryStorage;
use crate::storage::{Identity, Start, Storage};
use crate::transport::{Inbox, Receipt, Transport};

use super::*;

fn micros(duration: std::time::Duration) -> Micros {
    duration.as_micros() as Micros
}

/// Counts the pre-vote requests that are sent.
#[derive(Clone, Default)]
struct Sent(Arc<AtomicUsize>);

impl Transport for Sent {
    fn send(&self, envelope: Envelope) {
        if let Body::Request(Request::PreVote { .. }) = envelope.body {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn attach(&self, _node: NodeId, _inbox: Inbox) {}

    fn detach(&self, _node: NodeId) {}
}

/// A member that receives nothing from the other members, if there are any.
struct Lonely {
    peer: RaftPeer,
    shared: Arc<NodeContext>,
    sent: Sent,
    now: Micros,
}

impl Lonely {
    fn of(voters: &[NodeId], config: &Config) -> Lonely {
        let identity = Identity { cluster: 0, node: 1, created_at_ms: 0 };
        let start = Start::Bootstrap(Membership::of_voters(voters.iter().copied()));
        let opened = Box::new(MemoryStorage::new()).open(identity, &start).expect("an empty disk");
        let raft = Raft::new(config.raft(0, 1), opened.recovered, 0);
        let stop_signal = Arc::new(StopSignal::new().0);
        let shared = Arc::new(NodeContext::new(
            1,
            1,
            stop_signal,
            raft.status(),
            config.proposals_in_flight,
            config.reads_in_flight,
        ));
        let (placement, sent) = (Placement::shared(), Sent::default());
        let (proposals, proposed) = Proposals::new(Ignores::address());
        drop(proposals);
        let links = PeerLinks {
            proposals: proposed,
            applied: AppliedMark::new(),
            persister: Ignores::address(),
            reader: Ignores::address(),
            queue: Ignores::address(),
            apply_side: (*Ignores::address()).clone().recipient(),
            snapshotter: Ignores::address(),
            sender: FencedSender { transport: Arc::new(sent.clone()), shared: shared.clone() },
        };
        let times = Times {
            tick: micros(config.tick_interval),
            proposal_timeout: micros(config.proposal_timeout),
            idle: micros(config.heartbeat_interval),
            stall: micros(config.heartbeat_interval) / 2,
        };
        let (clock, observer, tick_timer) =
            (placement.clock(), Observer::default(), TickTimer::default());
        let peer = RaftPeer::new(raft, links, shared.clone(), clock, observer, times, tick_timer);
        Lonely { peer, shared, sent, now: 0 }
    }

    /// Runs a batch that was cut: more messages wait in the mailbox. Requested steps are reported
    /// as complete.
    fn cut_batch(&mut self, flood: fn(&mut RaftPeer, Micros)) {
        let began = self.now;
        for _ in 0..4 {
            self.peer.prepare(self.now);
            flood(&mut self.peer, self.now);
        }
        let asked = self.peer.asked.0;
        if self.peer.persisted < asked {
            self.peer.receive(Persisted { seq: asked }, &mut Turn::at(self.now));
        }
        self.now += 1_000;
        self.peer.flush(Batch { began, now: self.now, drained: false });
    }
}

/// An answer to a request that was never sent.
fn envelope(peer: &mut RaftPeer, now: Micros) {
    let answer = Answer::Vote { granted: false, held: None };
    let body = Body::Answer { asker_incarnation: 9, answer };
    let envelope =
        Envelope { cluster: 0, group: 0, from: 9, to: 1, incarnation: 1, term: 0, id: 1, body };
    peer.receive(Deliver { envelope, receipt: Receipt::none() }, &mut Turn::at(now));
}

fn read(peer: &mut RaftPeer, now: Micros) {
    let job = peer.shared.reads.begin(now + 1_000_000, |_| ()).expect("a free place for a read");
    peer.receive(LinearizableRead(job), &mut Turn::at(now));
}

/// B3, AC07: an endless flood of messages of any kind does not hold up ticks. The election timeout
/// ends in time, and the other members are asked.
#[test]
fn ticks_come_on_time_in_a_mailbox_that_never_drains() {
    let config = Config::default();
    for flood in [envelope, read] {
        let mut lonely = Lonely::of(&[1, 2, 3], &config);
        let latest = micros(config.election_timeout_max) + micros(config.tick_interval) + 1_000;
        while lonely.sent.0.load(Relaxed) == 0 {
            assert!(lonely.now <= latest, "nobody was asked within {} us", lonely.now);
            lonely.cut_batch(flood);
        }
    }
}

/// The published status of a node under a flood of messages is at most one tick old.
#[test]
fn the_status_is_published_in_a_mailbox_that_never_drains() {
    let config = Config::default();
    for flood in [envelope, read] {
        let mut lonely = Lonely::of(&[1], &config);
        let (mut same_at, mut seen) = (0, Standing::Follower);
        while seen != Standing::Leader {
            assert!(lonely.now < 10_000_000, "no election");
            lonely.cut_batch(flood);
            seen = lonely.shared.raft.lock().role;
            if lonely.peer.raft.role().0 == seen {
                same_at = lonely.now;
            }
            let behind = lonely.now - same_at;
            assert!(behind <= micros(config.tick_interval) + 1_000, "{behind} us behind");
        }
    }
}
