//! Three members with a large state each, on a network that notes how long the leader was silent towards whom.
//!
//! Nothing is snapshotted but on request, and nothing stays in the log behind a snapshot: a member that was cut off before
//! needs it.
//!
//! Not here: when what is asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate::machine::KeyValue;
use quorate::node::{Config, Handle, Node, NodeBuilder};
use quorate::raft::{Body, Envelope, Membership, NodeId};
use quorate::runtime::Placement;
use quorate::storage::Start;
use quorate::storage::file::{FileOptions, FileStorage};
use quorate::storage::memory::MemoryStorage;
use quorate::transport::{Endpoint, InProcessNetwork, Inbox, Transport};

use crate::measure::{Outcome, Stopwatch};
use crate::members::leader_among;
use crate::state::Shape;

const MEMBERS: u64 = 3;

/// Where members keep their things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// In memory, snapshots too.
    Memory,
    /// In files.
    Files,
}

impl Keeping {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Keeping::Memory => "memory",
            Keeping::Files => "files",
        }
    }
}

/// The members.
pub struct Trio {
    nodes: Vec<Node<KeyValue>>,
    handles: Vec<Handle<KeyValue>>,
    network: InProcessNetwork,
    silences: Silences,
}

/// The settings of each member.
pub fn config() -> Config {
    Config {
        snapshot_bytes: None,
        trailing_entries: 0,
        // A pace does not wait for replies: it must see a stall as latency, not as Busy.
        proposals_in_flight: 1 << 20,
        proposal_timeout: Duration::from_secs(60),
        ..Config::default()
    }
}

impl Trio {
    /// Founded, each member with a state of this shape and size of its own.
    pub async fn found(keeping: Keeping, folder: &Path, shape: Shape, bytes: u64) -> Outcome<Trio> {
        let placement = Placement::peers_in_common();
        let (network, silences) = (InProcessNetwork::default(), Silences::default());
        let mut nodes = Vec::new();
        for node in 0..MEMBERS {
            let watched = Watched { endpoint: network.endpoint(node), silences: silences.clone() };
            let builder = NodeBuilder::new(node, shape.filled(bytes))
                .config(config())
                .placement(placement.clone())
                .transport(watched)
                .start_mode(Start::Bootstrap(Membership::of_voters(0..MEMBERS)));
            let builder = match keeping {
                Keeping::Memory => builder.storage(MemoryStorage::new()),
                Keeping::Files => builder.storage(files(folder.join(node.to_string()))),
            };
            nodes.push(builder.start().await?);
        }
        let handles = nodes.iter().map(Node::handle).collect();
        Ok(Trio { nodes, handles, network, silences })
    }

    /// Who leads.
    pub async fn leader(&self) -> Outcome<Handle<KeyValue>> {
        leader_among(&self.handles).await
    }

    /// One of those who do not lead: in each round another.
    pub fn follower(&self, leader: NodeId, round: usize) -> &Handle<KeyValue> {
        let others: Vec<_> = self.handles.iter().filter(|one| one.node() != leader).collect();
        others[round % others.len()]
    }

    /// The network between them.
    pub fn network(&self) -> &InProcessNetwork {
        &self.network
    }

    /// How long the leader was silent.
    pub fn silences(&self) -> &Silences {
        &self.silences
    }

    /// The longest time that any member's loop has not got to its work, since it was started.
    pub fn loop_stall_ms(&self) -> f64 {
        self.handles.iter().map(|one| one.status().max_loop_stall_ms).fold(0.0, f64::max)
    }

    /// Ends all members.
    pub async fn end(self) {
        for node in self.nodes {
            node.shutdown().await;
        }
    }
}

fn files(folder: PathBuf) -> FileStorage {
    FileStorage::with_options(
        folder,
        FileOptions { retained_snapshots: 1, ..FileOptions::default() },
    )
}

/// An endpoint of the network that notes what leaves.
struct Watched {
    endpoint: Endpoint,
    silences: Silences,
}

impl Transport for Watched {
    fn send(&self, envelope: Envelope) {
        if let Body::Request(_) = envelope.body {
            self.silences.broken(envelope.from, envelope.to);
        }
        self.endpoint.send(envelope);
    }

    fn attach(&self, node: NodeId, inbox: Inbox) {
        self.endpoint.attach(node, inbox);
    }

    fn detach(&self, node: NodeId) {
        self.endpoint.detach(node);
    }
}

/// The longest times between two requests of one member to another, of whatever kind: each is a heartbeat too.
#[derive(Clone, Default)]
pub struct Silences(Arc<Mutex<BTreeMap<(NodeId, NodeId), Silence>>>);

struct Silence {
    since: Stopwatch,
    longest: Duration,
}

impl Silences {
    fn all(&self) -> MutexGuard<'_, BTreeMap<(NodeId, NodeId), Silence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broken(&self, from: NodeId, to: NodeId) {
        let now = Stopwatch::start();
        let mut all = self.all();
        let silence =
            all.entry((from, to)).or_insert(Silence { since: now, longest: Duration::ZERO });
        silence.longest = silence.longest.max(silence.since.elapsed());
        silence.since = now;
    }

    /// The longest of this member towards any other since the last time this was asked; one that goes on counts.
    pub fn longest_of(&self, from: NodeId) -> Duration {
        let mut longest = Duration::ZERO;
        for ((by, _), silence) in self.all().iter_mut() {
            let whole = std::mem::take(&mut silence.longest).max(silence.since.elapsed());
            if *by == from {
                longest = longest.max(whole);
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_counts_once_and_also_while_it_goes_on() {
        let silences = Silences::default();
        silences.broken(0, 1);
        crate::system::pause(Duration::from_millis(20));
        silences.broken(0, 1);
        silences.broken(1, 0);
        assert!(silences.longest_of(0) >= Duration::from_millis(20));
        assert!(silences.longest_of(0) < Duration::from_millis(20));
        crate::system::pause(Duration::from_millis(20));
        assert!(silences.longest_of(0) >= Duration::from_millis(20));
    }
}
