//! A node lives under whatever `main` a service has: files, a command, a clean end, and everything is there again.

mod service;

use std::path::Path;
use std::time::Duration;

use quorate::machine::{Increment, WordCount};
use quorate::node::{Client, Config, Consistency, Node, NodeBuilder};
use quorate::raft::Membership;
use quorate::storage::Start;
use quorate::storage::file::FileStorage;
use quorate::transport::InProcessNetwork;

/// The only member of its cluster, with its files in `dir`.
fn builder(dir: &Path) -> NodeBuilder<WordCount> {
    let quick = Config {
        heartbeat_interval: Duration::from_millis(20),
        election_timeout_min: Duration::from_millis(50),
        election_timeout_max: Duration::from_millis(100),
        ..Config::default()
    };
    NodeBuilder::new(0, WordCount::default())
        .config(quick)
        .storage(FileStorage::new(dir))
        .transport(InProcessNetwork::default().endpoint(0))
        .start_mode(Start::Bootstrap(Membership::of_voters([0])))
}

async fn count(node: &Node<WordCount>) -> u64 {
    let client = Client::connect([node.handle()]);
    client.execute(Increment { word: "word".into() }).await.expect("counted")
}

/// Opens what an earlier life has left: its storage has to be free, and everything in it.
async fn assert_left_behind(dir: &Path, times: u64) {
    let node = builder(dir).start_mode(Start::Open).start().await.expect("the storage is free");
    assert_eq!(count(&node).await, times + 1);
    let there = node.handle().read(Consistency::Linearizable, |state| state.get(b"word")).await;
    assert_eq!(there, Ok(times + 1));
    node.shutdown().await;
}

async fn a_whole_life() {
    let dir = tempfile::tempdir().unwrap();
    let node = builder(dir.path()).start().await.unwrap();
    let handle = node.handle();
    assert_eq!((count(&node).await, count(&node).await), (1, 2));
    node.shutdown().await;
    let status = handle.status();
    assert_eq!((status.running, status.fatal), (false, None));
    assert_left_behind(dir.path(), 2).await;
}

#[test]
fn under_the_main_of_actix_rt() {
    #[actix_rt::main]
    async fn main() {
        a_whole_life().await;
    }
    main();
}

#[test]
fn under_the_main_of_actix() {
    #[actix::main]
    async fn main() {
        a_whole_life().await;
    }
    main();
}

#[test]
fn under_the_main_of_tokio() {
    #[tokio::main]
    async fn main() {
        a_whole_life().await;
    }
    main();
}

#[test]
fn under_the_main_of_actix_web() {
    #[actix_web::main]
    async fn main() {
        a_whole_life().await;
    }
    main();
}
