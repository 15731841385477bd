//! A node inside an actix-web service: errors as responses, and what is mounted.

mod errors;
mod mount;
mod redirects;

use actix_web::HttpResponse;
use actix_web::body::to_bytes;
use quorate::machine::WordCount;
use quorate::node::{Cluster, ClusterBuilder, Config};
use quorate::runtime::Placement;
use serde_json::Value;
use tokio::task::LocalSet;
use tokio::time::{Duration, Instant, sleep};

/// Runs a story in virtual time, on one thread.
fn story(future: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, future);
}

fn words(size: u64) -> ClusterBuilder<WordCount> {
    let config = Config { seed: 7, ..Config::default() };
    Cluster::builder(size, WordCount::default).config(config).placement(Placement::virtual_time())
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "a minute has passed without: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn leader(cluster: &Cluster<WordCount>) -> Option<u64> {
    let leads = |node: &u64| {
        let status = cluster.status(*node).unwrap();
        // Everybody has heard of the term's leader, too.
        status.running && status.raft.leader == Some(*node)
    };
    cluster.ids().into_iter().find(leads)
}

async fn json(response: HttpResponse) -> Value {
    serde_json::from_slice(&to_bytes(response.into_body()).await.unwrap()).unwrap()
}

fn header<'a, B>(response: &'a HttpResponse<B>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}
