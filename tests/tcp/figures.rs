//! How fast it is, beside the network inside one process. For a look now and then, in release mode:
//! `cargo test --release --test tcp figures -- --ignored --nocapture --test-threads 1`.

use std::time::Duration;

use quorate::machine::{Increment, WordCount};
use quorate::node::{Client, ClientOptions, Cluster, Config};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::*;

const SERIAL: u32 = 2000;
const CLIENTS: u32 = 64;
const EACH: u32 = 500;

async fn one_after_the_other(client: &Client<WordCount>) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..SERIAL {
        let begun = Instant::now();
        client.execute(Increment { word: "word".into() }).await.expect("counted");
        times.push(begun.elapsed());
    }
    times.sort();
    times
}

async fn all_at_once(client: impl Fn() -> Client<WordCount>) -> f64 {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = client();
        tasks.spawn(async move {
            for _ in 0..EACH {
                client.execute(Increment { word: "word".into() }).await.expect("counted");
            }
        });
    }
    tasks.join_all().await;
    f64::from(CLIENTS * EACH) / begun.elapsed().as_secs_f64()
}

async fn measure(what: &str, client: impl Fn() -> Client<WordCount>) {
    one_after_the_other(&client()).await;
    let times = one_after_the_other(&client()).await;
    let rate = all_at_once(client).await;
    let [half, most] = [50, 99].map(|percent| times[times.len() * percent / 100]);
    println!("{what}: p50 {half:?}, p99 {most:?}, {CLIENTS} clients {rate:.0} commands/s");
}

#[tokio::test]
#[ignore = "measures, proves nothing"]
async fn tcp_beside_in_process() {
    let cluster = Cluster::builder(3, WordCount::default).start().await.expect("starts");
    measure("in process", || cluster.client(ClientOptions::default())).await;
    cluster.shutdown().await;
    let world = World::start_with(3, Config::default(), |_| ()).await;
    measure("tcp       ", || world.client()).await;
    for node in world.ids() {
        let counters = world.transport(node).counters();
        println!("{node}: {} frames in {} writes", counters.frames_sent, counters.writes);
    }
    world.end().await;
}
