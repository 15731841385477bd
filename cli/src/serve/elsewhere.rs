//! Redirects or forwards requests if another member leads.
//!
//! A redirect (307) costs this member nothing and repeats nothing: the client sends the same
//! request to the leader itself. With `--forward` this member sends it, for clients that cannot
//! reach the leader or do not follow redirects. A request is forwarded once: if the receiver does
//! not lead, it answers "later".

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::{Method, StatusCode, header};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use awc::error::SendRequestError;
use quorate::raft::NodeId;

use super::answers::{LEADER, Problem, plain};
use super::headers::{LOW_WATER, SEQUENCE, SESSION};
use crate::addresses::HostPort;
use crate::asking;

/// The header that marks a forwarded request; its value is the forwarding member.
const FORWARDED: &str = "Quorate-Forwarded";

/// The headers that are copied in a forwarded request and its answer.
const CARRIED: [&str; 9] = [
    SESSION,
    SEQUENCE,
    LOW_WATER,
    LEADER,
    "if-match",
    "if-none-match",
    "etag",
    "content-type",
    "retry-after",
];

/// Maximum number of connections for forwarded requests, per server thread.
pub const CONNECTIONS: usize = 100;

/// The other members, used by one server thread.
pub struct Elsewhere {
    pub node: NodeId,
    /// The HTTP addresses of the members.
    pub addresses: BTreeMap<NodeId, HostPort>,
    /// Forwards requests if enabled.
    pub forward: Option<Forward>,
}

/// The settings and the client of forwarding.
pub struct Forward {
    pub client: awc::Client,
    /// Maximum size of an answer, in bytes.
    pub limit: usize,
}

impl Forward {
    /// Waits for the leader's own timeout plus two seconds.
    pub fn new(timeout: Duration, limit: usize) -> Forward {
        let timeout = timeout + Duration::from_secs(2);
        let connector = awc::Connector::new().limit(CONNECTIONS);
        let client = awc::Client::builder().connector(connector).disable_redirects();
        let client = client.timeout(timeout).finish();
        Forward { client, limit }
    }
}

impl Elsewhere {
    /// The answer to the client. If another member leads: a redirect to it or its answer.
    pub async fn answer(
        &self,
        request: &HttpRequest,
        body: Bytes,
        answer: Result<HttpResponse, Problem>,
    ) -> HttpResponse {
        let problem = match answer {
            Ok(response) => return response,
            Err(problem) => problem,
        };
        let Problem::NotLeader(Some(leader)) = problem else { return problem.response() };
        let address = self.addresses.get(&leader).filter(|_| leader != self.node);
        match (address, &self.forward) {
            (None, _) => problem.response(),
            (Some(_), Some(_)) if request.headers().contains_key(FORWARDED) => {
                Problem::Later(format!("passed on to here, but member {leader} leads now"))
                    .response()
            }
            (Some(address), Some(forward)) => {
                let answer = self.pass_on(forward, request, body, address).await;
                answer.unwrap_or_else(|problem| problem.response())
            }
            (Some(address), None) => redirect(request, leader, address),
        }
    }

    async fn pass_on(
        &self,
        forward: &Forward,
        request: &HttpRequest,
        body: Bytes,
        address: &HostPort,
    ) -> Result<HttpResponse, Problem> {
        // With `HEAD` the length of the omitted body is computed from the body, so `GET` is sent.
        let method = match *request.method() {
            Method::HEAD => Method::GET,
            ref method => method.clone(),
        };
        let mut onward = forward
            .client
            .request(method, there(address, request))
            .insert_header((FORWARDED, self.node.to_string()));
        for name in CARRIED {
            for value in request.headers().get_all(name) {
                onward = onward.append_header((name, value.clone()));
            }
        }
        let mut answer = onward.send_body(body).await.map_err(|error| lost(address, &error))?;
        if !asking::is_from_a_member(answer.headers()) {
            return Err(stranger(address, answer.status()));
        }
        let mut response = HttpResponse::build(answer.status());
        for name in CARRIED {
            for value in answer.headers().get_all(name) {
                response.append_header((name, value.clone()));
            }
        }
        let body = answer.body().limit(forward.limit).await;
        let body = body.map_err(|error| {
            Problem::Unknown(format!("the answer of {address} broke off: {error}"))
        })?;
        Ok(response.body(body))
    }
}

/// The URL of the same path and query at `address`, in whichever form the request named its target
/// (RFC 9112 §3.2).
fn there(address: &HostPort, request: &HttpRequest) -> String {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    format!("http://{address}{path}")
}

/// A request that was not sent was not executed; any other failed request may have been.
fn lost(address: &HostPort, error: &SendRequestError) -> Problem {
    if asking::may_have_been_sent(error) {
        return Problem::Unknown(format!(
            "passed on to {address}, which did not answer ({error}): it may have been executed"
        ));
    }
    Problem::Later(format!("the leader at {address} is not reached: {error}"))
}

/// The answer came from a server that is not a member.
fn stranger(address: &HostPort, status: StatusCode) -> Problem {
    let said = format!("what answers at {address} ({status}) is no member; check --http-peers");
    match asking::may_have_been_handed_on(status) {
        true => Problem::Unknown(format!("{said}: it may have been executed")),
        false => Problem::Later(said),
    }
}

fn redirect(request: &HttpRequest, leader: NodeId, address: &HostPort) -> HttpResponse {
    plain(StatusCode::TEMPORARY_REDIRECT)
        .insert_header((header::LOCATION, there(address, request)))
        .insert_header((LEADER, leader.to_string()))
        .body(format!("member {leader} leads\n"))
}
