//! Replicated state for actix services: Raft with log compaction, as actors.
//!
//! Write a state machine, get a replicated one: elections, a durable log, snapshots, exactly-once commands,
//! linearizable reads.
//!
//! - [`machine`]: what you write, and what comes ready made
//! - [`node`]: what you run: [`Cluster`](node::Cluster) in one process, [`NodeBuilder`](node::NodeBuilder) for one member,
//!   [`Handle`](node::Handle) and [`Client`](node::Client) to talk to them
//! - [`storage`], [`transport`]: where it is kept and how members reach each other, each behind a contract
//! - [`messages`]: the contract of the apply side, for services with an actor of their own there
//! - [`raft`]: the protocol, pure; [`actors`]: where its parts run

pub mod actors;
pub mod machine;
pub mod messages;
pub mod node;
pub mod raft;
pub mod storage;
pub mod transport;
