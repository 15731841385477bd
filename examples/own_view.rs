//! A machine with its own cheap view: snapshots of a large state without cloning it.
//!
//! `Replicated` clones the state for each snapshot. With `Machine`, a state defines its view (here
//! one pointer to a persistent map), and how the view is written and read back.

use std::io::{Read, Write};
use std::time::Duration;

use actix_rt::time::sleep;
use quorate::machine::{ApplyContext, CodecError, Machine, codec};
use quorate::node::{ClientOptions, Cluster, SnapshotError};
use rpds::RedBlackTreeMapSync;

#[derive(Default)]
struct Scores(RedBlackTreeMapSync<String, u64>);

impl Machine for Scores {
    type Command = (String, u64);
    type Reply = u64;
    type View = RedBlackTreeMapSync<String, u64>;

    fn apply(&mut self, (player, points): (String, u64), _: &ApplyContext) -> u64 {
        let score = self.0.get(&player).copied().unwrap_or(0) + points;
        self.0.insert_mut(player, score);
        score
    }

    fn view(&self) -> Self::View {
        self.0.clone()
    }

    fn encode(view: &Self::View, out: &mut dyn Write) -> Result<(), CodecError> {
        codec::encode_to(&view.iter().collect::<Vec<_>>(), out)
    }

    fn decode(input: &mut dyn Read) -> Result<Scores, CodecError> {
        let entries: Vec<(String, u64)> = codec::decode_from(input)?;
        Ok(Scores(entries.into_iter().collect()))
    }
}

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Cluster::builder(3, Scores::default).start().await?;
    let client = cluster.client(ClientOptions::default());
    println!("ann: {}", client.execute(("ann".into(), 3)).await?);
    println!("ann: {}", client.execute(("ann".into(), 4)).await?);
    // A follower applies slightly later than the leader that has answered.
    for node in cluster.ids() {
        let Some(handle) = cluster.handle(node) else { continue };
        let covers = loop {
            match handle.snapshot().await {
                Err(SnapshotError::NothingApplied) => sleep(Duration::from_millis(10)).await,
                taken => break taken?,
            }
        };
        println!("node {node} took a snapshot up to entry {covers}");
    }
    cluster.shutdown().await;
    Ok(())
}
