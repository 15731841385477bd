//! Replicated state for actix services: Raft with log compaction, as actors.
//!
//! Write a state machine, get a replicated one: elections, a durable log, snapshots, exactly-once
//! commands, linearizable reads.
//!
//! ```no_run
//! use quorate::machine::{ApplyContext, Replicated};
//! use quorate::node::{ClientOptions, Cluster};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Counter(u64);
//!
//! impl Replicated for Counter {
//!     type Command = u64;
//!     type Reply = u64;
//!     fn apply(&mut self, add: u64, _: &ApplyContext) -> u64 {
//!         self.0 += add;
//!         self.0
//!     }
//! }
//!
//! #[actix_rt::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let cluster = Cluster::builder(3, Counter::default).start().await?;
//!     println!("{}", cluster.client(ClientOptions::default()).execute(7).await?);
//!     cluster.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! - [`machine`]: the state machine traits, and machines that are ready to use
//! - [`node`]: the nodes: [`Cluster`](node::Cluster) for all members in one process,
//!   [`NodeBuilder`](node::NodeBuilder) for one member, [`Handle`](node::Handle) and
//!   [`Client`](node::Client) to send commands and reads
//! - [`storage`], [`transport`]: persistence and communication between members, each behind a trait
//! - `web` (a feature of that name): errors as responses, probes and metrics for services on
//!   actix-web
//! - [`messages`]: the messages of the apply side, for services that run their own actor there
//! - [`raft`]: the protocol, without I/O; [`actors`]: the actors that drive it; [`runtime`]: the
//!   threads they run on

pub mod actors;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod hooks;
pub mod machine;
pub mod messages;
pub mod node;
pub mod raft;
pub mod runtime;
mod settings;
pub mod storage;
pub mod transport;
#[cfg(feature = "web")]
pub mod web;

pub use settings::SettingError;

/// Compiles the README's program with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
