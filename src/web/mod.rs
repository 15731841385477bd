//! Integration with actix-web (feature `web`): errors as responses, and routes for probes, status
//! and metrics.
//!
//! ```text
//! App::new()
//!   .app_data(web::Data::new(handle.clone()))   node.propose(..).await?   ── errors, addresses
//!   .configure(handle.mount("/raft"))           /raft/livez, readyz, ..   ── mount, probes,
//!   metrics
//! ```
//! | file | idea |
//! |---|---|
//! | `errors` | [`Failure`]: an error as a response, with whether the command may be applied |
//! | `addresses` | [`Addresses`]: the members' URLs, to redirect requests to the leader |
//! | `mount` | the routes, under a path of the service's choice |
//! | `probes` | the reasons why a member is not ready |
//! | `metrics` | a status as Prometheus text |
//!
//! | error | response |
//! |---|---|
//! | `NotLeader` | 503 with the leader's id; [`Addresses::redirect`]: 307 to the leader's address |
//! | `Busy`, a client's `NotExecuted` | 503 with `Retry-After` |
//! | `Fatal` | 503 |
//! | `Unknown` | 504 which says that the command may have been applied |
//! | a read's `TimedOut` | 504 |
//! | `Rejected` | 400 |
//! | `SessionExpired`, `SequenceRefused` | 409 |
//! | `SequenceReused` | 422 |
//! | `ReplyUnreadable`, `ReplyTooLong` | 500 which says that the command was applied |
//! | a client's `Options` | 500 |
//! | snapshots: `NothingApplied`, `Declined`, `Outdated`, `Refused` | 409 |
//!
//! *What it does not do:* it starts no server, opens no port and does no authentication. The
//! service controls access to the routes: wrap them in a scope with a middleware of your own, or
//! serve them on a separate port.

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
