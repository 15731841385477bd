//! Members that keep their state in files: a second run continues with the state of the first.

use quorate::machine::{KeyValue, KeyValueCommand};
use quorate::node::{ClientOptions, Cluster, Consistency};
use quorate::storage::file::FileStorage;

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::temp_dir().join("quorate-example");
    let files = directory.clone();
    let cluster = Cluster::builder(3, KeyValue::default)
        .storage(move |node| FileStorage::new(files.join(node.to_string())))
        .start()
        .await?;

    let client = cluster.client(ClientOptions::default());
    let reply = client
        .execute(KeyValueCommand::Append { key: b"runs".to_vec(), value: b"x".to_vec() })
        .await?;
    println!("appended: {reply:?}");

    // Any member can be read; its state may be slightly stale.
    for node in cluster.ids() {
        let Some(handle) = cluster.handle(node) else { continue };
        let runs = handle
            .read(Consistency::Local, |state| state.get(b"runs").map(|(value, _)| value.len()))
            .await?;
        println!("node {node} has seen {runs:?} runs");
    }
    cluster.shutdown().await;
    println!("the state stays in {}", directory.display());
    Ok(())
}
