//! Nodes that are started as, or turn out to be, no member of their cluster.

use std::time::Duration;

use quorate::machine::WordCount;
use quorate::node::{NodeBuilder, StartError};
use quorate::raft::{Membership, Role};
use quorate::runtime::Placement;
use quorate::storage::memory::MemoryStorage;
use quorate::storage::{Identity, OpenedStorage, Start, Storage, StorageError};
use quorate::transport::{InProcessNetwork, NetworkOptions};

use crate::puppet::Strings;
use crate::support::{pass, small, story};

/// The same storage, whose cluster has other members than it was founded with.
struct Removed(MemoryStorage);

impl Storage for Removed {
    fn open(
        self: Box<Self>,
        identity: Identity,
        start: &Start,
    ) -> Result<OpenedStorage, StorageError> {
        let mut opened = Box::new(self.0).open(identity, start)?;
        opened.recovered.base = Membership::of_voters([1, 2]);
        Ok(opened)
    }
}

fn builder(node: u64) -> NodeBuilder<WordCount> {
    NodeBuilder::new(node, WordCount::default())
        .config(small())
        .placement(Placement::virtual_time())
        .transport(Strings::default())
}

/// It would wait for a leader for ever, and its operator would not learn why.
#[test]
fn a_node_that_founds_a_cluster_without_itself_is_refused() {
    story(async {
        let disk = MemoryStorage::new();
        let found = |members: Membership| {
            builder(3).storage(disk.clone()).start_mode(Start::Bootstrap(members)).start()
        };
        let error = found(Membership::of_voters([0, 1, 2])).await.err().expect("refused");
        assert!(matches!(error, StartError::Storage(StorageError::Refused { .. })), "{error:?}");
        let error = error.to_string();
        assert!(error.contains("node 3") && error.contains("members"), "{error}");
        // Nothing was founded: the list can still be put right.
        let node = found(Membership::of_voters([1, 2, 3])).await.expect("a member");
        node.shutdown().await;
    });
}

/// A member that was taken out of the configuration may come back: it runs, and asks nobody for a
/// vote.
#[test]
fn a_node_that_is_no_member_any_more_starts_and_does_not_campaign() {
    story(async {
        let (disk, strings) = (MemoryStorage::new(), Strings::default());
        let founded = builder(0)
            .storage(disk.clone())
            .start_mode(Start::Bootstrap(Membership::of_voters([0, 1, 2])));
        founded.start().await.expect("a member").shutdown().await;
        let removed = builder(0).storage(Removed(disk)).transport(strings.clone());
        let node = removed.start().await.expect("it may start");
        pass(20 * small().election_timeout_max).await;
        let status = node.handle().status();
        assert!(status.running && status.raft.role == Role::Follower, "{status:?}");
        assert_eq!(status.raft.term, 0);
        assert_eq!(strings.sent(), []);
        node.shutdown().await;
    });
}

/// The network would deliver it another member's mail.
#[test]
fn a_node_on_an_endpoint_of_another_id_is_refused() {
    story(async {
        let network = InProcessNetwork::new(NetworkOptions { seed: 1, encode: true });
        let disk = MemoryStorage::new();
        let start = Start::Bootstrap(Membership::of_voters([0, 1, 2]));
        let on = |id| {
            let builder = builder(1).storage(disk.clone()).start_mode(start.clone());
            builder.transport(network.endpoint(id)).start()
        };
        match on(2).await.err() {
            Some(StartError::Transport { node: 1, member: 2 }) => {}
            other => panic!("{other:?}"),
        }
        let node = on(1).await.expect("its own endpoint");
        pass(Duration::from_millis(10)).await;
        node.shutdown().await;
    });
}
