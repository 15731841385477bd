//! An actix-web service around a node: the server ends first, then the node, and nothing is left of either.

use std::net::SocketAddr;

use actix_web::web::{self, Data};
use actix_web::{App, HttpServer};
use quorate::machine::{Increment, WordCount};
use quorate::node::{Handle, ProposeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{assert_left_behind, builder};

async fn count(node: Data<Handle<WordCount>>) -> Result<String, ProposeError> {
    Ok(node.propose(Increment { word: "word".into() }).await?.to_string())
}

/// Status and body of a request.
async fn request(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_string())
}

async fn until_ready(address: SocketAddr) {
    while request(address, "GET", "/raft/readyz").await.0 != 200 {
        actix_web::rt::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[test]
fn a_service_stops_before_its_node_does() {
    #[actix_web::main]
    async fn main() {
        let dir = tempfile::tempdir().unwrap();
        let node = builder(dir.path()).start().await.unwrap();
        let handle = node.handle();
        let app = move || {
            App::new()
                .app_data(Data::new(handle.clone()))
                .configure(handle.mount("/raft"))
                .route("/count", web::post().to(count))
        };
        let server = HttpServer::new(app).workers(2).disable_signals().bind("127.0.0.1:0").unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let stopper = server.handle();
        let user = actix_web::rt::spawn(async move {
            until_ready(address).await;
            assert_eq!(request(address, "POST", "/count").await, (200, "1".into()));
            assert_eq!(request(address, "POST", "/count").await, (200, "2".into()));
            let (status, page) = request(address, "GET", "/raft/metrics").await;
            assert!(status == 200 && page.contains("quorate_running{node=\"0\"} 1"), "{page}");
            stopper.stop(true).await;
        });
        server.await.unwrap();
        node.shutdown().await;
        user.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "still listening");
        assert_left_behind(dir.path(), 2).await;
    }
    main();
}
