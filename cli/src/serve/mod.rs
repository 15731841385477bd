//! `quorate serve`: one member as a process, with the key/value machine over HTTP.
//!
//! ```text
//! HTTP ─▶ routes ─▶ Handle ─▶ node ═══ TcpTransport ═══ the other processes
//!           │ elsewhere: 307 to the leader, or passed on
//! ```
//! | file | idea |
//! |---|---|
//! | `options` | the options of a member |
//! | `listen` | the listeners of HTTP |
//! | `routes` | the routes and their handlers |
//! | `descriptors` | how many connections leave enough descriptors for the node's files |
//! | `headers`, `body` | parsing of request headers; limits of bodies |
//! | `answers`, `elsewhere` | answers to failed requests; requests that another member leads |
//!
//! The process ends on request (SIGTERM, SIGINT: status 0), when its node fails (status 1), or when
//! it cannot start (status 2). It never serves HTTP without a node.
//!
//! *What it does not do:* TLS and authentication. Both ports are unencrypted, and belong on
//! loopback or a trusted network.

use std::net::TcpListener;
use std::time::Duration;

use actix_web::middleware::DefaultHeaders;
use actix_web::web::Data;
use actix_web::{App, HttpServer, dev::ServerHandle};
use quorate::machine::KeyValue;
use quorate::node::{Handle, Node, NodeBuilder};
use quorate::raft::Membership;
use quorate::storage::Start;
use quorate::storage::file::FileStorage;
use quorate::transport::{TcpOptions, TcpTransport};

mod answers;
mod body;
mod descriptors;
mod elsewhere;
mod headers;
mod listen;
mod options;
mod routes;

use crate::demo::Failure;
use crate::{asking, terms};
use body::Bodies;
use elsewhere::{Elsewhere, Forward};
pub use options::Options;
use routes::Service;

/// Threads that serve HTTP. They only parse and wait; the node has its own threads.
const WORKERS: usize = 2;

/// How long requests in progress may take when the process is asked to end, in seconds.
const GRACE_SECONDS: u64 = 5;

/// How often the node's status is checked.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// Serves until asked to end; false if the node failed.
pub fn run(options: Options) -> Result<bool, Failure> {
    actix_rt::System::new().block_on(serve(options))
}

async fn serve(options: Options) -> Result<bool, Failure> {
    options.check()?;
    let passed_on = if options.forward { WORKERS * elsewhere::CONNECTIONS } else { 0 };
    let connections =
        descriptors::connections(descriptors::raise_limit(), WORKERS as u64, passed_on as u64)?;
    let listeners = listen::listen(&options.http)?;
    let (node, transport) = start(&options).await?;
    announce(&options, &listeners, &transport);
    let handle = node.handle();
    let ended = serve_http(&options, listeners, handle.clone(), connections).await;
    node.shutdown().await;
    transport.shutdown().await;
    ended?;
    // Check the status after the shutdown, which may have failed too.
    let status = handle.status();
    if let Some(why) = status.fatal {
        eprintln!("quorate: member {} stopped: {why}", options.id);
        return Ok(false);
    }
    Ok(true)
}

async fn start(options: &Options) -> Result<(Node<KeyValue>, TcpTransport), Failure> {
    let refused = |error: &dyn std::error::Error| {
        Failure(format!("can't start: {}", terms::of_the_program(error)))
    };
    let own = options.own_address()?;
    let listen = options.listen.as_ref().unwrap_or(own).to_string();
    let members = Membership::of_voters(options.peers.0.keys().copied());
    let peers = options.peers.0.iter().map(|(id, address)| (*id, address.to_string()));
    let tcp =
        TcpOptions { listen, ..TcpOptions::new(options.id, options.cluster, peers.collect()) };
    let transport = TcpTransport::bind(tcp).map_err(|error| refused(&error))?;
    let node = NodeBuilder::new(options.id, KeyValue::default())
        .cluster(options.cluster)
        .config(options.config())
        .storage(FileStorage::new(&options.data_dir))
        .transport(transport.clone())
        .start_mode(Start::Bootstrap(members))
        .start()
        .await
        .map_err(|error| refused(&error))?;
    Ok((node, transport))
}

/// Prints one line: the member, its addresses, and how to send it requests.
fn announce(options: &Options, listeners: &[TcpListener], transport: &TcpTransport) {
    let at: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let port = at.first().map_or(options.http.port, |at| at.port());
    let http = options.http.with_port(port);
    println!(
        "quorate: member {} of {} at {}, data in {}; try: curl -iL -X PUT -d VALUE http://{http}/kv/KEY, curl http://{http}/status",
        options.id,
        options.peers.ids(),
        transport.local_addr(),
        options.data_dir.display(),
    );
    let is_private = at.iter().all(|at| at.ip().is_loopback());
    if !(is_private && transport.local_addr().ip().is_loopback()) {
        eprintln!(
            "quorate: neither port is encrypted or authenticated: use them on a trusted network only"
        );
    }
}

async fn serve_http(
    options: &Options,
    listeners: Vec<TcpListener>,
    handle: Handle<KeyValue>,
    connections: usize,
) -> Result<(), Failure> {
    let failed = |error| Failure(format!("HTTP failed: {error}"));
    let (options, watched) = (options.clone(), handle.clone());
    let limit = options::value_bytes(&options.config());
    let bodies = Bodies::new(limit);
    let app = move || {
        let forward = options.forward.then(|| Forward::new(options.timeout.0, limit));
        let addresses = options.http_addresses();
        let elsewhere = Elsewhere { node: options.id, addresses, forward };
        let service = Service { handle: handle.clone(), bodies: bodies.clone(), elsewhere };
        let probes = handle.mount("/node");
        let name = DefaultHeaders::new().add((asking::NODE, options.id.to_string()));
        App::new()
            .app_data(Data::new(service))
            .wrap(name)
            .configure(probes)
            .configure(routes::configure)
    };
    let mut server = HttpServer::new(app)
        .workers(WORKERS)
        .max_connections(connections)
        .shutdown_timeout(GRACE_SECONDS);
    for listener in listeners {
        server = server.listen(listener).map_err(failed)?;
    }
    let server = server.run();
    let watching = actix_rt::spawn(stop_with_the_node(watched, server.handle()));
    let ended = server.await;
    watching.abort();
    ended.map_err(failed)
}

/// Ends the process when the node stops, because without it the process would only seem alive.
async fn stop_with_the_node(handle: Handle<KeyValue>, server: ServerHandle) {
    while handle.status().running {
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
    server.stop(false).await;
}
