//! Ends: whatever ends a node, everybody who waits hears the truth, and the others go on.
//!
//! | end | the node | who waits | the others |
//! |---|---|---|---|
//! | stopped in order | sealed, storage free | reply, `Unknown`, or a definite error that is true | go on |
//! | an actor panics, storage fails | stops, `status.fatal` says which and why | the same | go on |
//! | dropped, crashed | gone | the same | go on |

use std::collections::BTreeMap;
use std::time::Duration;

use quorate::actors::Delays;
use quorate::node::{Client, ClientOptions, SnapshotError};
use quorate::node::{
    Config, Consistency, Handle, Members, Node, NodeBuilder, ProposeError, ReadError,
};
use quorate::raft::{InstallStatus, Membership, NodeId, Role};
use quorate::runtime::Placement;
use quorate::storage::Start;
use quorate::storage::memory::MemoryStorage;
use quorate::transport::{InProcessNetwork, NetworkOptions};
use tokio::task::{JoinHandle, spawn_local};

use crate::faulty::*;
use crate::support::{pass, small, story, until};

/// Three members whose parts can be made to fail.
struct Trio {
    network: InProcessNetwork,
    placement: Placement,
    config: Config,
    disks: BTreeMap<NodeId, MemoryStorage>,
    traps: BTreeMap<NodeId, Traps>,
    delays: BTreeMap<NodeId, Delays>,
    members: Members<Fragile>,
    nodes: BTreeMap<NodeId, Node<Fragile>>,
}

impl Trio {
    async fn start() -> Trio {
        Trio::start_with(small()).await
    }

    async fn start_with(config: Config) -> Trio {
        let mut trio = Trio {
            network: InProcessNetwork::new(NetworkOptions { seed: 5, encode: true }),
            placement: Placement::virtual_time(),
            config,
            disks: (0..3).map(|node| (node, MemoryStorage::new())).collect(),
            traps: (0..3).map(|node| (node, Traps::default())).collect(),
            delays: (0..3).map(|node| (node, Delays::default())).collect(),
            members: Members::default(),
            nodes: BTreeMap::new(),
        };
        for node in 0..3 {
            trio.start_member(node).await;
        }
        trio
    }

    async fn start_member(&mut self, node: NodeId) {
        let traps = self.traps[&node].clone();
        let started = NodeBuilder::new(node, Fragile::with(traps.clone()))
            .config(self.config.clone())
            .storage(FaultyStorage { disk: self.disks[&node].clone(), traps: traps.clone() })
            .transport(FaultyTransport { endpoint: self.network.endpoint(node), traps })
            .start_mode(Start::Bootstrap(Membership::of_voters(0..3)))
            .placement(self.placement.clone())
            .delays(self.delays[&node].clone())
            .start()
            .await
            .expect("the member starts");
        self.members.set(started.handle());
        self.nodes.insert(node, started);
    }

    fn handle(&self, node: NodeId) -> Handle<Fragile> {
        self.members.get(node).expect("a member")
    }

    fn client(&self) -> Client<Fragile> {
        Client::new(self.members.clone(), ClientOptions::default())
    }

    fn leader_now(&self) -> Option<NodeId> {
        let statuses = (0..3).map(|node| self.handle(node).status());
        let leaders = statuses.filter(|s| s.running && s.raft.role == Role::Leader);
        leaders.max_by_key(|status| status.raft.term).map(|status| status.node)
    }

    async fn leader(&self) -> NodeId {
        until("a leader", || self.leader_now().is_some()).await;
        self.leader_now().expect("just found")
    }

    /// How often the number was noted, as the cluster agrees on.
    async fn times(&self, number: u64) -> u64 {
        loop {
            let leader = self.handle(self.leader().await);
            let read = move |state: &Fragile| state.times(number);
            match leader.read(Consistency::Linearizable, read).await {
                Ok(times) => return times,
                Err(_) => pass(Duration::from_millis(10)).await,
            }
        }
    }

    async fn note(&self, numbers: std::ops::Range<u64>) {
        let client = self.client();
        for number in numbers {
            assert_eq!(client.execute(Note::Number(number)).await, Ok(number), "a crossed reply");
        }
    }

