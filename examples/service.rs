//! A persistent node in an actix-web service: `POST /count/word`, `GET /count/word`,
//! `GET /raft/readyz`, `/raft/metrics`.

use actix_web::web::{self, Data, Path};
use actix_web::{App, HttpServer};
use quorate::machine::{Increment, WordCount};
use quorate::node::{Consistency, Handle, NodeBuilder};
use quorate::storage::{Start, file::FileStorage};
use quorate::{raft::Membership, transport::InProcessNetwork, web::Failure};

async fn count(node: Data<Handle<WordCount>>, word: Path<String>) -> Result<String, Failure> {
    let command = Increment { word: word.into_inner().into() };
    Ok(node.propose(command).await?.to_string())
}

async fn get(node: Data<Handle<WordCount>>, word: Path<String>) -> Result<String, Failure> {
    let read = node.read(Consistency::Linearizable, move |words| words.get(word.as_bytes()));
    Ok(read.await?.to_string())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [address, directory] = ["QUORATE_ADDRESS", "QUORATE_DATA"].map(std::env::var);
    let node = NodeBuilder::new(0, WordCount::default())
        .storage(FileStorage::new(directory.unwrap_or("quorate-data".into())))
        .transport(InProcessNetwork::default().endpoint(0))
        .start_mode(Start::Bootstrap(Membership::of_voters([0])));
    let node = node.start().await?;
    let handle = node.handle();
    let app = move || {
        let app = App::new().app_data(Data::new(handle.clone())).configure(handle.mount("/raft"));
        app.route("/count/{word}", web::post().to(count)).route("/count/{word}", web::get().to(get))
    };
    let server = HttpServer::new(app).bind(address.unwrap_or("127.0.0.1:8080".into()))?;
    println!("listening on {}", server.addrs()[0]);
    server.run().await?; // until ctrl-c
    node.shutdown().await;
    Ok(())
}
