//! Where members are reached over HTTP.
//!
//! The protocol knows members by their ids and the transport by its own addresses; under which URL a member's *service*
//! answers only the service knows. It says so here, and a member that does not lead sends callers on.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::http::header::HeaderValue;

use crate::raft::NodeId;

use super::errors::Failure;

/// The base URL of each member's service, such as `http://10.0.0.7:8080`. Put it into `web::Data` beside the handle.
#[derive(Clone, Debug, Default)]
pub struct Addresses(BTreeMap<NodeId, String>);

impl Addresses {
    /// These members, each at its base URL. A path in it is put before the path of the request.
    pub fn new<U: Into<String>>(members: impl IntoIterator<Item = (NodeId, U)>) -> Addresses {
        let members = members.into_iter();
        Addresses(members.map(|(node, base)| (node, base.into())).collect())
    }

    /// Where this member is, if it is known.
    pub fn of(&self, node: NodeId) -> Option<&str> {
        self.0.get(&node).map(String::as_str)
    }

    /// `error` as the answer to `request`: if another member leads and its address is known, 307 to the same path and query
    /// there; otherwise what the error answers by itself. A client that follows a 307 repeats method and body, which is
    /// safe: a member that does not lead has not appended the command.
    ///
    /// ```
    /// # use actix_web::{HttpRequest, web};
    /// # use quorate::{machine::{KeyValue, KeyValueCommand}, node::Handle, web::{Addresses, Failure}};
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

    /// `None`, too, if the address makes no header.
    fn location(&self, node: NodeId, request: &HttpRequest) -> Option<HeaderValue> {
        let base = self.of(node)?.trim_end_matches('/');
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        HeaderValue::from_str(&format!("{base}{path}")).ok()
    }
}
