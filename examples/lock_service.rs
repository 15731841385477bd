//! A lock service: commands with replies, log time, and a member that stops without consequences.

use quorate::machine::{ApplyContext, Replicated};
use quorate::node::{ClientOptions, Cluster, Config};
use serde::{Deserialize, Serialize};

#[derive(Clone, Default, Serialize, Deserialize)]
struct Locks {
    held: std::collections::BTreeMap<String, (String, u64)>,
}

#[derive(Serialize, Deserialize)]
enum LockCommand {
    Acquire { lock: String, owner: String, lease_ms: u64 },
    Release { lock: String, owner: String },
}

impl Replicated for Locks {
    type Command = LockCommand;
    /// Whether the owner holds the lock now (or has released it).
    type Reply = bool;

    fn apply(&mut self, command: LockCommand, context: &ApplyContext) -> bool {
        // Log time is the same on every member; the local clock is not.
        let now_ms = context.time_ms;
        self.held.retain(|_, (_, until_ms)| *until_ms > now_ms);
        match command {
            LockCommand::Acquire { lock, owner, lease_ms } => {
                let (holder, until_ms) =
                    self.held.entry(lock).or_insert_with(|| (owner.clone(), 0));
                if *holder == owner {
                    *until_ms = now_ms + lease_ms;
                }
                *holder == owner
            }
            LockCommand::Release { lock, owner } => {
                let holds = self.held.get(&lock).is_some_and(|(holder, _)| *holder == owner);
                holds && self.held.remove(&lock).is_some()
            }
        }
    }
}

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Cluster::builder(3, Locks::default).config(Config::default()).start().await?;
    let client = cluster.client(ClientOptions::default());
    let acquire = |owner: &str| LockCommand::Acquire {
        lock: "printer".into(),
        owner: owner.into(),
        lease_ms: 10_000,
    };
    println!("ann gets the printer: {}", client.execute(acquire("ann")).await?);
    println!("bob gets it too: {}", client.execute(acquire("bob")).await?);

    // A member stops; the others know the owner of each lock.
    cluster.stop_member(0).await;
    println!("bob gets it now: {}", client.execute(acquire("bob")).await?);
    let release = LockCommand::Release { lock: "printer".into(), owner: "ann".into() };
    println!("ann gives it back: {}", client.execute(release).await?);
    println!("bob gets it at last: {}", client.execute(acquire("bob")).await?);
    cluster.shutdown().await;
    Ok(())
}
