//! In an actix-web service (feature `web`): errors that are responses, and a mount of probes, status and metrics.
//!
//! ```text
//! App::new()
//!   .app_data(web::Data::new(handle.clone()))    handlers: node.propose(..).await?          ── errors, addresses
//!   .configure(handle.mount("/raft"))            /raft/livez /readyz /status /metrics ..    ── mount, probes, metrics
//! ```
//! | file | idea |
//! |---|---|
//! | `errors` | [`Failure`]: an error of the handle as a response that tells whether the command may have been applied |
//! | `addresses` | [`Addresses`]: where members are reached over HTTP, so that a refusal leads to the leader |
//! | `mount` | the routes, under a path of the service's choice |
//! | `probes` | why a member is not ready |
//! | `metrics` | a status as Prometheus text |
//!
//! | error | response |
//! |---|---|
//! | `NotLeader` | 503 with the leader's id; with [`Addresses::redirect`] 307 to the leader's address |
//! | `Busy`, a client's `NotExecuted` | 503 with `Retry-After` |
//! | `Fatal` | 503 |
//! | `Unknown` | 504 which says that the command may have been applied |
//! | a read's `TimedOut` | 504 |
//! | `Rejected` | 400 |
//! | `SessionExpired`, `SequenceRefused` | 409 |
//! | `ReplyUnreadable` | 500 which says that the command was applied |
//! | snapshots: `NothingApplied`, `Declined`, `Outdated`, `Refused` | 409 |
//!
//! *What it does not do:* it starts no server, opens no port and asks nobody for a password. Whoever mounts it decides who
//! reaches it: wrap it in a scope with a middleware of your own, or serve it on a port of its own.

mod addresses;
mod errors;
mod metrics;
mod mount;
mod probes;

pub use addresses::Addresses;
pub use errors::{ErrorBody, Failure, LEADER_HEADER};
pub use metrics::metrics;
pub use mount::NODE_HEADER;
pub use probes::{NotReady, not_ready};
