//! The addresses of members over HTTP.
//!
//! The protocol identifies members by id and the transport by its own addresses; only the service
//! knows the URL of a member's *service*. It configures the URLs here, and a member that is not the
//! leader redirects requests.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::http::header::HeaderValue;

use crate::raft::NodeId;

use super::errors::Failure;

/// The base URL of each member's service, such as `http://10.0.0.7:8080`. Put it into `web::Data`
/// together with the handle.
#[derive(Clone, Debug, Default)]
pub struct Addresses(BTreeMap<NodeId, String>);

impl Addresses {
    /// Addresses from the base URL of each member. A path in it is put before the path of the
    /// request.
    pub fn new<U: Into<String>>(members: impl IntoIterator<Item = (NodeId, U)>) -> Addresses {
        let members = members.into_iter();
        Addresses(members.map(|(node, base)| (node, base.into())).collect())
    }

    /// The base URL of this member, if it is known.
    pub fn of(&self, node: NodeId) -> Option<&str> {
        self.0.get(&node).map(String::as_str)
    }

    /// Converts `error` to the response to `request`: if another member is the leader and its
    /// address is known, 307 to the same path and query there; otherwise the error's own response.
    /// A client that follows a 307 repeats method and body, which is safe: a member that is not the
    /// leader has not appended the command.
    ///
    /// ```
    /// # use actix_web::{HttpRequest, web};
    /// # use quorate::machine::{KeyValue, KeyValueCommand};
    /// # use quorate::{node::Handle, web::{Addresses, Failure}};
    /// async fn put(
    ///     node: web::Data<Handle<KeyValue>>,
    ///     addresses: web::Data<Addresses>,
    ///     request: HttpRequest,
    ///     value: web::Bytes,
    /// ) -> Result<&'static str, Failure> {
    ///     let command = KeyValueCommand::Put { key: b"key".to_vec(), value: value.to_vec() };
    ///     let written = node.propose(command).await;
    ///     written.map(|_| "written").map_err(|error| addresses.redirect(error, &request))
    /// }
    /// ```
    pub fn redirect(&self, error: impl Into<Failure>, request: &HttpRequest) -> Failure {
        let failure = error.into();
        match failure.body().leader.and_then(|leader| self.location(leader, request)) {
            Some(location) => failure.led_to(location),
            None => failure,
        }
    }

    /// `None` also if the address is not a valid header value.
    fn location(&self, node: NodeId, request: &HttpRequest) -> Option<HeaderValue> {
        let base = self.of(node)?.trim_end_matches('/');
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        HeaderValue::from_str(&format!("{base}{path}")).ok()
    }
}
