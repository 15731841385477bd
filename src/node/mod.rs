//! What a user of quorate holds: a node and its handle, a client, a cluster in one process.
//!
//! ```text
//! NodeBuilder ──start──▶ Node ──handle()──▶ Handle (Clone + Send + Sync): propose, read, snapshot, status
//! Cluster     ──start──▶ several Nodes on one in-process network ──client()──▶ Client: sessions, retries
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `builder`, `assembly` | from a machine, a storage and a transport to a running node |
//! | `handle`, `client` | asking one member; asking the cluster, exactly once |
//! | [`gateway`] | asking one member by typed actix messages |
//! | `cluster` | members in one process |
//! | `config`, `errors`, `status` | every limit; every way it can fail; everything that can be seen |
//!
//! Nothing here takes over the process: no signal handlers, no logger, no registry. Several nodes in one process are
//! the usual case.

mod assembly;
mod builder;
mod client;
mod cluster;
mod config;
mod errors;
pub mod gateway;
mod handle;
mod status;

pub use crate::messages::{ProposeError, ReadError, SnapshotError};
pub use builder::{Node, NodeBuilder};
pub use client::{Client, ClientMetrics, ClientOptions, Members};
pub use cluster::{Cluster, ClusterBuilder};
pub use config::{Config, ConfigError};
pub use errors::{ClientError, StartError};
pub use gateway::Gateway;
#[cfg(any(test, feature = "testing"))]
pub(crate) use handle::decode_reply;
pub use handle::{Consistency, Handle, Proposal};
pub use status::NodeStatus;