    /// Proposals at `node`, each from a task of its own, with their numbers from `first` on.
    fn load(&self, node: NodeId, first: u64, count: u64) -> Vec<(u64, Waiter)> {
        let propose = |number| {
            let handle = self.handle(node);
            (number, spawn_local(async move { handle.propose(Note::Number(number)).await }))
        };
        (first..first + count).map(propose).collect()
    }

    async fn shutdown(mut self) {
        while let Some((_, node)) = self.nodes.pop_first() {
            node.shutdown().await;
        }
    }
}

type Waiter = JoinHandle<Result<u64, ProposeError>>;

/// What a load came to.
#[derive(Debug, Default)]
struct Tally {
    replies: u64,
    unknown: u64,
    definite: u64,
}

/// Waits for every waiter, and holds each answer against what the cluster says happened (CL02, CL03).
async fn settle(trio: &Trio, waiters: Vec<(u64, Waiter)>) -> Tally {
    let mut tally = Tally::default();
    for (number, waiter) in waiters {
        let answer = tokio::time::timeout(Duration::from_secs(60), waiter).await;
        let answer = answer.unwrap_or_else(|_| panic!("{number} is still waited for")).unwrap();
        let times = trio.times(number).await;
        match answer {
            Ok(reply) => {
                assert_eq!((reply, times), (number, 1), "acknowledged");
                tally.replies += 1;
            }
            Err(ProposeError::Unknown) => {
                assert!(times <= 1, "{number} is there {times} times");
                tally.unknown += 1;
            }
            Err(error) => {
                assert_eq!(times, 0, "{number} was answered {error:?} and is there");
                tally.definite += 1;
            }
        }
    }
    tally
}

// ---- stops ---------------------------------------------------------------------------------

/// CL02, CL04, AC11, A70: proposals in all stages while their leader stops.
#[test]
fn a_stop_under_load_resolves_every_waiter_truthfully() {
    story(async {
        let mut trio = Trio::start().await;
        trio.note(0..20).await;
        let leader = trio.leader().await;
        trio.delays[&leader].set_apply(Duration::from_millis(3));
        trio.delays[&leader].set_fsync(Duration::from_millis(2));
        let mut waiters = Vec::new();
        for batch in 0..40 {
            waiters.extend(trio.load(leader, 1_000 + batch * 10, 10));
            pass(Duration::from_millis(1)).await;
        }
        let node = trio.nodes.remove(&leader).unwrap();
        let stopping = spawn_local(node.shutdown());
        for batch in 40..60 {
            waiters.extend(trio.load(leader, 1_000 + batch * 10, 10));
            pass(Duration::from_millis(1)).await;
        }
        stopping.await.unwrap();
        let status = trio.handle(leader).status();
        assert!(!status.running && status.fatal.is_none(), "{status:?}");
        assert_eq!((status.proposals_in_flight, status.reads_in_flight), (0, 0));
        trio.start_member(leader).await;
        let tally = settle(&trio, waiters).await;
        assert!(tally.replies > 0 && tally.definite > 0, "{tally:?}");
        assert_eq!(tally.replies + tally.unknown + tally.definite, 600);
        trio.shutdown().await;
    });
}

/// AC09, AC15, CL02: the same with a crash in the middle, and with the node dropped.
#[test]
fn crashes_and_drops_resolve_every_waiter_truthfully() {
    for dropped in [false, true] {
        story(async move {
            let mut trio = Trio::start().await;
            trio.note(0..20).await;
            let leader = trio.leader().await;
            trio.delays[&leader].set_apply(Duration::from_millis(3));
            trio.delays[&leader].set_fsync(Duration::from_millis(2));
            let mut waiters = Vec::new();
            for batch in 0..40 {
                waiters.extend(trio.load(leader, 1_000 + batch * 10, 10));
                pass(Duration::from_millis(1)).await;
            }
            let node = trio.nodes.remove(&leader).unwrap();
            if dropped {
                drop(node);
            } else {
                node.crash().await;
            }
            waiters.extend(trio.load(leader, 2_000, 10));
            let handle = trio.handle(leader);
            until("nobody waits at the ended node", || handle.status().proposals_in_flight == 0)
                .await;
            assert!(!handle.status().running);
            let tally = settle(&trio, waiters).await;
            assert!(tally.unknown > 0 && tally.definite >= 10, "{tally:?}");
            trio.shutdown().await;
        });
    }
}

