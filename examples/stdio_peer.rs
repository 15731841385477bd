//! One start of a peer as one process, driven by frames on standard input and output: a test
//! harness in any language supplies the network, the disk and the service. The protocol is in
//! `docs/driven_peer.md`.
//!
//! ```text
//! stdin ─▶ reader thread ─▶ Driven ─┬─▶ Handle           start, state
//!                                   ├─▶ Service          snapshot, cond_install
//!                                   └─▶ PairedTransport  rpc
//!
//! disk     save                     ─┐
//! network  rpc, rpc_reply           ─┼─▶ stdout
//! service  apply, started, done ..  ─┘
//! ```
//! | file | implements |
//! |---|---|
//! | `disk.rs` | `Storage`: one frame per durable step |
//! | `network.rs` | `RequestWire`: sends a request; the reply arrives or is lost |
//! | `service.rs` | an own apply side, which calls CondInstallSnapshot itself |
//! | `frames.rs` | the frames and the queue to standard output |
//!
//! All of the peer runs on one thread, except that reading and writing frames each have a thread.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use actix::{Actor, Addr};
use bytes::Bytes;
use quorate::actors::ApplySide;
use quorate::machine::NoMachine;
use quorate::node::{Config, Handle, Node, NodeBuilder};
use quorate::raft::{LogId, Membership, Role};
use quorate::runtime::Placement;
use quorate::storage::Start;
use quorate::transport::{PairedOptions, PairedTransport};
use tokio::sync::{mpsc, oneshot};

#[path = "stdio_peer/disk.rs"]
mod disk;
#[path = "stdio_peer/frames.rs"]
mod frames;
#[path = "stdio_peer/network.rs"]
mod network;
#[path = "stdio_peer/service.rs"]
mod service;

use disk::Disk;
use frames::{Init, Output, Said, Told, end, note};
use network::Network;
use service::{CondInstall, Service, TakeSnapshot};

/// Time after which another peer's request is answered without a reply; the harness waits for 7 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Maximum number of frames that are read but not processed.
const READ_AHEAD: usize = 1024;

#[actix_rt::main]
async fn main() -> ExitCode {
    let mut input = read_frames();
    let (init, stored) = match input.recv().await {
        Some((Told::Init(init), stored)) => (init, stored),
        Some((other, _)) => end(format!("the first frame has to be init, and is {other:?}")),
        None => return ExitCode::SUCCESS,
    };
    let out = Output::start().unwrap_or_else(|error| end(error));
    let (driven, _node) = Driven::start(&init, stored, out.clone()).await;
    while let Some((told, body)) = input.recv().await {
        driven.hear(told, body);
    }
    out.drained().await;
    ExitCode::SUCCESS
}

/// The frames of standard input, in order.
fn read_frames() -> mpsc::Receiver<(Told, Bytes)> {
    let (to, frames) = mpsc::channel(READ_AHEAD);
    let read = move || {
        let mut input = io::BufReader::with_capacity(64 << 10, io::stdin().lock());
        while let Some(frame) = frames::read(&mut input).unwrap_or_else(|error| end(error)) {
            if to.blocking_send(frame).is_err() {
                return;
            }
        }
    };
    let reader = std::thread::Builder::new().name("input".into()).spawn(read);
    reader.map(|_| frames).unwrap_or_else(|error| end(error))
}

/// Few messages, no log entries except the harness's commands, snapshots on the service's request.
/// Every limit is above those of the harness.
fn config(init: &Init) -> Config {
    const MANY: usize = 1 << 30;
    Config {
        seed: std::process::id().into(),
        check_quorum: !init.keep_leading,
        command_bytes: MANY - 1,
        proposals_in_flight: MANY,
        uncommitted_bytes: MANY,
        unpersisted_bytes: MANY,
        apply_queue_bytes: MANY,
        // Keeps a few dozen small commands for a peer that is receiving a snapshot.
        pin_bytes: 1 << 10,
        ..Config::sparing()
    }
}

/// The peer and everything that handles its frames.
struct Driven {
    handle: Handle<NoMachine>,
    service: Addr<Service>,
    transport: PairedTransport,
    network: Network,
    out: Output,
}

