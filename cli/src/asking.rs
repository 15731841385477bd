//! What the two HTTP clients of members share: the client commands, and a member that forwards a
//! request.

use awc::error::SendRequestError;
use awc::http::StatusCode;
use awc::http::header::HeaderMap;

/// Every answer of a member names the member in this header. An answer without it comes from
/// another server at the address: its 404 does not mean that a key is absent.
pub const NODE: &str = "quorate-node";

/// Whether an answer with these headers comes from a member.
pub fn is_from_a_member(headers: &HeaderMap) -> bool {
    headers.contains_key(NODE)
}

/// Whether a server that is not a member may have forwarded the request to one: a gateway that did
/// not wait for the answer.
pub fn may_have_been_handed_on(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT
}

/// Whether the request may have reached a member. It has not if the connection failed or the
/// request could not be formed.
pub fn may_have_been_sent(error: &SendRequestError) -> bool {
    use SendRequestError::{Connect, Http, TunnelNotSupported, Url};
    !matches!(error, Connect(_) | Url(_) | Http(_) | TunnelNotSupported)
}