/// CL04, RD08: what is asked of an ended node is answered at once.
#[test]
fn an_ended_node_answers_fatal() {
    story(async {
        let mut trio = Trio::start().await;
        trio.note(0..5).await;
        let leader = trio.leader().await;
        let handle = trio.handle(leader);
        trio.nodes.remove(&leader).unwrap().shutdown().await;
        assert_eq!(handle.propose(Note::Number(9)).await, Err(ProposeError::Fatal));
        for consistency in [Consistency::Local, Consistency::Linearizable] {
            assert_eq!(handle.read(consistency, |s| s.times(1)).await, Err(ReadError::Fatal));
        }
        assert_eq!(handle.snapshot().await, Err(SnapshotError::Fatal));
        let status = handle.status();
        assert_eq!((status.node, status.running), (leader, false));
        assert!(status.raft.applied > 5, "the last state is kept: {status:?}");
        assert_eq!(trio.times(9).await, 0);
        trio.shutdown().await;
    });
}

/// A70, RD08: reads and snapshot requests that wait when the node stops.
#[test]
fn waiting_reads_and_snapshots_are_answered_at_the_end() {
    story(async {
        let mut trio = Trio::start().await;
        trio.note(0..5).await;
        let leader = trio.leader().await;
        trio.network.isolate(leader);
        trio.delays[&leader].set_encode(Duration::from_secs(5));
        let handle = trio.handle(leader);
        let reading = handle.clone();
        let read = spawn_local(async move {
            reading.read(Consistency::Linearizable, |state| state.times(1)).await
        });
        let snapshot = spawn_local(async move { handle.snapshot().await });
        pass(Duration::from_millis(5)).await;
        assert!(!read.is_finished() && !snapshot.is_finished());
        trio.nodes.remove(&leader).unwrap().shutdown().await;
        assert_eq!(read.await.unwrap(), Err(ReadError::Fatal));
        assert_eq!(snapshot.await.unwrap(), Err(SnapshotError::Fatal));
        trio.network.heal();
        trio.start_member(leader).await;
        trio.note(5..10).await;
        trio.shutdown().await;
    });
}

/// A70, B8, SN12: a member that stops or crashes while it decodes ends at once, and installs after its next start.
#[test]
fn a_member_ends_in_the_middle_of_an_install() {
    for crashes in [false, true] {
        story(async move {
            let mut trio = Trio::start().await;
            let behind = (trio.leader().await + 1) % 3;
            trio.network.isolate(behind);
            trio.note(0..600).await;
            trio.delays[&behind].set_decode(Duration::from_secs(30));
            trio.network.heal();
            until("decoding", || {
                let install = trio.handle(behind).status().raft.install;
                matches!(install, InstallStatus::Pending { .. })
            })
            .await;
            let node = trio.nodes.remove(&behind).unwrap();
            if crashes {
                node.crash().await;
            } else {
                node.shutdown().await;
            }
            let old = trio.handle(behind).status();
            assert_eq!(old.raft.counters.installs_granted, 0, "{old:?}");
            assert_eq!(old.fatal, None);
            trio.delays[&behind].set_decode(Duration::ZERO);
            trio.start_member(behind).await;
            until("installed after all", || {
                trio.handle(behind).status().raft.counters.installs_granted == 1
            })
            .await;
            trio.note(600..610).await;
            trio.shutdown().await;
        });
    }
}

// ---- failures ------------------------------------------------------------------------------

/// The member's own end, and that the others go on without it and nobody is left waiting.
async fn fails(mut trio: Trio, node: NodeId, what: &str, waiters: Vec<(u64, Waiter)>) {
    let handle = trio.handle(node);
    until(&format!("node {node} ends for {what:?}"), || handle.status().fatal.is_some()).await;
    // Nothing is left of it: its storage is free.
    trio.nodes.remove(&node).unwrap().shutdown().await;
    let status = handle.status();
    let fatal = status.fatal.clone().unwrap_or_default();
    assert!(fatal.contains(what), "the reason is {fatal:?}, not {what:?}");
    assert!(!status.running);
    assert_eq!((status.proposals_in_flight, status.reads_in_flight), (0, 0));
    assert_eq!(handle.propose(Note::Number(1)).await, Err(ProposeError::Fatal));
    trio.note(5_000..5_010).await;
    settle(&trio, waiters).await;
    for other in (0..3).filter(|other| *other != node) {
        let status = trio.handle(other).status();
        assert!(status.running && status.fatal.is_none(), "{status:?}");
    }
    trio.shutdown().await;
}