impl Driven {
    async fn start(init: &Init, stored: Bytes, out: Output) -> (Driven, Node<NoMachine>) {
        let Init { me, n, state, snap, .. } = init;
        if me >= n {
            end(format!("init says that this is peer {me}, of {n} counted from 0"));
        }
        if state.checked_add(*snap) != Some(stored.len()) {
            let length = stored.len();
            end(format!("init announces {state} and {snap} bytes, its body has {length}"));
        }
        let (state, snapshot) = (stored.slice(..init.state), stored.slice(init.state..));
        let network = Network::new(out.clone());
        let options = PairedOptions { answer_within: ANSWER_WITHIN, ..PairedOptions::default() };
        let transport = PairedTransport::new(network.clone(), options);
        let (service, made) = (Arc::new(OnceLock::new()), out.clone());
        let (to, (running, stopped)) = (service.clone(), oneshot::channel());
        let node = NodeBuilder::with_apply_side(init.me, move |link| {
            let service = to.get_or_init(|| Service::new(link, made, running).start()).clone();
            ApplySide { recipient: service.recipient(), decode: Box::new(service::decode) }
        })
        .config(config(init))
        .storage(Disk { state, snapshot, out: out.clone() })
        .transport(transport.clone())
        .start_mode(Start::Bootstrap(Membership::of_voters(0..init.n)))
        .placement(Placement::shared())
        .start()
        .await
        .unwrap_or_else(|error| end(error));
        let handle = node.handle();
        actix_rt::spawn(end_with_the_node(handle.clone(), stopped));
        actix_rt::spawn(expire(transport.clone()));
        let service = service.get().cloned().unwrap_or_else(|| end("the service did not start"));
        (Driven { handle, service, transport, network, out }, node)
    }

    fn hear(&self, told: Told, body: Bytes) {
        match told {
            Told::Init(_) => end("a second init"),
            Told::Start(asked) => self.submit(asked.id, body),
            Told::State(asked) => {
                let raft = self.handle.status().raft;
                let leader = raft.role == Role::Leader;
                self.out.say(&Said::State { id: asked.id, term: raft.term, leader }, &[]);
            }
            Told::Snapshot(asked) => {
                let (id, index) = (asked.id, asked.index);
                self.service.do_send(TakeSnapshot { id, index, snapshot: body });
            }
            Told::CondInstall(asked) => {
                let log_id = LogId::new(asked.term, asked.index);
                self.service.do_send(CondInstall { id: asked.id, log_id });
            }
            Told::Rpc(asked) => self.serve(asked.id, body),
            Told::RpcReply(reply) => self.network.replied(reply.id, reply.ok, body),
        }
    }

    /// Answers once the command is durable in the peer's own log or was refused; it may still not
    /// be committed.
    fn submit(&self, id: u64, command: Bytes) {
        let submitted = self.handle.submit_data(command);
        let (handle, out) = (self.handle.clone(), self.out.clone());
        actix_rt::spawn(async move {
            let appended = match submitted {
                Ok(mut proposal) => proposal.appended().await,
                Err(_) => None,
            };
            let said = match appended {
                Some(LogId { term, index }) => Said::Started { id, index, term, leader: true },
                None => {
                    let term = handle.status().raft.term;
                    Said::Started { id, index: 0, term, leader: false }
                }
            };
            out.say(&said, &[]);
        });
    }

    fn serve(&self, id: u64, request: Bytes) {
        let out = self.out.clone();
        let respond = move |answer: Option<Bytes>| {
            let said = Said::RpcReply { id, ok: answer.is_some() };
            out.say(&said, &answer.unwrap_or_default());
        };
        if let Err(error) = self.transport.serve(request, respond) {
            note(format!("request {id} is dropped: {error}"));
        }
    }
}

/// Answers requests that the peer ignores in time, even if nothing else happens.
async fn expire(transport: PairedTransport) {
    loop {
        tokio::time::sleep(ANSWER_WITHIN / 2).await;
        transport.expire();
    }
}

/// Ends the process when the node stops, which it does by itself only after a fatal error.
async fn end_with_the_node(handle: Handle<NoMachine>, stopped: oneshot::Receiver<()>) {
    // The other side sends nothing; it is dropped.
    let _ = stopped.await;
    end(handle.status().fatal.unwrap_or("the node has stopped".into()))
}
