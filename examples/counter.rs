//! A counter that is replicated on three members in this process: the smallest program.

use quorate::machine::{ApplyContext, Replicated};
use quorate::node::{ClientOptions, Cluster};
use serde::{Deserialize, Serialize};

#[derive(Clone, Default, Serialize, Deserialize)]
struct Counter(u64);

impl Replicated for Counter {
    type Command = u64;
    type Reply = u64;
    fn apply(&mut self, add: u64, _: &ApplyContext) -> u64 {
        self.0 += add;
        self.0
    }
}

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Cluster::builder(3, Counter::default).start().await?;
    println!("{}", cluster.client(ClientOptions::default()).execute(7).await?);
    cluster.shutdown().await;
    Ok(())
}