/// AC03, AC15, PS04: each trap, set for the leader under load.
#[test]
fn a_leaders_part_that_fails_ends_the_leader_alone() {
    let cases = [
        (Trap::WriteFails, "the log can't be written: write WriteFails: No space left on device"),
        (Trap::WritePanics, "the persister panicked: WritePanics on order"),
        (Trap::SendPanics, "the peer panicked: SendPanics on order"),
        (Trap::ApplyPanics, "the applier panicked: ApplyPanics on order"),
        (Trap::ViewPanics, "the applier panicked: ViewPanics on order"),
        (Trap::CreateFails, "snapshots can't be stored: write CreateFails"),
        (Trap::PublishFails, "snapshots can't be stored: write PublishFails"),
        (Trap::RetainFails, "snapshots can't be stored: write RetainFails"),
    ];
    for (trap, what) in cases {
        story(async move {
            let trio = Trio::start().await;
            trio.note(0..20).await;
            let leader = trio.leader().await;
            trio.traps[&leader].set(trap);
            // Enough for a snapshot by size, too.
            let waiters = trio.load(leader, 1_000, 800);
            fails(trio, leader, what, waiters).await;
        });
    }
}

/// A70, AC03: a transport that panics when it is told of the end does not keep the node from ending.
#[test]
fn a_transport_that_breaks_at_the_end_does_not_hold_it_up() {
    story(async {
        let mut trio = Trio::start().await;
        trio.note(0..5).await;
        trio.traps[&2].set(Trap::DetachPanics);
        let ended = trio.nodes.remove(&2).expect("a running member");
        let shutdown = tokio::time::timeout(Duration::from_secs(60), ended.shutdown()).await;
        assert!(shutdown.is_ok(), "the end is held up");
        let fatal = trio.handle(2).status().fatal.unwrap_or_default();
        assert_eq!(fatal, "the transport panicked: DetachPanics on order");
        trio.shutdown().await;
    });
}

/// PS24, SN12: a leader that can't read what a member needs stops; it never takes that for the end of the log.
#[test]
fn a_leader_that_cannot_read_ends() {
    let cases = [
        (Trap::LogReadFails, 50, "storage can't be read: write LogReadFails"),
        (Trap::LogReadPanics, 50, "the reader panicked: LogReadPanics on order"),
        (Trap::ChunkReadFails, 600, "storage can't be read: write ChunkReadFails"),
    ];
    for (trap, missed, what) in cases {
        story(async move {
            let trio = Trio::start_with(Config { log_cache_bytes: 0, ..small() }).await;
            let leader = trio.leader().await;
            let behind = (leader + 1) % 3;
            trio.network.isolate(behind);
            trio.note(0..missed).await;
            trio.traps[&leader].set(trap);
            trio.network.heal();
            fails(trio, leader, what, Vec::new()).await;
        });
    }
}

/// No file can be opened for a while, on any member: entries for a member that is behind, pieces of
/// a snapshot, and snapshots come later, and no member ends.
#[test]
fn members_without_file_descriptors_go_on_later() {
    for missed in [50, 600] {
        story(async move {
            let trio = Trio::start_with(Config { log_cache_bytes: 0, ..small() }).await;
            let behind = (trio.leader().await + 1) % 3;
            trio.network.isolate(behind);
            trio.note(0..missed).await;
            trio.traps.values().for_each(|traps| traps.set(Trap::NoDescriptors));
            trio.network.heal();
            pass(Duration::from_secs(5)).await;
            for node in 0..3 {
                let status = trio.handle(node).status();
                assert!(status.running && status.fatal.is_none(), "{status:?}");
            }
            assert!(trio.handle(behind).status().raft.applied < missed, "nothing was missing");
            trio.traps.values().for_each(|traps| traps.unset(Trap::NoDescriptors));
            trio.note(missed..missed + 10).await;
            let applied = |node| trio.handle(node).status().raft.applied;
            until("all have all", || (0..3).all(|node| applied(node) >= missed + 10)).await;
            let installs = trio.handle(behind).status().raft.counters.installs_granted;
            assert_eq!(installs > 0, missed == 600, "{installs} installs");
            let taken = trio.handle(trio.leader().await).snapshot().await;
            assert!(taken.is_ok(), "{taken:?}");
            trio.shutdown().await;
        });
    }
}

