//! The public interface of quorate: a node and its handle, a client, and a cluster in one process.
//!
//! ```text
//! NodeBuilder ──start──▶ Node ──handle()──▶ Handle: propose, read, snapshot, status (Clone, Sync)
//! Cluster     ──start──▶ Nodes, one in-process network ──client()──▶ Client: sessions, retries
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `builder`, `assembly` | start a node from a machine, a storage and a transport |
//! | `handle`, `client` | requests to one member; exactly-once commands to the cluster |
//! | [`gateway`] | requests to one member as typed actix messages |
//! | `cluster` | several members in one process |
//! | `config`, `errors`, `status` | limits; errors of a start and of a client; observable state |
//!
//! Nothing here changes process-wide state: no signal handlers, no logger, no registry. Running
//! several nodes in one process is the usual case.

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
pub use handle::decode_reply;
pub use handle::{Consistency, Handle, Proposal};
pub use status::NodeStatus;
