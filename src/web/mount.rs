//! The routes of a mounted node.
//!
//! | route | answer |
//! |---|---|
//! | `GET livez` | 200 while the node runs, 503 after it has stopped: restart the process |
//! | `GET readyz` | 200, or 503 with the reasons: route traffic to another member |
//! | `GET status` | [`NodeStatus`] as JSON |
//! | `GET metrics` | the same as Prometheus text |
//! | `POST snapshot` | takes a snapshot and answers with its last entry once it is durable |
//!
//! `HEAD` is answered like `GET`, without the body; another method gets 405 with `Allow`. Each
//! response names the member in [`NODE_HEADER`].
//!
//! No response contains secrets: only positions, counters and ids. The error of a failed node may
//! contain file names, so it is written to the node's log only.

use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use actix_web::middleware::DefaultHeaders;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpResponse, HttpResponseBuilder, Resource, Responder};
use serde::Serialize;

use crate::machine::{Machine, NoMachine};
use crate::node::{Handle, NodeStatus};
use crate::raft::{Index, Term};

use super::errors::Failure;
use super::metrics::{CONTENT_TYPE, metrics};
use super::probes::{NotReady, not_ready};

/// The header with the id of the responding member, in every response of its mounted routes. It
/// tells a client that a member has answered.
pub const NODE_HEADER: HeaderName = HeaderName::from_static("quorate-node");

impl<M: Machine> Handle<M> {
    /// Routes to monitor this member and to request a snapshot, under `path`: `livez`, `readyz`,
    /// `status`, `metrics`, and `snapshot` (POST). Mount several members of one process under
    /// different paths.
    ///
    /// The routes have no access control. Where access must be restricted, mount them inside a
    /// scope with a middleware of your own.
    ///
    /// ```
    /// # use actix_web::App;
    /// # use quorate::{machine::KeyValue, node::Handle};
    /// # fn app(handle: Handle<KeyValue>) {
    /// App::new().configure(handle.mount("/raft"));
    /// # }
    /// ```
    pub fn mount(&self, path: &str) -> impl FnOnce(&mut ServiceConfig) + use<M> {
        let node = Data::new(self.clone().without_machine());
        let name = DefaultHeaders::new().add((NODE_HEADER, self.node().to_string()));
        let scope = web::scope(path.trim_end_matches('/'))
            .app_data(node)
            .wrap(name)
            .service(shown("/livez", livez))
            .service(shown("/readyz", readyz))
            .service(shown("/status", status))
            .service(shown("/metrics", metrics_page))
            .service(web::resource("/snapshot").route(web::post().to(snapshot)));
        |service| {
            service.service(scope);
        }
    }
}

/// A resource with a `GET` handler.
fn shown<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    F::Output: Responder + 'static,
    Args: FromRequest + 'static,
{
    web::resource(path).route(web::get().to(handler.clone())).route(web::head().to(handler))
}

/// The routes do not depend on the machine's type.
type Node = Data<Handle<NoMachine>>;

/// The body of a probe's response.
#[derive(Serialize)]
struct Probe {
    ok: bool,
    reasons: Vec<NotReady>,
}

impl Probe {
    fn answer(reasons: Vec<NotReady>) -> HttpResponse {
        let ok = reasons.is_empty();
        let response = if ok { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
        fresh(response).json(Probe { ok, reasons })
    }
}

/// Marks a response as valid only now: it must not be cached.
fn fresh(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response.insert_header((CACHE_CONTROL, "no-store"));
    response
}

async fn livez(node: Node) -> HttpResponse {
    let status = node.status();
    Probe::answer(if status.running { Vec::new() } else { not_ready(&status) })
}

async fn readyz(node: Node) -> HttpResponse {
    Probe::answer(not_ready(&node.status()))
}

async fn status(node: Node) -> HttpResponse {
    fresh(HttpResponse::Ok()).json(without_secrets(node.status()))
}

fn without_secrets(mut status: NodeStatus) -> NodeStatus {
    status.fatal = status.fatal.map(|_| "the reason is in the log of the process".into());
    status
}

async fn metrics_page(node: Node) -> HttpResponse {
    let mut response = fresh(HttpResponse::Ok());
    response.content_type(CONTENT_TYPE).body(metrics(&node.status()))
}

/// The last entry of a snapshot.
#[derive(Serialize)]
struct Taken {
    term: Term,
    index: Index,
}

async fn snapshot(node: Node) -> Result<HttpResponse, Failure> {
    let taken = node.snapshot().await?;
    Ok(fresh(HttpResponse::Ok()).json(Taken { term: taken.term, index: taken.index }))
}