/// SN26: a follower that can't store or open what it receives stops and says so.
#[test]
fn a_follower_that_cannot_store_a_snapshot_ends() {
    for (trap, what) in [
        (Trap::ReceiveFails, "snapshots can't be stored: write ReceiveFails"),
        (Trap::OpenFails, "snapshots can't be stored: write OpenFails"),
    ] {
        story(async move {
            let trio = Trio::start().await;
            let behind = (trio.leader().await + 1) % 3;
            trio.network.isolate(behind);
            trio.note(0..600).await;
            trio.traps[&behind].set(trap);
            trio.network.heal();
            fails(trio, behind, what, Vec::new()).await;
        });
    }
}

/// B7, AC03: states that can't be encoded or decoded. A decoder that panics ends its node; bytes that do not decode are
/// refused with an alarm, and the node goes on with its old state.
#[test]
fn a_state_that_breaks_its_codec_is_noticed() {
    for (flaw, what) in [
        (Flaw::EncodePanics, "the snapshotter panicked: encode panics on order"),
        (Flaw::EncodeFails, "can't be encoded"),
    ] {
        story(async move {
            let trio = Trio::start().await;
            trio.client().execute(Note::Break(flaw)).await.unwrap();
            let leader = trio.leader().await;
            // Only the leader is asked for a snapshot; the others' states are broken too and never encoded.
            let handle = trio.handle(leader);
            assert_eq!(handle.snapshot().await, Err(SnapshotError::Fatal));
            fails(trio, leader, what, Vec::new()).await;
        });
    }
    story(async {
        let trio = Trio::start().await;
        let behind = (trio.leader().await + 1) % 3;
        trio.network.isolate(behind);
        trio.note(0..600).await;
        trio.client().execute(Note::Break(Flaw::DecodePanics)).await.unwrap();
        trio.handle(trio.leader().await).snapshot().await.unwrap();
        trio.network.heal();
        let what = "the snapshotter panicked: decode panics on order";
        fails(trio, behind, what, Vec::new()).await;
    });
    story(async {
        let trio = Trio::start().await;
        trio.note(0..1).await;
        let behind = (trio.leader().await + 1) % 3;
        until("it has the first", || trio.handle(behind).status().raft.applied >= 3).await;
        trio.network.isolate(behind);
        trio.note(1..600).await;
        trio.client().execute(Note::Break(Flaw::DecodeFails)).await.unwrap();
        trio.handle(trio.leader().await).snapshot().await.unwrap();
        trio.network.heal();
        let handle = trio.handle(behind);
        until("it says so", || handle.status().needs_newer_build.is_some()).await;
        assert_eq!(handle.status().raft.counters.safety_alarms, 0);
        assert!(handle.status().running);
        assert_eq!(handle.read(Consistency::Local, |state| state.times(0)).await, Ok(1));
        // The state heals, the next snapshot is a good one.
        trio.client().execute(Note::Break(Flaw::None)).await.unwrap();
        trio.handle(trio.leader().await).snapshot().await.unwrap();
        until("installed", || handle.status().raft.counters.installs_granted == 1).await;
        assert_eq!(handle.read(Consistency::Local, |state| state.times(599)).await, Ok(1));
        trio.shutdown().await;
    });
}

/// B7, B17: the own current snapshot has to decode at a start; nothing begins blank.
#[test]
fn a_start_on_a_state_that_does_not_decode_fails() {
    story(async {
        let mut trio = Trio::start().await;
        trio.note(0..20).await;
        trio.client().execute(Note::Break(Flaw::DecodeFails)).await.unwrap();
        let leader = trio.leader().await;
        trio.handle(leader).snapshot().await.unwrap();
        trio.nodes.remove(&leader).unwrap().shutdown().await;
        trio.start_member(leader).await;
        fails(trio, leader, "can't be decoded by this build", Vec::new()).await;
    });
}
